import { Type } from 'typebox';
import {
  JobHeaders,
  problemAnswers,
  streamable,
  UsageAnswer,
  usageQuery,
  type AnswerFormat,
  type ControlTotals,
  type LookupHeaders,
  type UsageGroup,
  type UsageQuery,
} from '../../schemas/api.ts';
import { requireRole } from '../auth.ts';
import { readBillingTerms, type BillingTerms } from '../billing.ts';
import type { Statement } from '../calls-sql.ts';
import type { Term } from '../term-sql.ts';
import {
  goneSignal,
  pageRows,
  rangeDaysMax,
  zoneOf,
  type ApiServer,
  type QueryContext,
  type UsageCursorPlace,
} from '../context.ts';
import { completenessOf } from '../completeness.ts';
import { readControlTotals } from '../control-totals.ts';
import type { Range } from '../cursor.ts';
import { dialedPrefixes } from '../dialed-prefixes.ts';
import type { KnownFeeds } from '../feeds.ts';
import { askedBy, rangeAsked, type Lookup } from '../journal.ts';
import type { NumberList } from '../../schemas/number-keys.ts';
import { readNumberList } from '../number-list.ts';
import { writeReading, type NumberReading } from '../number-reading.ts';
import { Problem } from '../problem.ts';
import { readSeconds } from '../seconds.ts';
import { formatOf, mapRows, refusePaging, streamAnswer } from '../streaming.ts';
import { readRange, writeTime } from '../times.ts';
import { entityTag, usageColumns, usageRow, usageTotal, writeTerms } from '../usage-answer.ts';
import {
  orderGroups,
  usageSql,
  type SumsRow,
  type UsageConditions,
  type UsagePlace,
  type UsageSumsRow,
} from '../usage-sql.ts';

const ROUTE = '/v1/usage';

/** Parameters that list numbers. */
const NUMBER_PARAMETERS = ['calling_number', 'displayed_caller_id', 'dialed_number'] as const;

/** How the numbers of each parameter that was given were read. */
type Readings = Partial<Record<(typeof NUMBER_PARAMETERS)[number], readonly NumberReading[]>>;

/** A question for usage as it was understood. */
interface Question {
  readonly groups: readonly UsageGroup[];
  readonly zone: string;
  readonly range: Range;
  readonly term: Term;
  readonly readings: Readings;
  readonly conditions: Omit<UsageConditions, 'callingNumbers' | 'displayedNumbers' | 'dialedNumbers'>;
  /** Undefined: nothing is billed. */
  readonly billing: BillingTerms | undefined;
  readonly control: boolean;
  readonly after: UsageCursorPlace | undefined;
  readonly limit: number;
  /** All that decides which groups the listing has, and what stands in them. */
  readonly identity: readonly unknown[];
}

/**
 * `GET /v1/usage`: sums per group, and the control totals of the feeds. Written into the journal: the sums of a number
 * as a look-up of it, all others, those of an account too, once a request.
 */
