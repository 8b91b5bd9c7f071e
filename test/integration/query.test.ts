import { createHmac } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import tap from 'tap';
import type { ApiRole } from '../../schemas/api-key.ts';
import { addMonths } from '../../schemas/retention-term.ts';
import { sqlTime } from '../../schemas/sql-time.ts';
import { callsSql } from '../../query/calls-sql.ts';
import { settingsOfReads } from '../../query/clickhouse.ts';
import {
  CallStore,
  JOURNAL_KEY,
  NUMBERS,
  numberKey,
  someCalls,
  storeWithHistory,
  versionAt,
  type StoredCall,
} from '../query/stored-calls.ts';
import { untilEnded } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';
import type { ToldCall } from './calls-client.ts';

/** Look-ups over HTTP against stored rows, compared with what this file reckons from the same calls by itself. */
const servers = testServers(import.meta.url);
const DAY_MS = 86_400_000;
const ROLES = ['calling', 'displayed', 'dialed'] as const;

// Over two month ends and the begin of summer time, inside the retention term whenever this runs.
const year = new Date().getUTCFullYear() - 1;
const FROM = Date.UTC(year, 1, 20);
const TO = Date.UTC(year, 3, 10);

interface Call extends ToldCall {
  readonly account: string;
}

interface Answer {
  readonly data: Call[];
  readonly next_cursor: string | null;
  readonly number: { searched: string[]; e164: string | null; read_as: string };
  readonly from: string;
  readonly to: string;
  readonly time_zone: string;
  readonly complete: { feeds: Record<string, { read_up_to: string | null }> };
  readonly withheld: number;
  readonly code?: string;
  readonly detail?: string;
}

interface Asked {
  readonly status: number;
  readonly body: Answer;
}

type Parameters = Record<string, string>;

class Client {
  readonly #url: string;
  readonly #token: string;

  constructor(url: string, token: string) {
    this.#url = url;
    this.#token = token;
  }

  async get(parameters: Parameters, headers: Record<string, string> = {}): Promise<Asked> {
    const response = await fetch(`${this.#url}/v1/calls?${new URLSearchParams(parameters).toString()}`, {
      headers: { authorization: `Bearer ${this.#token}`, 'case-id': 'C-1', purpose: 'dispute', ...headers },
    });
    const body: Answer = JSON.parse(await response.text());
    return { status: response.status, body };
  }

  async calls(parameters: Parameters): Promise<Call[]> {
    const { status, body } = await this.get({ ...whole, limit: '1000', ...parameters });
    if (status !== 200 || body.next_cursor !== null) throw new Error(`${status} ${body.code} ${body.detail}`);
    return body.data;
  }
}

const whole = { from: new Date(FROM).toISOString(), to: new Date(TO).toISOString() };
const store = new CallStore(tap, servers, 0);
await store.create();
const stored = await storeWithHistory(store, someCalls(600, FROM, TO, 1));
await store.insert('ingest_ledger', [
  { feed: 'beta', topic: 'b', message_at_max: sqlTime(FROM), stored_at: 1 },
  { feed: 'beta', topic: 'b', from_offset: 1, message_at_max: sqlTime(TO), stored_at: 1 },
  { feed: 'beta', topic: 'b', partition: 1, message_at_max: sqlTime(FROM + 1), stored_at: 1 },
]);
// All that Kafka had at a moment between, in the partition that has few messages.
const CAUGHT_UP = TO - 60_000;
await store.insert('ingest_heartbeats', [{ topic: 'b', partition: 1, caught_up_at: sqlTime(CAUGHT_UP) }]);
const url = await store.serve(tap);
const all: ApiRole[] = ['disputes', 'disputes:unmasked', 'disputes:prefix'];
const unmasked = new Client(url, (await store.key(all)).token);

function numberIn(call: StoredCall, role: string): string {
  return { calling: call.calling, displayed: call.displayed, dialed: call.dialed }[role] ?? '';
}

