import {
  FIELD,
  FIELD_COUNT,
  packLetter,
  STEP,
  STEP_BYTES,
  TIME_KIND,
  type TimeProgram,
} from '../../schemas/formats/time-pattern.ts';
import { decimal, isDigit, twoDigits } from './digits.ts';

const SPACE = 0x20;
const PLUS = 0x2b;
const DASH = 0x2d;
const DOT = 0x2e;
const SLASH = 0x2f;
const ZERO = 0x30;
const COLON = 0x3a;
const UPPER_T = 0x54;
/** Added to an ASCII capital it gives the small letter. */
const SMALL = 0x20;

const DAY_MS = 86_400_000;
const YEAR_MIN = 1900;
/** Offsets reach from -12 to +14 hours. */
const OFFSET_MS_MAX = 14 * 3_600_000;

/** What `readOrNone` gives for no time. */
export const NO_TIME = -Infinity;

/** Three letters as one number, for comparing. */
function pack3(a: number, b: number, c: number): number {
  return (a << 16) | (b << 8) | c;
}

function packNames(names: string): Int32Array {
  return Int32Array.from(names.split(' '), (name) =>
    pack3(name.charCodeAt(0), name.charCodeAt(1), name.charCodeAt(2)),
  );
}

const MONTHS = packNames('jan feb mar apr may jun jul aug sep oct nov dec');
/** The first of January 1970 was a Thursday. */
const WEEKDAYS = packNames('thu fri sat sun mon tue wed');
/** Days of a common year before each month. */
const DAYS_BEFORE = Int32Array.of(0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334);
const MONTH_DAYS = Int32Array.of(31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31);
const LEAP_DAYS_BEFORE_1970 = 477;

/**
 * Reads times from bytes, without a string or a Date per record. Nothing is clamped or carried over: 24:00, 29
 * February of a common year and years before 1900 are unreadable. So is second 60: neither a Unix clock nor the
 * column can show a leap second, and another second would not be what the switch said.
 */
export class StartTimeReader {
  /** Whether the last time read was absolute UTC (an offset, `Z` or an epoch), or local to the feed's zone. */
  absolute = false;
  readonly #fields = new Int32Array(FIELD_COUNT);
  /** Where the part that was read last ended. */
  #at = 0;

  /**
   * The time in `[start, end)` of `bytes` in ms since 1970, as if UTC where it is local; NaN where it is
   * no time of this notation. Digits beyond the millisecond are cut. A date alone is its midnight, a time alone is
   * one of 1 January 1970.
   */
  read(bytes: Uint8Array, start: number, end: number, program: TimeProgram): number {
    switch (program.kind) {
      case TIME_KIND.isoOrEpoch:
        // The fifth byte of an ISO time is a dash.
        if (end - start < 5 || bytes[start + 4] !== DASH) return this.#epoch(bytes, start, end, program.kind);
        return this.#iso(bytes, start, end, program);
      case TIME_KIND.iso:
        return this.#iso(bytes, start, end, program);
      case TIME_KIND.local: {
        this.absolute = program.bareIsUtc;
        const local = this.#dateTime(bytes, start, end, false);
        return this.#at === end ? local : Number.NaN;
      }
      case TIME_KIND.plain:
        this.absolute = program.bareIsUtc;
        if (end - start !== 19 || bytes[start + 10] !== SPACE) return Number.NaN;
        return this.#dateTime(bytes, start, end, false);
      case TIME_KIND.steps:
        return this.#steps(bytes, start, end, program);
      default:
        return this.#epoch(bytes, start, end, program.kind);
    }
  }

  /**
   * The same for a time that may be none, as the answer of a call that nobody answered: `NO_TIME` where the field is
   * empty, where all its digits are 0 (`0`, `0000-00-00 00:00:00`), and where it is the beginning of 1970 in any zone.
   */
  readOrNone(bytes: Uint8Array, start: number, end: number, program: TimeProgram): number {
    if (isNothing(bytes, start, end)) return NO_TIME;
    const ms = this.read(bytes, start, end, program);
    return Math.abs(ms) <= OFFSET_MS_MAX ? NO_TIME : ms;
  }

