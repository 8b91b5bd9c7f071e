import tap from 'tap';
import { clockFault } from '../../retention/clock.ts';
import { topicStatus } from '../../retention/status.ts';
import { monthDue, monthRange, planSweep } from '../../retention/sweep-plan.ts';

const at = (text: string): number => Date.parse(text);

await tap.test('a month goes as a whole when its last moment is due, else its days', async (t) => {
  const months = [202311, 202309, 202310, 202312, 202402];
  const plan = (time: string) => planSweep(months, { months: { all: 36, feeds: {} }, dueMs: at(time) });
  t.strictSame(plan('2026-11-10T08:00:00Z'), [
    { month: 202309, kind: 'drop' },
    { month: 202310, kind: 'drop' },
    { month: 202311, kind: 'delete' },
  ]);
  t.strictSame(plan('2026-09-30T23:59:59.998Z').at(-1), { month: 202309, kind: 'delete' });
  t.strictSame(plan('2026-09-30T23:59:59.999Z').at(-1), { month: 202309, kind: 'drop' });
  t.strictSame(plan('2026-08-31T23:59:59.999Z'), []);
});

await tap.test('a month goes as a whole only when it is due for all feeds', async (t) => {
  const months = { all: 36, feeds: { a: 12, b: 24 } };
  const plan = (time: string) => planSweep([202509, 202510, 202511], { months, dueMs: at(time) });
  t.strictSame(plan('2026-10-10T00:00:00Z'), [
    { month: 202509, kind: 'delete' },
    { month: 202510, kind: 'delete' },
  ]);
  t.strictSame(plan('2028-09-30T23:59:59.999Z')[0], { month: 202509, kind: 'drop' });
});

await tap.test('29 February is due on the 28th where there is no other', async (t) => {
  const plan = (time: string) => planSweep([202402], { months: { all: 36, feeds: {} }, dueMs: at(time) });
  t.strictSame(plan('2027-02-28T23:59:59.998Z'), [{ month: 202402, kind: 'delete' }]);
  t.strictSame(plan('2027-02-28T23:59:59.999Z'), [{ month: 202402, kind: 'drop' }]);
  t.equal(monthDue(202402, 36).lastMs, at('2027-02-28T23:59:59.999Z'));
  t.equal(monthDue(202402, 48).lastMs, at('2028-02-29T23:59:59.999Z'));
  t.strictSame(monthRange(202312), { fromMs: at('2023-12-01T00:00Z'), toMs: at('2024-01-01T00:00Z') });
});

await tap.test('a clock is wrong by this host, by the ledger, by the newest record', async (t) => {
  const now = at('2026-11-28T00:00:00Z');
  const right = { hostMs: now, databaseMs: now, ledgerMs: now - 1000, recordMs: now - 3600_000 };
  t.equal(clockFault(right, 7), undefined);
  t.equal(clockFault({ ...right, recordMs: now + 80_000_000 }, 7), undefined, 'a start may be a day ahead');
  t.match(clockFault({ ...right, hostMs: now - 301_000 }, 7), /this host/);
  t.match(clockFault({ ...right, hostMs: now + 301_000 }, 7), /this host/);
  t.match(clockFault({ ...right, ledgerMs: now + 301_000 }, 7), /ledger/);
  t.match(clockFault({ ...right, recordMs: now - 8 * 86_400_000 }, 7), /newest record/);
  t.equal(clockFault({ ...right, recordMs: now - 8 * 86_400_000 }, Infinity), undefined);
  t.equal(
    clockFault({ ...right, ledgerMs: undefined, recordMs: undefined }, 7),
    undefined,
    'nothing is stored',
  );
});

await tap.test("Kafka's copy is warned about where it outlives the promise", async (t) => {
  const nowMs = at('2026-11-28T00:00:00Z');
  const day = 86_400_000;
  const warning = (retentionMs: number, oldestMs?: number): string | null =>
    topicStatus({ topic: 'cdr', retentionMs, oldestMs }, { months: 36, nowMs, topicDays: 14 }).warning;
  t.equal(warning(14 * day, nowMs - 13 * day), null);
  t.match(warning(15 * day), /topic_retention_days/);
  t.match(warning(1097 * day), /longer than 36 months/);
  t.match(warning(-1), /longer than 36 months/);
  t.match(warning(14 * day, at('2023-11-27T00:00:00Z')), /term is over/, 'an old segment that is not closed');
});
