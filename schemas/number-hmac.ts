import { createHash, createHmac } from 'node:crypto';

/** Names an HMAC key without telling it. */
export function hmacKeyId(key: Uint8Array): string {
  return createHash('sha256').update(key).digest('hex').slice(0, 8);
}

/** What the journal and the requests of persons hold in place of a number: HMAC-SHA-256 under the journal's key. */
export function numberHmac(key: Uint8Array, number: string): string {
  return createHmac('sha256', key).update(number, 'utf8').digest('hex');
}

/** The HMACs under which any of these numbers can stand, by any of these keys. */
export function numberHmacs(keys: readonly Uint8Array[], numbers: readonly string[]): string[] {
  return keys.flatMap((key) => numbers.map((number) => numberHmac(key, number)));
}
