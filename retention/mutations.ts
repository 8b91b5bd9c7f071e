import type { ClickHouseClient } from '@clickhouse/client';
import { setTimeout as sleep } from 'node:timers/promises';
import { CdrhouseError, type ProgramErrorCode } from '../schemas/errors.ts';
import { select } from './clickhouse.ts';

const POLL_MS = 100;
const MUTATION_MS_MAX = 6 * 3_600_000;

export interface RunningMutations {
  readonly database: string;
  readonly table: string;
  /** A part of their commands by which they are found among those of the table. */
  readonly mark: string;
  /** The code that is thrown where one fails, or takes too long. */
  readonly failure: ProgramErrorCode;
  /** Aborted where they must not be waited for any more; undefined: never. */
  readonly lost?: AbortSignal | undefined;
}

/** Waits until none of these mutations is under way any more. */
export async function untilMutated(
  client: ClickHouseClient,
  { database, table, mark, failure, lost }: RunningMutations,
): Promise<void> {
  const deadline = Date.now() + MUTATION_MS_MAX;
  for (;;) {
    const [row] = await select<{ running: number; failing: number }>(
      client,
      `SELECT count() AS running, countIf(latest_fail_reason != '') AS failing FROM system.mutations
       WHERE database = {database: String} AND table = {table: String} AND NOT is_done
         AND position(command, {mark: String}) > 0`,
      { database, table, mark },
    );
    if (row!.running === 0) return;
    if (row!.failing > 0 || Date.now() > deadline)
      throw new CdrhouseError(failure, `a change of ${table} fails (system.mutations)`);
    lost?.throwIfAborted();
    await sleep(POLL_MS);
  }
}
