import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import tap, { type Test } from 'tap';
import { finishErasures } from '../../retention/erase.ts';
import type { UsageAnswer } from '../../schemas/api.ts';
import { isSigned } from '../../schemas/certificate.ts';
import { loadSettings } from '../../settings-loader.ts';
import { Installation, SESSION, until, whenIdle } from '../cdrhouse-program.ts';
import { filesWith, writePlainly } from '../erased-traces.ts';
import { ClickhouseProxy, insertsInto } from '../fault/clickhouse-proxy.ts';
import { readAll } from '../fault/harness.ts';
import type { ToldReport } from '../subject-program.ts';
import { testServers } from '../test-servers.ts';
import { addKey, CallsClient, serve } from './calls-client.ts';

const servers = testServers(import.meta.url);
const ERASED = '+33199770017';
const DAY_MS = 86_400_000;
/** `retention.backup_days`, its default. */
const BACKUP_MS = 35 * DAY_MS;
/** What of the number must not be found anywhere, however it is spelt. */
const DIGITS = ['99770017', '99 77 00 17', '99-77-00-17', '99.77.00.17'];
const [OTHER, THIRD] = ['+33199770098', '+33199770099'] as const;
const FROM = '2025-01-01T00:00:00Z';
const TO = '2026-01-01T00:00:00Z';

/** A call that is known by its id. */
function call(
  id: string,
  [calling, displayed, dialed]: readonly [string, string, string],
  start: string,
): string {
  return `${calling},${displayed},${dialed},${start},60,50,${id},answered,`;
}

const KEPT = [
  call('other', [OTHER, OTHER, THIRD], '2025-03-01T10:00:00Z'),
  call('dialed', [OTHER, OTHER, ERASED], '2025-03-01T11:00:00Z'),
  call('displayed', [OTHER, ERASED, THIRD], '2025-04-01T11:00:00Z'),
  call('both', [THIRD, ERASED, ERASED], '2025-04-02T11:00:00Z'),
];
const OWN = [
  call('own', [ERASED, ERASED, OTHER], '2025-03-01T12:00:00Z'),
  call('own-shown', [ERASED, THIRD, OTHER], '2025-05-01T12:00:00Z'),
  call('own-self', [ERASED, ERASED, ERASED], '2025-06-01T12:00:00Z'),
];
/** Records that cannot be read, with the number in several spellings. */
const REJECTED = [ERASED, '0199770017', '0033199770017', '01 99 77 00 17', '+33-1-99-77-00-17'].flatMap(
  (spelling, i) => [
    `${spelling},${spelling},${OTHER},never-${i},60`,
    `${OTHER},${OTHER},${spelling},2025-03-01T10:00:00Z,-${i}`,
  ],
);
const OTHERS_REJECTED = `${OTHER},${OTHER},${THIRD},never,60`;

async function installed(
  t: Test,
  index: number,
  environment: Readonly<Record<string, string>> = {},
): Promise<Installation> {
  const feed = { name: 'pbx', topic: servers.databases[index], country: 'FR' };
  const installation = new Installation(
    t,
    servers,
    index,
    { feeds: [feed], kafka: { client: SESSION } },
    environment,
  );
  const { code, stderr } = await installation.run('migrate');
  if (code !== 0) throw new Error(stderr);
  await writePlainly(installation);
  return installation;
}

/** Sends lines and reads them, in an insert of their own. */
async function stored(installation: Installation, ...lines: readonly string[]): Promise<void> {
  const path = installation.write(`${Date.now()}.csv`, `${lines.join('\n')}\n`);
  await installation.json('ship', '--again', '--json', path);
  await readAll(installation);
}

async function ids(installation: Installation): Promise<string[]> {
  const rows = await installation.rows<{ call_id: string }>(
    'SELECT call_id FROM {db}.cdr FINAL ORDER BY call_id',
  );
  return rows.map(({ call_id }) => call_id);
}

/** Every row of the tables that is read, without what differs from one installation to the other. */
async function contents(installation: Installation): Promise<object[]> {
  const columns = 'call_id, calling_number, displayed_caller_id, dialed_number, start_at, duration_ms';
  return [
    ...(await installation.rows<object>(
      `SELECT calling_key AS key, 'calling' AS role, ${columns} FROM {db}.cdr FINAL ORDER BY ALL`,
    )),
    ...(await installation.rows<object>(
      `SELECT number_key AS key, role, ${columns} FROM {db}.cdr_by_number FINAL ORDER BY ALL`,
    )),
    ...(await installation.rows<object>('SELECT code, raw FROM {db}.dead_letters FINAL ORDER BY ALL')),
  ];
}

