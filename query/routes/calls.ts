import { Ajv, type AnySchema } from 'ajv';
import type { FastifyReply } from 'fastify';
import {
  CALL_ROLES,
  CallsAnswer,
  callsQuery,
  LookupHeaders,
  problemAnswers,
  streamable,
  type AnswerFormat,
  type Call,
  type CallRole,
  type CallsMatched,
  type CallsQuery,
} from '../../schemas/api.ts';
import { requireRole, type Caller } from '../auth.ts';
import {
  CALL_ANSWER_COLUMNS,
  callAnswer,
  maskCall,
  maskRestricted,
  matchedAmong,
  matchedOf,
} from '../call-answer.ts';
import { filterOf, readSearch, type CallsSearch } from '../calls-search.ts';
import {
  callsSql,
  COLUMN_OF_ROLE,
  matchedSql,
  type CallRow,
  type CallsFilter,
  type MatchedRow,
} from '../calls-sql.ts';
import { completenessOf, type FaultRow } from '../completeness.ts';
import { goneSignal, type ApiServer, type QueryContext } from '../context.ts';
import type { CsvColumn } from '../../schemas/csv.ts';
import type { KnownFeeds } from '../feeds.ts';
import { askedBy, rangeAsked, type Lookup } from '../journal.ts';
import { matches, writeReading, type NumberReading } from '../number-reading.ts';
import { refuseObjected, rightsOf } from '../privacy.ts';
import { formatOf, mapRows, refusePaging, streamAnswer } from '../streaming.ts';
import { writeTime } from '../times.ts';

const COLUMNS: readonly CsvColumn<Call>[] = [
  ...CALL_ANSWER_COLUMNS,
  { name: 'matched_roles', isText: false },
  { name: 'held', isText: false },
];

const PROBLEMS = [
  'PARAMETER_MISSING',
  'HEADER_INVALID',
  'RANGE_INVALID',
  'CURSOR_INVALID',
  'JOURNAL_UNAVAILABLE',
  'PURPOSE_REFUSED',
] as const;

/** Who asks, and how. */
interface Asking {
  readonly requestId: string;
  readonly route: string;
  readonly caller: Caller;
  readonly headers: LookupHeaders;
  readonly format: AnswerFormat;
  readonly reply: FastifyReply;
}

/** `GET /v1/calls` and `POST /v1/calls/search`: the calls of a number. */
export function callsRoutes(app: ApiServer, context: QueryContext): void {
  const Query = callsQuery(context.settings.query.limit_max);
  const described = { tags: ['calls'], security: [{ key: [] }], headers: LookupHeaders };
  const response = { 200: streamable(CallsAnswer), ...problemAnswers(PROBLEMS) };
  app.get(
    '/v1/calls',
    {
      config: { role: 'disputes' },
      schema: { ...described, summary: 'Calls of a number, newest first', querystring: Query, response },
    },
    async (request, reply) => {
      const asking = {
        requestId: request.id,
        route: '/v1/calls',
        caller: requireRole(request.caller, 'disputes'),
        headers: request.headers,
        format: formatOf(request.query.format, request.headers.accept),
        reply,
      };
      return lookUp(context, request.query, asking);
    },
  );
  app.post(
    '/v1/calls/search',
    {
      config: { role: 'disputes' },
      validatorCompiler: ({ schema }) => bodyAjv.compile(schema as AnySchema),
      schema: {
        ...described,
        summary: 'The same with the parameters as a JSON body, so that no number stands in a URL',
        body: Query,
        response: { ...response, ...problemAnswers([...PROBLEMS, 'BODY_INVALID', 'BODY_TOO_LARGE']) },
      },
    },
    async (request, reply) => {
      const asking = {
        requestId: request.id,
        route: '/v1/calls/search',
        caller: requireRole(request.caller, 'disputes'),
        headers: request.headers,
        format: formatOf(request.body.format, request.headers.accept),
        reply,
      };
      return lookUp(context, request.body, asking);
    },
  );
}

/**
 * A URL has texts only, which become numbers where numbers are wanted. JSON has types: a null that became 0 would be a
 * filter that nobody asked for.
 */
const bodyAjv = new Ajv({ coerceTypes: false, useDefaults: true, verbose: true, strictTypes: false });

