import { monthsSql } from '../schemas/retention-term.ts';
import type { CallTable } from '../schemas/tables.ts';
import type { DueMonth, DueTerm } from './sweep-plan.ts';

/**
 * A partition that no call can lie in. Dropping one of a table makes the server remove all replaced parts whose time is
 * over, which it does by itself only when its background work comes round.
 */
const NO_PARTITION = 190001;

/** Condition of what is due by a column of time; values are our own. */
export function overdueBy(column: string, { months, dueMs }: DueTerm, feed?: string): string {
  return `addMonths(${column}, ${monthsSql(months, feed)}) <= fromUnixTimestamp64Milli(toInt64(${dueMs}), 'UTC')`;
}

/** Condition of calls that are due. */
export function dueCondition(term: DueTerm): string {
  return overdueBy('start_at', term);
}

/** Condition of what is taken from a month. */
export function takenCondition({ month, kind }: DueMonth, term: DueTerm): string {
  return `${monthCondition(month)}${kind === 'drop' ? '' : ` AND ${dueCondition(term)}`}`;
}

export function monthCondition(month: number): string {
  return `toYYYYMM(start_at) = ${month}`;
}

/**
 * Calls of a table that a condition holds for: `calls`; of those that `compared` holds for `compared` and the digest of
 * their set. A call is known by its start and key in both tables; ids that a switch uses twice at one moment make rows of
 * one call in one table and not the other.
 */
export function callSetSql(database: string, table: CallTable, condition: string, compared: string): string {
  return `SELECT count() AS calls, countIf(is_compared) AS compared,
  toString(groupBitXorIf(sipHash64(start_at, cdr_key), is_compared)) AS digest
FROM (
  SELECT start_at, cdr_key, ${compared} AS is_compared FROM ${database}.${table} FINAL
  WHERE ${condition} GROUP BY start_at, cdr_key
)`;
}

/** Notes in `adjustments` what goes; again = the same rows. */
export function adjustSql(database: string, condition: string, sweepId: string): string {
  return `INSERT INTO ${database}.adjustments (kind, feed, hour, source, calls, at)
SELECT 'swept', feed, toDateTime(toStartOfHour(start_at), 'UTC'), '${sweepId}', count(), now64(3)
FROM ${database}.cdr FINAL WHERE ${condition} GROUP BY ALL`;
}

/** By default ClickHouse refuses to drop more than 50 GB, lest somebody mistypes; what is due must go. */
export const ANY_SIZE = ' SETTINGS max_partition_size_to_drop = 0';

/** What takes the calls of a month that are due out of a table. */
export function sweepStatements(database: string, table: CallTable, due: DueMonth, term: DueTerm): string[] {
  const alter = `ALTER TABLE ${database}.${table}`;
  if (due.kind === 'delete') return [`${alter} DELETE IN PARTITION ${due.month} WHERE ${dueCondition(term)}`];
  return [
    `${alter} DROP PARTITION ${due.month}${ANY_SIZE}`,
    `${alter} DROP DETACHED PARTITION ${due.month} SETTINGS allow_drop_detached = 1`,
  ];
}

/** Has parts that a mutation writes synced, since those that they replace do not stay for the usual 8 minutes. */
export function syncedMergesSql(database: string, table: string): string {
  return `ALTER TABLE ${database}.${table} MODIFY SETTING min_rows_to_fsync_after_merge = 1`;
}

/**
 * Condition of `system.parts`: replaced parts whose files are there. Whoever does not ask for `_state` is not shown those that are
 * just being removed.
 */
export const REPLACED_ON_DISK = "_state IN ('Outdated', 'Deleting', 'DeleteOnDestroy')";

/** Removes replaced parts from the disk now. What was merged before must be synced first. */
export function removeReplacedStatements(database: string, table: string): string[] {
  const alter = `ALTER TABLE ${database}.${table}`;
  return [`${alter} MODIFY SETTING old_parts_lifetime = 0`, `${alter} DROP PARTITION ID '${NO_PARTITION}'`];
}

/** Ends both of these settings, after a crash too. */
export function usualSettingsSql(database: string, table: string): string {
  return `ALTER TABLE ${database}.${table} RESET SETTING old_parts_lifetime, min_rows_to_fsync_after_merge`;
}
