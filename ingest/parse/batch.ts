import type { Feed } from '../../schemas/feed.ts';
import type { RejectCode, SkipReason } from '../../schemas/errors.ts';
import type { RetentionMonths } from '../../schemas/retention-term.ts';
import type { Settings } from '../../schemas/settings.ts';
import type { StoredSettings } from '../../schemas/stored-settings.ts';

const HOUR_MS = 3_600_000;

/** A partition of a feed's topic, as far as parsing needs it. */
export interface BatchSource {
  /** Index into the pool's feeds. */
  readonly feed: number;
  readonly topic: string;
  /** Kafka's id of the topic, which a re-created topic does not share. */
  readonly topicId: string;
  readonly partition: number;
}

/** What the main thread hands to a parse worker: messages back to back, and where each came from. */
export interface PackedBatch {
  readonly sources: readonly BatchSource[];
  /** All payloads, and maybe others before and behind them. */
  readonly bytes: Uint8Array;
  /** Where the first message begins in `bytes`. */
  readonly start: number;
  /** End of message i in `bytes`. */
  readonly ends: Uint32Array;
  /** Index of its source. */
  readonly sourceOf: Uint16Array;
  readonly offsets: Float64Array;
  /** Kafka timestamp in UTC ms; -1 where the message has none. */
  readonly timestamps: Float64Array;
  /** 1 where the message has no payload at all (a tombstone). */
  readonly tombstones: Uint8Array;
  readonly count: number;
  /** Where each payload is one line out of a message: its number in there. It is read as exactly one line. */
  readonly lines?: Uint32Array;
  /** UTC ms at which the batch counts as stored; the retention term is judged by it. */
  readonly nowMs: number;
}

/** Bytes of all messages of a batch. */
export function payloadBytes({ start, ends, count }: PackedBatch): number {
  return count === 0 ? 0 : ends[count - 1]! - start;
}

/** What all batches of a pool share. */
export interface ParseContext {
  readonly feeds: readonly Feed[];
  /** The database's identity key, 32 bytes. */
  readonly identityKey: Uint8Array;
  readonly futureMsMax: number;
  readonly retentionMonths: RetentionMonths;
  /** Records of a batch at which parsing stops behind a message; the rest is the caller's to give again. */
  readonly recordsMax: number;
}

/** What parsing depends on, from the settings and what the database has. */
export function parseContextOf(
  { ingest }: Settings,
  feeds: readonly Feed[],
  { identityKey, retentionMonths }: Pick<StoredSettings, 'identityKey' | 'retentionMonths'>,
): ParseContext {
  return {
    feeds,
    identityKey,
    futureMsMax: ingest.future_hours_max * HOUR_MS,
    retentionMonths,
    recordsMax: ingest.batch_records_max,
  };
}

/** Counts of one source of a batch; `records` is the sum of stored, rejected, suppressed and skipped. */
export interface SourceCounts {
  messages: number;
  records: number;
  stored: number;
  rejected: number;
  suppressed: number;
  skipped: number;
  /** Of the stored ones, those in which a number of another person is blanked. */
  blanked: number;
  readonly rejectedByCode: Partial<Record<RejectCode, number>>;
  readonly skippedByReason: Partial<Record<SkipReason, number>>;
  /** Stored records per UTC hour of start (hours since 1970). */
  readonly storedByHour: Map<number, number>;
  zoneOverlaps: number;
  zoneGaps: number;
  /** Newest Kafka timestamp in UTC ms, 0 if none. */
  messageAtMax: number;
}

/** What a batch turned out to hold; its blocks are fetched apart. */
export interface ParsedBatch {
  /** Messages that were parsed, from the first one; fewer than the batch has where it holds too many records. */
  readonly messages: number;
  /** Rows of each table's block, as far as they are known before it is made. */
  readonly calls: number;
  readonly rejects: number;
  /** Per source. */
  readonly counts: readonly SourceCounts[];
  readonly parseMs: number;
}

/** A batch that is stored. */
export interface StoredBatch extends ParsedBatch {
  /** Rows of `cdr` that have the key of another one of this batch, by feed. */
  readonly duplicatesByFeed: readonly number[];
  /** Of the suppressions that it was parsed with. */
  readonly suppressionsVersion: number;
}

/** Messages of one source as a batch: their offsets count from 0, their Kafka time is `nowMs`. */
export function packMessages(
  source: BatchSource,
  messages: readonly Uint8Array[],
  nowMs: number,
): PackedBatch {
  let end = 0;
  return {
    sources: [source],
    bytes: Buffer.concat(messages),
    start: 0,
    ends: Uint32Array.from(messages, (message) => (end += message.length)),
    sourceOf: new Uint16Array(messages.length),
    offsets: Float64Array.from(messages.keys()),
    timestamps: new Float64Array(messages.length).fill(nowMs),
    tombstones: new Uint8Array(messages.length),
    count: messages.length,
    nowMs,
  };
}

export function emptyCounts(): SourceCounts {
  return {
    messages: 0,
    records: 0,
    stored: 0,
    rejected: 0,
    suppressed: 0,
    skipped: 0,
    blanked: 0,
    rejectedByCode: {},
    skippedByReason: {},
    storedByHour: new Map(),
    zoneOverlaps: 0,
    zoneGaps: 0,
    messageAtMax: 0,
  };
}
