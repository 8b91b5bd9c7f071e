import { createCipheriv, createDecipheriv, hash, hkdfSync, timingSafeEqual, type Cipher } from 'node:crypto';

const TAG_BYTES = 16;
const BLOCK_BYTES = 16;
/** Of SHA-256: what it reads at once, and what it gives. */
const HASHED_BYTES = 64;
const DIGEST_BYTES = 32;
const LENGTH_BYTES = 4;

/**
 * Turns bytes into URL-safe text that hides them and cannot be altered, and back.
 *
 * Deterministic authenticated encryption in the way of SIV (RFC 5297), with HMAC-SHA-256 as the function that
 * makes the tag: the tag over context and bytes is also the initial vector of AES-256-CTR. The same bytes give
 * the same text everywhere, which a call's id needs; a random vector would give it a new id each time.
 * Keys are derived from the database's identity key for one purpose each, so that no text of one purpose opens as
 * another.
 */
export class Sealer {
  readonly #macKeys: { readonly inner: Buffer; readonly outer: Buffer };
  readonly #cipherKey: Buffer;
  /** AES of single blocks, of which counter mode is made: setting a cipher up costs more than a short text. */
  readonly #blocks: Cipher;

  /** @param purpose `call id`, `calls cursor`: part of the key */
  constructor(secret: Uint8Array, purpose: string) {
    const keys = Buffer.from(hkdfSync('sha256', secret, '', `cdrhouse ${purpose}`, 64));
    const macKey = Buffer.alloc(HASHED_BYTES);
    keys.copy(macKey, 0, 0, 32);
    this.#macKeys = {
      inner: Buffer.from(macKey.map((byte) => byte ^ 0x36)),
      outer: Buffer.from(macKey.map((byte) => byte ^ 0x5c)),
    };
    this.#cipherKey = keys.subarray(32);
    this.#blocks = createCipheriv('aes-256-ecb', this.#cipherKey, null).setAutoPadding(false);
  }

  /** @param context what the text is bound to: `open` needs the same; it is not in the text */
  seal(plain: Uint8Array, context = ''): string {
    const sealed = Buffer.allocUnsafe(TAG_BYTES + plain.length);
    this.#tag(plain, context).copy(sealed);
    const key = this.#keyStream(sealed, plain.length);
    for (let i = 0; i < plain.length; i++) sealed[TAG_BYTES + i] = plain[i]! ^ key[i]!;
    return sealed.toString('base64url');
  }

  /** The bytes that `seal` was given with this context; undefined for any other text. */
  open(text: string, context = ''): Buffer | undefined {
    const sealed = Buffer.from(text, 'base64url');
    // base64url has several texts for the same bytes and ignores foreign characters; one text is the right one.
    if (sealed.length <= TAG_BYTES || sealed.toString('base64url') !== text) return undefined;
    const tag = sealed.subarray(0, TAG_BYTES);
    const decipher = createDecipheriv('aes-256-ctr', this.#cipherKey, tag);
    const plain = Buffer.concat([decipher.update(sealed.subarray(TAG_BYTES)), decipher.final()]);
    return timingSafeEqual(this.#tag(plain, context), tag) ? plain : undefined;
  }

  /** Of AES-256-CTR, whose initial vector are the first bytes of `vector`. */
  #keyStream(vector: Buffer, length: number): Buffer {
    const counters = Buffer.allocUnsafe(Math.ceil(length / BLOCK_BYTES) * BLOCK_BYTES);
    for (let block = 0; block < counters.length; block += BLOCK_BYTES) {
      vector.copy(counters, block, 0, BLOCK_BYTES);
      if (block > 0) increment(counters.subarray(block, block + BLOCK_BYTES), block / BLOCK_BYTES);
    }
    return this.#blocks.update(counters);
  }

  /** HMAC (RFC 2104) of two hashes: setting one up with `createHmac` costs more than both. */
  #tag(plain: Uint8Array, context: string): Buffer {
    const { inner, outer } = this.#macKeys;
    const contextBytes = Buffer.byteLength(context, 'utf8');
    const message = Buffer.allocUnsafe(HASHED_BYTES + LENGTH_BYTES + contextBytes + plain.length);
    inner.copy(message);
    // The length in front keeps context and bytes apart.
    message.writeUInt32BE(contextBytes, HASHED_BYTES);
    message.write(context, HASHED_BYTES + LENGTH_BYTES, 'utf8');
    message.set(plain, HASHED_BYTES + LENGTH_BYTES + contextBytes);
    const hashed = Buffer.allocUnsafe(HASHED_BYTES + DIGEST_BYTES);
    outer.copy(hashed);
    hash('sha256', message, 'buffer').copy(hashed, HASHED_BYTES);
    return hash('sha256', hashed, 'buffer').subarray(0, TAG_BYTES);
  }
}

/** Adds a small number to a big-endian counter. */
function increment(counter: Buffer, by: number): void {
  let carry = by;
  for (let at = counter.length - 1; carry > 0 && at >= 0; at--) {
    const sum = counter[at]! + carry;
    counter[at] = sum & 0xff;
    carry = sum >>> 8;
  }
}
