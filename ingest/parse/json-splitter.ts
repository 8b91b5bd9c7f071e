import type { BatchMemory } from './batch-memory.ts';
import {
  JSON_DOCUMENT_FAULT,
  JSON_NESTED,
  jsonDocument,
  type JsonDocument,
  type JsonRewriting,
} from './json-document.ts';
import type { JsonPaths, JsonPlace } from './json-paths.ts';
import type { SplitLine } from './line-splitter.ts';

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const PERCENT = 0x25;
const BACKSLASH = 0x5c;
const LETTER_U = 0x75;

/**
 * What a line of this length may write to the arena: each string or key once without its escapes and once
 * percent-decoded, which makes neither longer, and one byte that marks the end.
 */
export function jsonArenaBytes(lineBytes: number): number {
  return 2 * lineBytes + 1;
}

/**
 * Why a line was not split: it is no JSON; it is JSON, but no object; it is nested more deeply than
 * `JSON_DEPTH_MAX`; an object or array stands where a wanted value should.
 */
export type JsonFault = 'JSON_MALFORMED' | 'JSON_NOT_AN_OBJECT' | 'JSON_TOO_DEEP' | 'JSON_VALUE_NESTED';

/** What stands behind a backslash, by byte; 0 where nothing may. */
const UNESCAPED = new Uint8Array(256);
for (const [escape, character] of Object.entries({
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
}))
  UNESCAPED[escape.charCodeAt(0)] = character.charCodeAt(0);

/** Value of a hexadecimal digit plus 1, by byte; 0 for other bytes. */
const HEX = new Uint8Array(256);
for (const [value, digit] of '0123456789abcdef'.split('').entries()) {
  HEX[digit.charCodeAt(0)] = value + 1;
  HEX[digit.toUpperCase().charCodeAt(0)] = value + 1;
}

/** With what a value begins that is no object. */
const VALUES_BEGIN = Buffer.from('["-0123456789tfn');

/**
 * Splits one line of JSON lines, an object, into the values at wanted paths, in place: virtual columns, with the outside of
 * `LineSplitter`. What it accepts and what it finds is what `JSON.parse` does and finds:
 *
 * A string is its text, with escapes decoded into the arena (half a surrogate pair is U+FFFD, as Buffer makes of it); a
 * number, `true` or `false` is its token; `null` and what is not there are empty. Of a key that occurs twice the last
 * value counts. Bytes in strings that are no UTF-8, and NULs, are kept. A newline always ends the line, so that a
 * broken document costs one line.
 *
 * An object or array at a wanted path is a fault, not an absent value: such a line is not of its format, and read as
 * absent its value would be lost without a trace.
 */
export class JsonSplitter implements SplitLine, JsonRewriting {
  /** Addresses of column i: `[starts[i], ends[i])`; of one that is not there both are the line's start. */
  starts!: Int32Array;
  ends!: Int32Array;
  readonly count: number;
  /** End of the line's bytes, without its line end. */
  lineEnd = 0;
  /** Where the next line begins. */
  next = 0;
  /** Address of the first byte that is no JSON, or of the value that should not be there; or -1. */
  fault = -1;
  /** What the fault is, where there is one. */
  faultCode: JsonFault = 'JSON_MALFORMED';
  readonly #memory: BatchMemory;
  readonly #paths: JsonPaths;
  readonly #document: JsonDocument;
  /** The last text that was decoded. */
  #textStart = 0;
  #textEnd = 0;

  /** Between batches: see `BatchMemory.keep`. */
  constructor(memory: BatchMemory, paths: JsonPaths) {
    this.#memory = memory;
    this.#paths = paths;
    this.#document = jsonDocument(memory, paths.root, this);
    this.count = paths.count;
    memory.whenViewed(() => {
      this.starts = memory.fieldStarts;
      this.ends = memory.fieldEnds;
    });
  }

  /** Splits the line that begins at `from`; the text ends at `end`, which may be in mid-line (no newline). */
  split(from: number, end: number): void {
    const memory = this.#memory;
    const { bytes } = memory;
    // A newline behind the text stops every loop there, so that none has to compare addresses.
    if (memory.top <= end) memory.top = end + 1;
    const behind = bytes[end]!;
    bytes[end] = LINE_FEED;
    this.fault = -1;
    let newline = this.#document.read(from);
    if (newline < 0) {
      this.#stop(this.#codeOf(~newline), ~newline);
      newline = bytes.indexOf(LINE_FEED, ~newline);
    }
    bytes[end] = behind;
    this.next = newline + 1;
    this.lineEnd = newline > from && bytes[newline - 1] === CARRIAGE_RETURN ? newline - 1 : newline;
    this.#takeSpares();
    // Where the line is not complete, it is its end that is wrong, not its `\r`.
    if (this.fault > this.lineEnd) this.fault = this.lineEnd;
  }

  wantedKey({ keys }: JsonPlace, from: number, end: number): JsonPlace | undefined {
    const { top } = this.#memory;
    this.#unescape(from, end);
    this.#memory.top = top;
    const text = this.#memory.bytes.subarray(this.#textStart, this.#textEnd);
    return keys.find((key) => Buffer.compare(key.bytes, text) === 0)?.place;
  }

