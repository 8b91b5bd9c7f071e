import fc from 'fast-check';
import tap from 'tap';
import type { LedgerHead } from '../../ingest/clickhouse.ts';
import { contiguousEnd, correctionZone, decideResume } from '../../ingest/ledger.ts';
import { sourceSpans, type FeedClaim } from '../../schemas/source-spans.ts';

const head: LedgerHead = {
  topic: 'cdr',
  partition: 0,
  clusterId: 'cluster',
  topicId: 'topic',
  generation: 4,
  fromOffset: 100,
  nextOffset: 250,
  covered: 150,
  readings: ['today'],
  correction: 0,
  correctedUntil: 0,
};
const claim = (feed: string, topic: string, topicId: string, claimedAt: number): FeedClaim => ({
  feed,
  topic,
  topicId,
  claimedAt,
});
const log = { clusterId: 'cluster', topicId: 'topic', low: 0, high: 1000 };

await tap.test('without a ledger everything is read, from the start of the log', async (t) => {
  t.strictSame(decideResume(undefined, 0, { ...log, low: 17 }, undefined), {
    kind: 'resume',
    offset: 17,
    generation: 1,
  });
});

await tap.test('it goes on where the ledger ends, under a new generation', async (t) => {
  t.strictSame(decideResume(head, 250, log, undefined), { kind: 'resume', offset: 250, generation: 5 });
  t.strictSame(decideResume(head, 250, { ...log, low: 250, high: 250 }, undefined), {
    kind: 'resume',
    offset: 250,
    generation: 5,
  });
});

await tap.test('what Kafka no longer holds, or never held, is a gap', async (t) => {
  t.match(decideResume(head, 250, { ...log, low: 251 }, undefined), {
    kind: 'gap',
    expected: 250,
    reason: /no longer holds offsets 250 to 250/,
  });
  t.match(decideResume(head, 250, { ...log, high: 249 }, undefined), {
    kind: 'gap',
    expected: 250,
    reason: /ends at 249/,
  });
  t.match(decideResume(head, 250, { ...log, topicId: 'other' }, undefined), {
    kind: 'gap',
    reason: /created again/,
  });
  t.match(decideResume(head, 250, { ...log, clusterId: 'other' }, undefined), {
    kind: 'gap',
    reason: /another Kafka cluster/,
  });
});

await tap.test('it goes on behind a gap where nothing is left out that Kafka holds', async (t) => {
  t.match(decideResume(head, 250, { ...log, low: 300 }, undefined), { onward: 300 });
  t.match(decideResume(head, 250, { ...log, high: 200 }, undefined), { onward: 200, logEnd: 200 });
  t.match(decideResume(head, 250, { ...log, topicId: 'other', low: 7 }, undefined), { onward: 7 });
  t.match(decideResume(head, 250, { ...log, clusterId: 'other', low: 7 }, undefined), { onward: 7 });
});

await tap.test('a gap that was noted stands until it is accepted, however far the log grows', async (t) => {
  const noted = { topic: 'cdr', partition: 0, reason: 'the log ends at 200, before', logEnd: 200 };
  for (const high of [200, 249, 250, 1000])
    t.match(
      decideResume(head, 250, { ...log, high }, noted),
      { kind: 'gap', expected: 250, logEnd: 200, onward: 200 },
      `the log ends at ${high} now`,
    );
  t.match(decideResume(head, 250, log, noted), { reason: noted.reason });
  t.match(
    decideResume(head, 250, { ...log, high: 150 }, noted),
    { logEnd: 150, onward: 150 },
    'what was lost once more counts too',
  );
  t.match(decideResume(head, 250, { ...log, low: 220 }, noted), { onward: 220 }, 'Kafka forgets meanwhile');
  t.match(decideResume(head, 180, log, noted), { onward: 180 }, 'the ledger ends before what was lost');
  t.match(
    decideResume(head, 250, { ...log, low: 40 }, { ...noted, logEnd: 0 }),
    { onward: 40 },
    'noted by a version that did not say where the log ended: all is read',
  );
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

await tap.test(
  "rows of another reading may stand where the reading has changed, up to the log's end",
  async (t) => {
    t.equal(correctionZone(head, 250, 'today', 1000), undefined, 'as it was');
    t.equal(correctionZone(undefined, 0, 'today', 1000), undefined, 'nothing was ever read');
    t.strictSame(correctionZone({ ...head, readings: ['before'] }, 250, 'today', 1000), {
      until: 1000,
      begun: undefined,
    });
    t.equal(
      correctionZone({ ...head, readings: ['before'] }, 1000, 'today', 1000),
      undefined,
      'nothing is left',
    );
    t.match(
      correctionZone({ ...head, readings: ['today', 'before'] }, 250, 'today', 1000),
      { until: 1000 },
      'a generation with two readings',
    );
  },
);

await tap.test('a range that is not read to its end goes on to be corrected', async (t) => {
  const begun = { ...head, correction: 77, correctedUntil: 400 };
  t.strictSame(correctionZone(begun, 250, 'today', 1000), { until: 400, begun: 77 }, 'under the same number');
  t.equal(correctionZone(begun, 400, 'today', 1000), undefined, 'until it is read');
  t.strictSame(
    correctionZone({ ...begun, readings: ['before'] }, 250, 'today', 1000),
    { until: 1000, begun: undefined },
    'changed again: another correction, of all that may have been read since',
  );
  t.match(correctionZone({ ...begun, readings: ['before'] }, 250, 'today', 300), { until: 400 });
  t.strictSame(
    correctionZone({ ...begun, correction: 0 }, 250, 'today', 1000),
    { until: 400, begun: undefined },
    'by a rewind: it has not begun',
  );
});

await tap.test(
  'rows are of a topic from its claim on until another one is claimed for the feed',
  async (t) => {
    const claims = [
      claim('a', 'one', 'old', 10),
      claim('a', 'one', 'new', 20),
      claim('b', 'two', 'x', 25),
      claim('a', 'one', 'new', 30),
      claim('a', 'two', 'x', 40),
      claim('b', 'one', 'new', 45),
      claim('a', 'two', 'x', 50),
      claim('a', 'one', 'new', 60),
    ];
    t.strictSame(sourceSpans(claims, 'one', 'new'), [
      { feed: 'a', since: 20, before: 40 },
      { feed: 'b', since: 45, before: undefined },
      { feed: 'a', since: 60, before: undefined },
    ]);
    t.strictSame(sourceSpans(claims, 'one', 'old'), [{ feed: 'a', since: 10, before: 20 }]);
    t.strictSame(sourceSpans([], 'one', 'old'), []);
  },
);
