import { lastCalendarYear, Traffic } from '../ingest/generate/traffic.ts';
import type { Expected } from './delivery-verdict.ts';

const SEED = 7;
const DAY_MS = 86_400_000;
const DAYS = 7;
/** One record of so many is bad. */
const BAD_EVERY = 100;
/** In lines of canonical-csv, from 0. */
const FIELD = { start: 3, duration: 4, callId: 6 } as const;

/** What is wrong with a bad record: another text for a field, or none at all where the column itself is missing. */
interface Badness {
  readonly kind: string;
  readonly field: number;
  readonly text: string | undefined;
}

/** @param year of the other records */
function badnesses(year: number): readonly Badness[] {
  return [
    { kind: 'a date that is none ("unknown")', field: FIELD.start, text: 'unknown' },
    { kind: '30 February', field: FIELD.start, text: `${year}-02-30T10:00:00Z` },
    { kind: 'a duration of -5', field: FIELD.duration, text: '-5' },
    { kind: 'a duration of "abc"', field: FIELD.duration, text: 'abc' },
    { kind: 'a duration of 5,000,000,000', field: FIELD.duration, text: '5000000000' },
    { kind: 'an empty duration', field: FIELD.duration, text: '' },
    { kind: 'a missing field', field: FIELD.start, text: undefined },
  ];
}

/** The records of a delivery proof: lines of canonical-csv, and what must become of each. */
export interface DeliveryRecords extends Expected {
  readonly lines: readonly string[];
}

/** So many records, 1 % of them bad, each kind as often as the others. */
export function deliveryRecords(count: number): DeliveryRecords {
  const { from } = lastCalendarYear(Date.now());
  const kinds = badnesses(new Date(from).getUTCFullYear());
  const traffic = new Traffic(SEED, count, { from, to: from + DAYS * DAY_MS });
  const good = new Map<string, string>();
  const bad = new Map<string, string>();
  const lines = Array.from({ length: count }, (_, index) => {
    const fields = traffic.line(index).split(',');
    if (index % BAD_EVERY !== BAD_EVERY - 1) {
      good.set(fields[FIELD.callId]!, contentOf(fields));
      return fields.join(',');
    }
    const { kind, field, text } = kinds[Math.floor(index / BAD_EVERY) % kinds.length]!;
    const id = `bad-${index}`;
    fields[FIELD.callId] = id;
    bad.set(id, kind);
    fields.splice(field, 1, ...(text === undefined ? [] : [text]));
    return fields.join(',');
  });
  return { lines, good, bad };
}

/** Ids of bad records in what was put aside, in whatever form that was kept. */
export function badIdsIn(raw: string): readonly string[] {
  return raw.match(/\bbad-[0-9]+\b/g) ?? [];
}

/** All that a line says, as `CONTENT_SQL` writes it of a row. */
function contentOf(fields: readonly string[]): string {
  const [calling, displayed, dialed, start, duration, talk, , outcome, account] = fields;
  return [
    calling,
    displayed,
    dialed,
    Date.parse(start!),
    milliseconds(duration!),
    milliseconds(talk!),
    outcome,
    account,
  ].join('|');
}

function milliseconds(seconds: string): number {
  return Math.round(Number(seconds) * 1000);
}

/** A row of any store as `contentOf` writes a line. */
export const CONTENT_SQL = `concat(calling_number, '|', displayed_caller_id, '|', dialed_number, '|',
  toString(toUnixTimestamp64Milli(start_at)), '|', toString(duration_ms), '|', toString(ifNull(talk_ms, 0)), '|',
  toString(outcome), '|', toString(account))`;
