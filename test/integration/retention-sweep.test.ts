import tap, { type Test } from 'tap';
import { monthDue } from '../../retention/sweep-plan.ts';
import { select } from '../../retention/clickhouse.ts';
import type { SweepReport } from '../../retention/sweep.ts';
import { dueCondition } from '../../retention/sweep-sql.ts';
import { RetentionTerm } from '../../schemas/retention-term.ts';
import { sqlTime } from '../../schemas/sql-time.ts';
import { Installation } from '../cdrhouse-program.ts';
import { CallStore, callAt, storeWithHistory, versionAt } from '../query/stored-calls.ts';
import {
  adjustments,
  adjustmentsOf,
  idsOf,
  keepUntilSwept,
  keptOf,
  monthOf,
  monthsOfCalls,
  partsOnDisk,
  storedIds,
} from '../retention/months-of-calls.ts';
import { testServers } from '../test-servers.ts';

const servers = testServers(import.meta.url);
const NOW = Date.now();
const TERM = 36;
const CALLS = monthsOfCalls(NOW, 40, TERM);
const TABLES = ['cdr', 'cdr_by_number'] as const;

async function made(t: Test, index: number): Promise<{ store: CallStore; installation: Installation }> {
  const store = new CallStore(t, servers, index);
  await store.create(TERM);
  await keepUntilSwept(store);
  return { store, installation: new Installation(t, servers, index, {}) };
}

/** Rows of both tables that are past the term at the moment of a sweep, read or not. */
async function overdueRows(store: CallStore, dueAt: string): Promise<number> {
  const due = dueCondition({ months: TERM, dueMs: Date.parse(dueAt) });
  const counts = TABLES.map((table) => `(SELECT count() FROM ${store.database}.${table} WHERE ${due})`);
  const [row] = await store.rows<{ rows: string }>(`SELECT ${counts.join(' + ')} AS rows`);
  return Number(row!.rows);
}

await tap.test(
  'what is due by the SQL is due by the code, on each day of 40 months and at month ends',
  async (t) => {
    const { store } = await made(t, 0);
    await store.store(CALLS, versionAt(1));
    const hour = 3_600_000;
    const moments = [
      '2027-02-28T10:00:00.000Z',
      '2027-02-28T09:59:59.999Z',
      '2027-03-01T00:00:00.000Z',
      '2028-02-29T10:00:00.000Z',
    ];
    for (const dueMs of [
      ...moments.map((text) => Date.parse(text)),
      NOW,
      NOW - 17 * hour,
      NOW + 92 * 24 * hour,
    ]) {
      for (const months of [1, 12, 36]) {
        const rows = await select<{ id: string }>(
          store.admin,
          `SELECT toString(cdr_key) AS id FROM ${store.database}.cdr WHERE ${dueCondition({ months, dueMs })}`,
        );
        const term = new RetentionTerm(months, dueMs);
        const expected = CALLS.filter(({ startMs }) => term.isExpired(startMs));
        t.strictSame(rows.map(({ id }) => id).sort(), idsOf(expected), `${months} at ${sqlTime(dueMs)}`);
      }
    }
  },
);

await tap.test('40 months, a term of 36: what is due is gone to the day, nothing else', async (t) => {
  const { store, installation } = await made(t, 1);
  const calls = await storeWithHistory(store, CALLS);
  const kept = keptOf(calls, TERM, NOW);
  const gone = calls.filter((call) => !kept.includes(call));
  t.ok(gone.length > 100 && kept.length > 1000);

  const dry = await installation.json<SweepReport>('retention', 'sweep', '--dry-run', '--json');
  t.equal(dry.calls, gone.length);
  t.strictSame(await storedIds(store, 'cdr'), idsOf(calls), 'a dry run takes nothing away');

  const report = await installation.json<SweepReport>('retention', 'sweep', '--json');
  t.equal(report.calls, gone.length);
  t.strictSame(new Set(report.months.map(({ state }) => state)), new Set(['done']));
  t.strictSame(
    dry.months.map(({ month, kind, calls: count }) => [month, kind, count]),
    report.months.map(({ month, kind, calls: count }) => [month, kind, count]),
    'as the dry run said',
  );
  t.equal(report.months.filter(({ kind }) => kind === 'delete').length, 1);
  for (const table of TABLES) {
    t.strictSame(await storedIds(store, table), idsOf(kept), table);
    const { files, active } = await partsOnDisk(store, table);
    t.strictSame(files, active, `${table}: no replaced part is left on disk`);
  }
  t.equal(await overdueRows(store, report.due_at), 0, 'no row, deleted ones and repeated ones included');
  const [sums] = await store.rows<object>(
    `SELECT toString(sum(duration_ms)) AS duration, count() AS calls FROM ${store.database}.cdr FINAL`,
  );
  t.match(sums, { duration: String(kept.reduce((sum, { durationMs }) => sum + durationMs, 0)) });
  t.strictSame(await adjustments(store), adjustmentsOf(gone));

  const [settings] = await store.rows<{ query: string }>(
    `SELECT create_table_query AS query FROM system.tables WHERE database = '${store.database}' AND name = 'cdr'`,
  );
  t.notMatch(settings!.query, /old_parts_lifetime|min_rows_to_fsync/, 'the tables are as they were');
  const proofs = await store.rows<{ statements: string[]; parts: string[]; parts_after: string[] }>(
    `SELECT statements, parts, parts_after FROM ${store.database}.retention_proofs FINAL`,
  );
  t.equal(proofs.length, report.months.length);
  for (const { statements, parts, parts_after } of proofs) {
    t.ok(statements.length >= 2 && parts.length >= 2);
    t.strictSame(parts_after, []);
  }

  const again = await installation.json<SweepReport>('retention', 'sweep', '--json');
  t.match(again, { months: [], calls: 0 }, 'again: nothing to do');
});

