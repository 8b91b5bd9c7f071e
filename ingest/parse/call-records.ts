import type { BatchMemory } from './batch-memory.ts';

/**
 * Where the fields of the call that is being read stand in the batch's memory; `batch-memory.wat` knows these addresses
 * too. Keys of numbers, the start (UTC ms) and the Kafka offset are doubles that hold whole numbers; the record key is
 * 64 bits; the displayed key is NaN where that number has no row of its own in `cdr_by_number`.
 */
export const CALL = {
  startMs: 64,
  offset: 72,
  recordKeyLow: 80,
  recordKeyHigh: 84,
  durationMs: 88,
  talkMs: 92,
  partition: 96,
  line: 100,
  /** Index of the feed, 16 bits. */
  feed: 104,
  /** One byte each. */
  outcome: 106,
  direction: 107,
  /** 1 where talk is unknown. */
  talkUnknown: 108,
  callingKey: 112,
  dialedKey: 120,
  displayedKey: 128,
  /** Start and end address of each text, in the order of `TEXT`. */
  texts: 136,
} as const;

/** The texts of a call, in the order of their addresses. */
export const TEXT = {
  callingNumber: 0,
  displayedCallerId: 1,
  dialedNumber: 2,
  account: 3,
  callId: 4,
} as const;

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
