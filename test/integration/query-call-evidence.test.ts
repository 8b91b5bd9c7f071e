import { createHmac } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import tap from 'tap';
import { addMonths } from '../../schemas/retention-term.ts';
import { SESSION, Installation, until, untilEnded } from '../cdrhouse-program.ts';
import { ClickhouseProxy, insertsInto } from '../fault/clickhouse-proxy.ts';
import { CallStore, callAt, versionAt, type StoredCall } from '../query/stored-calls.ts';
import { testServers } from '../test-servers.ts';
import { addKey, CallsClient, serve, type ToldCall } from './calls-client.ts';

/** `GET /v1/calls/{id}` over calls that were shipped and ingested: where they came from and what speaks of them. */
const servers = testServers(import.meta.url);
const topic = (feed: string): string => `${servers.databases[0]}.${feed}`;
const year = new Date().getUTCFullYear() - 1;
const DAY = `${year}-03-03`;

function settings(pbx: object): object {
  return {
    feeds: [
      { name: 'pbx', topic: topic('pbx'), format: 'asterisk-csv', ...pbx },
      { name: 'plain', topic: topic('plain'), country: 'FR', time_zone: 'Europe/Paris' },
    ],
    kafka: { topic_partitions: 1, client: SESSION },
    query: { default_country: 'FR' },
  };
}

const installation = new Installation(tap, servers, 0, settings({ time_zone: 'UTC' }));

interface Stored {
  readonly call: ToldCall;
  readonly partition: number;
  readonly offset: string;
  readonly line: number;
}

interface Evidence {
  readonly source: Readonly<Record<string, unknown>>;
  readonly reading: {
    readonly hash: string;
    readonly settings: object | null;
    readonly numbers: object | null;
  };
  readonly corrections: readonly {
    readonly at: string;
    readonly reason: string;
    readonly before: readonly Stored[];
  }[];
  readonly conflicts: {
    readonly other_content: readonly Stored[];
    readonly other_calls: readonly Stored[];
    readonly looked_from: string | null;
  };
  readonly dead_letters: {
    readonly count: string;
    readonly first: readonly Readonly<Record<string, unknown>>[];
  };
}

interface One {
  readonly data: ToldCall;
  readonly evidence: Evidence;
  readonly time_zone: string;
  readonly code?: string;
}

/** A line of 21 columns, whose id is (uniqueid, sequence). */
function line(id: string, { start = '10:00:00', duration = 5, caller = '0199000001' } = {}): string {
  const time = `${DAY} ${start}`;
  return `"","${caller}","0199000002","d","","SIP/1","","Hangup","","${time}","${time}","${time}",${duration},${duration},"ANSWERED","DOCUMENTATION","${id}","","","${id}",1`;
}

let files = 0;
async function send(feed: string, ...lines: string[]): Promise<void> {
  const file = installation.write(`${files++}.csv`, `${lines.join('\n')}\n`);
  await installation.json('ship', '--feed', feed, file);
  await installation.json('ingest', '--until-idle');
}

await installation.run('migrate');
for (const table of ['cdr', 'cdr_by_number'])
  await installation.statement(`SYSTEM STOP MERGES {db}.${table}`);
// The database takes the calls later than their batch counts as stored.
const proxy = await ClickhouseProxy.start(tap, servers.clickhouse);
installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
const hold = proxy.hold('before', insertsInto('cdr'));
void hold.reached.then(() => sleep(1500)).then(() => hold.release());
await send(
  'plain',
  `0199000001,0199000009,1002,${DAY}T11:00:00,61.5,60,first,answered,acc-0199000009`,
  `0199000001,,0199000002,never,5`,
  `0199000001,,0199000002,${DAY}T12:00:00,5,5,second,answered`,
  `0199000001,,0199000002,${DAY}T12:00:00,-5`,
);
installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = servers.clickhouse;
const began = Math.floor(Date.now() / 1000) * 1000;
await send('pbx', line('a'), line('b'), line('c', { start: '23:30:00' }));
await send('pbx', line('b', { duration: 7 }), line('d'), line('d', { start: '11:00:00' }));

const url = await serve(tap, installation);
const token = await addKey(installation, 'disputes', 'disputes:unmasked');
const client = new CallsClient(url, token);

async function find(callId: string): Promise<ToldCall> {
  const range = { from: `${year}-03-01`, to: `${year}-03-10` };
  const { body } = await client.get('/v1/calls', { number: '0199000001', role: 'calling', ...range });
  return body.data.find(({ call_id }) => call_id === callId)!;
}

async function evidence(id: string, asked = client): Promise<One> {
  const { body } = await asked.get<One>(`/v1/calls/${id}`, { time_zone: 'Europe/Paris' });
  return body;
}

