import { SCHEMA_VERSION } from '../schemas/migrations.ts';
import type { ExportSource } from './subject-export-sources.ts';
import { isoTime, OPEN_END_MS, type Subject } from './subject.ts';
import type { SubjectRequest } from './subject-requests.ts';

const GLOSSARY = {
  'call data record':
    'what a telephone switch writes about a call: who, whom, when, how long; never what was said',
  'calling number': 'the line from which was called',
  'displayed caller id': 'the number that the other side saw, which need not be the calling number',
  'dialed number': 'the line that was called',
  duration: 'the time that the switch measured, which may include ringing',
  talk: 'the time from answer to end, which can be billed',
  feed: 'a source of records: one telephone switch',
  E164: 'a number with its country: + and up to 15 digits',
  masked: 'the last four characters are hidden (****), to protect somebody else',
} as const;

/** What a reader must know of the files of an export. */
export function exportAbout(
  { requestId }: SubjectRequest,
  { numbers, feeds, fromMs, toMs }: Subject,
  unmasked: boolean,
  sources: readonly ExportSource[],
  unsearchable: number,
): object {
  return {
    request_id: requestId,
    numbers,
    feeds: feeds ?? 'all',
    from: isoTime(fromMs),
    to: toMs === OPEN_END_MS ? null : isoTime(toMs),
    time_zone: 'UTC',
    times: 'ISO 8601 in UTC; from is inclusive, to is exclusive',
    units: { _s: 'seconds, with milliseconds as decimals' },
    masked: unmasked ? 'nothing' : 'numbers of callers; the content of rejected records is left out',
    csv: 'RFC 4180, UTF-8; a text that does not begin with a letter has an apostrophe in front, so that spreadsheets take it as it is',
    schema_version: SCHEMA_VERSION,
    files: Object.fromEntries(
      sources.map(({ name, about, columns }) => [
        name,
        { about, columns: Object.fromEntries(columns.map((column) => [column.name, column.about])) },
      ]),
    ),
    look_ups_that_cannot_be_searched: unsearchable,
    glossary: GLOSSARY,
  };
}
