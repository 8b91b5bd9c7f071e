import { Type, type Static, type TSchema } from 'typebox';
import { HTTP_PROBLEMS, type HttpProblemCode } from './errors.ts';
import { NUMBER_LENGTH_MAX } from './number-spelling.ts';
import { DIRECTIONS, DURATION_MS_MAX, OUTCOMES } from './record.ts';

/**
 * What the HTTP API takes and gives, as JSON schemas: they check requests, write answers and make the OpenAPI
 * document. Amounts of 64 bits are texts, since JSON readers keep only 53.
 */

/** The roles in which a number can stand in a call. */
export const CALL_ROLES = ['calling', 'displayed', 'dialed'] as const;
export type CallRole = (typeof CALL_ROLES)[number];

/** Why a call is looked up. */
export const PURPOSES = ['dispute', 'billing', 'support', 'legal'] as const;

/** What usage can be grouped by, in the order in which groups are sorted. */
export const USAGE_GROUPS = [
  'calling_number',
  'displayed_caller_id',
  'dialed_number',
  'dialed_prefix',
  'account',
  'outcome',
  'direction',
  'feed',
  'hour',
  'day',
  'week',
  'month',
] as const;
export type UsageGroup = (typeof USAGE_GROUPS)[number];

/** Most numbers in one filter. */
export const NUMBERS_MAX = 100;

/** What of a call is billed. */
export const BILLING_BASES = ['talk', 'duration'] as const;
/** How milliseconds become whole seconds. */
export const ROUNDINGS = ['up', 'half', 'down'] as const;
/** What becomes of calls whose talk is unknown when talk is billed. */
export const MISSING_TALK = ['refuse', 'exclude', 'duration'] as const;
/** How an answer can be written. */
const ANSWER_FORMATS = ['json', 'csv', 'ndjson'] as const;
export type AnswerFormat = (typeof ANSWER_FORMATS)[number];

/** Rows of a page where a request names no limit. */
export const LIMIT_DEFAULT = 100;
const TIME_LENGTH_MAX = 40;
/** A cursor of usage holds the values of its groups, and a field may have 4096 bytes. */
const CURSOR_LENGTH_MAX = 24_000;

const nullable = <T>(type: 'string' | 'number' | 'integer', description: string) =>
  Type.Unsafe<T | null>({ type: [type, 'null'], description });

/** `a`, `b`, `a,b` …: a comma-separated choice, as a pattern that OpenAPI readers understand too. */
const listPattern = (words: readonly string[]): string => `^(${words.join('|')})(,(${words.join('|')}))*$`;

const time = (description: string) => Type.String({ minLength: 1, maxLength: TIME_LENGTH_MAX, description });

const paging = (limitMax: number) => ({
  // Without a default, which would be filled in: it must be told whether it was given. `withLimitDefault` describes it.
  limit: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: limitMax,
      description: `rows of one page, 1 to ${limitMax}`,
    }),
  ),
  cursor: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: CURSOR_LENGTH_MAX,
      description: 'next_cursor of the page before; everything else as in that request',
    }),
  ),
});

/** A schema of parameters as the OpenAPI document has it: with the rows of a page where `limit` is not given. */
export function withLimitDefault(schema: unknown): unknown {
  const { properties } = schema as { properties?: Record<string, { maximum?: number }> };
  const limit = properties?.['limit'];
  if (limit?.maximum === undefined) return schema;
  const described = { ...limit, default: Math.min(LIMIT_DEFAULT, limit.maximum) };
  return { ...(schema as object), properties: { ...properties, limit: described } };
}

const timeZone = Type.Optional(
  Type.String({
    minLength: 1,
    maxLength: 64,
    description: 'IANA zone (Europe/Paris) of bare times in the request and of all times in the answer',
  }),
);

const seconds = (description: string) =>
  Type.Optional(Type.Number({ minimum: 0, maximum: DURATION_MS_MAX / 1000, description }));

const format = Type.Optional(
  Type.Unsafe<AnswerFormat>({
    type: 'string',
    enum: [...ANSWER_FORMATS],
    description: `one of ${ANSWER_FORMATS.join(', ')}; without it the header Accept decides. csv and ndjson give all rows`,
  }),
);

