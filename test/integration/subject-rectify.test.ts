import { createClient } from '@clickhouse/client';
import tap from 'tap';
import { recordsSql } from '../../query/records-sql.ts';
import { audit } from '../../retention/audit.ts';
import { subjectList } from '../../retention/subject-list.ts';
import { rectifyCall } from '../../retention/subject-rectify.ts';
import { loadSettings } from '../../settings-loader.ts';
import { SESSION, Installation, until, whenIdle } from '../cdrhouse-program.ts';
import { killedAt, tokenOf, type ToldReport } from '../subject-program.ts';
import { ClickhouseProxy, insertsInto } from '../fault/clickhouse-proxy.ts';
import { testServers } from '../test-servers.ts';
import { CallsClient, serve, type ToldCall } from './calls-client.ts';

/** `subject rectify` over calls that were shipped and ingested. */
const servers = testServers(import.meta.url);
const topic = servers.databases[0]!;
const settingsOf = (zone: string): object => ({
  feeds: [{ name: 'pbx', topic, country: 'FR', time_zone: zone }],
  kafka: { topic_partitions: 1, client: SESSION },
  query: { default_country: 'FR' },
});
const installation = new Installation(tap, servers, 0, settingsOf('UTC'));
const settings = loadSettings(installation.environment);
const year = new Date().getUTCFullYear() - 1;
const FROM = Date.UTC(year, 3, 1);
const PERSON = '+33199000001';
const range = { from: `${year}-04-01`, to: `${year}-07-01`, time_zone: 'UTC' };

let files = 0;
async function send(...lines: string[]): Promise<void> {
  const file = installation.write(`${files++}.csv`, `${lines.join('\n')}\n`);
  await installation.json('ship', '--feed', 'pbx', '--again', file);
  await installation.json('ingest', '--until-idle');
}

const ids = ['number', 'duration', 'start', 'displayed', 'killed', 'untouched'];
const lines = ids.map(
  (id, hour) => `0199000001,,0199000002,${year}-04-30T1${hour}:00:00,6${hour},6${hour},${id},answered`,
);
await installation.run('migrate');
await send(...lines);
const began = Math.floor(Date.now() / 1000);
const url = await serve(tap, installation);
const client = new CallsClient(url, await tokenOf(settings, 'disputes', 'disputes:unmasked', 'billing'));

async function find(callId: string, number = PERSON): Promise<ToldCall | undefined> {
  const { body } = await client.get('/v1/calls', { number, ...range });
  return body.data.find(({ call_id: id }) => id === callId);
}

interface One {
  readonly data: ToldCall;
  readonly evidence: {
    readonly corrections: readonly {
      readonly at: string;
      readonly reason: string;
      readonly field: string | null;
      readonly before: readonly { readonly call: ToldCall; readonly offset: string }[];
    }[];
    readonly conflicts: {
      readonly other_content: readonly unknown[];
      readonly other_calls: readonly unknown[];
    };
  };
}
const evidence = async (id: string): Promise<One> => (await client.get<One>(`/v1/calls/${id}`)).body;

function asked(call: ToldCall, field: string, value: string) {
  return {
    person: { numbers: [PERSON], feeds: undefined, fromMs: FROM, toMs: undefined },
    reason: 'the exchange was wrong',
    askedMs: undefined,
    dryRun: false,
    call: call.id,
    field,
    value,
  };
}

const read = async (from: string): Promise<Set<string>> =>
  new Set((await installation.rows(`SELECT ${from} ORDER BY ALL`)).map((row) => JSON.stringify(row)));

/** Calls as they are read in both tables: content and place. */
async function stored(): Promise<{ cdr: Set<string>; byNumber: Set<string> }> {
  const columns =
    'call_id, toString(start_at) AS start, calling_number, displayed_caller_id, dialed_number, duration_ms, cdr_key, source_offset, source_line';
  return {
    cdr: await read(`${columns} FROM {db}.cdr FINAL`),
    byNumber: await read(`${columns}, role, number_key FROM {db}.cdr_by_number FINAL`),
  };
}

async function dueStates(): Promise<Set<string>> {
  return new Set((await subjectList(settings, { due: true })).map(({ kind, state }) => `${kind} ${state}`));
}

const before = new Map<string, ToldCall>();
for (const id of ids) before.set(id, (await find(id))!);

await tap.test('a dry run and what is not allowed change nothing', async (t) => {
  const untouched = await stored();
  const call = before.get('number')!;
  t.match(await rectifyCall(settings, { ...asked(call, 'duration', '1'), dryRun: true }), {
    state: 'dry_run',
  });
  for (const [field, value] of [
    ['duration', '-1'],
    ['duration', '60'],
    ['start', 'yesterday'],
    ['start', '2001-01-01T00:00:00Z'],
    ['outcome', 'fine'],
    ['feed', 'x'],
  ] as const)
    await t.rejects(
      async () => rectifyCall(settings, asked(call, field, value)),
      { code: 'USAGE_WRONG' },
      field + value,
    );
  const { person, ...rest } = asked(call, 'duration', '1');
  const someone = { ...person, numbers: ['+33199000009'] };
  await t.rejects(rectifyCall(settings, { ...rest, person: someone }), { code: 'USAGE_WRONG' }, 'not theirs');
  await t.rejects(rectifyCall(settings, { ...asked(call, 'duration', '1'), call: 'x' }), {
    code: 'USAGE_WRONG',
  });
  t.strictSame(await stored(), untouched);
});

