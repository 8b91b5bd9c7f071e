import type { BatchMemory } from './batch-memory.ts';

const QUOTE = 0x22;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const SPACE = 0x20;
const TAB = 0x09;

/** More columns than any format has; a longer line is counted but not looked into. */
export const COLUMNS_MAX = 512;

/**
 * Splits one line of a delimited format into fields, in place.
 *
 * Quotes as in RFC 4180: a field that begins with `"` ends at the next single `"`, a doubled one stands
 * for itself; a quote inside an unquoted field is a character like any other. Blanks around a quoted field
 * are passed over, as fast-csv does; those of an unquoted field are part of it. A newline always ends the
 * line, so that a stray quote costs one line. `\r` before the newline belongs to the line's end.
 */
export class LineSplitter {
  /** Addresses of field i: `[starts[i], ends[i])`. */
  readonly starts = new Int32Array(COLUMNS_MAX);
  readonly ends = new Int32Array(COLUMNS_MAX);
  /** Number of fields of the last line, also beyond COLUMNS_MAX. */
  count = 0;
  /** End of the line's bytes, without its line end. */
  lineEnd = 0;
  /** Where the next line begins. */
  next = 0;
  /** Address of a quote that breaks the rules, or -1. */
  fault = -1;
  readonly #memory: BatchMemory;

  constructor(memory: BatchMemory) {
    this.#memory = memory;
  }

  /** Splits the line that begins at `from`; the text ends at `end`, which may be in mid-line (no newline). */
  split(from: number, end: number, separator: number): void {
    const { starts, ends } = this;
    const bytes = this.#memory.bytes;
    this.fault = -1;
    let count = 0;
    let at = from;
    for (;;) {
      const open = bytes[at] === SPACE || bytes[at] === TAB ? pastBlanks(bytes, at, end) : at;
      if (open < end && bytes[open] === QUOTE) {
        at = this.#quoted(open, end, count);
        if (this.fault >= 0) break;
        at = pastBlanks(bytes, at, end);
      } else {
        const start = at;
        let byte = 0;
        while (at < end && (byte = bytes[at]!) !== separator && byte !== LINE_FEED) at++;
        if (count < COLUMNS_MAX) {
          starts[count] = start;
          ends[count] = at;
        }
      }
      count++;
      if (at >= end || bytes[at] === LINE_FEED) break;
      if (bytes[at] === separator) {
        at++;
        continue;
      }
      // Behind a closing quote only a separator or the line's end may stand.
      if (bytes[at] === CARRIAGE_RETURN && (at + 1 >= end || bytes[at + 1] === LINE_FEED)) {
        at++;
        break;
      }
      this.fault = at;
      break;
    }
    this.count = count;
    this.#finish(from, at, end);
  }

  /** Reads the quoted field `index` that opens at `open`; gives the address behind its closing quote. */
  #quoted(open: number, end: number, index: number): number {
    const bytes = this.#memory.bytes;
    let at = open + 1;
    let doubled = false;
    for (; at < end; at++) {
      const byte = bytes[at]!;
      if (byte === LINE_FEED) break;
      if (byte !== QUOTE) continue;
      if (at + 1 >= end || bytes[at + 1] !== QUOTE) {
        if (index < COLUMNS_MAX) {
          this.starts[index] = open + 1;
          this.ends[index] = at;
          if (doubled) this.#unescape(index);
        }
        return at + 1;
      }
      doubled = true;
      at++;
    }
    this.fault = open;
    return at;
  }

  /** Writes the field with its doubled quotes made single to the arena. */
  #unescape(index: number): void {
    const memory = this.#memory;
    const { bytes } = memory;
    const start = memory.top;
    const end = this.ends[index]!;
    for (let at = this.starts[index]!; at < end; at++) {
      const byte = bytes[at]!;
      bytes[memory.top++] = byte;
      if (byte === QUOTE) at++;
    }
    this.starts[index] = start;
    this.ends[index] = memory.top;
  }

  #finish(from: number, stopped: number, end: number): void {
    const bytes = this.#memory.bytes;
    let at = stopped;
    while (at < end && bytes[at] !== LINE_FEED) at++;
    this.next = at + 1;
    if (at > from && bytes[at - 1] === CARRIAGE_RETURN) {
      at--;
      const last = this.count - 1;
      if (this.fault < 0 && last < COLUMNS_MAX && this.ends[last] === at + 1) this.ends[last] = at;
    }
    this.lineEnd = at;
  }
}

function pastBlanks(bytes: Uint8Array, from: number, end: number): number {
  let at = from;
  while (at < end && (bytes[at] === SPACE || bytes[at] === TAB)) at++;
  return at;
}
