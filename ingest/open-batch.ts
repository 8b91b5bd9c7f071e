import type { MessageChunk } from './message-chunk.ts';
import type { PackedBatch } from './parse/batch.ts';
import type { PartitionState } from './partitions.ts';

/** The range of a partition that a batch covers: `[from, next)`, also where it holds no message. */
export interface CoveredRange {
  readonly partition: PartitionState;
  readonly from: number;
  next: number;
}

/** Messages of a chunk that belong to this process, by index. */
interface Taken {
  readonly chunk: MessageChunk;
  readonly messages: readonly number[] | 'all';
  readonly ranges: Uint16Array;
}

/** A full batch on its way: what to parse, and which ranges its ledger rows will cover. */
export interface SealedBatch {
  readonly packed: PackedBatch;
  readonly ranges: readonly CoveredRange[];
}

/** The batch that is being filled. */
export class OpenBatch {
  messages = 0;
  bytes = 0;
  /** performance.now() of the first message or range, 0 while there is none. */
  openedAt = 0;
  readonly #ranges = new Map<PartitionState, number>();
  readonly #list: CoveredRange[] = [];
  readonly #taken: Taken[] = [];

  /** True where there is something to store or to note in the ledger. */
  get pending(): boolean {
    return this.messages > 0 || this.#list.some((range) => range.next > range.from);
  }

  /**
   * Takes the messages of a chunk that belong to assigned partitions and lie at or behind their position,
   * and moves the positions.
   */
  add(chunk: MessageChunk, find: (topic: string, partition: number) => PartitionState | undefined): void {
    if (this.openedAt === 0) this.openedAt = performance.now();
    const messages: number[] = [];
    const ranges = new Uint16Array(chunk.count);
    let topicIndex = -1;
    let partitionId = -1;
    let state: PartitionState | undefined;
    let range = 0;
    for (let i = 0; i < chunk.count; i++) {
      if (chunk.topicOf[i] !== topicIndex || chunk.partitions[i] !== partitionId) {
        topicIndex = chunk.topicOf[i]!;
        partitionId = chunk.partitions[i]!;
        state = find(chunk.topics[topicIndex]!, partitionId);
        if (state !== undefined) range = this.#rangeOf(state);
      }
      // A message of a partition that is gone, or one that was read before the last seek.
      if (state === undefined || chunk.offsets[i]! < state.position) continue;
      state.position = chunk.offsets[i]! + 1;
      this.#list[range]!.next = state.position;
      ranges[i] = range;
      messages.push(i);
    }
    if (messages.length > 0) this.#take(chunk, messages, ranges);
  }

  /** Notes that a partition was read to `offset`, behind its last message (control records have offsets too). */
  reach(state: PartitionState, offset: number): void {
    if (offset <= state.position) return;
    if (this.openedAt === 0) this.openedAt = performance.now();
    // The range first: a new one begins at the position as it was.
    this.#list[this.#rangeOf(state)]!.next = offset;
    state.position = offset;
  }

  /** Packs what was taken into memory that the workers share. */
  seal(): SealedBatch {
    const bytes = new Uint8Array(new SharedArrayBuffer(this.bytes));
    const packed: PackedBatch = {
      sources: this.#list.map(({ partition }) => partition.source),
      bytes,
      ends: new Uint32Array(this.messages),
      sourceOf: new Uint16Array(this.messages),
      offsets: new Float64Array(this.messages),
      timestamps: new Float64Array(this.messages),
      tombstones: new Uint8Array(this.messages),
      count: this.messages,
      nowMs: Date.now(),
    };
    let message = 0;
    let at = 0;
    for (const taken of this.#taken) {
      [message, at] =
        taken.messages === 'all' ? packAll(packed, taken, message, at) : packSome(packed, taken, message, at);
    }
    return { packed, ranges: this.#list };
  }

  #take(chunk: MessageChunk, messages: readonly number[], ranges: Uint16Array): void {
    const all = messages.length === chunk.count;
    this.#taken.push({ chunk, messages: all ? 'all' : messages, ranges });
    this.messages += messages.length;
    this.bytes += all
      ? chunk.bytes.length
      : messages.reduce((sum, i) => sum + chunk.ends[i]! - (i === 0 ? 0 : chunk.ends[i - 1]!), 0);
  }

  #rangeOf(state: PartitionState): number {
    let range = this.#ranges.get(state);
    if (range === undefined) {
      range = this.#list.length;
      this.#ranges.set(state, range);
      this.#list.push({ partition: state, from: state.position, next: state.position });
    }
    return range;
  }
}

function packAll(
  packed: PackedBatch,
  { chunk, ranges }: Taken,
  message: number,
  at: number,
): [number, number] {
  packed.bytes.set(chunk.bytes, at);
  for (let i = 0; i < chunk.count; i++) packed.ends[message + i] = at + chunk.ends[i]!;
  packed.sourceOf.set(ranges, message);
  packed.offsets.set(chunk.offsets, message);
  packed.timestamps.set(chunk.timestamps, message);
  packed.tombstones.set(chunk.tombstones, message);
  return [message + chunk.count, at + chunk.bytes.length];
}

function packSome(packed: PackedBatch, taken: Taken, message: number, at: number): [number, number] {
  const { chunk, ranges } = taken;
  let end = at;
  let next = message;
  for (const i of taken.messages as readonly number[]) {
    const payload = chunk.bytes.subarray(i === 0 ? 0 : chunk.ends[i - 1]!, chunk.ends[i]);
    packed.bytes.set(payload, end);
    end += payload.length;
    packed.ends[next] = end;
    packed.sourceOf[next] = ranges[i]!;
    packed.offsets[next] = chunk.offsets[i]!;
    packed.timestamps[next] = chunk.timestamps[i]!;
    packed.tombstones[next] = chunk.tombstones[i]!;
    next++;
  }
  return [next, end];
}
