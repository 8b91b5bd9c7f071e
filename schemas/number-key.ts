/**
 * `number_key`: an exact integer below 2^53 for every telephone number, so that a search is a range of
 * the primary key, a worker can sort plain doubles and JSON can carry it.
 *
 * An E.164 number (`+` and 1 to 15 digits) is read as a base-11 fraction of 15 places, each digit d as
 * d + 1 and missing places as 0: the order of keys is the order of the texts, and all numbers that begin
 * with the same digits are one contiguous range. Any other text (`anonymous`, `*72`, extension `1002`)
 * lies above all of them, at 11^15 + a 52-bit keyed hash of the feed and the text: extensions of two
 * switches stay two keys, and a reader compares the text after a hit.
 */
export const E164_DIGITS_MAX = 15;

/** 11^15: the first key that is no E.164 number's. */
export const FIRST_TEXT_KEY = 11 ** E164_DIGITS_MAX;

/** 11^(15-n) for n digits: how many keys begin with these n digits. */
export const PLACE_VALUES: readonly number[] = Array.from(
  { length: E164_DIGITS_MAX + 1 },
  (_, digits) => 11 ** (E164_DIGITS_MAX - digits),
);

/** Fewest digits of a prefix that can be searched: fewer would list a country. */
export const PREFIX_DIGITS_MIN = 4;

const E164 = /^\+[0-9]{1,15}$/;

/** True for `+` followed by 1 to 15 digits, the only texts that have an ordered key. */
export function isE164(text: string): boolean {
  return E164.test(text);
}

/** The key of an E.164 number (`+33612345678`). Throws RangeError for any other text. */
export function e164Key(text: string): number {
  if (!isE164(text)) throw new RangeError('not an E.164 number');
  let key = 0;
  for (let place = 1; place < text.length; place++) key = key * 11 + (text.charCodeAt(place) - 47);
  return key * PLACE_VALUES[text.length - 1]!;
}

/** Half-open key range `[from, to)` of all E.164 numbers that begin with this prefix (`+3361`). */
export function e164PrefixRange(prefix: string): { from: number; to: number } {
  const from = e164Key(prefix);
  return { from, to: from + PLACE_VALUES[prefix.length - 1]! };
}

/** The searches by prefix that find an E.164 number, as they are written: `+3361*` … */
export function prefixSearches(e164: string): string[] {
  return Array.from(
    { length: e164.length - PREFIX_DIGITS_MIN },
    (_, more) =>
      // One more for the plus sign.
      `${e164.slice(0, PREFIX_DIGITS_MIN + 1 + more)}*`,
  );
}

/** The key of a text that is no E.164 number, from the 64-bit keyed hash of its bytes (see `record-key.ts`). */
export function textKey(hash: bigint): number {
  return FIRST_TEXT_KEY + Number(BigInt.asUintN(64, hash) >> 12n);
}
