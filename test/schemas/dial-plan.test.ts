import fc from 'fast-check';
import { parsePhoneNumberFromString, type CountryCode, type PhoneNumber } from 'libphonenumber-js/max';
import metadata from 'libphonenumber-js/max/metadata';
import tap from 'tap';
import {
  applyDialPlan,
  applyNumberRules,
  dialPlanOf,
  NUMBER_DIGITS_MIN,
  numberRulesOf,
} from '../../schemas/dial-plan.ts';
import { DIAL_PLANS } from '../../schemas/dial-plans.ts';
import { E164_DIGITS_MAX } from '../../schemas/number-key.ts';

/** The expressions of the library for the numbers of each type, or for all of the country's. */
const { countries } = metadata as unknown as {
  countries: Record<string, readonly [code: string, unknown, national: string, ...others: unknown[]]>;
};
const NATIONAL_PREFIX = 5;
const TYPES = 11;
const SAMPLES = 4;

function expressionsOf(country: string): string[] {
  const data = countries[country]!;
  const types = data[TYPES] as readonly ([string, ...unknown[]] | 0)[] | 0 | undefined;
  const expressions = types ? types.flatMap((type) => (type ? [type[0]] : [])) : [data[2]];
  return expressions.filter((expression) => expression !== '');
}

/** Valid national numbers of a country, some of each type. */
function numbersOf(country: string): PhoneNumber[] {
  return expressionsOf(country)
    .flatMap((expression) =>
      fc.sample(fc.stringMatching(new RegExp(`^(?:${expression})$`)), { numRuns: SAMPLES, seed: 11 }),
    )
    .flatMap((national) => {
      const number = parsePhoneNumberFromString(`+${countries[country]![0]}${national}`);
      return number?.isValid() === true && number.nationalNumber === national ? [number] : [];
    });
}

/** One text that a pattern of a plan stands for. */
function textOf(pattern: string): string {
  return pattern.replaceAll(/\[([^\]])[^\]]*\]/g, '$1');
}

function library(text: string, country: string): PhoneNumber | undefined {
  return parsePhoneNumberFromString(text, { defaultCountry: country as CountryCode, extract: false });
}

interface Dialed {
  readonly number: PhoneNumber;
  readonly country: string;
  readonly notation: 'international' | 'national' | 'trunk' | 'bare';
  readonly text: string;
}

function digitsOf(text: string): string {
  return text.replaceAll(/[^0-9]/g, '');
}

function hasTrunkPrefix(country: string): boolean {
  return typeof countries[country]![NATIONAL_PREFIX] === 'string';
}

/** How the number is dialed in its country, in all notations. */
function* notations(number: PhoneNumber, country: string): Generator<Dialed> {
  for (const prefix of dialPlanOf(country).international) {
    yield { number, country, notation: 'international', text: `${textOf(prefix)}${number.number.slice(1)}` };
  }
  yield { number, country, notation: 'national', text: digitsOf(number.formatNational()) };
  yield {
    number,
    country,
    notation: 'national',
    text: digitsOf(number.formatNational({ nationalPrefix: false })),
  };
  if (hasTrunkPrefix(country)) {
    const text = `${String(countries[country]![NATIONAL_PREFIX])}${number.nationalNumber}`;
    yield { number, country, notation: 'trunk', text };
  }
  yield { number, country, notation: 'bare', text: number.nationalNumber };
}

function shown({ country, text, ours, theirs }: Both): string {
  return `${text} in ${country}: ${ours}, the library ${theirs?.number}`;
}

/** What the plan and the library make of digits that are dialed in a country. */
interface Both {
  readonly country: string;
  readonly text: string;
  readonly ours: string | undefined;
  readonly theirs: PhoneNumber | undefined;
}

function both(country: string, text: string): Both {
  const ours = applyDialPlan(text, dialPlanOf(country));
  return { country, text, ours, theirs: library(text, country) };
}

