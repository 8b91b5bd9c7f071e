import { DateTime, IANAZone } from 'luxon';
import type { Range } from './cursor.ts';
import { Problem } from './problem.ts';

const DAY_MS = 86_400_000;
const DEFAULT_RANGE_DAYS = 30;

/** What DateTime64 holds with room to spare; times beyond are mistakes. */
const EARLIEST_MS = Date.UTC(1900, 0, 1);
const LATEST_MS = Date.UTC(2290, 0, 1);

/**
 * ISO 8601, calendar dates only. A plus sign that was not encoded arrives as a space, a common slip that can mean
 * nothing else.
 */
const TIME =
  /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,3})?)?)(Z|[+\- ]\d{2}(?::?\d{2})?)?)?$/i;

/** True for an IANA zone that both this program and the database know; the name's case counts. */
export function isTimeZone(name: string, known: ReadonlySet<string>): boolean {
  // luxon keeps the zones that it made, where its isValidZone would make a formatter each time.
  return known.has(name) && IANAZone.create(name).isValid;
}

/**
 * The instant that a text names, in UTC ms; a text without offset, or a bare date, is a local time of `zone`.
 * A local time that occurs twice is the earlier one, one that does not exist moves forward.
 * Undefined for any other text.
 */
export function readTime(text: string, zone: string): number | undefined {
  const [, date, clock, offset] = TIME.exec(text) ?? [];
  if (date === undefined) return undefined;
  const iso = `${date}T${(clock ?? '00:00').replace(',', '.')}${(offset ?? '').replace(' ', '+').toUpperCase()}`;
  const time = DateTime.fromISO(iso, { zone });
  if (!time.isValid) return undefined;
  const ms =
    offset === undefined
      ? Math.min(...time.getPossibleOffsets().map((each) => each.toMillis()))
      : time.toMillis();
  return ms >= EARLIEST_MS && ms < LATEST_MS ? ms : undefined;
}

/** ISO 8601 with milliseconds and the zone's offset at that moment: `2026-03-01T08:00:00.000+01:00`. */
export function writeTime(ms: number, zone: string): string {
  return DateTime.fromMillis(ms, { zone }).toISO() ?? new Date(ms).toISOString();
}

/** The same, null where there is no moment. */
export function writeMoment(ms: number | null, zone: string): string | null {
  return ms === null ? null : writeTime(ms, zone);
}

export interface RangeLimits {
  readonly zone: string;
  readonly daysMax: number;
  readonly nowMs: number;
}

/**
 * The range that `from` and `to` name, half open; without them the last 30 days. Throws a Problem that names the
 * parameter: PARAMETER_INVALID for a text that is no time, RANGE_INVALID for a range that is empty or too long.
 */
export function readRange(from: string | undefined, to: string | undefined, limits: RangeLimits): Range {
  const toMs = to === undefined ? limits.nowMs : timeOf('to', to, limits.zone);
  const fromMs = from === undefined ? toMs - DEFAULT_RANGE_DAYS * DAY_MS : timeOf('from', from, limits.zone);
  if (fromMs >= toMs) throw new Problem('RANGE_INVALID', 'from must be before to');
  // Whole local days can be an hour longer than their number of days, by summer time.
  if (toMs - fromMs > limits.daysMax * DAY_MS + 3_600_000) {
    throw new Problem('RANGE_INVALID', `from and to may be at most ${limits.daysMax} days apart`);
  }
  return { fromMs, toMs };
}

/** The bounds that a request with a cursor repeats must be those of its first page. */
export function isSameRange(
  { fromMs, toMs }: Range,
  { from, to }: { readonly from?: string; readonly to?: string },
  zone: string,
): boolean {
  return (
    (from === undefined || readTime(from, zone) === fromMs) &&
    (to === undefined || readTime(to, zone) === toMs)
  );
}

function timeOf(name: string, text: string, zone: string): number {
  const ms = readTime(text, zone);
  if (ms !== undefined) return ms;
  throw new Problem(
    'PARAMETER_INVALID',
    `${name}: must be a date (2026-03-01) or an ISO 8601 time (2026-03-01T08:00, 2026-03-01T08:00:00Z) from 1900 on`,
  );
}
