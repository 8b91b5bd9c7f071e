import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { CdrhouseError } from '../schemas/errors.ts';
import type { Settings } from '../schemas/settings.ts';

/** Certificate chain and private key, as PEM. */
export interface TlsFiles {
  readonly cert: Buffer;
  readonly key: Buffer;
}

/**
 * The certificate of the API; undefined where the settings name none. Throws FILE_UNREADABLE, and SETTINGS_INVALID where
 * the two files do not fit together.
 */
export function readTlsFiles({ query }: Settings): TlsFiles | undefined {
  const { tls_cert_path: certPath, tls_key_path: keyPath } = query;
  if (certPath === undefined || keyPath === undefined) return undefined;
  const files = { cert: readFile(certPath), key: readFile(keyPath) };
  try {
    createSecureContext(files);
  } catch (cause) {
    throw new CdrhouseError(
      'SETTINGS_INVALID',
      'query.tls_cert_path, query.tls_key_path: are no certificate and its private key (PEM)',
      cause,
    );
  }
  return files;
}

function readFile(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new CdrhouseError('FILE_UNREADABLE', `cannot read ${path}`, cause);
  }
}