/** Parameters of `GET /v1/calls`, and the body of `POST /v1/calls/search`. */
export const callsQuery = (limitMax: number) =>
  Type.Object(
    {
      number: Type.String({
        minLength: 1,
        maxLength: NUMBER_LENGTH_MAX,
        description: 'a number in any notation (06 39 98 00 01, 0033…, +33…, 211474), or a prefix (+3361*)',
      }),
      role: Type.String({
        default: 'any',
        pattern: listPattern(['any', ...CALL_ROLES]),
        maxLength: 100,
        description: `any, or some of ${CALL_ROLES.join(', ')}, comma separated`,
      }),
      other_number: Type.Optional(
        Type.String({
          minLength: 1,
          maxLength: NUMBER_LENGTH_MAX,
          description: 'only calls with this number on the other side, in any notation',
        }),
      ),
      min_duration: seconds('only calls of at least so many seconds, up to three decimals'),
      max_duration: seconds('only calls of at most so many seconds, up to three decimals'),
      outcome: Type.Optional(
        Type.String({
          pattern: listPattern(OUTCOMES),
          maxLength: 100,
          description: `some of ${OUTCOMES.join(', ')}, comma separated`,
        }),
      ),
      feed: Type.Optional(
        Type.String({ minLength: 1, maxLength: 2000, description: 'only these feeds, comma separated' }),
      ),
      from: Type.Optional(time('first moment, ISO 8601; default 30 days before to')),
      to: Type.Optional(time('the moment after the last, ISO 8601; default now')),
      time_zone: timeZone,
      format,
      ...paging(limitMax),
    },
    { additionalProperties: false },
  );
export type CallsQuery = Static<ReturnType<typeof callsQuery>>;

/** Texts that go into the journal, as a pattern: 1 to 100 printable ASCII characters. */
export const HEADER_TEXT = '^[\\x20-\\x7e]{1,100}$';

/** Headers of everything that shows a person's calls; they go into the journal. */
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

/** The same where the role says the purpose; they go into the journal too. */
export const JobHeaders = Type.Object({
  'case-id': Type.Optional(LookupHeaders.properties['case-id']),
  purpose: Type.Optional(LookupHeaders.properties.purpose),
  agent: LookupHeaders.properties.agent,
});
export type JobHeaders = Static<typeof JobHeaders>;

/** A call in an answer. */
const CallSchema = Type.Object({
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
  held: Type.Boolean({
    description: 'true: its term is over and a legal hold keeps it; shown to the role legal alone',
  }),
});
export type Call = Static<typeof CallSchema>;

/** How a typed number was read. */
const NumberReadingSchema = Type.Object({
  as_typed: Type.String(),
  kind: Type.String({ enum: ['exact', 'prefix'] }),
  searched: Type.Array(Type.String(), { description: 'the texts that stored numbers were compared with' }),
  e164: nullable<string>('string', 'the E.164 reading, null where there is none'),
  read_as: Type.String({ enum: ['international', 'international_prefix', 'national', 'text'] }),
  country: nullable<string>('string', 'ISO 3166 code of the country of e164'),
});

/** What of a feed may be missing from an answer. */
const CompleteFeed = Type.Object({
  read_up_to: nullable<string>('string', 'all that Kafka had at this time is stored; null: not known'),
  gaps: Type.Integer({ description: 'partitions that do not go on, because of a gap' }),
  rejected: Type.Integer({
    description: 'records since the begin of the range that could not be read and wait for a replay',
  }),
  kept_since: nullable<string>(
    'string',
    'where the range begins before it: calls of this feed from before are not kept any more; else null',
  ),
});
export type CompleteFeed = Static<typeof CompleteFeed>;

/** How much of the range an answer can hold. */
const CompleteSchema = Type.Object({
  feeds: Type.Unsafe<Record<string, CompleteFeed>>({
    type: 'object',
    additionalProperties: CompleteFeed,
    description: 'by feed name',
  }),
  kept_since: nullable<string>(
    'string',
    'where the range begins before it: calls from before are not kept any more; else null',
  ),
});

const rangeFields = {
  from: Type.String({ description: 'begin of the range as it was read, inclusive' }),
  to: Type.String({ description: 'end of the range as it was read, exclusive' }),
  time_zone: Type.String({ description: 'zone of all times in the answer' }),
};

const nextCursor = nullable<string>('string', 'gives the next page; null on the last one');

