import fc from 'fast-check';
import { parsePhoneNumber, type CountryCode } from 'libphonenumber-js/max';
import tap from 'tap';
import { BatchMemory } from '../../../ingest/parse/batch-memory.ts';
import { NumberReader } from '../../../ingest/parse/number-text.ts';
import { dialPlanOf } from '../../../schemas/dial-plan.ts';
import { e164Key, textKey } from '../../../schemas/number-key.ts';
import { sipHash24 } from '../../../schemas/siphash.ts';

const KEY = { k0: 0x0123456789abcdefn, k1: 0xfedcba9876543210n };

function read(text: string, country?: string): { text: string; key: number } {
  const memory = new BatchMemory();
  const reader = new NumberReader(memory, KEY, country === undefined ? undefined : dialPlanOf(country));
  const bytes = Buffer.from(text);
  const at = memory.load(bytes);
  memory.reserve(40);
  reader.read(at, at + bytes.length);
  return { text: Buffer.from(memory.bytes.subarray(reader.start, reader.end)).toString(), key: reader.key };
}

await tap.test('without a country numbers stay as sent; keys are those of the schema', async (t) => {
  for (const text of ['+33612345678', '+1', '+123456789012345'])
    t.strictSame(read(text), { text, key: e164Key(text) });
  for (const text of [
    '',
    '0612345678',
    '0033612345678',
    '*72',
    'anonymous',
    '+',
    '+33x',
    '+1234567890123456',
    'été',
    '1002',
  ]) {
    t.strictSame(read(text), { text, key: textKey(sipHash24(KEY, Buffer.from(text))) }, text);
  }
});

await tap.test('any text has the key that a reader computes', async () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 20 }), (text) => {
      const expected = /^\+[0-9]{1,15}$/.test(text)
        ? e164Key(text)
        : textKey(sipHash24(KEY, Buffer.from(text)));
      return read(text).key === expected;
    }),
  );
});

await tap.test('with a country, national and international notations become E.164', async (t) => {
  const cases: [string, CountryCode, string][] = [
    ['0639980001', 'FR', '+33639980001'],
    ['0033639980001', 'FR', '+33639980001'],
    ['00447700900123', 'FR', '+447700900123'],
    ['07700900123', 'GB', '+447700900123'],
    ['2025550123', 'US', '+12025550123'],
    ['12025550123', 'US', '+12025550123'],
    ['011447700900123', 'US', '+447700900123'],
    ['0612345678', 'IT', '+390612345678'],
  ];
  for (const [sent, country, stored] of cases) {
    t.strictSame(read(sent, country), { text: stored, key: e164Key(stored) }, `${sent} in ${country}`);
    // The reference reads the same, wherever the digits are dialed in that country.
    t.equal(parsePhoneNumber(sent.replace(/^(00|011)(?=44|33)/, '+'), country).number, stored);
  }
});

await tap.test('what is no national number stays as sent', async (t) => {
  for (const text of [
    '112',
    '3900',
    '*72',
    '1002',
    's',
    'anonymous',
    '',
    '06399800',
    '+33639980001',
    '063998000112',
    '00331',
  ]) {
    t.equal(read(text, 'FR').text, text);
  }
});
