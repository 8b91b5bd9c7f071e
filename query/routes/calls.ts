import {
  CALL_ROLES,
  CallsAnswer,
  callsQuery,
  LookupHeaders,
  problemAnswers,
  type Call,
  type CallRole,
  type CallsQuery,
} from '../../schemas/api.ts';
import { requireRole, type Caller } from '../auth.ts';
import { callsSql, type CallPlace, type CallRow, type NumberFilter, type Term } from '../calls-sql.ts';
import { goneSignal, rangeDaysMax, zoneOf, type ApiServer, type QueryContext } from '../context.ts';
import type { Range } from '../cursor.ts';
import type { KnownFeeds } from '../feeds.ts';
import type { Lookup } from '../journal.ts';
import { maskInside, maskNumber } from '../masking.ts';
import { matches, readNumber, writeReading, type NumberReading } from '../number-reading.ts';
import { Problem } from '../problem.ts';
import { readRange, readTime, writeTime } from '../times.ts';

const ROUTE = '/v1/calls';

/** A look-up as it was understood. */
interface Search {
  readonly reading: NumberReading;
  readonly roles: readonly CallRole[];
  readonly zone: string;
  readonly range: Range;
  readonly after: CallPlace | undefined;
  readonly limit: number;
  /** All that decides which calls the listing has, but the range. */
  readonly identity: readonly unknown[];
}

/** `GET /v1/calls`: the calls of a number. */
export function callsRoutes(app: ApiServer, context: QueryContext): void {
  app.get(
    ROUTE,
    {
      config: { role: 'disputes' },
      schema: {
        summary: 'Calls of a number, newest first',
        tags: ['calls'],
        security: [{ key: [] }],
        querystring: callsQuery(context.settings.query.limit_max),
        headers: LookupHeaders,
        response: {
          200: CallsAnswer,
          ...problemAnswers([
            'PARAMETER_UNKNOWN',
            'PARAMETER_INVALID',
            'PARAMETER_MISSING',
            'HEADER_MISSING',
            'HEADER_INVALID',
            'RANGE_INVALID',
            'CURSOR_INVALID',
            'KEY_MISSING',
            'KEY_INVALID',
            'ROLE_MISSING',
            'QUERY_TOO_LARGE',
            'DATABASE_UNAVAILABLE',
            'JOURNAL_UNAVAILABLE',
            'INTERNAL',
          ]),
        },
      },
    },
    async (request, reply) => {
      const caller = requireRole(request.caller, 'disputes');
      const search = readSearch(context, request.query);
      if (search.reading.kind === 'prefix') requireRole(caller, 'disputes:prefix');
      // Before the calls are read: the answer must not claim more than it can hold.
      const feeds = await context.feeds.known();
      const lookup = lookupOf(request.id, caller, request.headers, search);
      await context.journal.started(lookup);
      const rows = await readRows(context, search, [...feeds.keys()], lookup, goneSignal(reply));
      const answer = answerOf(context, search, rows, feeds, caller);
      await context.journal.finished(lookup, answer.data.length, true);
      return answer;
    },
  );
}

function readSearch(context: QueryContext, query: CallsQuery): Search {
  const { default_country: country } = context.settings.query;
  const daysMax = rangeDaysMax(context);
  const zone = zoneOf(context, query.time_zone);
  const reading = readNumber('number', query.number, country);
  const roles = readRoles(query.role);
  const identity = [reading.kind, reading.searched, roles, zone];
  const { cursor, limit } = query;
  if (cursor === undefined) {
    const range = readRange(query.from, query.to, { zone, daysMax, nowMs: Date.now() });
    return { reading, roles, zone, range, after: undefined, limit, identity };
  }
  const content = context.callsCursors.read(cursor, identity);
  if (content === undefined || !isSameRange(content.range, query, zone))
    throw new Problem('CURSOR_INVALID', '');
  return { reading, roles, zone, range: content.range, after: content.place, limit, identity };
}

/** The bounds that a request with a cursor repeats must be those of its first page. */
function isSameRange({ fromMs, toMs }: Range, { from, to }: CallsQuery, zone: string): boolean {
  return (
    (from === undefined || readTime(from, zone) === fromMs) &&
    (to === undefined || readTime(to, zone) === toMs)
  );
}

function readRoles(text: string): CallRole[] {
  const named = text.split(',');
  return named.includes('any') ? [...CALL_ROLES] : CALL_ROLES.filter((role) => named.includes(role));
}

