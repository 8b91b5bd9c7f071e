import { createCipheriv, createDecipheriv, createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';

const TAG_BYTES = 16;

/**
 * Turns bytes into URL-safe text that hides them and cannot be altered, and back.
 *
 * Deterministic authenticated encryption in the way of SIV (RFC 5297), with HMAC-SHA-256 as the function that
 * makes the tag: the tag over context and bytes is also the initial vector of AES-256-CTR. The same bytes give
 * the same text everywhere, which a call's id needs; a random vector would give it a new id each time.
 * Keys are derived from the database's journal key for one purpose each, so that no text of one purpose opens as
 * another.
 */
export class Sealer {
  readonly #macKey: Buffer;
  readonly #cipherKey: Buffer;

  /** @param purpose `call id`, `calls cursor`: part of the key */
  constructor(secret: Uint8Array, purpose: string) {
    const keys = Buffer.from(hkdfSync('sha256', secret, '', `cdrhouse ${purpose}`, 64));
    this.#macKey = keys.subarray(0, 32);
    this.#cipherKey = keys.subarray(32);
  }

  /** @param context what the text is bound to: `open` needs the same; it is not in the text */
  seal(plain: Uint8Array, context = ''): string {
    const tag = this.#tag(plain, context);
    const cipher = createCipheriv('aes-256-ctr', this.#cipherKey, tag);
    return Buffer.concat([tag, cipher.update(plain), cipher.final()]).toString('base64url');
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

  #tag(plain: Uint8Array, context: string): Buffer {
    const length = Buffer.alloc(4);
    const contextBytes = Buffer.from(context, 'utf8');
    // The length in front keeps context and bytes apart.
    length.writeUInt32BE(contextBytes.length);
    const mac = createHmac('sha256', this.#macKey).update(length).update(contextBytes).update(plain);
    return mac.digest().subarray(0, TAG_BYTES);
  }
}
