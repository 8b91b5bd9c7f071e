import metadata from 'libphonenumber-js/max/metadata';
import { NUMBER_DIGITS_MIN, patternDigits, type DialPlan, type DialRule } from '../../schemas/dial-plan.ts';
import { E164_DIGITS_MAX } from '../../schemas/number-key.ts';
import {
  ANY_DIGIT,
  pathsOf,
  patternText,
  type DigitSet,
  type Path,
  type PathItem,
} from './digit-patterns.ts';

/** How many digits are looked at to tell numbers that are dialed without a trunk prefix from others. */
const LEADING_DIGITS_MAX = 4;

/** A country in version 4 of the library's metadata; 0 stands for what it has not. */
type Country = readonly [
  countryCode: string,
  internationalPrefix: string,
  nationalNumber: string,
  lengths: readonly number[],
  formats: readonly Format[] | 0,
  nationalPrefix: string | 0 | undefined,
  nationalPrefixRule: string | 0 | undefined,
  nationalPrefixForParsing: string | 0 | undefined,
  nationalPrefixTransform: string | 0 | undefined,
];
type Format = readonly [
  pattern: string,
  format: string,
  leadingDigits: readonly string[] | undefined,
  nationalPrefixRule: string | 0 | undefined,
  nationalPrefixOptional: 0 | 1 | undefined,
];

const {
  countries,
  country_calling_codes: countriesOf,
  nonGeographic,
} = metadata as unknown as {
  countries: Record<string, Country>;
  country_calling_codes: Record<string, string[]>;
  nonGeographic: Record<string, unknown>;
};

/** Patterns of all country codes that are assigned, those without a country (800, 881) too. */
export function countryCodesOfLibrary(): string[] {
  const codes = [...Object.keys(countriesOf), ...Object.keys(nonGeographic)].sort();
  return grouped(codes, (code) => [code.slice(0, -1), code.length]).map(
    (alike) => alike[0]!.slice(0, -1) + patternText([digitsAs(alike.map((code) => code.at(-1)!))]),
  );
}

/** The dial plans of all countries that the library knows, by ISO 3166 code. */
export function dialPlansOfLibrary(): Record<string, DialPlan> {
  return Object.fromEntries(Object.keys(countries).map((name) => [name, planOf(name)]));
}

function planOf(name: string): DialPlan {
  const [countryCode, internationalPrefix] = countries[name]!;
  const rules = [...prefixRules(name), ...bareRules(name)];
  return {
    countryCode,
    international: pathsOf(internationalPrefix).map(({ items }) => patternText(items.map((i) => i.digits))),
    national: merged(rules),
  };
}

/** A rule with one pattern each, before alike ones are merged. */
interface SingleRule {
  readonly dropped: string;
  readonly written: string;
  readonly kept: string;
  readonly infix: string;
  readonly rest: readonly number[];
}

/** The country's national numbers as the library allows them, with those of the countries that share its code. */
interface Numbers {
  readonly lengths: readonly number[];
  readonly paths: readonly (readonly DigitSet[])[];
}

function numbersOf(name: string): Numbers {
  const [countryCode, , , lengths] = countries[name]!;
  const fitting = lengths.filter((length) => length + countryCode.length <= E164_DIGITS_MAX);
  const paths = countriesOf[countryCode]!.flatMap((sharing) => pathsOf(countries[sharing]![2]))
    .map(({ items }) => items.map(({ digits }) => digits))
    .filter((path) => fitting.includes(path.length));
  return { lengths: fitting, paths };
}

/** Lengths of the numbers that can begin with this path. */
function lengthsWith({ paths }: Numbers, leading: readonly DigitSet[]): number[] {
  const lengths = paths
    .filter(
      (path) => path.length >= leading.length && leading.every((digits, i) => (digits & path[i]!) !== 0),
    )
    .map(({ length }) => length);
  return [...new Set(lengths)].sort((a, b) => a - b);
}

function firstDigits({ paths }: Numbers): DigitSet {
  return paths.reduce((digits, [first]) => digits | first!, 0);
}

