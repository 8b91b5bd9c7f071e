import { connect } from 'node:net';
import { once } from 'node:events';
import { pino } from 'pino';
import tap from 'tap';
import { createApiKey, type ApiRole } from '../../schemas/api-key.ts';
import { HTTP_PROBLEMS, type HttpProblemCode } from '../../schemas/errors.ts';
import { SCHEMA_VERSION } from '../../schemas/migrations.ts';
import { checkSettings } from '../../schemas/settings.ts';
import { DatabaseError } from '../../query/clickhouse.ts';
import { createContext, type ApiServer, type Database } from '../../query/context.ts';
import { createOperationsServer, createServer } from '../../query/server.ts';
import { settle } from './settle.ts';

/** The server over a database that is played: what needs no rows. */
const settings = checkSettings({ query: { default_country: 'FR' } });
const stored = {
  identityKey: Buffer.alloc(32, 1),
  journalKey: Buffer.alloc(32, 2),
  journalKeys: [Buffer.alloc(32, 2)],
  retentionMonths: { all: 36, feeds: {} },
};
const key = createApiKey();
const NUMBER = '0639980001';

interface Played {
  readonly app: ApiServer;
  readonly log: string[];
  readonly statements: string[];
}

async function* noRows(): AsyncGenerator<never> {}

/** A database without rows. */
function whole(parts: Partial<Database> = {}): Database {
  return {
    database: 'cdrhouse',
    calls: async () => [],
    callsOfMany: async () => [],
    select: async () => [],
    usage: async () => ({ rows: [], totals: undefined }),
    visibleUntil: async () => 0,
    stream: noRows,
    apiKey: async () => undefined,
    logProgress: async () => [],
    timeZones: async () => new Set(['UTC', 'Europe/Paris']),
    storedSettings: async () => ({ settings: new Map(), schemaVersion: SCHEMA_VERSION }),
    insertJournal: async () => undefined,
    close: async () => undefined,
    ...parts,
  };
}

async function play(
  t: { teardown: (undo: () => unknown) => void },
  database: Partial<Database> = {},
  roles: ApiRole[] = ['disputes', 'billing'],
  chosen = settings,
): Promise<Played> {
  const log: string[] = [];
  const statements: string[] = [];
  const played = whole({
    calls: async ({ text }) => {
      statements.push(text);
      return [];
    },
    apiKey: async (keyId) => ({
      keyId,
      secretHash: key.secretHash,
      roles,
      expiresAt: null,
      revoked: false,
      shared: false,
      requestsPerMinute: 0,
      addresses: [],
    }),
    ...database,
  });
  const logger = pino({ level: 'trace' }, { write: (line: string) => void log.push(line) });
  const app = await createServer(createContext(chosen, played, stored, await played.timeZones()), logger);
  t.teardown(() => app.close());
  return { app, log, statements };
}

await tap.test('what machines of the operator ask may have a port of its own', async (t) => {
  const apart = checkSettings({ query: { metrics_port: 9465 } });
  const { app } = await play(t, {}, ['disputes'], apart);
  const logger = pino({ level: 'silent' });
  const context = createContext(apart, whole(), stored, new Set(['UTC']));
  const operations = await createOperationsServer(context, logger);
  t.teardown(() => operations.close());
  for (const url of ['/healthz', '/metrics']) {
    t.equal((await app.inject(url)).statusCode, 404, `${url} is not the API's`);
    t.equal((await operations.inject(url)).statusCode, 200, url);
  }
  t.equal((await app.inject('/openapi.json')).statusCode, 200);
  t.equal((await operations.inject('/v1/calls')).statusCode, 404);
});

type Method = 'GET' | 'POST' | 'HEAD';

const headers = { authorization: `Bearer ${key.token}`, 'case-id': 'C-1', purpose: 'dispute' };

