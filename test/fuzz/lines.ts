import { readdirSync, readFileSync } from 'node:fs';
import { DateTime } from 'luxon';
import type { Random } from '../../ingest/generate/random.ts';
import type { Feed } from '../../schemas/feed.ts';
import { DURATION_MS_MAX, FIELD_BYTES_MAX } from '../../schemas/record.ts';
import type { DurationUnit } from '../../schemas/formats/duration-unit.ts';
import type {
  DelimitedSyntax,
  DurationField,
  Format,
  NumberReading,
  Place,
  RecordShape,
  TimeField,
} from '../../schemas/formats/format.ts';
import { listOf } from '../../schemas/formats/places.ts';
import { fixture } from '../cdrhouse-program.ts';
import { ABBREVIATIONS, oneOf, shuffled } from './feeds.ts';

/** Lines of every format as its declaration says that they are written, and those of the fixtures. All numbers are synthetic. */

const NUMBERS = [
  '+33199000001',
  '0199000002',
  '0033199000003',
  '33199000004',
  '9900',
  '1002',
  '*72*1234',
  's',
  'anonymous',
  '',
  '00000000000000000000',
  '+331990000012345',
  '+3319900000123456',
  '+3',
  '+33 199',
  ' +33199000001',
  '+33199000001 ',
];
const TEXTS = [
  '',
  '',
  'north',
  'a, b',
  '"quoted"',
  'été',
  '1767344400.7',
  'pbx-1767344400.8',
  'x;y|z',
  'A\\B',
  "O'N",
  'a <b> c',
  'a\0é',
  // Around the border of sixteen bytes.
  'fifteen letters',
  'fifteen lettersé',
  'sixteen letters!é',
  'fifteen letters"',
  'x\u0080\u0093ÿ',
];
/** What JSON writes with escapes. */
const JSON_TEXTS = [
  'a\b\f\t/"\\',
  '\ud83d\ude00',
  '\ud800\udc00\udbff\udfff',
  '\ud83dx',
  '\udfff',
  'x\u0000é',
  '%2B%C3%A9%',
];
/** Starts around clock changes, month ends, the term and the future; UTC. */
const STARTS = [
  '2026-03-29T01:30:00.250Z',
  '2026-10-25T00:30:00Z',
  '2026-02-28T23:59:59.999Z',
  '2024-02-29T12:00:00Z',
  '2023-11-23T00:00:00Z',
  '2026-11-26T00:00:00Z',
  '1970-01-01T00:00:00Z',
  '1999-12-31T23:59:59Z',
  '2000-02-29T12:00:00Z',
  '2001-09-09T01:46:39Z',
  '2026-11-24T18:00:00Z',
  '2290-01-01T00:00:00Z',
];
const DAY_MS = 86_400_000;
/** Days on which most calls begin: each costs a parser that does not know it yet many questions to luxon. */
const DAYS = Array.from({ length: 8 }, (_, day) => Date.UTC(2024, 6) + 109 * day * DAY_MS);

/** Byte order marks, whole and cut off. */
const MARKS = ['\xef\xbb\xbf', '\xef\xbb', '\xef\xbbx'].map((mark) => Buffer.from(mark, 'latin1'));

/** Lines of one feed. */
export class LineSource {
  readonly #format: Format;
  readonly #zone: string;
  readonly #isUtf8: boolean;
  readonly #recorded: readonly Buffer[];

  constructor({ format, timeZone, encoding = 'utf-8' }: Feed) {
    this.#format = format;
    this.#zone = timeZone;
    this.#isUtf8 = encoding === 'utf-8';
    this.#recorded = recordedLines(format.name);
  }

