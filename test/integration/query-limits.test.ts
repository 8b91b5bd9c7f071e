import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { request, type RequestOptions } from 'node:https';
import { promisify } from 'node:util';
import tap from 'tap';
import { API_ROLES } from '../../schemas/api-key.ts';
import { grantStatements } from '../../schemas/grants.ts';
import { QueryDatabase } from '../../query/clickhouse.ts';
import { Installation, until } from '../cdrhouse-program.ts';
import { ClickhouseProxy } from '../fault/clickhouse-proxy.ts';
import {
  operationsOf,
  requestOf,
  sampleOf,
  samplesOf,
  withValue,
  type OpenApiDocument,
} from '../query/openapi-requests.ts';
import { CallStore, someCalls } from '../query/stored-calls.ts';
import { testServers } from '../test-servers.ts';

/** What bounds a request: of the database, of its size, of what reaches SQL and logs. And TLS. */
const servers = testServers(import.meta.url);
const store = new CallStore(tap, servers, 0);
await store.create();
const march = Date.UTC(2026, 2, 1);
await store.store(someCalls(2000, march, march + 31 * 86_400_000, 7), 1);
const { token } = await store.key(API_ROLES);
const authorization = `Bearer ${token}`;
const MONTH = 'from=2026-03-01&to=2026-04-01';

interface Told {
  readonly status: number;
  readonly code: string | undefined;
  readonly retryAfter: string | null;
}

async function usage(url: string): Promise<Told> {
  const response = await fetch(`${url}/v1/usage?${MONTH}&group_by=calling_number`, {
    headers: { authorization },
  });
  const body = (await response.json()) as { code?: string };
  return { status: response.status, code: body.code, retryAfter: response.headers.get('retry-after') };
}

await tap.test('a query that reads too many rows, or needs too much memory', async (t) => {
  t.match(await usage(await store.serve(t)), { status: 200 });
  const rows = await store.serve(t, store.settings({ rows_read_max: 1000 }));
  t.match(await usage(rows), { status: 422, code: 'QUERY_TOO_LARGE', retryAfter: null });
  // More groups than fit into what a thread may take without asking.
  await store.admin.command({
    query: `INSERT INTO ${store.database}.cdr (calling_key, start_at, cdr_key, calling_number, version)
      SELECT number, fromUnixTimestamp64Milli(toInt64(${march})), number, concat('x', toString(number)), 1 FROM numbers(300000)`,
  });
  t.match(await usage(await store.serve(t)), { status: 200 });
  const memory = await store.serve(t, store.settings({ memory_bytes_max: 1_000_000 }));
  t.match(await usage(memory), { status: 422, code: 'QUERY_TOO_LARGE' });
});

await tap.test('a limit beyond what the database user may set is said at start', async (t) => {
  const settings = store.settings({ memory_bytes_max: 1_000_000_000_000 });
  await t.rejects(store.serve(t, settings), { code: 'CLICKHOUSE_REFUSED', message: /code 452\b/ });
});

await tap.test('a query that runs too long is ended by the database', async (t) => {
  const database = new QueryDatabase(store.settings({ seconds_max: 1 }));
  t.teardown(() => database.close());
  const slow = {
    text: 'SELECT sleepEachRow(0.5) FROM numbers(20) SETTINGS max_block_size = 1',
    parameters: {},
  };
  await t.rejects(database.calls(slow, true, new AbortController().signal), {
    fault: 'limit',
    message: /code 159\b/,
  });
});

await tap.test('a database that has no room for another query is for later', async (t) => {
  const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
  const settings = store.settings();
  const url = await store.serve(t, { ...settings, clickhouse: { ...settings.clickhouse, url: proxy.url } });
  t.match(await usage(url), { status: 200 });
  for (const [code, type] of [
    [202, 'TOO_MANY_SIMULTANEOUS_QUERIES'],
    [210, 'NETWORK_ERROR'],
  ] as const) {
    const rule = proxy.on(
      ({ body }) => body.includes(`${store.database}.cdr`),
      async (exchange) => exchange.refuse(code, type),
    );
    t.match(await usage(url), { status: 503, code: 'DATABASE_UNAVAILABLE', retryAfter: '5' });
    rule.remove();
  }
});

