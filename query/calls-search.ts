import { CALL_ROLES, type CallRole, type CallsMatched, type CallsQuery } from '../schemas/api.ts';
import type { CallPlace, CallsFilter, NumberFilter } from './calls-sql.ts';
import { pageRows, rangeDaysMax, zoneOf, type QueryContext } from './context.ts';
import type { Range } from './cursor.ts';
import { readNumber, type NumberReading } from './number-reading.ts';
import { Problem } from './problem.ts';
import { readSeconds } from './seconds.ts';
import { readRange } from './times.ts';

/** A search for calls as it was understood. */
export interface CallsSearch {
  readonly reading: NumberReading;
  /** How the number of the other side was read. */
  readonly other: NumberReading | undefined;
  readonly roles: readonly CallRole[];
  readonly durationMsMin: number | undefined;
  readonly durationMsMax: number | undefined;
  readonly outcomes: readonly string[] | undefined;
  readonly feeds: readonly string[] | undefined;
  readonly zone: string;
  readonly range: Range;
  /** Where the page before ended; undefined on the first page. */
  readonly page: CallsCursorPlace | undefined;
  readonly limit: number;
  /** All that decides which calls the listing has, but the range. */
  readonly identity: readonly unknown[];
}

/** Where a page ended, and how many calls the search has and withholds, which is reckoned once, with the first page. */
export interface CallsCursorPlace {
  readonly after: CallPlace;
  readonly matched: CallsMatched;
  readonly withheld: number;
}

/** Reads the parameters of a search. Throws Problems that name the parameter. */
export function readSearch(context: QueryContext, query: CallsQuery): CallsSearch {
  const { default_country: country } = context.settings.query;
  const zone = zoneOf(context, query.time_zone);
  const reading = readNumber('number', query.number, country);
  const filter = {
    other: readOther(query.other_number, country),
    roles: readRoles(query.role),
    durationMsMin: readSeconds('min_duration', query.min_duration),
    durationMsMax: readSeconds('max_duration', query.max_duration),
    outcomes: readWords(query.outcome),
    feeds: readWords(query.feed),
  };
  const { durationMsMin: min = 0, durationMsMax: max = Infinity } = filter;
  if (min > max) throw new Problem('PARAMETER_INVALID', 'min_duration: must not be above max_duration');
  const identity = [
    reading.kind,
    reading.searched,
    zone,
    { ...filter, other: filter.other?.searched ?? null },
  ];
  const { cursor } = query;
  const search = { reading, ...filter, zone, limit: pageRows(context, query.limit), identity };
  if (cursor === undefined) {
    const limits = { zone, daysMax: rangeDaysMax(context), nowMs: Date.now() };
    return { ...search, range: readRange(query.from, query.to, limits), page: undefined };
  }
  const { range, place } = context.callsCursors.open(cursor, identity, query, zone);
  return { ...search, range, page: place };
}

function readOther(typed: string | undefined, country: string | undefined): NumberReading | undefined {
  if (typed === undefined) return undefined;
  const reading = readNumber('other_number', typed, country);
  if (reading.kind === 'exact') return reading;
  throw new Problem('PARAMETER_INVALID', 'other_number: must be a whole number, not a prefix');
}

function readRoles(text: string): CallRole[] {
  const named = text.split(',');
  return named.includes('any') ? [...CALL_ROLES] : CALL_ROLES.filter((role) => named.includes(role));
}

/** A comma-separated list in one order, each word once. */
function readWords(text: string | undefined): string[] | undefined {
  return text === undefined ? undefined : [...new Set(text.split(','))].sort();
}

/**
 * The search as its statements need it, for who sees all calls.
 * @param known all feeds; throws a Problem where one is asked for that is none of them, since a misspelt one would
 *   look like a feed without calls
 */
export function filterOf(
  { numberKeys, retentionMonths }: QueryContext,
  search: CallsSearch,
  known: Iterable<string>,
  withHeld: boolean,
): CallsFilter {
  const all = [...known];
  const { reading, other, roles, durationMsMin, durationMsMax, outcomes, feeds, range } = search;
  if (feeds?.every((feed) => all.includes(feed)) === false) {
    throw new Problem('PARAMETER_INVALID', 'feed: there is no feed of this name');
  }
  const number: NumberFilter =
    reading.kind === 'prefix'
      ? { kind: 'prefix', prefix: reading.searched[0]! }
      : { kind: 'exact', ...numberKeys.listOf(feeds ?? all, reading.searched) };
  return {
    number,
    roles,
    otherNumbers: other?.searched,
    durationMsMin,
    durationMsMax,
    outcomes,
    feeds,
    range,
    term: { months: retentionMonths, nowMs: Date.now() },
    visibility: undefined,
    withHeld,
  };
}
