import type { ClickHouseClient } from '@clickhouse/client';
import { CdrhouseError } from '../schemas/errors.ts';
import { requireKnownFeed } from '../schemas/feed.ts';
import { expires, STORED_SETTINGS, TERM_COLUMNS } from '../schemas/migrations.ts';
import { monthsOf, type RetentionMonths } from '../schemas/retention-term.ts';
import type { Settings } from '../schemas/settings.ts';
import { sqlTime } from '../schemas/sql-time.ts';
import { withRetentionClient } from './clickhouse.ts';
import { exclusively } from './exclusive.ts';
import { knownFeeds } from './known-feeds.ts';
import { readTerms } from './migrate.ts';
import { readProofs } from './proofs.ts';

export interface ChangedTerm {
  /** Of this feed alone; null: of all. */
  readonly feed: string | null;
  readonly months_before: number;
  readonly months: number;
}

/**
 * Changes the term that the database has, of all calls, and with it the TTL of its tables, which stands a month behind; or
 * of a feed, which has no TTL of its own. Calls go with the next sweep, not now. Services that run keep the old term until
 * they are restarted, and refuse to start until their settings say the new one. Again = no change. Throws USAGE_WRONG where
 * a feed's were longer than that of all, FEED_UNKNOWN, SWEEP_UNFINISHED, RETENTION_BUSY.
 */
export function changeTerm(settings: Settings, months: number, feed?: string): Promise<ChangedTerm> {
  const { database } = settings.clickhouse;
  return exclusively(settings, () =>
    withRetentionClient(settings, async (client) => {
      const before = await readTerms(client, database);
      const begun = await readProofs(client, database, ['begun', 'counted']);
      if (begun.length > 0)
        throw new CdrhouseError('SWEEP_UNFINISHED', `of ${begun.map(({ month }) => month).join(', ')}`);
      if (feed !== undefined) {
        withFeedTerm(before, feed, months);
        // A feed may have calls that no settings name any more.
        requireKnownFeed(feed, await knownFeeds(client, settings));
        await storeTerm(client, database, STORED_SETTINGS.feedRetentionMonths + feed, months);
        return { feed, months_before: monthsOf(before, feed), months };
      }
      const store = (): Promise<void> => storeTerm(client, database, STORED_SETTINGS.retentionMonths, months);
      // Whatever is interrupted, the TTL never stands before the term.
      if (months < before.all) await store();
      await changeTtl(client, database, months);
      if (months >= before.all) await store();
      return { feed: null, months_before: before.all, months };
    }),
  );
}

/** The terms with another one of a feed. Throws USAGE_WRONG where it is longer than that of all. */
export function withFeedTerm({ all, feeds }: RetentionMonths, feed: string, months: number): RetentionMonths {
  if (months > all)
    throw new CdrhouseError(
      'USAGE_WRONG',
      `--months: all calls are kept for ${all} months, a feed's no longer`,
    );
  return { all, feeds: { ...feeds, [feed]: months } };
}

async function storeTerm(
  client: ClickHouseClient,
  database: string,
  name: string,
  months: number,
): Promise<void> {
  await client.insert({
    table: `${database}.settings`,
    values: [{ name, value: String(months), set_at: sqlTime(Date.now()) }],
    format: 'JSONEachRow',
    clickhouse_settings: { deduplicate_insert: 'disable' },
  });
}

/** The parts that there are learn it too, or a longer term would not save them. */
async function changeTtl(client: ClickHouseClient, database: string, months: number): Promise<void> {
  for (const [table, column] of Object.entries(TERM_COLUMNS)) {
    const alter = `ALTER TABLE ${database}.${table}`;
    // Only what a part knows of its TTL is written again, not its rows.
    await client.command({ query: `${alter} MODIFY SETTING materialize_ttl_recalculate_only = 1` });
    await client.command({
      query: `${alter} MODIFY ${expires(column, { retentionMonths: months })}`,
      clickhouse_settings: { materialize_ttl_after_modify: 1, mutations_sync: '0' },
    });
  }
}
