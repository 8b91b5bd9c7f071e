import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import tap from 'tap';
import { API_ROLES } from '../../schemas/api-key.ts';
import { HTTP_PROBLEMS } from '../../schemas/errors.ts';
import {
  changedValues,
  operationsOf,
  requestOf,
  sampleOf,
  samplesOf,
  valuesOf,
  withValue,
  type OpenApiDocument,
  type Operation,
  type Values,
} from '../query/openapi-requests.ts';
import { CallStore, someCalls } from '../query/stored-calls.ts';
import { testServers } from '../test-servers.ts';

/**
 * Random requests, made from the API's own OpenAPI document. Whatever is sent: no 500, every answer is of a status and a
 * media type that the document names and fits its schema, and every error is a problem document of the catalogue.
 */
const servers = testServers(import.meta.url);
/** Always the same requests, so that a failure is there again in the next run. */
const SEED = 20_261_124;
const REQUESTS_PER_OPERATION = 150;
/** A slow machine sends fewer. */
const MS_PER_OPERATION_MAX = 30_000;

const PROBLEM = 'application/problem+json';

const store = new CallStore(tap, servers, 0);
await store.create();
const march = Date.UTC(2026, 2, 1);
await store.store(someCalls(300, march, march + 31 * 86_400_000, 5), 1);
const url = await store.serve(tap);
const { token } = await store.key(API_ROLES);
const document = (await (await fetch(`${url}/openapi.json`)).json()) as OpenApiDocument;
const operations = operationsOf(document);

const ajv = new Ajv2020({ strict: false, allErrors: false });
const validators = new Map<string, ReturnType<Ajv2020['compile']>>();

function validatorOf(
  operation: Operation,
  status: number,
  media: string,
): ReturnType<Ajv2020['compile']> | undefined {
  const key = `${operation.method} ${operation.path} ${status} ${media}`;
  const schema = operation.responses[status]?.content?.[media]?.schema;
  if (schema === undefined) return undefined;
  const validator = validators.get(key) ?? ajv.compile(schema);
  validators.set(key, validator);
  return validator;
}

interface Problem {
  readonly code: string;
  readonly status: number;
}

/** What is wrong with an answer, undefined where nothing is. */
async function faultOf(operation: Operation, response: Response): Promise<string | undefined> {
  const { status } = response;
  const media = (response.headers.get('content-type') ?? '').split(';')[0]!;
  const text = await response.text();
  if (status >= 500) return `${status}: ${text}`;
  const validate = validatorOf(operation, status, media);
  if (validate === undefined) return `the document has no ${media} for ${status}: ${text.slice(0, 300)}`;
  if (!media.endsWith('json') || media.includes('ndjson')) return undefined;
  const body: unknown = JSON.parse(text);
  if (!validate(body)) return `${status} does not fit: ${ajv.errorsText(validate.errors)}`;
  if (status < 400) return undefined;
  const { code, status: told } = body as Problem;
  const known = Object.hasOwn(HTTP_PROBLEMS, code)
    ? HTTP_PROBLEMS[code as keyof typeof HTTP_PROBLEMS]
    : undefined;
  return known?.status === status && told === status ? undefined : `${status} with ${code}`;
}

const authorization = `Bearer ${token}`;

async function send(operation: Operation, values: Values): Promise<Response> {
  const { url: target, init } = requestOf(url, operation, values, { authorization });
  return fetch(target, init);
}

/** Ids of calls: a name that nobody can guess would lead to nothing. */
async function someIds(): Promise<string[]> {
  const query = new URLSearchParams({ number: '211474', from: '2026-03-01', to: '2026-04-01' });
  const answer = await fetch(`${url}/v1/calls?${query.toString()}`, {
    headers: { authorization, 'case-id': 'C-1', purpose: 'dispute' },
  });
  const { data } = (await answer.json()) as { data: { id: string }[] };
  return data.map(({ id }) => id);
}
const known = { id: await someIds() };

await tap.test('the document names the routes', async (t) => {
  t.ok(operations.length >= 4);
  for (const operation of operations) {
    const name = `${operation.method} ${operation.path}`;
    const { url: target, init } = requestOf(url, operation, samplesOf(operation), {});
    const anonymous = await fetch(target, init);
    t.equal(anonymous.status, 401, `${name} needs a key`);
    for (const status of [401, 403, 429]) t.ok(validatorOf(operation, status, PROBLEM), `${name}: ${status}`);
    t.equal(await faultOf(operation, anonymous), undefined, name);
  }
});

