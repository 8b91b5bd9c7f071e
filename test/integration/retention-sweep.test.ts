import tap, { type Test } from 'tap';
import { monthDue } from '../../retention/sweep-plan.ts';
import { select } from '../../retention/clickhouse.ts';
import type { RetentionStatus } from '../../retention/status.ts';
import type { SweepReport } from '../../retention/sweep.ts';
import { dueCondition } from '../../retention/sweep-sql.ts';
import { addMonths, RetentionTerm } from '../../schemas/retention-term.ts';
import { sqlTime } from '../../schemas/sql-time.ts';
import { freePort } from '../../deploy/local/ports.ts';
import { Installation, until } from '../cdrhouse-program.ts';
import { ClickhouseProxy, insertsInto } from '../fault/clickhouse-proxy.ts';
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
/** Where two months and some days are enough. */
const SHORT_TERM = 2;
const FEW = monthsOfCalls(NOW, 4, SHORT_TERM);
const TABLES = ['cdr', 'cdr_by_number'] as const;

async function made(
  t: Test,
  index: number,
  termMonths = TERM,
): Promise<{ store: CallStore; installation: Installation }> {
  const store = new CallStore(t, servers, index);
  await store.create(termMonths);
  await keepUntilSwept(store);
  return {
    store,
    installation: new Installation(t, servers, index, {}, { CDRHOUSE_RETENTION_MONTHS: String(termMonths) }),
  };
}

/** Rows of both tables that are past the term at the moment of a sweep, read or not. */
async function overdueRows(store: CallStore, dueAt: string): Promise<number> {
  const due = dueCondition({ months: { all: TERM, feeds: {} }, dueMs: Date.parse(dueAt) });
  const counts = TABLES.map((table) => `(SELECT count() FROM ${store.database}.${table} WHERE ${due})`);
  const [row] = await store.rows<{ rows: string }>(`SELECT ${counts.join(' + ')} AS rows`);
  return Number(row!.rows);
}

