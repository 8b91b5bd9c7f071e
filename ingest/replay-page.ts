import {
  deadLetterPlacesSql,
  deadLettersSql,
  type DeadLetterFilter,
  type DeadLetterStretch,
} from '../schemas/dead-letters.ts';
import type { IngestDatabase } from './clickhouse.ts';
import { packMessages, type BatchSource, type PackedBatch } from './parse/batch.ts';

/** Bounds of a page, which is held in memory and stored as one batch. */
const PAGE_ROWS_MAX = 10_000;
const PAGE_BYTES_MAX = 8 * 1024 * 1024;

/** The open letters of one partition that a replay chose. */
export interface LetterGroup {
  /** As it was called when they were rejected. */
  readonly feed: string;
  readonly topic: string;
  readonly topicId: string;
  readonly partition: number;
  readonly letters: number;
  /** The last place: what is rejected while the replay runs is left to the next one. */
  readonly lastOffset: number;
  readonly lastLine: number;
}

/** A letter as a replay reads it. */
export interface Letter {
  readonly offset: number;
  readonly line: number;
  readonly code: string;
  readonly field: string;
  readonly position: number;
  /** The record as it was sent. */
  readonly raw: Uint8Array;
  readonly messageAtMs: number;
  /** Unix seconds. */
  readonly rejectedAt: number;
  /** Reading under which a replay stored it or was about to; empty: none did. */
  readonly replayReading: string;
}

interface Place {
  readonly offset: number;
  readonly line: number;
}

/** The partitions in which a filter finds open letters. */
export function readGroups(database: IngestDatabase, filter: DeadLetterFilter): Promise<LetterGroup[]> {
  const { from, parameters } = deadLettersSql(database.database, { ...filter, states: ['open'] });
  return database.rows<LetterGroup>(
    `SELECT feed, topic, topic_id AS topicId, partition, count() AS letters,
      tupleElement(max((offset, line)) AS last, 1) AS lastOffset, tupleElement(last, 2) AS lastLine
    FROM ${from} GROUP BY feed, topic, topicId, partition ORDER BY topic, partition, feed, topicId`,
    parameters,
  );
}

/**
 * Open letters of a group behind a place, in order, as many as a page may hold (at least one); and the place
 * behind which the next page begins, undefined at the end of the group.
 */
export async function readPage(
  database: IngestDatabase,
  filter: DeadLetterFilter,
  { feed, topic, topicId, partition, lastOffset, lastLine }: LetterGroup,
  after: Place | undefined,
): Promise<{ letters: Letter[]; end: Place | undefined }> {
  const end: Place = { offset: lastOffset, line: lastLine };
  const stretch: DeadLetterStretch = { feed, topic, topicId, partition, after, until: end };
  // First the places alone: a record may be as long as a message, and the marks are many.
  const places = deadLetterPlacesSql(database.database, filter, stretch);
  const sizes = await database.rows<Place & { bytes: number }>(
    `SELECT offset, line, length(raw) AS bytes FROM ${places.from} ORDER BY offset, line LIMIT ${PAGE_ROWS_MAX}`,
    places.parameters,
  );
  const last = lastThatFits(sizes, PAGE_BYTES_MAX);
  if (last === undefined) return { letters: [], end: undefined };
  const open = deadLettersSql(
    database.database,
    { ...filter, states: ['open'] },
    { ...stretch, until: last },
  );
  const rows = await database.rows<Omit<Letter, 'raw'> & { raw: string }>(
    `SELECT offset, line, code, field, position, base64Encode(raw) AS raw,
      toUnixTimestamp64Milli(message_at) AS messageAtMs, toUnixTimestamp(rejected_at) AS rejectedAt,
      replay_reading AS replayReading
    FROM ${open.from} ORDER BY offset, line`,
    open.parameters,
  );
  return {
    letters: rows.map((row) => ({ ...row, raw: Buffer.from(row.raw, 'base64') })),
    end: last.offset === lastOffset && last.line === lastLine ? undefined : last,
  };
}

/** The last of the first rows that together stay within the bytes; the first one always does. */
export function lastThatFits<T extends { readonly bytes: number }>(
  rows: readonly T[],
  bytesMax: number,
): T | undefined {
  let last = rows[0];
  let sum = 0;
  for (const row of rows) {
    sum += row.bytes;
    if (sum > bytesMax && row !== rows[0]) break;
    last = row;
  }
  return last;
}

/** A batch of single lines, each at the place where it stood. */
export function packLetters(source: BatchSource, letters: readonly Letter[], nowMs: number): PackedBatch {
  // One line end was taken from the record, if it had one at all: with one it is read byte for byte as it was.
  const lineEnd = Buffer.from('\r\n');
  const records = letters.map(({ raw }) => Buffer.concat([raw, lineEnd]));
  return {
    ...packMessages(source, records, nowMs),
    offsets: Float64Array.from(letters, ({ offset }) => offset),
    timestamps: Float64Array.from(letters, ({ messageAtMs }) => messageAtMs),
    lines: Uint32Array.from(letters, ({ line }) => line),
  };
}

/** The cluster from which a partition was read, as the ledger has it; empty where it has none. */
export async function readClusterId(
  database: IngestDatabase,
  { topic, topicId, partition }: LetterGroup,
): Promise<string> {
  const [row] = await database.rows<{ cluster_id: string }>(
    `SELECT cluster_id FROM ${database.database}.ingest_ledger
    WHERE topic = {topic: String} AND topic_id = {topic_id: String} AND partition = {partition: Int32} AND kind = 'read'
    LIMIT 1`,
    { topic, topic_id: topicId, partition },
  );
  return row?.cluster_id ?? '';
}
