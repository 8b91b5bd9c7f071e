import { isUtf8 } from 'node:buffer';
import type { Encoding } from '../../schemas/formats/encoding.ts';

/** Bytes of UTF-8 that a byte of another encoding may become. */
export const CONVERTED_BYTES_MAX = 3;

/** Makes UTF-8 of a text that is not ASCII; undefined where it is UTF-8 as it stands. */
export type ToUtf8 = (bytes: Uint8Array) => Uint8Array | undefined;

/** The bytes as UTF-8: undefined where they are already, else read as Latin-1, which every byte is. */
export function toUtf8(bytes: Uint8Array): Uint8Array | undefined {
  return isUtf8(bytes) ? undefined : fromLatin1(bytes);
}

/** How texts of this encoding become UTF-8; bytes that it has not become U+FFFD. */
export function converterOf(encoding: Encoding): ToUtf8 {
  if (encoding === 'utf-8') return toUtf8;
  // TextDecoder takes the one name for the other, and some releases of Node decode neither as the standard says.
  if (encoding === 'iso-8859-1') return fromLatin1;
  if (encoding === 'windows-1252') return fromWindows1252;
  const decoder = new TextDecoder(encoding);
  return (bytes) => Buffer.from(decoder.decode(bytes), 'utf8');
}

/** What windows-1252 has at 0x80 to 0x9f, where Latin-1 has control characters. */
const WINDOWS_1252 = '€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ';

function fromWindows1252(bytes: Uint8Array): Uint8Array {
  const text = Buffer.from(bytes).toString('latin1');
  return Buffer.from(
    text.replaceAll(/[\u0080-\u009f]/g, (character) => WINDOWS_1252[character.charCodeAt(0) - 0x80]!),
    'utf8',
  );
}

function fromLatin1(bytes: Uint8Array): Uint8Array {
  return Buffer.from(Buffer.from(bytes).toString('latin1'), 'utf8');
}
