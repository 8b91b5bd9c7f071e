import fc from 'fast-check';
import tap from 'tap';
import type { LedgerHead } from '../../ingest/clickhouse.ts';
import { contiguousEnd, decideResume } from '../../ingest/ledger.ts';

const head: LedgerHead = {
  topic: 'cdr',
  partition: 0,
  clusterId: 'cluster',
  topicId: 'topic',
  generation: 4,
  fromOffset: 100,
  nextOffset: 250,
  covered: 150,
};
const log = { clusterId: 'cluster', topicId: 'topic', low: 0, high: 1000 };

await tap.test('without a ledger everything is read, from the start of the log', async (t) => {
  t.strictSame(decideResume(undefined, 0, { ...log, low: 17 }), {
    kind: 'resume',
    offset: 17,
    generation: 1,
  });
});

await tap.test('it goes on where the ledger ends, under a new generation', async (t) => {
  t.strictSame(decideResume(head, 250, log), { kind: 'resume', offset: 250, generation: 5 });
  t.strictSame(decideResume(head, 250, { ...log, low: 250, high: 250 }), {
    kind: 'resume',
    offset: 250,
    generation: 5,
  });
});

await tap.test('what Kafka no longer holds, or never held, is a gap', async (t) => {
  t.match(decideResume(head, 250, { ...log, low: 251 }), {
    kind: 'gap',
    expected: 250,
    reason: /no longer holds offsets 250 to 250/,
  });
  t.match(decideResume(head, 250, { ...log, high: 249 }), {
    kind: 'gap',
    expected: 250,
    reason: /ends at 249/,
  });
  t.match(decideResume(head, 250, { ...log, topicId: 'other' }), { kind: 'gap', reason: /created again/ });
  t.match(decideResume(head, 250, { ...log, clusterId: 'other' }), {
    kind: 'gap',
    reason: /another Kafka cluster/,
  });
});

await tap.test('the contiguous run ends before the first hole', async (t) => {
  t.equal(contiguousEnd(5, []), 5);
  t.equal(contiguousEnd(5, [{ fromOffset: 5, nextOffset: 5 }]), 5);
  t.equal(
    contiguousEnd(0, [
      { fromOffset: 0, nextOffset: 10 },
      { fromOffset: 10, nextOffset: 20 },
      { fromOffset: 21, nextOffset: 30 },
    ]),
    20,
  );
  // Against a set of offsets that are covered, for any ranges.
  const range = fc.tuple(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 8 }));
  fc.assert(
    fc.property(fc.array(range, { maxLength: 12 }), (list) => {
      const ranges = list
        .map(([from, length]) => ({ fromOffset: from, nextOffset: from + length }))
        .sort((a, b) => a.fromOffset - b.fromOffset);
      const covered = new Set(
        ranges.flatMap(({ fromOffset, nextOffset }) =>
          Array.from({ length: nextOffset - fromOffset }, (_, i) => fromOffset + i),
        ),
      );
      let end = 0;
      while (covered.has(end)) end++;
      return contiguousEnd(0, ranges) === end;
    }),
  );
});
