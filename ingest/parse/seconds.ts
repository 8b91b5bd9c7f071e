import type { DurationUnit } from '../../schemas/formats/duration-unit.ts';
import { DURATION_MS_MAX } from '../../schemas/record.ts';
import { decimal, isDigits, twoDigits } from './digits.ts';

const DOT = 0x2e;
const COLON = 0x3a;
const UPPER_A = 0x41;
const SMALL_H = 0x68;
const SMALL_M = 0x6d;
const SMALL_S = 0x73;

/** Results of `readSeconds` and `readDuration` that are no duration. */
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
  const fraction = readFraction(bytes, at, end);
  if (fraction < 0) return SECONDS_UNREADABLE;
  return inRange(value * 1000 + fraction);
}

/**
 * A duration written in `unit` as milliseconds; what is smaller is cut. A negative one (FreeSWITCH writes minus the
 * epoch for a call that never began) is unreadable like anything else that is no duration of this unit.
 */
export function readDuration(bytes: Uint8Array, start: number, end: number, unit: DurationUnit): number {
  if (unit === 's') return readSeconds(bytes, start, end);
  if (unit === 'hh:mm:ss' || unit === 'mm:ss') return readClock(bytes, start, end, unit === 'mm:ss');
  if (unit === 'go') return readGo(bytes, start, end);
  return readScaled(bytes, start, end, unit);
}

function readScaled(bytes: Uint8Array, start: number, end: number, unit: 'ms' | 'us' | 'ticks'): number {
  let at = start;
  while (at < end && bytes[at] !== DOT) at++;
  if (!isDigits(bytes, start, at) || readFraction(bytes, at, end) < 0) return SECONDS_UNREADABLE;
  const value = decimal(bytes, start, at);
  if (unit === 'ms') return inRange(value);
  if (unit === 'us') return inRange(Math.floor(value / 1000));
  return inRange(value * 10 + (at < end ? bytes[at + 1]! - 48 : 0));
}

function readClock(bytes: Uint8Array, start: number, end: number, hoursOptional: boolean): number {
  let at = start;
  while (at < end && bytes[at] !== COLON) at++;
  if (!isDigits(bytes, start, at)) return SECONDS_UNREADABLE;
  const first = decimal(bytes, start, at);
  const second = sixtieth(bytes, at, end);
  at += 3;
  let seconds: number;
  if (at < end && bytes[at] === COLON) {
    seconds = (first * 60 + second) * 60 + sixtieth(bytes, at, end);
    at += 3;
  } else {
    if (!hoursOptional) return SECONDS_UNREADABLE;
    seconds = first * 60 + second;
  }
  const fraction = readFraction(bytes, at, end);
  if (Number.isNaN(seconds) || fraction < 0) return SECONDS_UNREADABLE;
  return inRange(seconds * 1000 + fraction);
}

/** A colon and two digits below 60; NaN for anything else. */
function sixtieth(bytes: Uint8Array, at: number, end: number): number {
  if (at + 3 > end || bytes[at] !== COLON) return Number.NaN;
  const value = twoDigits(bytes, at + 1);
  return value >= 0 && value <= 59 ? value : Number.NaN;
}

/** Whole hours and minutes, decimal seconds or milliseconds: each once, the larger ones first. */
function readGo(bytes: Uint8Array, start: number, end: number): number {
  let milliseconds = 0;
  let lastMs = Infinity;
  let at = start;
  while (at < end) {
    const from = at;
    while (at < end && bytes[at]! < UPPER_A) at++;
    let point = from;
    while (point < at && bytes[point] !== DOT) point++;
    const fraction = readFraction(bytes, point, at);
    const letters = at + 1 < end && bytes[at] === SMALL_M && bytes[at + 1] === SMALL_S ? 2 : 1;
    const unitMs = letters === 2 ? 1 : goUnitMs(at < end ? bytes[at]! : 0);
    const wrong = !isDigits(bytes, from, point) || fraction < 0 || !(unitMs < lastMs);
    if (wrong || (point < at && unitMs > 1000)) return SECONDS_UNREADABLE;
    milliseconds += decimal(bytes, from, point) * unitMs + (unitMs === 1000 ? fraction : 0);
    lastMs = unitMs;
    at += letters;
  }
  return start === end ? SECONDS_UNREADABLE : inRange(milliseconds);
}

function goUnitMs(letter: number): number {
  if (letter === SMALL_H) return 3_600_000;
  if (letter === SMALL_M) return 60_000;
  return letter === SMALL_S ? 1000 : Number.NaN;
}

/** What is left of a number from its point on, as ms where the number is seconds; 0 for nothing, -1 for anything else. */
function readFraction(bytes: Uint8Array, start: number, end: number): number {
  if (start === end) return 0;
  if (bytes[start] !== DOT || start + 1 === end) return -1;
  let value = 0;
  for (let at = start + 1; at < end; at++) {
    const digit = bytes[at]! - 48;
    if (digit < 0 || digit > 9) return -1;
    if (at < start + 4) value = value * 10 + digit;
  }
  const digits = end - start - 1;
  if (digits >= 3) return value;
  return digits === 2 ? value * 10 : value * 100;
}

function inRange(milliseconds: number): number {
  return milliseconds <= DURATION_MS_MAX ? milliseconds : SECONDS_OUT_OF_RANGE;
}
