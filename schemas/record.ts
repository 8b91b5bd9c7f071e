/**
 * The call data record as it is stored: numbers are text, times are UTC milliseconds, durations are
 * milliseconds. `talk` (billable time) is kept apart from `duration` (the switch's own field); absent is
 * not zero.
 */
export const OUTCOMES = ['unknown', 'answered', 'no_answer', 'busy', 'failed', 'cancelled'] as const;
export type Outcome = (typeof OUTCOMES)[number];

export const DIRECTIONS = ['unknown', 'inbound', 'outbound', 'internal'] as const;
export type Direction = (typeof DIRECTIONS)[number];

/** The role of the number of a row in `cdr_by_number`. */
export const ROLES = ['dialed', 'displayed'] as const;
export type Role = (typeof ROLES)[number];

/** What every read of a stored call has, as JSONEachRow gives it with 64-bit integers as text. */
export interface CallFields {
  readonly cdr_key: string;
  readonly calling_number: string;
  readonly displayed_caller_id: string;
  readonly dialed_number: string;
  readonly duration_ms: number;
  readonly talk_ms: number | null;
  readonly outcome: string;
  readonly direction: string;
  readonly account: string;
  readonly call_id: string;
  readonly feed: string;
}

/** Longest duration that a record may have, in ms: what an unsigned 32-bit column holds (49.7 days). */
export const DURATION_MS_MAX = 0xffff_ffff;

/** Longest field of a line, in bytes as sent; a longer one is rejected, never cut. */
export const FIELD_BYTES_MAX = 4096;

/** Columns of a line that are looked into, more than any format has; those behind them are counted. */
export const COLUMNS_MAX = 1024;

/** An enum type of ClickHouse with the members in the order of `names`, from 0. */
export function enum8(names: readonly string[]): string {
  return `Enum8(${names.map((name, value) => `'${name}' = ${value}`).join(', ')})`;
}
