import type { RejectCode } from '../../schemas/errors.ts';
import type { Quotes } from '../../schemas/formats/format.ts';
import { COLUMNS_MAX } from '../../schemas/record.ts';
import type { BatchMemory, SplitFields } from './batch-memory.ts';

/** A column that no line has: always empty. */
export const ABSENT = COLUMNS_MAX;

/** A line in columns, whatever it was written in: what splitters give and readers take. The column `ABSENT` is empty. */
export interface SplitLine extends Readonly<SplitFields> {
  /** Addresses of field i: `[starts[i], ends[i])`, for at most `COLUMNS_MAX` of them. */
  readonly starts: Int32Array;
  readonly ends: Int32Array;
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
  starts!: Int32Array;
  ends!: Int32Array;
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
    memory.whenViewed(() => {
      this.starts = memory.fieldStarts;
      this.ends = memory.fieldEnds;
    });
  }

  /** Splits the line that begins at `from`; the text ends at `end`, which may be in mid-line (no newline). */
  split(from: number, end: number): void {
    this.#memory.split(from, end, this.#separator, this.#quotes, this);
  }
}
