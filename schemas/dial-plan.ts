import { COUNTRY_CODES, DIAL_PLANS } from './dial-plans.ts';
import { E164_DIGITS_MAX } from './number-key.ts';

/**
 * How numbers of one country are dialed, as plain data for the parse worker. A pattern is written with digits and
 * classes of digits (`0[1-9]`). The data are generated from the metadata of libphonenumber (`make dial-plans`).
 */
export interface DialPlan {
  /** `33` */
  readonly countryCode: string;
  /** Patterns of what introduces an international number: `00`, `00[125689]`. */
  readonly international: readonly string[];
  /** How numbers of the country's own plan are dialed. */
  readonly national: readonly DialRule[];
}

/**
 * Digits `dropped kept infix rest` are the number `+ written kept rest`: `0 1 99000001` in France `+33 1 99000001`,
 * `0 11 15 23456789` in Argentina `+549 11 23456789`.
 */
export interface DialRule {
  /** Patterns of what is dialed and is not part of the number: `0`, `0[3579]`; an empty one is nothing. */
  readonly dropped: readonly string[];
  /** What the number begins with instead: the country code, and what is never dialed inside of the country. */
  readonly written: string;
  /** Patterns of the digits that follow and stay. */
  readonly kept: readonly string[];
  /** Digits behind them that are dropped as well. */
  readonly infix?: string;
  /** How many digits may stand behind all that. */
  readonly rest: readonly number[];
}

/** What a feed does with the numbers of one role. Where all of it is missing they stay as sent. */
export interface NumberRules {
  readonly plan: DialPlan | undefined;
  /** Patterns of what an international number can begin with. */
  readonly countryCodes: readonly string[];
  /** Carrier and tech prefixes, longest first. One is taken off where a number is left. */
  readonly strip: readonly string[];
  /** What digits are that no prefix says anything about; undefined: what the plan says. */
  readonly bare: 'international' | 'national' | undefined;
}

/** Rules by role; undefined: numbers stay as sent. */
export interface FeedNumberRules {
  readonly calling: NumberRules | undefined;
  readonly displayed: NumberRules | undefined;
  readonly dialed: NumberRules | undefined;
}

/** Number rules as a feed's settings say them. */
export interface NumberSettings {
  readonly strip?: readonly string[];
  readonly bare?: string;
  readonly keep?: boolean;
}
export type FeedNumberSettings = NumberSettings & {
  readonly [Role in keyof FeedNumberRules]?: NumberSettings;
};

/** Fewest digits of a number without any prefix, and of an international one: fewer may be a short code or an extension. */
export const NUMBER_DIGITS_MIN = 7;

const E164_STRICT = /^\+[1-9][0-9]{6,14}$/;

/** The dial plan of an ISO 3166 country. Throws RangeError where there is none. */
export function dialPlanOf(country: string): DialPlan {
  const plan = DIAL_PLANS[country];
  if (plan === undefined) throw new RangeError(`no dial plan of ${country}`);
  return plan;
}

/** The rules of a feed of this country. What is set for a role counts for it instead of what is set for all. */
export function numberRulesOf(
  country: string | undefined,
  { calling, displayed, dialed, ...all }: FeedNumberSettings = {},
): FeedNumberRules {
  const plan = country === undefined ? undefined : dialPlanOf(country);
  const rulesOf = (role: NumberSettings | undefined): NumberRules | undefined => {
    const { strip = [], bare, keep = false } = { ...all, ...role };
    const isBare = bare === 'international' || bare === 'national';
    if (keep || (plan === undefined && strip.length === 0 && !isBare)) return undefined;
    const longestFirst = [...new Set(strip)].sort((a, b) => b.length - a.length || (a < b ? -1 : 1));
    return { plan, countryCodes: COUNTRY_CODES, strip: longestFirst, bare: isBare ? bare : undefined };
  };
  return { calling: rulesOf(calling), displayed: rulesOf(displayed), dialed: rulesOf(dialed) };
}

