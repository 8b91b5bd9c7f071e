import { createHash, createHmac } from 'node:crypto';
import tap from 'tap';
import type { ApiRole } from '../../schemas/api-key.ts';
import { STORED_SETTINGS } from '../../schemas/migrations.ts';
import { sqlTime } from '../../schemas/sql-time.ts';
import { settingsOfReads } from '../../query/clickhouse.ts';
import { runQuery } from '../../query/main.ts';
import { journalSql } from '../../query/journal-sql.ts';
import { ClickhouseProxy, insertsInto } from '../fault/clickhouse-proxy.ts';
import { CallStore, someCalls } from '../query/stored-calls.ts';
import { until } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';

/** Who looked what up: over HTTP, against what other requests of this file wrote. */
const servers = testServers(import.meta.url);
const FORMER_KEY = Buffer.alloc(32, 0xc3);
const NUMBER = '+33639980001';

interface Entry {
  readonly request_id: string;
  readonly started: string;
  readonly finished: string | null;
  readonly key_id: string;
  readonly key_label: string | null;
  readonly agent: string;
  readonly purpose: string;
  readonly case_id: string;
  readonly route: string;
  readonly filter: Record<string, unknown>;
  readonly rows: number | null;
  readonly complete: boolean;
}

interface Answer {
  readonly data: Entry[];
  readonly next_cursor: string | null;
  readonly number?: { read_as: string; country: string | null; hmac_key_ids: string[] };
  readonly unsearchable?: number;
  readonly code?: string;
  readonly detail?: string;
}

interface Asked {
  readonly status: number;
  readonly body: Answer;
  readonly text: string;
  readonly requestId: string;
}

class Client {
  readonly #url: string;
  readonly #token: string;

  constructor(url: string, token: string) {
    this.#url = url;
    this.#token = token;
  }

  async get(
    path: string,
    parameters: Record<string, string> = {},
    headers: Record<string, string> = {},
  ): Promise<Asked> {
    return this.#ask(`${path}?${new URLSearchParams(parameters).toString()}`, { headers });
  }

  async post(path: string, body: object): Promise<Asked> {
    return this.#ask(path, {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json' },
    });
  }

  async #ask(path: string, init: RequestInit): Promise<Asked> {
    const response = await fetch(`${this.#url}${path}`, {
      ...init,
      headers: { authorization: `Bearer ${this.#token}`, ...(init.headers as Record<string, string>) },
    });
    const text = await response.text();
    const body = JSON.parse(text) as Answer;
    return { status: response.status, body, text, requestId: response.headers.get('x-request-id') ?? '' };
  }
}

const store = new CallStore(tap, servers, 0);
await store.create();
await store.insert('settings', [
  { name: `${STORED_SETTINGS.formerJournalKey}1`, value: FORMER_KEY.toString('hex'), set_at: 1 },
]);
const now = Date.now();
await store.store(someCalls(60, now - 20 * 86_400_000, now, 3), 1);
const url = await store.serve(tap);
const privacy = new Client(url, (await store.key(['privacy'], { label: 'privacy desk' })).token);

const desk: ApiRole[] = ['disputes', 'disputes:prefix'];
const ada = await store.key(desk, { label: 'ada' });
const team = await store.key(desk, { label: 'team', shared: 1 });

function look(
  token: string,
  number: string,
  caseId: string,
  headers: Record<string, string> = {},
): Promise<Asked> {
  return new Client(url, token).get(
    '/v1/calls',
    { number },
    { 'case-id': caseId, purpose: 'dispute', ...headers },
  );
}

/** Look-ups of a case whose last entry is not there. */
async function openOf(caseId: string): Promise<number> {
  return (await journal({ case_id: caseId })).filter(({ finished }) => finished === null).length;
}

async function journal(parameters: Record<string, string>): Promise<Entry[]> {
  const { status, body } = await privacy.get('/v1/journal', { limit: '1000', ...parameters });
  if (status !== 200 || body.next_cursor !== null) throw new Error(`${status} ${body.code} ${body.detail}`);
  return body.data;
}

const cases = (entries: readonly Entry[]): string[] => entries.map(({ case_id: caseId }) => caseId).sort();