const count = (description: string) => Type.String({ pattern: '^[0-9]+$', description });

/** How long calls took together. */
const durationSums = {
  duration_ms: count('exact sum of durations, ms'),
  talk_ms: count('exact sum of known talk, ms'),
  missing_talk: count('calls whose talk is unknown; they are not in talk_ms'),
  duration_s: Type.Number({ description: 'duration_ms / 1000' }),
  talk_s: Type.Number({ description: 'talk_ms / 1000' }),
};

/** How many calls a search has, and their sums. */
const CallsMatched = Type.Object({ calls: count('calls that match, on all pages'), ...durationSums });
export type CallsMatched = Static<typeof CallsMatched>;

export const CallsAnswer = Type.Object({
  data: Type.Array(CallSchema),
  next_cursor: nextCursor,
  matched: CallsMatched,
  number: NumberReadingSchema,
  other_number: Type.Optional(NumberReadingSchema),
  ...rangeFields,
  complete: CompleteSchema,
  withheld: Type.Integer({
    description: 'calls that match and may not be shown; not those that only a legal hold keeps',
  }),
});
export type CallsAnswer = Static<typeof CallsAnswer>;

/** The path of `GET /v1/calls/{id}`. */
export const callIdParameters = Type.Object({
  id: Type.String({ minLength: 1, maxLength: 100, description: 'id of a call, from any answer' }),
});

/** Parameters of `GET /v1/calls/{id}` and `GET /v1/feeds`. */
export const ZoneQuery = Type.Object({ time_zone: timeZone }, { additionalProperties: false });

const CallAlone = Type.Omit(CallSchema, ['matched_roles', 'held']);

const StoredCall = Type.Object({
  call: CallAlone,
  partition: Type.Integer(),
  offset: count('of the Kafka message'),
  line: Type.Integer(),
  stored_at: Type.String(),
});

const NUMBER_RULES = Type.String({
  enum: ['none', 'e164'],
  description:
    "none: no rule changed what the switch wrote; e164: the number is E.164, as sent or by the feed's country and numbers",
});

/** What speaks for a call, and against it. */
const CallEvidence = Type.Object({
  source: Type.Object({
    feed: Type.String(),
    cluster_id: nullable<string>('string', 'of Kafka; null, as all from the ledger, where that does not say'),
    topic: nullable<string>('string', 'Kafka topic'),
    topic_id: nullable<string>('string', 'tells topics of one name apart'),
    partition: Type.Integer(),
    offset: count('of the Kafka message'),
    line: Type.Integer({ description: 'of the message, from 1' }),
    stored_at: Type.String(),
    stored_by: nullable<string>('string', 'ingest, or replay of a rejected record'),
  }),
  reading: Type.Object({
    hash: nullable<string>('string', 'of the settings of the feed when it was read'),
    settings: Type.Unsafe<{
      format: string;
      time_zone: string;
      country: string | null;
      numbers: object | null;
      identity: string;
    } | null>({
      type: ['object', 'null'],
      properties: {
        format: { type: 'string' },
        time_zone: { type: 'string' },
        country: { type: ['string', 'null'] },
        numbers: { type: ['object', 'null'], additionalProperties: true },
        identity: { type: 'string' },
      },
      description: 'the settings themselves; null where nobody noted them',
    }),
    numbers: Type.Unsafe<Record<CallRole, 'none' | 'e164'> | null>({
      type: ['object', 'null'],
      properties: Object.fromEntries(CALL_ROLES.map((role) => [role, NUMBER_RULES])),
      description: 'what became of each number; null where settings is',
    }),
  }),
  corrections: Type.Array(
    Type.Object({
      at: Type.String(),
      reason: Type.String(),
      field: nullable<string>('string', 'the one that was corrected; null: the record was read again'),
      before: Type.Array(StoredCall, { description: 'what was stored before, as far as it is kept' }),
    }),
  ),
  conflicts: Type.Object({
    other_content: Type.Array(StoredCall, {
      description:
        'records with the same id and other content that do not count, until the database merges them away: empty does not say that there was none (`GET /v1/feeds` counts those that an audit found)',
    }),
    other_calls: Type.Array(StoredCall, { description: 'other calls with the same id; they count as well' }),
    looked_from: nullable<string>(
      'string',
      'calls that begin from here on were looked at; null: the feed has no ids',
    ),
    looked_to: nullable<string>('string', 'and before this moment'),
  }),
  dead_letters: Type.Object({
    count: count('rejected records of the same message'),
    first: Type.Array(
      Type.Object({
        line: Type.Integer(),
        code: Type.String(),
        field: Type.String(),
        position: Type.Integer({ description: 'byte at which the fault begins, from 0' }),
        state: Type.String({ enum: ['open', 'replayed', 'superseded'] }),
        rejected_at: Type.String(),
      }),
    ),
  }),
});
export type CallEvidence = Static<typeof CallEvidence>;

