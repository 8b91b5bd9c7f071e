import type { BatchMemory } from './batch-memory.ts';

const SPACE = 0x20;
const DOUBLE_QUOTE = 0x22;
const SINGLE_QUOTE = 0x27;
const PERCENT = 0x25;
const BACKSLASH = 0x5c;
const OPEN = 0x3c;
const CLOSE = 0x3e;
const AT = 0x40;
const COLON = 0x3a;
const SEMICOLON = 0x3b;
const QUESTION = 0x3f;

const [SIP, SIPS, TEL] = ['sip:', 'sips:', 'tel:'].map((scheme) => Buffer.from(scheme)) as [
  Buffer,
  Buffer,
  Buffer,
];

/**
 * Finds the number in a field that holds an address: `"Name" <number>`, or a SIP or tel URI (RFC 3261, RFC 3966). A field that
 * is none of these stays whole. One a line reader; no object or string is made.
 */
export class AddressReader {
  /** Addresses of what was found. */
  start = 0;
  end = 0;
  readonly #memory: BatchMemory;

  constructor(memory: BatchMemory) {
    this.#memory = memory;
  }

  /** `"Name" <number>`: the number is what stands in the brackets at the end. */
  readNameAddr(start: number, end: number): void {
    const { bytes } = this.#memory;
    this.start = start;
    this.end = end;
    if (start === end || bytes[end - 1] !== CLOSE) return;
    const open = lastIndexOf(bytes, OPEN, start, end - 1);
    if (open < 0) return;
    this.start = open + 1;
    this.end = end - 1;
  }

  /**
   * What `readNameAddr` finds, with tags behind the brackets or without, and of a URI its user: `sip:1002@pbx;user=phone`,
   * `tel:+33-1-99-00-00-01;phone-context=…`, `1002@192.0.2.7`. Of a URI without a user the quoted name is taken, where there is one.
   * May write as many bytes as the field has to the arena.
   */
  readUri(start: number, end: number): void {
    const { bytes } = this.#memory;
    this.start = start;
    this.end = end;
    const nameEnd = quotedEnd(bytes, start, end);
    const open = nameEnd < 0 ? lastIndexOf(bytes, OPEN, start, end) : indexOf(bytes, OPEN, nameEnd, end);
    if (open < 0) {
      // A field in quotes without brackets is a text.
      if (nameEnd < 0) this.#readAddress(start, end);
      return;
    }
    const close = indexOf(bytes, CLOSE, open, end);
    if (this.#readAddress(open + 1, close < 0 ? end : close)) return;
    if (nameEnd > start + 2) {
      this.start = start + 1;
      this.end = nameEnd - 1;
    }
  }

  /** Narrows to the user of a URI, or to the whole address where it is none; false, with all as it was, where it has no user. */
  #readAddress(start: number, end: number): boolean {
    const { bytes } = this.#memory;
    if (beginsWith(bytes, start, end, TEL)) {
      const from = start + TEL.length;
      return this.#decode(from, firstOf(bytes, SEMICOLON, QUESTION, from, end), true);
    }
    const isSip = beginsWith(bytes, start, end, SIP);
    if (!isSip && !beginsWith(bytes, start, end, SIPS)) return this.#readBare(start, end);
    const from = start + (isSip ? SIP.length : SIPS.length);
    const at = indexOf(bytes, AT, from, end);
    if (at >= 0) return this.#decode(from, firstOf(bytes, SEMICOLON, COLON, from, at), false);
    // `sip:+33199000001`: a number where the host should be.
    const host = firstOf(bytes, SEMICOLON, QUESTION, from, end);
    return isDialable(bytes, from, host) && this.#decode(from, host, false);
  }

  /** `1002@192.0.2.7`, or any text. */
  #readBare(start: number, end: number): boolean {
    const { bytes } = this.#memory;
    if (start >= end) return false;
    const at = indexOf(bytes, AT, start, end);
    this.start = start;
    this.end = at > start && indexOf(bytes, SPACE, start, at) < 0 ? at : end;
    return true;
  }

  /** Takes `[start, end)`, with escapes decoded and the visual separators of a tel URI left out. False where nothing is left. */
  #decode(start: number, end: number, isTel: boolean): boolean {
    const memory = this.#memory;
    const { bytes } = memory;
    let at = start;
    while (at < end && !isRewritten(bytes[at]!, isTel)) at++;
    if (at === end) {
      if (start >= end) return false;
      this.start = start;
      this.end = end;
      return true;
    }
    let { top } = memory;
    for (at = start; at < end; at++) {
      let byte = bytes[at]!;
      const decoded = byte === PERCENT && at + 2 < end ? escaped(bytes[at + 1]!, bytes[at + 2]!) : -1;
      if (decoded >= 0) {
        byte = decoded;
        at += 2;
      }
      if (!isTel || !isSeparator(byte)) bytes[top++] = byte;
    }
    if (top === memory.top) return false;
    this.start = memory.top;
    this.end = top;
    memory.top = top;
    return true;
  }
}

/** End of the quoted string that the field begins with, behind its quote; -1 where there is none. */
function quotedEnd(bytes: Uint8Array, start: number, end: number): number {
  const quote = bytes[start];
  if (start === end || (quote !== DOUBLE_QUOTE && quote !== SINGLE_QUOTE)) return -1;
  for (let at = start + 1; at < end; at++) {
    if (bytes[at] === BACKSLASH) at++;
    else if (bytes[at] === quote) return at + 1;
  }
  return -1;
}

/** Digits, `+`, `*` and `#`, at least one: a host has letters or dots. */
function isDialable(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!;
    if ((byte < 0x30 || byte > 0x39) && byte !== 0x2b && byte !== 0x2a && byte !== 0x23) return false;
  }
  return start < end;
}

/** True for bytes that do not stay as they are. */
function isRewritten(byte: number, isTel: boolean): boolean {
  return byte === PERCENT || (isTel && isSeparator(byte));
}

/** `-`, `.`, `(`, `)` of RFC 3966. */
function isSeparator(byte: number): boolean {
  return byte === 0x2d || byte === 0x2e || byte === 0x28 || byte === 0x29;
}

/** The printable ASCII character that two hexadecimal digits stand for; -1 for all else, which stays as sent. */
function escaped(high: number, low: number): number {
  const value = hexadecimal(high) * 16 + hexadecimal(low);
  return value >= 0x20 && value < 0x7f ? value : -1;
}

function hexadecimal(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : Number.NaN;
}

/** Without regard to upper and lower case; `text` is in lower case. */
function beginsWith(bytes: Uint8Array, start: number, end: number, text: Uint8Array): boolean {
  if (end - start < text.length) return false;
  for (let i = 0; i < text.length; i++) {
    const byte = bytes[start + i]!;
    if ((byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte) !== text[i]) return false;
  }
  return true;
}

function indexOf(bytes: Uint8Array, byte: number, start: number, end: number): number {
  for (let at = start; at < end; at++) if (bytes[at] === byte) return at;
  return -1;
}

function lastIndexOf(bytes: Uint8Array, byte: number, start: number, end: number): number {
  for (let at = end - 1; at >= start; at--) if (bytes[at] === byte) return at;
  return -1;
}

/** Address of the first of either byte, or `end`. */
function firstOf(bytes: Uint8Array, one: number, other: number, start: number, end: number): number {
  for (let at = start; at < end; at++) if (bytes[at] === one || bytes[at] === other) return at;
  return end;
}
