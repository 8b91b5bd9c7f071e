import tap from 'tap';
import { setTimeout as delay } from 'node:timers/promises';
import { readNumber } from '../../query/number-reading.ts';
import { recordsSql } from '../../query/records-sql.ts';
import { CHANGED_AT, VISIBLE_WITHIN_SECONDS } from '../../schemas/tables.ts';
import { sqlTime } from '../../schemas/sql-time.ts';
import { SESSION, Installation, until, whenIdle } from '../cdrhouse-program.ts';
import { ClickhouseProxy, insertsInto } from '../fault/clickhouse-proxy.ts';
import { CallStore, NUMBERS, numberKey, someCalls, storeWithHistory } from '../query/stored-calls.ts';
import { untilEnded } from '../cdrhouse-program.ts';
import { seeded } from '../seeded.ts';
import { testServers } from '../test-servers.ts';

/** Records over HTTP against stored rows, compared with what this file reckons from the same rows by itself. */
const servers = testServers(import.meta.url);
const year = new Date().getUTCFullYear() - 1;
const FROM = Date.UTC(year, 1, 20);
const TO = Date.UTC(year, 3, 10);
const whole = { from: new Date(FROM).toISOString(), to: new Date(TO).toISOString() };

interface Given {
  readonly id: string;
  readonly calling_number: string;
  readonly start: string;
  readonly duration_s: number;
  readonly account: string;
  readonly call_id: string;
  readonly stored_at: string;
  readonly removed: boolean;
}

interface Page {
  readonly data: Given[];
  readonly next_cursor: string | null;
  readonly stored_until: string;
  readonly from: string | null;
  readonly to: string | null;
  readonly numbers?: { e164: string | null }[];
  readonly code?: string;
  readonly status?: number;
}

type Parameters = Record<string, string> | [string, string][];

function client(url: string, token: string): (parameters: Parameters, headers?: object) => Promise<Page> {
  return async (parameters, headers = {}) => {
    const query = new URLSearchParams(parameters).toString();
    const response = await fetch(`${url}/v1/records?${query}`, {
      headers: { authorization: `Bearer ${token}`, 'case-id': 'run-1', purpose: 'billing', ...headers },
    });
    return (await response.json()) as Page;
  };
}

const store = new CallStore(tap, servers, 0);
await store.create();
const accounts = ['', 'north', 'south'];
const calls = someCalls(500, FROM, TO, 3).map((call, index) => ({ ...call, account: accounts[index % 3]! }));
const stored = await storeWithHistory(store, calls);
const url = await store.serve(tap, store.settings({ limit_max: 10_000 }));
const ask = client(url, (await store.key(['billing'])).token);

const inOrder = [...stored].sort(
  (a, b) => a.startMs - b.startMs || (BigInt(a.cdrKey) < BigInt(b.cdrKey) ? -1 : 1),
);
const callIds = (rows: readonly { call_id: string }[]): string[] => rows.map(({ call_id }) => call_id);
const expectedIds = (wanted: readonly { cdrKey: string }[]): string[] =>
  wanted.map(({ cdrKey }) => `call-${cdrKey}`);

async function pages(
  asked: (parameters: Parameters) => Promise<Page>,
  parameters: Record<string, string>,
): Promise<Page[]> {
  const all: Page[] = [];
  let cursor: string | null = null;
  do {
    const page: Page = await asked({ ...parameters, ...(cursor === null ? {} : { cursor }) });
    if (page.code !== undefined) throw new Error(page.code);
    all.push(page);
    cursor = page.next_cursor;
  } while (cursor !== null);
  return all;
}

await tap.test('all records of a range in the order of their start, each once', async (t) => {
  const { data, from, to } = await ask({ ...whole, limit: '10000' });
  t.strictSame(callIds(data), expectedIds(inOrder));
  t.strictSame([from, to], [whole.from, whole.to]);
  for (const [index, record] of data.entries()) {
    const call = inOrder[index]!;
    t.match(record, {
      calling_number: call.calling,
      start: new Date(call.startMs).toISOString(),
      duration_s: call.durationMs / 1000,
      account: call.account,
      removed: false,
    });
  }
  const half = {
    from: new Date(inOrder[100]!.startMs).toISOString(),
    to: new Date(inOrder[200]!.startMs).toISOString(),
  };
  const within = inOrder.filter(
    ({ startMs }) => startMs >= inOrder[100]!.startMs && startMs < inOrder[200]!.startMs,
  );
  t.strictSame(callIds((await ask({ ...half, limit: '10000' })).data), expectedIds(within), 'half open');
});