  #iso(bytes: Uint8Array, start: number, end: number, program: TimeProgram): number {
    const local = this.#dateTime(bytes, start, end, true);
    this.absolute = program.bareIsUtc;
    if (this.#at === end || Number.isNaN(local)) return local;
    const offset = readOffset(bytes, this.#at, end);
    this.absolute = true;
    return local - offset;
  }

  /** Decimal epoch in the unit of the kind; more digits than the unit has until the year 5138 are none. */
  #epoch(bytes: Uint8Array, start: number, end: number, kind: number): number {
    this.absolute = true;
    let at = start;
    let value = 0;
    for (; at < end; at++) {
      const digit = bytes[at]! - ZERO;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
    }
    const digits = at - start;
    if (digits === 0) return Number.NaN;
    let fraction = 0;
    if (at < end) {
      if (kind === TIME_KIND.isoOrEpoch || bytes[at] !== DOT) return Number.NaN;
      fraction = this.#fraction(bytes, at + 1, end, 0);
      if (this.#at !== end) return Number.NaN;
    }
    const any = kind === TIME_KIND.epoch || kind === TIME_KIND.isoOrEpoch;
    if (kind === TIME_KIND.epochSeconds || (any && digits <= 11))
      return digits <= 11 ? value * 1000 + fraction : Number.NaN;
    // NaN where the fraction has no digits; else it is below the millisecond.
    if (Number.isNaN(fraction)) return Number.NaN;
    if (kind === TIME_KIND.epochMilliseconds || (any && digits <= 14))
      return digits <= 14 ? value : Number.NaN;
    // Read again without the last three digits: with them the value may be beyond 2^53.
    return digits <= 17 ? decimal(bytes, start, at - 3) : Number.NaN;
  }

  /** `YYYY-MM-DD`, `T` or a space, `hh:mm[:ss[.fraction]]`; leaves the end of what it read in `#at`. */
  #dateTime(bytes: Uint8Array, start: number, end: number, secondsOptional: boolean): number {
    if (end - start < 16 || bytes[start + 4] !== DASH || bytes[start + 7] !== DASH) return Number.NaN;
    const divider = bytes[start + 10];
    if ((divider !== UPPER_T && divider !== SPACE) || bytes[start + 13] !== COLON) return Number.NaN;
    const year = twoDigits(bytes, start) * 100 + twoDigits(bytes, start + 2);
    const month = twoDigits(bytes, start + 5);
    const day = twoDigits(bytes, start + 8);
    const hour = twoDigits(bytes, start + 11);
    const minute = twoDigits(bytes, start + 14);
    let at = start + 16;
    let second = 0;
    let fraction = 0;
    if (bytes[at] === COLON && at + 3 <= end) {
      second = twoDigits(bytes, at + 1);
      at += 3;
      if (at < end && bytes[at] === DOT) {
        fraction = this.#fraction(bytes, at + 1, end, 0);
        at = this.#at;
      }
    } else if (!secondsOptional) return Number.NaN;
    this.#at = at;
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59) return Number.NaN;
    return dayMs(year, month, day) + (hour * 3600 + minute * 60 + second) * 1000 + fraction;
  }

  /** Digits of a fraction of a second as ms: exactly `count`, or one or more where it is 0; their end in `#at`. */
  #fraction(bytes: Uint8Array, start: number, end: number, count: number): number {
    const stop = count === 0 || start + count > end ? end : start + count;
    let at = start;
    let value = 0;
    for (; at < stop; at++) {
      const digit = bytes[at]! - ZERO;
      if (digit < 0 || digit > 9) break;
      if (at < start + 3) value = value * 10 + digit;
    }
    this.#at = at;
    const digits = at - start;
    if (digits === 0 || digits < count) return Number.NaN;
    if (digits >= 3) return value;
    return digits === 2 ? value * 10 : value * 100;
  }

  #steps(bytes: Uint8Array, start: number, end: number, program: TimeProgram): number {
    const { steps } = program;
    const fields = this.#fields;
    fields[FIELD.year] = 1970;
    fields[FIELD.month] = 1;
    fields[FIELD.day] = 1;
    fields[FIELD.hour] = 0;
    fields[FIELD.minute] = 0;
    fields[FIELD.second] = 0;
    let fraction = 0;
    let afternoon = -1;
    let weekday = -1;
    let offset = 0;
    this.absolute = program.bareIsUtc;
    // A step may read a little beyond the end: `at` only grows, and is the end in the end.
    let at = start;
    for (let step = 0; step < steps.length; step += STEP_BYTES) {
      const argument = steps[step + 1]!;
      switch (steps[step]) {
        case STEP.literal:
          if (bytes[at] !== argument) return Number.NaN;
          at++;
          break;
        case STEP.number: {
          const stop = Math.min(end, at + steps[step + 3]!);
          const fewest = at + steps[step + 2]!;
          let value = 0;
          for (; at < stop && isDigit(bytes[at]!); at++) value = value * 10 + (bytes[at]! - ZERO);
          if (at < fewest) return Number.NaN;
          fields[argument] = value;
          break;
        }
        case STEP.shortYear: {
          const year = twoDigits(bytes, at);
          if (year < 0) return Number.NaN;
          fields[FIELD.year] = year > 60 ? 1900 + year : 2000 + year;
          at += 2;
          break;
        }
        case STEP.fraction:
          fraction = this.#fraction(bytes, at, end, argument);
          at = this.#at;
          break;
        case STEP.monthName:
          fields[FIELD.month] = MONTHS.indexOf(threeLetters(bytes, at)) + 1;
          at += 3;
          break;
        case STEP.weekdayName:
          weekday = WEEKDAYS.indexOf(threeLetters(bytes, at));
          if (weekday < 0) return Number.NaN;
          at += 3;
          break;
        case STEP.half:
          afternoon = readHalf(bytes, at);
          at += 2;
          break;
        case STEP.offset: {
          const stop = at + 5 + argument;
          offset = readOffset(bytes, at, stop);
          this.absolute = true;
          at = stop;
          break;
        }
        case STEP.abbreviation:
          offset = this.#abbreviation(bytes, at, end, program);
          this.absolute = true;
          at = this.#at;
          break;
        case STEP.optional:
          if (at >= end || bytes[at] !== steps[step + STEP_BYTES + 1]) step += argument * STEP_BYTES;
          break;
        default:
          return Number.NaN;
      }
    }
    if (at !== end) return Number.NaN;
    return this.#moment(weekday, afternoon, fraction) - offset;
  }

  /** The moment that the fields say, or NaN. */
  #moment(weekday: number, afternoon: number, fraction: number): number {
    const fields = this.#fields;
    let hour = fields[FIELD.hour]!;
    const hour12 = fields[FIELD.hour12]!;
    if (afternoon >= 0) {
      if (hour12 < 1 || hour12 > 12) return Number.NaN;
      hour = (hour12 % 12) + 12 * afternoon;
    } else if (Number.isNaN(afternoon)) return Number.NaN;
    const minute = fields[FIELD.minute]!;
    const second = fields[FIELD.second]!;
    if (hour > 23 || minute > 59 || second > 59) return Number.NaN;
    const day = dayMs(fields[FIELD.year]!, fields[FIELD.month]!, fields[FIELD.day]!);
    if (weekday >= 0 && (((day / DAY_MS) % 7) + 7) % 7 !== weekday) return Number.NaN;
    return day + hour * 3_600_000 + minute * 60_000 + second * 1000 + fraction;
  }

  /** Capitals that are a zone of the program, as ms east of UTC; NaN for another word, never a guess. */
  #abbreviation(bytes: Uint8Array, start: number, end: number, program: TimeProgram): number {
    let at = start;
    let packed = 0;
    for (; at < end && bytes[at]! >= 0x41 && bytes[at]! <= 0x5a; at++)
      packed = packLetter(packed, bytes[at]!);
    this.#at = at;
    const found = program.zoneNames.indexOf(packed);
    return found < 0 ? Number.NaN : program.zoneOffsetsMs[found]!;
  }
}

