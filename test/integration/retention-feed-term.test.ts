import tap from 'tap';
import type { RetentionStatus, TopicStatus } from '../../retention/status.ts';
import type { SweepReport } from '../../retention/sweep.ts';
import type { UsageAnswer } from '../../schemas/api.ts';
import { addMonths } from '../../schemas/retention-term.ts';
import { Installation } from '../cdrhouse-program.ts';
import { keptOf, monthsOfCalls } from '../retention/months-of-calls.ts';
import { testServers } from '../test-servers.ts';
import { CallsClient, serve, type ToldCall } from './calls-client.ts';

/** A feed whose calls are kept for a shorter time than those of another one. */
const servers = testServers(import.meta.url);
const [database] = servers.databases;
const NOW = Date.now();
const TERM = 36;
const BEFORE = 12;
const SHORT = 3;
const CALLING = '+33199000001';
const CALLS = monthsOfCalls(NOW, 15, SHORT);
const [KEPT_BEFORE, KEPT] = [keptOf(CALLS, BEFORE, NOW), keptOf(CALLS, SHORT, NOW)];
const GONE = KEPT_BEFORE.filter((call) => !KEPT.includes(call));
/** All that is kept can be asked for. */
const AROUND = {
  from: new Date(CALLS[0]!.startMs).toISOString(),
  to: new Date(NOW + 1000).toISOString(),
};

const settings = (months: number | undefined): string =>
  JSON.stringify({
    feeds: [
      { name: 'long', topic: database },
      { name: 'short', topic: `${database}_short`, retention_months: months },
    ],
    kafka: { topic_partitions: 1 },
  });
const installation = new Installation(tap, servers, 0, {});
const install = (months: number | undefined): void => {
  installation.environment['CDRHOUSE_CONFIG'] = installation.write('cdrhouse.yaml', settings(months));
};
const ship = (feed: string): Promise<unknown> => {
  const lines = CALLS.map(
    ({ startMs }, index) => `${CALLING},,+33199000002,${new Date(startMs).toISOString()},${index}`,
  );
  return installation.json(
    'ship',
    '--again',
    '--feed',
    feed,
    installation.write(`${feed}.csv`, `${lines.join('\n')}\n`),
  );
};
const startsOf = (feed: string, calls: readonly { startMs: number }[]): string[] =>
  calls.map(({ startMs }) => `${feed} ${startMs}`).sort();
const stored = async (table: 'cdr' | 'cdr_by_number'): Promise<string[]> => {
  const rows = await installation.rows<{ name: string }>(
    `SELECT DISTINCT concat(feed, ' ', toString(toUnixTimestamp64Milli(start_at))) AS name FROM {db}.${table} FINAL`,
  );
  return rows.map(({ name }) => name).sort();
};
const namesOf = (rows: readonly { feed: string; start: string }[]): string[] =>
  rows.map(({ feed, start }) => `${feed} ${Date.parse(start)}`).sort();
const term = (...options: string[]): string[] => ['retention', 'term', '--feed', 'short', ...options];

await tap.test('ingest stores no call of the feed that is past its term', async (t) => {
  install(BEFORE);
  t.equal((await installation.run('migrate')).code, 0);
  await ship('long');
  await ship('short');
  t.match(await installation.json('ingest', '--until-idle'), {
    stored: CALLS.length + KEPT_BEFORE.length,
    skipped_by_reason: { expired: CALLS.length - KEPT_BEFORE.length },
  });
  const all = [...startsOf('long', CALLS), ...startsOf('short', KEPT_BEFORE)].sort();
  for (const table of ['cdr', 'cdr_by_number'] as const) t.strictSame(await stored(table), all, table);
});

await tap.test(
  'a shorter term of a feed that has calls is an operator’s command, with a dry run',
  async (t) => {
    install(SHORT);
    for (const command of [['migrate'], ['ingest', '--until-idle'], ['retention', 'sweep']]) {
      const { code, stderr } = await installation.run(...command);
      t.match(
        [code, stderr],
        [1, /RETENTION_DIFFERS: of feed short the settings say 3 months, the database 12/],
      );
    }
    const longer = await installation.run(...term('--months', String(TERM + 1)));
    t.match([longer.code, longer.stderr], [2, /USAGE_WRONG: --months: all calls are kept for 36 months/]);
    const unknown = await installation.run('retention', 'term', '--feed', 'shrot', '--months', '3');
    t.match([unknown.code, unknown.stderr], [2, /FEED_UNKNOWN/]);

    const dry = await installation.json<SweepReport>(
      ...term('--months', String(SHORT), '--dry-run', '--json'),
    );
    t.match(dry, { calls: GONE.length, feed_terms: { short: SHORT } });
    t.strictSame(await installation.json(...term('--months', String(SHORT), '--json')), {
      feed: 'short',
      months_before: BEFORE,
      months: SHORT,
    });
  },
);