const looked = new Map<string, Asked>();
for (const [caseId, number, who, agent] of [
  ['C-1', '06 39 98 00 01', ada, undefined],
  ['C-2', NUMBER, team, 'bob'],
  ['C-3', '+336399*', team, 'eve'],
  ['C-4', '+33639980002', ada, undefined],
  ['C-4', '211474', team, 'bob'],
] as const) {
  const asked = await look(who.token, number, caseId, agent === undefined ? {} : { agent });
  if (asked.status !== 200) throw new Error(`${caseId}: ${asked.text}`);
  looked.set(caseId, asked);
}

await tap.test('who looked a number up, however it was typed then and is typed now', async (t) => {
  for (const number of ['06 39 98 00 01', '0033 6 39 98 00 01', NUMBER]) {
    const found = (await journal({ number })).filter(({ route }) => route === '/v1/calls');
    t.strictSame(cases(found), ['C-1', 'C-2', 'C-3'], number);
  }
});

await tap.test('an entry says who, when, why, what and how it ended', async (t) => {
  const [entry] = await journal({ case_id: 'C-1' });
  const asked = looked.get('C-1')!;
  t.match(entry, {
    request_id: asked.requestId,
    key_id: ada.keyId,
    key_label: 'ada',
    agent: '',
    purpose: 'dispute',
    case_id: 'C-1',
    route: '/v1/calls',
    filter: { kind: 'exact', roles: ['calling', 'displayed', 'dialed'] },
    rows: asked.body.data.length,
    complete: true,
  });
  t.ok(entry!.rows! > 0);
  t.ok(Date.parse(entry!.started) <= Date.parse(entry!.finished!));
  t.match(await journal({ case_id: 'C-3' }), [
    { agent: 'eve', key_label: 'team', filter: { kind: 'prefix' } },
  ]);
});

await tap.test('by case, key, agent and period', async (t) => {
  t.strictSame(cases(await journal({ case_id: 'C-4' })), ['C-4', 'C-4']);
  t.strictSame(cases(await journal({ key_id: ada.keyId })), ['C-1', 'C-4']);
  t.strictSame(cases(await journal({ agent: 'bob' })), ['C-2', 'C-4']);
  t.strictSame(cases(await journal({ agent: 'bob', case_id: 'C-4' })), ['C-4']);
  t.strictSame(await journal({ case_id: 'c-4' }), []);
  const [{ started }] = (await journal({ case_id: 'C-2' })) as [Entry];
  const at = Date.parse(started);
  const period = (from: number, to: number): Promise<Entry[]> =>
    journal({ case_id: 'C-2', from: new Date(from).toISOString(), to: new Date(to).toISOString() });
  t.equal((await period(at, at + 1)).length, 1, 'from is inclusive');
  t.equal((await period(at - 1, at)).length, 0, 'to is exclusive');
});

await tap.test('pages give each entry once, newest first', async (t) => {
  const whole = await journal({ from: new Date(now - 1000).toISOString() });
  const to = new Date(Date.parse(whole[0]!.started) + 1).toISOString();
  const parameters = { from: new Date(now - 1000).toISOString(), to, limit: '2' };
  const got: Entry[] = [];
  let cursor: string | null = null;
  do {
    const asked: Asked = await privacy.get('/v1/journal', {
      ...parameters,
      ...(cursor === null ? {} : { cursor }),
    });
    t.equal(asked.status, 200);
    got.push(...asked.body.data);
    cursor = asked.body.next_cursor;
  } while (cursor !== null && got.length < 1000);
  const ids = (entries: readonly Entry[]): string[] => entries.map(({ request_id: id }) => id);
  t.strictSame(ids(got), ids(whole));
  t.ok(got.length > 5);
  const { body } = await privacy.get('/v1/journal', parameters);
  const other = await privacy.get('/v1/journal', { ...parameters, agent: 'bob', cursor: body.next_cursor! });
  t.match(other.body, { code: 'CURSOR_INVALID' });
});