function newestFirst(a: StoredCall, b: StoredCall): number {
  if (a.startMs !== b.startMs) return b.startMs - a.startMs;
  return BigInt(a.cdrKey) < BigInt(b.cdrKey) ? 1 : -1;
}

/** The calls that the answer must have, in its order. */
function expected(
  texts: readonly string[],
  roles: readonly string[],
  fromMs = FROM,
  toMs = TO,
): StoredCall[] {
  return stored
    .filter((call) => call.startMs >= fromMs && call.startMs < toMs)
    .filter((call) => roles.some((role) => texts.includes(numberIn(call, role))))
    .sort(newestFirst);
}

function told(call: StoredCall, texts: readonly string[], roles: readonly string[]): object {
  return {
    calling_number: call.calling,
    displayed_caller_id: call.displayed,
    dialed_number: call.dialed,
    start: new Date(call.startMs).toISOString(),
    duration_s: call.durationMs / 1000,
    talk_s: call.talkMs === null ? null : call.talkMs / 1000,
    outcome: call.outcome,
    direction: 'outbound',
    account: '',
    feed: call.feed,
    call_id: `call-${call.cdrKey}`,
    matched_roles: roles.filter((role) => texts.includes(numberIn(call, role))),
    held: false,
  };
}

function withoutId(call: Call): object {
  const { id, ...rest } = call;
  return id === '' ? call : rest;
}

await tap.test('every number is found in every role, with each call once', async (t) => {
  const choices = [['calling'], ['displayed'], ['dialed'], ['calling', 'dialed'], [...ROLES]];
  for (const number of NUMBERS.filter((text) => text !== '')) {
    const texts = (await unmasked.get({ number })).body.number.searched;
    for (const roles of choices) {
      const found = await unmasked.calls({ number, role: roles.join(',') });
      const wanted = expected(texts, roles).map((call) => told(call, texts, roles));
      t.strictSame(found.map(withoutId), wanted, `${roles.join()} ${number}`);
      t.ok(wanted.length > 0);
    }
  }
});

await tap.test('one number in any notation gives the same E.164 calls', async (t) => {
  const e164 = '+33639980001';
  const typed = ['06 39 98 00 01', '0033 6 39 98 00 01', '+33 6 39 98 00 01', '06.39.98.00.01'];
  const wanted = expected([e164], ROLES).map(({ cdrKey }) => `call-${cdrKey}`);
  for (const number of typed) {
    const { body } = await unmasked.get({ number, ...whole, limit: '1000' });
    t.match(body.number, { as_typed: number, e164 });
    const ids = new Set(body.data.map(({ call_id }) => call_id));
    t.ok(
      wanted.every((id) => ids.has(id)),
      number,
    );
    t.equal(body.data.length, expected(body.number.searched, ROLES).length);
  }
});

await tap.test('extensions of two feeds are found by their text only', async (t) => {
  const found = await unmasked.calls({ number: '1002' });
  t.strictSame([...new Set(found.map(({ feed }) => feed))].sort(), ['alpha', 'beta']);
  // The key of another text, as if two hashes had met.
  const key = numberKey('alpha', '1002');
  await store.admin.command({
    query: `INSERT INTO ${store.database}.cdr (calling_key, start_at, cdr_key, calling_number, displayed_caller_id, version)
      VALUES (${key}, fromUnixTimestamp64Milli(${FROM + 5}), 77, 'x', 'x', 1)`,
  });
  t.strictSame(await unmasked.calls({ number: '1002' }), found, 'a hash hit is no match');
});

