import { Type, type Static } from 'typebox';
import { HTTP_PROBLEMS, type HttpProblemCode } from './errors.ts';
import { DIRECTIONS, OUTCOMES } from './record.ts';

/**
 * What the HTTP API takes and gives, as JSON schemas: they check requests, write answers and make the OpenAPI
 * document. Amounts of 64 bits are texts, since JSON readers keep only 53.
 */

/** The roles in which a number can stand in a call. */
export const CALL_ROLES = ['calling', 'displayed', 'dialed'] as const;
export type CallRole = (typeof CALL_ROLES)[number];

/** Why a call is looked up. */
export const PURPOSES = ['dispute', 'billing', 'support', 'legal'] as const;

/** What usage can be grouped by. */
export const USAGE_GROUPS = ['calling_number', 'day', 'month'] as const;
export type UsageGroup = (typeof USAGE_GROUPS)[number];

/** Most numbers in one filter. */
export const NUMBERS_MAX = 100;

const LIMIT_DEFAULT = 100;
const TIME_LENGTH_MAX = 40;
const CURSOR_LENGTH_MAX = 2000;

const nullable = <T>(type: 'string' | 'number' | 'integer', description: string) =>
  Type.Unsafe<T | null>({ type: [type, 'null'], description });

/** `a`, `b`, `a,b` …: a comma-separated choice, as a pattern that OpenAPI readers understand too. */
const listPattern = (words: readonly string[]): string => `^(${words.join('|')})(,(${words.join('|')}))*$`;

const time = (description: string) => Type.String({ minLength: 1, maxLength: TIME_LENGTH_MAX, description });

const paging = (limitMax: number) => ({
  limit: Type.Integer({
    minimum: 1,
    maximum: limitMax,
    default: Math.min(LIMIT_DEFAULT, limitMax),
    description: `rows of one page, 1 to ${limitMax}`,
  }),
  cursor: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: CURSOR_LENGTH_MAX,
      description: 'next_cursor of the page before; everything else as in that request',
    }),
  ),
});

const timeZone = Type.Optional(
  Type.String({
    minLength: 1,
    maxLength: 64,
    description: 'IANA zone (Europe/Paris) of bare times in the request and of all times in the answer',
  }),
);

/** Parameters of `GET /v1/calls`. */
export const callsQuery = (limitMax: number) =>
  Type.Object(
    {
      number: Type.String({
        minLength: 1,
        maxLength: 64,
        description: 'a number in any notation (06 39 98 00 01, 0033…, +33…, 211474), or a prefix (+3361*)',
      }),
      role: Type.String({
        default: 'any',
        pattern: listPattern(['any', ...CALL_ROLES]),
        maxLength: 100,
        description: `any, or some of ${CALL_ROLES.join(', ')}, comma separated`,
      }),
      from: Type.Optional(time('first moment, ISO 8601; default 30 days before to')),
      to: Type.Optional(time('the moment after the last, ISO 8601; default now')),
      time_zone: timeZone,
      ...paging(limitMax),
    },
    { additionalProperties: false },
  );
export type CallsQuery = Static<ReturnType<typeof callsQuery>>;

const HEADER_TEXT = '^[\\x20-\\x7e]{1,100}$';

/** Headers of `GET /v1/calls`; they go into the journal. */
export const LookupHeaders = Type.Object({
  'case-id': Type.String({
    pattern: HEADER_TEXT,
    description: 'the case for which this is looked up, 1 to 100 printable ASCII characters',
  }),
  purpose: Type.String({ enum: [...PURPOSES], description: `one of ${PURPOSES.join(', ')}` }),
  agent: Type.Optional(
    Type.String({
      pattern: HEADER_TEXT,
      description: 'who looks it up, where a team shares the key; 1 to 100 printable ASCII characters',
    }),
  ),
});
export type LookupHeaders = Static<typeof LookupHeaders>;

/** A call in an answer. */
export const CallSchema = Type.Object({
  id: Type.String({ description: 'names this call everywhere; hides the number' }),
  calling_number: Type.String(),
  displayed_caller_id: Type.String(),
  dialed_number: Type.String(),
  start: Type.String({ description: 'ISO 8601 with milliseconds and the offset of time_zone' }),
  duration_s: Type.Number({ description: "the switch's own duration, seconds with milliseconds" }),
  talk_s: nullable<number>('number', 'billable seconds; null where the record does not tell'),
  outcome: Type.String({ enum: [...OUTCOMES] }),
  direction: Type.String({ enum: [...DIRECTIONS] }),
  account: Type.String(),
  feed: Type.String({ description: 'the switch' }),
  call_id: Type.String(),
  matched_roles: Type.Array(Type.String({ enum: [...CALL_ROLES] }), {
    description: 'the roles, among those searched, in which the number stands in this call',
  }),
});
export type Call = Static<typeof CallSchema>;

