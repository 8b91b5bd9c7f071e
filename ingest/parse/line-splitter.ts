import type { RejectCode } from '../../schemas/errors.ts';
import type { Quotes } from '../../schemas/formats/format.ts';
import { COLUMNS_MAX } from '../../schemas/record.ts';
import type { BatchMemory, SplitFields } from './batch-memory.ts';

const QUOTE = 0x22;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const SPACE = 0x20;
const TAB = 0x09;
const BACKSLASH = 0x5c;

/** A column that no line has: always empty. */
export const ABSENT = COLUMNS_MAX;

/** A line in columns, whatever it was written in: what splitters give and readers take. The column `ABSENT` is empty. */
export interface SplitLine extends Readonly<SplitFields> {
  readonly faultCode: RejectCode;
}

/**
 * Splits one line of a delimited format into fields, in place.
 *
 * Quotes as in RFC 4180: a field that begins with `"` ends at the next single `"`, a doubled one stands
 * for itself; a quote inside an unquoted field is a character like any other. Blanks around a quoted field
 * are passed over, as fast-csv does; those of an unquoted field are part of it. A newline always ends the
 * line, so that a stray quote costs one line. `\r` before the newline belongs to the line's end.
 *
 * The other kinds of quotes (`Quotes`) differ from this in nothing else.
 */
export class LineSplitter implements SplitLine {
  readonly starts = new Int32Array(COLUMNS_MAX + 1);
  readonly ends = new Int32Array(COLUMNS_MAX + 1);
  count = 0;
  lineEnd = 0;
  next = 0;
  fault = -1;
  readonly faultCode = 'QUOTE_MALFORMED';
  readonly #memory: BatchMemory;
  readonly #separator: number;
  readonly #quotes: Quotes;

  /** @param separator one ASCII character */
  constructor(memory: BatchMemory, separator: string, quotes: Quotes) {
    this.#memory = memory;
    this.#separator = separator.charCodeAt(0);
    this.#quotes = quotes;
  }

  /** Splits the line that begins at `from`; the text ends at `end`, which may be in mid-line (no newline). */
  split(from: number, end: number): void {
    if (this.#quotes === 'rfc4180') this.#memory.split(from, end, this.#separator, this);
    else if (this.#quotes === 'lenient') this.#splitLenient(from, end);
    else this.#splitUnquoted(from, end);
  }

  #splitUnquoted(from: number, end: number): void {
    const { starts, ends } = this;
    const bytes = this.#memory.bytes;
    const separator = this.#separator;
    const escape = this.#quotes === 'backslash' ? BACKSLASH : -1;
    this.fault = -1;
    let count = 0;
    let at = from;
    for (;;) {
      const start = at;
      let escaped = false;
      let byte = 0;
      while (at < end && (byte = bytes[at]!) !== separator && byte !== LINE_FEED) {
        if (byte === escape && !this.#endsLine(at + 1, end)) {
          escaped = true;
          at++;
        }
        at++;
      }
      if (count < COLUMNS_MAX) {
        starts[count] = start;
        ends[count] = at > start && this.#endsLine(at - 1, end) ? at - 1 : at;
        if (escaped) this.#dropBackslashes(count);
      }
      count++;
      if (at >= end || bytes[at] === LINE_FEED) break;
      at++;
    }
    this.count = count;
    this.#finish(from, at, end);
  }

  #splitLenient(from: number, end: number): void {
    const { starts, ends } = this;
    const bytes = this.#memory.bytes;
    const separator = this.#separator;
    this.fault = -1;
    let count = 0;
    let at = from;
    for (;;) {
      const open = this.#pastBlanks(at, end);
      if (open < end && bytes[open] === QUOTE) {
        at = this.#quoted(open, end, count);
        if (this.fault >= 0) break;
        at = this.#pastBlanks(at, end);
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

  /**
   * Reads the quoted field `index` that opens at `open` and ends at a quote before a separator or the line's end; gives the
   * address behind that quote.
   */
  #quoted(open: number, end: number, index: number): number {
    const bytes = this.#memory.bytes;
    let at = open + 1;
    for (; at < end && bytes[at] !== LINE_FEED; at++) {
      if (bytes[at] !== QUOTE || !this.#endsField(at + 1, end)) continue;
      if (index < COLUMNS_MAX) {
        this.starts[index] = open + 1;
        this.ends[index] = at;
      }
      return at + 1;
    }
    this.fault = open;
    return at;
  }

  /** Behind spaces and tabs; one that separates is none. */
  #pastBlanks(from: number, end: number): number {
    const { bytes } = this.#memory;
    let at = from;
    while (at < end && (bytes[at] === SPACE || bytes[at] === TAB) && bytes[at] !== this.#separator) at++;
    return at;
  }

  #endsField(at: number, end: number): boolean {
    return this.#memory.bytes[at] === this.#separator || this.#endsLine(at, end);
  }

  #endsLine(at: number, end: number): boolean {
    if (at >= end) return true;
    const { bytes } = this.#memory;
    return (
      bytes[at] === LINE_FEED ||
      (bytes[at] === CARRIAGE_RETURN && (at + 1 >= end || bytes[at + 1] === LINE_FEED))
    );
  }

  /** Writes the field without its backslashes to the arena. */
  #dropBackslashes(index: number): void {
    const memory = this.#memory;
    const { bytes } = memory;
    const start = memory.top;
    const end = this.ends[index]!;
    for (let at = this.starts[index]!; at < end; at++) {
      if (bytes[at] === BACKSLASH && at + 1 < end) at++;
      bytes[memory.top++] = bytes[at]!;
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
