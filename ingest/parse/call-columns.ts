import type { BatchMemory } from './batch-memory.ts';

/** The texts of a call, in the order in which `CallColumns.texts` has their addresses. */
export const TEXT = {
  callingNumber: 0,
  displayedCallerId: 1,
  dialedNumber: 2,
  account: 3,
  callId: 4,
} as const;
export const TEXT_COUNT = 5;
/** Addresses a call has in `texts`: start and end of each text. */
export const TEXT_STRIDE = 2 * TEXT_COUNT;

/**
 * The calls of a batch as columns, one array an attribute, without an object per record. Texts are
 * addresses into the batch's memory. Keys of numbers are exact doubles (`number-key.ts`); the record key is
 * two unsigned halves.
 */
export class CallColumns {
  length = 0;
  /**
   * Start and end of each text of call i, from index i * TEXT_STRIDE: the addresses of a call lie in one
   * cache line, since blocks are written in another order than the one in which calls came.
   */
  texts = new Int32Array(0);
  callingKey = new Float64Array(0);
  dialedKey = new Float64Array(0);
  /** NaN where the displayed caller ID has no row of its own in `cdr_by_number`. */
  displayedKey = new Float64Array(0);
  startMs = new Float64Array(0);
  durationMs = new Uint32Array(0);
  talkMs = new Uint32Array(0);
  /** 1 where talk is unknown. */
  talkUnknown = new Uint8Array(0);
  outcome = new Uint8Array(0);
  direction = new Uint8Array(0);
  recordKeyLow = new Uint32Array(0);
  recordKeyHigh = new Uint32Array(0);
  /** Index of the feed. */
  feed = new Uint16Array(0);
  partition = new Int32Array(0);
  offset = new Float64Array(0);
  line = new Uint32Array(0);
  #capacity = 0;

  /** Makes room for one call more; its attributes are written at index `length`, which the writer then raises. */
  reserveOne(): void {
    if (this.length === this.#capacity) this.#grow(Math.max(1024, this.#capacity * 2));
  }

  clear(): void {
    this.length = 0;
  }

  #grow(capacity: number): void {
    this.texts = copied(this.texts, new Int32Array(capacity * TEXT_STRIDE));
    this.callingKey = copied(this.callingKey, new Float64Array(capacity));
    this.dialedKey = copied(this.dialedKey, new Float64Array(capacity));
    this.displayedKey = copied(this.displayedKey, new Float64Array(capacity));
    this.startMs = copied(this.startMs, new Float64Array(capacity));
    this.durationMs = copied(this.durationMs, new Uint32Array(capacity));
    this.talkMs = copied(this.talkMs, new Uint32Array(capacity));
    this.talkUnknown = copied(this.talkUnknown, new Uint8Array(capacity));
    this.outcome = copied(this.outcome, new Uint8Array(capacity));
    this.direction = copied(this.direction, new Uint8Array(capacity));
    this.recordKeyLow = copied(this.recordKeyLow, new Uint32Array(capacity));
    this.recordKeyHigh = copied(this.recordKeyHigh, new Uint32Array(capacity));
    this.feed = copied(this.feed, new Uint16Array(capacity));
    this.partition = copied(this.partition, new Int32Array(capacity));
    this.offset = copied(this.offset, new Float64Array(capacity));
    this.line = copied(this.line, new Uint32Array(capacity));
    this.#capacity = capacity;
  }
}

/** True where two texts of the batch's memory have the same bytes. */
export function sameText(
  memory: BatchMemory,
  aStart: number,
  aEnd: number,
  bStart: number,
  bEnd: number,
): boolean {
  const { bytes } = memory;
  if (aEnd - aStart !== bEnd - bStart) return false;
  for (let a = aStart, b = bStart; a < aEnd; a++, b++) if (bytes[a] !== bytes[b]) return false;
  return true;
}

function copied<T extends { set(from: T): void }>(from: T, into: T): T {
  into.set(from);
  return into;
}
