import fc from 'fast-check';
import tap from 'tap';
import { HashingMemory } from '../../../ingest/parse/hashing-memory.ts';
import { sipHash24 } from '../../../schemas/siphash.ts';

/** The key and the first vectors of the SipHash paper's appendix: message i is the bytes 0 to i - 1. */
const KEY = { k0: 0x0706050403020100n, k1: 0x0f0e0d0c0b0a0908n };
const VECTORS = [
  [0, 0x726fdb47dd0e0e31n],
  [15, 0xa129ca6149be45e5n],
] as const;

function hashed(memory: HashingMemory, key: { k0: bigint; k1: bigint }, bytes: Uint8Array): bigint {
  const at = memory.load(bytes);
  memory.hash(key, at, bytes.length);
  return (BigInt(memory.hashHigh) << 32n) | BigInt(memory.hashLow);
}

await tap.test('both implementations give the vectors of the paper', async (t) => {
  const memory = new HashingMemory();
  for (const [length, hash] of VECTORS) {
    const bytes = Uint8Array.from({ length }, (_, i) => i);
    t.equal(sipHash24(KEY, bytes), hash);
    t.equal(hashed(memory, KEY, bytes), hash);
  }
});

await tap.test('both implementations are one function', async () => {
  const memory = new HashingMemory();
  const word = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn });
  fc.assert(
    fc.property(word, word, fc.uint8Array({ maxLength: 300 }), (k0, k1, bytes) => {
      return hashed(memory, { k0, k1 }, bytes) === sipHash24({ k0, k1 }, bytes);
    }),
    { numRuns: 1000 },
  );
});

await tap.test('the memory grows and keeps what it holds', async (t) => {
  const memory = new HashingMemory();
  const bytes = new Uint8Array(300_000).fill(7);
  const at = memory.load(bytes);
  memory.reserve(1_000_000);
  t.ok(memory.bytes.length >= memory.top + 1_000_000);
  t.strictSame(Buffer.from(memory.bytes.subarray(at, at + bytes.length)), Buffer.from(bytes));
});