/** The id by which a person names a call of theirs. */
async function idOf(installation: Installation, callId: string, number: string): Promise<string> {
  const out = join(installation.folder, 'export');
  const person = ['--number', number, '--from', FROM, '--to', TO, '--reason', 'which call'];
  await installation.json('subject', 'export', ...person, '--out', out, '--json');
  const calls = JSON.parse(readFileSync(join(out, 'calls.json'), 'utf8')) as {
    readonly id: string;
    readonly call_id: string;
  }[];
  return calls.find((each) => each.call_id === callId)!.id;
}

const ERASE = [
  'subject',
  'erase',
  '--number',
  ERASED,
  '--from',
  FROM,
  '--to',
  TO,
  '--reason',
  'asked for it',
];

/** The messages of dead letters are as new as the test, so that their time is as well. */
const OPEN = ['subject', 'erase', '--number', ERASED, '--from', FROM, '--reason', 'asked for it', '--json'];

await tap.test('nothing of the person is left, on disk either, and nothing comes back', async (t) => {
  const installation = await installed(t, 0, { CDRHOUSE_RETENTION_BILLING_MONTHS: '0' });
  await stored(installation, ...KEPT.slice(0, 2), ...OWN.slice(0, 1), ...REJECTED, OTHERS_REJECTED);
  await stored(installation, ...KEPT.slice(2), ...OWN.slice(1));
  // Parts that were merged, and those that they came from.
  await installation.statement('OPTIMIZE TABLE {db}.cdr PARTITION 202503 FINAL');
  t.not((await filesWith(installation, ERASED, DIGITS)).length, 0, 'the search finds what is there');

  const dry = await installation.json<ToldReport>(...OPEN, '--dry-run');
  t.match(dry, {
    request_id: null,
    state: 'dry_run',
    result: { calls_to_delete: 3, calls_to_blank: 3, dead_letters_to_redact: REJECTED.length },
  });
  t.equal((await ids(installation)).length, KEPT.length + OWN.length, 'a dry run changes nothing');

  const told = await installation.json<ToldReport>(...OPEN);
  t.match(told, {
    state: 'done',
    result: {
      calls_deleted: 3,
      dead_letters_redacted: REJECTED.length,
      found_afterwards: { rows: 0, keys: 0, dead_letters: 0 },
    },
  });
  t.ok(isSigned(told.certificate!));
  t.notMatch(JSON.stringify(told), /99770017/);
  // A topic keeps for 14 days, and a segment of it takes records for the 7 days of the broker's default.
  const begunMs = Date.parse(told.certificate!.certificate['begun_at'] as string);
  t.match(told.result, {
    residue: { kafka_until: new Date(begunMs + (14 + 7) * DAY_MS).toISOString() },
  });
  t.strictSame(await ids(installation), ['both', 'dialed', 'displayed', 'other']);
  t.strictSame(await filesWith(installation, ERASED, DIGITS), []);

  const after = await contents(installation);
  t.match(
    await installation.rows(
      "SELECT displayed_caller_id, dialed_number FROM {db}.cdr FINAL WHERE call_id = 'both'",
    ),
    [{ displayed_caller_id: '+331997', dialed_number: '+331997' }],
    'what is left is what the call is rated by',
  );
  const [letter] = await installation.rows<{ raw: string }>(
    `SELECT raw FROM {db}.dead_letters FINAL WHERE raw LIKE '%,never,%'`,
  );
  t.equal(letter?.raw, OTHERS_REJECTED, 'records of others are as they were');

  const billing = new CallsClient(await serve(t, installation), await addKey(installation, 'billing'));
  const controlTotals = async (): Promise<object> => {
    const { body } = await billing.get<UsageAnswer>('/v1/usage', { from: FROM, to: TO });
    return { records: body.total.records, ...body.control!.feeds[0] };
  };
  const left = { records: '4', live: '4', duplicates: '0', corrected: '0', removed: '0', swept: '0' };
  t.match(
    await controlTotals(),
    { ...left, accepted: '7', erased: '3', not_in_ledger: '0' },
    'control totals explain what is gone',
  );

  const topic = servers.databases[0]!;
  const rewound = await whenIdle(installation, 'ingest', 'rewind', '--topic', topic, '--to-offset', '0');
  t.equal(rewound.code, 0);
  const again = await readAll(installation);
  t.match(again, { suppressed: 3, blanked: 3, rejected: REJECTED.length + 1 });
  t.strictSame(await contents(installation), after, 'read from the start, the same is there');
  t.strictSame(await filesWith(installation, ERASED, DIGITS), []);
  const ledger = await installation.rows<Record<string, string>>(
    'SELECT sum(ledger.suppressed) AS suppressed, sum(ledger.blanked) AS blanked, min(suppressions_version) > 0 AS known FROM {db}.ingest_ledger AS ledger FINAL WHERE ledger.suppressed > 0',
  );
  t.match(ledger, [{ suppressed: '3', blanked: '3', known: 1 }]);
  t.match(
    await controlTotals(),
    { ...left, accepted: '4', erased: '0', not_in_ledger: '0', since_start: { suppressed: '3' } },
    'what is suppressed is accepted no longer',
  );

  await installation.json('dead-letters', 'replay', '--json');
  t.strictSame(await contents(installation), after, 'a replay of dead letters brings nothing back');
  const verified = ['subject', 'verify', '--id', told.request_id!, '--number', ERASED, '--json'];
  const signedMs = Date.parse(told.certificate!.certificate['signed_at'] as string);
  t.match(await installation.json(...verified), {
    verified: true,
    residue: { backups_until: new Date(signedMs + BACKUP_MS).toISOString() },
  });
  t.equal((await installation.run('keys', 'rotate-journal')).code, 0);
  t.match(await installation.json(...verified), { verified: true }, 'under another journal key');
  installation.environment['CDRHOUSE_KAFKA_BROKERS'] = '127.0.0.1:1';
  t.match(
    await installation.json(...verified),
    { verified: true, residue: { kafka_until: null, kafka_unknown: /KAFKA_UNREACHABLE/ } },
    'Kafka is away',
  );
  t.equal((await installation.run(...verified.slice(0, 5), OTHER)).code, 2, 'other numbers are refused');

  await installation.statement(
    `INSERT INTO {db}.cdr (calling_key, calling_number, start_at, feed, cdr_key, version) VALUES (1, '${ERASED}', '2025-03-01', 'pbx', 1, 1)`,
  );
  const { code, stderr } = await installation.run(...verified);
  t.equal(code, 1, 'a row that someone brought back is found');
  t.match(stderr, 'ERASURE_UNPROVEN');
});