/** What the library reads and we do not, and why. The first that fits is the reason. */
const EXCEPTIONS: readonly { readonly reason: string; readonly isOne: (dialed: Dialed) => boolean }[] = [
  {
    reason: 'more than 15 digits are no E.164 number: DE, JP, NG',
    isOne: ({ number }) => number.number.length > E164_DIGITS_MAX + 1,
  },
  {
    reason:
      'fewer than 7 digits without a prefix may be a short code or an extension: 6 digits in FO, GL, NC; 13 12 34 in AU',
    isOne: ({ text, number }) => text === number.nationalNumber && text.length < NUMBER_DIGITS_MIN,
  },
  {
    reason: 'an international number of fewer than 7 digits: DE pagers, IR',
    isOne: ({ notation, number }) =>
      notation === 'international' && number.number.length <= NUMBER_DIGITS_MIN,
  },
  {
    reason:
      'a number without the trunk prefix that is dialed before it may be a local number (`bare: national` reads it)',
    isOne: ({ notation, number }) =>
      notation === 'bare' && digitsOf(number.formatNational()) !== number.nationalNumber,
  },
  {
    reason:
      'the library has no format for it, so it says nothing about how it is dialed: 444 1234 in TR, 16 numbers in CN',
    isOne: ({ text, number, country }) =>
      text === number.nationalNumber &&
      number.formatNational() === number.nationalNumber &&
      hasTrunkPrefix(country),
  },
  {
    reason: 'a number that begins with 0 behind the trunk prefix 0: JP, KR, ID',
    isOne: ({ notation, text }) => notation === 'trunk' && text.startsWith('00'),
  },
];

const all = Object.keys(DIAL_PLANS)
  .flatMap((country) => numbersOf(country).map((number) => ({ country, number })))
  .flatMap(({ country, number }) => [...notations(number, country)])
  .map((dialed) => ({ ...dialed, ...both(dialed.country, dialed.text) }));

await tap.test('there are numbers of all countries', async (t) => {
  t.ok(new Set(all.map(({ country }) => country)).size >= 240);
  t.ok(all.length > 10_000);
});

await tap.test('where a plan gives E.164 it is what the library reads', async (t) => {
  const differ = all.filter(({ ours, theirs }) => {
    if (ours === undefined || ours === theirs?.number) return false;
    // The library takes 012 in IL always for an international prefix, also where no number follows.
    return theirs === undefined ? parsePhoneNumberFromString(ours)?.isValid() !== true : theirs.isValid();
  });
  t.strictSame(differ.map(shown), []);
});

await tap.test('what the library takes for a valid number is read, but for the exceptions', async (t) => {
  const missed = all.filter(({ ours, theirs }) => ours === undefined && theirs?.isValid() === true);
  const reasons = missed.map((dialed) => EXCEPTIONS.find(({ isOne }) => isOne(dialed))?.reason);
  t.strictSame(missed.filter((_, i) => reasons[i] === undefined).map(shown), []);
  for (const { reason } of EXCEPTIONS) t.ok(reasons.includes(reason), reason);
});

await tap.test('with bare: national every national number of seven digits or more is read', async (t) => {
  const numbers = all.filter(
    ({ notation, text, number, country, theirs }) =>
      notation === 'bare' &&
      text.length >= NUMBER_DIGITS_MIN &&
      number.number.length <= E164_DIGITS_MAX + 1 &&
      // Numbers that begin with 0 where that is the trunk prefix too, and the seven digits of Gabon before 2019.
      !text.startsWith('00') &&
      !(country === 'GA' && text.length === 7) &&
      theirs?.isValid() === true,
  );
  t.ok(numbers.length > 1000);
  const differ = numbers.filter(({ country, text, theirs }) => {
    const rules = numberRulesOf(country, { bare: 'national' }).calling!;
    return applyNumberRules(text, rules) !== theirs!.number;
  });
  t.strictSame(differ.map(shown), []);
});