export function usageRoutes(app: ApiServer, context: QueryContext): void {
  const { journal, metrics } = context;
  app.get(
    ROUTE,
    {
      config: { role: 'billing' },
      schema: {
        summary: 'Calls, durations, talk and billed seconds per group, with control totals of the feeds',
        tags: ['usage'],
        security: [{ key: [] }],
        querystring: usageQuery(context.settings.query.limit_max),
        headers: Type.Object({
          ...JobHeaders.properties,
          'if-none-match': Type.Optional(Type.String({ maxLength: 1000 })),
        }),
        response: {
          200: streamable(UsageAnswer),
          304: Type.Null({ description: 'nothing has changed since the answer with this ETag' }),
          ...problemAnswers([
            'PARAMETER_MISSING',
            'HEADER_INVALID',
            'RANGE_INVALID',
            'CURSOR_INVALID',
            'USAGE_CHANGED',
            'TALK_MISSING',
            'JOURNAL_UNAVAILABLE',
          ]),
        },
      },
    },
    async (request, reply) => {
      const caller = requireRole(request.caller, 'billing');
      const format = formatOf(request.query.format, request.headers.accept);
      if (format !== 'json') refusePaging(request.query);
      const known = await context.feeds.known();
      const question = readQuestion(context, request.query, known);
      const headers = jobHeaders(request.headers, question);
      const lookup = { ...askedBy(request.id, caller, headers), ...lookupOf(question, format) };
      const gone = goneSignal(reply);
      if (format !== 'json') {
        await journal.started(lookup);
        const { groups, ...about } = await journal.unlessFailed(lookup, () =>
          openGroups(context, question, known, gone),
        );
        const whole = answerOf(context, question, { rows: [], ...about });
        const { data: _data, next_cursor: _cursor, ...closing } = whole;
        return streamAnswer(reply, metrics, {
          format,
          rows: mapRows(groups, (row) => usageRow(question.groups, row, question.zone)),
          columns: usageColumns(question.groups, question.billing !== undefined),
          closing,
          finished: (rows, complete) => journal.finished(lookup, rows, complete),
        });
      }
      const found = await journal.around(
        lookup,
        gone,
        async (ended) => {
          const answer = answerOf(context, question, await sumUp(context, question, known, ended));
          const tag = entityTag(answer);
          return { answer, tag, isKnown: isNamed(tag, request.headers['if-none-match']) };
        },
        ({ answer, isKnown }) => (isKnown ? 0 : answer.data.length),
      );
      void reply.header('etag', found.tag);
      if (found.isKnown) return reply.code(304).send(null);
      return found.answer;
    },
  );
}

/** Throws the Problem HEADER_MISSING where somebody's calls are asked for and not why. A job over all numbers may leave that to its role. */
function jobHeaders(headers: JobHeaders, question: Question): LookupHeaders {
  const asked = personAsked(question);
  if (asked !== undefined) {
    for (const [name, value] of [
      ['Case-Id', headers['case-id']],
      ['Purpose', headers.purpose],
    ] as const) {
      if (value === undefined) throw new Problem('HEADER_MISSING', `${name} is required where ${asked}`);
    }
  }
  return { 'case-id': '', purpose: 'billing', ...headers };
}

/** What makes the sums those of somebody's calls. */
function personAsked({ readings, groups, conditions: { accounts } }: Question): string | undefined {
  if (Object.keys(readings).length > 0) return 'a number is named';
  // An account is a customer, and its sums by number and hour are single calls.
  const isByNumber = NUMBER_PARAMETERS.some((name) => groups.includes(name));
  return accounts !== undefined && isByNumber ? 'an account is grouped by numbers' : undefined;
}

function lookupOf(
  { groups, zone, range, readings, conditions, after, limit }: Question,
  format: AnswerFormat,
): Pick<Lookup, 'route' | 'numbers' | 'filter'> {
  const named = Object.entries(readings);
  const { accounts, feeds } = conditions;
  return {
    route: ROUTE,
    numbers: [...new Set(named.flatMap(([, of]) => of.flatMap(({ searched }) => searched)))],
    filter: {
      group_by: groups,
      ...Object.fromEntries(named.map(([name, of]) => [name, of.length])),
      // Account codes may be numbers, so they are not told.
      ...(accounts === undefined ? {} : { accounts: accounts.length }),
      ...(feeds === undefined ? {} : { feeds }),
      ...rangeAsked(range, zone),
      format,
      ...(format === 'json' ? { limit, first_page: after === undefined } : {}),
    },
  };
}

