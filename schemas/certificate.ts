import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  sign,
  verify,
  type KeyObject,
} from 'node:crypto';

/** A value of JSON. Numbers are safe integers: anything else is text. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json };

/** What was done, with a signature (Ed25519, RFC 8032) over the canonical JSON of `certificate`. */
export interface SignedCertificate {
  readonly certificate: { readonly [name: string]: Json };
  readonly signature: {
    readonly algorithm: 'Ed25519';
    /** Names the key of the database. */
    readonly key_id: string;
    /** SubjectPublicKeyInfo, DER in base64. */
    readonly public_key: string;
    /** Base64. */
    readonly value: string;
  };
}

/** A new private key: PKCS 8, DER in base64. */
export function createSigningKey(): string {
  const { privateKey } = generateKeyPairSync('ed25519');
  return privateKey.export({ type: 'pkcs8', format: 'der' }).toString('base64');
}

/** Names a key by its public half: 16 hexadecimal characters. */
export function signingKeyId(privateKey: string): string {
  return keyIdOf(publicDer(readPrivate(privateKey)));
}

/** @param privateKey as `createSigningKey` gives it */
export function signCertificate(
  privateKey: string,
  certificate: SignedCertificate['certificate'],
): SignedCertificate {
  const key = readPrivate(privateKey);
  const der = publicDer(key);
  return {
    certificate,
    signature: {
      algorithm: 'Ed25519',
      key_id: keyIdOf(der),
      public_key: der.toString('base64'),
      value: sign(null, Buffer.from(canonicalJson(certificate)), key).toString('base64'),
    },
  };
}

/**
 * Whether this key signed exactly this. That the key is the database's is a question of its own: compare the key id with
 * one that was published.
 */
export function isSigned({ certificate, signature }: SignedCertificate): boolean {
  const der = Buffer.from(signature.public_key, 'base64');
  if (keyIdOf(der) !== signature.key_id) return false;
  const key = createPublicKey({ key: der, type: 'spki', format: 'der' });
  return verify(null, Buffer.from(canonicalJson(certificate)), key, Buffer.from(signature.value, 'base64'));
}

/** JSON with sorted names and without white space, as RFC 8785 has it for such values. */
export function canonicalJson(value: Json): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  if (isList(value)) return `[${value.map(canonicalJson).join(',')}]`;
  const names = Object.keys(value).sort();
  return `{${names.map((name) => `${JSON.stringify(name)}:${canonicalJson(value[name]!)}`).join(',')}}`;
}

function isList(value: Json): value is readonly Json[] {
  return Array.isArray(value);
}

function readPrivate(privateKey: string): KeyObject {
  return createPrivateKey({ key: Buffer.from(privateKey, 'base64'), type: 'pkcs8', format: 'der' });
}

function publicDer(key: KeyObject): Buffer {
  return createPublicKey(key).export({ type: 'spki', format: 'der' });
}

function keyIdOf(der: Buffer): string {
  return createHash('sha256').update(der).digest('hex').slice(0, 16);
}
