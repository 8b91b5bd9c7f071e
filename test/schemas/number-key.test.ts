import fc from 'fast-check';
import tap from 'tap';
import { e164Key, e164PrefixRange, FIRST_TEXT_KEY, isE164, textKey } from '../../schemas/number-key.ts';

const digits = (max: number): fc.Arbitrary<string> =>
  fc
    .array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: max })
    .map((list) => `+${list.join('')}`);

await tap.test('keys of E.164 numbers are exact integers in the order of their texts', async (t) => {
  fc.assert(
    fc.property(digits(15), digits(15), (a, b) => {
      const [keyA, keyB] = [e164Key(a), e164Key(b)];
      return (
        Number.isSafeInteger(keyA) &&
        keyA > 0 &&
        keyA < FIRST_TEXT_KEY &&
        Math.sign(keyA - keyB) === (a < b ? -1 : a > b ? 1 : 0)
      );
    }),
  );
  t.equal(
    e164Key('+999999999999999'),
    FIRST_TEXT_KEY - 11 ** 0 - 0,
    'the greatest number is just below the texts',
  );
});

await tap.test('a prefix is one contiguous range', async () => {
  fc.assert(
    fc.property(digits(8), digits(15), (prefix, number) => {
      const { from, to } = e164PrefixRange(prefix);
      const key = e164Key(number);
      return number.startsWith(prefix) === (key >= from && key < to);
    }),
  );
});

await tap.test('texts have keys above all numbers and below 2^53', async (t) => {
  t.equal(textKey(0n), FIRST_TEXT_KEY);
  t.ok(Number.isSafeInteger(textKey(0xffff_ffff_ffff_ffffn)));
  t.equal(textKey(0xffff_ffff_ffff_ffffn), FIRST_TEXT_KEY + 2 ** 52 - 1);
});

await tap.test('what is no E.164 number has no such key', async (t) => {
  for (const text of ['', '+', '33612345678', '+3361234567890123', '+33 6', 'anonymous', '+33a']) {
    t.notOk(isE164(text), text);
    t.throws(() => e164Key(text), RangeError, text);
  }
});