await tap.test('pages: each call exactly once, also while others are stored', async (t) => {
  const number = '+33639980001';
  const before = expected([number], ROLES);
  const got: Call[] = [];
  let cursor: string | null = null;
  let pages = 0;
  do {
    const parameters: Parameters = { number, ...whole, limit: '7', ...(cursor === null ? {} : { cursor }) };
    const { status, body }: Asked = await unmasked.get(parameters);
    t.equal(status, 200);
    t.ok(body.data.length <= 7);
    got.push(...body.data);
    cursor = body.next_cursor;
    if (pages++ === 2) {
      const added = { ...before[0]!, startMs: TO - 1, cdrKey: '1', calling: number, displayed: number };
      await store.store([added], versionAt(1_700_000_000));
      stored.push(added);
    }
  } while (cursor !== null);
  t.equal(new Set(got.map(({ id }) => id)).size, got.length);
  t.strictSame(
    got.map(({ call_id }) => call_id),
    before.map(({ cdrKey }) => `call-${cdrKey}`),
  );
});

await tap.test('a cursor belongs to its search', async (t) => {
  const number = '+33639980001';
  const { body } = await unmasked.get({ number, limit: '3', ...whole });
  const cursor = body.next_cursor!;
  t.equal((await unmasked.get({ number, cursor })).status, 200, 'the range may be left out');
  t.equal((await unmasked.get({ number, cursor, limit: '9' })).status, 200, 'the limit is free');
  for (const other of [
    { number: '+33639980002', cursor },
    { number, cursor, role: 'dialed' },
    { number, cursor, time_zone: 'Europe/Paris' },
    { number, cursor, ...whole, to: new Date(TO - 1).toISOString() },
    { number, cursor: `${cursor}A` },
  ]) {
    t.match((await unmasked.get(other)).body, { code: 'CURSOR_INVALID', status: 400 });
  }
});

await tap.test('from is inclusive, to exclusive, to the millisecond', async (t) => {
  const number = '+33639980002';
  const calls = expected([number], ROLES);
  const { startMs } = calls[Math.floor(calls.length / 2)]!;
  const at = (from: number, to: number): Promise<Call[]> =>
    unmasked.calls({ number, from: new Date(from).toISOString(), to: new Date(to).toISOString() });
  const here = calls.filter((call) => call.startMs === startMs).length;
  t.equal((await at(startMs, startMs + 1)).length, here);
  t.equal(
    (await at(startMs - 1, startMs)).length,
    calls.filter((call) => call.startMs === startMs - 1).length,
  );
  t.equal((await at(startMs, TO)).length, expected([number], ROLES, startMs, TO).length);
});

await tap.test('times in the zone asked for, across the begin of summer time', async (t) => {
  const number = '+33639980001';
  // The last Sunday of March.
  const lastOfMarch = new Date(Date.UTC(year, 2, 31));
  const sunday = new Date(lastOfMarch.getTime() - lastOfMarch.getUTCDay() * DAY_MS)
    .toISOString()
    .slice(0, 10);
  const next = new Date(Date.parse(sunday) + DAY_MS).toISOString().slice(0, 10);
  const { body } = await unmasked.get({
    number,
    from: sunday,
    to: next,
    time_zone: 'Europe/Paris',
    limit: '1000',
  });
  t.equal(body.time_zone, 'Europe/Paris');
  t.equal(body.from, `${sunday}T00:00:00.000+01:00`);
  t.equal(body.to, `${next}T00:00:00.000+02:00`, 'a day of 23 hours');
  const wanted = expected(
    [number],
    ROLES,
    Date.parse(`${sunday}T00:00:00+01:00`),
    Date.parse(`${next}T00:00:00+02:00`),
  );
  t.strictSame(
    body.data.map(({ start }) => Date.parse(start)),
    wanted.map(({ startMs }) => startMs),
  );
  for (const { start } of body.data) t.match(start, /\+0[12]:00$/);
});

await tap.test('how complete the answer is', async (t) => {
  const { body } = await unmasked.get({ number: '211474', ...whole });
  t.strictSame(body.complete, {
    feeds: {
      alpha: { read_up_to: null, gaps: 0, rejected: 0, kept_since: null },
      beta: { read_up_to: new Date(CAUGHT_UP).toISOString(), gaps: 0, rejected: 0, kept_since: null },
    },
    kept_since: null,
  });
  t.equal(body.withheld, 0);
});

