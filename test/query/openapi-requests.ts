import fc from 'fast-check';

/** Requests made from the API's own OpenAPI document: whatever routes it names, with their parameters. */

export interface JsonSchema {
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly JsonSchema[];
  readonly pattern?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly items?: JsonSchema;
  readonly maxItems?: number;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
}

export type Place = 'query' | 'header' | 'path' | 'body';

export interface Parameter {
  readonly name: string;
  readonly in: Place;
  readonly required: boolean;
  readonly schema: JsonSchema;
}

export interface Operation {
  /** `GET` */
  readonly method: string;
  /** `/v1/calls/{id}` */
  readonly path: string;
  /** Those of the URL and the headers, and the members of a JSON body. */
  readonly parameters: readonly Parameter[];
  readonly hasBody: boolean;
  /** By status, then by media type. */
  readonly responses: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { schema: object }>> }>
  >;
}

interface DocumentOperation {
  readonly parameters?: readonly (Omit<Parameter, 'required'> & { readonly required?: boolean })[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: JsonSchema }>> };
  readonly responses: Operation['responses'];
}

export interface OpenApiDocument {
  readonly paths: Readonly<Record<string, Readonly<Record<string, DocumentOperation>>>>;
}

/** Every operation below `/v1`. */
export function operationsOf({ paths }: OpenApiDocument): Operation[] {
  return Object.entries(paths)
    .filter(([path]) => path.startsWith('/v1/'))
    .flatMap(([path, operations]) =>
      Object.entries(operations).map(([method, { parameters = [], requestBody, responses }]) => {
        const body = requestBody?.content['application/json']?.schema;
        return {
          method: method.toUpperCase(),
          path,
          parameters: [
            ...parameters.map((parameter) => ({ ...parameter, required: parameter.required === true })),
            ...Object.entries(body?.properties ?? {}).map(([name, schema]) => ({
              name,
              in: 'body' as const,
              required: body?.required?.includes(name) === true,
              schema,
            })),
          ],
          hasBody: body !== undefined,
          responses,
        };
      }),
    );
}

/** A value for some of an operation's parameters, by place and name. */
export type Values = Readonly<Partial<Record<Place, Readonly<Record<string, unknown>>>>>;

/** What `fetch` is given for these values. */
export function requestOf(
  base: string,
  { method, path, hasBody }: Operation,
  values: Values,
  headers: Readonly<Record<string, string>>,
): { url: string; init: RequestInit } {
  const filled = path.replaceAll(/\{(\w+)\}/g, (_, name: string) =>
    encodeURIComponent(text(values.path?.[name] ?? '')),
  );
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values.query ?? {})) {
    for (const each of Array.isArray(value) ? value : [value]) query.append(name, text(each));
  }
  const given = Object.entries(values.header ?? {}).map(([name, value]) => [name, headerText(value)]);
  const sent = { ...headers, ...(Object.fromEntries(given) as Record<string, string>) };
  return {
    url: `${base}${filled}?${query.toString()}`,
    init: hasBody
      ? {
          method,
          headers: { ...sent, 'content-type': 'application/json' },
          body: JSON.stringify(values.body ?? {}),
        }
      : { method, headers: sent },
  };
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** HTTP itself allows no other characters, so that no client sends them. */
function headerText(value: unknown): string {
  return text(value).replaceAll(/[^\t\x20-\x7e\x80-\xff]/g, '?');
}

const NUMBERS = [
  '06 39 98 00 01',
  '+33639980001',
  '0033639980001',
  '211474',
  'anonymous',
  '+3363998*',
  '1002',
];
const TIMES = [
  '2026-03-01',
  '2026-03-01T08:00',
  '2026-03-29T02:30:00',
  '2026-04-01T00:00:00Z',
  '2026-10-25T02:30:00',
];

/** Values that mean something, for names of parameters: random texts alone would not come past the first check. */
const MEANINGFUL: Readonly<Record<string, readonly unknown[]>> = {
  number: NUMBERS,
  other_number: NUMBERS,
  calling_number: [...NUMBERS, NUMBERS.slice(0, 3).join(',')],
  from: TIMES.slice(0, 3),
  to: TIMES.slice(3),
  time_zone: ['Europe/Paris', 'UTC', 'Asia/Kathmandu'],
  limit: [1, 2, 100],
  feed: ['alpha', 'beta'],
  agent: ['ada'],
  'case-id': ['C-1'],
  case_id: ['C-1'],
  stored_since: TIMES.slice(0, 1),
  group_by: ['calling_number', 'month', 'feed,outcome', 'dialed_prefix,hour'],
  increment: ['60/60', '30/6'],
  outcome: ['answered'],
};

/** A value that the operation should take. */
export function sampleOf({ name, schema }: Parameter): unknown {
  return MEANINGFUL[name]?.[0] ?? schema.enum?.[0] ?? fc.sample(valueOf(schema), { numRuns: 1, seed: 1 })[0];
}

