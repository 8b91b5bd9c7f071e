import { CdrhouseError } from '../schemas/errors.ts';
import type { NumberKeys } from '../schemas/number-keys.ts';
import {
  DIRECTIONS,
  DURATION_MS_MAX,
  FIELD_BYTES_MAX,
  OUTCOMES,
  type CallFields,
} from '../schemas/record.ts';
import { sqlTime } from '../schemas/sql-time.ts';

/** A row of `cdr` as JSONEachRow has it, 64-bit integers as text. */
export interface StoredCallRow extends CallFields {
  readonly calling_key: string;
  /** `2026-03-01 10:00:00.000`, UTC. */
  readonly start_at: string;
  readonly source_partition: number;
  readonly source_offset: string;
  readonly source_line: number;
  readonly version: string;
}

/** What of a call can be rectified: what the switch said about people, not by what it is found. */
export const RECTIFIABLE = [
  'calling_number',
  'displayed_caller_id',
  'dialed_number',
  'start',
  'duration',
  'talk',
  'outcome',
  'direction',
  'account',
] as const;
export type Rectifiable = (typeof RECTIFIABLE)[number];

const CONTROL = /\p{Cc}/u;
const MILLISECONDS = 1000;

/** The value of a field as it is typed: durations in seconds, a start in ISO 8601; empty where talk is not known. */
export function valueOf(row: StoredCallRow, field: Rectifiable): string {
  switch (field) {
    case 'start':
      return `${row.start_at.replace(' ', 'T')}Z`;
    case 'duration':
      return String(row.duration_ms / MILLISECONDS);
    case 'talk':
      return row.talk_ms === null ? '' : String(row.talk_ms / MILLISECONDS);
    default:
      return row[field];
  }
}

/**
 * The call with another value. A displayed number that is the calling one follows it. Throws USAGE_WRONG for a value that
 * the field cannot have.
 */
export function rectify(
  row: StoredCallRow,
  field: Rectifiable,
  value: string,
  keys: NumberKeys,
): StoredCallRow {
  return { ...row, ...CHANGES[field](value, row, keys) };
}

type Change = (value: string, row: StoredCallRow, keys: NumberKeys) => Partial<StoredCallRow>;

const CHANGES: Readonly<Record<Rectifiable, Change>> = {
  calling_number: (value, { feed, calling_number: calling, displayed_caller_id: displayed }, keys) => {
    const number = readText(value);
    return {
      calling_number: number,
      calling_key: String(keys.keyOf(feed, number)),
      ...(displayed === calling ? { displayed_caller_id: number } : {}),
    };
  },
  displayed_caller_id: (value) => ({ displayed_caller_id: readText(value) }),
  dialed_number: (value) => ({ dialed_number: readText(value) }),
  account: (value) => ({ account: readText(value) }),
  start: (value) => ({ start_at: sqlTime(readStart(value)) }),
  duration: (value) => ({ duration_ms: readDuration(value) }),
  talk: (value) => ({ talk_ms: value === '' ? null : readDuration(value) }),
  outcome: (value) => ({ outcome: readWord(value, OUTCOMES) }),
  direction: (value) => ({ direction: readWord(value, DIRECTIONS) }),
};

/** The rows by which a call is found in `cdr_by_number`, as ingest writes them. */
export function rowsByNumber(row: StoredCallRow, keys: NumberKeys): object[] {
  const { calling_key: _key, ...call } = row;
  const under = (number: string, role: string): object => ({
    ...call,
    number_key: String(keys.keyOf(row.feed, number)),
    role,
  });
  const { displayed_caller_id: displayed, calling_number: calling, dialed_number: dialed } = row;
  const isElsewhere = displayed === '' || displayed === calling;
  return [under(dialed, 'dialed'), ...(isElsewhere ? [] : [under(displayed, 'displayed')])];
}

/** Version of a row of this correction that replaces another one: it still says when that one's batch was stored. */
export function correctedVersion(version: string, correction: number): string {
  return String((BigInt(correction) << 32n) | (BigInt(version) & 0xffff_ffffn));
}

/** Version of the correction's delete markers. */
export function markerVersion(correction: number): string {
  return String(BigInt(correction) << 32n);
}

function wrong(detail: string): CdrhouseError {
  return new CdrhouseError('USAGE_WRONG', `--value: ${detail}`);
}

function readText(value: string): string {
  if (Buffer.byteLength(value) > FIELD_BYTES_MAX || CONTROL.test(value))
    throw wrong(`at most ${FIELD_BYTES_MAX} bytes of printable characters`);
  return value;
}

function readStart(value: string): number {
  const ms = Date.parse(value);
  if (Number.isNaN(ms) || !/(Z|[+-][0-9]{2}:?[0-9]{2})$/i.test(value))
    throw wrong('a start is ISO 8601 with a zone, like 2026-03-01T10:00:00Z');
  return ms;
}

function readDuration(value: string): number {
  const ms = Math.round(Number(value) * MILLISECONDS);
  if (!/^[0-9]+(\.[0-9]{1,3})?$/.test(value) || ms > DURATION_MS_MAX)
    throw wrong(`seconds from 0 to ${DURATION_MS_MAX / MILLISECONDS}, with up to three decimals`);
  return ms;
}

function readWord(value: string, words: readonly string[]): string {
  if (!words.includes(value)) throw wrong(`one of ${words.join(', ')}`);
  return value;
}