await tap.test('a call has one id, whoever asks and however', async (t) => {
  const mine = await unmasked.calls({ number: '+33639980001', role: 'calling' });
  const call = mine.find(({ dialed_number }) => dialed_number !== '');
  const others = await unmasked.calls({ number: call!.dialed_number, role: 'dialed' });
  t.equal(others.find(({ call_id }) => call_id === call!.call_id)?.id, call!.id);
  const again = await unmasked.calls({ number: '+33639980001', role: 'calling', time_zone: 'Asia/Tokyo' });
  t.strictSame(
    again.map(({ id }) => id),
    mine.map(({ id }) => id),
  );
});

await tap.test('prefix search', async (t) => {
  const wanted = stored.filter((call) => ROLES.some((role) => numberIn(call, role).startsWith('+3363998')));
  const found = await unmasked.calls({ number: '+3363998*' });
  t.strictSame(
    found.map(({ call_id }) => call_id),
    wanted.sort(newestFirst).map(({ cdrKey }) => `call-${cdrKey}`),
  );
  t.strictSame(
    found.map(({ matched_roles: roles }) => roles.length > 0),
    found.map(() => true),
  );
});

await tap.test('masking', async (t) => {
  const own = '+33639980001';
  await store.store(
    [
      {
        ...stored[0]!,
        cdrKey: '4242',
        startMs: FROM + 1,
        calling: own,
        displayed: '+33199000001',
        dialed: '+33639980002',
        account: 'acct-0639980002',
        callId: 'leg-33199000001',
      },
    ],
    versionAt(1_700_000_000),
  );
  const client = new Client(url, (await store.key(['disputes', 'disputes:prefix'])).token);
  const range = { from: new Date(FROM).toISOString(), to: new Date(FROM + 2).toISOString() };
  const [call] = await client.calls({ number: own, ...range });
  t.match(call, {
    calling_number: own,
    displayed_caller_id: '+3319900****',
    dialed_number: '+3363998****',
    account: 'acct-063998****',
    call_id: 'leg-3319900****',
  });
  const [byPrefix] = await client.calls({ number: '+3363998*', ...range });
  t.match(
    byPrefix,
    { calling_number: '+3363998****', dialed_number: '+3363998****' },
    'a prefix shows no ends',
  );
  const [shown] = await unmasked.calls({ number: own, ...range });
  t.match(shown, { displayed_caller_id: '+33199000001', dialed_number: '+33639980002' });
  t.equal(shown!.id, call!.id);
});

await tap.test('keys and roles', async (t) => {
  const ask = async (token: string): Promise<Asked> => new Client(url, token).get({ number: '211474' });
  const headers = { 'case-id': 'C-1', purpose: 'dispute' };
  const nobody = await fetch(`${url}/v1/calls?number=211474`, { headers });
  t.match([nobody.status, await nobody.json()], [401, { code: 'KEY_MISSING' }]);
  const billing = await store.key(['billing']);
  t.match((await ask(billing.token)).body, { status: 403, code: 'ROLE_MISSING' });
  const expired = await store.key(['disputes'], { expires_at: 1_700_000_000 });
  t.match((await ask(expired.token)).body, { status: 401, code: 'KEY_INVALID' });
  const plain = await store.key(['disputes']);
  t.match((await new Client(url, plain.token).get({ number: '+3363*' })).body, {
    status: 403,
    code: 'ROLE_MISSING',
  });
  t.equal((await ask(plain.token)).status, 200);
  await store.insert('api_keys', [{ key_id: plain.keyId, roles: ['disputes'], revoked: 1, version: 2 }]);
  const revokedAt = Date.now();
  while ((await ask(plain.token)).status === 200) {
    if (Date.now() - revokedAt > 5000) throw new Error('a revoked key works longer than 5 s');
    await delay(100);
  }
  t.match((await ask(plain.token)).body, { status: 401, code: 'KEY_INVALID' });
});