function readQuestion(context: QueryContext, query: UsageQuery, known: KnownFeeds): Question {
  const { settings, retentionMonths, usageCursors } = context;
  const zone = zoneOf(context, query.time_zone);
  const nowMs = Date.now();
  const range = readRange(query.from, query.to, { zone, daysMax: rangeDaysMax(context), nowMs });
  const groups = orderGroups(query.group_by.split(','));
  const readings: Readings = Object.fromEntries(
    NUMBER_PARAMETERS.filter((name) => query[name] !== undefined).map((name) => [
      name,
      readNumberList(name, query[name], settings.query.default_country)!,
    ]),
  );
  const conditions = readConditions(query, known);
  const billing = readBillingTerms(query);
  const searched = Object.entries(readings).map(([name, of]) => [
    name,
    of.map((reading) => reading.searched),
  ]);
  const identity = [groups, zone, range, searched, conditions, billing ?? null];
  const { cursor } = query;
  const content = cursor === undefined ? undefined : usageCursors.open(cursor, identity, query, zone);
  const term = { months: retentionMonths, nowMs };
  return {
    groups,
    zone,
    range,
    term,
    readings,
    conditions,
    billing,
    // Of all calls, which say nothing about one number and are most of the work then.
    control: query.control ?? Object.keys(readings).length === 0,
    after: content?.place,
    limit: pageRows(context, query.limit),
    identity,
  };
}

function readConditions(query: UsageQuery, known: KnownFeeds): Question['conditions'] {
  const { account, feed, outcome, direction } = query;
  const min = readSeconds('min_duration', query.min_duration);
  const max = readSeconds('max_duration', query.max_duration);
  const feeds = feed === undefined ? undefined : listOf(feed).flatMap((names) => names.split(','));
  // A misspelt feed would otherwise look like a feed without calls.
  if (feeds?.some((name) => !known.has(name)) === true)
    throw new Problem('PARAMETER_INVALID', 'feed: there is no feed of this name');
  if (min !== undefined && max !== undefined && min > max)
    throw new Problem('PARAMETER_INVALID', 'min_duration: must not be above max_duration');
  return {
    accounts: account === undefined ? undefined : listOf(account),
    feeds,
    outcomes: outcome?.split(','),
    directions: direction?.split(','),
    minDurationMs: min,
    maxDurationMs: max,
  };
}

function listOf(value: string | string[]): string[] {
  return typeof value === 'string' ? [value] : value;
}

interface Summed {
  /** One more than the page where another page follows. */
  readonly rows: readonly UsageSumsRow[];
  readonly total: SumsRow;
  /** With the first page, where they are asked for. */
  readonly control: ControlTotals | undefined;
  readonly complete: UsageAnswer['complete'];
}

async function sumUp(
  context: QueryContext,
  question: Question,
  known: KnownFeeds,
  gone: AbortSignal,
): Promise<Summed> {
  const { billing, after, limit } = question;
  const complete = await completeOf(context, question, known);
  const control = after === undefined ? await controlOf(context, question, known, gone) : undefined;
  const statement = statementOf(context, question, known, limit + 1);
  const { rows, totals } = await context.database.usage(statement, gone);
  // Without groups the one row is the total.
  const total = totals ?? rows[0];
  if (total === undefined || (after !== undefined && after.digest !== total.digest))
    throw new Problem('USAGE_CHANGED', '');
  requireTalk(billing, total);
  return { rows, total, control, complete };
}

/** Read before the calls: the answer must not claim more than it can hold. */
async function completeOf(
  context: QueryContext,
  { range, term, zone, conditions }: Question,
  known: KnownFeeds,
): Promise<UsageAnswer['complete']> {
  const faults = await context.feeds.faultsSince(range.fromMs);
  return completenessOf({ feeds: conditions.feeds, range, zone, term }, known, faults, context.topics);
}

async function controlOf(
  { database }: QueryContext,
  { control, range, term, zone, conditions }: Question,
  known: KnownFeeds,
  gone: AbortSignal,
): Promise<ControlTotals | undefined> {
  if (!control) return undefined;
  const counted = new Map([...known].filter(([feed]) => conditions.feeds?.includes(feed) !== false));
  return readControlTotals(database, { range, term, zone }, counted, gone);
}

