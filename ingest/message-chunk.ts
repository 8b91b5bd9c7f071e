/** A place in Kafka: the offset is the next one to read. */
export interface PartitionOffset {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
}

/** librdkafka's codes of the errors that a poll may meet and ingest acts on. */
export const POLL_ERRORS = { unknownTopic: 3, offsetLost: -140, fatal: -150 } as const;

/** An error that a poll met, with librdkafka's code. */
export interface PollError {
  readonly topic: string;
  readonly partition: number;
  readonly code: number;
  readonly reason: string;
}

/** What one poll of the consumer gave: messages back to back, and what happened between them. It holds until the next poll. */
export interface MessageChunk {
  readonly count: number;
  /** All payloads. */
  readonly bytes: Uint8Array;
  /** End of message i in `bytes`. */
  readonly ends: Uint32Array;
  /** Index into `topics`. */
  readonly topicOf: Uint16Array;
  readonly partitions: Int32Array;
  readonly offsets: Float64Array;
  /** UTC ms, -1 where there is none. */
  readonly timestamps: Float64Array;
  /** 1 where the message has no payload. */
  readonly tombstones: Uint8Array;
  readonly topics: readonly string[];
  /** Partitions that were read to their end, and the offset of that end (behind control records too). */
  readonly partitionEnds: readonly PartitionOffset[];
  readonly errors: readonly PollError[];
}
