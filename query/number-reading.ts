import { isSupportedCountry, parsePhoneNumberFromString, type PhoneNumber } from 'libphonenumber-js/max';
import { applyDialPlan, dialPlanOf, isInternational, type DialPlan } from '../schemas/dial-plan.ts';
import { E164_DIGITS_MAX, isE164, PREFIX_DIGITS_MIN } from '../schemas/number-key.ts';
import { NUMBER_LENGTH_MAX, withoutSeparators } from '../schemas/number-spelling.ts';
import { Problem } from './problem.ts';

/**
 * How a typed number is read:
 * - `international`: it begins with `+`;
 * - `international_prefix`: it begins with the digits that introduce an international number (`00`);
 * - `national`: a number of the default country;
 * - `text`: none of these; only the text itself is searched.
 */
export type ReadAs = 'international' | 'international_prefix' | 'national' | 'text';

/** A number as a person typed it, and what is searched for it. */
export interface NumberReading {
  readonly asTyped: string;
  readonly kind: 'exact' | 'prefix';
  /** The texts that a stored number is compared with; for a prefix the one beginning (`+3361`). */
  readonly searched: readonly string[];
  readonly e164: string | null;
  readonly readAs: ReadAs;
  /** ISO 3166 code of the country of `e164`, where its plan belongs to one. */
  readonly country: string | null;
}

const CONTROL = /\p{Cc}/u;
/** A person's blank before a number that begins with 0 or + means nothing. */
const LOST_PLUS = /^ [1-9]/;
const PREFIX = /^(?:\+|00)[0-9]*\*$/;
const DIGITS_AND_STAR = /^\+?[0-9]+\*$/;

/**
 * Reads a number in any notation: the text as typed, the text without separators, and its E.164 readings.
 * `defaultCountry` is whose national numbers are understood; without one `+…` and `00…` still are.
 * Throws a Problem (PARAMETER_INVALID) that does not repeat the number.
 */
export function readNumber(name: string, typed: string, defaultCountry: string | undefined): NumberReading {
  const asTyped = typed.trim();
  if (asTyped.length === 0 || asTyped.length > NUMBER_LENGTH_MAX || CONTROL.test(asTyped)) {
    throw new Problem('PARAMETER_INVALID', `${name}: must be 1 to ${NUMBER_LENGTH_MAX} printable characters`);
  }
  const compact = withoutSeparators(asTyped);
  // A plus sign that was not encoded in a URL arrives as a space.
  const withPlus = LOST_PLUS.test(typed) ? `+${compact}` : compact;
  if (DIGITS_AND_STAR.test(compact)) return readPrefix(name, asTyped, withPlus);
  const plan = defaultCountry === undefined ? undefined : dialPlanOf(defaultCountry);
  const readings = [withPlus, compact]
    .flatMap((text) => parse(text, defaultCountry, plan))
    .filter(({ number: { number } }) => isE164(number));
  // What a feed of that country stores: mostly the same, but the library reads more than a feed does, and some of it
  // in another way (012… in Israel). Both are searched.
  const planned = plan === undefined ? undefined : applyDialPlan(compact, plan);
  const texts = [asTyped, compact, ...readings.map(({ number: { number } }) => number), planned ?? ''];
  const [best] = readings;
  return {
    asTyped,
    kind: 'exact',
    searched: [...new Set(texts)].filter((text) => text !== ''),
    e164: best?.number.number ?? null,
    readAs: best?.readAs ?? 'text',
    country: best?.number.country ?? null,
  };
}

/** True where a stored number is one of those that the reading searches. */
export function matches(
  { kind, searched }: Pick<NumberReading, 'kind' | 'searched'>,
  stored: string,
): boolean {
  if (kind === 'exact') return searched.includes(stored);
  return isE164(stored) && searched.some((prefix) => stored.startsWith(prefix));
}

function readPrefix(name: string, asTyped: string, compact: string): NumberReading {
  const digits = compact.replace(/^(\+|00)/, '').slice(0, -1);
  if (!PREFIX.test(compact) || digits.length < PREFIX_DIGITS_MIN || digits.length > E164_DIGITS_MAX) {
    throw new Problem(
      'PARAMETER_INVALID',
      `${name}: a prefix begins with + or 00 and the country code, has ${PREFIX_DIGITS_MIN} to ${E164_DIGITS_MAX} digits and ends with *`,
    );
  }
  return {
    asTyped,
    kind: 'prefix',
    searched: [`+${digits}`],
    e164: null,
    readAs: compact.startsWith('+') ? 'international' : 'international_prefix',
    country: null,
  };
}

interface Parsed {
  readonly number: PhoneNumber;
  readonly readAs: Exclude<ReadAs, 'text'>;
}

/** The number that these digits are, as a list of none or one. */
function parse(compact: string, defaultCountry: string | undefined, plan: DialPlan | undefined): Parsed[] {
  const parsed = (number: PhoneNumber | undefined, readAs: Parsed['readAs']): Parsed[] =>
    number === undefined ? [] : [{ number, readAs }];
  if (!/^\+?[0-9]+$/.test(compact)) return [];
  if (compact.startsWith('+')) return parsed(possible(compact), 'international');
  const number = defaultCountry === undefined ? undefined : possible(compact, defaultCountry);
  if (number !== undefined) {
    const international = plan !== undefined && isInternational(compact, plan);
    return parsed(number, international ? 'international_prefix' : 'national');
  }
  // 00 is understood everywhere: people copy numbers from other countries' papers.
  return compact.startsWith('00') ? parsed(possible(`+${compact.slice(2)}`), 'international_prefix') : [];
}

/** A number whose length its plan allows; the digits themselves are not judged, numbers change hands and plans. */
function possible(compact: string, country?: string): PhoneNumber | undefined {
  const options = country !== undefined && isSupportedCountry(country) ? { defaultCountry: country } : {};
  const number = parsePhoneNumberFromString(compact, { ...options, extract: false });
  return number?.isPossible() === true ? number : undefined;
}

/** The reading as answers show it. */
export function writeReading(reading: NumberReading) {
  return {
    as_typed: reading.asTyped,
    kind: reading.kind,
    searched: [...reading.searched],
    e164: reading.e164,
    read_as: reading.readAs,
    country: reading.country,
  };
}