await tap.test('every error is a problem document of the catalogue', async (t) => {
  const { app } = await play(t);
  const cases: [Method, string, Record<string, string>, HttpProblemCode, RegExp | undefined][] = [
    ['GET', '/nothing', {}, 'ROUTE_UNKNOWN', undefined],
    ['GET', '/v1/callsx', headers, 'ROUTE_UNKNOWN', undefined],
    ['POST', '/v1/calls', headers, 'METHOD_NOT_ALLOWED', /GET/],
    ['HEAD', '/v1/calls', headers, 'METHOD_NOT_ALLOWED', undefined],
    ['GET', '/%', {}, 'REQUEST_INVALID', undefined],
    ['GET', `/v1/calls?number=${NUMBER}`, {}, 'KEY_MISSING', undefined],
    ['GET', '/v1/calls', { ...headers, authorization: 'Bearer x' }, 'KEY_INVALID', undefined],
    ['GET', '/v1/calls', headers, 'PARAMETER_MISSING', /^number is required$/],
    [
      'GET',
      `/v1/calls?number=${NUMBER}&nubmer=1`,
      headers,
      'PARAMETER_UNKNOWN',
      /^nubmer: unknown; known here: number, role/,
    ],
    [
      'GET',
      `/v1/calls?number=${NUMBER}&limit=0`,
      headers,
      'PARAMETER_INVALID',
      /^limit: must be >= 1 \(rows of one page, 1 to 1000\)$/,
    ],
    ['GET', `/v1/calls?number=${NUMBER}&limit=1001`, headers, 'PARAMETER_INVALID', /^limit/],
    ['GET', `/v1/calls?number=${NUMBER}&limit=many`, headers, 'PARAMETER_INVALID', /^limit/],
    ['GET', `/v1/calls?number=${NUMBER}&number=1`, headers, 'PARAMETER_INVALID', /^number/],
    ['GET', `/v1/calls?number=${'1'.repeat(65)}`, headers, 'PARAMETER_INVALID', /^number/],
    ['GET', `/v1/calls?number=${NUMBER}&role=caller`, headers, 'PARAMETER_INVALID', /^role/],
    ['GET', `/v1/calls?number=${NUMBER}&from=soon`, headers, 'PARAMETER_INVALID', /^from/],
    ['GET', `/v1/calls?number=${NUMBER}&from=2026-03-01&to=2026-03-01`, headers, 'RANGE_INVALID', undefined],
    ['GET', `/v1/calls?number=${NUMBER}&from=2000-03-01`, headers, 'RANGE_INVALID', /1116 days/],
    ['GET', `/v1/calls?number=${NUMBER}&time_zone=PST`, headers, 'PARAMETER_INVALID', /^time_zone/],
    ['GET', `/v1/calls?number=${NUMBER}&cursor=abc`, headers, 'CURSOR_INVALID', undefined],
    ['GET', '/v1/calls?number=%2B3363*', headers, 'ROLE_MISSING', /disputes:prefix/],
    [
      'GET',
      `/v1/calls?number=${NUMBER}`,
      { authorization: headers.authorization, purpose: 'legal' },
      'HEADER_MISSING',
      /^Case-Id is required$/,
    ],
    ['GET', `/v1/calls?number=${NUMBER}`, { ...headers, purpose: 'curiosity' }, 'HEADER_INVALID', /^Purpose/],
    ['GET', '/v1/usage?from=2026-01-01', headers, 'PARAMETER_MISSING', /^to is required$/],
    [
      'GET',
      '/v1/usage?from=2026-01-01&to=2026-02-01&group_by=trunk',
      headers,
      'PARAMETER_INVALID',
      /^group_by/,
    ],
    ['GET', '/v1/usage?from=2026-01-01&to=2026-02-01&feed=nowhere', headers, 'PARAMETER_INVALID', /^feed/],
    [
      'GET',
      '/v1/usage?from=2026-01-01&to=2026-02-01&calling_number=%2B3363*',
      headers,
      'PARAMETER_INVALID',
      /^calling_number/,
    ],
    [
      'GET',
      `/v1/usage?from=2026-01-01&to=2026-02-01&calling_number=${Array(101).fill('1').join()}`,
      headers,
      'PARAMETER_INVALID',
      /^calling_number: at most 100/,
    ],
    ['GET', '/v1/feeds', headers, 'ROLE_MISSING', /operations/],
  ];
  for (const [method, url, given, code, detail] of cases) {
    const answer = await app.inject({ method, url, headers: given });
    const name = `${method} ${url}`.slice(0, 80);
    if (method !== 'HEAD') {
      const document = answer.json();
      t.match(document, { code, title: String, type: /^urn:cdrhouse:problem:/, request_id: String }, name);
      t.equal(document.status, answer.statusCode);
      if (detail !== undefined) t.match(document.detail, detail, name);
    }
    t.equal(answer.statusCode, HTTP_PROBLEMS[code].status, name);
    t.equal(answer.headers['content-type'], 'application/problem+json', name);
    t.notMatch(answer.body, NUMBER, 'the number is not repeated');
  }
});

