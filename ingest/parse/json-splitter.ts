import type { BatchMemory } from './batch-memory.ts';
import { JSON_STEPS_MAX, NOTHING_WANTED, type JsonPaths, type JsonPlace } from './json-paths.ts';
import { jsonSkip, type JsonSkip } from './json-skip.ts';

const TAB = 0x09;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const SPACE = 0x20;
const QUOTE = 0x22;
const PERCENT = 0x25;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_ARRAY = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_ARRAY = 0x5d;
const LETTER_U = 0x75;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/** Objects and arrays in one another; a switch's document has less than ten. */
export const JSON_DEPTH_MAX = 128;

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

/** What the token `null` begins with. */
const NULL_BEGINS = 0x6e;
/** With what a value begins that is no object. */
const VALUES_BEGIN = Buffer.from('["-0123456789tfn');

/** End of a column's range where an object or array begins. */
const NESTED = -1;

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
export class JsonSplitter {
  /** Addresses of column i: `[starts[i], ends[i])`; of one that is not there both are the line's start. */
  readonly starts: Int32Array;
  readonly ends: Int32Array;
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
  readonly #skip: JsonSkip;
  /** Of the objects and arrays around the one that is being read: the byte that closes it, its place, its entries so far. */
  readonly #closers = new Uint8Array(JSON_STEPS_MAX);
  readonly #places: JsonPlace[] = Array.from({ length: JSON_STEPS_MAX }, () => NOTHING_WANTED);
  readonly #entries = new Int32Array(JSON_STEPS_MAX);
  /** The closing quote of the last key. */
  #keyEnd = 0;
  /** The last text that was decoded. */
  #textStart = 0;
  #textEnd = 0;

  constructor(memory: BatchMemory, paths: JsonPaths) {
    this.#memory = memory;
    this.#paths = paths;
    this.#skip = jsonSkip(memory);
    this.count = paths.count;
    this.starts = new Int32Array(paths.countWithSpares);
    this.ends = new Int32Array(paths.countWithSpares);
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
    for (let column = 0; column < this.starts.length; column++) {
      this.starts[column] = from;
      this.ends[column] = from;
    }
    const stopped = this.#readDocument(bytes, from);
    const newline = this.fault < 0 ? stopped : bytes.indexOf(LINE_FEED, stopped);
    bytes[end] = behind;
    this.next = newline + 1;
    this.lineEnd = newline > from && bytes[newline - 1] === CARRIAGE_RETURN ? newline - 1 : newline;
    this.#takeSpares();
    // Where the line is not complete, it is its end that is wrong, not its `\r`.
    if (this.fault > this.lineEnd) this.fault = this.lineEnd;
  }

  /** Follows the line's object to what is wanted in it, and gives the address behind all that was read. */
  #readDocument(bytes: Uint8Array, from: number): number {
    const skip = this.#skip;
    let at = pastBlanks(bytes, from);
    if (bytes[at] !== OPEN_OBJECT)
      return this.#stop(VALUES_BEGIN.includes(bytes[at]!) ? 'JSON_NOT_AN_OBJECT' : 'JSON_MALFORMED', at);
    let closer = CLOSE_OBJECT;
    let place = this.#paths.root;
    let entry = 0;
    let depth = 0;
    at = pastBlanks(bytes, at + 1);
    let closes = bytes[at] === CLOSE_OBJECT;
    for (;;) {
      // Where a member or an entry begins, but where an object or array closes at once.
      if (!closes) {
        let target = NOTHING_WANTED;
        if (closer === CLOSE_ARRAY) target = place.entries[entry++] ?? place.furtherEntry;
        else {
          // The next key is often a wanted one.
          target = this.#valueOf(bytes, place, at);
          if (!target.wanted) {
            at = skip.pass_members(at, JSON_DEPTH_MAX - depth, place.slotsLow, place.slotsHigh);
            if (at < 0) return this.#stopSkipping(at);
            closes = bytes[at] === CLOSE_OBJECT;
            if (!closes) target = this.#valueOfValid(bytes, place, at);
          }
          if (!closes) {
            at = pastBlanks(bytes, this.#keyEnd + 1);
            if (bytes[at] !== COLON) return this.#stop('JSON_MALFORMED', at);
            at = pastBlanks(bytes, at + 1);
          }
        }
        if (!closes) {
          const first = bytes[at]!;
          // What stood here before is replaced: a key that occurs again, an entry that was not the last one.
          if (target.wanted) this.#clear(target, from);
          if ((target.wantsKeys && first === OPEN_OBJECT) || (target.wantsEntries && first === OPEN_ARRAY)) {
            this.#set(target, at, NESTED);
            this.#closers[depth] = closer;
            this.#places[depth] = place;
            this.#entries[depth++] = entry;
            closer = first === OPEN_OBJECT ? CLOSE_OBJECT : CLOSE_ARRAY;
            place = target;
            entry = 0;
            at = pastBlanks(bytes, at + 1);
            closes = bytes[at] === closer;
            continue;
          }
          at = this.#readValue(bytes, target, at, JSON_DEPTH_MAX - depth);
          if (at < 0) return this.#stopSkipping(at);
        }
      }
      closes = false;
      // Behind a value, or at a bracket that closes.
      for (;;) {
        at = pastBlanks(bytes, at);
        const byte = bytes[at]!;
        if (byte === COMMA) {
          at = pastBlanks(bytes, at + 1);
          break;
        }
        if (byte !== closer) return this.#stop('JSON_MALFORMED', at);
        at++;
        if (depth === 0) {
          at = pastBlanks(bytes, at);
          return bytes[at] === LINE_FEED ? at : this.#stop('JSON_MALFORMED', at);
        }
        closer = this.#closers[--depth]!;
        place = this.#places[depth]!;
        entry = this.#entries[depth]!;
      }
    }
  }

