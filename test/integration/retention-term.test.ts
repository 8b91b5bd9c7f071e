import tap from 'tap';
import type { RetentionStatus, TopicStatus } from '../../retention/status.ts';
import type { SweepReport } from '../../retention/sweep.ts';
import type { UsageAnswer } from '../../schemas/api.ts';
import { addMonths } from '../../schemas/retention-term.ts';
import { Installation, until } from '../cdrhouse-program.ts';
import { keptOf, monthsOfCalls } from '../retention/months-of-calls.ts';
import { testServers } from '../test-servers.ts';

/** Calls that came through ingest become overdue by a shorter term; who counts them afterwards finds why they are gone. */
const servers = testServers(import.meta.url);
const NOW = Date.now();
const DAY_MS = 86_400_000;
const LONG = 60;
const TERM = 36;
/** Not so old that ClickHouse's own TTL takes any before the sweep. */
const CALLS = monthsOfCalls(NOW, 37, TERM);
const KEPT = keptOf(CALLS, TERM, NOW);
const installation = new Installation(
  tap,
  servers,
  0,
  { feeds: [{ name: 'steady', topic: servers.databases[0] }], kafka: { topic_partitions: 1 } },
  { CDRHOUSE_RETENTION_MONTHS: String(LONG) },
);
const lines = CALLS.map(
  ({ startMs }, index) => `+33199000001,,+33199000002,${new Date(startMs).toISOString()},${index}`,
);

async function ttlOf(table: string): Promise<string> {
  const [row] = await installation.rows<{ query: string }>(
    `SELECT create_table_query AS query FROM system.tables WHERE database = '{db}' AND name = '${table}'`,
  );
  return /TTL (.*?) SETTINGS/.exec(row!.query)![1]!;
}

await tap.test('a shorter term: the dry run says what would go, and then it may', async (t) => {
  await installation.run('migrate');
  await installation.json(
    'ship',
    installation.write('a.csv', [...lines, ...lines.slice(0, 5), ''].join('\n')),
  );
  t.match(await installation.json('ingest', '--until-idle'), { stored: CALLS.length + 5 });

  const dry = await installation.json<SweepReport>(
    'retention',
    'term',
    '--months',
    String(TERM),
    '--dry-run',
    '--json',
  );
  t.equal(dry.calls, CALLS.length - KEPT.length);
  t.equal(await ttlOf('cdr'), 'start_at + toIntervalMonth(61)', 'nothing is changed by it');

  t.strictSame(await installation.json('retention', 'term', '--months', String(TERM), '--json'), {
    feed: null,
    months_before: LONG,
    months: TERM,
  });
  for (const table of ['cdr', 'cdr_by_number']) t.equal(await ttlOf(table), 'start_at + toIntervalMonth(37)');
  t.equal(await ttlOf('dead_letters'), 'message_at + toIntervalMonth(37)');
  t.equal(await ttlOf('lookup_journal'), 'at + toIntervalMonth(37)');
  t.equal(await ttlOf('suppressions'), 'to_at + toIntervalMonth(37)', 'as long as a call can come again');
  await until('the parts know it', async () => {
    const [row] = await installation.rows<{ left: string }>(
      `SELECT toString(count()) AS left FROM system.mutations WHERE database = '{db}' AND NOT is_done`,
    );
    return row!.left === '0';
  });
  const ingest = await installation.run('ingest', '--until-idle');
  t.match([ingest.code, ingest.stderr], [1, /RETENTION_DIFFERS/], 'services follow by hand');
  installation.environment['CDRHOUSE_RETENTION_MONTHS'] = String(TERM);
});