/** Trunk prefixes, carrier codes, and whatever the library rewrites when it reads a national number. */
function prefixRules(name: string): SingleRule[] {
  const [countryCode, , , , , nationalPrefix, , forParsing, transform] = countries[name]!;
  const expression = forParsing || nationalPrefix;
  if (!expression) return [];
  const numbers = numbersOf(name);
  const groups = [...expression.matchAll(/\((?!\?)/g)].length;
  return pathsOf(expression).flatMap((path) => {
    // A transform rewrites what the last group has matched; without it the whole prefix goes.
    const rewrites = Boolean(transform) && path.items.some(({ group }) => group === groups);
    return rewrites
      ? transformRule(path, countryCode, numbers, groups, String(transform).replace(/\$\d$/, ''))
      : prefixRule(path, countryCode, numbers);
  });
}

function prefixRule({ items }: Path, countryCode: string, numbers: Numbers): SingleRule[] {
  const dropped = digitsOf(items);
  if (dropped.length === 0) return [];
  // Two zeros in a row are no trunk prefix and a number.
  const first = firstDigits(numbers) & ~(dropped[0]! & 1);
  // Where a number can begin with the prefix itself (8 in Belarus), lengths are looked at by first digit.
  const kept = (first & dropped[0]!) === 0 ? [first] : DIGITS.filter((digit) => (digit & first) !== 0);
  return kept.flatMap((digits) =>
    ruleOf({
      dropped: patternText(dropped),
      written: countryCode,
      kept: patternText([digits]),
      infix: '',
      rest: lengthsWith(numbers, [digits]).map((length) => length - 1),
    }),
  );
}

/** `0?(11|...)15` with `9$1`: what is dropped, a group that stays behind what is inserted, and what is dropped behind it. */
function transformRule(
  { items, anchored }: Path,
  countryCode: string,
  numbers: Numbers,
  groups: number,
  inserted: string,
): SingleRule[] {
  const first = items.findIndex(({ group }) => group === groups);
  const last = items.findLastIndex(({ group }) => group === groups) + 1;
  const group = digitsOf(items.slice(first, last));
  // Where something is dropped behind the group, all of it is fixed; else any digits at its end are counted as rest.
  const places =
    last < items.length ? group.length : group.findLastIndex((digits) => digits !== ANY_DIGIT) + 1;
  const fixed = group.slice(0, places);
  const kept = fixed.length === 0 ? [firstDigits(numbers) & ~1] : fixed;
  const head = inserted.split('').map((digit) => 1 << Number(digit));
  const free = group.length - kept.length;
  return ruleOf({
    dropped: patternText(digitsOf(items.slice(0, first))),
    written: countryCode + inserted,
    kept: patternText(kept),
    infix: patternText(digitsOf(items.slice(last))),
    rest: lengthsWith(numbers, [...head, ...kept])
      .map((length) => length - head.length - kept.length)
      .filter((length) => (anchored ? length === free : length >= free)),
  });
}

/** The rule, as a list of none where it reads nothing. */
function ruleOf(rule: SingleRule): SingleRule[] {
  const fixed = patternDigits(rule.kept) + rule.infix.length;
  const rest = rule.rest.filter(
    (length) => length >= 1 && (rule.dropped !== '' || fixed + length >= NUMBER_DIGITS_MIN),
  );
  return rest.length === 0 ? [] : [{ ...rule, rest }];
}

function digitsOf(items: readonly PathItem[]): DigitSet[] {
  return items.map(({ digits }) => digits);
}

/** How numbers of these lengths and leading digits are dialed: bare, or with the trunk prefix. */
interface DialedFormat {
  readonly lengths: ReadonlySet<number>;
  readonly leading: readonly (readonly DigitSet[])[];
  readonly bare: boolean;
}

/** The formats of the country, or of the main one of its code; the first that fits a number counts. */
function formatsOf(name: string): DialedFormat[] {
  const country = countries[name]!;
  const main = countries[countriesOf[country[0]]![0]!]!;
  return (country[4] || main[4] || []).map(([pattern, , leading, rule, isOptional]) => ({
    lengths: new Set(pathsOf(pattern).map(({ items }) => items.length)),
    // The last expression is the most detailed one.
    leading: leading?.length ? pathsOf(leading.at(-1)!).map(({ items }) => digitsOf(items)) : [[]],
    bare: !/[0-9]/.test((rule || '').replaceAll(/\$[0-9]/g, '')) || isOptional === 1,
  }));
}

/** Whether all, some or none of the numbers of a length that begin with these digits are dialed bare; `otherwise` where no format fits. */
function bareOnes(
  formats: readonly DialedFormat[],
  leading: readonly DigitSet[],
  length: number,
  otherwise: boolean,
): 'all' | 'some' | 'none' {
  const seen = new Set<boolean>();
  let isCertain = false;
  for (const format of formats) {
    if (!format.lengths.has(length)) continue;
    const alike = format.leading.filter((path) =>
      path.every((digits, i) => i >= leading.length || (digits & leading[i]!) !== 0),
    );
    if (alike.length > 0) seen.add(format.bare);
    isCertain = alike.some((path) => path.length <= leading.length);
    if (isCertain) break;
  }
  if (!isCertain) seen.add(otherwise);
  if (seen.size === 2) return 'some';
  return seen.has(true) ? 'all' : 'none';
}

/** Numbers that are dialed as they are: all of a country without a trunk prefix, some of others (mobile numbers of China). */
function bareRules(name: string): SingleRule[] {
  const [countryCode, , , , , nationalPrefix] = countries[name]!;
  const numbers = numbersOf(name);
  const formats = formatsOf(name);
  const trunk = nationalPrefix ? 1 << Number(nationalPrefix[0]) : 0;
  /** Rules for the numbers that begin with these single digits and have one of these lengths. */
  const rulesFor = (leading: readonly DigitSet[], lengths: readonly number[]): SingleRule[] => {
    const deeper = leading.length < LEADING_DIGITS_MAX ? DIGITS.map((digit) => [...leading, digit]) : [];
    const possible = lengthsWith(numbers, leading).filter((length) => lengths.includes(length));
    const verdicts = possible.map((length) => {
      const ones = bareOnes(formats, leading, length, !nationalPrefix);
      // A number that begins like a trunk prefix is looked at further, up to where all digits can follow.
      const isOpen =
        ones === 'some' ||
        (leading[0] === trunk && deeper.some((path) => !lengthsWith(numbers, path).includes(length)));
      return { length, bare: ones !== 'none', isOpen: isOpen && deeper.length > 0 };
    });
    const lengthsOf = (open: boolean): number[] =>
      verdicts.filter(({ bare, isOpen }) => bare && isOpen === open).map(({ length }) => length);
    const rest = lengthsOf(false).map((length) => length - leading.length);
    const open = lengthsOf(true);
    return [
      ...ruleOf({ dropped: '', written: countryCode, kept: patternText(leading), infix: '', rest }),
      ...(open.length === 0 ? [] : deeper.flatMap((path) => rulesFor(path, open))),
    ];
  };
  return DIGITS.flatMap((digit) => rulesFor([digit], numbers.lengths));
}

const DIGITS: readonly DigitSet[] = Array.from({ length: 10 }, (_, digit) => 1 << digit);

/** One rule for all that differ in `dropped` or in `kept` only; last digits of `kept` become classes. */
function merged(rules: readonly SingleRule[]): DialRule[] {
  const byKept = grouped(rules, ({ kept, ...others }) => [
    others.dropped,
    others.written,
    others.infix,
    others.rest.join(),
    kept.endsWith(']') ? kept : kept.slice(0, -1),
    kept.length,
  ]).flatMap((alike) => withClass(alike));
  const byDropped = grouped(byKept, (rule) => [rule.written, rule.kept, rule.infix, rule.rest.join()]).map(
    (alike) => ({ ...alike[0]!, dropped: distinct(alike.map(({ dropped }) => dropped)) }),
  );
  return grouped(byDropped, (rule) => [
    rule.dropped.join('|'),
    rule.written,
    rule.infix,
    rule.rest.join(),
  ]).map((alike) => {
    const { dropped, written, infix, rest } = alike[0]!;
    const kept = distinct(alike.map((rule) => rule.kept));
    return { dropped, written, kept, ...(infix === '' ? {} : { infix }), rest };
  });
}

/** Rules whose `kept` differ in a last single digit, as one. */
function withClass(alike: readonly SingleRule[]): SingleRule[] {
  const [first] = alike;
  if (alike.length === 1 || first!.kept.endsWith(']')) return [first!];
  const digits = digitsAs(alike.map(({ kept }) => kept.at(-1)!));
  return [{ ...first!, kept: first!.kept.slice(0, -1) + patternText([digits]) }];
}

function digitsAs(members: readonly string[]): DigitSet {
  return members.reduce((set, digit) => set | (1 << Number(digit)), 0);
}

function grouped<Item>(items: readonly Item[], keyOf: (item: Item) => readonly unknown[]): Item[][] {
  const groups = new Map<string, Item[]>();
  for (const item of items) {
    const key = JSON.stringify(keyOf(item));
    groups.set(key, [...(groups.get(key) ?? []), item]);
  }
  return [...groups.values()];
}

function distinct(texts: readonly string[]): string[] {
  return [...new Set(texts)];
}