await tap.test('pages have every record once', async (t) => {
  const all = await pages(ask, { ...whole, limit: '37' });
  t.strictSame(callIds(all.flatMap(({ data }) => data)), expectedIds(inOrder));
  t.equal(
    new Set(all.map(({ stored_until: moment }) => moment)).size,
    1,
    'the first page says what all have',
  );
  const cursor = all[0]!.next_cursor!;
  t.match((await ask({ limit: '10', cursor })).data.length, 10, 'the range need not be repeated');
  for (const other of [
    { account: 'north' },
    { calling_number: '1002' },
    { time_zone: 'Europe/Paris' },
    { to: '2020-01-01' },
  ])
    t.match(await ask({ ...whole, ...other, cursor }), { code: 'CURSOR_INVALID' });
});

await tap.test('numbers in any notation, listed or repeated; an account', async (t) => {
  const typed = ['06 39 98 00 01', '211474'];
  const texts = new Set(typed.flatMap((number) => readNumber('calling_number', number, 'FR').searched));
  const wanted = expectedIds(inOrder.filter(({ calling }) => texts.has(calling)));
  const listed = await ask({ ...whole, calling_number: typed.join(), limit: '10000' });
  t.ok(wanted.length > 20);
  t.strictSame(callIds(listed.data), wanted);
  t.match(listed.numbers, [{ e164: '+33639980001' }, { e164: null }]);
  const repeated = await ask([
    ...Object.entries({ ...whole, limit: '10000' }),
    ...typed.map((number): [string, string] => ['calling_number', number]),
  ]);
  t.strictSame(callIds(repeated.data), wanted);
  const north = inOrder.filter(({ account }) => account === 'north');
  t.strictSame(callIds((await ask({ ...whole, account: 'north', limit: '10000' })).data), expectedIds(north));
  for (const number of NUMBERS.filter((text) => text !== '')) {
    const of = readNumber('calling_number', number, 'FR').searched;
    const { data } = await ask({ ...whole, account: 'north', calling_number: number, limit: '10000' });
    t.strictSame(callIds(data), expectedIds(north.filter(({ calling }) => of.includes(calling))), number);
  }
});

await tap.test('what is wrong is said', async (t) => {
  t.match(await ask({ from: whole.from }), { code: 'PARAMETER_MISSING' });
  t.match(await ask({}), { code: 'PARAMETER_MISSING' });
  t.match(await ask({ stored_since: '2026-01-01', account: 'north' }), { code: 'PARAMETER_INVALID' });
  t.match(await ask({ stored_since: 'yesterday' }), { code: 'PARAMETER_INVALID' });
  t.match(await ask({ ...whole, calling_number: '+3363*' }), { code: 'PARAMETER_INVALID' });
  t.match(await ask({ ...whole, calling_number: Array(101).fill('1').join() }), {
    code: 'PARAMETER_INVALID',
  });
  t.match(await ask({ ...whole, number: '1' }), { code: 'PARAMETER_UNKNOWN' });
  t.match(await ask({ ...whole, limit: '10001' }), { code: 'PARAMETER_INVALID' });
  t.match(await ask(whole, { 'case-id': '' }), { code: 'HEADER_INVALID' });
  t.match(await client(url, (await store.key(['disputes'])).token)(whole), {
    code: 'ROLE_MISSING',
    status: 403,
  });
});

await tap.test(
  'one entry in the journal for a job, whatever its numbers, and none of them in it',
  async (t) => {
    await ask({ ...whole, calling_number: '0639980001,211474', account: 'north' }, { 'case-id': 'one-job' });
    await untilEnded((query) => store.rows(query), store.database);
    const entries = await store.rows<{ number_hmac: string; filter: string }>(
      `SELECT number_hmac, filter FROM ${store.database}.lookup_journal WHERE case_id = 'one-job'`,
    );
    t.equal(entries.length, 2, 'begin and end');
    for (const { number_hmac: hmac, filter } of entries) {
      t.equal(hmac, '');
      t.match(JSON.parse(filter), { by: 'calling_number', calling_numbers: 2 });
      t.notMatch(filter, /639980001|211474|north/);
    }
  },
);

