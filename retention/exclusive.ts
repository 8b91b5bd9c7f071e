import type { ClickHouseClient } from '@clickhouse/client';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorCode } from '../schemas/clickhouse-errors.ts';
import { CdrhouseError } from '../schemas/errors.ts';
import type { Settings } from '../schemas/settings.ts';
import { select, withRetentionClient } from './clickhouse.ts';

const DAY_MS = 86_400_000;
/** Longest that work may take, and that a lock outlives a holder whose end a proxy hides from the server. */
const LOCK_SECONDS_MAX = 43_200;
/** How often the server looks whether the holder is still there. */
const BEAT_SECONDS = 0.1;
const POLL_MS = 50;
const WAIT_MS_MAX = 60_000;
const ALREADY_RUNNING = '216';

/**
 * Does work that no other process may do on this database at the same time: sweep, hold, release, term, erase, rectify.
 *
 * The lock is a query that runs under an id of its own: the server refuses a second one with the same id, and ends it
 * when its client is gone, however that died, so nothing has to expire. Another holder is waited for.
 * @param work gets a signal that is aborted where the lock is lost (the server was restarted)
 * Throws RETENTION_BUSY.
 */
export async function exclusively<T>(
  settings: Settings,
  work: (lost: AbortSignal) => Promise<T>,
): Promise<T> {
  return withRetentionClient(
    settings,
    async (client) => {
      const { lost, release } = await acquire(client, settings.clickhouse.database);
      try {
        return await work(lost);
      } finally {
        await release();
      }
    },
    DAY_MS,
  );
}

interface Lock {
  readonly lost: AbortSignal;
  readonly release: () => Promise<void>;
}

async function acquire(client: ClickHouseClient, database: string): Promise<Lock> {
  const deadline = Date.now() + WAIT_MS_MAX;
  while (Date.now() < deadline) {
    const lock = await tryAcquire(client, `cdrhouse-retention-${database}`);
    if (lock !== undefined) return lock;
    await sleep(POLL_MS);
  }
  throw new CdrhouseError('RETENTION_BUSY', `it has not ended within ${WAIT_MS_MAX / 1000} s`);
}

/** Undefined where another one has it. */
async function tryAcquire(client: ClickHouseClient, id: string): Promise<Lock | undefined> {
  const mark = randomUUID();
  const release = new AbortController();
  const lost = new AbortController();
  const running = hold(client, { id, mark, signal: release.signal }).catch((error: unknown) => {
    lost.abort(new CdrhouseError('RETENTION_BUSY', `the lock was lost (code ${errorCode(error)})`, error));
    return error;
  });
  while (!lost.signal.aborted) {
    if (await isHeld(client, id, mark))
      return {
        lost: lost.signal,
        release: async () => {
          // Closing the connection would do, unless a proxy is between that keeps its own.
          await client
            .command({
              // It takes no bound parameters; both texts are of our own making. Not SYNC: that cancels by the id alone until
              // none is left, and would end the lock of who comes next.
              query: `KILL QUERY WHERE query_id = '${id}' AND position(query, '${mark}') > 0 ASYNC`,
            })
            .catch(() => undefined);
          release.abort();
          await running;
        },
      };
    await sleep(POLL_MS);
  }
  const failure = await running;
  if (errorCode(failure) === ALREADY_RUNNING) return undefined;
  throw failure;
}

/** Runs the query that is the lock; ends with an error only. */
async function hold(
  client: ClickHouseClient,
  { id, mark, signal }: { readonly id: string; readonly mark: string; readonly signal: AbortSignal },
): Promise<never> {
  await client.command({
    query: `SELECT '${mark}', sleepEachRow(${BEAT_SECONDS}) FROM numbers(${LOCK_SECONDS_MAX / BEAT_SECONDS}) FORMAT Null`,
    query_id: id,
    clickhouse_settings: {
      readonly: '2',
      cancel_http_readonly_queries_on_client_close: 1,
      max_block_size: '1',
      max_execution_time: 0,
    },
    abort_signal: signal,
  });
  throw new Error('the lock has ended by itself');
}

/** True where the query of this lock runs, not that of another holder. */
async function isHeld(client: ClickHouseClient, id: string, mark: string): Promise<boolean> {
  const [row] = await select<{ running: number }>(
    client,
    'SELECT count() AS running FROM system.processes WHERE query_id = {id: String} AND position(query, {mark: String}) > 0',
    { id, mark },
  );
  return row!.running > 0;
}