await tap.test('the database user reads, writes the journal, and nothing else', async (t) => {
  const { user, password } = servers.users.query;
  const run = async (query: string): Promise<string> => {
    const answer = await fetch(servers.clickhouse, {
      method: 'POST',
      body: query,
      headers: { 'x-clickhouse-user': user, 'x-clickhouse-key': password },
    });
    const text = await answer.text();
    return answer.ok ? 'done' : (/\((\w+)\) \(version/.exec(text)?.[1] ?? text);
  };
  const { database } = store;
  t.equal(await run(`SELECT count() FROM ${database}.cdr`), 'done');
  t.equal(await run(`INSERT INTO ${database}.lookup_journal (request_id) VALUES ('x')`), 'done');
  for (const statement of [
    `INSERT INTO ${database}.cdr (calling_number) VALUES ('x')`,
    `INSERT INTO ${database}.api_keys (key_id) VALUES ('x')`,
    `ALTER TABLE ${database}.lookup_journal DELETE WHERE 1`,
    `TRUNCATE TABLE ${database}.lookup_journal`,
    `DROP TABLE ${database}.cdr`,
    `CREATE TABLE ${database}.mine (x UInt8) ENGINE = Memory`,
    `SELECT * FROM url('http://127.0.0.1:1/', CSV, 'x String')`,
    `SELECT * FROM file('/etc/hostname', CSV, 'x String')`,
  ]) {
    t.equal(await run(statement), 'ACCESS_DENIED', statement.replace(database, ''));
  }
});

await tap.test('the printed grants are SQL that the server understands', async (t) => {
  for (const statement of grantStatements(store.database)) {
    if (statement.startsWith('--')) continue;
    const query = `SELECT formatQuery('${statement.replace(/;$/, '')}') AS text`;
    t.match(await store.rows(query), [{ text: /cdrhouse_/ }], statement);
  }
});

await tap.test('a body that is too large', async (t) => {
  const url = await store.serve(t);
  const send = async (bytes: number): Promise<[number, unknown]> => {
    const response = await fetch(`${url}/v1/journal/search`, {
      method: 'POST',
      headers: { authorization, 'content-type': 'application/json' },
      body: JSON.stringify({ case_id: 'x'.repeat(bytes) }),
    });
    const { code } = (await response.json()) as { code: string };
    return [response.status, code];
  };
  t.strictSame(await send(70_000), [413, 'BODY_TOO_LARGE']);
  t.strictSame(await send(200), [400, 'PARAMETER_INVALID']);
});

/** What no statement may contain, in the middle of what breaks out of SQL where text is pasted into it. */
const MARK = 'zq9x';
const INJECTIONS = [
  `' OR ${MARK}=1 --`,
  `${MARK}') UNION ALL SELECT 1 --`,
  `{${MARK}: String}`,
  `\\'; DROP TABLE ${MARK}; --`,
  `"${MARK}" \` \\`,
  `*/ ${MARK} /*`,
  `%27${MARK}%00`,
  `${MARK}\u2028\u0000😀`,
  `06' ${MARK}`,
  `Europe/Paris', ${MARK}('`,
  `calling_number,${MARK}`,
  `2026-03-01' + ${MARK}`,
  `100 ${MARK}`,
  `${MARK}\r\nx-evil: 1`,
];

await tap.test(
  'only bound parameters reach SQL, whichever parameter of whichever route carries them',
  async (t) => {
    const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
    const statements = new Set<string>();
    let bound = 0;
    proxy.on(
      () => true,
      async (exchange) => {
        statements.add(exchange.statement);
        if (exchange.table === '' && exchange.body.includes(MARK)) bound++;
        exchange.answer(await proxy.forward(exchange));
      },
    );
    const settings = store.settings();
    const url = await store.serve(t, { ...settings, clickhouse: { ...settings.clickhouse, url: proxy.url } });
    const document = (await (await fetch(`${url}/openapi.json`)).json()) as OpenApiDocument;
    let sent = 0;
    for (const operation of operationsOf(document)) {
      const base = samplesOf(operation);
      for (const parameter of operation.parameters) {
        const sample = String(sampleOf(parameter));
        const values = INJECTIONS.flatMap((text) => [text, `${sample}${text}`]);
        // At once, so that they share the writes of the journal.
        const answers = values.map(async (value) => {
          const given = withValue(base, parameter, value);
          const { url: target, init } = requestOf(url, operation, given, { authorization });
          const response = await fetch(target, init);
          return { status: response.status, body: await response.text() };
        });
        for (const { status, body } of await Promise.all(answers)) {
          if (status >= 500) t.fail(`${operation.path} ${parameter.name}: ${status} ${body}`);
          sent++;
        }
      }
    }
    t.ok(sent > 700, `${sent} requests`);
    t.ok(bound > 50, `${bound} of the texts reached the database as bound values`);
    t.ok(statements.size > 5);
    t.same(
      [...statements].filter((statement) => statement.includes(MARK)),
      [],
    );
    t.equal((await usage(url)).status, 200, 'all tables are still there');
  },
);

await tap.test('no number of a request is logged, whatever becomes of it', async (t) => {
  const installation = new Installation(t, servers, 1, {
    feeds: [{ name: 'first', topic: `${servers.databases[1]}.first` }],
    query: { log_level: 'trace' },
  });
  t.equal((await installation.run('migrate')).code, 0);
  const made = await installation.json<{ token: string; key_id: string }>(
    'keys',
    'add',
    '--role',
    'disputes',
    'privacy',
    '--json',
  );
  const serve = installation.start('serve');
  t.teardown(() => serve.child.kill('SIGKILL'));
  await until('the API listens', () => /listening on (http:\S+)/.test(serve.stderr()));
  const url = /listening on (http:\S+)/.exec(serve.stderr())![1]!;
  const number = '33199000077';
  const headers = { authorization: `Bearer ${made.token}`, 'case-id': 'C-1', purpose: 'dispute' };
  const statuses = new Set<number>();
  const send = async (path: string, init: RequestInit = {}): Promise<void> => {
    const response = await fetch(`${url}${path}`, { headers, ...init });
    await response.text();
    statuses.add(response.status);
  };
  await send(`/v1/calls?number=%2B${number}`);
  await send(`/v1/calls?nubmer=%2B${number}`);
  await send(`/v1/calls?number=${number.repeat(9)}`);
  await send(`/v1/calls?number=%2B${number}`, { headers: {} });
  await send(`/v1/${number}`);
  await send(`/v1/calls/${number}?number=${number}`, { method: 'PATCH' });
  await send('/v1/journal/search', {
    method: 'POST',
    body: `{"number": "${number}", }`,
    headers: { ...headers, 'content-type': 'application/json' },
  });
  await installation.statement('DROP TABLE {db}.cdr SYNC');
  await send(`/v1/calls?number=%2B${number}`);
  t.ok(
    statuses.has(200) && statuses.has(400) && statuses.has(404) && statuses.has(500),
    [...statuses].join(),
  );
  await until('the last answer is logged', () => serve.stderr().includes('"status":500'));
  serve.child.kill('SIGTERM');
  const { stderr } = await serve.ended;
  t.match(stderr, made.key_id);
  t.notMatch(stderr, number);
  t.notMatch(stderr, made.token);
});

interface Secured {
  readonly status: number;
  readonly headers: Record<string, unknown>;
  readonly protocol: string | null;
}

await tap.test('TLS', async (t) => {
  const installation = new Installation(t, servers, 2, {
    feeds: [{ name: 'first', topic: `${servers.databases[2]}.first` }],
  });
  const certificate = async (name: string): Promise<{ cert: string; key: string }> => {
    const [cert, key] = [installation.write(`${name}.crt`, ''), installation.write(`${name}.key`, '')];
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    const files = ['-keyout', key, '-out', cert];
    await promisify(execFile)('openssl', ['req', '-x509', '-days', '1', ...curve, ...subject, ...files]);
    return { cert, key };
  };
  const { cert, key } = await certificate('own');
  const other = await certificate('other');
  t.equal((await installation.run('migrate')).code, 0);

  installation.environment['CDRHOUSE_QUERY_TLS_CERT_PATH'] = cert;
  t.match(await installation.run('serve'), { code: 2, stderr: /only both together/ });
  installation.environment['CDRHOUSE_QUERY_TLS_KEY_PATH'] = other.key;
  t.match(await installation.run('serve'), { code: 2, stderr: /no certificate and its private key/ });
  installation.environment['CDRHOUSE_QUERY_TLS_KEY_PATH'] = `${key}.missing`;
  t.match(await installation.run('serve'), { code: 1, stderr: /FILE_UNREADABLE/ });

  installation.environment['CDRHOUSE_QUERY_TLS_KEY_PATH'] = key;
  const serve = installation.start('serve');
  t.teardown(() => serve.child.kill('SIGKILL'));
  await until('the API listens', () => /listening on \S+/.test(serve.stderr()));
  const url = new URL(/listening on (\S+)/.exec(serve.stderr())![1]!);
  t.equal(url.protocol, 'https:');
  const ask = (options: RequestOptions): Promise<Secured> =>
    new Promise((resolve, reject) => {
      request(new URL('/v1/usage', url), { agent: false, ...options })
        .once('response', (response) => {
          response.resume();
          const socket = response.socket as { getProtocol?: () => string | null };
          const { statusCode: status = 0, headers } = response;
          resolve({ status, headers, protocol: socket.getProtocol?.() ?? null });
        })
        .once('error', reject)
        .end();
    });
  const ca = readFileSync(cert);
  t.match(await ask({ ca }), {
    status: 401,
    protocol: 'TLSv1.3',
    headers: { 'strict-transport-security': /^max-age=/, 'x-content-type-options': 'nosniff' },
  });
  await t.rejects(ask({ ca: readFileSync(other.cert) }), { code: /SELF_SIGNED/ });
  await t.rejects(fetch(`http://${url.host}/healthz`), 'no plain HTTP on the same port');
  t.match(await ask({ ca }), { status: 401 }, 'and it goes on');
  const large = `/v1/calls?number=${'1'.repeat(40_000)}`;
  t.match(await ask({ ca, path: large }), { status: 431 });
});