// What changed: rows of random histories, in parts of random order, and what must be read of them.

interface StoredRow {
  readonly calling: string;
  readonly startMs: number;
  readonly cdrKey: string;
  readonly account: string;
  readonly durationMs: number;
  /** Unix seconds. */
  readonly storedAt: number;
  readonly version: bigint;
  readonly isDeleted: boolean;
}

const plainVersion = (storedAt: number): bigint => 2n ** 32n - 1n - BigInt(storedAt);
const changedAt = ({ storedAt, version }: StoredRow): number => Math.max(storedAt, Number(version >> 32n));
const keyOf = ({ calling, startMs, cdrKey }: StoredRow): string => `${calling} ${startMs} ${cdrKey}`;

async function insertRows(into: CallStore, rows: readonly StoredRow[]): Promise<void> {
  await into.insert(
    'cdr',
    rows.map((row) => ({
      calling_key: numberKey('alpha', row.calling),
      start_at: sqlTime(row.startMs),
      cdr_key: row.cdrKey,
      calling_number: row.calling,
      displayed_caller_id: row.calling,
      dialed_number: '+33199000002',
      duration_ms: row.durationMs,
      account: row.account,
      call_id: keyOf(row),
      feed: 'alpha',
      stored_at: row.storedAt,
      version: String(row.version),
      is_deleted: row.isDeleted ? 1 : 0,
    })),
  );
}

/** What a question must give: by key, whether it is removed, and the duration that tells the rows of a key apart. */
function expectedChanges(
  rows: readonly StoredRow[],
  { since, until: end, calling }: { since: number; until: number; calling?: string },
): string[] {
  const keys = new Map<string, StoredRow>();
  for (const row of rows) {
    const before = keys.get(keyOf(row));
    if (before === undefined || row.version > before.version) keys.set(keyOf(row), row);
  }
  return [...keys.values()]
    .filter((row) => changedAt(row) >= since && changedAt(row) < end)
    .filter((row) => calling === undefined || row.calling === calling)
    .sort(
      (a, b) =>
        a.startMs - b.startMs ||
        (a.cdrKey === b.cdrKey ? 0 : BigInt(a.cdrKey) < BigInt(b.cdrKey) ? -1 : 1) ||
        numberKey('alpha', a.calling) - numberKey('alpha', b.calling),
    )
    .map((row) => `${keyOf(row)} ${row.durationMs} ${row.isDeleted ? 'removed' : 'there'}`);
}

const told = (record: Given): string =>
  `${record.call_id} ${Math.round(record.duration_s * 1000)} ${record.removed ? 'removed' : 'there'}`;

/** Histories of keys between two moments: sent again, corrected in place, moved, removed, and back again. */
function histories(seed: number, count: number, fromSecond: number, toSecond: number): StoredRow[] {
  const random = seeded(seed);
  const moment = (after: number): number => after + 1 + Math.floor(random() * (toSecond - after - 1));
  const rows: StoredRow[] = [];
  for (let index = 0; index < count; index++) {
    const key = {
      // Two numbers can share start and key: one id with two contents.
      calling: index % 5 === 0 ? '+33639980001' : '+33639980002',
      startMs: FROM + Math.floor(index / 2) * 60_000,
      cdrKey: String(2n ** 63n + BigInt(Math.floor(index / 2))),
    };
    const row = (storedAt: number, version: bigint, isDeleted: boolean): StoredRow => ({
      ...key,
      storedAt,
      version,
      isDeleted,
      account: '',
      durationMs: rows.length + 1,
    });
    let at = moment(fromSecond);
    rows.push(row(at, plainVersion(at), false));
    if (random() < 0.3 && at < toSecond - 2) {
      const again = moment(at);
      rows.push(row(again, plainVersion(again), false));
    }
    while (random() < 0.5 && at < toSecond - 10) {
      const correction = moment(at);
      const base = BigInt(correction) << 32n;
      rows.push(row(Math.min(toSecond - 1, correction + 2), base, true));
      at = correction;
      if (random() < 0.6 && at < toSecond - 4) {
        at = moment(at + 1);
        rows.push(row(at, base + plainVersion(at), false));
      }
    }
  }
  return rows;
}

