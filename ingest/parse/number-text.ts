import { NUMBER_DIGITS_MIN, type NumberRules } from '../../schemas/dial-plan.ts';
import type { SipKey } from '../../schemas/siphash.ts';
import type { BatchMemory } from './batch-memory.ts';
import { DialTable } from './dial-table.ts';

const PLUS = 0x2b;
const ZERO = 0x30;

/**
 * Reads telephone numbers from bytes: applies a feed's number rules and computes the number key while the
 * digits pass by. Text stays as sent where no rule fits.
 */
export class NumberReader {
  /** Addresses of the text as it is stored, and its key. */
  start = 0;
  end = 0;
  key = 0;
  readonly #memory: BatchMemory;
  readonly #textKey: SipKey;
  readonly #table: DialTable | undefined;
  readonly #strip: readonly Uint8Array[];
  /** The key of the empty text, which many formats send for one of the numbers. */
  readonly #emptyKey: number;

  constructor(memory: BatchMemory, textKey: SipKey, rules: NumberRules | undefined) {
    this.#memory = memory;
    this.#textKey = textKey;
    this.#table = rules === undefined ? undefined : DialTable.of(rules);
    this.#strip = (rules?.strip ?? []).map((prefix) => Buffer.from(prefix));
    memory.hash(textKey, 0, 0);
    this.#emptyKey = memory.hashedTextKey;
  }

  /** Reads the number in `[start, end)` into `start`, `end` and `key`. The memory must have room for 40 bytes more. */
  read(start: number, end: number): void {
    const table = this.#table;
    if (table !== undefined && start < end && this.#memory.bytes[start] !== PLUS) {
      if (this.#strip.length > 0 && this.#stripped(table, start, end)) return;
      if (this.#dialed(table, start, end)) return;
    }
    this.start = start;
    this.end = end;
    this.key = this.#keyOf(start, end);
  }

  #keyOf(start: number, end: number): number {
    if (start === end) return this.#emptyKey;
    const memory = this.#memory;
    if (memory.bytes[start] === PLUS) {
      const key = memory.e164Key(start, end);
      if (key >= 0) return key;
    }
    memory.hash(this.#textKey, start, end - start);
    return memory.hashedTextKey;
  }

  /** Takes one prefix off where a number is left. */
  #stripped(table: DialTable, start: number, end: number): boolean {
    const { bytes } = this.#memory;
    for (const prefix of this.#strip) {
      const rest = start + prefix.length;
      if (rest >= end || !beginsWith(bytes, start, prefix)) continue;
      if (bytes[rest] !== PLUS) {
        if (this.#dialed(table, rest, end)) return true;
      } else if (end - rest > NUMBER_DIGITS_MIN && bytes[rest + 1] !== ZERO) {
        const key = this.#memory.e164Key(rest, end);
        if (key < 0) continue;
        this.start = rest;
        this.end = end;
        this.key = key;
        return true;
      }
    }
    return false;
  }

  /** Reads digits as they are dialed; false where no rule fits. */
  #dialed(table: DialTable, start: number, end: number): boolean {
    const { bytes } = this.#memory;
    const way = table.find(bytes, start, end);
    if (way === undefined) return false;
    const memory = this.#memory;
    const { written, keptEnd, infixEnd } = way;
    let top = memory.top;
    for (let i = 0; i < written.length; i++) bytes[top++] = written[i]!;
    for (let at = start + way.dropped; at < end; at++) {
      if (at === start + keptEnd) at = start + infixEnd;
      bytes[top++] = bytes[at]!;
    }
    const key = memory.e164Key(memory.top, top);
    // What stands behind the fixed digits was no number.
    if (key < 0) return false;
    this.key = key;
    this.start = memory.top;
    this.end = top;
    memory.top = top;
    return true;
  }
}

function beginsWith(bytes: Uint8Array, start: number, prefix: Uint8Array): boolean {
  for (let i = 0; i < prefix.length; i++) if (bytes[start + i] !== prefix[i]) return false;
  return true;
}