await tap.test(
  'a calling number: found under the new one alone, in both tables; evidence keeps the old',
  async (t) => {
    const call = before.get('number')!;
    const report = await rectifyCall(settings, asked(call, 'calling_number', '+33199000007'));
    t.match(report, { state: 'done', result: { field: 'calling_number', call: call.id } });
    t.notMatch(JSON.stringify(report), /199000007|199000001/);
    t.equal(await find('number'), undefined);
    const now = (await find('number', '+33199000007'))!;
    t.match(now, { calling_number: '+33199000007', dialed_number: '+33199000002', duration_s: 60 });
    t.match(await find('number', '+33199000002'), { id: now.id }, 'by the number that was dialed');
    t.equal(report.result['call_now'], now.id);
    const { data, evidence: told } = await evidence(call.id);
    t.equal(data.id, now.id, 'the id that it had finds it');
    t.match(told.corrections, [
      {
        field: 'calling_number',
        reason: 'the exchange was wrong',
        at: new RegExp(`^${new Date().getUTCFullYear()}`),
        before: [{ call: { id: call.id, calling_number: PERSON }, offset: '0' }],
      },
    ]);
    t.equal(told.corrections.length, 1);
    t.strictSame([told.conflicts.other_content, told.conflicts.other_calls], [[], []]);
    t.strictSame((await evidence(now.id)).evidence, told);
  },
);

await tap.test('a duration, a start in another month, a displayed number', async (t) => {
  const change = async (id: string, field: string, value: string): Promise<void> => {
    await rectifyCall(settings, asked((await find(id))!, field, value));
  };
  await change('duration', 'duration', '600.5');
  await change('start', 'start', `${year}-05-01T01:00:00+02:00`);
  await change('displayed', 'displayed_caller_id', '+33199000005');
  t.match(await find('duration'), { duration_s: 600.5, talk_s: 61, id: before.get('duration')!.id });
  t.match((await evidence(before.get('duration')!.id)).evidence.corrections, [
    { field: 'duration', before: [{ call: { duration_s: 61 } }] },
  ]);
  t.match(await find('start'), { start: `${year}-04-30T23:00:00.000Z` });
  await change('start', 'start', `${year}-05-01T02:00:00Z`);
  t.match(await find('start'), { start: `${year}-05-01T02:00:00.000Z` });
  const { evidence: twice } = await evidence(before.get('start')!.id);
  t.equal(twice.corrections.length, 2);
  t.match(await find('displayed', '+33199000005'), { calling_number: PERSON, matched_roles: ['displayed'] });
  await change('displayed', 'displayed_caller_id', '+33199000006');
  t.equal(await find('displayed', '+33199000005'), undefined);
});

await tap.test('usage and records follow; what changed since tells removed and new ones', async (t) => {
  const { body } = await client.get('/v1/usage', { ...range, group_by: 'calling_number' });
  t.match(body.data, [
    { calling_number: PERSON, records: '5', duration_ms: String((600.5 + 62 + 63 + 64 + 65) * 1000) },
    { calling_number: '+33199000007', records: '1', duration_ms: '60000' },
  ]);
  // The API tells what is visible for sure, so five minutes later; its statement is asked here.
  const { text, parameters } = recordsSql(installation.database, {
    range: { fromMs: FROM, toMs: Date.UTC(year, 6, 1) },
    term: { months: { all: 36, feeds: {} }, nowMs: Date.now() },
    callingNumbers: undefined,
    account: undefined,
    changed: { since: began + 1, until: began + 1000 },
    after: undefined,
    rows: undefined,
    visibility: undefined,
  });
  const database = createClient({ url: servers.clickhouse });
  const answer = await database.query({
    query: text,
    query_params: { ...parameters },
    format: 'JSONEachRow',
  });
  const changed = await answer.json<{ call_id: string; calling_number: string; removed: number }>();
  await database.close();
  t.strictSame(
    new Set(changed.map(({ call_id: id, calling_number: number, removed }) => `${id} ${number} ${removed}`)),
    new Set([
      `displayed ${PERSON} 0`,
      `duration ${PERSON} 0`,
      'number +33199000007 0',
      `number ${PERSON} 1`,
      `start ${PERSON} 0`,
      `start ${PERSON} 1`,
    ]),
  );
  t.strictSame((await audit(settings, { strict: true })).differences, []);
});

