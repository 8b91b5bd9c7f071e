import tap from 'tap';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SweepReport } from '../../retention/sweep.ts';
import { until } from '../cdrhouse-program.ts';
import { CallsClient, serve } from '../integration/calls-client.ts';
import { eraseCommand, personLines, type ToldReport } from '../subject-program.ts';
import { testServers } from '../test-servers.ts';
import { ClickhouseProxy } from './clickhouse-proxy.ts';
import { callLines, house, Load, readAll, startIngest, storedLines } from './harness.ts';
import { Sender } from './topic.ts';

const servers = testServers(import.meta.url);
const ERASED = '+33199550017';
const DAY_MS = 86_400_000;
/** Overdue under a term of 36 months, and not so old that ClickHouse takes them by itself. */
const OVERDUE = Array.from(
  { length: 50 },
  (_, index) =>
    `+33199000001,,+33199000002,${new Date(Date.now() - (1100 + index / 3) * DAY_MS).toISOString()},${index},,overdue-${index},,`,
);

await tap.test(
  'beside ingest at full speed, a sweep and look-ups, with a writer that was stopped before its insert and woken behind the erasure, nothing else is lost and nothing of the person comes back',
  async (t) => {
    // The right to write lasts longer than the erasure waits: only the suppressions' own deadline keeps the writer off.
    const client = { 'session.timeout.ms': 45_000, 'heartbeat.interval.ms': 500 };
    const installation = await house(t, servers, 0, {
      client,
      partitions: 2,
      environment: { CDRHOUSE_RETENTION_BILLING_MONTHS: '1', CDRHOUSE_RETENTION_MONTHS: '60' },
    });
    const sender = await Sender.connect(t, servers.kafka);
    const { database } = installation;
    const lines = callLines(11, 6000);
    const first = personLines(ERASED, 'first');
    const persons = personLines(ERASED, 'before');
    const send = (load: Load, own: readonly string[]): Promise<void> =>
      sender.send(database, [
        ...load.messages,
        ...own.map((line, i) => ({ partition: i % 2, value: Buffer.from(line) })),
      ]);
    await send(new Load(2), [...first.own, ...first.others, ...OVERDUE]);
    await readAll(installation);
    await installation.json('retention', 'term', '--months', '36', '--json');
    installation.environment['CDRHOUSE_RETENTION_MONTHS'] = '36';
    const url = await serve(t, installation);
    const { token } = await installation.json<{ token: string }>(
      'keys',
      'add',
      '--role',
      'disputes',
      '--json',
    );
    const agent = new CallsClient(url, token);
    const range = { from: new Date(Date.now() - 1000 * DAY_MS).toISOString(), to: new Date().toISOString() };
    const lookUp = () => agent.get('/v1/calls', { number: ERASED, ...range, limit: '1000' });
    const direct = installation.environment['CDRHOUSE_CLICKHOUSE_URL']!;
    const proxy = await ClickhouseProxy.start(t, direct);
    const hold = proxy.hold(
      'before',
      (exchange) => exchange.table === 'cdr' && exchange.body.includes(ERASED),
    );
    installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
    const stopped = startIngest(t, installation);
    installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = direct;
    await send(new Load(2).calls(lines.slice(0, 2000), 20), [...persons.own, ...persons.others]);
    await hold.reached;
    stopped.child.kill('SIGSTOP');
    const running = startIngest(t, installation);
    t.not((await lookUp()).body.matched['calls'], '0', 'there is something to be found');
    const erasing = installation.json<ToldReport>(...eraseCommand(ERASED));
    const sweeping = installation.json<SweepReport>('retention', 'sweep', '--json');
    const erased = new AbortController();
    const lookingUp = (async () => {
      const statuses = new Set<number>();
      for (let looks = 0; looks < 1000 && !erased.signal.aborted; looks++) {
        statuses.add((await lookUp()).status);
        await sleep(50);
      }
      return statuses;
    })();
    const meanwhile = personLines(ERASED, 'meanwhile');
    await send(new Load(2).calls(lines.slice(2000, 4000), 20), [...meanwhile.own, ...meanwhile.others]);
    const told = await erasing;
    t.match(told, { state: 'done', result: { calls_deleted: first.own.length } });
    erased.abort();
    t.strictSame(await lookingUp, new Set([200]), 'look-ups are answered all the time');
    t.match(await lookUp(), { body: { matched: { calls: '0' } } }, 'nothing is found');
    const swept = await sweeping;
    t.equal(swept.calls, OVERDUE.length);
    t.strictSame(new Set(swept.months.map(({ state }) => state)), new Set(['done']));
    stopped.child.kill('SIGCONT');
    await hold.release();
    const after = personLines(ERASED, 'after');
    await send(new Load(2).calls(lines.slice(4000), 20), [...after.own, ...after.others]);

    const blanked = [first, persons, meanwhile, after].flatMap(({ others }) =>
      others.map((line) => line.replace(ERASED, '+331995')),
    );
    const expected = [...lines, ...blanked].sort();
    await until('all is stored', async () => (await storedLines(installation)).length >= expected.length);
    for (const { child, ended } of [stopped, running]) {
      child.kill('SIGTERM');
      await ended;
    }
    t.strictSame((await storedLines(installation)).sort(), expected);
    const found = await installation.rows(
      `SELECT call_id FROM {db}.cdr WHERE '${ERASED}' IN (calling_number, dialed_number)
       UNION ALL SELECT call_id FROM {db}.cdr_by_number WHERE '${ERASED}' IN (calling_number, dialed_number)`,
    );
    t.strictSame(found, [], 'not even in rows that are not read');
    t.match(await lookUp(), { body: { matched: { calls: '0' } } }, 'nor afterwards');
    const audited = await installation.run('audit', '--strict', '--json');
    t.equal(audited.code, 0, audited.stdout);
    t.match(
      JSON.parse(audited.stdout),
      { swept: OVERDUE.length, differences: [] },
      'what is gone is explained',
    );
  },
);