await tap.test(
  'what bills need is deferred, restricted meanwhile, and finished when it is due',
  async (t) => {
    const installation = await installed(t, 1, { CDRHOUSE_RETENTION_BILLING_MONTHS: '600' });
    const before = call('before', [ERASED, ERASED, OTHER], '2024-12-31T23:59:59Z');
    const behind = call('behind', [OTHER, OTHER, ERASED], '2026-01-01T00:00:00Z');
    await stored(installation, ...KEPT, ...OWN, before, behind);
    const told = await installation.json<ToldReport>(...ERASE, '--json');
    t.match(told, {
      state: 'deferred',
      result: {
        calls_deleted: 0,
        deferred_by: 'billing_window',
        deferred: { from: '2025-01-01T00:00:00.000Z' },
      },
    });
    t.strictSame(
      await installation.rows(
        `SELECT call_id FROM {db}.cdr FINAL WHERE calling_number = '${ERASED}' ORDER BY call_id`,
      ),
      ['before', 'own', 'own-self', 'own-shown'].map((call_id) => ({ call_id })),
      'own calls are whole',
    );
    t.strictSame(
      await installation.rows(
        `SELECT call_id FROM {db}.cdr FINAL WHERE calling_number != '${ERASED}' AND '${ERASED}' IN (dialed_number, displayed_caller_id)`,
      ),
      [{ call_id: 'behind' }],
      'of calls of others only that of the next holder has the number',
    );
    t.match(await installation.rows(`SELECT number, request_id, lifted_by FROM {db}.restrictions FINAL`), [
      { number: ERASED, request_id: told.request_id, lifted_by: '' },
    ]);

    const kept = (): Promise<object[]> =>
      installation.rows(
        'SELECT certificate, (SELECT max(version) FROM {db}.suppressions) AS suppressions FROM {db}.subject_requests FINAL',
      );
    const finished = async (): Promise<ToldReport[]> => {
      const reports: ToldReport[] = [];
      await finishErasures(
        loadSettings(installation.environment),
        async () => [],
        (report) => reports.push(report),
      );
      return reports;
    };
    const deferred = await kept();
    t.strictSame(await finished(), [], 'nothing of it is due');
    t.strictSame(await kept(), deferred);
    // Bills need what began in April 2025, on this day of the month, and later.
    const now = new Date();
    const months = (now.getUTCFullYear() - 2025) * 12 + now.getUTCMonth() - 3;
    installation.environment['CDRHOUSE_RETENTION_BILLING_MONTHS'] = String(months);
    await installation.statement(
      `INSERT INTO {db}.ingest_ledger (topic, stored_at) VALUES ('ahead', now64(3) + INTERVAL 1 DAY)`,
    );
    await t.rejects(finished(), { code: 'CLOCK_WRONG' }, 'by a clock that may be wrong nothing is due');
    t.strictSame(await kept(), deferred);
    await installation.statement(
      `ALTER TABLE {db}.ingest_ledger DELETE WHERE topic = 'ahead' SETTINGS mutations_sync = 1`,
    );
    t.match(
      await finished(),
      [{ request_id: told.request_id, state: 'deferred', result: { calls_deleted: 1 } }],
      'what has become due is done',
    );
    const partly = await kept();
    t.strictSame(await finished(), [], 'once');
    t.strictSame(await kept(), partly);

    installation.environment['CDRHOUSE_RETENTION_BILLING_MONTHS'] = '1';
    // It is the same request under another journal key.
    t.equal((await installation.run('keys', 'rotate-journal')).code, 0);
    const lastMs = Date.now();
    const all = await installation.json<ToldReport>(...ERASE, '--json');
    t.match(all, { request_id: told.request_id, state: 'done', result: { calls_deleted: 3 } });
    const { backups_until } = all.result['residue'] as { readonly backups_until: string };
    const changedMs = Date.parse(backups_until) - BACKUP_MS;
    t.ok(
      changedMs > lastMs && changedMs <= Date.now(),
      'backups may hold the person by the last change, not by the first',
    );
    t.strictSame(await ids(installation), ['before', 'behind', 'both', 'dialed', 'displayed', 'other']);
    t.strictSame(await installation.rows('SELECT * FROM {db}.restrictions'), []);
    const { code, stderr } = await installation.run('audit');
    t.equal(code, 0);
    t.match(stderr, /, 3 erased, 0 elsewhere/);
  },
);

