import { format } from 'fast-csv';

/** What a field of an answer's row can be. */
export type CsvValue = string | number | boolean | null | readonly string[];

/** A column of a CSV answer: a field of the JSON rows. */
export interface CsvColumn<Row> {
  readonly name: keyof Row & string;
  /** Its texts come from outside and may look like anything; other columns hold numbers, times and fixed words. */
  readonly isText: boolean;
}

const BEGINS_WITH_LETTER = /^\p{L}/u;
/** In front of a text, makes spreadsheets take it as it is. */
const GUARD = "'";

/**
 * A text as it stands in a CSV cell. Spreadsheets run what begins with `=`, `+`, `-`, `@` (full-width ones too), tab or
 * carriage return as a formula, and make a number of `0639…`, which loses its zero; so every text that does not begin with
 * a letter has an apostrophe in front, those that begin with one too. Whoever takes one apostrophe from the front of
 * each text has the originals back.
 */
export function guardText(text: string): string {
  return text === '' || BEGINS_WITH_LETTER.test(text) ? text : GUARD + text;
}

/** The text that `guardText` was given. */
export function unguardText(cell: string): string {
  return cell.startsWith(GUARD) ? cell.slice(GUARD.length) : cell;
}

/** Nothing for null; the words of a list with spaces between them. */
function cellOf(value: CsvValue, isText: boolean): string {
  if (value === null) return '';
  if (typeof value === 'object') return value.join(' ');
  const text = String(value);
  return isText ? guardText(text) : text;
}

/**
 * Rows as CSV (RFC 4180: a header line, lines end with CR LF, quotes where they are needed), in pieces. Reads no
 * further than its reader, and ends the rows where that one stops.
 */
export async function* encodeCsv<Row extends object>(
  batches: AsyncIterable<readonly Row[]>,
  columns: readonly CsvColumn<Row>[],
): AsyncGenerator<Buffer> {
  const csv = format({
    headers: columns.map(({ name }) => name),
    alwaysWriteHeaders: true,
    rowDelimiter: '\r\n',
    includeEndRowDelimiter: true,
  });
  // What fails comes out of the last loop.
  csv.on('error', () => undefined);
  for await (const rows of batches) {
    for (const row of rows)
      csv.write(columns.map(({ name, isText }) => cellOf(row[name] as CsvValue, isText)));
    // It formats while it is written to, or read where it was full: a stream of rows would cost more than the rows.
    for (let piece = csv.read() as Buffer | null; piece !== null; piece = csv.read() as Buffer | null)
      yield piece;
  }
  csv.end();
  for await (const piece of csv) yield piece as Buffer;
}
