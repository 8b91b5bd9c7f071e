import type { ClickHouseClient } from '@clickhouse/client';
import { setTimeout as sleep } from 'node:timers/promises';
import { CdrhouseError } from '../schemas/errors.ts';
import { WRITER_LEASE_MS } from '../schemas/suppressions.ts';
import { runningInsertsSql, STILL_RUNNING_SQL } from '../schemas/tables.ts';
import { select } from './clickhouse.ts';

/** Deadlines are whole seconds, and clocks drift. */
const MARGIN_MS = 2000;
const POLL_MS = 200;
/** A writer that waits for the database that long will not be waited for: the command is called again. */
const WAIT_MS_MAX = 600_000;

/**
 * Waits until nothing can be stored any more that was parsed with older suppressions than this version: until every
 * writer says that it works with newer ones, or has said nothing for so long that the server refuses what it writes;
 * and until the inserts that run then have ended. Throws ERASURE_WAITS.
 */
export async function outwaitWriters(
  client: ClickHouseClient,
  database: string,
  version: number,
): Promise<void> {
  await untilNone(async () => {
    const [row] = await select<{ writers: number }>(
      client,
      `SELECT count() AS writers FROM ${database}.ingest_writers FINAL
      WHERE NOT ended AND suppressions_version < {version: UInt64}
        AND reported_at > now64(3) - toIntervalMillisecond(${WRITER_LEASE_MS + MARGIN_MS})`,
      { version },
    );
    return row?.writers ?? 0;
  }, 'ingest processes that work with older suppressions');
  await outwaitInserts(client, database);
}

/** Waits until the inserts of calls and dead letters that run now have ended. Throws ERASURE_WAITS. */
export async function outwaitInserts(client: ClickHouseClient, database: string): Promise<void> {
  const running = await select<{ id: string }>(client, runningInsertsSql(database));
  const ids = running.map(({ id }) => id);
  if (ids.length === 0) return;
  await untilNone(async () => {
    const [row] = await select<{ running: number }>(client, STILL_RUNNING_SQL, { ids });
    return row?.running ?? 0;
  }, 'inserts');
}

/** Waits until `count` gives 0. Throws ERASURE_WAITS. */
export async function untilNone(count: () => Promise<number>, what: string): Promise<void> {
  const deadline = Date.now() + WAIT_MS_MAX;
  for (;;) {
    const left = await count();
    if (left === 0) return;
    if (Date.now() > deadline)
      throw new CdrhouseError('ERASURE_WAITS', `${left} ${what} after ${WAIT_MS_MAX / 1000} s`);
    await sleep(POLL_MS);
  }
}
