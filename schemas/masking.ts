/**
 * Masking of the other party. A key without `disputes:unmasked` sees the number that was asked for, and of all other
 * numbers all but the last four characters.
 */
const MASK = '****';
const HIDDEN = MASK.length;
/** A number of at least this many digits is looked for inside other fields. */
const TAIL_DIGITS = 6;

/** What switches write where there is no number to show: these tell nothing about a person. */
const NO_NUMBER = new Set(['', 'anonymous', 'private', 'restricted', 'withheld', 'unavailable', 'unknown']);

/** Whether a text stands where there is no number to show. */
export function tellsNothing(number: string): boolean {
  return NO_NUMBER.has(number.toLowerCase());
}

/**
 * The number with its last four characters hidden: `+3363998****`. A number of up to four characters (`112`, extension
 * `1002`) is hidden whole. Empty and `anonymous` stay: there is nothing to hide.
 */
export function maskNumber(number: string): string {
  if (tellsNothing(number)) return number;
  const characters = Array.from(number);
  return characters.length <= HIDDEN ? MASK : characters.slice(0, -HIDDEN).join('') + MASK;
}

/**
 * Hides a masked number where another field of the same record repeats it: switches put numbers into account codes and
 * call ids. Found by its last six digits, so in whichever notation.
 */
export function maskInside(text: string, number: string): string {
  if (text === number) return maskNumber(number);
  const digits = number.replace(/[^0-9]/g, '');
  if (digits.length < TAIL_DIGITS) return text;
  const tail = digits.slice(-TAIL_DIGITS);
  return text.replaceAll(tail, tail.slice(0, -HIDDEN) + MASK);
}
