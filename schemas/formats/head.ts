import type { Format } from './format.ts';
import { neededPlaces } from './places.ts';

/**
 * What a format needs from the head of its file, each message must have at its own head, so that it can be read alone:
 * the line that names the columns (CUCM, `delimited` with a header) or the encoding (BroadWorks). It is always one line,
 * the last such line before the records: files may be concatenated, so one can come in mid-file. Pure.
 */
export function needsHead({ syntax }: Format): boolean {
  return syntax.kind === 'delimited' && (syntax.columns.by === 'header' || syntax.encodingLine !== undefined);
}

/** True where this line (with or without its line end) is the format's head, which the records behind it need. */
export function isHeadLine(format: Format, line: Uint8Array): boolean {
  const { syntax, records } = format;
  if (syntax.kind !== 'delimited' || !needsHead(format)) return false;
  const { columns, encodingLine, separator } = syntax;
  if (encodingLine !== undefined) return beginsWith(line, encodingLine);
  if (columns.by !== 'header') return false;
  const text = Buffer.from(line.buffer, line.byteOffset, line.byteLength).toString('utf8');
  // Names of columns have no separators in them; blanks around quotes are passed over as in the records.
  const names = text
    .replace(/^\uFEFF/, '')
    .replace(/\r?\n?$/, '')
    .split(separator)
    .map((name) => name.replace(/^[ \t]*"(.*)"[ \t]*$/, '$1').replaceAll('""', '"'));
  if (columns.first !== undefined) return names[0] === columns.first;
  return records
    .flatMap(neededPlaces)
    .every((places) => places.some((place) => typeof place === 'string' && names.includes(place)));
}

function beginsWith(line: Uint8Array, text: string): boolean {
  const mark = line[0] === 0xef && line[1] === 0xbb && line[2] === 0xbf ? 3 : 0;
  return Buffer.from(line.subarray(mark, mark + text.length)).toString('latin1') === text;
}
