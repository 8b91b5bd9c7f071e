import type { ClickHouseClient } from '@clickhouse/client';
import { hasRecordIds } from '../schemas/feed.ts';
import { sqlTime } from '../schemas/sql-time.ts';
import type { FeedSettings } from '../schemas/settings.ts';
import { SORTING_KEYS } from '../schemas/tables.ts';
import { select } from './clickhouse.ts';

/** Conflicts of which the places are told, of each feed and kind. */
const SHOWN_MAX = 20;
/** Bytes of a grouping beyond which the server puts it on disk. */
const GROUPING_BYTES_MAX = 300_000_000;
const SETTINGS = {
  do_not_merge_across_partitions_select_final: 1,
  max_bytes_before_external_group_by: String(GROUPING_BYTES_MAX),
} as const;

/**
 * How records with one id of the switch differ. `two_calls`: in their start or calling number, so that both are
 * stored, and both count. `other_content`: in anything else, so that the first alone is read; found while the other
 * one is not merged away yet.
 */
const CONFLICT_KINDS = ['two_calls', 'other_content'] as const;
export type ConflictKind = (typeof CONFLICT_KINDS)[number];

/** Ids of a feed under which more than one record was sent. */
export interface Conflicts {
  readonly feed: string;
  readonly kind: ConflictKind;
  readonly ids: number;
  /** Of the first of them, where their records stood in Kafka: partition/offset/line, the first stored first. */
  readonly places: readonly (readonly string[])[];
}

/** Feeds whose records have an id of the switch: only theirs can be in conflict. */
export function feedsWithIds(feeds: readonly FeedSettings[]): FeedSettings[] {
  return feeds.filter(hasRecordIds);
}

/**
 * Looks for conflicts among all stored calls of these feeds: passes over their keys (docs/decisions/0013). How many there
 * are is noted for `/v1/feeds`, of feeds without any too.
 * @param feeds names, those that a feed had before as well
 */
export async function findConflicts(
  client: ClickHouseClient,
  database: string,
  feeds: readonly string[],
): Promise<Conflicts[]> {
  if (feeds.length === 0) return [];
  const lookedAt = sqlTime(Date.now());
  const found: Conflicts[] = [];
  for (const kind of CONFLICT_KINDS) {
    const rows = await select<{ feed: string; ids: number; shown: string[] }>(
      client,
      `SELECT of_feed AS feed, uniqExact(cdr_key) AS ids, groupUniqArray(${SHOWN_MAX})(toString(cdr_key)) AS shown
      FROM (${IDS[kind](`${database}.cdr`)}) GROUP BY feed ORDER BY feed`,
      { feeds },
      SETTINGS,
    );
    for (const { feed, ids, shown } of rows)
      found.push({ feed, kind, ids, places: await placesOf(client, database, kind, feed, shown) });
  }
  const idsOf = (feed: string, kind: ConflictKind): number =>
    found.find((each) => each.feed === feed && each.kind === kind)?.ids ?? 0;
  await client.insert({
    table: `${database}.audited_conflicts`,
    values: feeds.map((feed) => ({
      feed,
      two_calls: idsOf(feed, 'two_calls'),
      other_content: idsOf(feed, 'other_content'),
      looked_at: lookedAt,
    })),
    format: 'JSONEachRow',
  });
  return found;
}

/** Digest of what is no part of the sorting key. */
const CONTENT =
  'cityHash64(displayed_caller_id, dialed_number, duration_ms, ifNull(talk_ms, 4294967295), outcome, direction, account)';

/** Statements that give the name of the feed and `cdr_key` of each conflict; the key has the feed in it. */
const IDS: Readonly<Record<ConflictKind, (table: string) => string>> = {
  two_calls: (table) => `SELECT any(feed) AS of_feed, cdr_key FROM ${table} FINAL
    WHERE feed IN {feeds: Array(String)} GROUP BY cdr_key HAVING count() > 1`,
  // Contents are compared where there are several rows only. What a correction replaced differs from what replaced
  // it, and is no conflict.
  other_content: (table) => `SELECT any(feed) AS of_feed, cdr_key FROM ${table}
    WHERE feed IN {feeds: Array(String)} AND is_deleted = 0 AND cdr_key IN (
      SELECT cdr_key FROM ${table} WHERE feed IN {feeds: Array(String)} AND is_deleted = 0
      GROUP BY cdr_key HAVING count() > 1)
    GROUP BY ${SORTING_KEYS.cdr}, bitShiftRight(version, 32)
    HAVING min(${CONTENT}) != max(${CONTENT})`,
};

async function placesOf(
  client: ClickHouseClient,
  database: string,
  kind: ConflictKind,
  feed: string,
  keys: readonly string[],
): Promise<string[][]> {
  const rows = await select<{ places: string[] }>(
    client,
    `SELECT arrayMap(row -> concat(toString(row.2), '/', toString(row.3), '/', toString(row.4)),
        arraySort(groupUniqArray((stored_at, source_partition, source_offset, source_line)))) AS places
    FROM ${database}.cdr ${kind === 'two_calls' ? 'FINAL' : ''}
    WHERE feed = {feed: String} AND is_deleted = 0 AND cdr_key IN (SELECT toUInt64(arrayJoin({keys: Array(String)})))
    GROUP BY cdr_key ORDER BY places`,
    { feed, keys },
    SETTINGS,
  );
  return rows.map(({ places }) => places);
}
