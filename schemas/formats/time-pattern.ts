/**
 * How times are written: a name, or a pattern in luxon's tokens, compiled once to steps that
 * `ingest/parse/start-time.ts` runs over bytes.
 *
 * Two things luxon does not have: `zzz` is an abbreviation from the notation's own table, and `[…]` may be missing.
 * One differs: `S` is a tenth of a second, as in other pattern languages; luxon reads `.7` there as 7 ms.
 */

/** Names of notations that are no patterns. */
export const TIME_NAMES = [
  /** ISO 8601 with `Z`, an offset or bare, or an epoch in s, ms or us by its magnitude. */
  'iso-or-epoch',
  'iso',
  /** `yyyy-MM-dd HH:mm:ss`, also with `T` and with a fraction. */
  'local',
  /** Seconds up to 11 digits, milliseconds up to 14, microseconds up to 17; a decimal fraction is allowed. */
  'epoch',
  'epoch-s',
  'epoch-ms',
  'epoch-us',
] as const;

/** What a notation is to give: a moment, or one of its halves where they stand in two columns. */
export type TimeParts = 'date-time' | 'date' | 'time';

export interface TimeOptions {
  /** What `zzz` may be, as `±hh:mm`. Abbreviations are ambiguous (CST, IST): only `UTC`, `GMT` and `Z` are known without it. */
  readonly zones?: Readonly<Record<string, string>>;
  /** Whose zone a time without a zone is in; default: the feed's. */
  readonly bare?: 'feed' | 'utc';
  /** Default: `date-time`. */
  readonly parts?: TimeParts;
}

/** How a program is read: by hand-written code where many feeds need it, else by its steps. */
export const TIME_KIND = {
  isoOrEpoch: 0,
  iso: 1,
  local: 2,
  epoch: 3,
  epochSeconds: 4,
  epochMilliseconds: 5,
  epochMicroseconds: 6,
  /** `yyyy-MM-dd HH:mm:ss` exactly. */
  plain: 7,
  steps: 8,
} as const;

/** A notation made ready for reading. */
export interface TimeProgram {
  readonly kind: number;
  /** `STEP_BYTES` a step: what it is, and up to three arguments. */
  readonly steps: Uint8Array;
  /** Abbreviations (`packLetter`), and beside them their offsets, in ms east of UTC. */
  readonly zoneNames: Float64Array;
  readonly zoneOffsetsMs: Float64Array;
  readonly bareIsUtc: boolean;
}

export const STEP_BYTES = 4;
export const STEP = {
  /** This byte. */
  literal: 0,
  /** A number: its field, fewest and most digits. */
  number: 1,
  /** A year of two digits, as luxon reads it: 61 to 99 are the last century. */
  shortYear: 2,
  /** Digits of a fraction of a second: how many, 0 is any number of them. */
  fraction: 3,
  /** The first three letters of an English name, in any case. */
  monthName: 4,
  weekdayName: 5,
  /** `AM` or `PM`. */
  half: 6,
  /** `±hh:mm` where the argument is 1, `±hhmm` where it is 0. */
  offset: 7,
  abbreviation: 8,
  /** So many steps are passed over where the byte is not that of the literal that comes next. */
  optional: 9,
} as const;

/** Fields that steps write. */
export const FIELD = { year: 0, month: 1, day: 2, hour: 3, minute: 4, second: 5, hour12: 6 } as const;
export const FIELD_COUNT = 7;

/** Longest abbreviation; longer ones would not pack into a double exactly. */
const ABBREVIATION_LETTERS_MAX = 6;

/** Appends a letter (A is 0x41) to a packed abbreviation. */
export function packLetter(packed: number, letter: number): number {
  return packed * 27 + (letter - 0x40);
}

/** The notation made ready for reading. Throws RangeError with what `checkTimeNotation` says. */
export function compileTime(notation: string, options: TimeOptions = {}): TimeProgram {
  const program = build(notation, options);
  if (typeof program === 'string') throw new RangeError(program);
  return program;
}

/** What is wrong with the notation and what is allowed, or undefined where nothing is. */
export function checkTimeNotation(notation: string, options: TimeOptions = {}): string | undefined {
  const program = build(notation, options);
  return typeof program === 'string' ? program : undefined;
}

type Part = keyof typeof FIELD | 'half' | 'weekday' | 'fraction' | 'zone';

interface Step {
  readonly op: number;
  readonly arguments: number[];
  /** As it stands in the pattern. */
  readonly text: string;
  readonly part?: Part;
  /** The optional sections around it, by the places of their first steps. */
  readonly sections: readonly number[];
}

type Token = Pick<Step, 'op' | 'arguments' | 'part'>;

function number(part: keyof typeof FIELD, fewest: number, most: number): Token {
  return { op: STEP.number, arguments: [FIELD[part], fewest, most], part };
}