await tap.test('what a legal hold needs waits for its end, and the service does it then', async (t) => {
  const installation = await installed(t, 3, {
    CDRHOUSE_RETENTION_BILLING_MONTHS: '0',
    CDRHOUSE_RETENTION_METRICS_PORT: '0',
  });
  await stored(installation, ...KEPT, ...OWN);
  const all = await ids(installation);
  const end = ['--until', new Date(Date.now() + DAY_MS).toISOString()];
  const held = ['--number', ERASED, '--from', FROM, '--to', TO, ...end, '--reason', 'court order'];
  const hold = await installation.json<{ hold_id: string }>('retention', 'hold', ...held, '--json');
  const told = await installation.json<ToldReport>(...ERASE, '--json');
  t.match(told, { state: 'deferred', result: { calls_deleted: 0, deferred_by: 'legal_hold' } });
  t.strictSame(await ids(installation), all, 'nothing is gone');
  t.strictSame(await installation.rows('SELECT * FROM {db}.suppressions'), [], 'and nothing is kept away');
  t.match(await installation.rows('SELECT number FROM {db}.restrictions FINAL'), [{ number: ERASED }]);

  t.equal((await installation.run('retention', 'release', hold.hold_id, '--reason', 'settled')).code, 0);
  // No sweep can be done meanwhile.
  const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
  proxy.on(
    ({ statement }) => statement.includes('.retention_proofs'),
    async (exchange) => exchange.cut(),
  );
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
  const service = installation.start('retention', 'run');
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = servers.clickhouse;
  await until('the service has erased', () => service.stderr().includes(`erasure ${told.request_id}: done`));
  service.child.kill('SIGTERM');
  t.match(await service.ended, { code: 0, stderr: /CLICKHOUSE_UNREACHABLE/ });
  t.strictSame(await ids(installation), ['both', 'dialed', 'displayed', 'other']);
  t.strictSame(await installation.rows('SELECT * FROM {db}.cdr_held'), []);
  t.strictSame(await installation.rows('SELECT * FROM {db}.restrictions'), []);
  t.match(
    await installation.json('subject', 'verify', '--id', told.request_id!, '--number', ERASED, '--json'),
    { verified: true, residue: { legal_holds_that_ended: 1 } },
    'the record of the order stays, and is told',
  );
});