await tap.test(
  'what is due by the SQL is due by the code, each day of 40 months and at month ends',
  async (t) => {
    const { admin } = new CallStore(t, servers, 0);
    // A 29 February is among them whatever day it is.
    const times = ['00:00:00.000', '10:00:00.000', '23:59:59.999'];
    const leaps = times.map((time) => Date.parse(`2024-02-29T${time}Z`));
    const starts = [...CALLS.map(({ startMs }) => startMs), ...leaps];
    const hour = 3_600_000;
    const days = ['2024-03-29', '2025-02-28', '2027-02-28', '2028-02-29'];
    const borders = days.flatMap((day) => times.map((time) => Date.parse(`${day}T${time}Z`)));
    for (const dueMs of [...borders.flatMap((ms) => [ms - 1, ms]), NOW, NOW - 17 * hour]) {
      for (const months of [1, 12, 36, 48]) {
        const rows = await select<{ ms: number }>(
          admin,
          `SELECT toUnixTimestamp64Milli(start_at) AS ms
         FROM (SELECT fromUnixTimestamp64Milli(arrayJoin({starts: Array(Int64)}), 'UTC') AS start_at)
         WHERE ${dueCondition({ months: { all: months, feeds: {} }, dueMs })}`,
          { starts },
        );
        const term = new RetentionTerm(months, dueMs);
        const expected = starts.filter((startMs) => term.isExpired(startMs));
        t.strictSame(
          rows.map(({ ms }) => ms),
          expected,
          `${months} at ${sqlTime(dueMs)}`,
        );
        const border = months === 48 ? Date.parse('2028-02-29') : Date.parse('2027-02-28');
        if (months >= 36)
          t.strictSame(
            leaps.filter((leap) => rows.some(({ ms }) => ms === leap)),
            leaps.filter((ms) => border + (ms - leaps[0]!) <= dueMs),
            `29 February: ${months} at ${sqlTime(dueMs)}`,
          );
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
  const { store, installation } = await made(t, 2, SHORT_TERM);
  await store.store(FEW, versionAt(1));
  const kept = keptOf(FEW, SHORT_TERM, NOW);
  const gone = FEW.filter((call) => !kept.includes(call));
  const both = await Promise.all([1, 2].map(() => installation.run('retention', 'sweep', '--json')));
  t.strictSame(
    both.map(({ code, stderr }) => (code === 0 ? 'done' : stderr)),
    ['done', 'done'],
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
  const { store, installation } = await made(t, 3, SHORT_TERM);
  await store.store(FEW, versionAt(1));
  const kept = keptOf(FEW, SHORT_TERM, NOW);
  const odd = FEW[0]!;
  const ofOddMonth = FEW.filter(({ startMs }) => monthOf(startMs) === monthOf(odd.startMs));
  await store.admin.command({
    query: `ALTER TABLE ${store.database}.cdr_by_number DELETE WHERE cdr_key = ${odd.cdrKey}`,
    clickhouse_settings: { mutations_sync: '1' },
  });
  const { code, stderr, stdout } = await installation.run('retention', 'sweep', '--json');
  t.equal(code, 1);
  t.match(stderr, /SWEEP_TABLES_DIFFER/);
  t.match(JSON.parse(stdout), { months: [{ state: 'refused', code: 'SWEEP_TABLES_DIFFER' }] });
  t.strictSame(await storedIds(store, 'cdr'), idsOf([...ofOddMonth, ...kept]));

  const port = await freePort();
  installation.environment['CDRHOUSE_RETENTION_METRICS_PORT'] = String(port);
  const service = installation.start('retention', 'run');
  t.teardown(() => service.child.kill('SIGKILL'));
  const metrics = async (): Promise<string> => (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  await until('it has looked', async () => /overdue_calls [1-9]/.test(await metrics().catch(() => '')));
  // What is counted so is tried again after an hour.
  t.match(await metrics(), 'cdrhouse_retention_failures_total{code="SWEEP_TABLES_DIFFER"} 1\n');
  service.child.kill('SIGTERM');
  t.equal((await service.ended).stderr.match(/SWEEP_TABLES_DIFFER:/g)?.length, 1, 'it is said once');

  await store.store([odd], versionAt(2));
  await installation.json('retention', 'sweep', '--json');
  t.strictSame(await storedIds(store, 'cdr'), idsOf(kept), 'once they agree it goes');
});

await tap.test('a month of which a hold has no copy stays, the others go', async (t) => {
  const { store, installation } = await made(t, 8, SHORT_TERM);
  const [oldest] = FEW;
  const time = ['--from', new Date(oldest!.startMs).toISOString(), '--to', new Date(NOW).toISOString()];
  const order = ['--until', new Date(NOW + 86_400_000).toISOString(), '--reason', 'order', '--json'];
  await installation.json('retention', 'hold', '--number', oldest!.calling, ...time, ...order);
  // They come when the hold is made already.
  await store.store(FEW, versionAt(1));
  const kept = keptOf(FEW, SHORT_TERM, NOW);
  const gone = FEW.filter((call) => !kept.includes(call));
  const left = gone.filter(({ startMs }) => monthOf(startMs) === monthOf(oldest!.startMs));
  const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
  const nothing = { status: 200, headers: {}, body: Buffer.alloc(0) };
  proxy.on(insertsInto('cdr_held'), async (copy) => copy.answer(nothing), 1);
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
  const lost = await installation.run('retention', 'sweep', '--json');
  t.match([lost.code, lost.stderr], [1, /SWEEP_UNPROVEN/]);
  const { months } = JSON.parse(lost.stdout) as SweepReport;
  t.match(months[0], { month: monthOf(oldest!.startMs), state: 'refused', code: 'SWEEP_UNPROVEN' });
  t.ok(months.length > 1 && months.slice(1).every(({ state }) => state === 'done'));
  for (const table of TABLES) t.strictSame(await storedIds(store, table), idsOf([...left, ...kept]), table);
  t.strictSame(await adjustments(store), adjustmentsOf(gone.filter((call) => !left.includes(call))));

  proxy.on(insertsInto('cdr_held'), async (copy) => copy.refuse(243, 'NOT_ENOUGH_SPACE'), 1);
  const full = await installation.run('retention', 'sweep', '--json');
  t.match([full.code, full.stderr], [1, /CLICKHOUSE_/]);
  t.match(JSON.parse(full.stdout), { months: [{ state: 'refused', code: /^CLICKHOUSE_/ }] });
  t.match(
    await store.rows(
      `SELECT state, code FROM ${store.database}.retention_proofs FINAL WHERE state != 'done' ORDER BY sweep_id`,
    ),
    [
      { state: 'refused', code: 'SWEEP_UNPROVEN' },
      { state: 'refused', code: /^CLICKHOUSE_/ },
    ],
  );

  await installation.json('retention', 'sweep', '--json');
  t.strictSame(await storedIds(store, 'cdr'), idsOf(kept), 'once it has them it goes');
  const { calling } = oldest!;
  t.strictSame(
    await storedIds(store, 'cdr_held'),
    idsOf(gone.filter((call) => [call.calling, call.displayed, call.dialed].includes(calling))),
  );
});

await tap.test('a clock that does not fit', async (t) => {
  const { store, installation } = await made(t, 4);
  const old = [callAt(NOW - 1200 * 86_400_000, 1), callAt(NOW - 20 * 86_400_000, 2)];
  await store.store(old, versionAt(1));
  const silent = await installation.run('retention', 'sweep', '--json');
  t.match([silent.code, silent.stderr], [1, /CLOCK_WRONG: .*newest record/]);
  t.strictSame(await storedIds(store, 'cdr'), idsOf(old));
  await store.insert('ingest_ledger', [{ topic: 'x', stored_at: sqlTime(NOW + 900_000) }]);
  const behind = await installation.run('retention', 'sweep', '--trust-clock');
  t.match([behind.code, behind.stderr], [1, /CLOCK_WRONG: .*ledger/]);
  const person = ['--number', '+33639980001', '--from', '2020-01-01T00:00:00Z', '--reason', 'asked for it'];
  const erased = await installation.run('subject', 'erase', ...person);
  t.match(
    [erased.code, erased.stderr],
    [1, /CLOCK_WRONG: .*ledger/],
    'what bills need is asked of the clock, too',
  );
  const requests = `SELECT 1 FROM ${store.database}.subject_requests`;
  t.strictSame(await store.rows(requests), [], 'nothing is begun');
  t.strictSame(await storedIds(store, 'cdr'), idsOf(old));
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

await tap.test('a TTL that ends behind 2106, where a 32-bit time wraps, takes nothing', async (t) => {
  const store = new CallStore(t, servers, 7);
  await store.create(1200);
  await store.store(FEW, versionAt(1));
  for (const table of TABLES) {
    await store.admin.command({ query: `OPTIMIZE TABLE ${store.database}.${table} FINAL` });
    t.strictSame(await storedIds(store, table), idsOf(FEW), table);
  }
});

/** A row of `restrictions`. */
const right = (request_id: string, number: string, lifted_by: string, changed_at: string) => ({
  request_id,
  number,
  lifted_by,
  changed_at,
  held_from: 1,
  held_to: 2,
  version: lifted_by === '' ? 1 : 2,
});
const ids = (...all: string[]): object[] => all.map((request_id) => ({ request_id }));

await tap.test('what is due beside the calls goes to the day as well, with a proof', async (t) => {
  const store = new CallStore(t, servers, 6);
  await store.create(SHORT_TERM);
  await store.store([callAt(NOW - 86_400_000, 1)], versionAt(1));
  const installation = new Installation(
    t,
    servers,
    6,
    {},
    {
      CDRHOUSE_RETENTION_MONTHS: String(SHORT_TERM),
      CDRHOUSE_RETENTION_DEAD_LETTER_MONTHS: '1',
      CDRHOUSE_RETENTION_REQUEST_MONTHS: '1',
    },
  );
  const [overdue, due, kept] = [
    sqlTime(addMonths(NOW, -1) - 3 * 86_400_000 - 60_000),
    sqlTime(addMonths(NOW, -1) - 60_000),
    sqlTime(addMonths(NOW, -1) + 3_600_000),
  ];
  const place = { topic: 't', topic_id: 'i', partition: 0, line: 1 };
  const letters = [overdue, due, kept].map((message_at, offset) => ({ ...place, offset, message_at }));
  await store.insert(
    'dead_letters',
    letters.map((letter) => ({ ...letter, feed: 'alpha', raw: 'x', rejected_at: 1 })),
  );
  await store.insert('dead_letter_marks', letters);
  // Under the term of the calls.
  await store.insert('lookup_journal', [
    { at: sqlTime(addMonths(NOW, -SHORT_TERM) - 60_000), request_id: 'over' },
    { at: overdue, request_id: 'kept' },
  ]);
  await store.insert('restrictions', [right('over', '+33199000001', '', overdue)]);
  await store.insert('restrictions', [
    right('over', '+33199000001', 'l', due),
    right('holding', '+33199000001', 'l', due),
    right('holding', '+33199000002', '', overdue),
    right('lifted now', '+33199000003', 'l', kept),
  ]);
  const request = (request_id: string, state: string, finished_at: string | null) => ({
    request_id,
    state,
    finished_at,
    kind: 'restrict',
    asked_at: overdue,
    details: '{}',
  });
  await store.insert('subject_requests', [request('over', 'begun', null)]);
  await store.insert('subject_requests', [
    { ...request('over', 'done', overdue), version: 1 },
    request('holding', 'done', overdue),
    request('lifted now', 'done', kept),
    request('open', 'deferred', null),
  ]);
  // A sweep that was broken off.
  await store.insert('table_proofs', [
    { table: 'lookup_journal', sweep_id: '1', state: 'begun', term_months: SHORT_TERM, due_at: overdue },
  ]);

  const status = await installation.json<RetentionStatus>('retention', 'status', '--json');
  const statusOf = (table: string) => status.tables.find((each) => each.table === table);
  t.match(statusOf('dead_letters'), { term_months: 1, overshoot_days: 3 });
  t.match(statusOf('lookup_journal'), { term_months: SHORT_TERM, overshoot_days: 0 });
  t.match(statusOf('subject_requests'), { rows: 5, term_months: 1, overshoot_days: 3 });
  t.match(statusOf('restrictions'), { term_months: 1, overshoot_days: 0 });

  const went = [
    { table: 'dead_letters', rows: 2 },
    { table: 'dead_letter_marks', rows: 2 },
    { table: 'lookup_journal', rows: 1 },
    { table: 'restrictions', rows: 2 },
    { table: 'subject_requests', rows: 2 },
  ];
  const dry = await installation.json<SweepReport>('retention', 'sweep', '--dry-run', '--json');
  t.match(
    dry.tables,
    went.map((each) => ({ ...each, state: 'due' })),
  );
  t.equal((await store.rows(`SELECT 1 FROM ${store.database}.dead_letters`)).length, 3);
  const swept = await installation.json<SweepReport>('retention', 'sweep', '--json');
  t.match(swept.tables, [
    { table: 'lookup_journal', state: 'done', rows: 0 },
    ...went.map((each) => ({ ...each, state: 'done', code: '' })),
  ]);

  const left = (columns: string, table: string): Promise<object[]> =>
    store.rows(`SELECT DISTINCT ${columns} FROM ${store.database}.${table} ORDER BY ALL`);
  for (const table of ['dead_letters', 'dead_letter_marks'])
    t.strictSame(await left('toInt32(offset) AS offset', table), [{ offset: 2 }], table);
  t.strictSame(await left('request_id', 'lookup_journal'), ids('kept'));
  t.strictSame(await left('request_id', 'restrictions'), ids('holding', 'lifted now'));
  t.strictSame(await left('request_id', 'subject_requests'), ids('holding', 'lifted now', 'open'));
  t.strictSame(
    await store.rows(
      `SELECT table, state, toUInt32(rows_after) AS rows_after FROM ${store.database}.table_proofs FINAL WHERE sweep_id = '${swept.sweep_id}' ORDER BY table`,
    ),
    went
      .map(({ table }) => ({ table, state: 'done', rows_after: 0 }))
      .sort((a, b) => (a.table < b.table ? -1 : 1)),
  );
  t.match(await installation.json('retention', 'sweep', '--json'), { tables: [] });
});
