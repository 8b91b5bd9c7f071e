import type { DialPlan } from '../../schemas/dial-plan.ts';
import { E164_DIGITS_MAX, FIRST_TEXT_KEY, PLACE_VALUES } from '../../schemas/number-key.ts';
import type { SipKey } from '../../schemas/siphash.ts';
import type { BatchMemory } from './batch-memory.ts';
import { isDigits } from './start-time.ts';

const PLUS = 0x2b;
const ZERO = 0x30;

/**
 * Reads telephone numbers from bytes: applies the feed's dial plan and computes the number key while the
 * digits pass by. Text stays as sent where no rule of the plan fits.
 */
export class NumberReader {
  /** Addresses of the text as it is stored, and its key. */
  start = 0;
  end = 0;
  key = 0;
  readonly #memory: BatchMemory;
  readonly #textKey: SipKey;
  readonly #plan: PreparedPlan | undefined;

  constructor(memory: BatchMemory, textKey: SipKey, plan: DialPlan | undefined) {
    this.#memory = memory;
    this.#textKey = textKey;
    this.#plan = plan === undefined ? undefined : prepare(plan);
  }

  /** Reads the number in `[start, end)` into `start`, `end` and `key`. The memory must have room for 40 bytes more. */
  read(start: number, end: number): void {
    this.start = start;
    this.end = end;
    const first = this.#memory.bytes[start];
    if (first !== PLUS && this.#plan !== undefined && end > start) this.#applyPlan(this.#plan);
    this.key = this.#keyOf(this.start, this.end);
  }

  #keyOf(start: number, end: number): number {
    const memory = this.#memory;
    const { bytes } = memory;
    const digits = end - start - 1;
    if (digits >= 1 && digits <= E164_DIGITS_MAX && bytes[start] === PLUS) {
      let key = 0;
      let at = start + 1;
      for (; at < end; at++) {
        const digit = bytes[at]! - ZERO;
        if (digit < 0 || digit > 9) break;
        key = key * 11 + digit + 1;
      }
      if (at === end) return key * PLACE_VALUES[digits]!;
    }
    memory.hash(this.#textKey, start, end - start);
    // The upper 52 bits of the hash: 2^20 * high + low / 2^12, as `textKey` of schemas/number-key.ts.
    return FIRST_TEXT_KEY + memory.hashHigh * 1_048_576 + (memory.hashLow >>> 12);
  }

  #applyPlan(plan: PreparedPlan): void {
    const { bytes } = this.#memory;
    const { start, end } = this;
    if (!isDigits(bytes, start, end)) return;
    for (const prefix of plan.internationalPrefixes) {
      const rest = end - start - prefix.length;
      if (rest >= 7 && rest <= E164_DIGITS_MAX && beginsWith(bytes, start, prefix)) {
        this.#write(NO_BYTES, start + prefix.length);
        return;
      }
    }
    const { trunkPrefix, nationalLengths, countryCode } = plan;
    if (
      trunkPrefix.length > 0 &&
      beginsWith(bytes, start, trunkPrefix) &&
      nationalLengths.has(end - start - trunkPrefix.length)
    ) {
      this.#write(countryCode, start + trunkPrefix.length);
    } else if (plan.trunkPrefixOptional && end - start >= 7 && nationalLengths.has(end - start)) {
      this.#write(countryCode, start);
    }
  }

  /** Writes `+`, the country code and the digits from `rest` to the arena. */
  #write(countryCode: Uint8Array, rest: number): void {
    const memory = this.#memory;
    const { end } = this;
    this.start = memory.top;
    memory.bytes[memory.top++] = PLUS;
    memory.bytes.set(countryCode, memory.top);
    memory.top += countryCode.length;
    memory.bytes.copyWithin(memory.top, rest, end);
    memory.top += end - rest;
    this.end = memory.top;
  }
}

interface PreparedPlan {
  readonly countryCode: Uint8Array;
  readonly internationalPrefixes: readonly Uint8Array[];
  readonly trunkPrefix: Uint8Array;
  readonly trunkPrefixOptional: boolean;
  /** Only lengths with which the whole number fits E.164. */
  readonly nationalLengths: ReadonlySet<number>;
}

const NO_BYTES = new Uint8Array(0);

function prepare(plan: DialPlan): PreparedPlan {
  return {
    countryCode: Buffer.from(plan.countryCode),
    internationalPrefixes: plan.internationalPrefixes.map((prefix) => Buffer.from(prefix)),
    trunkPrefix: Buffer.from(plan.trunkPrefix),
    trunkPrefixOptional: plan.trunkPrefixOptional,
    nationalLengths: new Set(
      plan.nationalLengths.filter((length) => length + plan.countryCode.length <= E164_DIGITS_MAX),
    ),
  };
}

function beginsWith(bytes: Uint8Array, start: number, prefix: Uint8Array): boolean {
  for (let i = 0; i < prefix.length; i++) if (bytes[start + i] !== prefix[i]) return false;
  return true;
}
