import * as fc from 'fast-check';
import tap from 'tap';
import { matches, readNumber } from '../../query/number-reading.ts';

const number = '+33639980001';

await tap.test('one number in every notation', async (t) => {
  const notations: [string, string][] = [
    ['+33639980001', 'international'],
    [' +33 6 39 98 00 01 ', 'international'],
    ['+33 (0)6.39.98.00.01', 'international'],
    ['0033639980001', 'international_prefix'],
    ['00 33 6 39 98 00 01', 'international_prefix'],
    ['06 39 98 00 01', 'national'],
    ['06-39-98-00-01', 'national'],
    ['06\u00a039\u202f98\u201100 01', 'national'],
    ['0639980001', 'national'],
  ];
  for (const [typed, readAs] of notations) {
    const reading = readNumber('number', typed, 'FR');
    t.match(reading, { asTyped: typed.trim(), kind: 'exact', e164: number, readAs, country: 'FR' }, typed);
    t.ok(reading.searched.includes(number));
    t.ok(reading.searched.includes(typed.trim()), 'the text as typed is searched too');
    t.ok(matches(reading, number));
  }
});

await tap.test('the text without separators is searched', async (t) => {
  t.strictSame(readNumber('number', '06 39 98 00 01', 'FR').searched, [
    '06 39 98 00 01',
    '0639980001',
    number,
  ]);
});

await tap.test('without a default country + and 00 are still understood', async (t) => {
  t.equal(readNumber('number', '0033 6 39 98 00 01', undefined).e164, number);
  t.match(readNumber('number', '06 39 98 00 01', undefined), {
    e164: null,
    readAs: 'text',
    searched: ['06 39 98 00 01', '0639980001'],
  });
});

await tap.test('what is no telephone number stays text', async (t) => {
  for (const typed of ['211474', '1002', 'anonymous', '*72', 'alice.martin', 's', '+', '*8*']) {
    const reading = readNumber('number', typed, 'FR');
    t.match(reading, { e164: null, readAs: 'text', country: null }, typed);
    t.ok(reading.searched.includes(typed));
  }
});

await tap.test('a number that is rewritten when it is dialed is searched in both forms', async (t) => {
  const reading = readNumber('number', '011 15 2345 6789', 'AR');
  t.equal(reading.e164, '+5491123456789', 'the mobile form, as feeds of the country store it');
  t.ok(reading.searched.includes('0111523456789'), 'and as a feed without a country leaves it');
});

await tap.test('international prefixes of the default country are understood', async (t) => {
  t.ok(readNumber('number', '010 33 1 99 00 00 01', 'JP').searched.includes('+33199000001'));
  t.ok(readNumber('number', '810 33 1 99 00 00 01', 'RU').searched.includes('+33199000001'));
});

await tap.test('a plus sign that was not encoded is understood', async (t) => {
  t.match(readNumber('number', ' 33639980001', undefined), { e164: number, readAs: 'international' });
  t.match(readNumber('number', ' 3363*', undefined), { kind: 'prefix', searched: ['+3363'] });
  t.match(readNumber('number', ' 0639980001', 'FR'), { e164: number, readAs: 'national' });
  t.match(readNumber('number', ' 211474', 'FR'), { e164: null, searched: ['211474'] });
});

await tap.test('prefixes', async (t) => {
  for (const typed of ['+3363*', '+33 63*', '003363*']) {
    t.match(readNumber('number', typed, 'FR'), { kind: 'prefix', searched: ['+3363'], e164: null }, typed);
  }
  const reading = readNumber('number', '+336399*', undefined);
  t.ok(matches(reading, number));
  t.notOk(matches(reading, '+33640000000'));
  t.notOk(matches(reading, '+336399 text'), 'only E.164 numbers have a prefix range');
  for (const typed of ['+336*', '0639*', '63998*', '+1234567890123456*']) {
    t.throws(() => readNumber('number', typed, 'FR'), { code: 'PARAMETER_INVALID' }, typed);
  }
});

await tap.test('what cannot be a number is refused without repeating it', async (t) => {
  for (const typed of ['', '   ', '1'.repeat(65), '06\u0000399', '06\n399']) {
    t.throws(() => readNumber('number', typed, 'FR'), {
      code: 'PARAMETER_INVALID',
      message: /^number: must be/,
    });
  }
});

await tap.test('any text is read: it is searched itself, and no text twice', async (t) => {
  fc.assert(
    fc.property(
      fc.oneof(fc.string({ maxLength: 64 }), fc.stringMatching(/^\+?[0-9 .()-]{1,40}$/)),
      fc.constantFrom('FR', 'DE', 'US', 'IT', 'AR', undefined),
      (typed, country) => {
        let reading;
        try {
          reading = readNumber('number', typed, country);
        } catch (error) {
          t.match(error, { code: 'PARAMETER_INVALID' });
          return;
        }
        t.equal(new Set(reading.searched).size, reading.searched.length);
        if (reading.kind === 'exact') t.ok(reading.searched.includes(typed.trim()));
      },
    ),
    { numRuns: 300 },
  );
});
