import { DELIMITED_FIELDS, delimitedFormat, type DelimitedSettings } from './delimited.ts';
import type { Format, ListColumns } from './format.ts';
import { findFormat, FORMATS } from './index.ts';
import { neededPlaces } from './places.ts';
import { checkTimeNotation } from './time-pattern.ts';

/** What a feed says about its format. */
export interface FeedFormatSettings {
  readonly format: string;
  readonly columns?: readonly string[] | undefined;
  readonly delimited?: DelimitedSettings | undefined;
  readonly zone_abbreviations?: Readonly<Record<string, string>> | undefined;
}

/** The format of a feed, with the columns of its own. Its settings must have been checked. */
export function formatOf({ format: name, columns, delimited }: FeedFormatSettings): Format {
  const format = findFormat(name);
  if (format === undefined) throw new RangeError(`unknown format ${name}`);
  if (format.name === 'delimited' && delimited !== undefined) return delimitedFormat(delimited);
  const { syntax } = format;
  const list = listColumns(format);
  if (columns === undefined || list === undefined || syntax.kind !== 'delimited') return format;
  return { ...format, syntax: { ...syntax, columns: { ...list, names: columns } } };
}

/** What is wrong with a feed's format settings, as `key: what is wrong; what is allowed`. */
export function checkFormatSettings(settings: FeedFormatSettings): string[] {
  const { format: name, columns, delimited } = settings;
  const format = findFormat(name);
  if (format === undefined) return [];
  if (delimited !== undefined && name !== 'delimited')
    return [`delimited: goes with format delimited, not with ${name}`];
  if (name === 'delimited') {
    if (delimited === undefined)
      return ['delimited: is missing; format delimited needs to be told its columns'];
    return checkDelimited(delimited, settings.zone_abbreviations).map((text) => `delimited.${text}`);
  }
  return columns === undefined ? [] : checkColumns(format, columns);
}

function checkColumns(format: Format, columns: readonly string[]): string[] {
  const list = listColumns(format);
  if (list === undefined) {
    const names = FORMATS.filter((other) => listColumns(other) !== undefined).map((other) => other.name);
    return [`columns: format ${format.name} has columns of its own; allowed with ${names.join(', ')}`];
  }
  const wrong: string[] = [];
  const { known } = list;
  columns.forEach((column, i) => {
    if (known !== undefined && column !== '-' && !known.includes(column))
      wrong.push(`columns[${i}]: "${column}" is not known; allowed: - (passed over), ${known.join(', ')}`);
    if (column !== '-' && columns.indexOf(column) < i)
      wrong.push(`columns[${i}]: "${column}" stands there twice; allowed: once, or - to pass it over`);
  });
  for (const places of format.records.flatMap(neededPlaces)) {
    if (!places.some((place) => typeof place === 'string' && columns.includes(place)))
      wrong.push(`columns: every record needs ${places.join(' or ')}`);
  }
  return wrong;
}

function listColumns({ syntax }: Format): ListColumns | undefined {
  return syntax.kind === 'delimited' && syntax.columns.by === 'list' ? syntax.columns : undefined;
}

function checkDelimited(
  settings: DelimitedSettings,
  zones: Readonly<Record<string, string>> | undefined,
): string[] {
  const { columns, header, separator, quotes } = settings;
  const wrong: string[] = [];
  for (const field of ['calling_number', 'dialed_number', 'start', 'duration'] as const) {
    if (columns[field] === undefined)
      wrong.push(
        `columns.${field}: is missing; every record needs calling_number, dialed_number, start, duration`,
      );
  }
  for (const field of DELIMITED_FIELDS) {
    const column = columns[field];
    if (!header && typeof column === 'string')
      wrong.push(`columns.${field}: "${column}" is a name; allowed without header: true: numbers from 1`);
    if (header && typeof column === 'number')
      wrong.push(
        `columns.${field}: ${column} is a number; allowed with header: true: names of the header line`,
      );
  }
  if (header && settings.column_counts !== undefined)
    wrong.push(
      'column_counts: the header line says how many columns there are; allowed without header: true',
    );
  if (separator === '"' && (quotes === 'rfc4180' || quotes === 'lenient'))
    wrong.push('separator: a quote cannot be both; allowed: another character, or quotes: none');
  if (separator === '\\' && quotes === 'backslash')
    wrong.push('separator: a backslash cannot be both; allowed: another character');
  const apart = columns.time_of_day !== undefined;
  const options = { zones: zones ?? {} };
  const start = checkTimeNotation(settings.start, apart ? { ...options, parts: 'date' } : options);
  if (start !== undefined) wrong.push(`start: ${start}`);
  if (!apart && settings.time_of_day !== undefined)
    wrong.push('time_of_day: there is no columns.time_of_day');
  if (apart) {
    const time = checkTimeNotation(settings.time_of_day ?? 'HH:mm:ss', { ...options, parts: 'time' });
    if (time !== undefined) wrong.push(`time_of_day: ${time}`);
  }
  return wrong;
}