await tap.test('a wrong method says which are right', async (t) => {
  const { app } = await play(t);
  t.equal((await app.inject({ method: 'DELETE', url: '/v1/usage' })).headers['allow'], 'GET');
});

await tap.test('a key without the role is refused', async (t) => {
  const { app } = await play(t, {}, ['operations']);
  for (const url of [`/v1/calls?number=${NUMBER}`, '/v1/usage?from=2026-01-01&to=2026-02-01']) {
    t.match((await app.inject({ url, headers })).json(), { status: 403, code: 'ROLE_MISSING' });
  }
});

await tap.test('errors of the database', async (t) => {
  const fail = (code: string) => async (): Promise<never> => {
    throw new DatabaseError('calls', Object.assign(new Error(`near ${NUMBER}`), { code }));
  };
  const url = `/v1/calls?number=${NUMBER}`;
  for (const [code, problem, retryAfter] of [
    ['159', 'QUERY_TOO_LARGE', undefined],
    ['ECONNREFUSED', 'DATABASE_UNAVAILABLE', '5'],
    ['60', 'INTERNAL', undefined],
  ] as const) {
    const { app, log } = await play(t, { calls: fail(code) });
    const answer = await app.inject({ url, headers });
    t.match(answer.json(), { code: problem });
    t.equal(answer.headers['retry-after'], retryAfter);
    if (answer.statusCode >= 500) t.match(log.join(''), `code ${code}`);
    t.notMatch(log.join('') + answer.body, NUMBER);
  }
  const { app } = await play(t, { logProgress: fail('210') });
  t.match((await app.inject({ url, headers })).json(), { code: 'DATABASE_UNAVAILABLE' });
});

await tap.test(
  'what was read while restrictions were asked for is given only where there are none',
  async (t) => {
    const call = {
      start_ms: '1',
      cdr_key: '1',
      calling_number: NUMBER,
      displayed_caller_id: NUMBER,
      dialed_number: NUMBER,
      duration_ms: 1,
      talk_ms: 1,
      outcome: 'answered',
      direction: 'unknown',
      account: '',
      feed: 'default',
      call_id: 'hidden',
    };
    const rights = { held: 1, objected: 0 };
    const statements: string[] = [];
    const { app } = await play(t, {
      calls: async ({ text }) => {
        statements.push(text);
        return text.includes('restrictions') ? [] : [call];
      },
      select: async (what, { text }) => {
        if (what === 'rights') return [text.includes('LIMIT 1') ? { 1: 1 } : rights] as never;
        return (
          what === 'matched'
            ? [{ calls: '1', sum_duration_ms: '1', sum_talk_ms: '1', missing_talk: '0' }]
            : []
        ) as never;
      },
    });
    const url = `/v1/calls?number=${NUMBER}`;
    for (const restricted of [[false, true], [true]]) {
      const answer = await app.inject({ url, headers });
      t.match(answer.json(), { data: [], withheld: 1 });
      // What was read beside the question may be asked behind the answer.
      await settle();
      t.strictSame(
        new Set(statements.map((text) => text.includes('restrictions'))),
        new Set(restricted),
        'it is known from the second time on',
      );
      statements.length = 0;
    }
    rights.objected = 1;
    const refused = await app.inject({ url, headers });
    t.match(refused.json(), { code: 'PURPOSE_REFUSED' });
    t.notMatch(refused.body, 'hidden');
  },
);

await tap.test('no journal, no data', async (t) => {
  const { app } = await play(t, {
    insertJournal: async () => {
      throw new DatabaseError('journal', new Error('down'));
    },
  });
  const answer = await app.inject({ url: `/v1/calls?number=${NUMBER}`, headers });
  t.match(answer.json(), { status: 503, code: 'JOURNAL_UNAVAILABLE' });
  t.notOk('data' in answer.json<object>());
});

