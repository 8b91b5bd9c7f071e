import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { get, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import tap from 'tap';
import { unguardText, type CsvValue } from '../../schemas/csv.ts';
import { Installation, until, untilEnded, type Running } from '../cdrhouse-program.ts';
import { ClickhouseProxy, type Exchange } from '../fault/clickhouse-proxy.ts';
import { CallStore, numberKey, someCalls, storeWithHistory, type StoredCall } from '../query/stored-calls.ts';
import { readCsv } from '../read-csv.ts';
import { testServers } from '../test-servers.ts';

/** Answers in CSV and NDJSON over HTTP: equal to the JSON, as fast as the client reads, and never cut without a sign. */
const servers = testServers(import.meta.url);
const year = new Date().getUTCFullYear() - 1;
const FROM = Date.UTC(year, 1, 20);
const TO = Date.UTC(year, 3, 10);
const ZONE = 'Europe/Paris';
const JOB = { 'case-id': 'run-1', purpose: 'billing' };

/** Texts that spreadsheets run or alter, and those that CSV has to quote. */
const ODD_TEXTS = ['=1+1', '+1', '-1', '@SUM(A1)', '\t=1', '\r=1', "'x", '0639', 'a,"b"\r\nc', '＝1', ' x '];

interface Page {
  readonly data: Record<string, CsvValue>[];
  readonly next_cursor: string | null;
  readonly code?: string;
  readonly detail?: string;
}

interface End {
  readonly rows: number;
  readonly sha256: string;
  readonly stored_until?: string;
  readonly time_zone?: string;
}

const store = new CallStore(tap, servers, 0);
await store.create();
const ordinary = someCalls(400, FROM, TO, 5);
const odd = someCalls(ODD_TEXTS.length, FROM, TO, 6).map((call, index): StoredCall => ({
  ...call,
  account: ODD_TEXTS[index]!,
  callId: ODD_TEXTS.at(-1 - index)!,
}));
const stored = await storeWithHistory(store, [...ordinary, ...odd]);
const url = await store.serve(tap, store.settings({ limit_max: 10_000 }));
const { token } = await store.key(['disputes', 'disputes:prefix', 'billing']);

// A program of its own, so that its memory can be watched, over rows that no buffer holds.
const ROWS = 200_000;
const installation = new Installation(tap, servers, 1, { feeds: [{ name: 'alpha', topic: 'alpha' }] });
await installation.run('migrate');
const big = await installation.json<{ token: string }>('keys', 'add', '--role', 'billing', '--json');
for (let part = 0; part < 5; part++) {
  // The last part repeats the first one: later, so that it does not count.
  await installation.statement(`INSERT INTO {db}.cdr (calling_key, start_at, cdr_key, calling_number, displayed_caller_id,
      dialed_number, duration_ms, talk_ms, outcome, direction, account, call_id, feed, stored_at, version)
    SELECT ${numberKey('alpha', '+33199000001')} + intDiv(number, 1000), toDateTime64('${year}-03-01 00:00:00', 3, 'UTC') + number * 5,
      sipHash64(number), '+33199000001', '+33199000001', '+33199000002', number, number, 'answered', 'outbound', 'acct',
      concat(toString(number), repeat('x', 600)), 'alpha', ${1_700_000_000 + part}, ${2 ** 32 - 1_700_000_001} - ${part}
    FROM numbers(${(part % 4) * (ROWS / 4)}, ${ROWS / 4})`);
}

async function serve(): Promise<{ base: string; serving: Running }> {
  const serving = installation.start('serve');
  tap.teardown(() => serving.child.kill('SIGKILL'));
  await until('it listens', () => serving.stderr().includes('listening on '));
  return { base: /listening on (\S+)/.exec(serving.stderr())![1]!, serving };
}

const { base, serving } = await serve();
/** The program itself: env(1) starts it in its own place. */
const pid = serving.child.pid!;

async function ask(
  path: string,
  parameters: Record<string, string>,
  headers: object = {},
): Promise<Response> {
  return fetch(`${url}${path}?${new URLSearchParams(parameters).toString()}`, {
    headers: { authorization: `Bearer ${token}`, ...JOB, ...headers },
  });
}

async function page(path: string, parameters: Record<string, string>, headers: object = {}): Promise<Page> {
  return (await (await ask(path, parameters, headers)).json()) as Page;
}

const range = { from: new Date(FROM).toISOString(), to: new Date(TO).toISOString(), time_zone: ZONE };
const QUESTIONS: readonly (readonly [string, Record<string, string>])[] = [
  ['/v1/records', range],
  ['/v1/calls', { ...range, number: '06 39 98 00 01' }],
  ['/v1/calls', { ...range, number: '+3363998*', role: 'dialed,displayed' }],
];
const TEXT_COLUMNS = new Set([
  'id',
  'calling_number',
  'displayed_caller_id',
  'dialed_number',
  'account',
  'feed',
  'call_id',
]);

/** A JSON value as a program has it that reads the CSV as documented. */
function asText(value: CsvValue): string {
  if (value === null) return '';
  return typeof value === 'object' ? value.join(' ') : String(value);
}

await tap.test('CSV and NDJSON have the rows of the JSON, in its order and zone', async (t) => {
  for (const [path, parameters] of QUESTIONS) {
    const json = await page(path, { ...parameters, limit: '10000' });
    t.equal(json.next_cursor, null);
    t.ok(json.data.length > 50, `${path}: ${json.data.length} rows`);
    t.ok(json.data.some(({ start }) => String(start).endsWith('+02:00')));
    t.ok(json.data.some(({ start }) => String(start).endsWith('+01:00')));

    const csv = await ask(path, { ...parameters, format: 'csv' });
    t.match(csv.headers.get('content-type'), /^text\/csv; charset=utf-8/);
    t.equal(csv.headers.get('content-length'), null, 'in chunks');
    t.equal(csv.headers.get('cache-control'), 'no-store');
    const cells = await readCsv(await csv.text());
    t.strictSame(Object.keys(cells[0]!), Object.keys(json.data[0]!), 'the same fields');
    for (const row of cells)
      for (const [name, cell] of Object.entries(row))
        if (/^[=+\-@\t\r\n＝]/.test(cell)) t.fail(`${name}: ${cell}`);
    const back = cells.map((row) =>
      Object.fromEntries(
        Object.entries(row).map(([name, cell]) => [name, TEXT_COLUMNS.has(name) ? unguardText(cell) : cell]),
      ),
    );
    const texts = json.data.map((row) =>
      Object.fromEntries(Object.entries(row).map(([name, value]) => [name, asText(value)])),
    );
    t.strictSame(back, texts);

    const ndjson = await ask(path, parameters, { accept: 'application/x-ndjson' });
    t.equal(ndjson.headers.get('content-type'), 'application/x-ndjson');
    const body = await ndjson.text();
    const lines = body.trimEnd().split('\n');
    t.strictSame(
      lines.slice(0, -1).map((line) => JSON.parse(line) as object),
      json.data,
    );
    const { end } = JSON.parse(lines.at(-1)!) as { end: End };
    const before = body.slice(0, body.lastIndexOf('{"end"'));
    t.match(end, {
      rows: json.data.length,
      sha256: createHash('sha256').update(before).digest('hex'),
      time_zone: ZONE,
    });
  }
});

await tap.test('odd texts are there', async (t) => {
  const { data } = await page('/v1/records', { ...range, limit: '10000' });
  const accounts = new Set(data.map(({ account }) => account));
  for (const text of ODD_TEXTS) t.ok(accounts.has(text), JSON.stringify(text));
  t.equal(data.length, stored.length);
});

await tap.test('nothing found is a header, or a closing record', async (t) => {
  const empty = { from: '2000-01-01', to: '2000-01-02', format: 'csv' };
  const csv = await (await ask('/v1/records', { ...empty })).text();
  t.match(csv, /^id,calling_number,[a-z_,]+\r\n$/);
  const ndjson = await (await ask('/v1/records', { ...empty, format: 'ndjson' })).text();
  t.match(JSON.parse(ndjson), { end: { rows: 0, sha256: createHash('sha256').digest('hex') } });
});

await tap.test('what fails before the first row is a problem document', async (t) => {
  const number = { ...range, number: '0639980001' };
  for (const [path, parameters, code] of [
    ['/v1/calls', { ...number, format: 'xml' }, 'PARAMETER_INVALID'],
    ['/v1/calls', { ...number, format: 'csv', limit: '10' }, 'PARAMETER_INVALID'],
    ['/v1/calls', { ...number, format: 'csv', cursor: 'abc' }, 'PARAMETER_INVALID'],
    ['/v1/records', { ...range, format: 'ndjson', limit: '10' }, 'PARAMETER_INVALID'],
    ['/v1/records', { ...range, format: 'ndjson', from: 'soon' }, 'PARAMETER_INVALID'],
  ] as const) {
    const response = await ask(path, parameters);
    t.equal(response.status, 400);
    t.equal(response.headers.get('content-type'), 'application/problem+json');
    t.match(await response.json(), { code });
  }
  const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
  const settings = store.settings();
  const behind = await store.serve(t, {
    ...settings,
    clickhouse: { ...settings.clickhouse, url: proxy.url },
  });
  proxy.on(asksForCalls, async (exchange) => Promise.resolve(exchange.refuse(241, 'MEMORY_LIMIT_EXCEEDED')));
  for (const [path, parameters] of QUESTIONS) {
    const query = new URLSearchParams({ ...parameters, format: 'csv' }).toString();
    const response = await fetch(`${behind}${path}?${query}`, {
      headers: { authorization: `Bearer ${token}`, ...JOB, 'case-id': 'refused' },
    });
    t.match(await response.json(), { status: 422, code: 'QUERY_TOO_LARGE' });
  }
  await untilEnded((query) => store.rows(query), store.database);
  const entries = await store.rows(
    `SELECT DISTINCT phase, rows, complete FROM ${store.database}.lookup_journal WHERE case_id = 'refused' ORDER BY phase`,
  );
  t.match(entries, [
    { phase: 'started', rows: '0', complete: 0 },
    { phase: 'finished', rows: '0', complete: 0 },
  ]);
});

await tap.test('the journal has the rows that were given', async (t) => {
  const job = { 'case-id': 'whole' };
  const csv = await readCsv(await (await ask('/v1/records', { ...range, format: 'csv' }, job)).text());
  const entries = await store.rows(
    `SELECT phase, rows, complete, number_hmac, JSONExtractString(filter, 'by') AS by
    FROM ${store.database}.lookup_journal WHERE case_id = 'whole' ORDER BY phase`,
  );
  t.match(entries, [
    { phase: 'started', rows: '0', complete: 0, number_hmac: '', by: 'all' },
    { phase: 'finished', rows: String(csv.length), complete: 1 },
  ]);
  t.equal(entries.length, 2, 'one of each for the job');
});

function asksForCalls({ statement, body }: Exchange): boolean {
  return /SELECT[\s\S]+\.cdr(_by_number)? FINAL/.test(statement + body.toString('utf8', 0, 8192));
}

const march = `from=${year}-03-01&to=${year}-04-01`;

function residentBytes(): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;
}