/** How a typed number was read. */
export const NumberReadingSchema = Type.Object({
  as_typed: Type.String(),
  kind: Type.String({ enum: ['exact', 'prefix'] }),
  searched: Type.Array(Type.String(), { description: 'the texts that stored numbers were compared with' }),
  e164: nullable<string>('string', 'the E.164 reading, null where there is none'),
  read_as: Type.String({ enum: ['international', 'international_prefix', 'national', 'text'] }),
  country: nullable<string>('string', 'ISO 3166 code of the country of e164'),
});

/** How far each feed is stored. */
export const CompleteSchema = Type.Object({
  feeds: Type.Unsafe<Record<string, { read_up_to: string | null }>>({
    type: 'object',
    additionalProperties: Type.Object({
      read_up_to: nullable<string>('string', 'newest Kafka timestamp that is stored, null: nothing yet'),
    }),
    description: 'by feed name',
  }),
});

const rangeFields = {
  from: Type.String({ description: 'begin of the range as it was read, inclusive' }),
  to: Type.String({ description: 'end of the range as it was read, exclusive' }),
  time_zone: Type.String({ description: 'zone of all times in the answer' }),
};

const nextCursor = nullable<string>('string', 'gives the next page; null on the last one');

export const CallsAnswer = Type.Object({
  data: Type.Array(CallSchema),
  next_cursor: nextCursor,
  number: NumberReadingSchema,
  ...rangeFields,
  complete: CompleteSchema,
  withheld: Type.Integer({ description: 'calls that match and may not be shown' }),
});
export type CallsAnswer = Static<typeof CallsAnswer>;

/** Parameters of `GET /v1/usage`. */
export const usageQuery = (limitMax: number) =>
  Type.Object(
    {
      group_by: Type.String({
        default: '',
        pattern: `^$|${listPattern(USAGE_GROUPS)}`,
        maxLength: 100,
        description: `any of ${USAGE_GROUPS.join(', ')}, comma separated; empty: one total`,
      }),
      from: time('first moment, ISO 8601'),
      to: time('the moment after the last, ISO 8601'),
      time_zone: timeZone,
      calling_number: Type.Optional(
        Type.Unsafe<string | string[]>({
          anyOf: [
            { type: 'string', maxLength: 64 * NUMBERS_MAX },
            { type: 'array', items: { type: 'string', maxLength: 64 * NUMBERS_MAX }, maxItems: NUMBERS_MAX },
          ],
          description: `only these numbers, in any notation, comma separated or repeated, at most ${NUMBERS_MAX}`,
        }),
      ),
      feed: Type.Optional(Type.String({ minLength: 1, maxLength: 100, description: 'only this feed' })),
      ...paging(limitMax),
    },
    { additionalProperties: false },
  );
export type UsageQuery = Static<ReturnType<typeof usageQuery>>;

const count = (description: string) => Type.String({ pattern: '^[0-9]+$', description });

const sums = {
  records: count('calls'),
  answered: count('calls with outcome answered'),
  duration_ms: count('exact sum of durations, ms'),
  talk_ms: count('exact sum of known talk, ms'),
  missing_talk: count('calls whose talk is unknown; they are not in talk_ms'),
  duration_s: Type.Number({ description: 'duration_ms / 1000' }),
  talk_s: Type.Number({ description: 'talk_ms / 1000' }),
  first_call: nullable<string>('string', 'start of the first call'),
  last_call: nullable<string>('string', 'start of the last call'),
};

export const UsageTotal = Type.Object(sums);
export type UsageTotal = Static<typeof UsageTotal>;

export const UsageRow = Type.Object({
  calling_number: Type.Optional(Type.String()),
  day: Type.Optional(Type.String({ description: 'YYYY-MM-DD in time_zone' })),
  month: Type.Optional(Type.String({ description: 'YYYY-MM in time_zone' })),
  ...sums,
});
export type UsageRow = Static<typeof UsageRow>;

export const UsageAnswer = Type.Object({
  data: Type.Array(UsageRow),
  total: UsageTotal,
  next_cursor: nextCursor,
  numbers: Type.Optional(Type.Array(NumberReadingSchema, { description: 'how calling_number was read' })),
  ...rangeFields,
});
export type UsageAnswer = Static<typeof UsageAnswer>;

/** An error (RFC 9457); `code` is one of the catalogue. */
export const ProblemSchema = Type.Object({
  type: Type.String(),
  title: Type.String(),
  status: Type.Integer(),
  code: Type.String({ enum: Object.keys(HTTP_PROBLEMS) }),
  detail: Type.Optional(Type.String()),
  request_id: Type.Optional(Type.String()),
});

/** The error answers of a route for its OpenAPI entry, by status. */
export function problemAnswers(codes: readonly HttpProblemCode[]): Record<number, unknown> {
  const byStatus = new Map<number, HttpProblemCode[]>();
  for (const code of codes) {
    const { status } = HTTP_PROBLEMS[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  return Object.fromEntries(
    [...byStatus].map(([status, ofStatus]) => [
      status,
      {
        description: ofStatus.map((code) => `${code}: ${HTTP_PROBLEMS[code].title}`).join('; '),
        content: { 'application/problem+json': { schema: ProblemSchema } },
      },
    ]),
  );
}
