import { getCountryCallingCode, Metadata, type CountryCode } from 'libphonenumber-js/max';

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
    /** 0, undefined or null where a country has none. */
    nationalPrefixForParsing(): unknown;
    possibleLengths(): number[];
  };
  const countryCode = getCountryCallingCode(code);
  const trunkPattern = numbering.nationalPrefixForParsing();
  // Beside the trunk prefix there may be longer ones, of services; it is the shortest.
  const trunkPrefix = typeof trunkPattern === 'string' ? (plainPrefixes(trunkPattern).at(-1) ?? '') : '';
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
 * The alternatives of a prefix pattern that are plain digits, longest first. Patterns with carrier codes (`00(?:1[245]|2[1-35])`)
 * would need the carriers of the country; such a number stays as sent.
 */
function plainPrefixes(pattern: string): string[] {
  return pattern
    .split('|')
    .filter((prefix) => /^[0-9]+$/.test(prefix))
    .sort((a, b) => b.length - a.length);
}