for (const operation of operations) {
  const name = `${operation.method} ${operation.path}`;
  await tap.test(`${name}: random requests`, async (t) => {
    const statuses = new Map<number, number>();
    await fc.assert(
      fc.asyncProperty(valuesOf(operation, known), async (values) => {
        const response = await send(operation, values);
        statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
        const fault = await faultOf(operation, response);
        if (fault !== undefined) throw new Error(fault);
      }),
      { seed: SEED, numRuns: REQUESTS_PER_OPERATION, interruptAfterTimeLimit: MS_PER_OPERATION_MAX },
    );
    t.comment(name, Object.fromEntries(statuses));
    t.ok(statuses.has(400), 'some are wrong');
    t.ok(statuses.has(200), 'and some are answered');
    if (operation.path.includes('{')) t.ok(statuses.has(404), 'and some lead to nothing');
  });
}

/** Values of a request for a second page, with the cursor that a first page gave; undefined where there are no pages. */
async function secondPageOf(operation: Operation): Promise<Values | undefined> {
  const cursor = operation.parameters.find(({ name }) => name === 'cursor');
  if (cursor === undefined) return undefined;
  // Look-ups are of today, which no range has to say.
  const chosen = operation.path.startsWith('/v1/journal') ? ['limit'] : ['limit', 'from', 'to', 'group_by'];
  const values = operation.parameters
    .filter(({ name }) => chosen.includes(name))
    .reduce((all, parameter) => withValue(all, parameter, sampleOf(parameter)), samplesOf(operation));
  const answer = (await (await send(operation, values)).json()) as { next_cursor: unknown };
  if (typeof answer.next_cursor !== 'string') throw new Error(`no second page: ${JSON.stringify(answer)}`);
  return withValue(values, cursor, answer.next_cursor);
}

await tap.test('cursors that are valid, damaged, of other routes, of other questions', async (t) => {
  const pages = await Promise.all(
    operations.map(async (operation) => ({ operation, values: await secondPageOf(operation) })),
  );
  const paged = pages.flatMap(({ operation, values }) =>
    values === undefined ? [] : [{ operation, values }],
  );
  t.ok(paged.length >= 5);
  const cursors = paged.map(({ values }) => String((values.body ?? values.query)!['cursor']));
  const damaged = cursors.flatMap((cursor) => [cursor.slice(0, -1), `${cursor}A`, cursor.toUpperCase()]);
  for (const { operation, values } of paged) {
    const name = `${operation.method} ${operation.path}`;
    const statuses = new Map<number, number>();
    await fc.assert(
      fc.asyncProperty(
        changedValues(operation, values, { cursor: [...cursors, ...damaged] }),
        async (changed) => {
          const response = await send(operation, changed);
          statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
          const fault = await faultOf(operation, response);
          if (fault !== undefined) throw new Error(fault);
        },
      ),
      { seed: SEED, numRuns: REQUESTS_PER_OPERATION, interruptAfterTimeLimit: MS_PER_OPERATION_MAX },
    );
    t.comment(name, Object.fromEntries(statuses));
    t.ok(statuses.has(200), `${name}: second pages are given`);
    t.ok(statuses.has(400), `${name}: and some refused`);
  }
});

await tap.test('bodies that are no JSON, or not what they say', async (t) => {
  for (const operation of operations.filter(({ hasBody }) => hasBody)) {
    for (const [type, body] of [
      ['application/json', '{'],
      ['application/json', ''],
      ['application/json', '[]'],
      ['application/json', 'null'],
      ['application/json', '"text"'],
      ['application/json', '{"__proto__": {"limit": 1}}'],
      ['application/json', '{"constructor": {"prototype": {}}}'],
      ['application/x-www-form-urlencoded', 'number=1'],
      ['text/plain', '{}'],
      ['', '{}'],
    ] as const) {
      const response = await fetch(`${url}${operation.path}`, {
        method: operation.method,
        headers: {
          authorization,
          ...(samplesOf(operation).header as Record<string, string>),
          ...(type === '' ? {} : { 'content-type': type }),
        },
        body: Buffer.from(body),
      });
      t.ok(response.status >= 400 && response.status < 500, `${type} ${body}: ${response.status}`);
      t.equal(await faultOf(operation, response), undefined, `${operation.path} ${type} ${body}`);
    }
  }
});
