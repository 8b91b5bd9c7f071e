import { DIRECTIONS, OUTCOMES } from '../record.ts';
import type { DurationUnit } from './duration-unit.ts';
import type { Columns, Format, NumberReading, Place, Quotes } from './format.ts';

/** Our names of the fields that a delimited feed can have. */
export const DELIMITED_FIELDS = [
  'calling_number',
  'displayed_caller_id',
  'dialed_number',
  'start',
  'time_of_day',
  'duration',
  'talk_duration',
  'outcome',
  'direction',
  'account',
  'call_id',
] as const;
export type DelimitedField = (typeof DELIMITED_FIELDS)[number];

/** What a feed of the format `delimited` says about its lines: the section of this name in the settings. */
export interface DelimitedSettings {
  readonly separator: string;
  readonly quotes: Quotes;
  /** The first line names the columns, and `ship` repeats it in each message. */
  readonly header: boolean;
  readonly comment?: string;
  /** Numbers from 1, or names of the header line. */
  readonly columns: Readonly<Partial<Record<DelimitedField, number | string>>>;
  readonly column_counts?: readonly number[];
  readonly start: string;
  readonly time_of_day?: string;
  readonly duration_unit: DurationUnit;
  readonly number_reading: NumberReading;
  /** What words mean, beside our own ones. */
  readonly outcomes: Readonly<Record<string, string>>;
  readonly directions: Readonly<Record<string, string>>;
}

/** Any lines of fields: what a feed's settings say. */
export const delimited: Format = delimitedFormat({
  separator: ',',
  quotes: 'rfc4180',
  header: false,
  columns: { calling_number: 1, dialed_number: 2, start: 3, duration: 4 },
  start: 'iso-or-epoch',
  duration_unit: 's',
  number_reading: 'plain',
  outcomes: {},
  directions: {},
});

/** The format that these settings describe. They must have been checked. */
export function delimitedFormat(settings: DelimitedSettings): Format {
  const { columns, number_reading: reading, duration_unit: unit, start } = settings;
  const place = (field: DelimitedField): Place | undefined => {
    const column = columns[field];
    return typeof column === 'number' ? column - 1 : column;
  };
  const number = (field: DelimitedField) => ({ at: place(field) ?? [], reading });
  const needed = (field: DelimitedField): Place => place(field) ?? 0;
  const [talk, outcome, direction, account, callId, timeOfDay] = (
    ['talk_duration', 'outcome', 'direction', 'account', 'call_id', 'time_of_day'] as const
  ).map(place);
  return {
    name: 'delimited',
    version: 1,
    summary: "lines of fields with a separator, as the feed's section `delimited` says",
    syntax: {
      kind: 'delimited',
      separator: settings.separator,
      quotes: settings.quotes,
      columns: columnsOf(settings),
      ...(settings.comment === undefined ? {} : { comment: settings.comment }),
    },
    records: [
      {
        callingNumber: number('calling_number'),
        displayedCallerId: number('displayed_caller_id'),
        dialedNumber: number('dialed_number'),
        start: {
          at: needed('start'),
          notation: start,
          ...(timeOfDay === undefined
            ? {}
            : { time: { at: timeOfDay, notation: settings.time_of_day ?? 'HH:mm:ss' } }),
        },
        duration: { at: needed('duration'), unit },
        ...(talk === undefined ? {} : { talk: { at: talk, unit } }),
        ...(outcome === undefined
          ? {}
          : {
              outcome: {
                rules: [{ at: outcome, words: withOwn(OUTCOMES, settings.outcomes), ignoreCase: true }],
                otherwise: 'unknown',
              },
            }),
        ...(direction === undefined
          ? {}
          : {
              direction: [
                { at: direction, words: withOwn(DIRECTIONS, settings.directions), ignoreCase: true },
              ],
            }),
        ...(account === undefined ? {} : { account }),
        ...(callId === undefined ? {} : { callId }),
      },
    ],
    about: {
      zone: 'as the time pattern says, else that of the feed',
      duration: 'duration and talk_duration: as the switch means them',
      identity: 'the bytes of the line',
      gaps: 'none',
      billing: 'as the switch means it',
    },
  };
}

function columnsOf({ header, column_counts: counts }: DelimitedSettings): Columns {
  if (header) return { by: 'header' };
  return counts === undefined ? { by: 'position' } : { by: 'position', counts };
}

/** Our own names, and the words of the switch. */
function withOwn<T extends string>(
  names: readonly T[],
  words: Readonly<Record<string, string>>,
): Record<string, T> {
  return { ...Object.fromEntries(names.map((name) => [name, name])), ...words } as Record<string, T>;
}
