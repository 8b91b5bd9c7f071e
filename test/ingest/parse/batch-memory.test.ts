import fc from 'fast-check';
import tap from 'tap';
import { BatchMemory } from '../../../ingest/parse/batch-memory.ts';
import { sipHash24 } from '../../../schemas/siphash.ts';

/** The key and the first vectors of the SipHash paper's appendix: message i is the bytes 0 to i - 1. */
const KEY = { k0: 0x0706050403020100n, k1: 0x0f0e0d0c0b0a0908n };
const VECTORS = [
  [0, 0x726fdb47dd0e0e31n],
  [15, 0xa129ca6149be45e5n],
] as const;

function hashed(memory: BatchMemory, key: { k0: bigint; k1: bigint }, bytes: Uint8Array): bigint {
  memory.prepare(bytes.length);
  const at = memory.load(bytes);
  memory.hash(key, at, bytes.length);
  return (BigInt(memory.hashHigh) << 32n) | BigInt(memory.hashLow);
}

await tap.test('both implementations give the vectors of the paper', async (t) => {
  const memory = new BatchMemory();
  for (const [length, hash] of VECTORS) {
    const bytes = Uint8Array.from({ length }, (_, i) => i);
    t.equal(sipHash24(KEY, bytes), hash);
    t.equal(hashed(memory, KEY, bytes), hash);
  }
});

await tap.test('both implementations are one function', async () => {
  const memory = new BatchMemory();
  const word = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn });
  fc.assert(
    fc.property(word, word, fc.uint8Array({ maxLength: 300 }), (k0, k1, bytes) => {
      return hashed(memory, { k0, k1 }, bytes) === sipHash24({ k0, k1 }, bytes);
    }),
    { numRuns: 1000 },
  );
});

await tap.test('what was not prepared for is refused, never written over the records', async (t) => {
  const memory = new BatchMemory();
  memory.prepare(1000);
  memory.load(new Uint8Array(900));
  memory.reserve(100);
  t.throws(() => memory.reserve(109), RangeError);
  t.throws(() => memory.load(new Uint8Array(1009)), RangeError);
});
