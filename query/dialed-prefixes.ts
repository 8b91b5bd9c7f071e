import { COUNTRY_CODES } from '../schemas/dial-plans.ts';

/** The server takes a bound value of 128 KB at most; a prefix may take 19 bytes of it. */
const PREFIXES_PER_VALUE = 5000;

/** Prefixes of dialed numbers by their length in characters, the longest first; many of one length in several lists. */
export type PrefixesByLength = readonly (readonly [length: number, prefixes: readonly string[]])[];

/**
 * The prefixes by which usage is grouped: those of the settings (`+33639`), and the calling codes of all countries, so
 * that a number which none of the list fits still falls to its country.
 */
export function dialedPrefixes(listed: readonly string[]): PrefixesByLength {
  const byLength = new Map<number, Set<string>>();
  for (const prefix of [...listed, ...COUNTRY_CODES.flatMap(codesOf).map((code) => `+${code}`)]) {
    const ofLength = byLength.get(prefix.length) ?? new Set<string>();
    byLength.set(prefix.length, ofLength.add(prefix));
  }
  return [...byLength]
    .sort(([a], [b]) => b - a)
    .flatMap(([length, prefixes]) => inLists([...prefixes].sort()).map((of) => [length, of] as const));
}

function inLists(prefixes: readonly string[]): string[][] {
  const count = Math.ceil(prefixes.length / PREFIXES_PER_VALUE);
  return Array.from({ length: count }, (_, index) =>
    prefixes.slice(index * PREFIXES_PER_VALUE, (index + 1) * PREFIXES_PER_VALUE),
  );
}

/** SQL of the longest prefix with which a dialed number begins; empty where there is none. */
export function dialedPrefixSql(prefixes: PrefixesByLength): string {
  const branches = prefixes.map(([length], index) => {
    const beginning = `substring(dialed_number, 1, ${length})`;
    return `${beginning} IN {prefixes_${index}: Array(String)}, ${beginning}`;
  });
  return branches.length === 0 ? "''" : `multiIf(${branches.join(', ')}, '')`;
}

export function dialedPrefixParameters(prefixes: PrefixesByLength): Record<string, readonly string[]> {
  return Object.fromEntries(prefixes.map(([, of], index) => [`prefixes_${index}`, of]));
}

/** All codes that a pattern of digits and classes of digits (`21[1-368]`) stands for. */
function codesOf(pattern: string): string[] {
  let codes = [''];
  for (const [, digit, members] of pattern.matchAll(/([0-9])|\[([0-9-]+)\]/g)) {
    const digits = digit === undefined ? digitsOf(members!) : [digit];
    codes = codes.flatMap((code) => digits.map((next) => code + next));
  }
  return codes;
}

/** `1-368` are 1, 2, 3, 6 and 8. */
function digitsOf(members: string): string[] {
  const digits: string[] = [];
  for (const [, from, to] of members.matchAll(/([0-9])(?:-([0-9]))?/g)) {
    for (let digit = Number(from); digit <= Number(to ?? from); digit++) digits.push(String(digit));
  }
  return digits;
}
