/**
 * The regular expressions of libphonenumber's metadata describe finite sets of digit strings. Here they become lists of
 * paths: a path has a set of digits for each place.
 */

/** Ten bits, one a digit. */
export type DigitSet = number;

export const ANY_DIGIT: DigitSet = 0b11_1111_1111;

export interface PathItem {
  readonly digits: DigitSet;
  /** Number of the innermost capturing group around this place, 0 for none. */
  readonly group: number;
}

export interface Path {
  readonly items: readonly PathItem[];
  /** True where the expression ends with `$`: nothing follows. */
  readonly anchored: boolean;
}

const EMPTY: Path = { items: [], anchored: false };

/** All paths of an expression. Throws RangeError where it has something that digit strings need not. */
export function pathsOf(expression: string): Path[] {
  const reader = { text: expression, at: 0, groups: 0 };
  const paths = readAlternatives(reader, 0);
  if (reader.at !== expression.length) throw new RangeError(`unread: ${expression.slice(reader.at)}`);
  return paths;
}

/** `3`, `[1-35]`: the places of a path as a pattern. */
export function patternText(sets: readonly DigitSet[]): string {
  return sets.map((digits) => setText(digits)).join('');
}

interface Reader {
  readonly text: string;
  at: number;
  groups: number;
}

function readAlternatives(reader: Reader, group: number): Path[] {
  const all = readSequence(reader, group);
  while (reader.text[reader.at] === '|') {
    reader.at++;
    all.push(...readSequence(reader, group));
  }
  return all;
}

function readSequence(reader: Reader, group: number): Path[] {
  let paths: Path[] = [EMPTY];
  while (reader.at < reader.text.length && !'|)'.includes(reader.text[reader.at]!)) {
    paths = product(paths, readQuantified(reader, group));
  }
  return paths;
}

function readQuantified(reader: Reader, group: number): Path[] {
  const atom = readAtom(reader, group);
  const [quantifier, fewest, most] = /^(?:\?|\{(\d+)(?:,(\d+))?\})/.exec(reader.text.slice(reader.at)) ?? [
    '',
  ];
  reader.at += quantifier.length;
  if (quantifier === '') return atom;
  const from = Number(fewest ?? 0);
  const to = quantifier === '?' ? 1 : Number(most ?? fewest);
  let repeated = [EMPTY];
  const all: Path[] = from === 0 ? [EMPTY] : [];
  for (let times = 1; times <= to; times++) {
    repeated = product(repeated, atom);
    if (times >= from) all.push(...repeated);
  }
  return all;
}

function readAtom(reader: Reader, group: number): Path[] {
  const { text } = reader;
  const one = (digits: DigitSet): Path[] => [{ items: [{ digits, group }], anchored: false }];
  const character = text[reader.at++]!;
  if (character === '$') return [{ items: [], anchored: true }];
  if (character === '(') {
    const capturing = !text.startsWith('?:', reader.at);
    if (!capturing) reader.at += 2;
    const paths = readAlternatives(reader, capturing ? ++reader.groups : group);
    reader.at++;
    return paths;
  }
  if (character === '[') {
    const close = text.indexOf(']', reader.at);
    const digits = classOf(text.slice(reader.at, close));
    reader.at = close + 1;
    return one(digits);
  }
  if (character === '\\' && text[reader.at] === 'd') {
    reader.at++;
    return one(ANY_DIGIT);
  }
  if (character >= '0' && character <= '9') return one(1 << Number(character));
  throw new RangeError(`unknown in a digit pattern: ${character}`);
}

/** The set of a class's inside: `1-35`. */
function classOf(inside: string): DigitSet {
  let digits = 0;
  for (const [, first, last] of inside.matchAll(/(\d)(?:-(\d))?/g)) {
    for (let digit = Number(first); digit <= Number(last ?? first); digit++) digits |= 1 << digit;
  }
  return digits;
}

function setText(digits: DigitSet): string {
  const members = Array.from({ length: 10 }, (_, digit) => digit)
    .filter((digit) => (digits & (1 << digit)) !== 0)
    .join('');
  if (members.length === 1) return members;
  return `[${shortened(members)}]`;
}

/** `01238` as `0-38`: three or more in a row become a range. */
function shortened(members: string): string {
  const runs: string[] = [];
  for (const digit of members) {
    const last = runs.at(-1);
    if (last !== undefined && Number(last.at(-1)) + 1 === Number(digit)) runs[runs.length - 1] = last + digit;
    else runs.push(digit);
  }
  return runs.map((run) => (run.length < 3 ? run : `${run[0]}-${run.at(-1)}`)).join('');
}

function product(left: readonly Path[], right: readonly Path[]): Path[] {
  return left.flatMap((a) =>
    right.map((b) => ({ items: [...a.items, ...b.items], anchored: a.anchored || b.anchored })),
  );
}
