import { createHmac } from 'node:crypto';
import type { SipKey } from './siphash.ts';

/**
 * What a stored key is a hash of. The kind and the feed's name are folded into the hash's own key, so the
 * same bytes under another feed or another kind never meet:
 * - `record`: the switch's own id of the record, its parts each preceded by their length;
 * - `fields`: the record's bytes as sent, without the line end;
 * - `position`: topic, partition, offset and line;
 * - `number`: a number that is not E.164 (see `number-key.ts`);
 * - `suppression`: a number whose calls were erased, of whatever feed (see `suppressions.ts`).
 */
export type KeyKind = 'record' | 'fields' | 'position' | 'number' | 'suppression';

/**
 * The SipHash key for one feed and kind, derived from the database's identity key (32 bytes, made by the
 * first `migrate`) with HMAC-SHA-256. A keyed hash, so that nobody who can dial can build two calls that
 * collapse into one.
 */
export function deriveKey(identityKey: Uint8Array, kind: KeyKind, feed: string): SipKey {
  const digest = createHmac('sha256', identityKey).update(`${kind}\0${feed}`).digest();
  return { k0: digest.readBigUInt64LE(0), k1: digest.readBigUInt64LE(8) };
}