export const CallEvidenceAnswer = Type.Object({
  data: Type.Omit(CallSchema, ['matched_roles']),
  evidence: CallEvidence,
  time_zone: Type.String({ description: 'zone of all times in the answer' }),
});

/** Values of one parameter, which may be repeated. */
const list = (lengthMax: number, itemsMax: number, description: string) =>
  Type.Optional(
    Type.Unsafe<string | string[]>({
      anyOf: [
        { type: 'string', maxLength: lengthMax },
        { type: 'array', items: { type: 'string', maxLength: lengthMax }, maxItems: itemsMax },
      ],
      description,
    }),
  );

const numberList = (what: string) =>
  list(
    NUMBER_LENGTH_MAX * NUMBERS_MAX,
    NUMBERS_MAX,
    `only ${what}, in any notation, comma separated or repeated, at most ${NUMBERS_MAX}`,
  );

const choice = <T extends string>(words: readonly T[], description: string) =>
  Type.Optional(Type.Unsafe<T>({ type: 'string', enum: [...words], description }));

const someOf = (words: readonly string[]) =>
  Type.Optional(
    Type.String({
      pattern: listPattern(words),
      maxLength: 200,
      description: `only these, some of ${words.join(', ')}, comma separated`,
    }),
  );

const duration = (description: string) =>
  Type.Optional(Type.Number({ minimum: 0, maximum: 4_294_967, description }));

/** Parameters of `GET /v1/usage`. */
export const usageQuery = (limitMax: number) =>
  Type.Object(
    {
      group_by: Type.String({
        default: '',
        pattern: `^$|${listPattern(USAGE_GROUPS)}`,
        maxLength: 200,
        description: `any of ${USAGE_GROUPS.join(', ')}, comma separated; empty: one total`,
      }),
      from: time('first moment, ISO 8601'),
      to: time('the moment after the last, ISO 8601'),
      time_zone: timeZone,
      calling_number: numberList('these calling numbers'),
      displayed_caller_id: numberList('these displayed numbers'),
      dialed_number: numberList('these dialed numbers'),
      account: list(1000, NUMBERS_MAX, `only these accounts, repeated, at most ${NUMBERS_MAX}`),
      feed: list(1000, NUMBERS_MAX, 'only these feeds, comma separated or repeated'),
      outcome: someOf(OUTCOMES),
      direction: someOf(DIRECTIONS),
      min_duration: duration('shortest duration, seconds, up to three decimals, inclusive'),
      max_duration: duration('longest duration, seconds, up to three decimals, inclusive'),
      increment: Type.Optional(
        Type.String({
          pattern: '^[1-9][0-9]{0,4}/[1-9][0-9]{0,4}$',
          description: 'bill calls by increments: first/step in seconds, as 60/60, 30/6, 1/1',
        }),
      ),
      basis: choice(BILLING_BASES, 'what is billed: talk (default) or duration'),
      round_ms: choice(
        ROUNDINGS,
        'how milliseconds become whole seconds before increments: up (default), half, down',
      ),
      missing_talk: choice(
        MISSING_TALK,
        'calls whose talk is unknown, with basis=talk: refuse (default) to bill, exclude them, or bill their duration',
      ),
      control: Type.Optional(
        Type.Boolean({
          description: 'with control totals or without; by default with them, unless a number is named',
        }),
      ),
      format,
      ...paging(limitMax),
    },
    { additionalProperties: false },
  );
export type UsageQuery = Static<ReturnType<typeof usageQuery>>;

const sums = {
  records: count('calls'),
  answered: count('calls with outcome answered'),
  ...durationSums,
  billed_seconds: Type.Optional(count('with increment: sum of the seconds that are billed for each call')),
  first_call: nullable<string>('string', 'start of the first call'),
  last_call: nullable<string>('string', 'start of the last call'),
};

