import type { CallFields } from '../schemas/record.ts';
import { moment } from '../schemas/sql-time.ts';
import type { CallRole } from '../schemas/api.ts';
import { E164_DIGITS_MAX, e164PrefixRange } from '../schemas/number-key.ts';
import type { Range } from './cursor.ts';
import { heldConditions, ONCE } from './held-sql.ts';
import type { NumberList } from '../schemas/number-keys.ts';
import {
  dialedRestrictedColumn,
  purposeParameters,
  visibilityConditions,
  type Visibility,
} from './privacy.ts';
import { rangeConditions, rangeParameters, reachesTerm, termParameters, type Term } from './term-sql.ts';

/** A statement and the values that are bound to its `{name: Type}` places; no value stands in the text. */
export interface Statement {
  readonly text: string;
  readonly parameters: Readonly<Record<string, unknown>>;
}

/** The numbers of a search: all texts under their keys, or the beginning of E.164 numbers. */
export type NumberFilter =
  ({ readonly kind: 'exact' } & NumberList) | { readonly kind: 'prefix'; readonly prefix: string };

/** The call after which a page begins. */
export interface CallPlace {
  /** UTC ms. */
  readonly startMs: number;
  /** Unsigned 64-bit integer as decimal text. */
  readonly cdrKey: string;
  /** A switch can give one id to calls of two numbers that begin in the same moment. */
  readonly callingNumber: string;
}

/** Which calls; what is undefined does not restrict. */
export interface CallsFilter {
  readonly number: NumberFilter;
  readonly roles: readonly CallRole[];
  /** Texts of the party on the other side of the call: of the dialed number where the number calls, and the reverse. */
  readonly otherNumbers: readonly string[] | undefined;
  /** Both inclusive. */
  readonly durationMsMin: number | undefined;
  readonly durationMsMax: number | undefined;
  readonly outcomes: readonly string[] | undefined;
  readonly feeds: readonly string[] | undefined;
  readonly range: Range;
  readonly term: Term;
  /** Undefined: all calls, since nothing is restricted for who asks. */
  readonly visibility: Visibility | undefined;
  /** Calls too that only a legal hold keeps. */
  readonly withHeld: boolean;
}

export interface CallsPage {
  readonly after: CallPlace | undefined;
  /** Rows to give; undefined: all. */
  readonly rows: number | undefined;
}

/** A row of the answer of `callsSql` (JSONEachRow, 64-bit integers as text). */
export interface CallRow extends CallFields {
  readonly start_ms: string;
  /** 1: the dialed number must be masked. */
  readonly dialed_restricted?: number;
  /** 1: only a legal hold keeps it. */
  readonly held?: number;
}

/** The row of `matchedSql`. */
export interface MatchedRow {
  readonly calls: string;
  readonly sum_duration_ms: string;
  readonly sum_talk_ms: string;
  readonly missing_talk: string;
}

/** The column in which a number of a role stands. */
export const COLUMN_OF_ROLE = {
  calling: 'calling_number',
  displayed: 'displayed_caller_id',
  dialed: 'dialed_number',
} as const satisfies Record<CallRole, keyof CallFields>;

/** The columns of a `CallRow` but its start. */
export const CALL_COLUMNS =
  'cdr_key, calling_number, displayed_caller_id, dialed_number, duration_ms, talk_ms, outcome, direction, account, feed, call_id';
const ORDER = 'ORDER BY start_at DESC, cdr_key DESC, calling_number DESC';

const LIMIT = 'LIMIT {rows: UInt32}';

/** The end of a statement that gives so many rows; undefined: all. */
export const limitOf = (rows: number | undefined): string => (rows === undefined ? '' : `\n${LIMIT}`);

/** The value of `limitOf`. */
export const limitParameters = (rows: number | undefined): Record<string, unknown> =>
  rows === undefined ? {} : { rows };

/**
 * The calls of a number in the roles asked for, newest first, each once.
 *
 * A call stands under its calling number in `cdr`, and under its dialed number and a displayed one that differs in
 * `cdr_by_number`. Each branch is a range of its table's sorting key and carries the limit, so that the cost is that of
 * the page and not of the number's history.
 */