  /** The head of a message and some lines behind it, as a switch writes them. */
  message(random: Random, lines: number): Buffer {
    const { syntax } = this.#format;
    const names = syntax.kind === 'delimited' ? this.#columnNames(random, syntax) : [];
    const parts: Buffer[] = [];
    const head = syntax.kind === 'delimited' ? headOf(random, syntax, names) : undefined;
    if (head !== undefined && random.chance(0.9)) parts.push(Buffer.from(head));
    for (let i = 0; i < lines; i++) {
      if (this.#recorded.length > 0 && random.chance(0.3)) parts.push(oneOf(random, this.#recorded));
      else if (syntax.kind === 'delimited') parts.push(Buffer.from(this.#delimited(random, syntax, names)));
      else parts.push(Buffer.from(this.#json(random, syntax.urlEncoded ?? false)));
      if (head !== undefined && random.chance(0.1)) parts.push(Buffer.from(head));
      if (syntax.kind === 'delimited' && syntax.comment !== undefined && random.chance(0.1))
        parts.push(Buffer.from(`${syntax.comment} text`));
    }
    const lineEnd = Buffer.from(random.chance(0.2) ? '\r\n' : '\n');
    const joined = Buffer.concat(parts.flatMap((part) => [part, lineEnd]));
    const whole = random.chance(0.3) ? joined.subarray(0, joined.length - lineEnd.length) : joined;
    // Each character a byte, which is no UTF-8.
    const bytes = random.chance(this.#isUtf8 ? 0.15 : 0.6)
      ? Buffer.from(whole.toString('utf8'), 'latin1')
      : Buffer.from(whole);
    return random.chance(0.08)
      ? Buffer.concat([oneOf(random, MARKS), ...(random.chance(0.9) ? [bytes] : [])])
      : bytes;
  }

  /** Names of the columns of a message, in their order; numbers where they have no names. */
  #columnNames(random: Random, { columns }: DelimitedSyntax): readonly Place[] {
    if (columns.by === 'list') return columns.names;
    if (columns.by === 'position') {
      const most = Math.max(...placesOf(this.#format).map(Number)) + 1;
      const count = columns.counts === undefined ? most + random.integer(4) : oneOf(random, columns.counts);
      return Array.from({ length: count }, (_, column) => column);
    }
    const first = columns.first === undefined ? [] : [columns.first];
    const names = [...new Set(placesOf(this.#format))].filter((name) => !first.includes(String(name)));
    return [...first, ...shuffled(random, [...names, 'one_more'])];
  }

  #delimited(random: Random, syntax: DelimitedSyntax, names: readonly Place[]): string {
    const values = this.#values(random);
    const prefix = syntax.linePrefix !== undefined && random.chance(0.7) ? syntax.linePrefix : '';
    return (
      prefix + names.map((name) => written(random, syntax, values.get(name) ?? '')).join(syntax.separator)
    );
  }

  #json(random: Random, urlEncoded: boolean): string {
    const encode = urlEncoded && random.chance(0.7);
    const document: Record<string, unknown> = {};
    for (const [place, value] of this.#values(random)) {
      const text = random.chance(0.04) ? oneOf(random, JSON_TEXTS) : encode ? percentEncoded(value) : value;
      const isNumber = /^(0|[1-9]\d{0,14})(\.\d+)?$/.test(text) && random.chance(0.5);
      const nothing = text === '' && random.chance(0.5);
      setAt(
        document,
        oneOf(random, String(place).split('|')),
        nothing ? null : isNumber ? Number(text) : text,
      );
    }
    if (random.chance(0.05)) document['deep'] = nested(random, oneOf(random, [3, 64, 127, 128, 129]));
    let text = JSON.stringify(document);
    // The same key before, with another value.
    const [key] = Object.keys(document);
    if (key !== undefined && random.chance(0.1))
      text = random.chance(0.5)
        ? `{${JSON.stringify(key)}:"first",${text.slice(1)}`
        : `${text.slice(0, -1)},${JSON.stringify(key)}:null}`;
    return random.chance(0.2)
      ? text.replaceAll(
          /[é+\ud800-\udfff]/g,
          (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`,
        )
      : text;
  }

  /** What stands at each place of a record. */
  #values(random: Random): Map<Place, string> {
    const values = new Map<Place, string>();
    const shape = oneOf(random, this.#format.records);
    const { skip = [] } = this.#format;
    const setText = (place: Place | undefined, text: string): void => {
      if (place !== undefined) values.set(place, text);
    };
    for (const place of placesOf(this.#format)) if (random.chance(0.1)) setText(place, oneOf(random, TEXTS));
    for (const { at, reading } of numberFields(shape))
      for (const place of listOf(at))
        if (random.chance(0.7)) setText(place, address(random, oneOf(random, NUMBERS), reading ?? 'plain'));
    const startMs = random.chance(0.2)
      ? Date.parse(oneOf(random, STARTS))
      : oneOf(random, DAYS) + random.integer(DAY_MS);
    const setTime = ({ at, notation, time }: TimeField, ms: number): void => {
      setText(at, this.#time(random, notation, ms));
      if (time !== undefined) setText(time.at, this.#time(random, time.notation, ms));
    };
    listOf(shape.start).forEach((field) => setTime(field, startMs));
    for (const field of [shape.duration, ...(shape.talk === undefined ? [] : [shape.talk])])
      setDuration(random, field, startMs, setText, setTime);
    for (const rule of [...(shape.outcome?.rules ?? []), ...(shape.direction ?? [])]) {
      if ('time' in rule) setTime(rule.time, random.chance(0.5) ? startMs + 5000 : 0);
      else if ('words' in rule && random.chance(0.7))
        setText(rule.at, inAnyCase(random, oneOf(random, Object.keys(rule.words)), rule.ignoreCase ?? false));
    }
    for (const place of [shape.account, callIdPlace(shape), ...(shape.recordId ?? [])])
      if (!values.has(place ?? '')) setText(place, oneOf(random, TEXTS));
    if (random.chance(0.02))
      setText(callIdPlace(shape) ?? shape.account, 'x'.repeat(FIELD_BYTES_MAX - 1 + random.integer(3)));
    for (const { at, is, isNot } of skip)
      if (isNot !== undefined) setText(at, oneOf(random, isNot));
      else if (random.chance(0.1)) setText(at, oneOf(random, is ?? []));
    if (shape.when !== undefined) setText(shape.when.at, oneOf(random, shape.when.is));
    return values;
  }

  /** A time as this notation writes it. */
  #time(random: Random, notation: string, ms: number): string {
    const text = this.#wholeTime(random, notation, ms);
    // With fewer digits of the fraction, and an epoch with one.
    if (random.chance(0.2)) return text.replace(/\.(\d{1,2})\d+(?=$|[-+Z ])/, '.$1');
    return notation.startsWith('epoch') && random.chance(0.1) ? `${text}.25` : text;
  }

  #wholeTime(random: Random, notation: string, ms: number): string {
    const local = DateTime.fromMillis(ms, { zone: this.#zone });
    const utc = DateTime.fromMillis(ms, { zone: 'UTC' });
    const epochs = [String(Math.floor(ms / 1000)), String(ms), `${ms}000`];
    switch (notation) {
      case 'iso-or-epoch':
        return oneOf(random, [
          ...epochs,
          local.toISO()!,
          utc.toISO()!,
          local.toFormat('yyyy-MM-dd HH:mm:ss'),
        ]);
      case 'iso':
        return oneOf(random, [local.toISO()!, utc.toISO()!]);
      case 'local':
        return local.toFormat('yyyy-MM-dd HH:mm:ss');
      case 'epoch':
        return oneOf(random, epochs);
      case 'epoch-s':
        return epochs[0]!;
      case 'epoch-ms':
        return epochs[1]!;
      case 'epoch-us':
        return epochs[2]!;
      default:
        return byPattern(random, notation, local);
    }
  }
}

function inAnyCase(random: Random, word: string, ignored: boolean): string {
  return random.chance(ignored ? 0.4 : 0.03) ? oneOf(random, [word.toUpperCase(), word.toLowerCase()]) : word;
}

/** Objects and arrays in one another. */
function nested(random: Random, levels: number): unknown {
  let value: unknown = 1;
  for (let level = 0; level < levels; level++) value = random.chance(0.5) ? [value] : { a: value };
  return value;
}

function percentEncoded(text: string): string {
  return [...Buffer.from(text)]
    .map((byte) => {
      const character = String.fromCharCode(byte);
      return /[\w.-]/.test(character) ? character : `%${byte.toString(16).padStart(2, '0').toUpperCase()}`;
    })
    .join('');
}

function byPattern(random: Random, pattern: string, local: DateTime): string {
  // What may be missing, and the tokens that luxon has not.
  const chosen = pattern.replaceAll(/\[([^\]]*)\]/g, random.chance(0.5) ? '$1' : '');
  const zone = oneOf(random, ['UTC', 'GMT', ...Object.keys(ABBREVIATIONS)]);
  const zoned = chosen.includes('zzz') ? chosen.replace('zzz', `'${zone}'`) : chosen;
  const tenth = zoned.replace(/(?<!S)S(?!S)/, `'${Math.floor(local.millisecond / 100)}'`);
  return local.toFormat(tenth, { locale: 'en' });
}

function setDuration(
  random: Random,
  field: DurationField,
  startMs: number,
  setText: (place: Place, text: string) => void,
  setTime: (field: TimeField, ms: number) => void,
): void {
  const ms = random.chance(0.2)
    ? 0
    : random.chance(0.05)
      ? DURATION_MS_MAX - 1 + random.integer(3)
      : random.integer(random.chance(0.05) ? 2 * DAY_MS : 600_000);
  if ('from' in field) {
    setTime(field.from, startMs);
    setTime(field.to, startMs + ms);
  } else if ('at' in field) {
    setText(field.at, random.chance(0.05) ? '' : durationText(random, ms, field.unit));
    for (const part of field.plus ?? []) setText(part.at, durationText(random, ms % 1000, part.unit));
  }
}

function two(value: number): string {
  return String(Math.floor(value)).padStart(2, '0');
}

function durationText(random: Random, ms: number, unit: DurationUnit): string {
  const seconds = Math.floor(ms / 1000);
  switch (unit) {
    case 's':
      return oneOf(random, [String(seconds), (ms / 1000).toFixed(3), `${seconds}.5`, `${seconds}.25`]);
    case 'ms':
      return String(ms);
    case 'us':
      return `${ms}${String(random.integer(1000)).padStart(3, '0')}`;
    case 'ticks':
      return oneOf(random, [String(Math.floor(ms / 10)), (ms / 10).toFixed(1)]);
    case 'hh:mm:ss':
      return `${two(seconds / 3600)}:${two((seconds / 60) % 60)}:${two(random.chance(0.05) ? 60 : seconds % 60)}${oneOf(random, ['', '.5', '.25'])}`;
    case 'mm:ss':
      return `${two(seconds / 60)}:${two(seconds % 60)}`;
    default:
      // Go.
      return oneOf(random, [
        `${seconds}s`,
        `${ms}ms`,
        `${Math.floor(seconds / 60)}m${seconds % 60}.25s`,
        `${seconds}s1s`,
        `1h${seconds}ms`,
        '1m1m',
        '2s1h',
      ]);
  }
}

function address(random: Random, number: string, reading: NumberReading): string {
  if (reading === 'plain' || random.chance(0.2)) return number;
  if (reading === 'name-addr') return `"${oneOf(random, TEXTS)}" <${number}>`;
  return oneOf(random, [
    `sip:${number}@192.0.2.1;user=phone`,
    `"${oneOf(random, TEXTS)}" <sip:${number}@192.0.2.1:5060>;tag=1`,
    `tel:${number}`,
    'tel:+33-1(99)00.00-01',
    `sip:${number.replace('+', '%2B')}:secret@192.0.2.1`,
    `${number}@192.0.2.7`,
  ]);
}

/** A field as the syntax writes it; where it has no way to, as it is. */
function written(random: Random, { separator, quotes }: DelimitedSyntax, text: string): string {
  switch (quotes) {
    case 'rfc4180': {
      const needs = text.includes('"') || text.includes(separator);
      return needs || random.chance(0.3) ? `"${text.replaceAll('"', '""')}"` : text;
    }
    case 'lenient':
      return random.chance(0.5) || text.includes(separator) ? `"${text}"` : text;
    case 'backslash':
      return text.replaceAll('\\', '\\\\').replaceAll(separator, `\\${separator}`);
    default:
      return random.chance(0.9) ? text.replaceAll(separator, '_') : text;
  }
}

function headOf(random: Random, syntax: DelimitedSyntax, names: readonly Place[]): string | undefined {
  const { columns, encodingLine } = syntax;
  if (encodingLine !== undefined)
    return `${encodingLine}14.2 encoding=${oneOf(random, ['ISO-8859-1', 'UTF-8', 'windows-1252', 'Shift_JIS', 'EBCDIC'])}`;
  if (columns.by !== 'header') return undefined;
  return names.map((name) => written(random, syntax, String(name))).join(syntax.separator);
}

function numberFields({ callingNumber, displayedCallerId, dialedNumber }: RecordShape) {
  return [callingNumber, dialedNumber, ...(displayedCallerId === undefined ? [] : [displayedCallerId])];
}

export function callIdPlace({ callId }: RecordShape): Place | undefined {
  return typeof callId === 'object' ? callId.at : callId;
}

function timePlaces({ at, time }: TimeField): Place[] {
  return time === undefined ? [at] : [at, time.at];
}

function durationPlaces(field: DurationField | undefined): Place[] {
  if (field === undefined || 'none' in field) return [];
  if ('from' in field) return [...timePlaces(field.from), ...timePlaces(field.to)];
  return [field.at, ...(field.plus ?? []).map(({ at }) => at)];
}

function optional(place: Place | undefined): Place[] {
  return place === undefined ? [] : [place];
}

/** Every place that the format looks at. */
export function placesOf({ records, skip = [], epochId }: Format): Place[] {
  return [
    ...optional(epochId),
    ...skip.map(({ at }) => at),
    ...records.flatMap((shape) => [
      ...optional(shape.when?.at),
      ...numberFields(shape).flatMap(({ at }) => [...listOf(at)]),
      ...listOf(shape.start).flatMap(timePlaces),
      ...durationPlaces(shape.duration),
      ...durationPlaces(shape.talk),
      ...[...(shape.outcome?.rules ?? []), ...(shape.direction ?? [])].flatMap((rule) =>
        'time' in rule ? timePlaces(rule.time) : [rule.at],
      ),
      ...optional(shape.account),
      ...optional(callIdPlace(shape)),
      ...(shape.recordId ?? []),
    ]),
  ];
}

/** Sets a value in a document; where a path leads through something else, not. */
function setAt(document: object, path: string, value: unknown): void {
  const steps = [...path.matchAll(/[^.[\]]+/g)].map(([step]) => (/^-?\d+$/.test(step) ? 0 : step));
  let at = document as Record<string | number, unknown>;
  for (const [i, step] of steps.entries()) {
    if (Array.isArray(at) !== (step === 0)) return;
    if (i === steps.length - 1) at[step] = value;
    else at = (at[step] ??= steps[i + 1] === 0 ? [] : {}) as typeof at;
    if (typeof at !== 'object' || at === null) return;
  }
}

const FILES = readdirSync(fixture('.'));

function recordedLines(format: string): Buffer[] {
  return FILES.filter((name) =>
    name.startsWith(format === 'asterisk-csv' ? 'asterisk-' : `${format}.`),
  ).flatMap((name) =>
    readFileSync(fixture(name), 'latin1')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => Buffer.from(line, 'latin1')),
  );
}