export const UsageTotal = Type.Object(sums);
export type UsageTotal = Static<typeof UsageTotal>;

const group = (description?: string) =>
  Type.Optional(Type.String(description === undefined ? {} : { description }));

export const UsageRow = Type.Object({
  calling_number: group(),
  displayed_caller_id: group(),
  dialed_number: group(),
  dialed_prefix: group(
    'longest prefix of the settings, else the calling code of the country (+33), else empty',
  ),
  account: group(),
  outcome: group(),
  direction: group(),
  feed: group(),
  hour: group('begin of the hour of the clock of time_zone, with its offset'),
  day: group('YYYY-MM-DD in time_zone'),
  week: group('YYYY-Www, ISO 8601, in time_zone'),
  month: group('YYYY-MM in time_zone'),
  ...sums,
});
export type UsageRow = Static<typeof UsageRow>;

/** What the ledger of a feed counts since its start: consumed = stored + rejected + suppressed + skipped. */
const feedCounts = {
  consumed: count('records and other lines that were read from Kafka'),
  stored: count('accepted, duplicates included'),
  rejected: count('kept as dead letters'),
  suppressed: count('left out by the wish of a person'),
  skipped: count('lines that are no records, and records past their term'),
  replayed: count('rejected records that were accepted by a replay later'),
};

/** Control totals of one feed. */
export const ControlRow = Type.Object({
  feed: Type.String(),
  read_up_to: nullable<string>('string', 'all that Kafka had at this time is stored; null: not known'),
  accepted: count('records of the hours that the ledger accepted, by reading and by replays'),
  live: count('calls of the hours that are read now'),
  duplicates: nullable<string>(
    'string',
    'accepted - live - removed - swept - erased, without what is past its term and about to be swept; null where ClickHouse itself may have dropped some',
  ),
  corrected: count('calls that another reading of the feed replaced'),
  removed: count('calls that feeds reload --remove-gone took away'),
  swept: count('calls that went because their term was over'),
  erased: count('accepted calls that were erased by the wish of a person'),
  not_in_ledger: count('calls beyond what was accepted: the ledger row of their batch is about to come'),
  since_start: Type.Object(feedCounts),
});
export type ControlRow = Static<typeof ControlRow>;

export const ControlTotals = Type.Object({
  from: Type.String({ description: 'begin of the UTC hours that the range touches' }),
  to: Type.String({ description: 'their end' }),
  feeds: Type.Array(ControlRow),
});
export type ControlTotals = Static<typeof ControlTotals>;

export const UsageAnswer = Type.Object({
  data: Type.Array(UsageRow),
  total: UsageTotal,
  next_cursor: nextCursor,
  numbers: Type.Optional(
    Type.Array(Type.Object({ parameter: Type.String(), ...NumberReadingSchema.properties }), {
      description: 'how the numbers of each parameter were read',
    }),
  ),
  billing: Type.Optional(
    Type.Object({
      increment: Type.String(),
      basis: Type.String({ enum: [...BILLING_BASES] }),
      round_ms: Type.String({ enum: [...ROUNDINGS] }),
      missing_talk: Type.String({ enum: [...MISSING_TALK] }),
    }),
  ),
  ...rangeFields,
  complete: CompleteSchema,
  control: Type.Optional(ControlTotals),
});
export type UsageAnswer = Static<typeof UsageAnswer>;

/** What can be said of a feed at this moment. */
export const FEED_STATES = ['complete', 'behind', 'unknown', 'gap'] as const;

const counts = (description: string) =>
  Type.Unsafe<Record<string, string>>({
    type: 'object',
    additionalProperties: Type.String({ pattern: '^[0-9]+$' }),
    description,
  });

