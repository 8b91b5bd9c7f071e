import fc from 'fast-check';
import metadata from 'libphonenumber-js/max/metadata';
import tap from 'tap';
import { pathsOf, patternText } from '../../deploy/dial-plans/digit-patterns.ts';
import { countryCodesOfLibrary, dialPlansOfLibrary } from '../../deploy/dial-plans/from-metadata.ts';
import { COUNTRY_CODES, DIAL_PLANS } from '../../schemas/dial-plans.ts';

await tap.test('the plans are those of the installed library', async (t) => {
  const fromLibrary = dialPlansOfLibrary();
  t.strictSame(COUNTRY_CODES, countryCodesOfLibrary());
  t.strictSame(Object.keys(DIAL_PLANS), Object.keys(fromLibrary));
  for (const [country, plan] of Object.entries(fromLibrary)) {
    t.strictSame(DIAL_PLANS[country], plan, `${country}: run make dial-plans; readings of such feeds change`);
  }
});

await tap.test('paths of an expression are the digit strings that it matches', async (t) => {
  const { countries } = metadata as unknown as { countries: Record<string, readonly unknown[]> };
  for (const [country, [, international, national]] of Object.entries(countries)) {
    for (const expression of [String(international), String(national)]) {
      const whole = new RegExp(`^(?:${expression})$`);
      const paths = new RegExp(
        `^(?:${pathsOf(expression)
          .map(({ items }) => patternText(items.map(({ digits }) => digits)))
          .join('|')})$`,
      );
      fc.assert(
        fc.property(fc.stringMatching(whole), fc.nat(), fc.nat({ max: 9 }), (text, place, digit) => {
          const at = place % (text.length + 1);
          // The string itself, with a digit more, with another one, with one less.
          for (const other of [
            text,
            `${text.slice(0, at)}${digit}${text.slice(at)}`,
            `${text.slice(0, at)}${digit}${text.slice(at + 1)}`,
            `${text.slice(0, at)}${text.slice(at + 1)}`,
          ]) {
            t.equal(paths.test(other), whole.test(other), `${country} ${expression} ${other}`);
          }
        }),
        { numRuns: 3 },
      );
    }
  }
});
