import type { StartNotation } from '../../schemas/formats/format.ts';

const DASH = 0x2d;
const COLON = 0x3a;
const DOT = 0x2e;

/**
 * Reads start times from bytes, without a string or a Date per record. One reader per worker: it remembers
 * the last day.
 */
export class StartTimeReader {
  /** Whether the last time read was absolute UTC (an offset, `Z` or an epoch), or local to the feed's zone. */
  absolute = false;
  #date = 0;
  #dayMs = 0;
  /** Where the part that `#digits` and its callers read ended. */
  #at = 0;

  /**
   * The time in `[start, end)` of `bytes` in ms since 1970, as if UTC where it is local; NaN where it is
   * no time of this notation. Digits beyond the millisecond are cut.
   */
  read(bytes: Uint8Array, start: number, end: number, notation: StartNotation): number {
    if (notation === 'iso-or-epoch' && isDigits(bytes, start, end)) return this.#epoch(bytes, start, end);
    const local = this.#dateTime(bytes, start, end, notation === 'iso-or-epoch');
    this.absolute = false;
    if (this.#at === end || Number.isNaN(local)) return local;
    if (notation === 'local') return Number.NaN;
    const offset = readOffset(bytes, this.#at, end);
    this.absolute = true;
    return local - offset;
  }

  /** Epoch seconds, milliseconds or microseconds, by magnitude: seconds have up to 11 digits, ms 12 to 14. */
  #epoch(bytes: Uint8Array, start: number, end: number): number {
    this.absolute = true;
    const value = decimal(bytes, start, end);
    const digits = end - start;
    if (digits <= 11) return value * 1000;
    if (digits <= 14) return value;
    return digits <= 17 ? Math.floor(value / 1000) : Number.NaN;
  }

  /** `YYYY-MM-DD`, `T` or a space, `hh:mm[:ss[.fraction]]`; leaves the end of what it read in `#at`. */
  #dateTime(bytes: Uint8Array, start: number, end: number, secondsOptional: boolean): number {
    if (end - start < 16 || bytes[start + 4] !== DASH || bytes[start + 7] !== DASH) return Number.NaN;
    const divider = bytes[start + 10];
    if ((divider !== 0x54 && divider !== 0x20) || bytes[start + 13] !== COLON) return Number.NaN;
    const year = twoDigits(bytes, start) * 100 + twoDigits(bytes, start + 2);
    const month = twoDigits(bytes, start + 5);
    const day = twoDigits(bytes, start + 8);
    const hour = twoDigits(bytes, start + 11);
    const minute = twoDigits(bytes, start + 14);
    this.#at = start + 16;
    let second = 0;
    let fraction = 0;
    if (bytes[this.#at] === COLON && this.#at + 3 <= end) {
      second = twoDigits(bytes, this.#at + 1);
      this.#at += 3;
      if (this.#at < end && bytes[this.#at] === DOT) fraction = this.#milliseconds(bytes, this.#at + 1, end);
    } else if (!secondsOptional) return Number.NaN;
    // A wrong digit is NaN and fails every comparison.
    if (!(hour <= 23 && minute <= 59 && second <= 59)) return Number.NaN;
    return this.#day(year, month, day) + hour * 3_600_000 + minute * 60_000 + second * 1000 + fraction;
  }

  #milliseconds(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    let value = 0;
    let unit = 100;
    for (; at < end; at++) {
      const digit = bytes[at]! - 48;
      if (digit < 0 || digit > 9) break;
      if (unit >= 1) value += digit * unit;
      unit /= 10;
    }
    this.#at = at;
    return at === start ? Number.NaN : value;
  }

  #day(year: number, month: number, day: number): number {
    const date = year * 10_000 + month * 100 + day;
    if (date === this.#date) return this.#dayMs;
    const dayMs = Date.UTC(year, month - 1, day);
    // Date.UTC carries 31 April over to May; such a day does not exist.
    if (!(year >= 1900 && month >= 1 && month <= 12 && day >= 1) || new Date(dayMs).getUTCDate() !== day)
      return Number.NaN;
    this.#date = date;
    this.#dayMs = dayMs;
    return dayMs;
  }
}

/** True where the bytes are one or more ASCII digits. */
export function isDigits(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!;
    if (byte < 48 || byte > 57) return false;
  }
  return end > start;
}

/** `Z`, `+hh`, `+hhmm` or `+hh:mm` as ms east of UTC; NaN for anything else. */
function readOffset(bytes: Uint8Array, start: number, end: number): number {
  const sign = bytes[start];
  const length = end - start;
  if (length === 1) return sign === 0x5a || sign === 0x7a ? 0 : Number.NaN;
  if (sign !== 0x2b && sign !== DASH) return Number.NaN;
  const hours = twoDigits(bytes, start + 1);
  let minutes = 0;
  if (length === 5) minutes = twoDigits(bytes, start + 3);
  else if (length === 6 && bytes[start + 3] === COLON) minutes = twoDigits(bytes, start + 4);
  else if (length !== 3) return Number.NaN;
  if (!(hours <= 18 && minutes <= 59)) return Number.NaN;
  const offset = (hours * 60 + minutes) * 60_000;
  return sign === DASH ? -offset : offset;
}

function decimal(bytes: Uint8Array, start: number, end: number): number {
  let value = 0;
  for (let at = start; at < end; at++) value = value * 10 + (bytes[at]! - 48);
  return value;
}

/** Two digits as a number, NaN where one is none. */
function twoDigits(bytes: Uint8Array, at: number): number {
  const tens = bytes[at]! - 48;
  const ones = bytes[at + 1]! - 48;
  return tens >= 0 && tens <= 9 && ones >= 0 && ones <= 9 ? tens * 10 + ones : Number.NaN;
}