/** All groups as they come, and what is to be said of them, which stands before them. */
async function openGroups(
  context: QueryContext,
  question: Question,
  known: KnownFeeds,
  gone: AbortSignal,
): Promise<Omit<Summed, 'rows'> & { groups: AsyncGenerator<readonly UsageSumsRow[]> }> {
  const complete = await completeOf(context, question, known);
  const control = await controlOf(context, question, known, gone);
  const statement = statementOf(context, question, known, undefined);
  const batches = context.database.stream<UsageSumsRow>('usage', statement, gone);
  const { value: first = [] } = (await batches.next()) as { value?: UsageSumsRow[] };
  const [total] = first;
  try {
    if (total === undefined) throw new Error('usage has no total');
    requireTalk(question.billing, total);
  } catch (error) {
    // Ends the query.
    await batches.return(undefined);
    throw error;
  }
  // Without groups the one row is the total.
  const rest = question.groups.length === 0 ? first : first.slice(1);
  return { total, control, complete, groups: joined(rest, batches) };
}

async function* joined<Row>(
  first: readonly Row[],
  others: AsyncGenerator<readonly Row[]>,
): AsyncGenerator<readonly Row[]> {
  try {
    yield first;
    yield* others;
  } finally {
    await others.return(undefined);
  }
}

function answerOf(
  { usageCursors }: QueryContext,
  question: Question,
  { rows, total, control, complete }: Summed,
): UsageAnswer {
  const { groups, zone, range, readings, billing, limit, identity } = question;
  const page = rows.slice(0, limit);
  const last = page.at(-1);
  const hasMore = rows.length > limit && last !== undefined;
  return {
    data: page.map((row) => usageRow(groups, row, zone)),
    total: usageTotal(total, zone),
    next_cursor: hasMore
      ? usageCursors.write({ range, place: { after: placeOf(groups, last), digest: total.digest } }, identity)
      : null,
    ...numbersOf(readings),
    ...(billing === undefined ? {} : { billing: writeTerms(billing) }),
    from: writeTime(range.fromMs, zone),
    to: writeTime(range.toMs, zone),
    time_zone: zone,
    complete,
    ...(control === undefined ? {} : { control }),
  };
}

function statementOf(
  { database, numberKeys, settings }: QueryContext,
  question: Question,
  known: KnownFeeds,
  rows: number | undefined,
): Statement {
  const { groups, range, term, zone, readings, conditions, billing, after } = question;
  const numbers = (of: readonly NumberReading[] | undefined): NumberList | undefined =>
    of &&
    numberKeys.listOf(
      [...known.keys()],
      of.flatMap(({ searched }) => searched),
    );
  return usageSql(database.database, {
    groups,
    range,
    term,
    timeZone: zone,
    conditions: {
      ...conditions,
      callingNumbers: numbers(readings.calling_number),
      displayedNumbers: numbers(readings.displayed_caller_id),
      dialedNumbers: numbers(readings.dialed_number),
    },
    prefixes: groups.includes('dialed_prefix') ? dialedPrefixes(settings.query.dialed_prefixes) : [],
    billing,
    after: after?.after,
    rows,
  });
}

/** Absent is not zero: what is unknown is not billed unless the request says what to do. */
function requireTalk(billing: BillingTerms | undefined, { missing_talk: missing }: SumsRow): void {
  if (billing?.basis !== 'talk' || billing.missingTalk !== 'refuse' || missing === '0') return;
  throw new Problem(
    'TALK_MISSING',
    `${missing} calls; say missing_talk=exclude, missing_talk=duration or basis=duration, or filter them away`,
  );
}

function numbersOf(readings: Readings): Pick<UsageAnswer, 'numbers'> {
  const written = Object.entries(readings).flatMap(([parameter, of]) =>
    of.map((reading) => Object.assign({ parameter }, writeReading(reading))),
  );
  return written.length === 0 ? {} : { numbers: written };
}

function placeOf(groups: readonly UsageGroup[], row: UsageSumsRow): UsagePlace {
  return groups.map((group) => row[`group_${group}`]!);
}

function isNamed(tag: string, header: string | undefined): boolean {
  const named = header?.split(',').map((each) => each.trim()) ?? [];
  return named.includes(tag) || named.includes('*');
}
