import { parseString } from 'fast-csv';
import type { Quotes } from '../../../schemas/formats/format.ts';

/*
 * What other programs make of the lines that our parsers read: fast-csv and JSON.parse; and regular expressions for the
 * kinds of quotes that fast-csv does not know.
 */

/** What fast-csv makes of one line: its fields, or null where it throws. */
export function csvFields(line: string, separator = ','): Promise<string[] | null> {
  return new Promise((resolve) => {
    const rows: string[][] = [];
    parseString<string[], string[]>(line, { headers: false, delimiter: separator })
      .on('data', (row: string[]) => rows.push(row))
      .on('error', () => resolve(null))
      .on('end', () => resolve(rows[0] ?? null));
  });
}

/** Added to bytes that fast-csv would take for blanks or line ends, in whatever encoding. */
const PRIVATE_USE = 0xe000;

/**
 * The fields of one line of bytes, without its line end, by each kind of quotes; null where it breaks their rules; undefined
 * where fast-csv follows other rules than ours: it empties or drops a field of nothing but blanks.
 */
export async function delimitedFields(
  line: Uint8Array,
  separator: string,
  quotes: Quotes,
): Promise<Buffer[] | null | undefined> {
  const text = Buffer.from(line).toString('latin1');
  const between = `\\x${separator.charCodeAt(0).toString(16).padStart(2, '0')}`;
  if (quotes === 'none') return text.split(separator).map(bytes);
  if (quotes === 'backslash') {
    const fields = `${separator}${text}`.matchAll(
      new RegExp(`${between}((?:\\\\.|\\\\$|[^${between}\\\\])*)`, 'gs'),
    );
    return Array.from(fields, ([, field]) => bytes(field!.replaceAll(/\\(.)/gs, '$1')));
  }
  if (quotes === 'lenient') return lenientFields(text, between)?.map(bytes) ?? null;
  const blank = [' ', '\t'].filter((byte) => byte !== separator).join('');
  if (new RegExp(`(^|${between})[${blank}]+(${between}|$)`).test(text)) return undefined;
  const shown = text.replaceAll(/[^\t\x20-\x7e]/g, (byte) =>
    String.fromCharCode(PRIVATE_USE + byte.charCodeAt(0)),
  );
  const fields = await csvFields(shown, separator);
  return (
    fields?.map((field) => Buffer.from(Uint8Array.from(field, (one) => one.charCodeAt(0) & 0xff))) ?? null
  );
}

function bytes(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

/** @param between the separator as a regular expression */
function lenientFields(text: string, between: string): string[] | null {
  const blank = new RegExp(`(?!${between})[ \\t]`).source;
  const pattern = new RegExp(
    `(?:(?:${blank})*"(?<quoted>.*?)"|(?<plain>(?!(?:${blank})*")[^${between}]*))(?<end>${between}|$)`,
    'sy',
  );
  const fields: string[] = [];
  for (;;) {
    const { quoted, plain, end } = pattern.exec(text)?.groups ?? {};
    if (end === undefined) return null;
    fields.push(quoted ?? plain ?? '');
    if (end === '') return fields;
  }
}

/** The object that JSON.parse makes of a line, with the tokens of its numbers as strings; undefined where it is none. */
export function jsonObject(line: string): object | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return undefined;
  return JSON.parse(withNumbersAsStrings(line)) as object;
}

/** A line of JSON with its numbers as strings, which keeps their tokens. */
function withNumbersAsStrings(line: string): string {
  return line.replaceAll(/"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*/g, (token) =>
    token.startsWith('"') ? token : `"${token}"`,
  );
}

/** The value at a path in what JSON.parse gave; undefined where there is none. */
export function valueAt(root: unknown, steps: readonly (string | number)[]): unknown {
  let at = root;
  for (const step of steps) {
    if (typeof step === 'number') at = Array.isArray(at) ? (at as unknown[]).at(step) : undefined;
    else if (typeof at === 'object' && at !== null && !Array.isArray(at) && Object.hasOwn(at, step))
      at = (at as Record<string, unknown>)[step];
    else return undefined;
  }
  return at;
}
