import { moment } from '../schemas/sql-time.ts';
import { deadLettersSql } from '../schemas/dead-letters.ts';
import { BATCH_MOMENT } from '../schemas/tables.ts';
import type { CallKey } from '../schemas/call-id.ts';
import { CALL_COLUMNS, type CallRow, type Statement } from './calls-sql.ts';
import { heldConditions } from './held-sql.ts';
import { termParameters, type Term } from './term-sql.ts';

/** A stored row of a call with where it came from (JSONEachRow, 64-bit integers as text). */
export interface StoredRow extends CallRow {
  readonly calling_key: string;
  readonly source_partition: number;
  readonly source_offset: string;
  readonly source_line: number;
  /** Unix seconds. */
  readonly stored_s: number;
  /** When its batch counts as stored, Unix seconds, as the ledger says it; of a delete marker when it was written. */
  readonly batch_s: number;
  /** The correction under which it is stored, 0: before any. */
  readonly correction: string;
  /** 1: it takes another row away. */
  readonly is_deleted: number;
}

/** A range of the ledger. */
export interface SourceRangeRow {
  readonly cluster_id: string;
  readonly topic: string;
  readonly topic_id: string;
  readonly feed: string;
  readonly kind: 'read' | 'replay';
  /** Hash of the settings of the feed under which it was read. */
  readonly reading: string;
  readonly next_offset: string;
  /** What came from offsets below `corrected_until` was read again as this correction; 0: none. */
  readonly correction: number;
  readonly corrected_until: string;
  /** Unix seconds. */
  readonly stored_s: number;
}

/** A correction of this call alone (docs/decisions/0017). */
export interface RectifiedRow {
  /** Unix seconds. */
  readonly corrected_s: number;
  /** Its number in versions of rows. */
  readonly correction: number;
  readonly field: string;
  readonly reason: string;
  /** The row as it was before, as JSON. */
  readonly row: string;
}

/** A record that was rejected. */
export interface LetterRow {
  readonly line: number;
  readonly code: string;
  readonly field: string;
  readonly position: number;
  readonly state: string;
  /** UTC ms. */
  readonly message_ms: string;
  /** Unix seconds. */
  readonly rejected_s: number;
  /** All of the message. */
  readonly letters: string;
}

/** Most rows that any of these statements gives. */
const EVIDENCE_ROWS_MAX = 100;

const COLUMNS = `calling_key, toUnixTimestamp64Milli(start_at) AS start_ms, ${CALL_COLUMNS},
  source_partition, source_offset, source_line, toUnixTimestamp(stored_at) AS stored_s,
  toUInt32(if(is_deleted = 1, toUnixTimestamp(stored_at), ${BATCH_MOMENT})) AS batch_s,
  bitShiftRight(version, 32) AS correction, is_deleted`;

const KEY = `calling_key = {calling_key: UInt64} AND start_at = ${moment('start_ms')} AND cdr_key = {cdr_key: UInt64}`;

const keyParameters = ({ callingKey, startMs, cdrKey }: CallKey) => ({
  calling_key: callingKey,
  start_ms: startMs,
  cdr_key: cdrKey,
});

/** The row of a key that counts, if there is one. */
export function liveRowSql(database: string, key: CallKey): Statement {
  return {
    text: `SELECT ${COLUMNS} FROM ${database}.cdr FINAL WHERE ${KEY}`,
    parameters: keyParameters(key),
  };
}

/** The copy that a legal hold keeps of a call whose term is over, if there is one. */
export function heldRowSql(database: string, key: CallKey, term: Term): Statement {
  return {
    text: `SELECT ${COLUMNS} FROM ${database}.cdr_held FINAL
WHERE ${[KEY, ...heldConditions(database, term)].join(' AND ')}
ORDER BY version DESC LIMIT 1`,
    parameters: { ...keyParameters(key), ...termParameters(term) },
  };
}

/** All rows of a key that are not merged away yet, delete markers included, the newest correction first. */
export function storedRowsSql(database: string, key: CallKey): Statement {
  return {
    text: `SELECT ${COLUMNS} FROM ${database}.cdr WHERE ${KEY}
ORDER BY version DESC, stored_s, source_offset, source_line LIMIT ${EVIDENCE_ROWS_MAX}`,
    parameters: keyParameters(key),
  };
}

