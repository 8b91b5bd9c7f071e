import { blankedSql } from '../schemas/suppressions.ts';
import { callTableColumns, SENT_COLUMNS, type CallTable } from '../schemas/tables.ts';

/**
 * Statements of an erasure. They name the request, never a number: the numbers stand in `erasure_numbers`, since the
 * server keeps the text of statements that change rows.
 */

/** Starts of calls, UTC ms, `[fromMs, toMs)`. */
export interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

/** What is erased: what the person called in one span, and the person's numbers in calls of others in the other one. */
export interface ErasedSpans {
  readonly requestId: string;
  readonly own: Span;
  readonly others: Span;
}

/** The number for which a row of `cdr_by_number` is there. */
const ROLE_NUMBER = "if(role = 'dialed', dialed_number, displayed_caller_id)";

export class EraseSql {
  readonly #database: string;
  readonly #spans: ErasedSpans;

  constructor(database: string, spans: ErasedSpans) {
    this.#database = database;
    this.#spans = spans;
  }

  /** Condition of the person's own calls. */
  get own(): string {
    return `${this.#isErased('calling_number')} AND ${within(this.#spans.own)}`;
  }

  /** Condition of calls of others that hold a number of the person. */
  get others(): string {
    return `(${this.#isBlanked('displayed_caller_id')} OR ${this.#isBlanked('dialed_number')}) AND ${within(this.#spans.others)}`;
  }

  /** Condition of all calls that are to be changed. */
  get any(): string {
    return `((${this.own}) OR (${this.others}))`;
  }

  /** Counts rows of a table that are to be changed, superseded ones and markers included. */
  remaining(table: CallTable): string {
    return `SELECT count() AS rows FROM ${this.#database}.${table} WHERE ${this.any}`;
  }

  /** Counts rows whose sorting key is of a number of the person in its feed, whatever their texts say. */
  remainingKeys(table: CallTable): string {
    const { own, others, requestId } = this.#spans;
    const [key, span] = table === 'cdr' ? ['calling_key', own] : ['number_key', others];
    const erased = (columns: string): string =>
      `(SELECT ${columns} FROM ${this.#database}.erasure_numbers WHERE request_id = '${requestId}')`;
    const self = table === 'cdr' ? '' : `AND ${ROLE_NUMBER} != calling_number`;
    // The first comparison is implied by the second; it is there for the sorting key.
    return `SELECT count() AS rows FROM ${this.#database}.${table}
WHERE ${key} IN ${erased('number_key')} AND (toString(feed), ${key}) IN ${erased('feed, number_key')} AND ${within(span)} ${self}`;
  }

  /** Counts calls that are read now: the person's own, and those of others. */
  count(): string {
    return `SELECT countIf(is_own) AS own, countIf(NOT is_own) AS others FROM (
  SELECT ${this.#isErased('calling_number')} AND ${within(this.#spans.own)} AS is_own
  FROM ${this.#database}.cdr FINAL WHERE ${this.any})`;
  }

  /** Notes in `adjustments` how many calls are about to go, by feed and hour. */
  adjust(source: string): string {
    return `INSERT INTO ${this.#database}.adjustments (kind, feed, hour, source, calls, at)
SELECT 'erased', feed, toDateTime(toStartOfHour(start_at), 'UTC'), '${source}', count(), now64(3)
FROM ${this.#database}.cdr FINAL WHERE ${this.own} GROUP BY ALL`;
  }

  /**
   * Copies rows of `cdr_by_number` that stand under a number of the person to the key of what is left of the number, with
   * their versions: again changes nothing.
   */
  copyUnderBlankedKeys(): string {
    const values = SENT_COLUMNS.cdr_by_number.map(({ name }) => {
      if (name === 'number_key') return 'blanked_key';
      return isNumberColumn(name) ? `${this.#blanked(name)} AS blanked_${name}` : name;
    });
    return `INSERT INTO ${this.#database}.cdr_by_number (${callTableColumns('cdr_by_number')})
SELECT ${values.join(', ')}, stored_at, version, is_deleted
FROM (
  SELECT *, ${ROLE_NUMBER} AS role_number FROM ${this.#database}.cdr_by_number
  WHERE ${this.others} AND ${ROLE_NUMBER} != calling_number AND ${this.#isErased(ROLE_NUMBER)}
) AS calls
INNER JOIN (
  SELECT feed, number, blanked, blanked_key FROM ${this.#database}.erasure_numbers WHERE request_id = '${this.#spans.requestId}'
) AS numbers ON calls.feed = numbers.feed AND calls.role_number = numbers.number
WHERE NOT (role = 'displayed' AND blanked = '')`;
  }

  /** Takes the person out of a table. Of `cdr_by_number` what stands under their numbers was copied before. */
  change(table: CallTable): string {
    const moved = `${this.others} AND ${ROLE_NUMBER} != calling_number AND ${this.#isErased(ROLE_NUMBER)}`;
    return [
      `ALTER TABLE ${this.#database}.${table} DELETE WHERE ${this.own}`,
      ...(table === 'cdr' ? [] : [`DELETE WHERE ${moved}`]),
      `UPDATE displayed_caller_id = ${this.#blanked('displayed_caller_id')}, dialed_number = ${this.#blanked('dialed_number')} WHERE ${this.others}`,
    ].join(', ');
  }

  #blanked(column: string): string {
    return `if(${this.#isBlanked(column)}, ${blankedSql(column)}, ${column})`;
  }

  /** A number that the person's own call holds elsewhere as well is part of that call. */
  #isBlanked(column: string): string {
    return `(${this.#isErased(column)} AND ${column} != calling_number)`;
  }

  #isErased(expression: string): string {
    return `(toString(feed), ${expression}) IN (SELECT feed, number FROM ${this.#database}.erasure_numbers WHERE request_id = '${this.#spans.requestId}')`;
  }
}

function isNumberColumn(name: string): boolean {
  return name === 'displayed_caller_id' || name === 'dialed_number';
}

function within({ fromMs, toMs }: Span): string {
  return `start_at >= fromUnixTimestamp64Milli(toInt64(${fromMs}), 'UTC') AND start_at < fromUnixTimestamp64Milli(toInt64(${toMs}), 'UTC')`;
}
