import type { MessageChunk } from './message-chunk.ts';
import type { PackedBatch } from './parse/batch.ts';
import type { PartitionState } from './partitions.ts';

/** Messages for which a new buffer has room; more make it grow. */
const MESSAGES_AT_FIRST = 4096;

/** The range of a partition that a batch covers: `[from, next)`, also where it holds no message. */
export interface CoveredRange {
  readonly partition: PartitionState;
  readonly from: number;
  readonly next: number;
  /** Oldest Kafka timestamp of its messages in UTC ms; Infinity where none has one. */
  readonly oldestAtMs: number;
}

/** A range of the batch that is being filled. */
interface GrowingRange extends CoveredRange {
  next: number;
  oldestAtMs: number;
}

/** A full batch on its way: what to parse, and which range of each of its sources its ledger rows will cover. */
export interface SealedBatch {
  readonly packed: PackedBatch;
  readonly ranges: readonly CoveredRange[];
  /** performance.now() of its first message or range. */
  readonly openedAt: number;
}

/** Memory for the messages of one batch, shared with the workers and used again for batch after batch. */
export class BatchBuffer {
  bytes: Uint8Array;
  ends = new Uint32Array(shared(4 * MESSAGES_AT_FIRST));
  sourceOf = new Uint16Array(shared(2 * MESSAGES_AT_FIRST));
  offsets = new Float64Array(shared(8 * MESSAGES_AT_FIRST));
  timestamps = new Float64Array(shared(8 * MESSAGES_AT_FIRST));
  tombstones = new Uint8Array(shared(MESSAGES_AT_FIRST));

  /** @param bytesExpected bytes of messages for which there is room at once; the system gives memory as it is used */
  constructor(bytesExpected: number) {
    this.bytes = new Uint8Array(shared(bytesExpected));
  }

  reserve(bytes: number, messages: number): void {
    if (bytes > this.bytes.length) this.bytes = copied(this.bytes, new Uint8Array(shared(bytes)));
    if (messages <= this.ends.length) return;
    const room = Math.max(messages, 2 * this.ends.length);
    this.ends = copied(this.ends, new Uint32Array(shared(4 * room)));
    this.sourceOf = copied(this.sourceOf, new Uint16Array(shared(2 * room)));
    this.offsets = copied(this.offsets, new Float64Array(shared(8 * room)));
    this.timestamps = copied(this.timestamps, new Float64Array(shared(8 * room)));
    this.tombstones = copied(this.tombstones, new Uint8Array(shared(room)));
  }
}

/** The batch that is being filled. What it takes of a chunk is copied, so the chunk's memory is free again. */
export class OpenBatch {
  messages = 0;
  bytes = 0;
  /** performance.now() of the first message or range, 0 while there is none. */
  openedAt = 0;
  /** Newest Kafka timestamp of its messages in UTC ms, 0 while there is none. */
  newestAtMs = 0;
  readonly #buffer: BatchBuffer;
  readonly #indexes = new Map<PartitionState, number>();
  readonly #ranges: GrowingRange[] = [];

  constructor(buffer: BatchBuffer) {
    this.#buffer = buffer;
  }

  /** True where there is something to store or to note in the ledger. */
  get pending(): boolean {
    return this.messages > 0 || this.#ranges.some((range) => range.next > range.from);
  }

  get ranges(): readonly CoveredRange[] {
    return this.#ranges;
  }

  /**
   * Takes the messages of a chunk that belong to assigned partitions and lie at or behind their position,
   * and moves the positions.
   */
  add(chunk: MessageChunk, find: (topic: string, partition: number) => PartitionState | undefined): void {
    if (this.openedAt === 0) this.openedAt = performance.now();
    let topicIndex = -1;
    let partitionId = -1;
    let state: PartitionState | undefined;
    let range = 0;
    /** First message of the run that is taken at once. */
    let runFrom = 0;
    for (let i = 0; i < chunk.count; i++) {
      if (chunk.topicOf[i] !== topicIndex || chunk.partitions[i] !== partitionId) {
        this.#take(chunk, runFrom, i, range);
        runFrom = i;
        topicIndex = chunk.topicOf[i]!;
        partitionId = chunk.partitions[i]!;
        state = find(chunk.topics[topicIndex]!, partitionId);
        if (state !== undefined) range = this.#rangeOf(state);
      }
      const offset = chunk.offsets[i]!;
      if (state !== undefined && offset >= state.position) {
        state.position = offset + 1;
        const covered = this.#ranges[range]!;
        covered.next = state.position;
        const timestamp = chunk.timestamps[i]!;
        if (timestamp >= 0 && timestamp < covered.oldestAtMs) covered.oldestAtMs = timestamp;
        if (timestamp > this.newestAtMs) this.newestAtMs = timestamp;
        continue;
      }
      // A message of a partition that is gone, or one that was read before the last seek.
      this.#take(chunk, runFrom, i, range);
      runFrom = i + 1;
    }
    this.#take(chunk, runFrom, chunk.count, range);
  }

