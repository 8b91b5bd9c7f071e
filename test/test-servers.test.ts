import tap from 'tap';
import { databasesOf, testReaders, testTries } from './test-servers.ts';

await tap.test('the runner and the test file agree on the databases', async (t) => {
  const fromRunner = databasesOf('dist/test/fault/broker-restart.test.js', 'packed');
  const fromTest = databasesOf(
    new URL('file:///tmp/test/x/dist/test/fault/broker-restart.test.js').pathname,
    'packed',
  );
  t.strictSame(fromRunner, fromTest);
  t.equal(fromRunner[0], 'cdrhouse_test_fault_broker_restart_0');
});

await tap.test('files of the same name in two folders do not share a database', async (t) => {
  const [first] = databasesOf('dist/test/fault/pipeline.test.js', 'packed');
  t.notOk(databasesOf('dist/test/integration/pipeline.test.js', 'packed').includes(first ?? ''));
});

await tap.test('nor do runs of a file with another reader, or again', async (t) => {
  const names = testReaders.flatMap((reader) =>
    testTries.flatMap((attempt) => databasesOf('dist/test/fault/broker.test.js', reader, attempt)),
  );
  t.equal(new Set(names).size, names.length);
});