await tap.test('killed at each step and called again: the same as undisturbed', async (t) => {
  const call = before.get('killed')!;
  const person = ['--number', PERSON, '--from', new Date(FROM).toISOString(), '--reason', 'r', '--json'];
  const what = ['--call', call.id, '--field', 'calling_number', '--value', '+33199000008'];
  const command = ['subject', 'rectify', ...person, ...what];
  for (const table of ['corrections', 'cdr', 'cdr_by_number'])
    await killedAt(t, installation, ['after', table], ...command);
  const other = rectifyCall(settings, asked((await find('killed', '+33199000008'))!, 'duration', '9'));
  await t.rejects(other, { code: 'USAGE_WRONG' }, 'by now the call of another number');
  const { person: theirs, ...rest } = asked((await find('killed', '+33199000008'))!, 'duration', '9');
  const again = { ...rest, person: { ...theirs, numbers: ['+33199000008'] } };
  await t.rejects(rectifyCall(settings, again), { code: 'CORRECTION_OPEN' }, 'one at a time');
  t.equal((await installation.run('keys', 'rotate-journal')).code, 0);
  t.match(await installation.json<ToldReport>(...command), { state: 'done' }, 'under another journal key');
  t.match(await rectifyCall(settings, again), { state: 'done' }, 'and then the next one');
  t.equal(await find('killed'), undefined);
  t.match(await find('killed', '+33199000008'), { duration_s: 9 });
  const rows = [...(await stored()).byNumber].filter((row) => row.includes('"killed"'));
  t.equal(rows.length, 1);
  t.strictSame(await dueStates(), new Set());
});

await tap.test('read again, sent again, merged: it stays as it was corrected', async (t) => {
  const rectified = await stored();
  t.equal((await whenIdle(installation, 'ingest', 'rewind', '--topic', topic, '--to-offset', '0')).code, 0);
  await installation.json('ingest', '--until-idle');
  t.strictSame(await stored(), rectified);
  await send(...lines);
  for (const table of ['cdr', 'cdr_by_number'])
    await installation.statement(`OPTIMIZE TABLE {db}.${table} FINAL`);
  t.strictSame(await stored(), rectified);
  t.strictSame(await dueStates(), new Set());
});

await tap.test(
  'reloaded under other settings: the switch counts again, once; the list says so',
  async (t) => {
    installation.environment['CDRHOUSE_CONFIG'] = installation.write(
      'paris.yaml',
      JSON.stringify(settingsOf('Europe/Paris')),
    );
    await whenIdle(installation, 'feeds', 'reload', '--feed', 'pbx', '--from', '2020-01-01T00:00:00Z');
    await until('all is read', async () => {
      const { code } = await installation.run('ingest', '--until-idle');
      return code === 0;
    });
    const calls = [...(await stored()).cdr].map((row) => JSON.parse(row) as Record<string, string>);
    t.equal(calls.length, ids.length, 'each once');
    t.strictSame(new Set(calls.map(({ call_id: id }) => id)), new Set(ids));
    t.strictSame(new Set(calls.map(({ calling_number: number }) => number)), new Set([PERSON]));
    t.strictSame(await dueStates(), new Set(['rectify undone']));
    const call = (await find('number'))!;
    await rectifyCall(settings, asked(call, 'calling_number', '+33199000007'));
    t.match(await find('number', '+33199000007'), { calling_number: '+33199000007' }, 'corrected once more');
  },
);

await tap.test('read again at the same moment: the correction is taken back', async (t) => {
  const call = (await find('untouched'))!;
  const direct = installation.environment['CDRHOUSE_CLICKHOUSE_URL']!;
  const proxy = await ClickhouseProxy.start(t, direct);
  const hold = proxy.hold('after', insertsInto('cdr_by_number'));
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
  const person = ['--number', PERSON, '--from', new Date(FROM).toISOString(), '--reason', 'r'];
  const what = ['--call', call.id, '--field', 'dialed_number', '--value', '+33199000009'];
  const running = installation.start('subject', 'rectify', ...person, ...what);
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = direct;
  await hold.reached;
  // What a reload claims before it reads.
  await installation.statement(
    `INSERT INTO {db}.ingest_ledger (cluster_id, topic, topic_id, partition, generation, from_offset, next_offset, feed, correction, corrected_until, stored_at)
     SELECT cluster_id, topic, topic_id, partition, generation + 1, 0, 0, feed, 4000000000, 1000000000, now64(3)
     FROM {db}.ingest_ledger FINAL ORDER BY generation DESC LIMIT 1`,
  );
  await hold.release();
  const { code, stderr } = await running.ended;
  t.match([code, stderr], [1, /CORRECTION_UNDONE/]);
  const { cdr, byNumber } = await stored();
  const left = [...cdr, ...byNumber].filter((row) => row.includes('"untouched"'));
  t.strictSame(left, [], 'what reads it again stores it');
  t.strictSame(
    await installation.rows("SELECT request_id FROM {db}.corrections FINAL WHERE field = 'dialed_number'"),
    [],
  );
  t.match(
    await installation.rows(
      "SELECT state FROM {db}.subject_requests FINAL WHERE details LIKE '%dialed_number%' ORDER BY begun_at DESC LIMIT 1",
    ),
    [{ state: 'refused' }],
  );
});