async function lookUp(
  context: QueryContext,
  query: CallsQuery,
  asking: Asking,
): Promise<CallsAnswer | undefined> {
  const { caller, format, reply } = asking;
  if (format !== 'json') refusePaging(query);
  const search = readSearch(context, query);
  if (search.reading.kind === 'prefix') requireRole(caller, 'disputes:prefix');
  const { database, journal, metrics } = context;
  const gone = goneSignal(reply);
  // Before the calls are read: the answer must not claim more than it can hold.
  const feeds = await context.feeds.known();
  const all = filterOf(context, search, feeds.keys(), caller.roles.has('legal'));
  const lookup = lookupOf(asking, search);
  if (format === 'json')
    return journal.around(
      lookup,
      gone,
      async (ended) => {
        const { filter, found } = await findPermitted(context, search, all, asking, ended);
        return answerOf(context, search, filter, found, feeds, caller);
      },
      ({ data }) => data.length,
    );
  await journal.started(lookup);
  const { filter, found } = await journal.unlessFailed(lookup, async () => {
    const shownOnly = await permitted(context, search, all, asking, gone);
    return { filter: shownOnly, found: await findSums(context, search, shownOnly, gone) };
  });
  const {
    data: _data,
    next_cursor: _cursor,
    ...closing
  } = answerOf(context, search, filter, found, feeds, caller);
  const statement = callsSql(database.database, filter, { after: undefined, rows: undefined });
  await streamAnswer(reply, metrics, {
    format,
    rows: mapRows(database.stream<CallRow>('calls', statement, gone), (row) =>
      shown(context, search, row, caller),
    ),
    columns: COLUMNS,
    closing,
    finished: (count, complete) => journal.finished(lookup, count, complete),
  });
  return undefined;
}

/** The page of what this caller may see. It is read while that is asked for, where nobody is expected to have restricted anything. */
async function findPermitted(
  context: QueryContext,
  search: CallsSearch,
  all: CallsFilter,
  asking: Asking,
  gone: AbortSignal,
): Promise<{ filter: CallsFilter; found: Found }> {
  const filter = permitted(context, search, all, asking, gone);
  const ofAll = context.rights.expected ? undefined : findPage(context, search, all, gone);
  // Not given where it is not permitted, whatever became of it.
  ofAll?.catch(() => undefined);
  const chosen = await filter;
  const found = chosen === all && ofAll !== undefined ? ofAll : findPage(context, search, chosen, gone);
  return { filter: chosen, found: await found };
}

/** Of the calls those that this caller may see. Throws the Problem PURPOSE_REFUSED where a holder objected to the look-up. */
async function permitted(
  context: QueryContext,
  search: CallsSearch,
  all: CallsFilter,
  { caller, headers: { purpose } }: Asking,
  gone: AbortSignal,
): Promise<CallsFilter> {
  // Of a prefix nobody knows whose numbers it will find: there those who object are hidden.
  const restricting = { purpose: search.reading.kind === 'prefix' ? purpose : undefined };
  const rights = await rightsOf(context, caller, restricting, { purpose, ...objectable(search) }, gone);
  refuseObjected(rights, purpose);
  const { restrictions } = rights;
  return restrictions === undefined ? all : { ...all, visibility: { ...restrictions, calls: 'shown' } };
}

function lookupOf({ requestId, route, caller, headers, format }: Asking, search: CallsSearch): Lookup {
  const { reading, other, roles, zone, range, page, limit } = search;
  const { durationMsMin, durationMsMax, outcomes, feeds } = search;
  const numbers =
    reading.kind === 'prefix' ? reading.searched.map((prefix) => `${prefix}*`) : reading.searched;
  return {
    ...askedBy(requestId, caller, headers),
    route,
    // What is found about one of two numbers is found about the other.
    numbers: [...new Set([...numbers, ...(other?.searched ?? [])])],
    filter: {
      kind: reading.kind,
      roles,
      other_number: other !== undefined,
      ...(durationMsMin === undefined ? {} : { min_duration: durationMsMin / 1000 }),
      ...(durationMsMax === undefined ? {} : { max_duration: durationMsMax / 1000 }),
      ...(outcomes === undefined ? {} : { outcome: outcomes }),
      ...(feeds === undefined ? {} : { feed: feeds }),
      ...rangeAsked(range, zone),
      format,
      ...(format === 'json' ? { limit, first_page: page === undefined } : {}),
    },
  };
}

/** What persons can have objected to. */
function objectable({ reading, other, feeds, range }: CallsSearch) {
  const numbers = [...(reading.kind === 'exact' ? reading.searched : []), ...(other?.searched ?? [])];
  return { numbers, feeds, range };
}