await tap.test('looking into the journal is journalled', async (t) => {
  const asked = await privacy.get('/v1/journal', { number: NUMBER }, { 'case-id': 'P-1', agent: 'officer' });
  t.match(await journal({ case_id: 'P-1' }), [
    {
      request_id: asked.requestId,
      key_label: 'privacy desk',
      agent: 'officer',
      purpose: 'privacy',
      route: '/v1/journal',
      rows: asked.body.data.length,
      complete: true,
    },
  ]);
  const [unnamed] = await journal({ agent: 'nobody' });
  t.equal(unnamed, undefined);
  const entries = await journal({});
  t.ok(
    entries.some(({ route, filter }) => route === '/v1/journal' && filter['agent'] === 'nobody'),
    'also where no number is asked for',
  );
});

await tap.test('as a JSON body, so that no number stands in a URL', async (t) => {
  const asked = await privacy.post('/v1/journal/search', { number: NUMBER, case_id: 'C-2' });
  t.strictSame(cases(asked.body.data), ['C-2']);
  t.match((await privacy.post('/v1/journal/search', { nubmer: NUMBER })).body, { code: 'PARAMETER_UNKNOWN' });
});

await tap.test('no answer shows a number', async (t) => {
  for (const asked of [
    await privacy.get('/v1/journal', { number: NUMBER, limit: '1000' }),
    await privacy.get('/v1/journal', { limit: '1000' }),
  ]) {
    t.equal(asked.status, 200);
    t.notMatch(asked.text, '639980001');
    t.notMatch(asked.text, '39 98 00');
    t.notMatch(asked.text, '336399');
  }
});

await tap.test('numbers under earlier keys are found; those under unknown keys are counted', async (t) => {
  const at = now - 5 * 86_400_000;
  const row = (requestId: string, key: Uint8Array, keyId: string): object => ({
    at: sqlTime(at),
    request_id: requestId,
    phase: 'started',
    key_id: 'old',
    case_id: requestId,
    route: '/v1/calls',
    number_hmac: createHmac('sha256', key).update('+33199000055').digest('hex'),
    hmac_key_id: keyId,
    filter: '{}',
  });
  await store.insert('lookup_journal', [
    row('former', FORMER_KEY, createHash('sha256').update(FORMER_KEY).digest('hex').slice(0, 8)),
    row('lost', Buffer.alloc(32, 9), 'deadbeef'),
  ]);
  const range = { from: new Date(at).toISOString(), to: new Date(at + 1).toISOString() };
  const { body } = await privacy.get('/v1/journal', { number: '+33 1 99 00 00 55', ...range });
  t.match(body.data, [{ case_id: 'former', key_label: null, finished: null, rows: null, complete: false }]);
  t.equal(body.data.length, 1);
  t.equal(body.number!.hmac_key_ids.length, 2);
  t.equal(body.unsearchable, 1);
});

await tap.test('a search is a range of the journal by time, then of its index, never a scan', async (t) => {
  const none = { caseId: undefined, keyId: undefined, agent: undefined, hmacs: undefined, after: undefined };
  const range = { fromMs: now - 86_400_000, toMs: now };
  for (const [filter, index] of [
    [{ hmacs: ['ab', 'cd'] }, 'by_number'],
    [{ caseId: 'C-1' }, 'by_case'],
    [{ after: { startedMs: now - 5, requestId: 'x' } }, undefined],
  ] as const) {
    const statement = journalSql(store.database, { ...none, ...filter, range, rows: 11 });
    const result = await store.admin.query({
      query: `EXPLAIN indexes = 1 ${statement.text}`,
      query_params: { ...statement.parameters },
      clickhouse_settings: settingsOfReads(10),
      format: 'TabSeparatedRaw',
    });
    const plan = await result.text();
    t.match(plan, /PrimaryKey\s+Keys:\s+at\s/);
    t.match(plan, /toYYYYMM\(at\) in/);
    if (index !== undefined) t.match(plan, `Name: ${index}`);
  }
});

async function refusal(parameters: Record<string, string>): Promise<string | undefined> {
  return (await privacy.get('/v1/journal', parameters)).body.code;
}

await tap.test('what is refused', async (t) => {
  t.equal(await refusal({ number: '+3363*' }), 'PARAMETER_INVALID');
  t.equal(await refusal({ nubmer: '1' }), 'PARAMETER_UNKNOWN');
  t.equal(await refusal({ from: '2026-03-02', to: '2026-03-01' }), 'RANGE_INVALID');
  const other = new Client(url, ada.token);
  t.match((await other.get('/v1/journal')).body, { code: 'ROLE_MISSING' });
});

