import type { ClickHouseClient } from '@clickhouse/client';
import { randomBytes } from 'node:crypto';
import { CdrhouseError } from '../schemas/errors.ts';
import {
  CLICKHOUSE_VERSION_MIN,
  MIGRATIONS,
  migrationsTable,
  SCHEMA_VERSION,
  settingsTable,
  STORED_SETTINGS,
} from '../schemas/migrations.ts';
import { monthsOf, type RetentionMonths } from '../schemas/retention-term.ts';
import type { Settings } from '../schemas/settings.ts';
import { sqlTime } from '../schemas/sql-time.ts';
import {
  checkSchemaVersion,
  checkTermOfAll,
  checkTerms,
  readStoredSettings,
  storedTerms,
  termsOf,
  type StoredSettings,
} from '../schemas/stored-settings.ts';
import { select } from './clickhouse.ts';

export interface MigrationReport {
  /** Numbers and titles of what ran now; empty where nothing had to be done. */
  readonly applied: readonly string[];
  readonly schemaVersion: number;
}

/**
 * Creates or upgrades the tables and stores the database's own settings (keys, retention terms). Running it
 * again changes nothing. Throws CLICKHOUSE_TOO_OLD, SCHEMA_TOO_NEW, RETENTION_DIFFERS.
 */
export async function migrateDatabase(
  client: ClickHouseClient,
  settings: Settings,
  programVersion: string,
): Promise<MigrationReport> {
  await checkServerVersion(client);
  const { database } = settings.clickhouse;
  const context = { database, retentionMonths: settings.retention.months };
  await client.command({ query: `CREATE DATABASE IF NOT EXISTS ${database}` });
  await client.command({ query: migrationsTable(database) });
  const before = await newestMigration(client, database);
  if (before > SCHEMA_VERSION) checkSchemaVersion(before);
  await client.command({ query: settingsTable(database) });
  // Before the tables, whose TTL is made from the term.
  await storeSettings(client, settings);
  const applied: string[] = [];
  for (const migration of MIGRATIONS.filter(({ number }) => number > before)) {
    for (const query of migration.statements(context)) await client.command({ query });
    await client.insert({
      table: `${database}.schema_migrations`,
      values: [
        {
          number: migration.number,
          title: migration.title,
          program_version: programVersion,
          applied_at: sqlTime(Date.now()),
        },
      ],
      format: 'JSONEachRow',
    });
    applied.push(`${migration.number} ${migration.title}`);
  }
  await storeFeedTerms(client, settings);
  return { applied, schemaVersion: Math.max(before, SCHEMA_VERSION) };
}

/** What `migrate` stored. Throws SCHEMA_MISSING, SCHEMA_TOO_NEW, RETENTION_DIFFERS. */
export async function storedSettings(client: ClickHouseClient, settings: Settings): Promise<StoredSettings> {
  const { database } = settings.clickhouse;
  return readStoredSettings(
    await readSettingsTable(client, database),
    await newestMigration(client, database),
    settings,
  );
}

/** The terms that the database has, whatever the settings say. Throws SCHEMA_MISSING, SCHEMA_TOO_NEW. */
export async function readTerms(client: ClickHouseClient, database: string): Promise<RetentionMonths> {
  checkSchemaVersion(await newestMigration(client, database));
  return storedTerms(await readSettingsTable(client, database));
}

async function checkServerVersion(client: ClickHouseClient): Promise<void> {
  const [row] = await select<{ version: string }>(client, 'SELECT version() AS version');
  const version = row?.version ?? '';
  if (compareVersions(version, CLICKHOUSE_VERSION_MIN) < 0) {
    throw new CdrhouseError(
      'CLICKHOUSE_TOO_OLD',
      `the server is ClickHouse ${version}; ${CLICKHOUSE_VERSION_MIN} or newer is needed`,
    );
  }
}

/** Negative where version a is older than b; only the numbers that b has are compared. */
export function compareVersions(a: string, b: string): number {
  const numbersA = a.split('.').map(Number);
  for (const [index, number] of b.split('.').map(Number).entries()) {
    const difference = (numbersA[index] ?? 0) - number;
    if (difference !== 0) return difference;
  }
  return 0;
}

async function newestMigration(client: ClickHouseClient, database: string): Promise<number> {
  const [row] = await select<{ number: number }>(
    client,
    `SELECT max(number) AS number FROM ${database}.schema_migrations`,
  );
  return row?.number ?? 0;
}

/** Stores the keys and the term that are not there yet. Throws RETENTION_DIFFERS. */
async function storeSettings(
  client: ClickHouseClient,
  { clickhouse: { database }, retention: { months } }: Settings,
): Promise<void> {
  const before = await readSettingsTable(client, database);
  const first = {
    [STORED_SETTINGS.retentionMonths]: String(months),
    [STORED_SETTINGS.identityKey]: randomBytes(32).toString('hex'),
    [STORED_SETTINGS.journalKey]: randomBytes(32).toString('hex'),
  };
  for (const [name, value] of Object.entries(first))
    if (!before.has(name)) await storeFirst(client, database, name, value);
  checkTermOfAll(months, storedTerms(await readSettingsTable(client, database)));
}

/**
 * Stores terms of feeds of which nothing was read yet. Where something was, a shorter term takes calls away, which is an
 * operator's to say (`retention term`): RETENTION_DIFFERS.
 */
async function storeFeedTerms(client: ClickHouseClient, settings: Settings): Promise<void> {
  const { database } = settings.clickhouse;
  const wanted = termsOf(settings);
  const stored = await readTerms(client, database);
  for (const feed of Object.keys(wanted.feeds)) {
    if (monthsOf(wanted, feed) === monthsOf(stored, feed)) continue;
    if (await isRead(client, database, feed)) continue;
    const name = STORED_SETTINGS.feedRetentionMonths + feed;
    await storeFirst(client, database, name, String(wanted.feeds[feed]));
  }
  checkTerms(settings, await readTerms(client, database));
}

/** Whether the ledger knows the feed, so that there may be calls of it. */
async function isRead(client: ClickHouseClient, database: string, feed: string): Promise<boolean> {
  const [row] = await select<{ ranges: number }>(
    client,
    `SELECT count() AS ranges FROM ${database}.ingest_ledger WHERE feed = {feed: String}`,
    { feed },
  );
  return row!.ranges > 0;
}

/** Where several migrate an empty database at once, the first value of each name is the one that all of them keep. */
async function storeFirst(
  client: ClickHouseClient,
  database: string,
  name: string,
  value: string,
): Promise<void> {
  await client.insert({
    table: `${database}.settings`,
    values: [{ name, value, set_at: sqlTime(Date.now()) }],
    format: 'JSONEachRow',
    // An insert whose token the table knows is acknowledged and not stored. Asynchronous ones would not look.
    clickhouse_settings: {
      async_insert: 0,
      deduplicate_insert: 'enable',
      insert_deduplication_token: `first ${name}`,
    },
  });
}

/** What the table `settings` holds, by name. */
export async function readSettingsTable(
  client: ClickHouseClient,
  database: string,
): Promise<Map<string, string>> {
  const rows = await select<{ name: string; value: string }>(
    client,
    `SELECT name, value FROM ${database}.settings FINAL`,
  );
  return new Map(rows.map(({ name, value }) => [name, value]));
}