function lookupOf(
  requestId: string,
  caller: Caller,
  headers: { 'case-id': string; purpose: string; agent?: string },
  { reading, roles, zone, range, after, limit }: Search,
): Lookup {
  return {
    requestId,
    keyId: caller.keyId,
    agent: headers.agent ?? '',
    purpose: headers.purpose,
    caseId: headers['case-id'],
    route: ROUTE,
    numbers: reading.kind === 'prefix' ? reading.searched.map((prefix) => `${prefix}*`) : reading.searched,
    filter: {
      kind: reading.kind,
      roles,
      from: new Date(range.fromMs).toISOString(),
      to: new Date(range.toMs).toISOString(),
      time_zone: zone,
      limit,
      first_page: after === undefined,
    },
  };
}

async function readRows(
  context: QueryContext,
  { reading, roles, range, after, limit }: Search,
  feeds: readonly string[],
  lookup: Lookup,
  gone: AbortSignal,
): Promise<CallRow[]> {
  const { database, numberKeys, retentionMonths } = context;
  const texts = reading.searched;
  const number: NumberFilter =
    reading.kind === 'prefix'
      ? { kind: 'prefix', prefix: texts[0]! }
      : { kind: 'exact', texts, keys: numberKeys.keysOf(feeds, texts) };
  const term: Term = { months: retentionMonths, nowMs: Date.now() };
  try {
    // One more than the page, to know whether another follows.
    const statement = callsSql(database.database, { number, roles, range, term, after, rows: limit + 1 });
    return await database.calls(statement, gone);
  } catch (error) {
    // What failed is what the client must hear of; the entry that began already shows the look-up.
    await context.journal.finished(lookup, 0, false).catch(() => undefined);
    throw error;
  }
}

function answerOf(
  context: QueryContext,
  search: Search,
  rows: readonly CallRow[],
  feeds: KnownFeeds,
  caller: Caller,
): CallsAnswer {
  const { zone, range, limit, identity, reading } = search;
  const page = rows.slice(0, limit);
  const last = page.at(-1);
  const place = last === undefined ? undefined : { startMs: Number(last.start_ms), cdrKey: last.cdr_key };
  const unmasked = caller.roles.has('disputes:unmasked');
  return {
    data: page.map((row) => {
      const call = callOf(context, search, row);
      return unmasked ? call : masked(call, reading);
    }),
    next_cursor:
      rows.length > limit && place !== undefined
        ? context.callsCursors.write({ range, place }, identity)
        : null,
    number: writeReading(reading),
    from: writeTime(range.fromMs, zone),
    to: writeTime(range.toMs, zone),
    time_zone: zone,
    complete: { feeds: progressOf(feeds, zone) },
    withheld: 0,
  };
}

function progressOf(feeds: KnownFeeds, zone: string): Record<string, { read_up_to: string | null }> {
  return Object.fromEntries(
    [...feeds].map(([feed, ms]) => [feed, { read_up_to: ms === null ? null : writeTime(ms, zone) }]),
  );
}

function callOf({ numberKeys, callIds }: QueryContext, { zone, roles, reading }: Search, row: CallRow): Call {
  const startMs = Number(row.start_ms);
  const numbers = {
    calling: row.calling_number,
    displayed: row.displayed_caller_id,
    dialed: row.dialed_number,
  };
  return {
    id: callIds.idOf({
      callingKey: numberKeys.keyOf(row.feed, row.calling_number),
      startMs,
      cdrKey: row.cdr_key,
    }),
    calling_number: numbers.calling,
    displayed_caller_id: numbers.displayed,
    dialed_number: numbers.dialed,
    start: writeTime(startMs, zone),
    duration_s: row.duration_ms / 1000,
    talk_s: row.talk_ms === null ? null : row.talk_ms / 1000,
    outcome: row.outcome,
    direction: row.direction,
    account: row.account,
    feed: row.feed,
    call_id: row.call_id,
    matched_roles: roles.filter((role) => matches(reading, numbers[role])),
  };
}

/**
 * Hides the other party's numbers. After a prefix search all are hidden, or the beginning of a hidden number would
 * bring its end to light.
 */
function masked(call: Call, reading: NumberReading): Call {
  const numbers = [call.calling_number, call.displayed_caller_id, call.dialed_number];
  const hidden = numbers.filter((number) => reading.kind === 'prefix' || !matches(reading, number));
  const mask = (number: string): string => (hidden.includes(number) ? maskNumber(number) : number);
  const inside = (text: string): string => hidden.reduce(maskInside, text);
  return {
    ...call,
    calling_number: mask(call.calling_number),
    displayed_caller_id: mask(call.displayed_caller_id),
    dialed_number: mask(call.dialed_number),
    account: inside(call.account),
    call_id: inside(call.call_id),
  };
}
