import tap from 'tap';
import { readStatistics } from '../../../ingest/readers/statistics.ts';

await tap.test('partitions that are not fetched', async (t) => {
  const text = JSON.stringify({
    name: 'consumer-1',
    time: 1_767_225_600,
    topics: {
      cdr: {
        partitions: {
          '0': { fetch_state: 'active' },
          '12': { fetch_state: 'none' },
          '-1': { fetch_state: 'none' },
        },
      },
      'cdr.b': { partitions: { '0': { fetch_state: 'stopped' } } },
      'cdr.c': {},
    },
  });
  const { atMs, fatal, notFetched } = readStatistics(text);
  t.equal(atMs, Date.UTC(2026, 0, 1));
  t.equal(fatal, undefined);
  t.strictSame([...notFetched], ['cdr/12', 'cdr/-1']);
});

await tap.test('a fatal error, whose text librdkafka does not escape', async (t) => {
  const text =
    '{ "name": "c", "time": 1, "topics":{ } , "fatal": { "error": "Broker: fenced", "reason": "by "another"", "cnt": 1 }, "tx":0 }';
  t.throws(() => JSON.parse(text) as unknown);
  t.equal(readStatistics(text).fatal, 'by "another"');
});

await tap.test('before anything is subscribed', async (t) => {
  t.match(readStatistics('{"time":5}'), { atMs: 5000, fatal: undefined, notFetched: new Set() });
});
