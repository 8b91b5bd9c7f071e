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

await tap.test('the memory grows and keeps what it holds', async (t) => {
  const memory = new BatchMemory();
  const bytes = new Uint8Array(300_000).fill(7);
  const at = memory.load(bytes);
  memory.reserve(1_000_000);
  t.ok(memory.bytes.length >= memory.top + 1_000_000);
  t.strictSame(Buffer.from(memory.bytes.subarray(at, at + bytes.length)), Buffer.from(bytes));
});

await tap.test(
  'texts are gathered as the Native format has them, whatever their lengths and order',
  async () => {
    const memory = new BatchMemory();
    // Around the borders of a copied block (16) and of a length's bytes (128, 16384).
    const length = fc.oneof(
      fc.integer({ min: 0, max: 20 }),
      fc.constantFrom(127, 128, 129, 5000, 16_383, 16_384),
    );
    const texts = fc.integer({ min: 1, max: 5 });
    fc.assert(
      fc.property(
        texts,
        fc.array(fc.array(length, { minLength: 5, maxLength: 5 }), { maxLength: 80 }),
        fc.infiniteStream(fc.nat()),
        (count, rows, random) => {
          const values = rows.map((lengths) =>
            lengths.slice(0, count).map((n, text) => Buffer.alloc(n, 65 + text)),
          );
          const at = memory.load(Buffer.concat(values.flat()));
          let end = at;
          const addresses = Int32Array.from(values.flat().flatMap((value) => [end, (end += value.length)]));
          const inMemoryOrder = Uint32Array.from(rows.keys());
          const order = Uint32Array.from(
            [...rows.keys()]
              .map((row) => ({ row, by: random.next().value }))
              .sort((a, b) => a.by - b.by)
              .map(({ row }) => row),
          );
          const gathered = memory
            .gatherTexts(addresses, count, order, inMemoryOrder)
            .map((column) => Buffer.from(column).toString('hex'));
          const expected = Array.from({ length: count }, (_, text) =>
            Buffer.concat(
              [...order].flatMap((row) => [lengthBytes(values[row]![text]!.length), values[row]![text]!]),
            ).toString('hex'),
          );
          return JSON.stringify(gathered) === JSON.stringify(expected);
        },
      ),
      { numRuns: 300 },
    );
  },
);

/** A variable-length integer. */
function lengthBytes(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>>= 7) {
    if (rest < 128) return Buffer.from([...bytes, rest]);
    bytes.push((rest & 127) | 128);
  }
}
