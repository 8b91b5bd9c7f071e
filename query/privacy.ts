import { moment } from '../schemas/sql-time.ts';
import { AskedTogether } from './asked-together.ts';
import type { Caller } from './auth.ts';
import type { Statement } from './calls-sql.ts';
import type { SelectSource } from './clickhouse.ts';
import type { QueryContext } from './context.ts';
import type { Range } from './cursor.ts';
import { Problem } from './problem.ts';

/**
 * What persons asked for (docs/decisions/0017). Restricted: calls of a number in a time are kept and not shown; a call is
 * the person's own where it was made from the number, or shows it. Objected: look-ups of the number for a purpose are
 * refused. A caller with the role `privacy` sees everything. Asked of the database with every look-up: what was
 * recorded holds for all that begin afterwards.
 */

/** What restricts an answer. */
export interface Restrictions {
  /** Objections to it hide calls too; undefined: they do not. */
  readonly purpose: string | undefined;
}

/** Which calls of a listing are asked for. */
export interface Visibility extends Restrictions {
  readonly calls: 'shown' | 'withheld';
}

/** What persons asked for, as it bears on one look-up. */
export interface Rights {
  /** Undefined: nothing is hidden from this caller. */
  readonly restrictions: Restrictions | undefined;
  /** A holder of one of the numbers objected to the purpose. */
  readonly isObjected: boolean;
}

const NO_RIGHTS: Rights = { restrictions: undefined, isObjected: false };

/** Whether persons asked for anything at all: in most installations nobody does, and one question serves many look-ups. */
export class AnyRights {
  readonly #together: AskedTogether<boolean>;
  #expected = false;

  constructor(database: SelectSource) {
    const text = ['restrictions', 'objections']
      .map((table) => `SELECT 1 FROM ${database.database}.${table} LIMIT 1`)
      .join('\nUNION ALL\n');
    this.#together = new AskedTogether(async () => {
      const never = new AbortController().signal;
      const rows = await database.select('rights', { text, parameters: {} }, never);
      this.#expected = rows.length > 0;
      return this.#expected;
    });
  }

  /** The last answer: what to reckon with until the next one is there. */
  get expected(): boolean {
    return this.#expected;
  }

  ask(): Promise<boolean> {
    return this.#together.ask();
  }
}

/**
 * Asks the database for all that bears on a look-up.
 * @param restricting what the answer would be restricted by
 */
export async function rightsOf(
  { database, rights }: Pick<QueryContext, 'database' | 'rights'>,
  caller: Caller,
  { purpose }: Restrictions,
  lookup: Objectable,
  gone: AbortSignal,
): Promise<Rights> {
  if (caller.roles.has('privacy') || !(await rights.ask())) return NO_RIGHTS;
  const objections = objectionsSql(database.database, lookup);
  const [row] = await database.select<{ held: number; objected: number }>(
    'rights',
    {
      text: `SELECT (SELECT count() > 0 FROM ${restrictedNumbersSql(database.database, { purpose })}) AS held,
  ${objections === undefined ? '0' : `(${objections.text})`} AS objected`,
      parameters: { ...purposeParameters({ purpose }), ...objections?.parameters },
    },
    gone,
  );
  return { restrictions: row?.held === 1 ? { purpose } : undefined, isObjected: row?.objected === 1 };
}

/** Whether a holder of the numbers objected to the look-up; undefined where it names none. */
function objectionsSql(
  database: string,
  { purpose, numbers, feeds, range }: Objectable,
): Statement | undefined {
  if (numbers.length === 0) return undefined;
  return {
    text: `SELECT count() > 0 FROM ${database}.objections FINAL
WHERE lifted_by = '' AND purpose = {purpose: String} AND number IN {numbers: Array(String)}
  AND held_from < ${moment('to_ms')} AND held_to > ${moment('from_ms')}${feeds === undefined ? '' : '\n  AND feed IN {feeds: Array(String)}'}`,
    parameters: {
      purpose,
      numbers,
      from_ms: range.fromMs,
      to_ms: range.toMs,
      ...(feeds === undefined ? {} : { feeds: ['', ...feeds] }),
    },
  };
}