export function callsSql(database: string, filter: CallsFilter, page: CallsPage): Statement {
  const after =
    page.after === undefined
      ? []
      : [
          // The first comparison is implied by the second; it is there for the index.
          `start_at <= ${moment('after_ms')}`,
          `(start_at, cdr_key, calling_number) < (${moment('after_ms')}, {after_key: UInt64}, {after_number: String})`,
        ];
  const columns = `start_at, ${CALL_COLUMNS}`;
  const limit = page.rows === undefined ? '' : `\n  ${LIMIT}`;
  const branches = branchesOf(database, filter).map(
    ({ isHeld, ...branch }) =>
      `${selectFrom(filter.withHeld ? `${columns}, ${isHeld ? 1 : 0} AS held` : columns, branch, after)}${page.rows === undefined ? '' : `\n  ${ORDER}`}${isHeld ? `\n  ${ONCE}` : ''}${limit}`,
  );
  const text = `SELECT toUnixTimestamp64Milli(start_at) AS start_ms, ${CALL_COLUMNS}${filter.withHeld ? ', held' : ''}${dialedRestrictedColumn(database, filter.visibility)}
FROM (
${branches.join('\nUNION ALL\n')}
)
${ORDER}${limitOf(page.rows)}`;
  const parameters = {
    ...parametersOf(filter),
    ...placeParameters(page.after),
    ...limitParameters(page.rows),
  };
  return { text, parameters };
}

/** How many calls the filter has, and their sums. */
export function matchedSql(database: string, filter: CallsFilter): Statement {
  const branches = branchesOf(database, filter).map(
    ({ isHeld, ...branch }) => `${selectFrom('duration_ms, talk_ms', branch)}${isHeld ? `\n  ${ONCE}` : ''}`,
  );
  const text = `SELECT count() AS calls, sum(duration_ms) AS sum_duration_ms,
  sum(ifNull(talk_ms, 0)) AS sum_talk_ms, countIf(talk_ms IS NULL) AS missing_talk
FROM (
${branches.join('\nUNION ALL\n')}
)`;
  return { text, parameters: parametersOf(filter) };
}

/** A row of `callsOfManySql`. */
export interface CallOfManyRow extends CallRow {
  readonly number_key: string;
  /** 1: from `cdr`, under its calling number; 0: from `cdr_by_number`. */
  readonly of_calling: number;
}

/**
 * The newest calls of each key, in the range of its search: at least as many as a page has rows, if there are. A call comes
 * once for each key and role by which it is found.
 *
 * Planning a statement costs more than reading the few rows of a number: so this one costs little more than `callsSql`. It
 * reads all calls that the keys have in their ranges, though, where that stops with the page.
 *
 * @param filter of all searches: their numbers together, and a range that holds all of theirs
 * @param rangeOfKey of each key the range of its search
 */
export function callsOfManySql(
  database: string,
  filter: CallsFilter,
  rangeOfKey: ReadonlyMap<number, Range>,
  rows: number,
): Statement {
  const branches = [
    ...callingBranch(database, filter).map((branch) => ({ ...branch, key: 'calling_key', ofCalling: 1 })),
    ...otherBranch(database, filter, true).map((branch) => ({ ...branch, key: 'number_key', ofCalling: 0 })),
  ];
  const text = branches
    .map(
      ({ key, ofCalling, ...branch }) =>
        `${selectFrom(
          `${key} AS number_key, ${ofCalling} AS of_calling, toUnixTimestamp64Milli(start_at) AS start_ms, ${CALL_COLUMNS}`,
          branch,
          [
            `start_ms >= transform(${key}, {keys: Array(UInt64)}, {from_of_keys: Array(Int64)}, 0)`,
            `start_ms < transform(${key}, {keys: Array(UInt64)}, {to_of_keys: Array(Int64)}, 0)`,
          ],
        )}
  ${ORDER}
  ${LIMIT} BY ${key}`,
    )
    .join('\nUNION ALL\n');
  const ranges = [...rangeOfKey.values()];
  const parameters = {
    ...parametersOf(filter),
    keys: [...rangeOfKey.keys()],
    from_of_keys: ranges.map(({ fromMs }) => fromMs),
    to_of_keys: ranges.map(({ toMs }) => toMs),
    // Twice a page: a call can be found both as displayed and as dialed.
    ...limitParameters(2 * rows),
  };
  return { text, parameters };
}

