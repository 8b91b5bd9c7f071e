import { beginsJson, jsonLine } from './json-line.ts';

const FIELD = 'cdr=';
const PERCENT = 0x25;
const PLUS = 0x2b;
const SPACE = 0x20;

/**
 * What a switch has posted, as lines. FreeSWITCH's mod_json_cdr sends the document as it is, or as the form field `cdr`
 * in percent encoding or base64 (its setting `encode`). A JSON document becomes one line; anything else is lines already.
 */
export function postedLines(body: Buffer, contentType: string): Buffer {
  const document = postedDocument(body, contentType.split(';')[0]!.trim().toLowerCase());
  return beginsJson(document) ? jsonLine(document) : document;
}

function postedDocument(body: Buffer, type: string): Buffer {
  if (beginsJson(body) || body.subarray(0, FIELD.length).toString('latin1') !== FIELD) return body;
  const value = body.subarray(FIELD.length);
  if (type === 'application/x-www-form-base64-encoded')
    return Buffer.from(value.toString('latin1'), 'base64');
  if (type !== 'application/x-www-form-urlencoded') return value;
  const next = value.indexOf('&');
  return percentDecoded(next < 0 ? value : value.subarray(0, next));
}

/** Byte by byte, so that what is no UTF-8 stays as it was sent. */
function percentDecoded(text: Buffer): Buffer {
  const bytes = Buffer.alloc(text.length);
  let length = 0;
  for (let at = 0; at < text.length; at++) {
    const byte = text[at]!;
    const hex = byte === PERCENT ? text.subarray(at + 1, at + 3).toString('latin1') : '';
    if (/^[0-9A-Fa-f]{2}$/.test(hex)) {
      bytes[length++] = Number.parseInt(hex, 16);
      at += 2;
    } else {
      bytes[length++] = byte === PLUS ? SPACE : byte;
    }
  }
  return bytes.subarray(0, length);
}