await tap.test('what changed in a window equals the reference, for any history', async (t) => {
  const changes = new CallStore(t, servers, 1);
  await changes.create();
  const now = Math.floor(Date.now() / 1000);
  const begin = now - 20_000;
  // Up to now, so that the last ones are not old enough yet.
  const rows = histories(7, 400, begin, now);
  const random = seeded(8);
  const shuffled = [...rows].sort(() => random() - 0.5);
  for (let part = 0; part < 6; part++)
    await insertRows(
      changes,
      shuffled.filter((_, index) => index % 6 === part),
    );
  const changesUrl = await changes.serve(t, changes.settings({ limit_max: 10_000 }));
  const changed = client(changesUrl, (await changes.key(['billing'])).token);
  let removed = 0;
  for (const since of [begin - 1, begin + 5000, begin + 12_000, now - 900, now - 310]) {
    for (const calling of [undefined, '+33639980001']) {
      const parameters = {
        stored_since: new Date(since * 1000).toISOString(),
        ...(calling === undefined ? {} : { calling_number: calling }),
      };
      const page = await changed({ ...parameters, limit: '10000' });
      t.strictSame([page.from, page.to], [null, null]);
      const end = Date.parse(page.stored_until) / 1000;
      t.ok(end <= Date.now() / 1000 - VISIBLE_WITHIN_SECONDS + 1, 'not before all of it must be visible');
      t.ok(end > now - VISIBLE_WITHIN_SECONDS - 2, 'and no later than need be');
      const expected = expectedChanges(rows, {
        since,
        until: end,
        ...(calling === undefined ? {} : { calling }),
      });
      t.strictSame(page.data.map(told), expected, `${since - now} ${calling}`);
      removed += page.data.filter((record) => record.removed).length;
      const small = await pages(changed, { ...parameters, limit: '23' });
      const smallEnd = Date.parse(small[0]!.stored_until) / 1000;
      const inPages = expectedChanges(rows, {
        since,
        until: smallEnd,
        ...(calling === undefined ? {} : { calling }),
      });
      t.strictSame(small.flatMap(({ data }) => data).map(told), inPages, 'in pages too');
    }
  }
  t.ok(removed > 50, `${removed} were removed`);
  t.ok(
    rows.some((row) => changedAt(row) > now - 250),
    'some are too new',
  );
  // What is there is what is there without a window.
  const { data } = await changed({ ...whole, limit: '10000' });
  const present = expectedChanges(rows, { since: 0, until: Infinity }).filter((line) =>
    line.endsWith('there'),
  );
  t.strictSame(data.map(told), present);

  await t.test('looked for in the parts that an index names', async (u) => {
    const { text, parameters } = recordsSql(changes.database, {
      range: { fromMs: 0, toMs: Date.UTC(2290, 0, 1) },
      term: { months: { all: 36, feeds: {} }, nowMs: Date.now() },
      callingNumbers: undefined,
      account: undefined,
      changed: { since: now + 1000, until: now + 2000 },
      after: undefined,
      rows: 10,
      visibility: undefined,
    });
    // The inner question, by which keys are found.
    const inner = /IN \((SELECT calling_key[^)]+FROM \S+ WHERE .+)\)\nUNION/.exec(text)![1]!;
    const result = await changes.admin.query({
      query: `EXPLAIN indexes = 1 ${inner}`,
      query_params: { ...parameters },
      format: 'TabSeparated',
    });
    const plan = await result.text();
    u.match(plan, /by_change[\s\S]+Parts: 0\/[1-9]/);
  });
});

