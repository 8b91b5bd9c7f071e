import type { ClickHouseClient } from '@clickhouse/client';
import { CdrhouseError } from '../schemas/errors.ts';
import { expires, STORED_SETTINGS, TERM_COLUMNS } from '../schemas/migrations.ts';
import type { Settings } from '../schemas/settings.ts';
import { sqlTime } from '../schemas/sql-time.ts';
import { withRetentionClient } from './clickhouse.ts';
import { exclusively } from './exclusive.ts';
import { storedTerm } from './migrate.ts';
import { readProofs } from './proofs.ts';

export interface ChangedTerm {
  readonly months_before: number;
  readonly months: number;
}

/**
 * Changes the term that the database has, and with it the TTL of its tables, which stands a month behind. Calls go with the
 * next sweep, not now. Services that run keep the old term until they are restarted, and refuse to start until their
 * settings say the new one. Again = no change. Throws SWEEP_UNFINISHED, RETENTION_BUSY.
 */
export function changeTerm(settings: Settings, months: number): Promise<ChangedTerm> {
  const { database } = settings.clickhouse;
  return exclusively(settings, () =>
    withRetentionClient(settings, async (client) => {
      const before = await storedTerm(client, database);
      const begun = await readProofs(client, database, ['begun', 'counted']);
      if (begun.length > 0)
        throw new CdrhouseError('SWEEP_UNFINISHED', `of ${begun.map(({ month }) => month).join(', ')}`);
      // Whatever is interrupted, the TTL never stands before the term.
      if (months < before) await storeTerm(client, database, months);
      await changeTtl(client, database, months);
      if (months >= before) await storeTerm(client, database, months);
      return { months_before: before, months };
    }),
  );
}

async function storeTerm(client: ClickHouseClient, database: string, months: number): Promise<void> {
  await client.insert({
    table: `${database}.settings`,
    values: [{ name: STORED_SETTINGS.retentionMonths, value: String(months), set_at: sqlTime(Date.now()) }],
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