/** How far a feed is read, and what was read. */
export const FeedRow = Type.Object({
  feed: Type.String(),
  topic: nullable<string>('string', 'its Kafka topic; null: the feed does not stand in the settings'),
  state: Type.String({
    enum: [...FEED_STATES],
    description:
      'complete: all that Kafka has is stored, and the feed is not silent for longer than its max_silence_s; behind: ingest catches up; gap: records may be missing; unknown: none of these is proven',
  }),
  complete_up_to: nullable<string>(
    'string',
    'nothing of the feed before this Kafka time is missing; null: not known',
  ),
  read_up_to: nullable<string>(
    'string',
    'all that Kafka had at this time is stored: of the slowest partition, advanced at the end of quiet ones',
  ),
  silent_since: nullable<string>('string', 'newest Kafka timestamp that is stored'),
  newest_start: nullable<string>('string', 'start of the newest call'),
  lag_messages: nullable<string>(
    'string',
    'messages that Kafka has and the ledger has not; null: ingest does not tell',
  ),
  ingest_seen_at: nullable<string>('string', 'when ingest last asked Kafka for the ends of all partitions'),
  records_per_s: Type.Number({ description: 'records and other lines of the last 5 minutes, per second' }),
  ...feedCounts,
  rejected_by_code: counts('rejected, by code; those that a replay accepted later are still counted here'),
  skipped_by_reason: counts('skipped, by reason'),
  conflicts: Type.Object(
    {
      two_calls: nullable<string>(
        'string',
        'ids with calls of another start or calling number: all of them count',
      ),
      other_content: nullable<string>('string', 'ids sent again with other content: the first record counts'),
      looked_at: nullable<string>(
        'string',
        'when the newest audit of the feed looked; null: none did, or its records have no ids of the switch',
      ),
    },
    {
      description:
        'ids of the switch under which different records were sent, as the newest audit found them',
    },
  ),
  missing_offsets: count('offsets that no range of the ledger covers between its first and its last'),
  lost_offsets: count('of these, offsets that Kafka lost and somebody accepted as lost (ingest accept-gap)'),
  gaps: Type.Array(
    Type.Object({
      topic: Type.String(),
      partition: Type.Integer(),
      expected_offset: count('where the ledger says to go on'),
      reason: Type.String(),
      noted_at: Type.String(),
    }),
    { description: 'partitions that stand still until someone accepts that records may be missing' },
  ),
});
export type FeedRow = Static<typeof FeedRow>;

export const FeedsAnswer = Type.Object({ data: Type.Array(FeedRow), time_zone: rangeFields.time_zone });
export type FeedsAnswer = Static<typeof FeedsAnswer>;

/** Parameters of `GET /v1/records`. */
export const recordsQuery = (limitMax: number) =>
  Type.Object(
    {
      from: Type.Optional(time('first start, ISO 8601; may be left out with stored_since')),
      to: Type.Optional(time('the moment after the last start, ISO 8601; may be left out with stored_since')),
      time_zone: timeZone,
      calling_number: numberList('these calling numbers'),
      account: Type.Optional(
        Type.String({ minLength: 1, maxLength: 200, description: 'only this account, exactly as stored' }),
      ),
      stored_since: Type.Optional(
        time(
          'only what was added, corrected or removed from this moment on: stored_until of the last answer',
        ),
      ),
      format,
      ...paging(limitMax),
    },
    { additionalProperties: false },
  );
export type RecordsQuery = Static<ReturnType<typeof recordsQuery>>;

/** A record in an answer. */
const RecordSchema = Type.Object({
  ...CallAlone.properties,
  stored_at: Type.String({
    description: 'when this state of the record was stored, as stored_since compares it',
  }),
  removed: Type.Boolean({
    description: 'true: the record of this id is no longer there; only with stored_since',
  }),
});
export type CallRecord = Static<typeof RecordSchema>;

export const RecordsAnswer = Type.Object({
  data: Type.Array(RecordSchema),
  next_cursor: nextCursor,
  stored_until: Type.String({
    description: 'all that was stored before this moment is in the answer; stored_since of the next question',
  }),
  withheld: Type.Integer({ description: 'records that match and may not be shown; usage counts them' }),
  numbers: Type.Optional(Type.Array(NumberReadingSchema, { description: 'how calling_number was read' })),
  from: nullable<string>('string', 'begin of the range as it was read, inclusive; null: none'),
  to: nullable<string>('string', 'end of the range as it was read, exclusive; null: none'),
  time_zone: Type.String({ description: 'zone of all times in the answer' }),
  complete: CompleteSchema,
});
export type RecordsAnswer = Static<typeof RecordsAnswer>;

