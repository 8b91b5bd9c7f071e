import * as fc from 'fast-check';
import tap from 'tap';
import { numberRulesOf } from '../../schemas/dial-plan.ts';
import { DIAL_PLANS } from '../../schemas/dial-plans.ts';
import { FIRST_TEXT_KEY } from '../../schemas/number-key.ts';
import { deriveKey } from '../../schemas/record-key.ts';
import { BatchMemory } from '../../ingest/parse/batch-memory.ts';
import { NumberReader } from '../../ingest/parse/number-text.ts';
import { NumberKeys } from '../../schemas/number-keys.ts';
import { readNumber } from '../../query/number-reading.ts';

const identityKey = Buffer.alloc(32, 5);
const keys = new NumberKeys(identityKey);

/** What ingest stores for these bytes under a feed `a` of this country: text and key. */
function asIngested(sent: string, country: string | undefined): { text: string; key: number } {
  const memory = new BatchMemory();
  const bytes = Buffer.from(sent, 'utf8');
  memory.prepare(bytes.length + 100);
  const start = memory.load(bytes);
  const plan = numberRulesOf(country).calling;
  const reader = new NumberReader(memory, deriveKey(identityKey, 'number', 'a'), plan);
  reader.read(start, start + bytes.length);
  return {
    text: Buffer.from(memory.bytes.subarray(reader.start, reader.end)).toString('utf8'),
    key: reader.key,
  };
}

await tap.test('keys are those that ingest stores', async (t) => {
  fc.assert(
    fc.property(fc.oneof(fc.string({ maxLength: 40 }), fc.stringMatching(/^\+?[0-9]{1,16}$/)), (text) => {
      t.equal(keys.keyOf('a', text), asIngested(text, undefined).key);
    }),
    { numRuns: 200 },
  );
});

await tap.test('whatever ingest makes of digits under the default country is searched', async (t) => {
  const digits = fc.oneof(
    fc.stringMatching(/^0[0-9]{9}$/),
    fc.stringMatching(/^00[0-9]{7,15}$/),
    fc.stringMatching(/^011[0-9]{7,13}$/),
    fc.stringMatching(/^[0-9]{3,15}$/),
    fc.stringMatching(/^\+[0-9]{1,15}$/),
  );
  fc.assert(
    fc.property(digits, fc.constantFrom(...Object.keys(DIAL_PLANS)), (sent, country) => {
      const stored = asIngested(sent, country);
      const { searched } = readNumber('number', sent, country);
      t.ok(searched.includes(stored.text), country);
      t.ok(keys.keysOf(['a'], searched).includes(stored.key));
    }),
    { numRuns: 300 },
  );
});

await tap.test('an E.164 number has one key, another text one for each feed', async (t) => {
  t.equal(keys.keysOf(['a', 'b', 'c'], ['+33639980001']).length, 1);
  const texts = keys.keysOf(['a', 'b', 'c'], ['211474', 'anonymous']);
  t.equal(new Set(texts).size, 6);
  t.ok(texts.every((key) => key >= FIRST_TEXT_KEY && Number.isSafeInteger(key)));
  t.strictSame(
    texts,
    texts.toSorted((a, b) => a - b),
  );
});
