import { isUtf8 } from 'node:buffer';
import { DateTime, IANAZone } from 'luxon';
import type { Feed } from '../../schemas/feed.ts';
import type { DurationUnit } from '../../schemas/formats/duration-unit.ts';
import { findEncoding } from '../../schemas/formats/encoding.ts';
import type {
  DurationField,
  NumberField,
  NumberReading,
  Place,
  RecordShape,
  TimeField,
  WordRule,
} from '../../schemas/formats/format.ts';
import { listOf } from '../../schemas/formats/places.ts';
import { e164Key, isE164, textKey } from '../../schemas/number-key.ts';
import { DURATION_MS_MAX, FIELD_BYTES_MAX } from '../../schemas/record.ts';
import { deriveKey, type KeyKind } from '../../schemas/record-key.ts';
import { sipHash24 } from '../../schemas/siphash.ts';
import { placesOf } from './lines.ts';
import type { Outcome, StoredOutcome } from './outcomes.ts';

/*
 * What is stored of a record whose columns are known: the same rules once more, by regular expressions, luxon and big
 * integers. `undefined` stands for what is not told here.
 */

/** The clock of every case, so that a case is the same on every day. */
export const NOW_MS = Date.UTC(2026, 10, 24);
export const FUTURE_MS_MAX = 86_400_000;
export const IDENTITY_KEY = new Uint8Array(32).fill(7);

const DAY_MS = 86_400_000;
/** As far from UTC as a zone is, 1970 is no time of an answer. */
const NONE_MS_MAX = 14 * 3_600_000;

/** The columns of a record by place. */
export interface RecordColumns {
  /** How many there are; undefined in JSON. */
  readonly count: number | undefined;
  /** As sent; empty where there is none. */
  readonly bytes: (place: Place) => Buffer;
  /** The line without its end. */
  readonly line: Uint8Array;
  /** As Latin-1; empty where there is none. */
  readonly head: string;
}

/** What of a record is stored, or refused, other than the rules say; undefined: nothing. */
export function differentStored(
  feed: Feed,
  shape: RecordShape,
  columns: RecordColumns,
  outcome: Outcome,
): string | undefined {
  const text = (place: Place): string => columns.bytes(place).toString('latin1');
  const startMs = startOf(feed, shape, text);
  const durationMs = durationOf(feed, shape, shape.duration, text);
  const talkMs = shape.talk === undefined ? null : durationOf(feed, shape, shape.talk, text, true);
  if (outcome.kind === 'rejected') {
    const { code, field } = outcome;
    const refused = (ms: number | null | undefined, unreadable: string): boolean =>
      code === unreadable && ms !== undefined && (ms === null || ms >= 0);
    if (refused(startMs, 'START_UNREADABLE')) return `a start of ${startMs} is refused`;
    for (const [name, ms] of [
      ['duration', durationMs],
      ['talk_duration', talkMs],
    ] as const)
      if (field === name && /^(DURATION_|FIELD_MISSING)/.test(code) && refused(ms, code))
        return `a ${name} of ${ms} ms is refused`;
    if (code === 'START_IMPLAUSIBLE' && startMs !== undefined && startMs >= feed.earliestStartMs)
      return `a start of ${startMs} is plausible`;
    if (code === 'START_IN_FUTURE' && startMs !== undefined && startMs <= NOW_MS + FUTURE_MS_MAX)
      return `a start of ${startMs} is no future`;
    return undefined;
  }
  const tooLong = placesOf(feed.format).find((place) => columns.bytes(place).length > FIELD_BYTES_MAX);
  if (tooLong !== undefined) return `${tooLong} is longer than a field may be`;
  const numbers: Readonly<Record<string, string | undefined>> = {
    calling_number: numberOf(feed, shape.callingNumber, feed.numbers.calling, columns),
    dialed_number: numberOf(feed, shape.dialedNumber, feed.numbers.dialed, columns),
    displayed_caller_id:
      shape.displayedCallerId === undefined
        ? ''
        : numberOf(feed, shape.displayedCallerId, feed.numbers.displayed, columns),
  };
  const { callId } = shape;
  const idPlace = typeof callId === 'object' ? callId.at : callId;
  const idMin = typeof callId === 'object' ? callId.columnsMin : 0;
  const hasId = columns.count === undefined || columns.count >= idMin;
  const texts = {
    ...numbers,
    account: shape.account === undefined ? '' : asText(feed, columns, columns.bytes(shape.account)),
    call_id: idPlace === undefined || !hasId ? '' : asText(feed, columns, columns.bytes(idPlace)),
    outcome: wordOf(shape.outcome?.rules ?? [], shape.outcome?.otherwise ?? 'unknown', text),
    direction: wordOf(shape.direction ?? [], 'unknown', text),
    recordKey: recordKeyOf(feed, shape, columns),
  };
  for (const [name, expected] of Object.entries(texts))
    if (expected !== undefined && outcome[name as keyof typeof texts] !== expected)
      return `${name} is ${JSON.stringify(outcome[name as keyof typeof texts])} instead of ${JSON.stringify(expected)}`;
  for (const [name, stored, expected] of [
    ['start', outcome.startMs, startMs],
    ['duration', outcome.durationMs, durationMs],
    ['talk', outcome.talkMs, talkMs],
  ] as const)
    if (expected !== undefined && stored !== expected)
      return `${name} is ${stored} instead of ${expected} ms`;
  return undefined;
}