  /** Notes that a partition was read to `offset`, behind its last message (control records have offsets too). */
  reach(state: PartitionState, offset: number): void {
    if (offset <= state.position) return;
    if (this.openedAt === 0) this.openedAt = performance.now();
    // The range first: a new one begins at the position as it was.
    this.#ranges[this.#rangeOf(state)]!.next = offset;
    state.position = offset;
  }

  /** The batch as it is sent on its way. Its buffer must not be used again before it is stored. */
  seal(): SealedBatch {
    const { bytes, ends, sourceOf, offsets, timestamps, tombstones } = this.#buffer;
    const count = this.messages;
    return {
      packed: {
        sources: this.#ranges.map(({ partition }) => partition.source),
        bytes,
        start: 0,
        ends: ends.subarray(0, count),
        sourceOf: sourceOf.subarray(0, count),
        offsets: offsets.subarray(0, count),
        timestamps: timestamps.subarray(0, count),
        tombstones: tombstones.subarray(0, count),
        count,
        nowMs: Date.now(),
      },
      ranges: this.#ranges,
      openedAt: this.openedAt,
    };
  }

  /** Copies the messages `[from, to)`, all of one partition. */
  #take(chunk: MessageChunk, from: number, to: number, range: number): void {
    if (from === to) return;
    const { messages, bytes } = this;
    const start = from === 0 ? 0 : chunk.ends[from - 1]!;
    const payload = chunk.bytes.subarray(start, chunk.ends[to - 1]);
    this.messages += to - from;
    this.bytes += payload.length;
    const buffer = this.#buffer;
    buffer.reserve(this.bytes, this.messages);
    buffer.bytes.set(payload, bytes);
    for (let i = from; i < to; i++) buffer.ends[messages + i - from] = chunk.ends[i]! - start + bytes;
    buffer.sourceOf.fill(range, messages, this.messages);
    buffer.offsets.set(chunk.offsets.subarray(from, to), messages);
    buffer.timestamps.set(chunk.timestamps.subarray(from, to), messages);
    buffer.tombstones.set(chunk.tombstones.subarray(from, to), messages);
  }

  #rangeOf(state: PartitionState): number {
    let range = this.#indexes.get(state);
    if (range === undefined) {
      range = this.#ranges.length;
      this.#indexes.set(state, range);
      this.#ranges.push({
        partition: state,
        from: state.position,
        next: state.position,
        oldestAtMs: Infinity,
      });
    }
    return range;
  }
}

/**
 * The first `count` messages of a batch, and the rest of it, undefined where there is none: both share its memory. Ranges are
 * cut at the first offset of the rest, so that the two tile what the whole covers.
 */
export function splitBatch(
  batch: SealedBatch,
  count: number,
): readonly [SealedBatch, SealedBatch | undefined] {
  const { packed, ranges } = batch;
  if (count >= packed.count) return [batch, undefined];
  const cuts = ranges.map(({ next }) => next);
  for (let message = packed.count - 1; message >= count; message--) {
    cuts[packed.sourceOf[message]!] = packed.offsets[message]!;
  }
  return [
    {
      ...batch,
      packed: part(packed, 0, count),
      ranges: ranges.map((range, i) => ({ ...range, next: cuts[i]! })),
    },
    {
      ...batch,
      packed: part(packed, count, packed.count),
      ranges: ranges.map((range, i) => ({ ...range, from: cuts[i]! })),
    },
  ];
}

function part(packed: PackedBatch, from: number, to: number): PackedBatch {
  return {
    ...packed,
    start: from === 0 ? packed.start : packed.ends[from - 1]!,
    ends: packed.ends.subarray(from, to),
    sourceOf: packed.sourceOf.subarray(from, to),
    offsets: packed.offsets.subarray(from, to),
    timestamps: packed.timestamps.subarray(from, to),
    tombstones: packed.tombstones.subarray(from, to),
    ...(packed.lines === undefined ? {} : { lines: packed.lines.subarray(from, to) }),
    count: to - from,
  };
}

function shared(bytes: number): SharedArrayBuffer {
  return new SharedArrayBuffer(bytes);
}

function copied<T extends { set(from: T): void }>(from: T, into: T): T {
  into.set(from);
  return into;
}