await tap.test('reads do not reach behind it, though nothing is swept yet', async (t) => {
  const until = new Date(NOW + 86_400_000).toISOString();
  const held = ['--number', CALLING, '--from', AROUND.from, '--to', AROUND.to, '--until', until];
  await installation.json('retention', 'hold', ...held, '--reason', 'order', '--json');
  const url = await serve(t, installation);
  const keyOf = async (...roles: string[]): Promise<string> => {
    const { token } = await installation.json<{ token: string }>('keys', 'add', '--role', ...roles, '--json');
    return token;
  };
  const token = await keyOf('disputes', 'billing');
  const agent = new CallsClient(url, token);
  const lawyer = new CallsClient(url, await keyOf('disputes', 'billing', 'legal'));
  const rowsOf = async (client: CallsClient, path: string, more: Record<string, string>) => {
    const text = await client.text(path, { ...AROUND, ...more, format: 'ndjson' });
    const rows = text.trim().split('\n').slice(0, -1);
    return rows.map((row) => JSON.parse(row) as ToldCall);
  };
  const found = (client: CallsClient) => rowsOf(client, '/v1/calls', { number: CALLING });

  const all = [...startsOf('long', CALLS), ...startsOf('short', KEPT)].sort();
  t.strictSame(namesOf(await found(agent)), all);
  const withHeld = await found(lawyer);
  t.strictSame(namesOf(withHeld.filter((row) => !row.held)), all);
  t.strictSame(namesOf(withHeld.filter((row) => row.held)), startsOf('short', GONE), 'copies of the hold');
  for (const client of [agent, lawyer])
    t.strictSame(namesOf(await rowsOf(client, '/v1/records', {})), all, 'records for billing');
  const gone = withHeld.find((row) => row.held)!;
  t.match(await agent.get(`/v1/calls/${gone.id}`), { status: 404, body: { code: 'CALL_UNKNOWN' } });
  t.match(await lawyer.get(`/v1/calls/${gone.id}`), { status: 200, body: { data: { held: true } } });
  const still = withHeld.find((row) => row.feed === 'short' && !row.held)!;
  t.match(await agent.get(`/v1/calls/${still.id}`), { status: 200, body: { data: { held: false } } });
  const { body } = await agent.get('/v1/calls', { number: CALLING, ...AROUND });
  t.match(body, {
    matched: { calls: String(all.length) },
    complete: { kept_since: null, feeds: { long: { kept_since: null }, short: { kept_since: String } } },
  });
  t.equal(Date.parse(body.complete.feeds['short']!.kept_since!) >= addMonths(NOW, -SHORT), true);

  const usage = await agent.get<UsageAnswer>('/v1/usage', { ...AROUND, group_by: 'feed', control: 'true' });
  t.match(
    usage.body.data.map(({ feed, records }) => [feed, records]),
    [
      ['long', String(CALLS.length)],
      ['short', String(KEPT.length)],
    ],
  );
  t.match(usage.body.control!.feeds, [
    { feed: 'long', live: String(CALLS.length), duplicates: '0', not_in_ledger: '0' },
    { feed: 'short', live: String(KEPT.length), duplicates: '0', not_in_ledger: '0' },
  ]);
});

await tap.test('the sweep takes them to the day, and those of no other feed', async (t) => {
  // What stood there before a correction, of either feed, and rejected records as old.
  const old = '2020-01-01 00:00:00.000';
  const mine = (feed: string): string =>
    `('${feed}', 't', 'i', 0, 1, 1, 'START_INVALID', 'x', now64(3, 'UTC') - INTERVAL ${SHORT + 1} MONTH)`;
  await installation.statement(
    `INSERT INTO {db}.dead_letters (feed, topic, topic_id, partition, offset, line, code, raw, message_at) VALUES ${mine('long')}, ${mine('short')}`,
  );
  const before = (feed: string): string =>
    `(1, '${feed}', now64(3, 'UTC') - INTERVAL ${SHORT + 1} MONTH, '{"feed":"${feed}"}', '${old}')`;
  await installation.statement(
    `INSERT INTO {db}.corrections (cdr_key, request_id, start_at, row, corrected_at) VALUES ${before('long')}, ${before('short')}`,
  );

  const status = await installation.json<RetentionStatus & { topics: TopicStatus[] }>(
    'retention',
    'status',
    '--json',
  );
  t.match(status, { term_months: TERM, feed_terms: { short: SHORT } });
  t.equal(
    status.months.reduce((sum, { overdue_calls: overdue }) => sum + overdue, 0),
    GONE.length,
  );
  const days = Math.floor((NOW - addMonths(GONE[0]!.startMs, SHORT)) / 86_400_000);
  t.ok(status.overshoot_days >= days && status.overshoot_days <= days + 1);

  const swept = await installation.json<SweepReport>('retention', 'sweep', '--json');
  t.match(swept, { calls: GONE.length, feed_terms: { short: SHORT } });
  t.strictSame(new Set(swept.months.map(({ state, kind }) => `${state} ${kind}`)), new Set(['done delete']));
  const all = [...startsOf('long', CALLS), ...startsOf('short', KEPT)].sort();
  for (const table of ['cdr', 'cdr_by_number'] as const) t.strictSame(await stored(table), all, table);
  for (const [table, name] of [
    ['dead_letters', 'feed'],
    ['corrections', 'request_id'],
  ] as const)
    t.strictSame(
      await installation.rows(`SELECT ${name} AS name FROM {db}.${table}`),
      [{ name: 'long' }],
      table,
    );
  const [proof] = await installation.rows<{ terms: Record<string, number> }>(
    'SELECT feed_terms AS terms FROM {db}.retention_proofs FINAL LIMIT 1',
  );
  t.strictSame(proof!.terms, { short: SHORT });
  t.match(
    await installation.json('retention', 'sweep', '--json'),
    { calls: 0, months: [] },
    'nothing is left',
  );
});

await tap.test('the audit explains what is gone, and nothing comes back', async (t) => {
  t.match(await installation.json('audit', '--json'), { swept: GONE.length, differences: [] });
  await ship('short');
  t.match(await installation.json('ingest', '--until-idle'), {
    stored: KEPT.length,
    skipped_by_reason: { expired: CALLS.length - KEPT.length },
  });
  const all = [...startsOf('long', CALLS), ...startsOf('short', KEPT)].sort();
  t.strictSame(await stored('cdr'), all);
});