await tap.test('where a call came from and how it was read', async (t) => {
  const call = await find('first');
  const { data, evidence: told, time_zone } = await evidence(call.id);
  const { matched_roles: _, ...shown } = call;
  t.strictSame(data, { ...shown, start: `${DAY}T11:00:00.000+01:00` });
  t.equal(time_zone, 'Europe/Paris');
  t.match(told.source, {
    feed: 'plain',
    topic: topic('plain'),
    partition: 0,
    offset: '0',
    line: 1,
    stored_by: 'ingest',
  });
  const [ledger] = await installation.rows<{ reading: string; topic_id: string; cluster_id: string }>(
    `SELECT reading, topic_id, cluster_id FROM {db}.ingest_ledger WHERE feed = 'plain' AND next_offset > from_offset`,
  );
  t.match(told.source, { topic_id: ledger!.topic_id, cluster_id: ledger!.cluster_id });
  const [row] = await installation.rows<{ stored: string }>(
    `SELECT toUnixTimestamp(stored_at) AS stored FROM {db}.cdr WHERE call_id = 'first'`,
  );
  t.equal(Date.parse(String(told.source['stored_at'])), Number(row!.stored) * 1000);
  t.strictSame(told.reading, {
    hash: ledger!.reading,
    settings: {
      format: 'canonical-csv',
      time_zone: 'Europe/Paris',
      country: 'FR',
      numbers: null,
      identity: 'auto',
    },
    numbers: { calling: 'e164', displayed: 'e164', dialed: 'none' },
  });
  t.strictSame(told.corrections, []);
  t.strictSame(told.conflicts, { other_content: [], other_calls: [], looked_from: null, looked_to: null });
});

await tap.test('what was rejected from the same message', async (t) => {
  const { evidence: told } = await evidence((await find('second')).id);
  t.match(told.source, { line: 3 });
  t.match(told.dead_letters, {
    count: '2',
    first: [
      { line: 2, code: 'START_UNREADABLE', field: 'start', state: 'open', position: Number },
      { line: 4, code: 'DURATION_UNREADABLE', state: 'open' },
    ],
  });
  t.notMatch(JSON.stringify(told.dead_letters), /199/, 'no bytes of the record');
  t.match((await evidence((await find('a')).id)).evidence.dead_letters, { count: '0', first: [] });
});

await tap.test('one id, other content; one id, two calls', async (t) => {
  const b = await evidence((await find('b')).id);
  t.equal(b.data.duration_s, 5, 'the first counts');
  t.match(b.evidence.conflicts.other_content, [
    { call: { duration_s: 7, call_id: 'b' }, offset: '1', line: 1 },
  ]);
  t.strictSame(b.evidence.conflicts.other_calls, []);
  const d = await evidence((await find('d')).id);
  t.equal(d.evidence.conflicts.other_calls.length, 1);
  const [other] = d.evidence.conflicts.other_calls;
  t.not(other!.call.id, d.data.id);
  t.strictSame([other!.call.start, d.data.start].sort(), [
    `${DAY}T11:00:00.000+01:00`,
    `${DAY}T12:00:00.000+01:00`,
  ]);
  t.match(d.evidence.conflicts.looked_from, /T/);
  const back = await evidence(other!.call.id);
  t.equal(back.evidence.conflicts.other_calls[0]?.call.id, d.data.id, 'and the reverse');
});

await tap.test('masking, roles, unknown ids', async (t) => {
  const { id } = await find('first');
  const plain = await evidence(id, new CallsClient(url, await addKey(installation, 'disputes')));
  t.match(plain.data, {
    id,
    calling_number: '+3319900****',
    displayed_caller_id: '+3319900****',
    dialed_number: '****',
    account: 'acc-019900****',
  });
  const { id: conflicting } = await find('b');
  const told = await evidence(conflicting, new CallsClient(url, await addKey(installation, 'disputes')));
  t.notMatch(JSON.stringify(told), /199000001|199000002/);
  const billing = new CallsClient(url, await addKey(installation, 'billing'));
  t.match(await billing.get(`/v1/calls/${id}`), { status: 403, body: { code: 'ROLE_MISSING' } });
  for (const unknown of ['search', 'x', `${id.slice(0, -1)}${id.endsWith('A') ? 'B' : 'A'}`])
    t.match(await client.get(`/v1/calls/${unknown}`), { status: 404, body: { code: 'CALL_UNKNOWN' } });
  t.match(await client.get(`/v1/calls/${id}`, { number: '1' }), { body: { code: 'PARAMETER_UNKNOWN' } });
  t.match(await client.get(`/v1/calls/${'x'.repeat(200)}`), { status: 400 });
  t.match(await client.post(`/v1/calls/${id}`, {}), { status: 405, body: { code: 'METHOD_NOT_ALLOWED' } });
});

