import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

/**
 * API keys. A token is `cdrh_<keyId>_<secret>`; the database holds the key id and a salted hash of the
 * secret, so that the token is shown once and cannot be read back. The secret is 256 random bits, which
 * nobody can guess: a slow password hash would only cost every request its time.
 */

/** What a key may be allowed to do. */
export const API_ROLES = [
  'disputes',
  'disputes:unmasked',
  'disputes:prefix',
  'billing',
  'privacy',
  'legal',
  'operations',
] as const;
export type ApiRole = (typeof API_ROLES)[number];

/** True for the name of a role. */
export function isApiRole(text: string): text is ApiRole {
  return (API_ROLES as readonly string[]).includes(text);
}

/** A new key: the token is for the holder, the other two are for the table `api_keys`. */
export interface NewApiKey {
  readonly token: string;
  /** 12 characters of Crockford's base32, in lower case. */
  readonly keyId: string;
  /** `<salt>:<SHA-256 of salt and secret>`, both hexadecimal. */
  readonly secretHash: string;
}

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
const KEY_ID_LENGTH = 12;
const SECRET_BYTES = 32;
const SALT_BYTES = 16;
const TOKEN = /^cdrh_([0-9a-hjkmnp-tv-z]{12})_([A-Za-z0-9_-]{43})$/;
const SECRET_HASH = /^([0-9a-f]{2,128}):([0-9a-f]{64})$/;

/** Draws a new key. */
export function createApiKey(): NewApiKey {
  // 256 is a multiple of 32: every letter is equally likely.
  const keyId = [...randomBytes(KEY_ID_LENGTH)].map((byte) => ALPHABET[byte % ALPHABET.length]).join('');
  const secret = randomBytes(SECRET_BYTES).toString('base64url');
  const salt = randomBytes(SALT_BYTES);
  return {
    token: `cdrh_${keyId}_${secret}`,
    keyId,
    secretHash: `${salt.toString('hex')}:${hashSecret(salt, secret).toString('hex')}`,
  };
}

/** The key id that a token names, undefined where the text is no token. */
export function keyIdOf(token: string): string | undefined {
  return TOKEN.exec(token)?.[1];
}

/** True where the token's secret is the one of this hash. Takes the same time whichever byte differs. */
export function verifyApiKey(token: string, secretHash: string): boolean {
  const secret = TOKEN.exec(token)?.[2];
  const [, salt, hash] = SECRET_HASH.exec(secretHash) ?? [];
  if (secret === undefined || salt === undefined || hash === undefined) return false;
  return timingSafeEqual(hashSecret(Buffer.from(salt, 'hex'), secret), Buffer.from(hash, 'hex'));
}

function hashSecret(salt: Uint8Array, secret: string): Buffer {
  return createHash('sha256').update(salt).update(secret, 'ascii').digest();
}
