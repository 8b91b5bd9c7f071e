import fc from 'fast-check';
import tap from 'tap';
import { BatchMemory, DATE_TIME_FORM } from '../../../ingest/parse/batch-memory.ts';
import { StartTimeReader } from '../../../ingest/parse/start-time.ts';
import { compileTime } from '../../../schemas/formats/time-pattern.ts';
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

await tap.test(
  'a time in the plainest notation is what the general reader reads; all else is left to it',
  async (t) => {
    const memory = new BatchMemory();
    const reader = new StartTimeReader();
    const program = compileTime('iso-or-epoch');
    const { space, letterT, milliseconds, zulu } = DATE_TIME_FORM;
    const forms = space | letterT | milliseconds | zulu;
    const read = (text: string, allowed: number): number => {
      // Surrounded by digits, so that reading beyond the field shows.
      const bytes = Buffer.from(`9${text}9`, 'latin1');
      memory.prepare(bytes.length);
      const at = memory.load(bytes);
      return memory.dateTime(at + 1, at + bytes.length - 1, allowed);
    };
    const general = (text: string): number =>
      reader.read(Buffer.from(text, 'latin1'), 0, text.length, program);
    const moment = fc.integer({ min: Date.UTC(1900, 0), max: Date.UTC(9999, 11, 31) });
    const iso = moment.map((ms) => new Date(ms).toISOString());
    const plain = fc
      .tuple(iso, fc.constantFrom('T', ' '), fc.constantFrom(19, 23), fc.constantFrom('', 'Z'))
      .map(([text, divider, length, end]) => text.replace('T', divider).slice(0, length) + end);
    fc.assert(
      fc.property(plain, (text) => read(text, forms) === general(text)),
      { numRuns: 3000 },
    );
    // Days of all months and leap years, and one more than each has.
    for (const year of [1900, 1970, 1999, 2000, 2024, 2025, 2100, 9999]) {
      for (let month = 0; month <= 13; month++) {
        for (let day = 0; day <= 32; day++) {
          const text = `${year}-${String(month).padStart(2, '0')}-${String(day).padStart(2, '0')} 00:00:00`;
          if (!Object.is(read(text, forms), general(text))) t.fail(text);
        }
      }
    }
    const anyByte = fc.integer({ min: 0, max: 255 }).map((byte) => String.fromCharCode(byte));
    const near = fc.oneof(anyByte, fc.constantFrom(...'0123456789:.-T Z+'.split('')));
    const broken = fc
      .tuple(plain, fc.nat(24), near, fc.boolean())
      .map(([text, at, byte, insert]) => text.slice(0, at) + byte + text.slice(at + (insert ? 0 : 1)));
    fc.assert(
      fc.property(broken, (text) => {
        const ms = read(text, forms);
        return Number.isNaN(ms) || ms === general(text);
      }),
      { numRuns: 20_000 },
    );
    for (const [text, form] of [
      ['2026-02-28 23:59:59', space],
      ['2026-02-28T23:59:59', letterT],
      ['2026-02-28 23:59:59.123', space | milliseconds],
      ['2026-02-28T23:59:59Z', letterT | zulu],
      ['2026-02-28T23:59:59.123Z', letterT | milliseconds | zulu],
    ] as const) {
      for (let allowed = 0; allowed <= forms; allowed++)
        t.equal(Number.isNaN(read(text, allowed)), (allowed & form) !== form, `${text} as ${allowed}`);
    }
  },
);
