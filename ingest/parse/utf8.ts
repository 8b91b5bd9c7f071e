import { isUtf8 } from 'node:buffer';

/** The bytes as UTF-8: undefined where they are already, else read as Latin-1, which every byte is. */
export function toUtf8(bytes: Uint8Array): Uint8Array | undefined {
  if (isUtf8(bytes)) return undefined;
  return Buffer.from(Buffer.from(bytes).toString('latin1'), 'utf8');
}