/** A successful answer of a route that can also be a stream, for its OpenAPI entry. */
export const streamable = <Answer extends TSchema>(answer: Answer) => ({
  description: 'a page, or all rows as a stream',
  content: {
    'application/json': { schema: answer },
    'text/csv': { schema: Type.String() },
    'application/x-ndjson': { schema: Type.String() },
  },
});

/** An error (RFC 9457); `code` is one of the catalogue. */
const ProblemSchema = Type.Object({
  type: Type.String(),
  title: Type.String(),
  status: Type.Integer(),
  code: Type.String({ enum: Object.keys(HTTP_PROBLEMS) }),
  detail: Type.Optional(Type.String()),
  request_id: Type.Optional(Type.String()),
});

interface ProblemAnswer {
  readonly description: string;
  readonly content: object;
}

/** Answers of a route by status, with those error answers added that it does not name itself. */
export function withProblems(
  answers: Readonly<Record<string, unknown>>,
  codes: readonly HttpProblemCode[],
): Record<string, unknown> {
  const named = Object.values(answers).map((answer) => (answer as Partial<ProblemAnswer>).description ?? '');
  const missing = codes.filter((code) => !named.some((text) => text.includes(`${code}:`)));
  const merged: Record<string, unknown> = { ...answers };
  for (const [status, added] of Object.entries(problemAnswers(missing))) {
    const { description } = (answers[status] ?? {}) as Partial<ProblemAnswer>;
    merged[status] =
      description === undefined ? added : { ...added, description: `${description}; ${added.description}` };
  }
  return merged;
}

/** The error answers of a route for its OpenAPI entry, by status. */
export function problemAnswers(codes: readonly HttpProblemCode[]): Record<number, ProblemAnswer> {
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

const journalText = (description: string) =>
  Type.Optional(Type.String({ pattern: HEADER_TEXT, description }));

/** Parameters of `GET /v1/journal`, and the body of `POST /v1/journal/search`. */
export const journalQuery = (limitMax: number) =>
  Type.Object(
    {
      number: Type.Optional(
        Type.String({
          minLength: 1,
          maxLength: NUMBER_LENGTH_MAX,
          description: 'only look-ups of this number, in any notation; also those by a prefix that covers it',
        }),
      ),
      case_id: journalText('only look-ups for this case'),
      key_id: journalText('only look-ups with this API key, by its id'),
      agent: journalText('only look-ups by this agent'),
      from: Type.Optional(time('first moment, ISO 8601; default 30 days before to')),
      to: Type.Optional(time('the moment after the last, ISO 8601; default now')),
      time_zone: timeZone,
      ...paging(limitMax),
    },
    { additionalProperties: false },
  );
export type JournalQuery = Static<ReturnType<typeof journalQuery>>;

const JournalEntrySchema = Type.Object({
  request_id: Type.String({ description: 'X-Request-Id of the answer that was given' }),
  started: Type.String({ description: 'written before anything was read' }),
  finished: nullable<string>('string', 'written after the last row; null: not ended, or broken off'),
  key_id: Type.String(),
  key_label: nullable<string>('string', 'label of the key; null where there is no such API key'),
  agent: Type.String({ description: 'who of a team; empty where the request named nobody' }),
  purpose: Type.String(),
  case_id: Type.String(),
  route: Type.String(),
  filter: Type.Unsafe<Record<string, unknown>>({
    type: 'object',
    additionalProperties: true,
    description: 'what was asked, without numbers',
  }),
  rows: nullable<number>('integer', 'rows that were given; null where it has not ended'),
  complete: Type.Boolean({ description: 'all rows of the answer were given' }),
});
export type JournalEntry = Static<typeof JournalEntrySchema>;

export const JournalAnswer = Type.Object({
  data: Type.Array(JournalEntrySchema),
  next_cursor: nextCursor,
  number: Type.Optional(
    Type.Object({
      read_as: NumberReadingSchema.properties.read_as,
      country: NumberReadingSchema.properties.country,
      hmac_key_ids: Type.Array(Type.String(), { description: 'the HMAC keys with which it was searched' }),
    }),
  ),
  unsearchable: Type.Optional(
    Type.Integer({
      description: 'look-ups of the range whose HMAC key is not known any more; they may be of this number',
    }),
  ),
  ...rangeFields,
});
export type JournalAnswer = Static<typeof JournalAnswer>;
