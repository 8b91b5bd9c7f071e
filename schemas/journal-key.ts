import { createHash } from 'node:crypto';

/** Names an HMAC key of the journal without telling it. */
export function hmacKeyId(key: Uint8Array): string {
  return createHash('sha256').update(key).digest('hex').slice(0, 8);
}
