import type { SkipReason } from '../errors.ts';
import type { Direction, Outcome } from '../record.ts';
import type { DurationUnit } from './duration-unit.ts';

/**
 * A format: what the lines of a switch mean. A format is data; `ingest/parse` gives it speed. How a line falls into
 * columns is its `syntax`, what the columns say its `records`.
 */
export interface Format {
  readonly name: string;
  /** Raised when a line would be read differently than before: part of the ledger's `reading`. */
  readonly version: number;
  readonly summary: string;
  readonly syntax: Syntax;
  /** Lines that are no records, with the reason; the first rule that fits. */
  readonly skip?: readonly SkipRule[];
  /** The shapes of a record; the first whose `when` fits. A line that fits none is rejected. */
  readonly records: readonly RecordShape[];
  /** An id that begins with the epoch second of the call, perhaps behind `name-`: shows a wrong time zone. */
  readonly epochId?: Place;
  readonly about: About;
}

/** What a reader of the records must know, for documents and `cdrhouse formats`. */
export interface About {
  /** What its times are in. */
  readonly zone: string;
  /** What `duration` and `talk` mean. */
  readonly duration: string;
  /** What makes two records the same. */
  readonly identity: string;
  /** Which counter shows that records are missing. */
  readonly gaps: string;
  /** Which of the records of a call to bill. */
  readonly billing: string;
}

/**
 * Where a field stands: the number of a column, from 0; or its name, in a list of columns or a header line; or the path
 * of a JSON value, or several paths with `|` between them, of which the first with a value counts.
 */
export type Place = number | string;

export type Syntax = DelimitedSyntax | JsonSyntax;

/** Lines of fields between separators. A newline always ends a record. */
export interface DelimitedSyntax {
  readonly kind: 'delimited';
  /** One ASCII character. */
  readonly separator: string;
  readonly quotes: Quotes;
  readonly columns: Columns;
  /** Text before the first column, where it stands there (3CX: `Call `). */
  readonly linePrefix?: string;
  /** A line that begins with it is a comment. */
  readonly comment?: string;
  /** How the line begins that names the encoding of what follows it, as `encoding=…`. */
  readonly encodingLine?: string;
}

/**
 * `rfc4180`: a field that begins with `"` ends at the next single one, a doubled one stands for itself.
 * `lenient`: such a field ends at a quote before a separator or the line's end; quotes inside are not escaped.
 * `backslash`: no quotes, `\` makes the next byte a literal one. `none`: neither.
 */
export const QUOTES = ['rfc4180', 'lenient', 'backslash', 'none'] as const;
export type Quotes = (typeof QUOTES)[number];

/** How many columns a line has, and how they are called. */
export type Columns = PositionColumns | ListColumns | HeaderColumns;

/** Places are numbers. */
export interface PositionColumns {
  readonly by: 'position';
  /** How many a record may have; undefined: at least those that it needs. */
  readonly counts?: readonly number[];
  /** A line whose first field is this text is a header, which says nothing. */
  readonly header?: string;
}

/** Places are names of a list, that of the feed's `columns` or else this one. A record has exactly as many. */
export interface ListColumns {
  readonly by: 'list';
  readonly names: readonly string[];
  /** The names that a feed's list may have; undefined: any. */
  readonly known?: readonly string[];
}

/** Places are names of the header line, which stands in each message before its records. */
export interface HeaderColumns {
  readonly by: 'header';
  /** First field of the header line; undefined: a line that has the names of all fields which a record needs. */
  readonly first?: string;
}

/** One JSON object a line. Places are paths. */
export interface JsonSyntax {
  readonly kind: 'json';
  /** Values may be URL-encoded. */
  readonly urlEncoded?: boolean;
}

/** A line is passed over where the field is one of the words, or is there and none of them. */
export interface SkipRule {
  readonly at: Place;
  readonly is?: readonly string[];
  readonly isNot?: readonly string[];
  readonly reason: SkipReason;
}

/** What the columns of one kind of record mean. */
export interface RecordShape {
  /** The shape is for lines whose field is one of the words; undefined: for all. */
  readonly when?: { readonly at: Place; readonly is: readonly string[] };
  readonly callingNumber: NumberField;
  readonly displayedCallerId?: NumberField;
  readonly dialedNumber: NumberField;
  /** Of several, the first that is not empty. */
  readonly start: TimeField | readonly TimeField[];
  readonly duration: DurationField;
  /** Billable time; an empty or absent column is unknown, not zero. */
  readonly talk?: DurationField;
  readonly outcome?: {
    /** The first that fits. */
    readonly rules: readonly WordRule<Outcome>[];
    /** What other words mean: a switch may have more than we know, our own formats may not. */
    readonly otherwise: Outcome | 'reject';
  };
  /** The first that fits; else unknown. */
  readonly direction?: readonly WordRule<Direction>[];
  readonly account?: Place;
  /** Present only in lines of at least so many columns, where that is given. */
  readonly callId?: Place | { readonly at: Place; readonly columnsMin: number };
  /** Fields that together are unique per record, where the format has such; used when none of them is empty. */
  readonly recordId?: readonly Place[];
}

/**
 * `plain`: the field is the number. `name-addr`: `"Name" <number>`, the number is what stands in the brackets. `uri`: the
 * user part of a SIP or tel URI, with or without a name before it.
 */
export type NumberReading = 'plain' | 'name-addr' | 'uri';

export interface NumberField {
  /** Of several places, the first that is not empty. */
  readonly at: Place | readonly Place[];
  /** Default: plain. */
  readonly reading?: NumberReading;
}

export interface TimeField {
  readonly at: Place;
  readonly notation: TimeNotation;
  /** The time of day, where it stands apart from the date. */
  readonly time?: { readonly at: Place; readonly notation: TimeNotation };
  /** What a time without a zone is in; default: the feed's zone. */
  readonly bare?: 'feed' | 'utc';
}

/** A name or a pattern in luxon's tokens: see time-pattern.ts. */
export type TimeNotation = string;

export type DurationField = MeasuredDuration | TimeDifference | NoDuration;

/** A field of the record, with others that are added to it. */
export interface MeasuredDuration {
  readonly at: Place;
  readonly unit: DurationUnit;
  readonly plus?: readonly { readonly at: Place; readonly unit: DurationUnit }[];
  /** An empty field is zero where the call was not answered. */
  readonly emptyUnanswered?: boolean;
}

/** The time from one field to another; zero where the first one is empty or zero. */
export interface TimeDifference {
  readonly from: TimeField;
  readonly to: TimeField;
}

/** A record that says by its kind that it has no duration. */
export interface NoDuration {
  readonly none: true;
}

/** What a field says: by its word, by being there (more than zeros), or by being a time (not 0, not 1970). */
export type WordRule<T extends string> =
  | { readonly at: Place; readonly words: Readonly<Record<string, T>>; readonly ignoreCase?: boolean }
  | { readonly at: Place; readonly filled: T }
  | { readonly time: TimeField; readonly filled: T };
