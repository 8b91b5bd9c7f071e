import { DURATION_MS_MAX } from '../../schemas/record.ts';

/** Results of `readSeconds` that are no duration. */
export const SECONDS_UNREADABLE = -1;
export const SECONDS_OUT_OF_RANGE = -2;

/**
 * Seconds in decimal notation (`27`, `0.5`, `12.340`) as milliseconds; digits beyond the millisecond are
 * cut. A sign, an exponent, a space or an empty text is unreadable; nothing is clamped.
 */
export function readSeconds(bytes: Uint8Array, start: number, end: number): number {
  let value = 0;
  let at = start;
  for (; at < end; at++) {
    const digit = bytes[at]! - 48;
    if (digit < 0 || digit > 9) break;
    value = value * 10 + digit;
  }
  if (at === start) return SECONDS_UNREADABLE;
  let milliseconds = value * 1000;
  if (at < end) {
    if (bytes[at] !== 0x2e || at + 1 === end) return SECONDS_UNREADABLE;
    let unit = 100;
    for (at++; at < end; at++) {
      const digit = bytes[at]! - 48;
      if (digit < 0 || digit > 9) return SECONDS_UNREADABLE;
      if (unit >= 1) milliseconds += digit * unit;
      unit /= 10;
    }
  }
  return milliseconds <= DURATION_MS_MAX ? milliseconds : SECONDS_OUT_OF_RANGE;
}
