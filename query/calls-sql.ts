import type { CallRole } from '../schemas/api.ts';
import { e164PrefixRange } from '../schemas/number-key.ts';
import { addMonths } from '../schemas/retention-term.ts';
import type { Range } from './cursor.ts';

/** A statement and the values that are bound to its `{name: Type}` places; no value stands in the text. */
export interface Statement {
  readonly text: string;
  readonly parameters: Readonly<Record<string, unknown>>;
}

/** Which starts may be read at all. */
export interface Term {
  readonly months: number;
  readonly nowMs: number;
}

/** The numbers of a search: all texts under their keys, or the beginning of E.164 numbers. */
export type NumberFilter =
  | { readonly kind: 'exact'; readonly texts: readonly string[]; readonly keys: readonly number[] }
  | { readonly kind: 'prefix'; readonly prefix: string };

/** The call after which a page begins. */
export interface CallPlace {
  /** UTC ms. */
  readonly startMs: number;
  /** Unsigned 64-bit integer as decimal text. */
  readonly cdrKey: string;
}

export interface CallsFilter {
  readonly number: NumberFilter;
  readonly roles: readonly CallRole[];
  readonly range: Range;
  readonly term: Term;
  readonly after: CallPlace | undefined;
  /** Rows to give. */
  readonly rows: number;
}

/** A row of the answer of `callsSql` (JSONEachRow, 64-bit integers as text). */
export interface CallRow {
  readonly start_ms: string;
  readonly cdr_key: string;
  readonly calling_number: string;
  readonly displayed_caller_id: string;
  readonly dialed_number: string;
  readonly duration_ms: number;
  readonly talk_ms: number | null;
  readonly outcome: string;
  readonly direction: string;
  readonly account: string;
  readonly feed: string;
  readonly call_id: string;
}

const COLUMNS =
  'start_at, cdr_key, calling_number, displayed_caller_id, dialed_number, duration_ms, talk_ms, outcome, direction, account, feed, call_id';
const DAY_MS = 86_400_000;

/** A bound moment in ms; the server folds it to a constant before it looks at indexes. */
export const moment = (name: string): string => `fromUnixTimestamp64Milli({${name}: Int64}, 'UTC')`;

/**
 * The calls of a number in the roles asked for, newest first, each once.
 *
 * A call stands under its calling number in `cdr`, and under its dialed number and a displayed one that differs in
 * `cdr_by_number`. Each branch is a range of its table's sorting key and carries the limit, so that the cost is that of
 * the page and not of the number's history. In `cdr_by_number` a call can be there in both roles, so that branch
 * takes twice the limit.
 */
export function callsSql(database: string, filter: CallsFilter): Statement {
  const branches = [...callingBranch(database, filter), ...otherBranch(database, filter)];
  const text = `SELECT toUnixTimestamp64Milli(start_at) AS start_ms, ${COLUMNS.replace('start_at, ', '')}
FROM (
${branches.join('\nUNION ALL\n')}
)
ORDER BY start_at DESC, cdr_key DESC
LIMIT 1 BY start_at, cdr_key
LIMIT {rows: UInt32}`;
  return { text, parameters: parametersOf(filter) };
}

function callingBranch(database: string, filter: CallsFilter): string[] {
  const { roles, number } = filter;
  const calling = roles.includes('calling');
  if (!calling && !roles.includes('displayed')) return [];
  const conditions = [
    number.kind === 'exact'
      ? 'calling_key IN {keys: Array(UInt64)} AND calling_number IN {texts: Array(String)}'
      : 'calling_key >= {key_from: UInt64} AND calling_key < {key_to: UInt64}',
    // A displayed number that equals the calling one has no row of its own in cdr_by_number.
    ...(calling ? [] : ['displayed_caller_id = calling_number']),
    ...timeConditions(filter),
  ];
  return [selectFrom(`${database}.cdr`, conditions, 'rows')];
}

function otherBranch(database: string, filter: CallsFilter): string[] {
  const { number } = filter;
  const roles = (['dialed', 'displayed'] as const).filter((role) => filter.roles.includes(role));
  if (roles.length === 0) return [];
  const columns = { dialed: 'dialed_number', displayed: 'displayed_caller_id' };
  const role = roles.map((name) =>
    number.kind === 'exact'
      ? `(role = '${name}' AND ${columns[name]} IN {texts: Array(String)})`
      : `role = '${name}'`,
  );
  const conditions = [
    number.kind === 'exact'
      ? 'number_key IN {keys: Array(UInt64)}'
      : 'number_key >= {key_from: UInt64} AND number_key < {key_to: UInt64}',
    `(${role.join(' OR ')})`,
    ...timeConditions(filter),
  ];
  return [selectFrom(`${database}.cdr_by_number`, conditions, roles.length === 2 ? 'rows_twice' : 'rows')];
}

function selectFrom(table: string, conditions: readonly string[], limit: string): string {
  return `  SELECT ${COLUMNS}
  FROM ${table} FINAL
  WHERE ${conditions.join('\n    AND ')}
  ORDER BY start_at DESC, cdr_key DESC
  LIMIT {${limit}: UInt32}`;
}

function timeConditions({ range, term, after }: CallsFilter): string[] {
  return [
    ...rangeConditions(range, term),
    // The first comparison is implied by the second; it is there for the index.
    ...(after === undefined
      ? []
      : [
          `start_at <= ${moment('after_ms')}`,
          `(start_at, cdr_key) < (${moment('after_ms')}, {after_key: UInt64})`,
        ]),
  ];
}

/** The range and the retention term, for any table with `start_at`; values by `rangeParameters`. */
export function rangeConditions(range: Range, term: Term): string[] {
  return [
    `start_at >= ${moment('from_ms')}`,
    `start_at < ${moment('to_ms')}`,
    // Month ends make the border no single moment, so near it the rule itself is asked.
    ...(reachesTerm(range, term) ? [`addMonths(start_at, {term_months: UInt32}) > ${moment('now_ms')}`] : []),
  ];
}

/** Values for `rangeConditions`; no read reaches behind the term. */
export function rangeParameters(range: Range, term: Term): Record<string, unknown> {
  return {
    from_ms: Math.max(range.fromMs, borderOf(term) - 4 * DAY_MS),
    to_ms: range.toMs,
    ...(reachesTerm(range, term) ? { term_months: term.months, now_ms: term.nowMs } : {}),
  };
}

function reachesTerm(range: Range, term: Term): boolean {
  return range.fromMs < borderOf(term) + 4 * DAY_MS;
}

function borderOf({ months, nowMs }: Term): number {
  return addMonths(nowMs, -months);
}

function parametersOf({ number, range, term, after, rows }: CallsFilter): Record<string, unknown> {
  const { from, to } = number.kind === 'prefix' ? e164PrefixRange(number.prefix) : { from: 0, to: 0 };
  return {
    ...(number.kind === 'exact'
      ? { keys: number.keys, texts: number.texts }
      : { key_from: from, key_to: to }),
    ...rangeParameters(range, term),
    ...(after === undefined ? {} : { after_ms: after.startMs, after_key: after.cdrKey }),
    rows,
    rows_twice: rows * 2,
  };
}