await tap.test('the journal has every look-up, and no number', async (t) => {
  const { token, keyId } = await store.key(['disputes']);
  const headers = { 'case-id': 'C-77', purpose: 'legal', agent: 'ada' };
  const { body } = await new Client(url, token).get(
    { number: '06 39 98 00 02', ...whole, limit: '2' },
    headers,
  );
  await untilEnded((query) => store.rows(query), store.database);
  const rows = await store.rows<Record<string, unknown>>(
    `SELECT * EXCEPT at FROM ${store.database}.lookup_journal WHERE key_id = '${keyId}' ORDER BY phase, number_hmac`,
  );
  const hmacs = body.number.searched
    .map((text) => createHmac('sha256', JOURNAL_KEY).update(text).digest('hex'))
    .sort();
  t.equal(hmacs.length, 3);
  const common = { case_id: 'C-77', purpose: 'legal', agent: 'ada', route: '/v1/calls' };
  const started = { ...common, phase: 'started', rows: '0', complete: 0 };
  const finished = { ...common, phase: 'finished', rows: '2', complete: 1 };
  for (const [index, hmac] of hmacs.entries()) {
    t.match(rows[index], { ...started, number_hmac: hmac });
    t.match(rows[index + 3], { ...finished, number_hmac: hmac });
  }
  t.equal(rows.length, 6);
  const everything = JSON.stringify(await store.rows(`SELECT * FROM ${store.database}.lookup_journal`));
  for (const number of ['639980002', '39 98 00']) t.notMatch(everything, number);
});

await tap.test('no parameter reaches SQL as text', async (t) => {
  const strings = [
    "' OR 1=1 --",
    '{keys: Array(UInt64)}',
    "x') UNION ALL SELECT 1 --",
    '\\',
    '%00',
    '`',
    'a\u2028b',
    '😀',
    ';',
  ];
  for (const [index, text] of strings.entries()) {
    const { status, body } = await unmasked.get({ number: text, ...whole });
    t.equal(status, 200, `string ${index}`);
    t.strictSame(body.data, []);
    for (const name of ['role', 'from', 'to', 'time_zone', 'limit', 'cursor', 'feed']) {
      const answer = await unmasked.get({ number: '211474', [name]: text });
      t.equal(answer.status, 400, `${name}, string ${index}`);
    }
    t.ok(
      (await unmasked.get({ number: '211474' }, { authorization: `Bearer ${encodeURI(text)}` })).status ===
        401,
    );
  }
});

await tap.test('nothing behind the retention term is read', async (t) => {
  const nowMs = Date.now();
  const border = addMonths(nowMs, -36);
  const base = { ...stored[0]!, calling: '+33199000099', displayed: '+33199000099', dialed: '+33199000098' };
  // Beside the month ends at which the border is no single moment, by more than they can matter.
  const [expired, kept] = [border - 5 * DAY_MS, border + 5 * DAY_MS];
  await store.store(
    [
      { ...base, cdrKey: '11', startMs: expired },
      { ...base, cdrKey: '12', startMs: kept },
      { ...base, cdrKey: '13', startMs: border - 60_000 },
    ],
    versionAt(1_700_000_000),
  );
  const range = {
    from: new Date(border - 10 * DAY_MS).toISOString(),
    to: new Date(border + 10 * DAY_MS).toISOString(),
  };
  for (const number of [base.calling, base.dialed]) {
    const found = await unmasked.calls({ number, ...range });
    t.strictSame(
      found.map(({ call_id }) => call_id),
      ['call-12'],
    );
  }
});

