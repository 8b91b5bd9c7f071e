import type { Feed } from '../../schemas/feed.ts';
import type { RejectCode, SkipReason } from '../../schemas/errors.ts';

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
  /** All payloads. */
  readonly bytes: Uint8Array;
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
  /** UTC ms at which the batch counts as stored; the retention term is judged by it. */
  readonly nowMs: number;
}

/** What all batches of a pool share. */
export interface ParseContext {
  readonly feeds: readonly Feed[];
  /** The database's identity key, 32 bytes. */
  readonly identityKey: Uint8Array;
  readonly futureMsMax: number;
  readonly retentionMonths: number;
}

/** Counts of one source of a batch; `records` is the sum of the four that follow. */
export interface SourceCounts {
  messages: number;
  records: number;
  stored: number;
  rejected: number;
  suppressed: number;
  skipped: number;
  readonly rejectedByCode: Partial<Record<RejectCode, number>>;
  readonly skippedByReason: Partial<Record<SkipReason, number>>;
  /** Stored records per UTC hour of start (hours since 1970). */
  readonly storedByHour: Map<number, number>;
  zoneOverlaps: number;
  zoneGaps: number;
  /** Newest Kafka timestamp in UTC ms, 0 if none. */
  messageAtMax: number;
}

/** A parsed batch: blocks in ClickHouse's Native format, ready to be sent, and counts per source. */
export interface ParsedBatch {
  /** Empty where no record was accepted. */
  readonly cdr: Uint8Array;
  readonly cdrByNumber: Uint8Array;
  readonly deadLetters: Uint8Array;
  readonly cdrRows: number;
  readonly cdrByNumberRows: number;
  readonly counts: readonly SourceCounts[];
  readonly parseMs: number;
}

export function emptyCounts(): SourceCounts {
  return {
    messages: 0,
    records: 0,
    stored: 0,
    rejected: 0,
    suppressed: 0,
    skipped: 0,
    rejectedByCode: {},
    skippedByReason: {},
    storedByHour: new Map(),
    zoneOverlaps: 0,
    zoneGaps: 0,
    messageAtMax: 0,
  };
}
