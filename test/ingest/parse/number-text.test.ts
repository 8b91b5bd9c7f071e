import fc from 'fast-check';
import { parsePhoneNumber, type CountryCode } from 'libphonenumber-js/max';
import tap from 'tap';
import { BatchMemory } from '../../../ingest/parse/batch-memory.ts';
import { NumberReader } from '../../../ingest/parse/number-text.ts';
import { applyNumberRules, numberRulesOf, type NumberRules } from '../../../schemas/dial-plan.ts';
import { COUNTRY_CODES, DIAL_PLANS } from '../../../schemas/dial-plans.ts';
import { e164Key, textKey } from '../../../schemas/number-key.ts';
import { sipHash24 } from '../../../schemas/siphash.ts';

const KEY = { k0: 0x0123456789abcdefn, k1: 0xfedcba9876543210n };

function read(text: string, country?: string): { text: string; key: number } {
  return readBy(numberRulesOf(country).calling, text);
}

const memory = new BatchMemory();

function readBy(rules: NumberRules | undefined, text: string): { text: string; key: number } {
  const reader = new NumberReader(memory, KEY, rules);
  const bytes = Buffer.from(text);
  memory.prepare(bytes.length + 40);
  const at = memory.load(bytes);
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

/** `+` and up to 18 digits, some with another character in some place. */
const nearlyE164 = fc
  .tuple(
    fc.stringMatching(/^\+[0-9]{0,18}$/),
    fc.nat({ max: 18 }),
    fc.constantFrom('', '', '/', ':', '+', ' ', 'é'),
  )
  .map(([text, place, other]) => text.slice(0, place) + other + text.slice(place));

await tap.test('any text has the key that a reader computes', async () => {
  fc.assert(
    fc.property(fc.oneof(fc.string({ maxLength: 20 }), nearlyE164), (text) => {
      const expected = /^\+[0-9]{1,15}$/.test(text)
        ? e164Key(text)
        : textKey(sipHash24(KEY, Buffer.from(text)));
      return read(text).key === expected;
    }),
    { numRuns: 1000 },
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
    ['0111523456789', 'AR', '+5491123456789'],
    ['01511961234567', 'BR', '+5511961234567'],
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

await tap.test('strip takes a prefix off where a number is left, the longest first and once', async (t) => {
  const rules = numberRulesOf('FR', { strip: ['9', '*31*', '011#', '99'] }).calling;
  const cases: [sent: string, stored: string][] = [
    ['*31*0199000001', '+33199000001'],
    ['90199000001', '+33199000001'],
    ['011#0033199000001', '+33199000001'],
    ['9+33199000001', '+33199000001'],
    ['990199000001', '+33199000001'],
    ['900447700900123', '+447700900123'],
    ['0199000001', '+33199000001'],
    // What is left is no number: an extension, a short code, a feature code, a prefix alone.
    ['9002', '9002'],
    ['9112', '9112'],
    ['*31*1002', '*31*1002'],
    ['99', '99'],
    ['9990199000001', '9990199000001'],
    ['9+1', '9+1'],
    ['9+03319900000', '9+03319900000'],
    ['9+3319900000x', '9+3319900000x'],
    ['+33199000001', '+33199000001'],
  ];
  for (const [sent, stored] of cases) t.equal(readBy(rules, sent).text, stored, sent);
  const both = numberRulesOf('FR', { strip: ['0', '00'] }).calling;
  t.equal(readBy(both, '000199000001').text, '+33199000001', 'not 0 and an international number');
});

await tap.test('bare digits are international or national numbers where the feed says so', async (t) => {
  const international = numberRulesOf('FR', { bare: 'international' }).calling;
  t.equal(readBy(international, '33199000001').text, '+33199000001');
  t.equal(readBy(international, '0199000001').text, '+33199000001');
  t.equal(readBy(international, '0044199000001').text, '+44199000001');
  t.equal(readBy(international, '100200').text, '100200', 'too short');
  t.equal(readBy(international, '1234567890123456').text, '1234567890123456', 'too long');
  t.equal(
    readBy(numberRulesOf(undefined, { bare: 'international' }).calling, '33199000001').text,
    '+33199000001',
  );
  const us = numberRulesOf('US', { bare: 'international' }).calling;
  t.equal(readBy(us, '2025550123').text, '+2025550123', 'not the plan, which would take it as national');
  const national = numberRulesOf('FR', { bare: 'national' }).calling;
  t.equal(readBy(national, '199000001').text, '+33199000001');
  t.equal(readBy(national, '1990').text, '1990');
  t.equal(readBy(numberRulesOf('FR').calling, '199000001').text, '199000001', 'else it stays as sent');
});

await tap.test('rules by role: what is set for a role counts instead', async (t) => {
  const { calling, displayed, dialed } = numberRulesOf('FR', {
    strip: ['9'],
    dialed: { strip: ['0'] },
    displayed: { keep: true },
  });
  t.equal(readBy(calling, '90199000001').text, '+33199000001');
  t.equal(readBy(calling, '00199000001').text, '+199000001');
  t.equal(readBy(dialed, '00199000001').text, '+33199000001', 'an outside line');
  t.equal(readBy(dialed, '90199000001').text, '90199000001');
  t.equal(readBy(displayed, '0199000001').text, '0199000001');
});

/** What decides about a text: which rule, which of its patterns, which digits. */
const choices = fc.record({
  rule: fc.nat(),
  dropped: fc.nat(),
  kept: fc.nat(),
  rest: fc.nat(),
  strip: fc.nat(),
  digits: fc.array(fc.nat({ max: 9 }), { minLength: 40, maxLength: 40 }),
  change: fc.oneof({ weight: 12, arbitrary: fc.constant('') }, fc.constantFrom('0', '7', 'x', '+', '#')),
  place: fc.nat({ max: 40 }),
});
type Choices = typeof choices extends fc.Arbitrary<infer Value> ? Value : never;

function pick<Item>(items: readonly Item[], chosen: number): Item {
  return items[chosen % items.length]!;
}

/** A text that the rules of a country are about, or that is nearly such a one. */
function dialedIn(country: string, strip: readonly string[], choice: Choices): string {
  const { international, national } = DIAL_PLANS[country]!;
  const { dropped, kept, infix, rest } = pick(
    [
      { dropped: international, kept: [...COUNTRY_CODES, '[0-9]'], infix: '', rest: [5, 6, 9, 12, 14] },
      ...national.map((rule) => ({ infix: '', ...rule })),
    ],
    choice.rule,
  );
  let used = 0;
  const digitsFor = (pattern: string): string =>
    pattern.replaceAll(/\[([^\]]*)\]/g, (_, members: string) => {
      const all = members.replaceAll(/(.)-(.)/g, (range) =>
        '0123456789'.slice(Number(range[0]), Number(range[2]) + 1),
      );
      return pick(all.split(''), choice.digits[used++]!);
    });
  const before = pick(['', ...strip], choice.strip) + digitsFor(pick(dropped, choice.dropped));
  const first = digitsFor(pick(kept, choice.kept)) + infix;
  const text = before + first + choice.digits.slice(used, used + pick(rest, choice.rest)).join('');
  return choice.change === '' ? text : text.slice(0, choice.place) + choice.change + text.slice(choice.place);
}

await tap.test('bytes are read as the twin for queries reads texts', async (t) => {
  const countries = fc.constantFrom('AR', 'BR', 'GA', 'BB', ...Object.keys(DIAL_PLANS));
  const strips = fc.subarray(['9', '99', '0', '00', '*31*', '011#', '1', '+']);
  const bares = fc.constantFrom('plan', 'national', 'international');
  const others = fc.oneof(fc.stringMatching(/^[+0-9]?[0-9]{0,24}$/), fc.string());
  let rewritten = 0;
  fc.assert(
    fc.property(countries, strips, bares, choices, others, (country, strip, bare, choice, other) => {
      const rules = numberRulesOf(country, { strip, bare }).calling!;
      return [dialedIn(country, strip, choice), other].every((text) => {
        const expected = applyNumberRules(text, rules);
        if (expected !== undefined) rewritten++;
        const stored = expected ?? text;
        const key = /^\+[0-9]{1,15}$/.test(stored)
          ? e164Key(stored)
          : textKey(sipHash24(KEY, Buffer.from(stored)));
        const actual = readBy(rules, text);
        return actual.text === stored && actual.key === key;
      });
    }),
    { numRuns: 2000 },
  );
  t.ok(rewritten > 1000, 'many of them are numbers');
});