/** All rules by which digits become E.164. Of those that fit, the one with the most fixed digits counts. */
export function dialRules({ plan, countryCodes, bare }: NumberRules): DialRule[] {
  const national = plan?.national ?? [];
  return [
    ...international(plan?.international ?? [], countryCodes),
    ...(bare === undefined ? national : national.flatMap((rule) => withPrefix(rule))),
    ...(bare === 'international' ? international([''], countryCodes) : []),
    ...(bare === 'national' && plan !== undefined ? bareNational(plan) : []),
  ];
}

/** International numbers behind these prefixes: a rule for each length of country codes. */
function international(dropped: readonly string[], countryCodes: readonly string[]): DialRule[] {
  if (dropped.length === 0) return [];
  return [1, 2, 3].map((digits) => ({
    dropped,
    written: '',
    kept: countryCodes.filter((code) => patternDigits(code) === digits),
    rest: Array.from(
      { length: E164_DIGITS_MAX - NUMBER_DIGITS_MIN + 1 },
      (_, i) => NUMBER_DIGITS_MIN - digits + i,
    ),
  }));
}

/** The rule without its way to dial a number with nothing before it. */
function withPrefix(rule: DialRule): DialRule[] {
  const dropped = rule.dropped.filter((pattern) => pattern !== '');
  return dropped.length === 0 ? [] : [{ ...rule, dropped }];
}

/** Every number that can be dialed is understood with nothing before it as well. */
function bareNational({ countryCode, national }: DialPlan): DialRule[] {
  return national
    .filter(({ written, infix }) => written === countryCode && infix === undefined)
    .map((rule) => ({
      ...rule,
      dropped: [''],
      rest: rule.rest.filter((length) => length + patternDigits(rule.kept[0]!) >= NUMBER_DIGITS_MIN),
    }))
    .filter(({ rest }) => rest.length > 0);
}

/** How many digits a pattern stands for. */
export function patternDigits(pattern: string): number {
  return pattern.replaceAll(/\[[^\]]*\]/g, 'd').length;
}

/**
 * What a feed with these rules stores for a text: E.164, or undefined where it stays as sent. The twin for reading of the
 * parse worker's `NumberReader`, which works on bytes; a test holds them equal.
 */
export function applyNumberRules(text: string, rules: NumberRules): string | undefined {
  if (text.startsWith('+')) return undefined;
  const all = dialRules(rules);
  const read = (digits: string): string | undefined =>
    E164_STRICT.test(digits) ? digits : applyRules(digits, all);
  for (const prefix of rules.strip) {
    const number = text.startsWith(prefix) ? read(text.slice(prefix.length)) : undefined;
    if (number !== undefined) return number;
  }
  return applyRules(text, all);
}

/** What a feed of this plan's country stores for these digits. */
export function applyDialPlan(digits: string, plan: DialPlan): string | undefined {
  return applyNumberRules(digits, { plan, countryCodes: COUNTRY_CODES, strip: [], bare: undefined });
}

/** True where the digits begin with what introduces an international number. */
export function isInternational(digits: string, plan: DialPlan): boolean {
  return new RegExp(`^(?:${plan.international.join('|')})[1-9]`).test(digits);
}

function applyRules(digits: string, rules: readonly DialRule[]): string | undefined {
  let fixed = 0;
  let number: string | undefined;
  for (const { dropped, written, kept, infix = '', rest } of rules) {
    const longestFirst = [...kept].sort((a, b) => patternDigits(b) - patternDigits(a)).join('|');
    const others = rest.map((length) => `[0-9]{${length}}`).join('|');
    for (const before of dropped) {
      const [, first, last] =
        new RegExp(`^${before}(${longestFirst})${infix}(${others})$`).exec(digits) ?? [];
      if (first === undefined || last === undefined || digits.length - last.length <= fixed) continue;
      fixed = digits.length - last.length;
      number = `+${written}${first}${last}`;
    }
  }
  return number;
}