const TOKENS: Readonly<Record<string, Token>> = {
  yyyy: number('year', 4, 4),
  yy: { op: STEP.shortYear, arguments: [], part: 'year' },
  MM: number('month', 2, 2),
  M: number('month', 1, 2),
  MMM: { op: STEP.monthName, arguments: [], part: 'month' },
  dd: number('day', 2, 2),
  d: number('day', 1, 2),
  EEE: { op: STEP.weekdayName, arguments: [], part: 'weekday' },
  HH: number('hour', 2, 2),
  H: number('hour', 1, 2),
  hh: number('hour12', 2, 2),
  h: number('hour12', 1, 2),
  a: { op: STEP.half, arguments: [], part: 'half' },
  mm: number('minute', 2, 2),
  m: number('minute', 1, 2),
  ss: number('second', 2, 2),
  s: number('second', 1, 2),
  S: { op: STEP.fraction, arguments: [1], part: 'fraction' },
  SS: { op: STEP.fraction, arguments: [2], part: 'fraction' },
  SSS: { op: STEP.fraction, arguments: [3], part: 'fraction' },
  SSSSSS: { op: STEP.fraction, arguments: [6], part: 'fraction' },
  u: { op: STEP.fraction, arguments: [0], part: 'fraction' },
  ZZ: { op: STEP.offset, arguments: [1], part: 'zone' },
  ZZZ: { op: STEP.offset, arguments: [0], part: 'zone' },
  zzz: { op: STEP.abbreviation, arguments: [], part: 'zone' },
};

const ALLOWED = `a notation is one of ${TIME_NAMES.join(', ')}, or a pattern of ${Object.keys(TOKENS).join(' ')}, with text in single quotes and optional ends of the time in [ ]`;

/** Longest pattern, so that every count in a step fits into a byte. */
const PATTERN_LETTERS_MAX = 100;
const DATE_PARTS: ReadonlySet<Part> = new Set(['year', 'month', 'day', 'weekday']);
const OPTIONAL_PARTS: ReadonlySet<Part> = new Set(['second', 'fraction', 'zone']);
const NAMED_KINDS: Readonly<Record<(typeof TIME_NAMES)[number], number>> = {
  'iso-or-epoch': TIME_KIND.isoOrEpoch,
  iso: TIME_KIND.iso,
  local: TIME_KIND.local,
  epoch: TIME_KIND.epoch,
  'epoch-s': TIME_KIND.epochSeconds,
  'epoch-ms': TIME_KIND.epochMilliseconds,
  'epoch-us': TIME_KIND.epochMicroseconds,
};

function build(notation: string, options: TimeOptions): TimeProgram | string {
  const zones = readZones(options.zones ?? {});
  if (typeof zones === 'string') return zones;
  const { parts = 'date-time', bare = 'feed' } = options;
  const named = Object.entries(NAMED_KINDS).find(([name]) => name === notation);
  if (named !== undefined) {
    if (parts !== 'date-time') return `"${notation}" is more than a ${parts}`;
    return { kind: named[1], steps: new Uint8Array(), ...zones, bareIsUtc: bare === 'utc' };
  }
  const steps = readPattern(notation);
  if (typeof steps === 'string') return steps;
  const wrong = wrongParts(steps, parts) ?? wrongSections(steps) ?? ambiguity(steps);
  if (wrong !== undefined) return `"${notation}": ${wrong}`;
  return {
    kind: notation === 'yyyy-MM-dd HH:mm:ss' ? TIME_KIND.plain : TIME_KIND.steps,
    steps: Uint8Array.from(
      steps.flatMap((step) => [step.op, ...step.arguments, 0, 0, 0].slice(0, STEP_BYTES)),
    ),
    ...zones,
    bareIsUtc: bare === 'utc',
  };
}

function readPattern(pattern: string): Step[] | string {
  if (pattern === '' || pattern.length > PATTERN_LETTERS_MAX)
    return `a pattern has 1 to ${PATTERN_LETTERS_MAX} characters; ${ALLOWED}`;
  const steps: Step[] = [];
  const open: number[] = [];
  for (const [text] of pattern.matchAll(/'[^']*'|([A-Za-z])\1*|./gsu)) {
    const sections = [...open];
    if (text === '[') {
      open.push(steps.length);
      steps.push({ op: STEP.optional, arguments: [0], text, sections });
    } else if (text === ']') {
      const opened = open.pop();
      if (opened === undefined) return `"${pattern}": "]" without "["`;
      steps[opened]!.arguments[0] = steps.length - opened - 1;
    } else if (/^[A-Za-z]/.test(text)) {
      const token = TOKENS[text];
      if (token === undefined) return `"${pattern}": "${text}" is unknown; ${ALLOWED}`;
      steps.push({ ...token, text, sections });
    } else if (text === "'") return `"${pattern}": a quote that is not closed`;
    else {
      const literal = text.length > 1 && text.startsWith("'") ? text.slice(1, -1) : text;
      for (const byte of new TextEncoder().encode(literal))
        steps.push({ op: STEP.literal, arguments: [byte], text, sections });
    }
  }
  return open.length === 0 ? steps : `"${pattern}": "[" without "]"`;
}

