import type { ClickHouseClient } from '@clickhouse/client';
import { randomUUID } from 'node:crypto';
import { CdrhouseError } from '../schemas/errors.ts';
import type { Settings } from '../schemas/settings.ts';
import { sqlTime } from '../schemas/sql-time.ts';
import { select, withRetentionClient } from './clickhouse.ts';
import { exclusively } from './exclusive.ts';
import { coverHold } from './held-calls.ts';
import { storedSettings } from './migrate.ts';

/** A hold as it is asked for; times in UTC ms. */
export interface NewHold {
  /** Undefined: a new one. Made again with an id that there is, it stays as it is. */
  readonly holdId?: string;
  /** As they are stored in the calls, in any role. */
  readonly numbers: readonly string[];
  /** Calls of these feeds only; undefined: of all. */
  readonly feeds?: readonly string[] | undefined;
  /** Starts `[from, to)`. */
  readonly fromMs: number;
  readonly toMs: number;
  readonly reason: string;
  readonly untilMs: number;
}

/** A hold as `holds` lists it; times are UTC. */
export interface ListedHold {
  readonly hold_id: string;
  readonly state: 'in force' | 'over' | 'released';
  readonly numbers: readonly string[];
  /** None: of all. */
  readonly feeds: readonly string[];
  readonly from_at: string;
  readonly to_at: string;
  readonly until_at: string;
  readonly reason: string;
  readonly created_at: string;
  readonly released_at: string | null;
  readonly release_reason: string;
  /** Copies that are kept now. */
  readonly calls: number;
}

type HoldRow = Omit<ListedHold, 'state' | 'calls'> & { readonly version: number };

/**
 * Makes a hold and copies what it is for, before a sweep can take any of it. Throws USAGE_WRONG, RETENTION_BUSY.
 * @returns its id, and how many calls are held now
 */
export async function createHold(
  settings: Settings,
  { holdId = randomUUID(), numbers, feeds = [], fromMs, toMs, reason, untilMs }: NewHold,
): Promise<{ hold_id: string; calls: number }> {
  if (fromMs >= toMs) throw new CdrhouseError('USAGE_WRONG', '--from must be before --to');
  if (untilMs <= Date.now()) throw new CdrhouseError('USAGE_WRONG', '--until must be in the future');
  const calls = await withHolds(settings, async (client, database) => {
    await insert(client, database, {
      hold_id: holdId,
      numbers: [...new Set(numbers)],
      feeds,
      from_at: sqlTime(fromMs),
      to_at: sqlTime(toMs),
      until_at: sqlTime(untilMs),
      reason,
      created_at: sqlTime(Date.now()),
      released_at: null,
      release_reason: '',
      version: 1,
    });
    return coverHold(client, database, holdId, 'true');
  });
  return { hold_id: holdId, calls };
}

/** Ends a hold; its copies go with the next sweep. Throws HOLD_UNKNOWN, RETENTION_BUSY. */
export async function releaseHold(settings: Settings, holdId: string, reason: string): Promise<void> {
  if ((await releaseHolds(settings, [holdId], reason)) === 0)
    throw new CdrhouseError('HOLD_UNKNOWN', `there is no hold ${holdId} that is not released`);
}

/** Ends those of these holds that are not released; gives how many. Throws RETENTION_BUSY. */
export function releaseHolds(settings: Settings, ids: readonly string[], reason: string): Promise<number> {
  return withHolds(settings, async (client, database) => {
    const holds = (await readHolds(client, database)).filter(
      ({ hold_id, released_at }) => ids.includes(hold_id) && released_at === null,
    );
    const released = { released_at: sqlTime(Date.now()), release_reason: reason };
    for (const hold of holds)
      await insert(client, database, { ...hold, ...released, version: hold.version + 1 });
    return holds.length;
  });
}

/** All holds, the released ones too, the oldest first. */
export function listHolds(settings: Settings): Promise<ListedHold[]> {
  const { database } = settings.clickhouse;
  return withRetentionClient(settings, async (client) => {
    const kept = await select<{ hold_id: string; calls: number }>(
      client,
      `SELECT hold_id, count() AS calls FROM ${database}.cdr_held FINAL GROUP BY hold_id`,
    );
    const calls = new Map(kept.map((row) => [row.hold_id, row.calls]));
    const now = sqlTime(Date.now());
    return (await readHolds(client, database)).map(({ version: _version, ...hold }) => ({
      ...hold,
      state: hold.released_at !== null ? 'released' : hold.until_at <= now ? 'over' : 'in force',
      calls: calls.get(hold.hold_id) ?? 0,
    }));
  });
}

function withHolds<T>(
  settings: Settings,
  work: (client: ClickHouseClient, database: string) => Promise<T>,
): Promise<T> {
  return exclusively(settings, () =>
    withRetentionClient(settings, async (client) => {
      await storedSettings(client, settings);
      return work(client, settings.clickhouse.database);
    }),
  );
}

function readHolds(client: ClickHouseClient, database: string): Promise<HoldRow[]> {
  const times = ['from_at', 'to_at', 'until_at', 'created_at'].map((name) => `toString(${name}) AS ${name}`);
  return select<HoldRow>(
    client,
    `SELECT hold_id, numbers, feeds, ${times.join(', ')}, reason, toString(released_at) AS released_at, release_reason, version
     FROM ${database}.legal_holds FINAL ORDER BY legal_holds.created_at, hold_id`,
  );
}

async function insert(client: ClickHouseClient, database: string, hold: HoldRow): Promise<void> {
  await client.insert({ table: `${database}.legal_holds`, values: [hold], format: 'JSONEachRow' });
}