await tap.test(
  'it is a look-up: the journal has who was shown, and without it there is no answer',
  async (t) => {
    const own = await addKey(installation, 'disputes');
    const { id } = await find('first');
    const headless = await fetch(`${url}/v1/calls/${id}`, { headers: { authorization: `Bearer ${own}` } });
    t.match(await headless.json(), { status: 400, code: 'HEADER_MISSING' });
    t.equal((await evidence(id, new CallsClient(url, own))).data.id, id);
    await untilEnded((query) => installation.rows(query), '{db}');
    const rows = await installation.rows<{ number_hmac: string; phase: string }>(
      `SELECT * FROM {db}.lookup_journal WHERE key_id = '${own.split('_')[1]!}' ORDER BY phase, number_hmac`,
    );
    const [key] = await installation.rows<{ value: string }>(
      `SELECT value FROM {db}.settings WHERE name = 'journal_key'`,
    );
    const hmacs = ['+33199000001', '+33199000009', '1002'].map((number) =>
      createHmac('sha256', Buffer.from(key!.value, 'hex')).update(number).digest('hex'),
    );
    t.strictSame(
      rows.map(({ phase, number_hmac }) => [phase, number_hmac]),
      ['started', 'finished'].flatMap((phase) => hmacs.sort().map((hmac) => [phase, hmac])),
    );
    t.match(rows[0], { route: '/v1/calls/{id}', case_id: 'C-9', purpose: 'dispute', filter: new RegExp(id) });
    await installation.statement('RENAME TABLE {db}.lookup_journal TO {db}.lookup_journal_away');
    const told = await client.get<One>(`/v1/calls/${id}`);
    await installation.statement('RENAME TABLE {db}.lookup_journal_away TO {db}.lookup_journal');
    t.match(told, { status: 503, body: { code: 'JOURNAL_UNAVAILABLE' } });
    t.notOk('data' in told.body);
  },
);

await tap.test(
  'after a correction of its start the id still names the call, and says what it was',
  async (t) => {
    const before = new Map<string, ToldCall>();
    for (const id of ['a', 'b', 'c']) before.set(id, await find(id));
    const country = { time_zone: 'Europe/Paris', country: 'FR' };
    installation.environment['CDRHOUSE_CONFIG'] = installation.write(
      'new.json',
      JSON.stringify(settings(country)),
    );
    await until('the group is idle', async () => {
      const { code, stderr } = await installation.run(
        'feeds',
        'reload',
        '--feed',
        'pbx',
        '--from',
        `${year}-01-01T00:00:00Z`,
      );
      if (code !== 0 && !stderr.includes('GROUP_BUSY')) throw new Error(stderr);
      return code === 0;
    });
    await installation.json('ingest', '--until-idle');

    // What the ledger says of it must not go when its parts are merged.
    await installation.statement('OPTIMIZE TABLE {db}.ingest_ledger FINAL');
    const [ledger] = await installation.rows<{ corrections: string }>(
      'SELECT uniqExactIf(correction, correction > 0) AS corrections FROM {db}.ingest_ledger',
    );
    t.equal(ledger!.corrections, '1');

    const told = await evidence(before.get('a')!.id);
    t.match(told.data, {
      calling_number: '+33199000001',
      call_id: 'a',
      start: `${DAY}T10:00:00.000+01:00`,
    });
    t.not(told.data.id, before.get('a')!.id, 'where it stands now has an id of its own');
    const [correction, ...others] = told.evidence.corrections;
    t.strictSame(others, []);
    t.ok(Date.parse(correction!.at) >= began);
    t.match(correction, {
      reason: /read again/,
      before: [
        {
          call: { id: before.get('a')!.id, calling_number: '0199000001', start: `${DAY}T11:00:00.000+01:00` },
          offset: '0',
          line: 1,
        },
      ],
    });
    t.equal(correction!.before.length, 1);
    const now = await evidence(told.data.id);
    t.strictSame(now, told, 'by its new id the same');
    const c = await evidence(before.get('c')!.id);
    t.match(c.data, { call_id: 'c', start: `${DAY}T23:30:00.000+01:00` });
    // The program that answers has the settings of before: it tells those under which the call was read.
    t.match(told.evidence.reading, {
      hash: /^[0-9a-f]{16}$/,
      settings: { format: 'asterisk-csv', ...country },
      numbers: { calling: 'e164' },
    });
    const noted = 'SELECT feed, count() AS readings FROM {db}.readings GROUP BY feed ORDER BY feed';
    t.strictSame(
      await installation.rows(noted),
      [
        { feed: 'pbx', readings: '2' },
        { feed: 'plain', readings: '1' },
      ],
      'each once, whoever reads how often',
    );
    // What was read before anybody noted how, and by other settings than those of today, is not guessed at.
    await installation.statement('TRUNCATE TABLE {db}.readings');
    t.match((await evidence(told.data.id)).evidence.reading, {
      hash: told.evidence.reading.hash,
      settings: null,
      numbers: null,
    });
    const untouched = await evidence((await find('first')).id);
    t.strictSame(untouched.evidence.corrections, []);
  },
);