interface Branch {
  readonly table: string;
  /** The range of its sorting key. Undefined: it is read whole. */
  readonly keyRange?: string;
  readonly conditions: readonly string[];
  readonly isHeld?: boolean;
}

/** A part of a search for each table that it needs. No call is in two of them, nor twice in one. */
function branchesOf(database: string, filter: CallsFilter): Branch[] {
  return [
    ...callingBranch(database, filter),
    ...otherBranch(database, filter),
    ...heldBranch(database, filter),
  ];
}

/** Copies of calls under legal holds: few, so that no key leads to a role. */
function heldBranch(database: string, filter: CallsFilter): Branch[] {
  const { number, roles, otherNumbers, range, term } = filter;
  if (!filter.withHeld || !reachesTerm(range, term)) return [];
  const ofRoles = roles.map((role) =>
    [
      isOfNumber(COLUMN_OF_ROLE[role], number),
      ...(otherNumbers === undefined ? [] : [role === 'dialed' ? isOtherCaller : isOtherDialed]),
    ].join(' AND '),
  );
  const conditions = [
    `(${ofRoles.map((each) => `(${each})`).join(' OR ')})`,
    ...heldConditions(database, term),
    `start_at >= ${moment('held_from_ms')}`,
    `start_at < ${moment('to_ms')}`,
    ...fieldConditions(database, filter),
  ];
  return [{ table: `${database}.cdr_held`, conditions, isHeld: true }];
}

const isOtherDialed = 'dialed_number IN {others: Array(String)}';
const isOtherCaller =
  '(calling_number IN {others: Array(String)} OR displayed_caller_id IN {others: Array(String)})';

function callingBranch(database: string, filter: CallsFilter): Branch[] {
  const { roles, number } = filter;
  if (!roles.includes('calling') && !roles.includes('displayed')) return [];
  const key =
    number.kind === 'exact'
      ? 'calling_key IN {keys: Array(UInt64)}'
      : 'calling_key >= {key_from: UInt64} AND calling_key < {key_to: UInt64}';
  const conditions = [
    ...(number.kind === 'exact' ? [isOfNumber('calling_number', number)] : []),
    ...callingConditions(filter),
    ...otherConditions(database, filter),
  ];
  return [{ table: `${database}.cdr`, keyRange: key, conditions }];
}

/** What the branch of `cdr` asks, beside its number. */
function callingConditions({ roles, otherNumbers }: CallsFilter): string[] {
  return [
    // A displayed number that equals the calling one has no row of its own in cdr_by_number.
    ...(roles.includes('calling') ? [] : ['displayed_caller_id = calling_number']),
    ...(otherNumbers === undefined ? [] : [isOtherDialed]),
  ];
}

/** @param withRepeated calls too that the other branch, or another role, finds */
function otherBranch(database: string, filter: CallsFilter, withRepeated = false): Branch[] {
  const { number, roles, otherNumbers } = filter;
  const toOther = otherNumbers === undefined ? [] : [isOtherDialed];
  const fromOther = otherNumbers === undefined ? [] : [isOtherCaller];
  // A call that is found by its calling number comes from cdr, one that is found as dialed not as displayed as well.
  const inCalling =
    !withRepeated && (roles.includes('calling') || roles.includes('displayed'))
      ? [not([isOfNumber('calling_number', number), ...callingConditions(filter)])]
      : [];
  const inDialed =
    !withRepeated && roles.includes('dialed')
      ? [not([isOfNumber('dialed_number', number), ...fromOther])]
      : [];
  const own = (column: string): string[] => (number.kind === 'exact' ? [isOfNumber(column, number)] : []);
  const rows = [
    ...(roles.includes('dialed')
      ? [["role = 'dialed'", ...own('dialed_number'), ...fromOther, ...inCalling]]
      : []),
    ...(roles.includes('displayed')
      ? [["role = 'displayed'", ...own('displayed_caller_id'), ...toOther, ...inCalling, ...inDialed]]
      : []),
  ];
  if (rows.length === 0) return [];
  const key =
    number.kind === 'exact'
      ? 'number_key IN {keys: Array(UInt64)}'
      : 'number_key >= {key_from: UInt64} AND number_key < {key_to: UInt64}';
  const ofRoles = `(${rows.map((all) => `(${all.join(' AND ')})`).join(' OR ')})`;
  const conditions = [ofRoles, ...otherConditions(database, filter)];
  return [{ table: `${database}.cdr_by_number`, keyRange: key, conditions }];
}

