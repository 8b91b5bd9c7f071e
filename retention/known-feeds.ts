import type { ClickHouseClient } from '@clickhouse/client';
import type { Settings } from '../schemas/settings.ts';
import { select } from './clickhouse.ts';

/** Every feed that calls can be of: those of the settings and of the ledger. */
export async function knownFeeds(
  client: ClickHouseClient,
  { feeds, clickhouse }: Settings,
): Promise<string[]> {
  const rows = await select<{ feed: string }>(
    client,
    `SELECT DISTINCT feed FROM ${clickhouse.database}.ingest_ledger`,
  );
  return [...new Set([...feeds.map(({ name }) => name), ...rows.map(({ feed }) => feed)])].sort();
}