await tap.test(
  'nothing is left in corrections, in copies of holds that have ended, in the person’s own',
  async (t) => {
    const installation = await installed(t, 4, { CDRHOUSE_RETENTION_BILLING_MONTHS: '0' });
    // In no other database of the server, since all files are searched.
    const PERSON = '+33199780017';
    await stored(
      installation,
      call('other', [OTHER, OTHER, THIRD], '2025-03-01T10:00:00Z'),
      call('dialed', [OTHER, OTHER, PERSON], '2025-03-01T11:00:00Z'),
      call('own', [PERSON, PERSON, OTHER], '2025-03-01T12:00:00Z'),
    );
    const time = ['--from', FROM, '--to', TO, '--reason', 'asked for it', '--json'];
    // A call of others is corrected to hold the number, which then stands in what was corrected alone.
    const id = await idOf(installation, 'other', OTHER);
    const corrected = ['--call', id, '--field', 'dialed_number', '--value', PERSON];
    await installation.json('subject', 'rectify', '--number', OTHER, ...time, ...corrected);
    t.equal((await installation.rows('SELECT 1 FROM {db}.corrections FINAL')).length, 1);
    // A restriction that was lifted, and whose copies no sweep has dropped yet.
    const person = ['--number', PERSON, ...time];
    await installation.json('subject', 'restrict', ...person, '--keep-past-term');
    await installation.json('subject', 'lift', ...person);
    t.not((await installation.rows('SELECT 1 FROM {db}.cdr_held')).length, 0);

    const told = await installation.json<ToldReport>('subject', 'erase', ...person);
    t.match(told, {
      state: 'done',
      result: {
        found_afterwards: { corrections: 0, held_copies: 0 },
        residue: { legal_holds_that_ended: 0 },
      },
    });
    for (const table of ['corrections', 'cdr_held', 'legal_holds'])
      t.strictSame(await installation.rows(`SELECT * FROM {db}.${table}`), [], table);
    t.strictSame(await filesWith(installation, PERSON, ['99780017']), []);

    const verified = ['subject', 'verify', '--id', told.request_id!, '--number', PERSON, '--json'];
    t.match(await installation.json(...verified), { verified: true });
    await installation.statement(
      `INSERT INTO {db}.cdr_held (hold_id, feed, calling_number, start_at) VALUES ('over', 'pbx', '${PERSON}', '2025-03-01')`,
    );
    t.match(
      (await installation.run(...verified)).stderr,
      'ERASURE_UNPROVEN',
      'a copy that nobody needs is found',
    );
  },
);

await tap.test('a correction that is under way does not write the number back', async (t) => {
  const installation = await installed(t, 5, { CDRHOUSE_RETENTION_BILLING_MONTHS: '0' });
  await stored(installation, ...OWN.slice(0, 1));
  const time = ['--from', FROM, '--to', TO, '--reason', 'asked for it', '--json'];
  const id = await idOf(installation, 'own', ERASED);
  const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
  const hold = proxy.hold('before', insertsInto('cdr'));
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
  const what = ['--call', id, '--field', 'duration', '--value', '61'];
  const correcting = installation.start('subject', 'rectify', '--number', ERASED, ...time, ...what);
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = servers.clickhouse;
  await hold.reached;
  const erasing = installation.start(...ERASE, '--json');
  // Long enough for an erasure that waits for nobody.
  await Promise.race([erasing.ended, sleep(8000)]);
  await hold.release();
  t.match([await correcting.ended, await erasing.ended], [{ code: 0 }, { code: 0 }]);
  for (const table of ['cdr', 'cdr_by_number', 'corrections'])
    t.strictSame(await installation.rows(`SELECT * FROM {db}.${table}`), [], table);
});

await tap.test('ingest refuses suppressions that its keys cannot check', async (t) => {
  const installation = await installed(t, 2);
  await installation.statement(
    `INSERT INTO {db}.suppressions VALUES ('x', 'drop', repeat('0', 32), 'another', '', '2025-01-01', '2026-01-01', 1)`,
  );
  const { code, stderr } = await installation.run('ingest', '--until-idle');
  t.equal(code, 1);
  t.match(stderr, 'SUPPRESSIONS_UNREADABLE');
});
