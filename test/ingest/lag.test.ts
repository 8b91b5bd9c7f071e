import tap from 'tap';
import { LagWatch, oldestUnflushedSeconds, type UnstoredBatch } from '../../ingest/lag.ts';
import type { PartitionState } from '../../ingest/partitions.ts';

const NOW = Date.UTC(2026, 2, 1, 10);

function state(partition: number, stored: number, end: number): PartitionState {
  return {
    source: { feed: 0, topic: 'cdr', topicId: 'id', partition },
    clusterId: 'cluster',
    generation: 1,
    position: stored,
    stored,
    end,
  };
}

function batch(openedAt: number, ...oldest: [PartitionState, number][]): UnstoredBatch {
  const ranges = oldest.map(([partition, oldestAtMs]) => ({ partition, from: 0, next: 1, oldestAtMs }));
  return { openedAt, ranges };
}

await tap.test('nothing behind the ledger is no lag, however long the feed was quiet', (t) => {
  const watch = new LagWatch();
  t.match(watch.measure([state(0, 7, 7)], [], NOW), [
    { topic: 'cdr', partition: 0, messages: 0, seconds: 0 },
  ]);
  t.end();
});

await tap.test('what was read and is not stored gives the age by its Kafka timestamp', (t) => {
  const watch = new LagWatch();
  const [first, second] = [state(0, 0, 10), state(1, 5, 6)];
  const unstored = [batch(1, [first, NOW - 30_000], [second, Infinity]), batch(2, [first, NOW - 60_000])];
  t.match(watch.measure([first, second], unstored, NOW), [
    { partition: 0, messages: 10, seconds: 60 },
    // Its message has no timestamp.
    { partition: 1, messages: 1, seconds: 0 },
  ]);
  t.match(
    watch.measure([first], [batch(1, [state(0, 0, 10), NOW - 90_000])], NOW),
    [{ seconds: 0 }],
    'batches of an earlier assignment do not count',
  );
  t.match(watch.measure([first], [batch(1, [first, NOW + 5000])], NOW), [{ seconds: 0 }], 'never below 0');
  t.end();
});

await tap.test(
  'where nothing is read though the log goes on, time runs from when this was first seen',
  (t) => {
    const watch = new LagWatch();
    const partition = state(0, 5, 5);
    watch.measure([partition], [], NOW);
    partition.end = 9;
    t.match(watch.measure([partition], [], NOW + 1000), [{ messages: 4, seconds: 0 }]);
    t.match(watch.measure([partition], [], NOW + 21_000), [{ messages: 4, seconds: 20 }]);
    partition.stored = 9;
    t.match(watch.measure([partition], [], NOW + 22_000), [{ messages: 0, seconds: 0 }]);
    partition.end = 10;
    t.match(watch.measure([partition], [], NOW + 30_000), [{ messages: 1, seconds: 0 }], 'begins anew');
    t.end();
  },
);

await tap.test('the oldest unflushed batch', (t) => {
  t.equal(oldestUnflushedSeconds([], 5000), 0);
  t.equal(oldestUnflushedSeconds([batch(0)], 5000), 0, 'an open batch that is empty');
  t.equal(oldestUnflushedSeconds([batch(4000), batch(1500), batch(0)], 5000), 3.5);
  t.end();
});