interface Found {
  /** One more than the page where another page follows. */
  readonly rows: readonly CallRow[];
  readonly matched: CallsMatched;
  readonly withheld: number;
  readonly faults: readonly FaultRow[];
}

async function findPage(
  context: QueryContext,
  search: CallsSearch,
  filter: CallsFilter,
  gone: AbortSignal,
): Promise<Found> {
  const { page, limit, range } = search;
  const faults = await context.feeds.faultsSince(range.fromMs);
  const [rows, withheld] = await Promise.all([
    context.calls.find(filter, { after: page?.after, rows: limit + 1 }, gone),
    page?.withheld ?? countWithheld(context, filter, gone),
  ]);
  const isWhole = rows.length <= limit;
  const matched =
    page?.matched ?? (isWhole ? matchedOf(matchedAmong(rows)) : await findMatched(context, filter, gone));
  return { rows, faults, matched, withheld };
}

/** What is to be said of calls that are streamed, beside them. */
async function findSums(
  context: QueryContext,
  { range }: CallsSearch,
  filter: CallsFilter,
  gone: AbortSignal,
): Promise<Found> {
  const faults = await context.feeds.faultsSince(range.fromMs);
  const [matched, withheld] = await Promise.all([
    findMatched(context, filter, gone),
    countWithheld(context, filter, gone),
  ]);
  return { rows: [], faults, matched, withheld };
}

async function findMatched(
  { database }: QueryContext,
  filter: CallsFilter,
  gone: AbortSignal,
): Promise<CallsMatched> {
  const [row] = await database.select<MatchedRow>('matched', matchedSql(database.database, filter), gone);
  return matchedOf(row!);
}

/** Calls that match and are not shown. */
async function countWithheld(context: QueryContext, filter: CallsFilter, gone: AbortSignal): Promise<number> {
  const { visibility } = filter;
  if (visibility === undefined) return 0;
  const hidden: CallsFilter = { ...filter, visibility: { ...visibility, calls: 'withheld' } };
  return Number((await findMatched(context, hidden, gone)).calls);
}

function answerOf(
  context: QueryContext,
  search: CallsSearch,
  { term }: CallsFilter,
  { rows, matched, withheld, faults }: Found,
  feeds: KnownFeeds,
  caller: Caller,
): CallsAnswer {
  const { zone, range, limit, identity, reading, other } = search;
  const page = rows.slice(0, limit);
  const last = page.at(-1);
  const hasMore = rows.length > limit && last !== undefined;
  return {
    data: page.map((row) => shown(context, search, row, caller)),
    next_cursor: hasMore
      ? context.callsCursors.write({ range, place: { after: placeOf(last), matched, withheld } }, identity)
      : null,
    matched,
    number: writeReading(reading),
    ...(other === undefined ? {} : { other_number: writeReading(other) }),
    from: writeTime(range.fromMs, zone),
    to: writeTime(range.toMs, zone),
    time_zone: zone,
    complete: completenessOf({ feeds: search.feeds, range, zone, term }, feeds, faults, context.topics),
    withheld,
  };
}

/** A call as this caller may see it. */
function shown(
  context: QueryContext,
  { zone, reading, other, roles }: CallsSearch,
  row: CallRow,
  caller: Caller,
): Call {
  const call = {
    ...callAnswer(context, row, zone),
    matched_roles: matchedRoles(row, reading, roles),
    held: row.held === 1,
  };
  const shownTo = caller.roles.has('disputes:unmasked') ? call : masked(call, reading, other);
  return maskRestricted(shownTo, row);
}

function placeOf(row: CallRow) {
  return { startMs: Number(row.start_ms), cdrKey: row.cdr_key, callingNumber: row.calling_number };
}

function matchedRoles(row: CallRow, reading: NumberReading, roles: readonly CallRole[]): CallRole[] {
  return CALL_ROLES.filter((role) => roles.includes(role) && matches(reading, row[COLUMN_OF_ROLE[role]]));
}

/**
 * Hides the numbers that were not typed. After a prefix search all that it found are hidden, or the beginning of a
 * hidden number would bring its end to light.
 */
function masked(call: Call, reading: NumberReading, other: NumberReading | undefined): Call {
  const typed = [reading, other].filter((each) => each?.kind === 'exact');
  return maskCall(call, (number) => !typed.some((each) => each !== undefined && matches(each, number)));
}