function open(query: string, caseId: string): Promise<IncomingMessage> {
  const headers = { authorization: `Bearer ${big.token}`, ...JOB, 'case-id': caseId };
  return new Promise((resolve, reject) => {
    get(`${base}/v1/records?${query}`, { headers }, resolve).on('error', reject);
  });
}

async function running(): Promise<number> {
  const [row] = await installation.rows<{ queries: string }>(
    `SELECT count() AS queries FROM system.processes WHERE query LIKE '%{db}.cdr FINAL%' AND query NOT LIKE '%system.processes%'`,
  );
  return Number(row!.queries);
}

interface Entry {
  readonly rows: string;
  readonly complete: number;
}

async function ended(caseId: string): Promise<Entry[]> {
  return installation.rows<Entry>(
    `SELECT rows, complete FROM {db}.lookup_journal WHERE case_id = '${caseId}' AND phase = 'finished'`,
  );
}

const PAUSE_MS = 8000;

await tap.test('a slow reader makes the database wait, and memory stays', async (t) => {
  // Once before, so that what the program needs anyway is there.
  (await open(`${march}&format=ndjson&calling_number=0199000001`, 'warm')).resume();
  await until('the first is over', async () => (await running()) === 0);
  const before = residentBytes();
  const response = await open(`${march}&format=ndjson`, 'slow');
  const hash = createHash('sha256');
  let bytes = 0;
  let last = '';
  const take = (chunk: Buffer): void => {
    bytes += chunk.length;
    hash.update(chunk);
    last = (last + chunk.toString()).slice(-2000);
  };
  const [first] = (await once(response, 'data')) as [Buffer];
  response.pause();
  take(first);
  // Long enough for the whole answer, if nobody made the database wait. Memory is looked at now: while an answer flows
  // it has some 100 MB of garbage, which says nothing.
  await delay(PAUSE_MS);
  t.equal(await running(), 1, 'the query waits');
  const growth = residentBytes() - before;
  t.strictSame(await ended('slow'), [], 'and the journal says nothing of an end');
  response.on('data', take);
  response.resume();
  await once(response, 'end');
  t.ok(response.complete);
  const { end } = JSON.parse(last.trimEnd().split('\n').at(-1)!) as { end: End };
  t.equal(end.rows, ROWS, 'each once');
  t.ok(bytes > ROWS * 800, `${bytes} bytes`);
  t.comment(
    `${Math.round(bytes / 1e6)} MB given, memory had grown by ${Math.round(growth / 1e6)} MB in the pause`,
  );
  t.ok(growth < bytes / 4, `${growth} bytes for an answer of ${bytes}`);
  t.strictSame(await ended('slow'), [{ rows: String(ROWS), complete: 1 }]);
});