await tap.test('two at the same time, and what comes late', async (t) => {
  const { store, installation } = await made(t, 2);
  await store.store(CALLS, versionAt(1));
  const kept = keptOf(CALLS, TERM, NOW);
  const gone = CALLS.filter((call) => !kept.includes(call));
  const both = await Promise.all([1, 2].map(() => installation.run('retention', 'sweep', '--json')));
  t.strictSame(
    both.map(({ code }) => code),
    [0, 0],
  );
  const reports = both.map(({ stdout }) => JSON.parse(stdout) as SweepReport);
  t.strictSame(new Set(reports.map(({ calls }) => calls)), new Set([0, gone.length]), 'one of them did it');
  t.strictSame(await adjustments(store), adjustmentsOf(gone), 'counted once');
  for (const table of TABLES) t.strictSame(await storedIds(store, table), idsOf(kept), table);

  const late = [gone[0]!, gone.at(-1)!];
  await store.store(late, versionAt(2));
  await store.admin.command({
    query: `ALTER TABLE ${store.database}.cdr_by_number DELETE WHERE cdr_key = ${late[0]!.cdrKey} OR cdr_key = ${late[1]!.cdrKey}`,
    clickhouse_settings: { mutations_sync: '1' },
  });
  const { calls } = await installation.json<SweepReport>('retention', 'sweep', '--json');
  t.equal(calls, 2, 'what was swept and came again, also to one table only, goes again');
  t.strictSame(await storedIds(store, 'cdr'), idsOf(kept));
});

await tap.test('a month whose tables differ stays, the others go', async (t) => {
  const { store, installation } = await made(t, 3);
  await store.store(CALLS, versionAt(1));
  const kept = keptOf(CALLS, TERM, NOW);
  const odd = CALLS[0]!;
  const ofOddMonth = CALLS.filter(({ startMs }) => monthOf(startMs) === monthOf(odd.startMs));
  await store.admin.command({
    query: `ALTER TABLE ${store.database}.cdr_by_number DELETE WHERE cdr_key = ${odd.cdrKey}`,
    clickhouse_settings: { mutations_sync: '1' },
  });
  const { code, stderr, stdout } = await installation.run('retention', 'sweep', '--json');
  t.equal(code, 1);
  t.match(stderr, /SWEEP_TABLES_DIFFER/);
  t.match(JSON.parse(stdout), { months: [{ state: 'refused', code: 'SWEEP_TABLES_DIFFER' }] });
  t.strictSame(await storedIds(store, 'cdr'), idsOf([...ofOddMonth, ...kept]));

  await store.store([odd], versionAt(2));
  await installation.json('retention', 'sweep', '--json');
  t.strictSame(await storedIds(store, 'cdr'), idsOf(kept), 'once they agree it goes');
});

await tap.test('a clock that does not fit', async (t) => {
  const { store, installation } = await made(t, 4);
  const old = [callAt(NOW - 1200 * 86_400_000, 1), callAt(NOW - 20 * 86_400_000, 2)];
  await store.store(old, versionAt(1));
  const silent = await installation.run('retention', 'sweep', '--json');
  t.match([silent.code, silent.stderr], [1, /CLOCK_WRONG: .*newest record/]);
  t.strictSame(await storedIds(store, 'cdr'), idsOf(old));
  t.equal((await installation.run('retention', 'sweep', '--dry-run')).code, 1, 'a dry run says so too');
  await store.insert('ingest_ledger', [{ topic: 'x', stored_at: sqlTime(NOW + 900_000) }]);
  const behind = await installation.run('retention', 'sweep', '--trust-clock');
  t.match([behind.code, behind.stderr], [1, /CLOCK_WRONG: .*ledger/]);
  await store.admin.command({ query: `TRUNCATE TABLE ${store.database}.ingest_ledger` });
  t.equal((await installation.run('retention', 'sweep', '--trust-clock')).code, 0);
  t.strictSame(await storedIds(store, 'cdr'), idsOf([old[1]!]));
  installation.environment['CDRHOUSE_RETENTION_MONTHS'] = '24';
  const other = await installation.run('retention', 'sweep');
  t.match([other.code, other.stderr], [1, /RETENTION_DIFFERS/]);
});

await tap.test("ClickHouse's own TTL alone drops what is a month over", async (t) => {
  const store = new CallStore(t, servers, 5);
  await store.create(TERM);
  await store.store(CALLS, versionAt(1));
  for (const table of TABLES)
    await store.admin.command({ query: `OPTIMIZE TABLE ${store.database}.${table} FINAL` });
  const due = new RetentionTerm(TERM + 1, NOW);
  const monthsEnded = CALLS.filter(({ startMs }) => monthDue(monthOf(startMs), TERM + 1).lastMs <= NOW);
  t.ok(monthsEnded.length > 50);
  for (const table of TABLES) {
    const left = new Set(await storedIds(store, table));
    t.strictSame(
      idsOf(monthsEnded).filter((id) => left.has(id)),
      [],
      `${table}: months that are over are gone`,
    );
    const young = CALLS.filter(({ startMs }) => !due.isExpired(startMs));
    t.strictSame(
      idsOf(young).filter((id) => !left.has(id)),
      [],
      `${table}: nothing younger is`,
    );
  }
});