  #stop(code: JsonFault, at: number): number {
    this.faultCode = code;
    this.fault = at;
    return at;
  }

  /** Stops at the fault that `JsonSkip` found. */
  #stopSkipping(at: number): number {
    const { too_deep: tooDeep } = this.#skip;
    const code = tooDeep.value === 1 ? 'JSON_TOO_DEEP' : 'JSON_MALFORMED';
    tooDeep.value = 0;
    return this.#stop(code, ~at);
  }

  /**
   * What is wanted of the value of the key that may stand at `at`, if it is a wanted one that is written without escapes. Leaves
   * the address of its closing quote in `#keyEnd`.
   */
  #valueOf(bytes: Uint8Array, place: JsonPlace, at: number): JsonPlace {
    if (bytes[at] !== QUOTE) return NOTHING_WANTED;
    const start = at + 1;
    for (let key = place.firstKeys[bytes[start]!]!; key > 0;) {
      const { bytes: wanted, next, place: value } = place.keys[key - 1]!;
      const { length } = wanted;
      let i = 0;
      while (i < length && wanted[i] === bytes[start + i]) i++;
      if (i === length && bytes[start + i] === QUOTE) {
        this.#keyEnd = start + i;
        return value;
      }
      key = next;
    }
    return NOTHING_WANTED;
  }

  /** The same of any key that is a valid string. */
  #valueOfValid(bytes: Uint8Array, place: JsonPlace, at: number): JsonPlace {
    const value = this.#valueOf(bytes, place, at);
    if (value.wanted) return value;
    let end = at + 1;
    let escaped = false;
    for (; bytes[end] !== QUOTE; end++) {
      if (bytes[end] !== BACKSLASH) continue;
      escaped = true;
      end++;
    }
    this.#keyEnd = end;
    if (!escaped) return NOTHING_WANTED;
    this.#unescape(at + 1, end);
    const text = bytes.subarray(this.#textStart, this.#textEnd);
    return place.keys.find((key) => Buffer.compare(key.bytes, text) === 0)?.place ?? NOTHING_WANTED;
  }

  /** Reads a value that is not followed further in: gives the address behind it, or `~` that of a byte that is no JSON. */
  #readValue(bytes: Uint8Array, place: JsonPlace, start: number, levels: number): number {
    if (!place.wanted) return this.#skip.pass_value(start, levels);
    const first = bytes[start]!;
    if (first === QUOTE) return this.#readText(bytes, place, start);
    const end = this.#skip.pass_value(start, levels);
    if (first === OPEN_OBJECT || first === OPEN_ARRAY) this.#set(place, start, NESTED);
    else if (end > 0) this.#set(place, start, first === NULL_BEGINS ? start : end);
    return end;
  }

  #readText(bytes: Uint8Array, place: JsonPlace, start: number): number {
    let at = start + 1;
    let byte = bytes[at]!;
    while (byte !== QUOTE && byte !== BACKSLASH && byte >= SPACE) byte = bytes[++at]!;
    if (byte === QUOTE) {
      this.#setText(place, start + 1, at);
      return at + 1;
    }
    const end = this.#skip.pass_value(start, 0);
    if (end < 0) return end;
    this.#unescape(start + 1, end - 1);
    this.#setText(place, this.#textStart, this.#textEnd);
    return end;
  }

  #clear(place: JsonPlace, from: number): void {
    const { within } = place;
    for (let i = 0; i < within.length; i++) {
      this.starts[within[i]!] = from;
      this.ends[within[i]!] = from;
    }
  }

  #setText(place: JsonPlace, start: number, end: number): void {
    this.#setRange(place.columns, start, end);
    if (place.percentDecoded.length === 0) return;
    this.#percentDecode(start, end);
    this.#setRange(place.percentDecoded, this.#textStart, this.#textEnd);
  }

  #set(place: JsonPlace, start: number, end: number): void {
    this.#setRange(place.columns, start, end);
    this.#setRange(place.percentDecoded, start, end);
  }

  #setRange(columns: readonly number[], start: number, end: number): void {
    for (let i = 0; i < columns.length; i++) {
      this.starts[columns[i]!] = start;
      this.ends[columns[i]!] = end;
    }
  }

  /** Empty columns take the values of their further paths; an object or array where a value should stand is a fault. */
  #takeSpares(): void {
    const { starts, ends } = this;
    for (let column = 0; column < ends.length; column++) {
      if (ends[column]! !== NESTED) continue;
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

function pastBlanks(bytes: Uint8Array, from: number): number {
  let at = from;
  let byte = bytes[at]!;
  // A newline is JSON's white space too, but ends the line.
  while (byte === SPACE || byte === TAB || byte === CARRIAGE_RETURN) byte = bytes[++at]!;
  return at;
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
