import {
  callTableColumns,
  correctionVersion,
  SENT_COLUMNS,
  SERVER_NOW,
  SORTING_KEYS,
  sqlText,
  type CallTable,
} from '../schemas/tables.ts';
import { spansCondition, type SourceSpan } from '../schemas/source-spans.ts';

/** Rows that are to be replaced: of a partition, what came from offsets `[from, until)`. */
export interface ReplacedRange {
  readonly topic: string;
  readonly topicId: string;
  readonly partition: number;
  readonly from: number;
  readonly until: number;
  /** Names that the feed had, and when rows of these came from this topic. */
  readonly spans: readonly SourceSpan[];
}

/** Condition of the rows of a range. Without a span there are none. */
export function placeCondition({ partition, from, until, spans }: ReplacedRange): string {
  return (
    `source_partition = ${partition} AND source_offset >= ${from} AND source_offset < ${until} ` +
    `AND is_deleted = 0 AND (${spansCondition(spans)})`
  );
}

/**
 * An INSERT that writes a delete marker over each row that is read now and came from this range. The keys are
 * looked for first, in the few parts that hold such offsets; which row of a key is read is then asked of the
 * whole table, since a row of another place may be it.
 */
export function markersSql(
  database: string,
  table: CallTable,
  range: ReplacedRange,
  correction: number,
): string {
  const key = SORTING_KEYS[table];
  const sent = SENT_COLUMNS[table].map(({ name }) => name).join(', ');
  const place = `${placeCondition(range)} AND version < ${correctionVersion(correction)}`;
  return (
    `INSERT INTO ${database}.${table} (${callTableColumns(table)}) ` +
    `SELECT ${sent}, ${SERVER_NOW}, ${correctionVersion(correction)}, toUInt8(1) FROM ${database}.${table} FINAL ` +
    `WHERE (${key}) IN (SELECT ${key} FROM ${database}.${table} WHERE ${place}) AND ${place}`
  );
}

/** An INSERT that marks the dead letters of a range: what is rejected from this moment on (Unix seconds) counts anew. */
export function supersededSql(database: string, range: ReplacedRange, markedAtSeconds: number): string {
  const { topic, topicId, partition, from, until } = range;
  return (
    `INSERT INTO ${database}.dead_letter_marks (topic, topic_id, partition, offset, line, state, message_at, marked_at) ` +
    `SELECT topic, topic_id, partition, offset, line, 'superseded', message_at, toDateTime(${markedAtSeconds}, 'UTC') ` +
    `FROM ${database}.dead_letters FINAL WHERE topic = ${sqlText(topic)} AND topic_id = ${sqlText(topicId)} ` +
    `AND partition = ${partition} AND offset >= ${from} AND offset < ${until}`
  );
}

/** How many rows of a table, superseded ones included, came from a range. */
export function countSql(database: string, table: CallTable, range: ReplacedRange): string {
  return `SELECT count() AS rows FROM ${database}.${table} WHERE ${placeCondition(range)}`;
}

/** How many rows that are read now came from a range; to be asked with `FINAL_SETTINGS`. */
export function readNowSql(database: string, table: CallTable, range: ReplacedRange): string {
  return `SELECT count() AS rows FROM ${database}.${table} FINAL WHERE ${placeCondition(range)}`;
}

/** How many dead letters a range has. */
export function countLettersSql(database: string, range: ReplacedRange): string {
  const { topic, topicId, partition, from, until } = range;
  return (
    `SELECT count() AS rows FROM ${database}.dead_letters FINAL WHERE topic = ${sqlText(topic)} ` +
    `AND topic_id = ${sqlText(topicId)} AND partition = ${partition} AND offset >= ${from} AND offset < ${until}`
  );
}

/** About equal shares of the rows of a range, as the offsets at which one ends and the next begins. */
export function sharesSql(database: string, table: CallTable, range: ReplacedRange, shares: number): string {
  const levels = Array.from({ length: shares - 1 }, (_, index) => (index + 1) / shares).join(', ');
  return `SELECT quantiles(${levels})(source_offset) AS ends FROM ${database}.${table} WHERE ${placeCondition(range)}`;
}

/** The range in shares that end at these places; places may repeat. */
export function cutAt(range: ReplacedRange, ends: readonly number[]): ReplacedRange[] {
  const inside = ends.map(Math.floor).filter((end) => end > range.from && end < range.until);
  const bounds = [range.from, ...new Set(inside.sort((a, b) => a - b)), range.until];
  return bounds.slice(1).map((until, index) => ({ ...range, from: bounds[index]!, until }));
}