  rewrite({ columns, percentDecoded }: JsonPlace, from: number, end: number): void {
    this.#unescape(from, end);
    this.#set(columns, this.#textStart, this.#textEnd);
    if (percentDecoded.length === 0) return;
    this.#percentDecode(this.#textStart, this.#textEnd);
    this.#set(percentDecoded, this.#textStart, this.#textEnd);
  }

  #codeOf(at: number): JsonFault {
    const { value } = this.#document.fault;
    if (value === JSON_DOCUMENT_FAULT.tooDeep) return 'JSON_TOO_DEEP';
    const isValue = value === JSON_DOCUMENT_FAULT.noObject && VALUES_BEGIN.includes(this.#memory.bytes[at]!);
    return isValue ? 'JSON_NOT_AN_OBJECT' : 'JSON_MALFORMED';
  }

  #stop(code: JsonFault, at: number): void {
    this.faultCode = code;
    this.fault = at;
  }

  #set(columns: readonly number[], start: number, end: number): void {
    for (const column of columns) {
      this.starts[column] = start;
      this.ends[column] = end;
    }
  }

  /** Empty columns take the values of their further paths; an object or array where a value should stand is a fault. */
  #takeSpares(): void {
    const { starts, ends } = this;
    const { countWithSpares } = this.#paths;
    for (let column = 0; column < countWithSpares; column++) {
      if (ends[column]! !== JSON_NESTED) continue;
      ends[column] = starts[column]!;
      if (this.fault < 0) this.#stop('JSON_VALUE_NESTED', starts[column]!);
    }
    for (const { column, spare } of this.#paths.spares) {
      if (starts[column]! < ends[column]! || starts[spare] === ends[spare]) continue;
      starts[column] = starts[spare]!;
      ends[column] = ends[spare]!;
    }
  }

  /** Writes a valid string without its escapes to the arena. */
  #unescape(from: number, to: number): void {
    const memory = this.#memory;
    const { bytes } = memory;
    this.#textStart = memory.top;
    let end = memory.top;
    for (let at = from; at < to; at++) {
      const byte = bytes[at]!;
      if (byte !== BACKSLASH) {
        bytes[end++] = byte;
        continue;
      }
      const escape = bytes[++at]!;
      if (escape !== LETTER_U) {
        bytes[end++] = UNESCAPED[escape]!;
        continue;
      }
      let character = hexadecimal(bytes, at + 1);
      at += 4;
      if (isHighSurrogate(character) && bytes[at + 1] === BACKSLASH && bytes[at + 2] === LETTER_U) {
        const low = hexadecimal(bytes, at + 3);
        if (isLowSurrogate(low)) {
          character = 0x10000 + ((character - 0xd800) << 10) + (low - 0xdc00);
          at += 6;
        }
      }
      end = writeUtf8(
        bytes,
        end,
        isHighSurrogate(character) || isLowSurrogate(character) ? 0xfffd : character,
      );
    }
    this.#textEnd = end;
    memory.top = end;
  }

  /** The text in place, or percent-decoded in the arena. */
  #percentDecode(from: number, to: number): void {
    const memory = this.#memory;
    const { bytes } = memory;
    let at = from;
    while (at < to && bytes[at] !== PERCENT) at++;
    this.#textStart = from;
    this.#textEnd = to;
    if (at === to) return;
    this.#textStart = memory.top;
    let end = memory.top;
    for (at = from; at < to; at++) {
      const byte = bytes[at]!;
      const high = byte === PERCENT && at + 2 < to ? HEX[bytes[at + 1]!]! : 0;
      const low = high > 0 ? HEX[bytes[at + 2]!]! : 0;
      if (low === 0) {
        bytes[end++] = byte;
      } else {
        bytes[end++] = ((high - 1) << 4) | (low - 1);
        at += 2;
      }
    }
    this.#textEnd = end;
    memory.top = end;
  }
}

/** Four hexadecimal digits. */
function hexadecimal(bytes: Uint8Array, at: number): number {
  let value = 0;
  for (let i = 0; i < 4; i++) value = (value << 4) | (HEX[bytes[at + i]!]! - 1);
  return value;
}

function isHighSurrogate(character: number): boolean {
  return character >= 0xd800 && character < 0xdc00;
}

function isLowSurrogate(character: number): boolean {
  return character >= 0xdc00 && character < 0xe000;
}

/** Writes a character at `at` and gives the address behind it. */
function writeUtf8(bytes: Uint8Array, at: number, character: number): number {
  if (character < 0x80) {
    bytes[at] = character;
    return at + 1;
  }
  let length = 2;
  if (character >= 0x10000) length = 4;
  else if (character >= 0x800) length = 3;
  let rest = character;
  for (let i = length - 1; i > 0; i--) {
    bytes[at + i] = 0x80 | (rest & 0x3f);
    rest >>= 6;
  }
  // The first byte has as many ones on top as the character has bytes.
  bytes[at] = ((0xf0 << (4 - length)) & 0xf0) | rest;
  return at + length;
}
