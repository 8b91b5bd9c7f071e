import tap from 'tap';
import { e164Key, isE164 } from '../../schemas/number-key.ts';
import {
  blankedNumber,
  redactNumbers,
  suppressionHash,
  suppressionKeys,
} from '../../schemas/suppressions.ts';

const ERASED = '+33199000001';

function redacted(text: string, erased: readonly string[] = [ERASED, '0199000001', '199000001']): string {
  const bytes = Buffer.from(text);
  redactNumbers(bytes, (texts) => texts.some((each) => erased.includes(each)));
  return bytes.toString();
}

await tap.test('a blanked number is the beginning by which it is rated, and has a key itself', async (t) => {
  t.equal(blankedNumber(ERASED), '+331990');
  t.equal(blankedNumber('+3319900'), '+33');
  t.equal(blankedNumber('+33199'), '', 'nothing is left of a short one');
  t.equal(blankedNumber('1002'), '');
  t.ok(isE164(blankedNumber(ERASED)));
  t.ok(e164Key(blankedNumber(ERASED)) <= e164Key(ERASED));
});

await tap.test('a number is overwritten in every spelling, and nothing else is', async (t) => {
  for (const spelling of [
    '+33199000001',
    '0033199000001',
    '33199000001',
    '0199000001',
    '199000001',
    '01 99 00 00 01',
    '01.99.00.00.01',
    '+33 (1) 99-00-00-01',
    '%2B33199000001',
    'tel:+33-1-99-00-00-01',
    'sip:+33199000001@192.0.2.7',
  ]) {
    const line = `2026-03-01,"${spelling}",+33199000002,61`;
    const left = redacted(line);
    t.equal(left.length, line.length, spelling);
    t.notMatch(left.replaceAll(/[^0-9]/g, ''), '99000001', spelling);
    t.match(left, /^2026-03-01,.*,\+33199000002,61$/, spelling);
  }
});

await tap.test('longer digits that hold it are another number', async (t) => {
  for (const line of ['+331990000011', '991990000010', '+33199000002 +33199000003', 'a,,,61'])
    t.equal(redacted(line), line);
});

await tap.test('numbers beside each other with a space between are told apart', async (t) => {
  t.equal(redacted('0199000002 0199000001 0042'), '0199000002 0199xxxxxx 0042');
});

await tap.test('hashes and the id of the keys follow the identity key', async (t) => {
  const [a, b] = [1, 2].map((byte) => suppressionKeys(new Uint8Array(32).fill(byte)));
  t.match(suppressionHash(a!, ERASED), /^[0-9a-f]{32}$/);
  t.not(suppressionHash(a!, ERASED), suppressionHash(b!, ERASED));
  t.not(a!.id, b!.id);
});