/**
 * Rows under other keys that have the same id, or came from the same place: the call before or after a correction, and
 * other calls of the same id. Only near its start: no index leads there, so the months around it are read.
 */
export function relatedRowsSql(database: string, row: StoredRow, nearMs: number): Statement {
  const startMs = Number(row.start_ms);
  return {
    text: `SELECT ${COLUMNS} FROM ${database}.cdr
WHERE start_at >= ${moment('near_from')} AND start_at < ${moment('near_to')} AND feed = {feed: String}
  AND (cdr_key = {cdr_key: UInt64} OR (${PLACE})) AND NOT (${KEY})
ORDER BY version DESC, stored_s, source_offset, source_line LIMIT ${EVIDENCE_ROWS_MAX}`,
    parameters: {
      ...placeParameters(row),
      ...keyParameters(keyOf(row)),
      near_from: startMs - nearMs,
      near_to: startMs + nearMs,
    },
  };
}

/** Rows that came from the same place, however far from its start; by the index of offsets. */
export function rowsOfPlaceSql(database: string, row: StoredRow): Statement {
  return {
    text: `SELECT ${COLUMNS} FROM ${database}.cdr WHERE feed = {feed: String} AND ${PLACE}
ORDER BY version DESC LIMIT ${EVIDENCE_ROWS_MAX}`,
    parameters: placeParameters(row),
  };
}

const PLACE = `source_partition = {source_partition: Int32} AND source_offset = {source_offset: Int64}
    AND source_line = {source_line: UInt32}`;

const placeParameters = (row: StoredRow) => ({
  feed: row.feed,
  source_partition: row.source_partition,
  source_offset: row.source_offset,
  source_line: row.source_line,
});

export function keyOf(row: StoredRow): CallKey {
  return { callingKey: Number(row.calling_key), startMs: Number(row.start_ms), cdrKey: row.cdr_key };
}

/**
 * Ranges of the ledger that hold a row's offset, and those whose generation read it again, of every topic that its feed came
 * from, the first first.
 */
export function sourceRangesSql(database: string, row: StoredRow): Statement {
  const ledger = `${database}.ingest_ledger`;
  return {
    text: `SELECT cluster_id, topic, topic_id, feed, kind, reading, next_offset, correction, corrected_until,
  toUnixTimestamp(toDateTime(stored_at, 'UTC')) AS stored_s
FROM ${ledger} FINAL
WHERE topic IN (SELECT DISTINCT topic FROM ${ledger} WHERE feed = {feed: String})
  AND partition = {source_partition: Int32} AND from_offset <= {source_offset: Int64}
  AND (next_offset > {source_offset: Int64} OR corrected_until > {source_offset: Int64})
ORDER BY stored_at LIMIT 1000`,
    parameters: placeParameters(row),
  };
}

/** The settings that the hash of a reading stands for. */
export function readingSql(database: string, { feed, reading }: SourceRangeRow): Statement {
  return {
    text: `SELECT settings FROM ${database}.readings WHERE feed = {feed: String} AND reading = {reading: String} LIMIT 1`,
    parameters: { feed, reading },
  };
}

/** Corrections of a call alone, the first first. */
export function rectifiedSql(database: string, row: StoredRow): Statement {
  return {
    text: `SELECT toUnixTimestamp(toDateTime(corrected_at, 'UTC')) AS corrected_s, correction, field, reason, row
FROM ${database}.corrections FINAL
WHERE cdr_key = {cdr_key: UInt64} AND done = 1
ORDER BY correction LIMIT ${EVIDENCE_ROWS_MAX}`,
    parameters: { cdr_key: row.cdr_key },
  };
}

/** Rejected records of the message that a row came from. */
export function lettersSql(database: string, source: SourceRangeRow, row: StoredRow): Statement {
  const offset = Number(row.source_offset);
  const { from, parameters } = deadLettersSql(
    database,
    {},
    {
      topic: source.topic,
      topicId: source.topic_id,
      partition: row.source_partition,
      after: { offset, line: 0 },
      until: { offset, line: 0xffff_ffff },
    },
  );
  return {
    text: `SELECT line, code, field, position, state, toUnixTimestamp64Milli(message_at) AS message_ms,
  toUnixTimestamp(rejected_at) AS rejected_s, count() OVER () AS letters
FROM ${from} ORDER BY line LIMIT ${EVIDENCE_ROWS_MAX}`,
    parameters,
  };
}