function wrongParts(steps: readonly Step[], wanted: TimeParts): string | undefined {
  const present = steps.flatMap(({ part }) => part ?? []);
  const has = (...parts: readonly Part[]): boolean => parts.every((part) => present.includes(part));
  const twice = present.find((part, at) => present.indexOf(part) !== at);
  if (twice !== undefined) return `the ${twice} occurs twice`;
  if (has('hour', 'hour12')) return 'HH and hh exclude each other';
  if (has('hour12') !== has('half')) return 'hh needs a (AM or PM), HH has none';
  const date = has('year', 'month', 'day');
  const time = (has('hour') || has('hour12')) && has('minute');
  if (wanted !== 'time' && !date) return 'year, month and day are needed';
  if (wanted !== 'date' && !time) return 'hour and minute are needed';
  if (wanted === 'time' && present.some((part) => DATE_PARTS.has(part))) return 'it is more than a time';
  if (wanted === 'date' && present.some((part) => !DATE_PARTS.has(part))) return 'it is more than a date';
  if (wanted !== 'date-time' && has('zone')) return 'a zone needs date and time';
  if (has('fraction') && !has('second')) return 'a fraction needs seconds';
  return undefined;
}

function wrongSections(steps: readonly Step[]): string | undefined {
  for (const [at, step] of steps.entries()) {
    const { op, part, text, sections } = step;
    if (op === STEP.optional && (step.arguments[0] === 0 || steps[at + 1]!.op !== STEP.literal))
      return 'what may be missing begins with a separator';
    if (part !== undefined && sections.length > 0 && !OPTIONAL_PARTS.has(part))
      return `${text} may not be missing`;
  }
  const sectionsOf = (wanted: Part): readonly number[] | undefined =>
    steps.find(({ part }) => part === wanted)?.sections;
  const fraction = sectionsOf('fraction');
  const outlives = sectionsOf('second')?.some((section) => !(fraction ?? [section]).includes(section));
  return outlives === true ? 'a fraction may not be there without seconds' : undefined;
}

const NO_BYTES = new Uint8Array();
const DIGITS = new TextEncoder().encode('0123456789');
const LETTERS = new TextEncoder().encode('ABCDEFGHIJKLMNOPQRSTUVWXYZ');

/** Where reading would have to guess: how long a number is, or whether a section is there. */
function ambiguity(steps: readonly Step[]): string | undefined {
  for (const [at, step] of steps.entries()) {
    if (step.op === STEP.optional) {
      const first = steps[at + 1]!.arguments[0]!;
      if (followers(steps, at + 1 + step.arguments[0]!).some((next) => mayBegin(next, first)))
        return `what follows "[" and "]" begins alike`;
      continue;
    }
    const greedy =
      (step.op === STEP.number && step.arguments[1] !== step.arguments[2]) ||
      (step.op === STEP.fraction && step.arguments[0] === 0)
        ? DIGITS
        : NO_BYTES;
    const bytes = step.op === STEP.abbreviation ? LETTERS : greedy;
    const next = followers(steps, at + 1).find((follower) => bytes.some((byte) => mayBegin(follower, byte)));
    if (next !== undefined) return `where ${step.text} ends before ${next.text} is not clear`;
  }
  return undefined;
}

/** The steps that may be the next one from a place on. */
function followers(steps: readonly Step[], at: number): Step[] {
  const step = steps[at];
  if (step === undefined) return [];
  if (step.op !== STEP.optional) return [step];
  return [...followers(steps, at + 1), ...followers(steps, at + 1 + step.arguments[0]!)];
}

/** Whether what this step reads may begin with this byte. */
function mayBegin(step: Step, byte: number): boolean {
  switch (step.op) {
    case STEP.literal:
      return step.arguments[0] === byte;
    case STEP.number:
    case STEP.shortYear:
    case STEP.fraction:
      return byte >= 0x30 && byte <= 0x39;
    case STEP.offset:
      return byte === 0x2b || byte === 0x2d;
    default:
      return (byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x7a;
  }
}

function readZones(
  table: Readonly<Record<string, string>>,
): Pick<TimeProgram, 'zoneNames' | 'zoneOffsetsMs'> | string {
  const offsets = new Map([
    ['UTC', 0],
    ['GMT', 0],
    ['Z', 0],
  ]);
  for (const [name, text] of Object.entries(table)) {
    const offset = /^([+-])(\d\d):([0-5]\d)$/.exec(text);
    if (!/^[A-Z]+$/.test(name) || name.length > ABBREVIATION_LETTERS_MAX)
      return `zone "${name}": an abbreviation has 1 to ${ABBREVIATION_LETTERS_MAX} letters from A to Z`;
    if (offset === null || Number(offset[2]) > 18) return `zone ${name}: "${text}" is no offset like -08:00`;
    const ms = (Number(offset[2]) * 60 + Number(offset[3])) * 60_000;
    if (offsets.has(name) && ms !== 0) return `zone ${name} is always +00:00`;
    offsets.set(name, offset[1] === '-' ? -ms : ms);
  }
  return {
    zoneNames: Float64Array.from(offsets.keys(), (name) =>
      new TextEncoder().encode(name).reduce(packLetter, 0),
    ),
    zoneOffsetsMs: Float64Array.from(offsets.values()),
  };
}
