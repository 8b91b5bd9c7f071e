import tap from 'tap';
import { databasesOf } from './test-servers.ts';

await tap.test('the runner and the test file agree on the databases', async (t) => {
  const fromRunner = databasesOf('dist/test/fault/broker-restart.test.js');
  const fromTest = databasesOf(new URL('file:///tmp/test/x/dist/test/fault/broker-restart.test.js').pathname);
  t.strictSame(fromRunner, fromTest);
  t.equal(fromRunner[0], 'cdrhouse_test_fault_broker_restart_0');
});

await tap.test('files of the same name in two folders do not share a database', async (t) => {
  const [first] = databasesOf('dist/test/fault/pipeline.test.js');
  t.notOk(databasesOf('dist/test/integration/pipeline.test.js').includes(first ?? ''));
});
