import { COUNTRY_CODES, DIAL_PLANS } from './dial-plans.ts';
import { isE164 } from './number-key.ts';

/** Longest number that is taken as a person typed it, in characters. */
export const NUMBER_LENGTH_MAX = 64;
/** Spaces, dots, dashes, parentheses, and what pages and documents make of them. */
const SEPARATORS = /[\s\u00ad.()\-\u2010-\u2015\u2212]/gu;

/** A typed number without what people put between its digits. */
export function withoutSeparators(typed: string): string {
  return typed.replace(SEPARATORS, '');
}

/** What people put between digits, as a character class of RE2. */
export const SEPARATOR_CLASS = '[ .()-]';

/**
 * A regular expression (RE2, as ClickHouse takes it) that finds a number in a text in any of its spellings: as E.164, with
 * `00` or without a plus sign, and as it is dialed in its country. The digits must not go on on either side, so that a
 * longer number is not found. A text that is no E.164 number is found as it is, between characters that are no digits.
 */
export function spellingPattern(number: string): string {
  if (!isE164(number)) return bounded(escaped(number));
  const digits = number.slice(1);
  const code = new RegExp(`^(?:${COUNTRY_CODES.join('|')})`).exec(digits)?.[0] ?? '';
  const national = digits.slice(code.length);
  return bounded(`(?:\\+|00)?${digits}|(?:${trunksOf(code).join('|')})${national}`);
}

/** Patterns of what is dialed in front of a national number in the countries of a code; an empty one is nothing. */
function trunksOf(code: string): string[] {
  const plans = Object.values(DIAL_PLANS).filter(({ countryCode }) => countryCode === code);
  return [...new Set(['', ...plans.flatMap(({ national }) => national.flatMap(({ dropped }) => dropped))])];
}

const bounded = (pattern: string): string => `(?:^|[^0-9+])(?:${pattern})(?:[^0-9]|$)`;

const escaped = (text: string): string => text.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&');