/** Throws the Problem PURPOSE_REFUSED where a holder objected. */
export function refuseObjected({ isObjected }: Rights, purpose: string): void {
  if (isObjected) throw objectedProblem(purpose);
}

export function objectedProblem(purpose: string): Problem {
  return new Problem('PURPOSE_REFUSED', `the holder of the number in this time objected to ${purpose}`);
}

/** A look-up that a person may have objected to. */
export interface Objectable {
  readonly purpose: string;
  readonly numbers: readonly string[];
  /** Undefined: all. */
  readonly feeds: readonly string[] | undefined;
  readonly range: Range;
}

/** Numbers whose calls are not shown, and when: a table expression. */
function restrictedNumbersSql(database: string, { purpose }: Restrictions): string {
  const of = (table: string, more: string): string =>
    `SELECT number, feed, held_from, held_to FROM ${database}.${table} FINAL WHERE lifted_by = ''${more}`;
  const restricted = of('restrictions', '');
  return purpose === undefined
    ? `(${restricted})`
    : `(${restricted} UNION ALL ${of('objections', ' AND purpose = {objected_purpose: String}')})`;
}

/** Values for the statements below. */
export function purposeParameters({ purpose }: Restrictions): Record<string, unknown> {
  return purpose === undefined ? {} : { objected_purpose: purpose };
}

/**
 * Holds where a column of a call table has a restricted number. The set decides for nearly all rows; whose time it is is
 * then asked of the few that it has.
 */
function restrictedSql(database: string, column: string, restrictions: Restrictions): string {
  const held = restrictedNumbersSql(database, restrictions);
  return `(${column} IN (SELECT number FROM ${held}) AND arrayExists(held -> held.1 = ${column} AND held.2 IN ('', feed) AND start_at >= held.3 AND start_at < held.4, (SELECT groupArray((number, toString(feed), held_from, held_to)) FROM ${held})))`;
}

/** A condition on rows of a call table; undefined visibility: none. */
export function visibilityConditions(
  database: string,
  visibility: Visibility | undefined,
  /** Holds where a call was found by its dialed number, so that masking it would hide nothing. */
  foundByDialed: string | undefined,
): string[] {
  if (visibility === undefined) return [];
  const restricted = (column: string): string => restrictedSql(database, column, visibility);
  const hidden = [
    restricted('calling_number'),
    restricted('displayed_caller_id'),
    ...(foundByDialed === undefined ? [] : [`(${foundByDialed} AND ${restricted('dialed_number')})`]),
  ].join(' OR ');
  return [visibility.calls === 'shown' ? `NOT (${hidden})` : `(${hidden})`];
}

/** A column that is 1 where the dialed number must be masked; of calls that are shown. */
export function dialedRestrictedColumn(database: string, visibility: Visibility | undefined): string {
  return visibility === undefined
    ? ''
    : `, ${restrictedSql(database, 'dialed_number', { purpose: undefined })} AS dialed_restricted`;
}

/** A restriction or objection that speaks of one of some numbers. */
export interface HeldNumber {
  readonly number: string;
  /** Empty: all. */
  readonly feed: string;
  readonly from_ms: string;
  readonly to_ms: string;
  /** Empty: it is restricted. */
  readonly purpose: string;
}

/** All that holds of these numbers. */
export function heldNumbersSql(database: string, numbers: readonly string[]): Statement {
  const of = (table: string, purpose: string): string =>
    `SELECT number, toString(feed) AS feed, toUnixTimestamp64Milli(held_from) AS from_ms, toUnixTimestamp64Milli(held_to) AS to_ms, ${purpose} AS purpose
FROM ${database}.${table} FINAL WHERE lifted_by = '' AND number IN {numbers: Array(String)}`;
  return {
    text: `${of('restrictions', "''")}\nUNION ALL\n${of('objections', 'toString(purpose)')}`,
    parameters: { numbers },
  };
}

/** Whether something that holds speaks of a number of this call. */
export function speaksOf(
  held: HeldNumber,
  number: string,
  call: { readonly feed: string; readonly start_ms: string },
): boolean {
  const startMs = Number(call.start_ms);
  return (
    held.number === number &&
    (held.feed === '' || held.feed === call.feed) &&
    startMs >= Number(held.from_ms) &&
    startMs < Number(held.to_ms)
  );
}