/** What ingest writes as the version of a correction: below stands the time of the batch that the row came with. */
const versionOf = (correction: number): string =>
  `bitOr(bitShiftLeft(toUInt64(${correction}), 32), bitAnd(version, 0xffffffff)) AS version`;

/** Writes a call as a correction with other values. */
async function correct(callId: string, replaced: string, correction: number): Promise<void> {
  await installation.statement(
    `INSERT INTO {db}.cdr SELECT * REPLACE (${replaced}, ${versionOf(correction)})
     FROM {db}.cdr FINAL WHERE call_id = '${callId}'`,
  );
}

/** The delete marker of a call as it was first stored. */
async function markFirst(callId: string, correction: number): Promise<void> {
  await installation.statement(
    `INSERT INTO {db}.cdr SELECT * REPLACE (1 AS is_deleted, ${versionOf(correction)})
     FROM (SELECT * FROM {db}.cdr WHERE call_id = '${callId}' AND version < 4294967296)`,
  );
}

await tap.test('a call that was corrected alone, and one that was taken away', async (t) => {
  const found = await find('second');
  await correct('second', 'start_at + INTERVAL 1 HOUR AS start_at', 1_700_000_000);
  await markFirst('second', 1_700_000_000);
  const told = await evidence(found.id);
  t.match(told.data, { call_id: 'second', start: `${DAY}T13:00:00.000+01:00` });
  t.match(told.evidence.corrections, [
    { at: '2023-11-14T23:13:20.000+01:00', reason: /not recorded/, before: [{ call: { id: found.id } }] },
  ]);
  await correct('second', '1 AS is_deleted', 1_700_000_001);
  for (const id of [found.id, told.data.id])
    t.match(await client.get(`/v1/calls/${id}`), { status: 404, body: { code: 'CALL_UNKNOWN' } });
});

await tap.test('of a call without any number the journal has no number', async (t) => {
  await send('plain', `,,,${DAY}T15:00:00,5,5,nobody,answered`);
  const billing = new CallsClient(url, await addKey(installation, 'billing'));
  const range = { from: `${year}-03-01`, to: `${year}-03-10` };
  const { body } = await billing.get('/v1/records', range);
  const { id } = body.data.find(({ call_id }) => call_id === 'nobody')!;
  const own = await addKey(installation, 'disputes');
  t.match((await evidence(id, new CallsClient(url, own))).data, { calling_number: '', dialed_number: '' });
  await untilEnded((query) => installation.rows(query), '{db}');
  const rows = await installation.rows<{ number_hmac: string }>(
    `SELECT number_hmac FROM {db}.lookup_journal WHERE key_id = '${own.split('_')[1]!}'`,
  );
  t.strictSame(
    rows.map(({ number_hmac }) => number_hmac),
    ['', ''],
  );
});

await tap.test('an id still names a call whose start was corrected by more than a month', async (t) => {
  const found = await find('first');
  // Beyond where other rows of a call are looked for: only its place tells.
  await correct('first', 'start_at + INTERVAL 60 DAY AS start_at', 1_700_000_000);
  await markFirst('first', 1_700_000_000);
  const { data } = await evidence(found.id);
  t.match(data, { call_id: 'first', calling_number: found.calling_number });
  t.equal(Date.parse(data.start) - Date.parse(found.start), 60 * 86_400_000);
  t.not(data.id, found.id);
});

await tap.test('what speaks of a call, and is itself behind its term, is not shown', async (t) => {
  const store = new CallStore(t, servers, 1);
  await store.create(36);
  const border = addMonths(Date.now(), -36);
  const number = '+33639980017';
  const [shown, other, before] = [2, -5, -6].map((days) => ({
    ...callAt(border + days * 86_400_000, 0),
    calling: number,
  })) as [StoredCall, StoredCall, StoredCall];
  await store.store([shown, other], versionAt(2));
  await store.store([before], 2 ** 32, 1);
  const fromStore = new CallsClient(
    // Of a feed that nobody knows ids may be what makes records one.
    await store.serve(t, store.settings({}, ['beta'])),
    (await store.key(['disputes'])).token,
  );
  const range = {
    from: new Date(shown.startMs).toISOString(),
    to: new Date(shown.startMs + 1).toISOString(),
  };
  const { body } = await fromStore.get('/v1/calls', { number, ...range });
  const told = (await fromStore.get<One>(`/v1/calls/${body.data[0]!.id}`)).body.evidence;
  t.not(told.conflicts.looked_from, null);
  t.strictSame([told.conflicts.other_calls, told.corrections], [[], []]);
});