/** The key of the calling number that is stored. */
export function numberKeyOf(feed: Feed, { calling_number: number }: StoredOutcome): string {
  return String(isE164(number) ? e164Key(number) : textKey(hashOf(feed, 'number', Buffer.from(number))));
}

function hashOf(feed: Feed, kind: KeyKind, bytes: Uint8Array): bigint {
  return sipHash24(deriveKey(IDENTITY_KEY, kind, feed.name), bytes);
}

/** Undefined: the key is made of the place in Kafka. */
function recordKeyOf(
  feed: Feed,
  { recordId = [] }: RecordShape,
  { bytes, line }: RecordColumns,
): string | undefined {
  if (feed.identity === 'position') return undefined;
  const parts = recordId.map(bytes);
  const hasId = parts.length > 0 && parts.every(({ length }) => length > 0) && feed.identity !== 'fields';
  if (!hasId) return String(hashOf(feed, 'fields', line));
  const sized = parts.flatMap((part) => [Buffer.of(part.length & 255, part.length >> 8), part]);
  return String(hashOf(feed, 'record', Buffer.concat(sized)));
}

/** What windows-1252 has from 0x80 on, by Unicode's mapping; some releases of Node take it for Latin-1. */
const WESTERN = [
  0x20ac, 0x81, 0x201a, 0x192, 0x201e, 0x2026, 0x2020, 0x2021, 0x2c6, 0x2030, 0x160, 0x2039, 0x152, 0x8d,
  0x17d, 0x8f, 0x90, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x2dc, 0x2122, 0x161, 0x203a,
  0x153, 0x9d, 0x17e, 0x178,
];

/** The text that these bytes are in the encoding of the feed, or of its file. */
function asText({ encoding }: Feed, { head }: RecordColumns, bytes: Buffer): string {
  const named = /^version=.*\bencoding=([\w.:-]+)/.exec(head)?.[1];
  const used = (named === undefined ? undefined : findEncoding(named)) ?? encoding ?? 'utf-8';
  if (/^[\0-\x7f]*$/.test(bytes.toString('latin1'))) return bytes.toString('latin1');
  if (used === 'utf-8') return bytes.toString(isUtf8(bytes) ? 'utf8' : 'latin1');
  if (used === 'iso-8859-1') return bytes.toString('latin1');
  if (used === 'windows-1252')
    return String.fromCodePoint(...[...bytes].map((byte) => WESTERN[byte - 0x80] ?? byte));
  return new TextDecoder(used).decode(bytes);
}

/** Undefined: by rules of the dial plan, which have tests of their own. */
function numberOf(
  feed: Feed,
  { at, reading = 'plain' }: NumberField,
  rules: object | undefined,
  columns: RecordColumns,
): string | undefined {
  if (rules !== undefined) return undefined;
  const sent =
    listOf(at)
      .map(columns.bytes)
      .find(({ length }) => length > 0) ?? Buffer.alloc(0);
  return asText(feed, columns, Buffer.from(inAddress(sent.toString('latin1'), reading), 'latin1'));
}

