import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  hkdfSync,
  timingSafeEqual,
  type Cipher,
} from 'node:crypto';

const TAG_BYTES = 16;
const BLOCK_BYTES = 16;

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
  readonly #macKey: Buffer;
  readonly #cipherKey: Buffer;
  /** AES of single blocks, of which counter mode is made: setting a cipher up costs more than a short text. */
  readonly #blocks: Cipher;

  /** @param purpose `call id`, `calls cursor`: part of the key */
  constructor(secret: Uint8Array, purpose: string) {
    const keys = Buffer.from(hkdfSync('sha256', secret, '', `cdrhouse ${purpose}`, 64));
    this.#macKey = keys.subarray(0, 32);
    this.#cipherKey = keys.subarray(32);
    this.#blocks = createCipheriv('aes-256-ecb', this.#cipherKey, null).setAutoPadding(false);
  }

  /** @param context what the text is bound to: `open` needs the same; it is not in the text */
  seal(plain: Uint8Array, context = ''): string {
    const tag = this.#tag(plain, context);
    return Buffer.concat([tag, this.#encrypt(plain, tag)]).toString('base64url');
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

  /** AES-256-CTR. */
  #encrypt(plain: Uint8Array, vector: Buffer): Uint8Array {
    const counters = Buffer.alloc(Math.ceil(plain.length / BLOCK_BYTES) * BLOCK_BYTES);
    for (let block = 0; block < counters.length; block += BLOCK_BYTES) {
      vector.copy(counters, block);
      increment(counters.subarray(block, block + BLOCK_BYTES), block / BLOCK_BYTES);
    }
    const key = this.#blocks.update(counters);
    return plain.map((byte, i) => byte ^ key[i]!);
  }

  #tag(plain: Uint8Array, context: string): Buffer {
    const length = Buffer.alloc(4);
    const contextBytes = Buffer.from(context, 'utf8');
    // The length in front keeps context and bytes apart.
    length.writeUInt32BE(contextBytes.length);
    const mac = createHmac('sha256', this.#macKey).update(length).update(contextBytes).update(plain);
    return mac.digest().subarray(0, TAG_BYTES);
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