await tap.test('what becomes visible late is given once, what is too new is not given yet', async (t) => {
  const late = new CallStore(t, servers, 2);
  await late.create();
  const lateUrl = await late.serve(t);
  const changed = client(lateUrl, (await late.key(['billing'])).token);
  const first = await changed({ stored_since: '2020-01-01', time_zone: 'Europe/Paris' });
  t.match(first.stored_until, /\+0[12]:00$/, 'in the zone asked for, and read back in it');
  const untilFirst = Date.parse(first.stored_until) / 1000;
  const base = { startMs: FROM, calling: '+33639980001', account: '', durationMs: 1, isDeleted: false };
  const row = (cdrKey: string, storedAt: number): StoredRow => ({
    ...base,
    cdrKey,
    storedAt,
    version: plainVersion(storedAt),
  });
  // Stored just behind the last answer's end, as by a slow insert; and right now.
  const slow = row('1', untilFirst + 2);
  const fresh = row('2', Math.floor(Date.now() / 1000));
  await insertRows(late, [slow, fresh]);
  const given: string[] = [];
  let since = first.stored_until;
  for (let turn = 0; turn < 100 && Date.parse(since) / 1000 <= untilFirst + 4; turn++) {
    const answer = await changed({ stored_since: since });
    given.push(...answer.data.map(told));
    t.ok(Date.parse(answer.stored_until) >= Date.parse(since));
    since = answer.stored_until;
    await delay(200);
  }
  t.strictSame(given, [`${keyOf(slow)} 1 there`]);
  const ahead = new Date(Date.now() + 3_600_000).toISOString();
  t.match(await changed({ stored_since: ahead }), { data: [], stored_until: /./ });
  t.equal(
    Date.parse((await changed({ stored_since: ahead })).stored_until),
    Math.floor(Date.parse(ahead) / 1000) * 1000,
    'never before the moment that was asked for',
  );
});

await tap.test('ingest notes when it stores, however long a batch has waited for the database', async (t) => {
  const topic = `${servers.databases[3]}.waits`;
  const feed = { name: 'pbx', topic, country: 'FR' };
  const installation = new Installation(t, servers, 3, {
    feeds: [{ ...feed, time_zone: 'UTC' }],
    kafka: { client: SESSION },
  });
  await installation.run('migrate');
  const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
  const lines = Array.from(
    { length: 20 },
    (_, index) => `0199000001,,0199000002,${year}-03-01T10:00:${String(index + 10)},1,1,call-${index}\n`,
  );
  await installation.json('ship', '--feed', 'pbx', installation.write('calls.csv', lines.join('')));
  const refusing = proxy.on(insertsInto('cdr', 'cdr_by_number'), async (exchange) =>
    Promise.resolve(exchange.refuse(202, 'TOO_MANY_SIMULTANEOUS_QUERIES')),
  );
  const ingest = installation.start('ingest', '--until-idle');
  await until('the batch waits', () => refusing.count() > 0);
  await delay(4000);
  const allowedAt = Math.floor(Date.now() / 1000);
  refusing.remove();
  t.equal((await ingest.ended).code, 0);
  const earliest = async (where: string): Promise<number> => {
    const [row] = await installation.rows<{ rows: string; earliest: string }>(
      `SELECT count() AS rows, min(${CHANGED_AT}) AS earliest FROM {db}.cdr WHERE ${where}`,
    );
    t.equal(row!.rows, '20', where);
    return Number(row!.earliest);
  };
  t.ok((await earliest('is_deleted = 0')) >= allowedAt, 'not when the batch was filled');

  // Read again in another zone: the old rows are marked when that happens.
  installation.environment['CDRHOUSE_CONFIG'] = installation.write(
    'other.yaml',
    JSON.stringify({
      feeds: [{ ...feed, time_zone: 'Europe/Paris' }],
      kafka: { client: SESSION },
    }),
  );
  const rewound = await whenIdle(installation, 'ingest', 'rewind', '--topic', topic, '--to-offset', '0');
  t.equal(rewound.code, 0, rewound.stderr);
  // The correction's number is made before its markers can be stored.
  const holding = proxy.hold('before', ({ statement }) =>
    /INSERT INTO \S+\.cdr [\s\S]+FINAL/.test(statement),
  );
  const again = installation.start('ingest', '--until-idle');
  await holding.reached;
  await delay(2000);
  const markedAt = Math.floor(Date.now() / 1000);
  await holding.release();
  t.equal((await again.ended).code, 0);
  t.ok((await earliest('is_deleted = 1')) >= markedAt, 'markers too');
});
