import { STORED_SETTINGS } from '../schemas/migrations.ts';
import { CALL_TABLES } from '../schemas/tables.ts';
import { runCdrhouse } from './cdrhouse-run.ts';
import type { Place } from './competitor.ts';
import { IDENTITY_KEY } from './packed-batches.ts';

/** The tables that a competitor fills. */
export interface CallStore {
  /** `both tables`: those of cdrhouse. `one table`: the least that a system for calls has. */
  readonly name: 'both tables' | 'one table';
  /** Each holds every call. */
  readonly tables: readonly string[];
  /** What a read needs so that a call that was stored twice is one. */
  readonly final: '' | 'FINAL';
  /** SQL that picks one row a call of a table. */
  readonly oneRow: Readonly<Record<string, string>>;
  /** Makes the database with its tables. */
  prepare(place: Place): Promise<void>;
}

/** What cdrhouse stores, by its own migrations: `cdr` and `cdr_by_number`, where a record that comes again is one row. */
export const BOTH_TABLES: CallStore = {
  name: 'both tables',
  tables: CALL_TABLES,
  final: 'FINAL',
  oneRow: { cdr: '1', cdr_by_number: "role = 'dialed'" },
  prepare: async ({ bench, database, topic }) => {
    await runCdrhouse(bench, { database, topic }, 'migrate');
    // The same secret in all databases, so that their keys can be compared; the newest value counts.
    await bench.database.statement(
      `INSERT INTO ${database}.settings VALUES ('${STORED_SETTINGS.identityKey}', '${IDENTITY_KEY.toString('hex')}', now64(3) + 1)`,
    );
  },
};

/**
 * One table as its manual would have it: sorted by number and time, a partition a month, a term. No keys, so a record that
 * comes again is stored again. fsync as in the tables of cdrhouse.
 */
export const ONE_TABLE: CallStore = {
  name: 'one table',
  tables: ['cdr'],
  final: '',
  oneRow: { cdr: '1' },
  prepare: async ({ bench, database }) => {
    await bench.database.statement(`CREATE DATABASE ${database}`);
    await bench.database.statement(`CREATE TABLE ${database}.cdr (
      calling_number String, displayed_caller_id String, dialed_number String, start_at DateTime64(3, 'UTC'),
      duration_ms UInt32, talk_ms Nullable(UInt32), call_id String, outcome LowCardinality(String),
      account LowCardinality(String)
    ) ENGINE = MergeTree PARTITION BY toYYYYMM(start_at) ORDER BY (calling_number, start_at)
    TTL start_at + INTERVAL 37 MONTH
    SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1`);
  },
};
