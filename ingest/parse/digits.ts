const ZERO = 0x30;
/** Far enough below 0 to stay there when other digits are added: integers are faster than NaN. */
const NOT_DIGITS = -1_000_000;

/** True where the bytes are one or more ASCII digits. */
export function isDigits(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!;
    if (byte < 48 || byte > 57) return false;
  }
  return end > start;
}

export function isDigit(byte: number): boolean {
  return byte >= 48 && byte <= 57;
}

/** The value of ASCII digits; inexact beyond 2^53. */
export function decimal(bytes: Uint8Array, start: number, end: number): number {
  let value = 0;
  for (let at = start; at < end; at++) value = value * 10 + (bytes[at]! - 48);
  return value;
}

/** Two digits as a number, `NOT_DIGITS` where one is none. */
export function twoDigits(bytes: Uint8Array, at: number): number {
  const tens = bytes[at]! - ZERO;
  const ones = bytes[at + 1]! - ZERO;
  return tens >= 0 && tens <= 9 && ones >= 0 && ones <= 9 ? tens * 10 + ones : NOT_DIGITS;
}
