import tap from 'tap';
import { planGone, planPartition, type HeldLog, type ReadRange } from '../../ingest/reload-plan.ts';
import { countingRanges } from '../../schemas/ledger-ranges.ts';

/** Ranges of a hundred offsets, one an hour since 1970; what is left out is as here. */
function range(index: number, changes: Partial<ReadRange> = {}): ReadRange {
  return {
    topic: 'cdr.pbx',
    topicId: 'id',
    partition: 0,
    generation: 1,
    from: index * 100,
    next: (index + 1) * 100,
    feed: 'pbx',
    reading: 'old',
    messages: 100,
    stored: 90,
    rejected: 10,
    messageAtMax: hour(index + 1),
    hours: { [`2026-03-0${1 + index} 10:00:00`]: 90 },
    ...changes,
  };
}

function hour(count: number): number {
  return count * 3_600_000;
}

const ranges = [0, 1, 2, 3].map((index) => range(index));
const whole: HeldLog = { low: 0, end: 400, fromOffset: 0, toOffset: undefined };
const always = { fromMs: 0, toMs: undefined };

function plan(
  rows: readonly ReadRange[],
  held: Partial<HeldLog> = {},
  time = always as { fromMs: number; toMs: number | undefined },
) {
  return planPartition(countingRanges(rows), { ...whole, ...held }, time, 'today');
}

await tap.test('everything that was read otherwise is read again', async (t) => {
  t.strictSame(plan(ranges), { again: { from: 0, until: 400 }, gone: [], behind: undefined });
});

await tap.test('what was read with the settings of today is not', async (t) => {
  t.strictSame(plan(ranges.map((row) => ({ ...row, reading: 'today' }))).again, undefined);
  const mended = [range(0, { reading: 'today' }), range(1), range(2), range(3, { reading: 'today' })];
  t.strictSame(plan(mended).again, { from: 100, until: 300 }, 'before and behind');
  t.strictSame(
    plan([range(0, { messages: 0 }), range(1)]).again?.from,
    100,
    'a range without messages has none',
  );
});

await tap.test('from a time on', async (t) => {
  t.strictSame(plan(ranges, { fromOffset: 150 }).again, { from: 150, until: 400 });
  t.equal(plan(ranges, { fromOffset: undefined }).again, undefined, 'later than all messages');
});

await tap.test('to a time: what lies behind must have been read with the settings of today', async (t) => {
  const time = { fromMs: 0, toMs: hour(2) };
  t.match(plan(ranges, { toOffset: 150 }, time), {
    again: { from: 0, until: 200 },
    behind: { from: 150, next: 400, lastMessageAt: hour(4) },
  });
  const mended = [range(0), range(1), range(2, { reading: 'today' }), range(3, { reading: 'today' })];
  t.match(plan(mended, { toOffset: 230 }, time), { again: { from: 0, until: 200 }, behind: undefined });
  t.match(plan(ranges, { toOffset: undefined }, { fromMs: 0, toMs: hour(9) }), { behind: undefined });
  t.match(
    plan([range(0, { reading: 'today' }), range(1)], { toOffset: 50 }, time),
    { again: undefined, behind: undefined },
    'nothing is read again, so nothing behind matters',
  );
});

await tap.test('what Kafka no longer holds is listed, neighbours as one', async (t) => {
  const { again, gone } = plan(ranges, { low: 250 });
  t.strictSame(again, { from: 250, until: 400 });
  t.strictSame(gone, [
    {
      reason: 'expired',
      topic: 'cdr.pbx',
      topicId: 'id',
      partition: 0,
      feed: 'pbx',
      from: 0,
      next: 250,
      firstMessageAt: hour(1),
      lastMessageAt: hour(3),
      stored: 270,
      rejected: 30,
      days: { '2026-03-01': 90, '2026-03-02': 90, '2026-03-03': 90 },
    },
  ]);
  const mended = [range(0), range(1, { reading: 'today' }), range(2), range(3)];
  t.match(plan(mended, { low: 300 }).gone, [
    { from: 0, next: 100 },
    { from: 200, next: 300 },
  ]);
});

await tap.test('of what Kafka no longer holds only what may be of the time', async (t) => {
  const from = { fromMs: hour(2), toMs: undefined };
  t.match(plan(ranges, { low: 300 }, from).gone, [{ from: 100, next: 300 }]);
  const to = { fromMs: 0, toMs: hour(2) };
  const { gone, again } = plan(ranges, { low: 300, toOffset: 300 }, to);
  t.match(gone, [{ from: 0, next: 200 }]);
  t.equal(again, undefined, 'nothing of the time is held');
  t.strictSame(
    plan(ranges, { low: 250, fromOffset: 260 }, { fromMs: hour(2.5), toMs: undefined }).gone,
    [],
    'the held part of a range begins before the time, so the other does too',
  );
});

await tap.test('of a topic that is gone everything is', async (t) => {
  const newer = range(2, { generation: 2, from: 150, next: 300 });
  t.match(planGone([range(0), range(1), newer], always, 'today', 'topic_deleted'), [
    { reason: 'topic_deleted', from: 0, next: 300, stored: 270 },
  ]);
});
