/**
 * SipHash-2-4 (Aumasson and Bernstein, 2012) with a 64-bit result, the reference for the hashes we store.
 * Written for clarity with bigint: the parse worker uses the WebAssembly twin (`ingest/parse/batch-memory.wat`),
 * and ClickHouse computes the same with `sipHash64Keyed((k0, k1), bytes)`. Tests hold all three together.
 */
export interface SipKey {
  readonly k0: bigint;
  readonly k1: bigint;
}

const MASK = 0xffff_ffff_ffff_ffffn;

function rotateLeft(value: bigint, bits: bigint): bigint {
  return ((value << bits) | (value >> (64n - bits))) & MASK;
}

/** Hash of `bytes` under a 128-bit key, as an unsigned 64-bit integer. */
export function sipHash24(key: SipKey, bytes: Uint8Array): bigint {
  let v0 = key.k0 ^ 0x736f6d6570736575n;
  let v1 = key.k1 ^ 0x646f72616e646f6dn;
  let v2 = key.k0 ^ 0x6c7967656e657261n;
  let v3 = key.k1 ^ 0x7465646279746573n;
  const round = (): void => {
    v0 = (v0 + v1) & MASK;
    v1 = rotateLeft(v1, 13n) ^ v0;
    v0 = rotateLeft(v0, 32n);
    v2 = (v2 + v3) & MASK;
    v3 = rotateLeft(v3, 16n) ^ v2;
    v0 = (v0 + v3) & MASK;
    v3 = rotateLeft(v3, 21n) ^ v0;
    v2 = (v2 + v1) & MASK;
    v1 = rotateLeft(v1, 17n) ^ v2;
    v2 = rotateLeft(v2, 32n);
  };
  const compress = (word: bigint): void => {
    v3 ^= word;
    round();
    round();
    v0 ^= word;
  };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const tail = bytes.length & ~7;
  for (let at = 0; at < tail; at += 8) compress(view.getBigUint64(at, true));
  let last = BigInt(bytes.length & 0xff) << 56n;
  for (let at = tail; at < bytes.length; at++) last |= BigInt(bytes[at]!) << BigInt(8 * (at - tail));
  compress(last);
  v2 ^= 0xffn;
  for (let i = 0; i < 4; i++) round();
  return v0 ^ v1 ^ v2 ^ v3;
}