await tap.test('a client that goes away ends the query', async (t) => {
  for (const format of ['csv', 'ndjson']) {
    const response = await open(`${march}&format=${format}`, `gone ${format}`);
    await once(response, 'data');
    response.pause();
    t.equal(await running(), 1);
    response.destroy();
    const goneAt = Date.now();
    await until('no query runs', async () => (await running()) === 0);
    t.ok(
      Date.now() - goneAt < 20_000,
      'by the connection, not by the 30 s that the server waits for a reader',
    );
    await until('the journal has its end', async () => (await ended(`gone ${format}`)).length > 0);
    const [entry] = await ended(`gone ${format}`);
    t.equal(entry!.complete, 0);
    t.ok(Number(entry!.rows) > 0 && Number(entry!.rows) < ROWS, `${entry!.rows} rows`);
  }
});

interface Curled {
  readonly code: number;
  readonly status: string;
  readonly text: string;
}

async function curl(from: string, query: string, caseId: string): Promise<Curled> {
  const file = join(installation.folder, 'answer');
  const headers = [`Authorization: Bearer ${big.token}`, `Case-Id: ${caseId}`, 'Purpose: billing'];
  const child = spawn('curl', [
    '-sS',
    '--max-time',
    '120',
    '-o',
    file,
    '-w',
    '%{http_code}',
    ...headers.flatMap((header) => ['-H', header]),
    `${from}/v1/records?${query}`,
  ]);
  let status = '';
  child.stdout.on('data', (chunk: Buffer) => (status += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number];
  return { code, status, text: readFileSync(file, 'utf8') };
}

await tap.test('a whole answer: curl exits 0', async (t) => {
  const { code, status, text } = await curl(base, `${march}&format=csv`, 'curl');
  t.equal(code, 0);
  t.equal(status, '200');
  t.equal(text.split('\r\n').length, ROWS + 2);
});

await tap.test('a query that the server breaks off: curl fails, and nothing looks like an end', async (t) => {
  for (const format of ['csv', 'ndjson']) {
    const curled = curl(base, `${march}&format=${format}`, `killed ${format}`);
    await until('the answer has begun', async () => {
      const [row] = await installation.rows<{ rows: string }>(
        `SELECT count() AS rows FROM system.processes WHERE query LIKE '%{db}.cdr FINAL%'
          AND query NOT LIKE '%system.processes%' AND ProfileEvents['NetworkSendBytes'] > 2000000`,
      );
      return Number(row!.rows) > 0;
    });
    await installation.statement(
      "KILL QUERY WHERE query LIKE '%{db}.cdr FINAL%' AND query NOT LIKE 'KILL%' ASYNC",
    );
    const { code, status, text } = await curled;
    t.equal(status, '200', 'it had begun');
    t.equal(code, 18, 'curl: transfer closed with outstanding read data remaining');
    t.notMatch(text, /"end"|xception/);
    t.ok(text.split('\n').length < ROWS);
    await until('the journal has its end', async () => (await ended(`killed ${format}`)).length > 0);
    t.match(await ended(`killed ${format}`), [{ complete: 0 }]);
  }
});

await tap.test('a database that goes away in mid-stream: curl fails', async (t) => {
  const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
  const { base: behind, serving: program } = await serve();
  const day = `from=${year}-03-02&to=${year}-03-03`;
  for (const format of ['csv', 'ndjson']) {
    const rule = proxy.on(asksForCalls, async (exchange) =>
      exchange.answerPart(await exchange.forward(), 0.5),
    );
    const { code, status, text } = await curl(behind, `${day}&format=${format}`, `cut ${format}`);
    t.equal(rule.count(), 1);
    t.equal(status, '200');
    t.equal(code, 18);
    t.notMatch(text, /"end"/);
    t.ok(text.split('\n').length > 1000, 'it had begun');
    rule.remove();
    await until('the journal has its end', async () => (await ended(`cut ${format}`)).length > 0);
    t.match(await ended(`cut ${format}`), [{ complete: 0 }]);
    const whole = await curl(behind, `${day}&format=${format}`, `whole ${format}`);
    t.equal(whole.code, 0);
    t.ok(text.length < whole.text.length);
    if (format === 'csv') t.ok(whole.text.startsWith(text.slice(0, text.lastIndexOf('\n'))));
  }
  t.match(program.stderr(), /an answer was broken off/);
  t.notMatch(program.stderr(), /33199000001/, 'and no number in the log');
});
