import type { ClickHouseClient } from '@clickhouse/client';
import { CdrhouseError } from '../schemas/errors.ts';
import { select } from './clickhouse.ts';

const DAY_MS = 86_400_000;
/** Hosts that keep their clocks by the network differ by far less. */
const DIFFERENCE_MS_MAX = 300_000;

/** What the moment by which calls are judged overdue is compared with; UTC ms. */
export interface ClockReadings {
  readonly hostMs: number;
  readonly databaseMs: number;
  /** When the newest row of the ledger was stored; undefined: there is none. */
  readonly ledgerMs: number | undefined;
  /** Newest Kafka timestamp or start of a call: clocks of others. Undefined: there is none. */
  readonly recordMs: number | undefined;
}

/**
 * Why the database's clock must not decide what is overdue, or undefined. A clock that is ahead would take calls away
 * before their time; all of one site can be ahead together, which only the records of others show.
 */
export function clockFault(
  { hostMs, databaseMs, ledgerMs, recordMs }: ClockReadings,
  silenceDaysMax: number,
): string | undefined {
  if (Math.abs(databaseMs - hostMs) > DIFFERENCE_MS_MAX)
    return `the database says ${shown(databaseMs)}, this host ${shown(hostMs)}`;
  if (ledgerMs !== undefined && ledgerMs > databaseMs + DIFFERENCE_MS_MAX)
    return `the database says ${shown(databaseMs)}, the newest row of the ledger was stored at ${shown(ledgerMs)}`;
  if (recordMs !== undefined && databaseMs - recordMs > silenceDaysMax * DAY_MS)
    return `the database says ${shown(databaseMs)}, the newest record is of ${shown(recordMs)}`;
  return undefined;
}

function shown(ms: number): string {
  return new Date(ms).toISOString();
}

/** Of no rows the maximum is 1970. */
function known(ms: number | undefined): number | undefined {
  return ms === undefined || ms <= 0 ? undefined : ms;
}

/**
 * Throws CLOCK_WRONG; gives the database's time, UTC ms.
 * @param silenceDaysMax Infinity where the clock is trusted though nothing was sent for long
 */
export async function checkClock(
  client: ClickHouseClient,
  database: string,
  silenceDaysMax: number,
): Promise<number> {
  const askedMs = Date.now();
  const [now] = await select<{ ms: number }>(client, 'SELECT toUnixTimestamp64Milli(now64(3)) AS ms');
  const hostMs = Math.round((askedMs + Date.now()) / 2);
  // The server keeps the bounds of starts for each part; the ledger is small.
  const [newest] = await select<{ ledger: number; message: number; start: number }>(
    client,
    `SELECT (SELECT toUnixTimestamp64Milli(max(stored_at)) FROM ${database}.ingest_ledger) AS ledger,
      (SELECT toUnixTimestamp64Milli(max(message_at_max)) FROM ${database}.ingest_ledger) AS message,
      (SELECT toUnixTimestamp64Milli(max(start_at)) FROM ${database}.cdr) AS start`,
  );
  const databaseMs = now!.ms;
  const fault = clockFault(
    {
      hostMs,
      databaseMs,
      ledgerMs: known(newest?.ledger),
      recordMs: known(Math.max(newest?.message ?? 0, newest?.start ?? 0)),
    },
    silenceDaysMax,
  );
  if (fault !== undefined) throw new CdrhouseError('CLOCK_WRONG', fault);
  return databaseMs;
}