/** True where the field is empty, or has zeros and separators only. */
function isNothing(bytes: Uint8Array, start: number, end: number): boolean {
  let zeros = 0;
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!;
    if (byte === ZERO) zeros++;
    else if (
      byte !== DASH &&
      byte !== COLON &&
      byte !== DOT &&
      byte !== SLASH &&
      byte !== SPACE &&
      byte !== UPPER_T
    )
      return false;
  }
  return zeros > 0 || start === end;
}

/** ms since 1970 at the beginning of a day, NaN where there is no such day. */
function dayMs(year: number, month: number, day: number): number {
  if (year < YEAR_MIN || month < 1 || month > 12 || day < 1) return Number.NaN;
  const leap = (year & 3) === 0 && (year % 100 !== 0 || year % 400 === 0) ? 1 : 0;
  if (day > 28 && day > MONTH_DAYS[month - 1]! + (month === 2 ? leap : 0)) return Number.NaN;
  const before = year - 1;
  const leapDays = (before >> 2) - ((before / 100) | 0) + ((before / 400) | 0) - LEAP_DAYS_BEFORE_1970;
  const dayOfYear = DAYS_BEFORE[month - 1]! + (month > 2 ? leap : 0) + day - 1;
  return ((year - 1970) * 365 + leapDays + dayOfYear) * DAY_MS;
}

/** `Z`, `+hh`, `+hhmm` or `+hh:mm` as ms east of UTC; NaN for anything else. */
function readOffset(bytes: Uint8Array, start: number, end: number): number {
  const sign = bytes[start];
  const length = end - start;
  if (length === 1) return sign === 0x5a || sign === 0x7a ? 0 : Number.NaN;
  if (sign !== PLUS && sign !== DASH) return Number.NaN;
  const hours = twoDigits(bytes, start + 1);
  let minutes = 0;
  if (length === 5) minutes = twoDigits(bytes, start + 3);
  else if (length === 6 && bytes[start + 3] === COLON) minutes = twoDigits(bytes, start + 4);
  else if (length !== 3) return Number.NaN;
  if (hours < 0 || hours > 18 || minutes < 0 || minutes > 59) return Number.NaN;
  const offset = (hours * 60 + minutes) * 60_000;
  return sign === DASH ? -offset : offset;
}

/** 1 for `PM`, 0 for `AM`, in any case; NaN for anything else. */
function readHalf(bytes: Uint8Array, start: number): number {
  if ((bytes[start + 1]! | SMALL) !== 0x6d) return Number.NaN;
  const letter = bytes[start]! | SMALL;
  if (letter === 0x70) return 1;
  return letter === 0x61 ? 0 : Number.NaN;
}

/** Three letters in small ones as one number. */
function threeLetters(bytes: Uint8Array, at: number): number {
  return pack3(bytes[at]! | SMALL, bytes[at + 1]! | SMALL, bytes[at + 2]! | SMALL);
}