const not = (conditions: readonly string[]): string => `NOT (${conditions.join(' AND ')})`;

function isOfNumber(column: string, number: NumberFilter): string {
  return number.kind === 'exact'
    ? `${column} IN {texts: Array(String)}`
    : `match(${column}, {prefix_pattern: String})`;
}

/** Conditions that do not depend on the role. */
function otherConditions(database: string, filter: CallsFilter): string[] {
  return [...rangeConditions(filter.range, filter.term), ...fieldConditions(database, filter)];
}

/** Of these, all but the range. */
function fieldConditions(database: string, filter: CallsFilter): string[] {
  const { durationMsMin, durationMsMax, outcomes, feeds, visibility } = filter;
  return [
    ...(durationMsMin === undefined ? [] : ['duration_ms >= {duration_min: UInt32}']),
    ...(durationMsMax === undefined ? [] : ['duration_ms <= {duration_max: UInt32}']),
    ...(outcomes === undefined ? [] : ['outcome IN {outcomes: Array(String)}']),
    ...(feeds === undefined ? [] : ['feed IN {feeds: Array(String)}']),
    ...visibilityConditions(database, visibility, foundByDialed(filter)),
  ];
}

/** Holds where the dialed number is one that was asked for. */
function foundByDialed({ number, otherNumbers }: CallsFilter): string {
  const asked = isOfNumber('dialed_number', number);
  return otherNumbers === undefined ? asked : `(${asked} OR dialed_number IN {others: Array(String)})`;
}

/** The keys are asked for before FINAL puts parts together: all rows of a call have the same. Else it would put whole blocks together. */
function selectFrom(
  columns: string,
  { table, keyRange, conditions }: Branch,
  more: readonly string[] = [],
): string {
  return `  SELECT ${columns}
  FROM ${table} FINAL${keyRange === undefined ? '' : `\n  PREWHERE ${keyRange}`}
  WHERE ${[...conditions, ...more].join('\n    AND ')}`;
}

function parametersOf(filter: CallsFilter): Record<string, unknown> {
  const { number, range, term, otherNumbers, durationMsMin, durationMsMax, outcomes, feeds, visibility } =
    filter;
  return {
    ...numberParameters(number),
    ...(visibility === undefined ? {} : purposeParameters(visibility)),
    ...rangeParameters(range, term),
    ...(filter.withHeld ? { ...termParameters(term), held_from_ms: range.fromMs } : {}),
    ...(otherNumbers === undefined ? {} : { others: otherNumbers }),
    ...(durationMsMin === undefined ? {} : { duration_min: durationMsMin }),
    ...(durationMsMax === undefined ? {} : { duration_max: durationMsMax }),
    ...(outcomes === undefined ? {} : { outcomes }),
    ...(feeds === undefined ? {} : { feeds }),
  };
}

function numberParameters(number: NumberFilter): Record<string, unknown> {
  if (number.kind === 'exact') return { keys: number.keys, texts: number.texts };
  const { prefix } = number;
  const { from, to } = e164PrefixRange(prefix);
  const more = E164_DIGITS_MAX - (prefix.length - 1);
  return { key_from: from, key_to: to, prefix_pattern: `^\\${prefix}[0-9]{0,${more}}$` };
}

function placeParameters(after: CallPlace | undefined): Record<string, unknown> {
  if (after === undefined) return {};
  return { after_ms: after.startMs, after_key: after.cdrKey, after_number: after.callingNumber };
}