await tap.test('the status says what is overdue, and how long Kafka keeps', async (t) => {
  const status = await installation.json<RetentionStatus & { topics: TopicStatus[] }>(
    'retention',
    'status',
    '--json',
  );
  const overdue = CALLS.filter((call) => !KEPT.includes(call));
  t.match(status, { term_months: TERM, clock: null });
  t.equal(
    status.months.reduce((sum, { calls }) => sum + calls, 0),
    CALLS.length,
  );
  t.equal(
    status.months.reduce((sum, { overdue_calls }) => sum + overdue_calls, 0),
    overdue.length,
  );
  const [oldest] = status.months;
  t.match(oldest, { oldest_start: new Date(CALLS[0]!.startMs).toISOString(), delayed_by: ['not swept yet'] });
  const days = Math.floor((NOW - addMonths(CALLS[0]!.startMs, TERM)) / DAY_MS);
  t.ok(oldest!.overshoot_days >= days && oldest!.overshoot_days <= days + 1);
  t.equal(status.overshoot_days, oldest!.overshoot_days);
  t.match(status.months.at(-1), { overdue_calls: 0, overshoot_days: 0, delayed_by: [] });
  t.match(
    status.tables.find(({ table }) => table === 'ingest_ledger'),
    { term_months: null, overshoot_days: 0 },
  );
  t.match(
    status.tables.find(({ table }) => table === 'dead_letters'),
    { term_months: TERM, rows: 0, oldest: null },
  );
  t.match(status.topics, [{ topic: servers.databases[0], retention_ms: 14 * DAY_MS, warning: null }]);
  t.ok(Date.parse(status.topics[0]!.oldest_record!) >= NOW - 1000, 'its oldest record was sent just now');
});

await tap.test('sweep beside ingest: what comes late is expired, and is not stored', async (t) => {
  const ingest = installation.start('ingest');
  t.teardown(() => ingest.child.kill('SIGKILL'));
  await installation.json('ship', '--again', installation.write('b.csv', `${lines.join('\n')}\n`));
  const report = await installation.json<SweepReport>('retention', 'sweep', '--json');
  t.strictSame(new Set(report.months.map(({ state }) => state)), new Set(['done']));
  await until('all is read again', async () => {
    const [row] = await installation.rows<{ expired: string }>(
      `SELECT toString(sum(skipped_by_reason['expired'])) AS expired FROM {db}.ingest_ledger FINAL`,
    );
    return row!.expired === String(CALLS.length - KEPT.length);
  });
  ingest.child.kill('SIGTERM');
  await ingest.ended;
  const starts = await installation.rows<{ ms: string }>(
    'SELECT toString(toUnixTimestamp64Milli(start_at)) AS ms FROM {db}.cdr FINAL ORDER BY start_at',
  );
  t.strictSame(
    starts.map(({ ms }) => Number(ms)),
    KEPT.map(({ startMs }) => startMs).sort((a, b) => a - b),
  );
});

await tap.test('the audit and the control totals explain what is gone', async (t) => {
  const gone = CALLS.length - KEPT.length;
  t.match(await installation.json('audit', '--json'), {
    swept: gone,
    elsewhere: KEPT.length + 5,
    differences: [],
  });

  const serve = installation.start('serve');
  t.teardown(() => serve.child.kill('SIGKILL'));
  await until('it listens', () => serve.stderr().includes('listening on'));
  const url = /listening on (\S+)/.exec(serve.stderr())![1]!;
  const { token } = await installation.json<{ token: string }>('keys', 'add', '--role', 'billing', '--json');
  // From behind the term on, as far as ClickHouse's own TTL would not have been.
  const fromMs = Math.floor(addMonths(NOW, -TERM) / DAY_MS - 10) * DAY_MS;
  const [from, to] = [fromMs, fromMs + 1116 * DAY_MS].map((ms) => new Date(ms).toISOString());
  const answer = await fetch(`${url}/v1/usage?from=${from}&to=${to}`, {
    headers: { authorization: `Bearer ${token}` },
  });
  const { control } = (await answer.json()) as UsageAnswer;
  const inRange = CALLS.filter(({ startMs }) => startMs >= fromMs);
  t.match(control!.feeds[0], {
    live: String(KEPT.length),
    swept: String(inRange.length - KEPT.length),
    duplicates: String(KEPT.length),
    not_in_ledger: '0',
  });
});
