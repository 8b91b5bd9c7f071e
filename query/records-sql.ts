import { moment } from '../schemas/sql-time.ts';
import { CHANGED_AT, SORTING_KEYS } from '../schemas/tables.ts';
import { CALL_COLUMNS, limitOf, limitParameters, type CallRow, type Statement } from './calls-sql.ts';
import type { Range } from './cursor.ts';
import { dialedRestrictedColumn, visibilityConditions, type Visibility } from './privacy.ts';
import { rangeConditions, rangeParameters, type Term } from './term-sql.ts';
import type { NumberList } from '../schemas/number-keys.ts';

/** The record after which a page begins: the sorting key of `cdr`, in the order of the answer. */
export interface RecordPlace {
  /** UTC ms. */
  readonly startMs: number;
  /** Unsigned 64-bit integer as decimal text. */
  readonly cdrKey: string;
  readonly callingKey: number;
}

/** Where a page of records ended, and until when the first page had all that was stored. */
export interface RecordsPlace {
  readonly after: RecordPlace;
  /** Unix seconds. */
  readonly storedUntil: number;
  /** Reckoned once, with the first page. */
  readonly withheld: number;
}

/** When a record came to be as it is: Unix seconds, half open. */
export interface ChangeWindow {
  readonly since: number;
  readonly until: number;
}

export interface RecordsFilter {
  readonly range: Range;
  readonly term: Term;
  /** Undefined: all numbers. */
  readonly callingNumbers: NumberList | undefined;
  /** Undefined: all accounts. */
  readonly account: string | undefined;
  /** Undefined: all that is there. */
  readonly changed: ChangeWindow | undefined;
  readonly after: RecordPlace | undefined;
  /** Undefined: all. */
  readonly rows: number | undefined;
  /** Undefined: all, since nothing is restricted for who asks. */
  readonly visibility: Visibility | undefined;
}

/** A row of the answer of `recordsSql` (JSONEachRow, 64-bit integers as text). */
export interface RecordRow extends CallRow {
  readonly calling_key: string;
  /** Unix seconds. */
  readonly changed_at: string;
  readonly removed: number;
}

const KEY = SORTING_KEYS.cdr;
const COLUMNS = `calling_key, start_at, ${CALL_COLUMNS}`;
const IN_WINDOW = `${CHANGED_AT} >= {since: UInt64} AND ${CHANGED_AT} < {until: UInt64}`;

/**
 * Records in the order of their start, each once.
 *
 * With a window of changes: those whose present state came to be in it, and the delete markers of those that are not
 * there any more. Keys that changed are looked for first, in the few parts that an index names; which row of a key
 * counts is then asked of the whole table. Not with an account: a merge takes the row by which the account that a record
 * had before could be known.
 */
export function recordsSql(database: string, filter: RecordsFilter): Statement {
  const { after, rows, changed, visibility } = filter;
  const records =
    changed === undefined
      ? presentSql(database, filter, [])
      : [
          presentSql(database, filter, [IN_WINDOW, `(${KEY}) IN (${changedKeysSql(database, filter)})`]),
          removedSql(database, filter),
        ].join('\nUNION ALL\n');
  const text = `SELECT toUnixTimestamp64Milli(start_at) AS start_ms, calling_key, ${CALL_COLUMNS}, changed_at, removed${dialedRestrictedColumn(database, visibility)}
FROM (
${records}
)${after === undefined ? '' : `\nWHERE (start_at, cdr_key, calling_key) > (${moment('after_ms')}, {after_key: UInt64}, {after_number: UInt64})`}
ORDER BY start_at, cdr_key, calling_key${limitOf(rows)}`;
  return { text, parameters: parametersOf(filter) };
}

/** Records as they are now. */
function presentSql(database: string, filter: RecordsFilter, more: readonly string[]): string {
  const conditions = [
    ...keyConditions(filter),
    ...textConditions(filter),
    ...(filter.account === undefined ? [] : ['account = {account: String}']),
    ...visibilityConditions(database, filter.visibility, undefined),
    ...more,
  ];
  return `SELECT ${COLUMNS}, ${CHANGED_AT} AS changed_at, 0 AS removed
FROM ${database}.cdr FINAL
WHERE ${conditions.join('\n  AND ')}`;
}

/** Keys of all rows that came in the window, those that do not count included. */
function changedKeysSql(database: string, filter: RecordsFilter): string {
  return `SELECT ${KEY} FROM ${database}.cdr WHERE ${[...keyConditions(filter), IN_WINDOW].join(' AND ')}`;
}

/** Delete markers that are the newest rows of their keys. */
function removedSql(database: string, filter: RecordsFilter): string {
  const keys = keyConditions(filter).join('\n  AND ');
  const marked = `SELECT ${KEY} FROM ${database}.cdr WHERE ${keys} AND ${IN_WINDOW} AND is_deleted = 1`;
  return `SELECT ${COLUMNS}, changed_at, removed FROM (
SELECT ${COLUMNS}, ${CHANGED_AT} AS changed_at, is_deleted AS removed
FROM ${database}.cdr
WHERE ${keys}
  AND (${KEY}) IN (${marked})
ORDER BY version DESC
LIMIT 1 BY ${KEY})
WHERE ${[
    'removed = 1',
    'changed_at >= {since: UInt64}',
    'changed_at < {until: UInt64}',
    ...textConditions(filter),
    ...visibilityConditions(database, filter.visibility, undefined),
  ].join(' AND ')}`;
}

/** How many records of the filter, on all pages, are not shown. */
export function withheldRecordsSql(
  database: string,
  filter: RecordsFilter,
  visibility: Visibility,
): Statement {
  const hidden = { ...filter, after: undefined, rows: undefined, visibility };
  const { text, parameters } = recordsSql(database, hidden);
  return { text: `SELECT count() AS withheld FROM (\n${text}\n)`, parameters };
}

/** Conditions that hold for all rows of a key or for none. */
function keyConditions({ range, term, callingNumbers, after }: RecordsFilter): string[] {
  return [
    ...(callingNumbers === undefined ? [] : ['calling_key IN {keys: Array(UInt64)}']),
    ...rangeConditions(range, term),
    // Implied by the comparison of places; it is there for the index.
    ...(after === undefined ? [] : [`start_at >= ${moment('after_ms')}`]),
  ];
}

/** A key of a text that is no E.164 number is a hash: the text itself decides. */
function textConditions({ callingNumbers }: RecordsFilter): string[] {
  return callingNumbers === undefined ? [] : ['calling_number IN {texts: Array(String)}'];
}

function parametersOf(filter: RecordsFilter): Record<string, unknown> {
  const { range, term, callingNumbers, account, changed, after, rows } = filter;
  return {
    ...rangeParameters(range, term),
    ...(callingNumbers === undefined ? {} : { keys: callingNumbers.keys, texts: callingNumbers.texts }),
    ...(account === undefined ? {} : { account }),
    ...changed,
    ...(after === undefined
      ? {}
      : { after_ms: after.startMs, after_key: after.cdrKey, after_number: after.callingKey }),
    ...limitParameters(rows),
  };
}
