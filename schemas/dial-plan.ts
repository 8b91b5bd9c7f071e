import { getCountryCallingCode, Metadata, type CountryCode } from 'libphonenumber-js/max';
import { E164_DIGITS_MAX } from './number-key.ts';

/**
 * How numbers of one country are dialed, as plain data for the parse worker: what stands before an
 * international number, before a national one, and how long national numbers are.
 */
export interface DialPlan {
  /** `33` */
  readonly countryCode: string;
  /** Digits that introduce an international number (`00`, `011`), longest first. */
  readonly internationalPrefixes: readonly string[];
  /** Trunk prefix before a national number (`0`), empty where there is none or it is part of the number (Italy). */
  readonly trunkPrefix: string;
  /** True where a national number is also dialed without the trunk prefix. */
  readonly trunkPrefixOptional: boolean;
  /** Lengths that a national number without its trunk prefix can have. */
  readonly nationalLengths: readonly number[];
}

/** The dial plan of an ISO 3166 country, from the metadata of libphonenumber. */
export function dialPlanOf(country: string): DialPlan {
  const code = country as CountryCode;
  const plan = new Metadata();
  plan.selectNumberingPlan(code);
  const numbering = plan.numberingPlan as unknown as {
    IDDPrefix(): string;
    /** 0, undefined or null where there is none, or where it is part of the number. */
    nationalPrefix(): unknown;
    possibleLengths(): number[];
  };
  const countryCode = getCountryCallingCode(code);
  const nationalPrefix = numbering.nationalPrefix();
  const trunkPrefix = typeof nationalPrefix === 'string' ? nationalPrefix : '';
  return {
    countryCode,
    internationalPrefixes: plainPrefixes(numbering.IDDPrefix()),
    trunkPrefix,
    // The North American plan is dialed with 10 digits as well as with 1 and 10 digits.
    trunkPrefixOptional: trunkPrefix === '' || countryCode === '1',
    nationalLengths: [...numbering.possibleLengths()],
  };
}

/**
 * What a feed of this plan's country stores for these digits: E.164, or undefined where they stay as sent. The
 * twin for reading of the parse worker's `NumberReader`, which works on bytes; a test holds them equal.
 */
export function applyDialPlan(digits: string, plan: DialPlan): string | undefined {
  if (!/^[0-9]+$/.test(digits)) return undefined;
  for (const prefix of plan.internationalPrefixes) {
    const rest = digits.slice(prefix.length);
    if (digits.startsWith(prefix) && rest.length >= 7 && rest.length <= E164_DIGITS_MAX) return `+${rest}`;
  }
  const { trunkPrefix, trunkPrefixOptional, countryCode } = plan;
  const isNational = (number: string): boolean =>
    plan.nationalLengths.includes(number.length) && number.length + countryCode.length <= E164_DIGITS_MAX;
  const rest = digits.slice(trunkPrefix.length);
  if (trunkPrefix !== '' && digits.startsWith(trunkPrefix) && isNational(rest))
    return `+${countryCode}${rest}`;
  // Fewer digits may be a short code or an extension.
  return trunkPrefixOptional && digits.length >= 7 && isNational(digits)
    ? `+${countryCode}${digits}`
    : undefined;
}

/**
 * The alternatives of a prefix pattern that are plain digits, longest first. Patterns with carrier codes (`00(?:1[245]|2[1-35])`)
 * would need the carriers of the country; such a number stays as sent.
 */
function plainPrefixes(pattern: string): string[] {
  return pattern
    .split('|')
    .filter((prefix) => /^[0-9]+$/.test(prefix))
    .sort((a, b) => b.length - a.length);
}