await tap.test('digits of any kind: a plan agrees with the library, or leaves them as sent', async (t) => {
  const digits = fc.tuple(
    fc.constantFrom('', '0', '00', '8', '810', '011', '1', '06', '0011', '001', '9'),
    fc.stringMatching(/^[0-9]{1,15}$/),
  );
  const texts = fc.sample(digits, { numRuns: 40, seed: 5 }).map((parts) => parts.join(''));
  const read = Object.keys(DIAL_PLANS)
    .flatMap((country) => texts.map((text) => both(country, text)))
    .filter(({ ours, theirs }) => ours !== undefined && theirs?.isValid() === true);
  t.ok(read.length > 100);
  t.strictSame(read.filter(({ ours, theirs }) => ours !== theirs!.number).map(shown), []);
});

const SHORT = [
  '0',
  '00',
  '000',
  '110',
  '112',
  '116117',
  '15',
  '3949',
  '911',
  '999',
  '1002',
  '211474',
  '9002',
];

await tap.test('short codes and extensions stay as sent in every country', async (t) => {
  const read = Object.keys(DIAL_PLANS)
    .flatMap((country) => SHORT.map((text) => both(country, text)))
    .filter(({ ours }) => ours !== undefined);
  t.strictSame(read.map(shown), []);
});

await tap.test('trunk prefixes, carriers and what is special in a country', async (t) => {
  const cases: [country: string, dialed: string, number: string][] = [
    ['IT', '0612345678', '+390612345678'],
    ['IT', '3331234567', '+393331234567'],
    ['RU', '84951234567', '+74951234567'],
    ['RU', '81033199000001', '+33199000001'],
    ['RU', '87012345678', '+77012345678'],
    ['RU', '88005553535', '+78005553535'],
    ['KZ', '87012345678', '+77012345678'],
    ['HU', '0612345678', '+3612345678'],
    ['LT', '861234567', '+37061234567'],
    ['LT', '061234567', '+37061234567'],
    ['US', '12025550123', '+12025550123'],
    ['US', '2025550123', '+12025550123'],
    ['CA', '01133199000001', '+33199000001'],
    ['BB', '4231234', '+12464231234'],
    ['AR', '01123456789', '+541123456789'],
    ['AR', '0111523456789', '+5491123456789'],
    ['AR', '111523456789', '+5491123456789'],
    ['AR', '0220215412345', '+5492202412345'],
    ['AR', '0292015412345', '+5492920412345'],
    ['MX', '5512345678', '+525512345678'],
    ['BR', '01511961234567', '+5511961234567'],
    ['BR', '011961234567', '+5511961234567'],
    ['BR', '001533199000001', '+33199000001'],
    ['KR', '0212345678', '+82212345678'],
    ['KR', '00133199000001', '+33199000001'],
    ['KR', '15881234', '+8215881234'],
    ['JP', '0312345678', '+81312345678'],
    ['JP', '01033199000001', '+33199000001'],
    ['AU', '0412345678', '+61412345678'],
    ['AU', '001133199000001', '+33199000001'],
    ['AU', '1300123456', '+611300123456'],
    ['CN', '13812345678', '+8613812345678'],
    ['CN', '01012345678', '+861012345678'],
    ['ES', '612345678', '+34612345678'],
    ['DK', '32123456', '+4532123456'],
    ['NO', '21234567', '+4721234567'],
    ['PL', '123456789', '+48123456789'],
    ['CZ', '212345678', '+420212345678'],
    ['GB', '02079460000', '+442079460000'],
    ['DE', '03012345678', '+493012345678'],
  ];
  for (const [country, dialed, number] of cases) {
    t.equal(applyDialPlan(dialed, dialPlanOf(country)), number, `${dialed} in ${country}`);
  }
});

await tap.test('a country without a plan is refused', async (t) => {
  t.throws(() => dialPlanOf('XX'), RangeError);
});