await tap.test('a shared key without an agent gets nothing, and nothing is looked up', async (t) => {
  t.match((await look(team.token, NUMBER, 'C-9')).body, { code: 'HEADER_MISSING', detail: /^Agent/ });
  t.match((await look(team.token, NUMBER, 'C-9', { agent: ' ' })).body, { code: 'HEADER_MISSING' });
  t.strictSame(await journal({ case_id: 'C-9' }), []);
});

await tap.test(
  'no answer leaves before its first entry is on disk, whatever the database does',
  async (t) => {
    const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
    const settings = store.settings();
    const through = await store.serve(t, {
      ...settings,
      clickhouse: { ...settings.clickhouse, url: proxy.url },
    });
    const client = new Client(through, ada.token);
    const officer = new Client(through, (await store.key(['privacy'])).token);
    const headers = { 'case-id': 'F-1', purpose: 'dispute' };
    const ask = (): Promise<Asked> => client.get('/v1/calls', { number: NUMBER }, headers);
    t.equal((await ask()).status, 200);

    for (const [name, fail] of [
      ['cut off', async (exchange) => exchange.cut()],
      ['too many parts', async (exchange) => exchange.refuse(252, 'TOO_MANY_PARTS')],
      ['no right', async (exchange) => exchange.refuse(497, 'ACCESS_DENIED')],
      ['disk full', async (exchange) => exchange.refuse(243, 'NOT_ENOUGH_SPACE')],
      [
        'cut off after it was stored',
        async (exchange) => {
          await proxy.forward(exchange);
          exchange.cut();
        },
      ],
    ] as [string, Parameters<ClickhouseProxy['on']>[1]][]) {
      const rule = proxy.on(insertsInto('lookup_journal'), fail);
      for (const told of [await ask(), await officer.get('/v1/journal')]) {
        t.match(told, { status: 503, body: { code: 'JOURNAL_UNAVAILABLE' } }, name);
        t.notOk('data' in told.body, `${name}: nothing is given`);
      }
      rule.remove();
    }

    const held = proxy.hold('after', insertsInto('lookup_journal'));
    let answered = false;
    const waiting = ask().then((asked) => {
      answered = true;
      return asked;
    });
    await held.reached;
    // A round trip of another request: time enough for an answer that does not wait.
    t.equal((await fetch(`${through}/readyz`)).status, 200);
    t.equal(answered, false, 'nothing is given while the entry is not acknowledged');
    await held.release();
    t.equal((await waiting).status, 200);

    await until(
      'only what was stored and not acknowledged stands there as begun',
      async () => (await openOf('F-1')) === 1,
    );

    let refused = 0;
    const last = proxy.on(insertsInto('lookup_journal'), async (exchange) => {
      if (!exchange.body.includes('"finished"')) exchange.answer(await proxy.forward(exchange));
      else if (++refused < 3) exchange.refuse(243, 'NOT_ENOUGH_SPACE');
      else exchange.answer(await proxy.forward(exchange));
    });
    t.match(await ask(), { status: 200 });
    await until('its last entry is written', async () => refused === 3 && (await openOf('F-1')) === 1);
    t.equal(refused, 3, 'it was tried again until it was');
    last.remove();
  },
);

await tap.test('who stops the service finds in the journal how its last look-ups ended', async (t) => {
  const stop = new AbortController();
  let ended: Promise<void> = Promise.resolve();
  const stopped = await new Promise<string>((onListening, failed) => {
    ended = runQuery({ settings: store.settings(), stop: stop.signal, onListening }).catch(failed);
  });
  const headers = { 'case-id': 'S-1', purpose: 'dispute' };
  t.equal((await new Client(stopped, ada.token).get('/v1/calls', { number: NUMBER }, headers)).status, 200);
  stop.abort();
  await ended;
  const entries = await store.rows(
    `SELECT DISTINCT phase, complete FROM ${store.database}.lookup_journal WHERE case_id = 'S-1' ORDER BY phase`,
  );
  t.strictSame(entries, [
    { phase: 'started', complete: 0 },
    { phase: 'finished', complete: 1 },
  ]);
});
