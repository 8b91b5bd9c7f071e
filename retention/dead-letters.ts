import type { ClickHouseClient } from '@clickhouse/client';
import {
  deadLettersSql,
  readPlace,
  type DeadLetterFilter,
  type DeadLetterState,
} from '../schemas/dead-letters.ts';
import { CdrhouseError } from '../schemas/errors.ts';
import { requireKnownFeed } from '../schemas/feed.ts';
import type { Settings } from '../schemas/settings.ts';
import { select, withRetentionClient } from './clickhouse.ts';

/** A rejected record without its content. */
export interface DeadLetter {
  /** topic/partition/offset/line */
  readonly place: string;
  readonly feed: string;
  readonly code: string;
  readonly field: string;
  readonly position: number;
  readonly message_at: string;
  readonly rejected_at: string;
  readonly state: DeadLetterState;
}

/** How many rejected records there are of a kind. */
export interface DeadLetterCount {
  readonly feed: string;
  readonly code: string;
  readonly state: DeadLetterState;
  readonly count: number;
}

const PLACE = "concat(topic, '/', toString(partition), '/', toString(offset), '/', toString(line)) AS place";
const COLUMNS = `${PLACE}, feed, code, field, position, toString(message_at) AS message_at, toString(letters.rejected_at) AS rejected_at, state`;

/** The newest rejected records of a filter, at most `limit`, and how many there are in all. Throws FEED_UNKNOWN. */
export function listDeadLetters(
  settings: Settings,
  filter: DeadLetterFilter,
  limit: number,
): Promise<{ letters: DeadLetter[]; total: number }> {
  return withRetentionClient(settings, async (client) => {
    await requireKnown(client, settings, filter.feed);
    const { from, parameters } = deadLettersSql(settings.clickhouse.database, filter);
    const letters = await select<DeadLetter>(
      client,
      `SELECT ${COLUMNS} FROM ${from} AS letters ORDER BY letters.rejected_at DESC, place LIMIT {limit: UInt32}`,
      { ...parameters, limit },
    );
    if (letters.length < limit) return { letters, total: letters.length };
    const [all] = await select<{ total: number }>(client, `SELECT count() AS total FROM ${from}`, parameters);
    return { letters, total: all?.total ?? letters.length };
  });
}

/** Counts of the rejected records of a filter by feed, code and state, most first. Throws FEED_UNKNOWN. */
export function countDeadLetters(settings: Settings, filter: DeadLetterFilter): Promise<DeadLetterCount[]> {
  return withRetentionClient(settings, async (client) => {
    await requireKnown(client, settings, filter.feed);
    const { from, parameters } = deadLettersSql(settings.clickhouse.database, filter);
    return select<DeadLetterCount>(
      client,
      `SELECT feed, code, state, count() AS count FROM ${from}
      GROUP BY feed, code, state ORDER BY count DESC, feed, code, state`,
      parameters,
    );
  });
}

/** One rejected record with its bytes: as text where they are UTF-8, else as hexadecimal. Throws USAGE_WRONG. */
export function showDeadLetter(settings: Settings, place: string): Promise<object> {
  const filter = { place: readPlace(place) };
  return withRetentionClient(settings, async (client) => {
    const { from, parameters } = deadLettersSql(settings.clickhouse.database, filter);
    const rows = await select<DeadLetter & { raw: string; raw_hex: string }>(
      client,
      `SELECT ${COLUMNS},
        if(replay_generation = 0, NULL, toString(fromUnixTimestamp64Milli(toInt64(replay_generation), 'UTC'))) AS replayed_at,
        if(isValidUTF8(letters.raw), letters.raw, '') AS raw, if(isValidUTF8(letters.raw), '', hex(letters.raw)) AS raw_hex
      FROM ${from} AS letters ORDER BY letters.rejected_at DESC`,
      parameters,
    );
    if (rows.length === 0)
      throw new CdrhouseError('USAGE_WRONG', 'there is no rejected record at this place');
    return rows[0]!;
  });
}

/** A feed that left the settings may still have dead letters. */
async function requireKnown(
  client: ClickHouseClient,
  { feeds, clickhouse }: Settings,
  feed: string | undefined,
): Promise<void> {
  const configured = feeds.map(({ name }) => name);
  if (feed === undefined || configured.includes(feed)) return;
  const query = `SELECT DISTINCT feed FROM ${clickhouse.database}.dead_letters`;
  const rejected = await select<{ feed: string }>(client, query, {});
  requireKnownFeed(feed, [...configured, ...rejected.map((row) => row.feed)]);
}
