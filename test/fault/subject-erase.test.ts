import tap, { type Test } from 'tap';
import { type Ended, type Installation, SESSION, until } from '../cdrhouse-program.ts';
import { filesWith, writePlainly } from '../erased-traces.ts';
import { eraseCommand, personLines, type ToldReport } from '../subject-program.ts';
import { testServers } from '../test-servers.ts';
import { ClickhouseProxy, insertsInto, type Matches } from './clickhouse-proxy.ts';
import { callLines, house, readAll } from './harness.ts';
import { Sender } from './topic.ts';

const servers = testServers(import.meta.url);
const ERASED = '+33199660017';
const DIGITS = ['99660017'];
const ERASE = eraseCommand(ERASED);

async function contents(installation: Installation): Promise<object[]> {
  const call = 'call_id, calling_number, displayed_caller_id, dialed_number';
  return [
    ...(await installation.rows<object>(
      `SELECT calling_key AS key, ${call} FROM {db}.cdr FINAL ORDER BY ALL`,
    )),
    ...(await installation.rows<object>(
      `SELECT number_key AS key, role, ${call} FROM {db}.cdr_by_number FINAL ORDER BY ALL`,
    )),
    ...(await installation.rows<object>('SELECT raw FROM {db}.dead_letters FINAL ORDER BY ALL')),
    ...(await installation.rows<object>(
      'SELECT kind, feed, hour, sum(calls) AS calls FROM {db}.adjustments FINAL GROUP BY ALL ORDER BY ALL',
    )),
    ...(await installation.rows<object>('SELECT number FROM {db}.restrictions FINAL')),
    ...(await installation.rows<object>(
      "SELECT table, create_table_query LIKE '%old_parts_lifetime%' AS changed FROM system.tables WHERE database = '{db}' AND changed",
    )),
  ];
}

async function erasable(t: Test, index: number): Promise<Installation> {
  const installation = await house(t, servers, index, {
    client: SESSION,
    partitions: 1,
    environment: {
      CDRHOUSE_RETENTION_BILLING_MONTHS: '1',
      CDRHOUSE_RETENTION_METRICS_PORT: '0',
      // The newest record is old.
      CDRHOUSE_RETENTION_SILENCE_DAYS_MAX: '3650',
    },
  });
  await writePlainly(installation);
  const { own, others, bad } = personLines(ERASED, 'a');
  const sender = await Sender.connect(t, servers.kafka);
  const lines = [...own, ...others, ...bad, ...callLines(7, 20)];
  await sender.send(
    installation.database,
    lines.map((line) => ({ partition: 0, value: Buffer.from(line), timestampMs: Date.UTC(2025, 2, 2) })),
  );
  await readAll(installation);
  return installation;
}

/** A statement that changes rows of this table. */
function alters(table: string): Matches {
  return ({ statement }) => statement.includes('ALTER TABLE') && statement.includes(`.${table} DELETE WHERE`);
}

/** Tables whose settings are not those of the migrations. */
function changedTables(installation: Installation): Promise<object[]> {
  return installation.rows<object>(
    `SELECT table FROM system.tables WHERE database = '{db}'
    AND (create_table_query LIKE '%old_parts_lifetime%' OR create_table_query LIKE '%min_rows_to_fsync_after_merge%')`,
  );
}

await tap.test('one that fails, or whose lock is lost, ends and leaves no settings changed', async (t) => {
  const installation = await erasable(t, 2);
  const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
  const run = async (): Promise<Ended> => {
    installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
    const running = installation.run(...ERASE);
    installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = servers.clickhouse;
    return running;
  };
  proxy.on(alters('corrections'), async (exchange) => exchange.refuse(341, 'UNFINISHED'), 1);
  t.match(await run(), { code: 1, stderr: /CLICKHOUSE_/ });
  t.strictSame(await changedTables(installation), []);

  const body = Buffer.from('{"running":1,"failing":0}\n');
  // A change that takes hours.
  const long = proxy.on(
    ({ statement }) => statement.includes('system.mutations'),
    async (exchange) => exchange.answer({ status: 200, headers: {}, body }),
  );
  const running = run();
  await until('it waits for a change', () => long.count() > 2);
  await installation.statement(
    `KILL QUERY WHERE query_id = 'cdrhouse-retention-${installation.database}' ASYNC`,
  );
  t.match(await running, { code: 1, stderr: /RETENTION_BUSY/ });
  t.strictSame(await changedTables(installation), []);
  long.remove();
  t.match(await run(), { code: 0 });
});

await tap.test('killed at every step and called again, the end is that of an undisturbed run', async (t) => {
  const [undisturbed, disturbed] = await Promise.all([erasable(t, 0), erasable(t, 1)]);
  t.match(await undisturbed.json<ToldReport>(...ERASE), { state: 'done', result: { calls_deleted: 2 } });
  const direct = disturbed.environment['CDRHOUSE_CLICKHOUSE_URL']!;
  const steps: readonly (readonly ['before' | 'after', string, Matches])[] = [
    ['after', 'the request begun', insertsInto('subject_requests')],
    ['after', 'restrictions', insertsInto('restrictions')],
    ['after', 'suppressions', insertsInto('suppressions')],
    ['after', 'numbers', insertsInto('erasure_numbers')],
    ['after', 'adjustments', insertsInto('adjustments')],
    ['after', 'copies', insertsInto('cdr_by_number')],
    ['after', 'cdr', alters('cdr')],
    ['before', 'cdr_by_number', alters('cdr_by_number')],
    ['after', 'redacted letters', insertsInto('dead_letters')],
    ['after', 'letters', alters('dead_letters')],
    ['after', 'corrections', alters('corrections')],
    ['after', 'restrictions gone', alters('restrictions')],
    [
      'after',
      'the settings of a table changed',
      ({ statement }) => statement.includes('old_parts_lifetime = 0'),
    ],
    ['before', 'the request', ({ table, body }) => table === 'subject_requests' && body.includes('done')],
  ];
  for (const [when, step, matches] of steps) {
    const proxy = await ClickhouseProxy.start(t, direct);
    // The lock ends with the client, which the proxy would outlive.
    proxy.on(
      ({ statement }) => statement.includes('sleepEachRow'),
      async (lock) => lock.answer(await proxy.forward(lock, { whileClientIsThere: true })),
    );
    const hold = proxy.hold(when, matches);
    disturbed.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
    const running = disturbed.start(...ERASE);
    disturbed.environment['CDRHOUSE_CLICKHOUSE_URL'] = direct;
    await until(`the step ${step}`, () => hold.count() > 0 || running.child.exitCode !== null);
    t.equal(running.child.exitCode, null, `killed ${when} ${step}`);
    running.child.kill('SIGKILL');
    await running.ended;
    await hold.release();
  }
  // All is done but its record, and nobody but who asked knows the numbers any more.
  const service = disturbed.start('retention', 'run');
  await until('the service tells', () => service.stderr().includes('ERASURE_NUMBERS_GONE'));
  service.child.kill('SIGTERM');
  await service.ended;
  const told = await disturbed.json<ToldReport>(...ERASE);
  t.match(told, { state: 'done', result: { calls_deleted: 2 } });
  t.strictSame(await contents(disturbed), await contents(undisturbed));
  t.strictSame(await filesWith(disturbed, ERASED, DIGITS), []);
});
