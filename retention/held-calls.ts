import type { ClickHouseClient } from '@clickhouse/client';
import { CdrhouseError } from '../schemas/errors.ts';
import { moment } from '../schemas/sql-time.ts';
import { callTableColumns, FINAL_SETTINGS, SORTING_KEYS } from '../schemas/tables.ts';
import { select } from './clickhouse.ts';
import { ANY_SIZE } from './sweep-sql.ts';

/** Columns of a call that are kept. */
const COLUMNS = callTableColumns('cdr');
/** What a copy is known by: a call that was corrected since is copied once more, and the newer row counts. */
const COPY = `${SORTING_KEYS.cdr}, version`;

/** Which calls are looked for. */
export interface HeldSearch {
  /** UTC ms: holds in force at this moment. */
  readonly nowMs: number;
  /** Of these rows of `cdr`. */
  readonly condition: string;
}

/** Condition of the rows of `cdr` that a hold is for; its numbers stay in its row, and out of the statement. */
function heldCondition(database: string): string {
  const hold = (column: string): string =>
    `(SELECT ${column} FROM ${database}.legal_holds FINAL WHERE hold_id = {id: String})`;
  const numbers = hold('arrayJoin(numbers)');
  return `start_at >= ${hold('from_at')} AND start_at < ${hold('to_at')}
  AND (empty(${hold('feeds')}) OR has(${hold('feeds')}, feed))
  AND (calling_number IN ${numbers} OR displayed_caller_id IN ${numbers} OR dialed_number IN ${numbers})`;
}

/** Ids of the holds in force at a moment. */
async function holdsInForce(client: ClickHouseClient, database: string, nowMs: number): Promise<string[]> {
  const rows = await select<{ hold_id: string }>(
    client,
    `SELECT hold_id FROM ${database}.legal_holds FINAL
     WHERE released_at IS NULL AND until_at > ${moment('now')} ORDER BY hold_id`,
    { now: nowMs },
  );
  return rows.map(({ hold_id }) => hold_id);
}

/** Counts copies of holds that have ended, of the rows that a condition holds for; the next sweep drops them. */
export function endedCopiesSql(database: string, condition: string): string {
  return `SELECT count() AS rows FROM ${database}.cdr_held WHERE ${condition}
  AND hold_id NOT IN (SELECT hold_id FROM ${database}.legal_holds FINAL WHERE released_at IS NULL AND until_at > now64(3))`;
}

/**
 * Copies to `cdr_held` what any hold in force is for, and gives how many calls its copies hold of it. Throws
 * SWEEP_UNPROVEN where a call is not found there afterwards.
 */
export async function coverHeld(
  client: ClickHouseClient,
  database: string,
  search: HeldSearch,
): Promise<number> {
  let held = 0;
  for (const id of await holdsInForce(client, database, search.nowMs))
    held += await coverHold(client, database, id, search.condition);
  return held;
}

/** The same for one hold. */
export async function coverHold(
  client: ClickHouseClient,
  database: string,
  id: string,
  condition: string,
): Promise<number> {
  const found = `FROM ${database}.cdr FINAL WHERE ${condition} AND ${heldCondition(database)}`;
  const copies = `(SELECT ${COPY} FROM ${database}.cdr_held WHERE hold_id = {id: String})`;
  await client.command({
    query: `INSERT INTO ${database}.cdr_held (hold_id, ${COLUMNS})
      SELECT {id: String}, ${COLUMNS} ${found} AND (${COPY}) NOT IN ${copies}`,
    query_params: { id },
    clickhouse_settings: FINAL_SETTINGS,
  });
  const [row] = await select<{ calls: number; missing: number }>(
    client,
    `SELECT count() AS calls, countIf((${COPY}) NOT IN ${copies}) AS missing ${found}`,
    { id },
    FINAL_SETTINGS,
  );
  if (row!.missing > 0)
    throw new CdrhouseError('SWEEP_UNPROVEN', `${row!.missing} call(s) of hold ${id} are not in cdr_held`);
  return row!.calls;
}

/** Drops the copies of holds that are released or over, and gives their ids. */
export async function dropEndedHolds(
  client: ClickHouseClient,
  database: string,
  nowMs: number,
): Promise<string[]> {
  const inForce = await holdsInForce(client, database, nowMs);
  const kept = await select<{ hold_id: string }>(
    client,
    `SELECT DISTINCT hold_id FROM ${database}.cdr_held ORDER BY hold_id`,
  );
  const ended = kept.map(({ hold_id }) => hold_id).filter((id) => !inForce.includes(id));
  for (const id of ended) {
    // Ids are made by us: letters, digits and dashes.
    await client.command({ query: `ALTER TABLE ${database}.cdr_held DROP PARTITION '${id}'${ANY_SIZE}` });
  }
  return ended;
}