function inAddress(text: string, reading: NumberReading): string {
  if (reading === 'plain') return text;
  if (reading === 'name-addr') return /<([^<]*)>$/.exec(text)?.[1] ?? text;
  const name = /^(["'])(?:\\[^]|(?!\1)[^\\])*\1/.exec(text)?.[0];
  const open = name === undefined ? text.lastIndexOf('<') : text.indexOf('<', name.length);
  if (open < 0) return name === undefined ? (userOf(text) ?? text) : text;
  const [inner] = text.slice(open + 1).split('>', 1);
  return userOf(inner!) ?? (name !== undefined && name.length > 2 ? name.slice(1, -1) : text);
}

function decoded(text: string): string {
  return text.replaceAll(/%([2-7][0-9a-f])/gi, (code, digits: string) =>
    digits.toLowerCase() === '7f' ? code : String.fromCharCode(Number.parseInt(digits, 16)),
  );
}

/** The user of a URI, or a whole address that is none; undefined where it has no user. */
function userOf(address: string): string | undefined {
  const tel = /^tel:([^;?]*)/i.exec(address)?.[1];
  if (tel !== undefined) return decoded(tel).replaceAll(/[-.()]/g, '') || undefined;
  const sip = /^sips?:([^]*)$/i.exec(address)?.[1];
  if (sip !== undefined) {
    const [user, host] = sip.split('@', 2);
    if (host !== undefined) return decoded(user!.split(/[;:]/, 1)[0]!) || undefined;
    const number = sip.split(/[;?]/, 1)[0]!;
    return /^[0-9+*#]+$/.test(number) ? number : undefined;
  }
  return /^([^@ ]+)@/.exec(address)?.[1] ?? (address || undefined);
}

/** Undefined: it is not told. */
function wordOf(
  rules: readonly WordRule<string>[],
  otherwise: string,
  text: (place: Place) => string,
): string | undefined {
  let empty = true;
  for (const rule of rules) {
    const sent = text('time' in rule ? rule.time.at : rule.at);
    if (sent === '') continue;
    empty = false;
    if ('time' in rule) {
      const none = isNone(rule.time, text);
      if (none === undefined) return undefined;
      if (!none) return rule.filled;
    } else if ('filled' in rule) {
      if (!/^[\0-0:]*$/.test(sent)) return rule.filled;
    } else {
      const same = (word: string): boolean =>
        Buffer.from(word).toString('latin1') === sent ||
        (rule.ignoreCase === true && /^[\0-\x7f]*$/.test(sent) && word.toLowerCase() === sent.toLowerCase());
      if (rule.ignoreCase === true && !/^[\0-\x7f]*$/.test(sent)) return undefined;
      const found = Object.entries(rule.words).find(([word]) => same(word));
      if (found !== undefined) return found[1];
    }
  }
  return empty ? 'unknown' : otherwise === 'reject' ? undefined : otherwise;
}

/** ms; null: unknown; -1: it must be refused; undefined: it is not told. */
function durationOf(
  feed: Feed,
  shape: RecordShape,
  field: DurationField,
  text: (place: Place) => string,
  isTalk = false,
): number | null | undefined {
  if ('none' in field) return isTalk ? undefined : 0;
  if ('from' in field) {
    const none = isNone(field.from, text);
    if (none === undefined) return undefined;
    if (none) return 0;
    if (text(field.to.at) === '') return isTalk ? null : -1;
    const [from, to] = [timeOf(feed, field.from, text), timeOf(feed, field.to, text)];
    if (from === undefined || to === undefined) return undefined;
    return to >= from ? inRange(to - from) : -1;
  }
  if (text(field.at) === '') {
    if (isTalk) return null;
    if (field.emptyUnanswered !== true) return -1;
    const word = wordOf(shape.outcome?.rules ?? [], shape.outcome?.otherwise ?? 'unknown', text);
    return word === undefined ? undefined : word === 'answered' ? -1 : 0;
  }
  const parts = [field, ...(field.plus ?? []).filter(({ at }) => text(at) !== '')];
  const values = parts.map(({ at, unit }) => inRange(millisecondsOf(text(at), unit)));
  return values.includes(-1) ? -1 : inRange(values.reduce((sum, one) => sum + one, 0));
}

function inRange(ms: number): number {
  return ms <= DURATION_MS_MAX ? ms : -1;
}

const CLOCK: Partial<Record<DurationUnit, RegExp>> = {
  'hh:mm:ss': /^(\d+):([0-5]\d):([0-5]\d)(?:\.(\d+))?$/,
  'mm:ss': /^(?:(\d+):(?=[0-5]\d:))?(\d+):([0-5]\d)(?:\.(\d+))?$/,
};

/** The first three digits of a fraction. */
function thousandths(digits = ''): number {
  return Number(`${digits}000`.slice(0, 3));
}

/** -1: it is none of this unit. */
function millisecondsOf(text: string, unit: DurationUnit): number {
  const clock = CLOCK[unit];
  if (clock !== undefined) {
    const [, hours = '0', minutes, seconds, fraction] = clock.exec(text) ?? [];
    if (minutes === undefined) return -1;
    return (Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds)) * 1000 + thousandths(fraction);
  }
  if (unit === 'go') {
    const whole = /^(?=.)(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)(?:\.(\d+))?s)?(?:(\d+)(?:\.\d+)?ms)?$/.exec(
      text,
    );
    if (whole === null) return -1;
    const [, hours, minutes, seconds, fraction, milliseconds] = whole;
    const value = (Number(hours ?? 0) * 3600 + Number(minutes ?? 0) * 60 + Number(seconds ?? 0)) * 1000;
    return value + thousandths(fraction) + Number(milliseconds ?? 0);
  }
  const [, digits, fraction] = /^(\d+)(?:\.(\d+))?$/.exec(text) ?? [];
  if (digits === undefined) return -1;
  const value = Number(digits);
  switch (unit) {
    case 's':
      return value * 1000 + thousandths(fraction);
    case 'ms':
      return value;
    case 'us':
      return Math.floor(value / 1000);
    default:
      return value * 10 + Number(fraction?.[0] ?? 0);
  }
}

/** -1: it must be refused; undefined: it is not told. */
function startOf(feed: Feed, { start }: RecordShape, text: (place: Place) => string): number | undefined {
  const fields = listOf(start);
  return timeOf(feed, fields.find(({ at }) => text(at) !== '') ?? fields[0]!, text);
}

function isNone(field: TimeField, text: (place: Place) => string): boolean | undefined {
  const sent = text(field.at);
  if (sent === '' || (/^[-0:./ T]*$/.test(sent) && sent.includes('0'))) return true;
  // As if UTC where it is local.
  const ms = momentOf({ ...field, bare: 'utc' }, sent)?.ms;
  return ms === undefined ? undefined : Math.abs(ms) <= NONE_MS_MAX;
}

/** UTC ms. */
function timeOf(feed: Feed, field: TimeField, text: (place: Place) => string): number | undefined {
  const date = momentOf(field, text(field.at));
  if (date === undefined || field.time === undefined) return date && toUtc(feed, date);
  const { at, notation } = field.time;
  const clock = momentOf({ at, notation }, text(at));
  return clock && toUtc(feed, { ms: date.ms + clock.ms, absolute: date.absolute });
}

interface Moment {
  readonly ms: number;
  /** False: `ms` is local time, as if it were UTC. */
  readonly absolute: boolean;
}

function momentOf({ notation, bare }: TimeField, text: string): Moment | undefined {
  const absolute = bare === 'utc';
  switch (notation) {
    case 'iso-or-epoch':
      return isoOf(text, absolute) ?? epochOf(text, notation);
    case 'iso':
      return isoOf(text, absolute);
    case 'local':
      return /:\d\d:\d\d/.test(text) && !/[Zz]|[+-]\d\d(:?\d\d)?$/.test(text.slice(10))
        ? isoOf(text, absolute)
        : undefined;
    case 'epoch':
    case 'epoch-s':
    case 'epoch-ms':
    case 'epoch-us':
      return epochOf(text, notation);
    default:
      return patternOf(text, notation, absolute);
  }
}

function isoOf(text: string, absolute: boolean): Moment | undefined {
  const [, day, clock, seconds = ':00', fraction = '', zone] =
    /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(:\d\d)?(?:(?<=:\d\d:\d\d)\.(\d+))?([Zz]|[+-]\d\d(?::?\d\d)?)?$/.exec(
      text,
    ) ?? [];
  if (day === undefined) return undefined;
  const ms = Date.parse(`${day}T${clock}${seconds}.${`${fraction}000`.slice(0, 3)}Z`);
  // A day that is not there is another one, and 24:00 the next one.
  if (Number.isNaN(ms) || !new Date(ms).toISOString().startsWith(`${day}T${clock}${seconds}`))
    return undefined;
  if (zone === undefined) return { ms, absolute };
  const [, sign, hours = '0', minutes = '0'] = /([+-])(\d\d):?(\d\d)?/.exec(zone) ?? [];
  // No zone is so far from UTC, nor has so many minutes.
  if (Number(hours) > 18 || Number(minutes) > 59) return undefined;
  return {
    ms: ms - (sign === '-' ? -1 : 1) * (Number(hours) * 60 + Number(minutes)) * 60_000,
    absolute: true,
  };
}

function epochOf(text: string, notation: string): Moment | undefined {
  const [, digits, fraction = ''] = /^(\d{1,17})(?:\.(\d+))?$/.exec(text) ?? [];
  if (digits === undefined || (notation === 'iso-or-epoch' && text.includes('.'))) return undefined;
  const { length } = digits;
  const unit = notation.startsWith('epoch-')
    ? notation.slice('epoch-'.length)
    : length <= 11
      ? 's'
      : length <= 14
        ? 'ms'
        : 'us';
  if (length > { s: 11, ms: 14, us: 17 }[unit]!) return undefined;
  const value = BigInt(digits);
  const ms =
    unit === 's'
      ? value * 1000n + BigInt(`${fraction}000`.slice(0, 3))
      : unit === 'ms'
        ? value
        : value / 1000n;
  return { ms: Number(ms), absolute: true };
}

function patternOf(text: string, pattern: string, absolute: boolean): Moment | undefined {
  if (!/^[\x20-\x7e]*$/.test(text)) return undefined;
  const name = /\b(UTC|GMT|PST|IST)\b/.exec(text)?.[0];
  const offset = { UTC: 0, GMT: 0, PST: -8, IST: 5.5 }[name ?? ''];
  const zoned = pattern.includes('zzz');
  if (zoned && offset === undefined) return undefined;
  const tokens = pattern.replace('zzz', `'${name}'`);
  // Tokens that luxon has not, or takes for more than we do.
  if (/[[\]]|ZZ|(?<!S)S(?!S)/.test(tokens.replaceAll(/'[^']*'/g, ''))) return undefined;
  const local = DateTime.fromFormat(text, tokens, { zone: 'UTC', locale: 'en' });
  if (!local.isValid) return undefined;
  // Without a date luxon takes that of today.
  const ms = /[yMd]/.test(pattern) ? local.toMillis() : local.toMillis() % DAY_MS;
  return { ms: ms - (zoned ? offset! * 3_600_000 : 0), absolute: absolute || zoned };
}

/** The earlier of two, and one that is not there moved on by the gap; undefined near two changes of the clock. */
function toUtc({ timeZone }: Feed, { ms, absolute }: Moment): number | undefined {
  if (absolute) return ms;
  const zone = IANAZone.create(timeZone);
  const offsetMs = (utc: number): number => Math.round(zone.offset(utc) * 60_000);
  const [before, behind] = [offsetMs(ms - DAY_MS), offsetMs(ms + DAY_MS)];
  const there = [before, behind].map((offset) => ms - offset).filter((utc) => ms - offsetMs(utc) === utc);
  return there.length > 0 ? Math.min(...there) : ms - before;
}
