import type { Outcome } from '../record.ts';

/**
 * A delimited format: what the columns of a line mean. A format is data; `ingest/parse` gives it speed.
 * Column numbers count from 0.
 */
export interface DelimitedFormat {
  readonly name: string;
  /** Raised when a line would be read differently than before: part of the ledger's `reading`. */
  readonly version: number;
  readonly summary: string;
  /** One byte between fields. Quoting is RFC 4180's `"`, doubled inside; a newline always ends a record. */
  readonly separator: ',' | ';' | '|' | '\t';
  /** How many columns a record may have. */
  readonly columnCounts: readonly number[];
  readonly callingNumber: number;
  readonly displayedCallerId: { readonly column: number; readonly reading: DisplayedReading };
  readonly dialedNumber: number;
  readonly start: { readonly column: number; readonly notation: StartNotation };
  /** Seconds, decimals allowed. */
  readonly duration: number;
  /** Billable seconds; an empty or absent column is unknown, not zero. */
  readonly talk?: number;
  readonly callId?: ColumnWhen;
  readonly account?: number;
  readonly outcome?: {
    readonly column: number;
    readonly words: Readonly<Record<string, Outcome>>;
    /** What another word means: a switch may have more words than we know, our own formats may not. */
    readonly otherwise: 'unknown' | 'reject';
  };
  /** Columns that together are unique per record, where the format has such; used when none of them is empty. */
  readonly recordId?: { readonly columnCount: number; readonly columns: readonly number[] };
  /** A line whose first field is this text is a header. */
  readonly headerField?: string;
  /** What `duration` and `talk` mean in this format, for documents and `cdrhouse formats`. */
  readonly durationMeans: string;
}

/** A column that is there only in lines of at least so many columns. */
export interface ColumnWhen {
  readonly column: number;
  readonly columnCountMin: number;
}

/** `plain`: the field is the number. `name-addr`: `"Name" <number>`, the number is what stands in the brackets. */
export type DisplayedReading = 'plain' | 'name-addr';

/**
 * `iso-or-epoch`: ISO 8601 with `Z`, an offset or bare (the feed's zone), or epoch s, ms or us by magnitude.
 * `local`: `YYYY-MM-DD hh:mm:ss` in the feed's zone.
 */
export type StartNotation = 'iso-or-epoch' | 'local';