await tap.test('a defect is a 500 without its message', async (t) => {
  const { app, log } = await play(t, {
    calls: async () => {
      throw new TypeError(`bad ${NUMBER}`);
    },
  });
  const answer = await app.inject({ url: `/v1/calls?number=${NUMBER}`, headers });
  t.match(answer.json(), { status: 500, code: 'INTERNAL' });
  t.match(log.join(''), /"reason":"TypeError","stack":\["    at /);
  t.notMatch(log.join('') + answer.body, NUMBER);
});

await tap.test('logs and metrics name the route, never what was asked', async (t) => {
  const { app, log } = await play(t);
  await app.inject({ url: `/v1/calls?number=${NUMBER}`, headers });
  await app.inject({ url: `/${NUMBER}`, headers });
  t.match(log.join(''), /"method":"GET","route":"\/v1\/calls","status":200/);
  t.match(log.join(''), `"key_id":"${key.keyId}"`);
  const metrics = (await app.inject('/metrics')).body;
  t.match(metrics, 'cdrhouse_query_request_seconds_count{route="/v1/calls",status="200"} 1');
  t.match(metrics, 'cdrhouse_query_request_seconds_count{route="unknown",status="404"} 1');
  t.notMatch(log.join('') + metrics, NUMBER);
  t.notMatch(log.join(''), key.token);
});

await tap.test('answers are not kept, sniffed or framed', async (t) => {
  const { app } = await play(t);
  for (const url of [`/v1/calls?number=${NUMBER}`, '/nothing', '/healthz']) {
    t.match((await app.inject({ url, headers })).headers, {
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      'content-security-policy': /default-src 'none'/,
      'x-request-id': /^[0-9a-f-]{36}$/,
    });
  }
});

await tap.test('health and readiness', async (t) => {
  const { app } = await play(t);
  t.match(await app.inject('/healthz'), { statusCode: 200, body: 'ok\n' });
  t.match((await app.inject('/readyz')).json(), {
    status: 503,
    code: 'DATABASE_UNAVAILABLE',
    detail: /no settings/,
  });
  const fitting = new Map([
    ['retention_months', '36'],
    ['identity_key', '00'],
    ['journal_key', '00'],
  ]);
  const ready = await play(t, {
    storedSettings: async () => ({ settings: fitting, schemaVersion: SCHEMA_VERSION }),
  });
  t.match(await ready.app.inject('/readyz'), { statusCode: 200, body: 'ready\n' });
});

await tap.test('the OpenAPI document', async (t) => {
  const { app } = await play(t);
  const document = (await app.inject('/openapi.json')).json();
  t.equal(document.openapi, '3.1.0');
  t.strictSame(Object.keys(document.paths).sort(), [
    '/healthz',
    '/metrics',
    '/readyz',
    '/v1/calls',
    '/v1/calls/search',
    '/v1/calls/{id}',
    '/v1/feeds',
    '/v1/journal',
    '/v1/journal/search',
    '/v1/records',
    '/v1/usage',
  ]);
  const { parameters, responses } = document.paths['/v1/calls'].get;
  const limit = parameters.find(({ name }: { name: string }) => name === 'limit');
  t.equal(limit.schema.default, 100);
  const search = document.paths['/v1/calls/search'].post.requestBody.content['application/json'].schema;
  t.equal(search.properties.limit.default, 100);
  const named = parameters.map((parameter: object) =>
    ['in', 'name', 'required'].map((property) => Reflect.get(parameter, property) as unknown).join(' '),
  );
  const names = new Set<string>(named);
  for (const expected of [
    'query number true',
    'query cursor false',
    'header case-id true',
    'header purpose true',
    'header agent false',
  ]) {
    t.ok(names.has(expected), expected);
  }
  t.ok(responses['200'].content['application/json'].schema.properties.data);
  t.ok(responses['403'].content['application/problem+json']);
});

await tap.test('what is no HTTP request gets a problem document too', async (t) => {
  const { app } = await play(t);
  await app.listen({ host: '127.0.0.1', port: 0 });
  const address = app.server.address();
  const port = typeof address === 'object' ? address!.port : 0;
  const send = async (text: string): Promise<string> => {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => undefined);
    let answer = '';
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString()));
    socket.write(text);
    await once(socket, 'close');
    return answer;
  };
  t.match(
    await send('nonsense\r\n\r\n'),
    /^HTTP\/1\.1 400 [\s\S]*application\/problem\+json[\s\S]*"code":"REQUEST_INVALID"/,
  );
  const large = `GET /v1/calls?number=${'1'.repeat(40_000)} HTTP/1.1\r\nhost: x\r\n\r\n`;
  t.match(await send(large), /^HTTP\/1\.1 431 [\s\S]*"code":"HEADERS_TOO_LARGE"/);
});