await tap.test('a search is ranges of the primary key and of months, never a scan', async (t) => {
  const number = '+33639980001';
  const roles = [...ROLES];
  const range = { fromMs: Date.UTC(year, 2, 1), toMs: Date.UTC(year, 3, 1) };
  const term = { months: { all: 36, feeds: {} }, nowMs: Date.now() };
  for (const filter of [
    {
      kind: 'exact' as const,
      texts: [number, '1002'],
      keys: [numberKey('alpha', number), numberKey('alpha', '1002')],
    },
    { kind: 'prefix' as const, prefix: '+3363' },
  ]) {
    const after = { startMs: range.toMs - 1, cdrKey: '5', callingNumber: number };
    const any = {
      otherNumbers: undefined,
      durationMsMin: undefined,
      durationMsMax: undefined,
      outcomes: undefined,
      feeds: undefined,
      visibility: undefined,
      withHeld: false,
    };
    const { text, parameters } = callsSql(
      store.database,
      { ...any, number: filter, roles, range, term },
      { after, rows: 11 },
    );
    const result = await store.admin.query({
      query: `EXPLAIN indexes = 1 ${text}`,
      query_params: parameters,
      clickhouse_settings: settingsOfReads(10),
      format: 'TabSeparatedRaw',
    });
    const plan = await result.text();
    t.match(plan, filter.kind === 'exact' ? /calling_key in 2-element set/ : /calling_key in \[/);
    t.match(plan, filter.kind === 'exact' ? /number_key in 2-element set/ : /number_key in \[/);
    t.equal(plan.match(/toYYYYMM\(start_at\) in/g)?.length, 4, 'months are pruned in both tables');
    t.equal(plan.match(/PrimaryKey/g)?.length, 2);
    t.equal(plan.match(/ReadFromMergeTree \(/g)?.length, 2);
  }
});

await tap.test('without a journal there is no answer', async (t) => {
  const other = new CallStore(t, servers, 1);
  await other.create();
  const { token } = await other.key(['disputes']);
  const client = new Client(await other.serve(t), token);
  t.equal((await client.get({ number: '211474' })).status, 200);
  await other.admin.command({ query: `DROP TABLE ${other.database}.lookup_journal SYNC` });
  t.match((await client.get({ number: '211474' })).body, { status: 503, code: 'JOURNAL_UNAVAILABLE' });
});

await tap.test('a query that fails is told so, and closed in the journal', async (t) => {
  const other = new CallStore(t, servers, 2);
  await other.create();
  const { token } = await other.key(['disputes']);
  const client = new Client(await other.serve(t), token);
  await other.admin.command({ query: `DROP TABLE ${other.database}.cdr SYNC` });
  t.match((await client.get({ number: '211474' })).body, { status: 500, code: 'INTERNAL' });
  await untilEnded((query) => other.rows(query), other.database);
  const journal = await other.rows<{ phase: string; complete: number }>(
    `SELECT phase, complete FROM ${other.database}.lookup_journal ORDER BY phase`,
  );
  t.match(
    journal,
    [{ phase: 'started' }, { phase: 'finished', complete: 0 }],
    'the failed look-up is closed too',
  );
});

await tap.test('it does not start over tables that do not fit', async (t) => {
  const other = new CallStore(t, servers, 3);
  await other.admin.command({ query: `DROP DATABASE IF EXISTS ${other.database}` });
  await t.rejects(other.serve(t), { code: 'SCHEMA_MISSING' });
  await other.create();
  await other.insert('schema_migrations', [
    { number: 99, title: 'later', program_version: '9', applied_at: 1 },
  ]);
  await t.rejects(other.serve(t), { code: 'SCHEMA_TOO_NEW' });
  const differing = new CallStore(t, servers, 4);
  await differing.create(12);
  await t.rejects(differing.serve(t), { code: 'RETENTION_DIFFERS' });
});

await tap.test('ready while the database fits', async (t) => {
  t.equal((await fetch(`${url}/readyz`)).status, 200);
  t.equal((await fetch(`${url}/healthz`)).status, 200);
});