/** Values of all parameters that are required. */
export function samplesOf({ parameters }: Operation): Values {
  const values: Partial<Record<Place, Record<string, unknown>>> = {};
  for (const parameter of parameters.filter(({ required }) => required)) {
    (values[parameter.in] ??= {})[parameter.name] = sampleOf(parameter);
  }
  return values;
}

/** The values with one of them replaced. */
export function withValue(values: Values, { in: place, name }: Parameter, value: unknown): Values {
  return { ...values, [place]: { ...values[place], [name]: value } };
}

/** Anything that fits the schema. */
export function valueOf(schema: JsonSchema): fc.Arbitrary<unknown> {
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  if (schema.anyOf !== undefined) return fc.oneof(...schema.anyOf.map(valueOf));
  const types = typeof schema.type === 'string' ? [schema.type] : (schema.type ?? ['string']);
  return fc.oneof(...types.map((type) => valueOfType(type, schema)));
}

function valueOfType(type: string, schema: JsonSchema): fc.Arbitrary<unknown> {
  switch (type) {
    case 'null':
      return fc.constant(null);
    case 'boolean':
      return fc.boolean();
    case 'integer':
      return fc.integer({ min: schema.minimum ?? -(2 ** 31), max: schema.maximum ?? 2 ** 31 - 1 });
    case 'number':
      return fc.double({ min: schema.minimum ?? -1e9, max: schema.maximum ?? 1e9, noNaN: true });
    case 'array':
      return fc.array(valueOf(schema.items ?? {}), { maxLength: Math.min(schema.maxItems ?? 5, 5) });
    case 'object': {
      const { properties = {}, required = [] } = schema;
      const members = Object.entries(properties).map(([name, member]) => [name, valueOf(member)] as const);
      return fc.record(Object.fromEntries(members), { requiredKeys: [...required] });
    }
    default: {
      if (schema.pattern !== undefined) return fc.stringMatching(new RegExp(schema.pattern));
      const minLength = schema.minLength ?? 0;
      return fc.string({
        unit: 'binary',
        minLength,
        maxLength: Math.max(minLength, Math.min(schema.maxLength ?? 60, 60)),
      });
    }
  }
}

const JUNK: fc.Arbitrary<unknown> = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 200 }),
  fc.constantFrom(
    '',
    ' ',
    '-1',
    '0',
    '1e309',
    '9007199254740993',
    'null',
    'NaN',
    '[]',
    '{}',
    '2026-02-30',
    '+',
    '%',
    ',',
  ),
  fc.jsonValue({ maxDepth: 2 }),
);

function parameterValue({ name, schema }: Parameter, known: Known): fc.Arbitrary<unknown> {
  const meaningful = known[name] ?? MEANINGFUL[name];
  return fc.oneof(
    { weight: 8, arbitrary: meaningful === undefined ? valueOf(schema) : fc.constantFrom(...meaningful) },
    { weight: 2, arbitrary: valueOf(schema) },
    { weight: 1, arbitrary: JUNK },
  );
}

/** Values that only the API itself can give, by parameter. */
export type Known = Readonly<Record<string, readonly unknown[]>>;

/** Requests with these values, of which one or two are others now and then. */
export function changedValues(
  { parameters }: Operation,
  values: Values,
  known: Known = {},
): fc.Arbitrary<Values> {
  return fc
    .subarray([...parameters], { maxLength: 2 })
    .chain((changed) =>
      fc.tuple(
        ...changed.map((parameter) =>
          parameterValue(parameter, known).map((value) => ({ parameter, value })),
        ),
      ),
    )
    .map((changes) =>
      changes.reduce((all, { parameter, value }) => withValue(all, parameter, value), values),
    );
}

/** Requests of an operation, mostly such as it should take: some with a parameter missing, wrong or unknown. */
export function valuesOf({ parameters, hasBody }: Operation, known: Known = {}): fc.Arbitrary<Values> {
  const chosen = parameters.map((parameter) =>
    fc
      .tuple(parameterValue(parameter, known), fc.integer({ min: 1, max: 100 }))
      .map(([value, chance]) => ({ parameter, value, isGiven: chance <= (parameter.required ? 97 : 15) })),
  );
  const unknown = fc.oneof(
    { weight: 20, arbitrary: fc.constant(null) },
    { weight: 1, arbitrary: fc.tuple(fc.string({ unit: 'binary', maxLength: 20 }), JUNK) },
  );
  return fc.tuple(fc.tuple(...chosen), unknown).map(([given, extra]) => {
    let values: Values = {};
    for (const { parameter, value, isGiven } of given) {
      if (isGiven) values = withValue(values, parameter, value);
    }
    if (extra === null) return values;
    const place: Parameter = { name: extra[0], in: hasBody ? 'body' : 'query', required: false, schema: {} };
    return withValue(values, place, extra[1]);
  });
}
