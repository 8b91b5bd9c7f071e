import * as fc from 'fast-check';
import tap from 'tap';
import { maskInside, maskNumber } from '../../schemas/masking.ts';

await tap.test('the last four characters are hidden', async (t) => {
  t.equal(maskNumber('+33639980001'), '+3363998****');
  t.equal(maskNumber('211474'), '21****');
  t.equal(maskNumber('alice.martin'), 'alice.ma****');
});

await tap.test('a number of up to four characters is hidden whole', async (t) => {
  for (const number of ['1', '15', '112', '1002']) t.equal(maskNumber(number), '****');
  t.equal(maskNumber('10021'), '1****');
});

await tap.test('what says that there is no number stays', async (t) => {
  for (const text of ['', 'anonymous', 'Anonymous', 'unknown']) t.equal(maskNumber(text), text);
});

await tap.test('the last four characters never remain', async (t) => {
  fc.assert(
    fc.property(fc.stringMatching(/^\+?[0-9]{1,15}$/), (number) => {
      const masked = maskNumber(number);
      t.ok(masked.endsWith('****'));
      t.equal(masked.slice(0, -4), number.slice(0, Math.max(0, number.length - 4)));
    }),
    { numRuns: 50 },
  );
});

await tap.test('a number that another field repeats is hidden there in any notation', async (t) => {
  t.equal(maskInside('cust-0639980001', '+33639980001'), 'cust-063998****');
  t.equal(maskInside('+33639980001', '+33639980001'), '+3363998****');
  t.equal(maskInside('33639980001@pbx;33639980001', '+33639980001'), '3363998****@pbx;3363998****');
  t.equal(maskInside('1002', '1002'), '****');
  t.equal(maskInside('acct-1002', '1002'), 'acct-1002', 'too short to be told from other digits');
  t.equal(maskInside('acct-17', '+33639980001'), 'acct-17');
});
