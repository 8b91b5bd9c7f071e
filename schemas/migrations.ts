import { DIRECTIONS, enum8, OUTCOMES, ROLES } from './record.ts';

/** What the DDL depends on. `database` is checked by the settings schema to be a plain identifier. */
export interface MigrationContext {
  readonly database: string;
  readonly retentionMonths: number;
}

/**
 * A step of the schema. Numbered, append-only: a step that was released is never edited, a new one
 * follows it. Every statement can run twice.
 */
export interface Migration {
  readonly number: number;
  readonly title: string;
  readonly statements: (context: MigrationContext) => readonly string[];
}

/** Oldest ClickHouse that has what the tables and inserts need. */
export const CLICKHOUSE_VERSION_MIN = '26.3';

/**
 * The TTL stands one month behind the term: it is the backstop, the sweep drops on the day. Arithmetic in
 * DateTime64, since a 32-bit time wraps in 2106.
 */
const expires = (column: string, { retentionMonths }: MigrationContext): string =>
  `TTL ${column} + INTERVAL ${retentionMonths + 1} MONTH`;

/** Columns that both call tables hold, in the order of `CALL_COLUMNS` in `ingest/parse/blocks.ts`. */
const callColumns = `
  start_at DateTime64(3, 'UTC') CODEC(ZSTD(1)),
  cdr_key UInt64 CODEC(NONE),
  calling_number String CODEC(ZSTD(1)),
  displayed_caller_id String CODEC(ZSTD(1)),
  dialed_number String CODEC(ZSTD(1)),
  duration_ms UInt32 CODEC(ZSTD(1)),
  talk_ms Nullable(UInt32) CODEC(ZSTD(1)),
  outcome ${enum8(OUTCOMES)} CODEC(ZSTD(1)),
  direction ${enum8(DIRECTIONS)} CODEC(ZSTD(1)),
  account LowCardinality(String) CODEC(ZSTD(1)),
  call_id String CODEC(ZSTD(1)),
  feed LowCardinality(String) CODEC(ZSTD(1)),
  source_partition Int32 CODEC(ZSTD(1)),
  source_offset Int64 CODEC(ZSTD(1)),
  source_line UInt32 CODEC(ZSTD(1)),
  stored_at DateTime('UTC') CODEC(ZSTD(1)),
  version UInt64 CODEC(ZSTD(1)),
  is_deleted UInt8 CODEC(ZSTD(1))`;

/**
 * The engine of the call tables. fsync: without it a power cut can keep the ledger and lose the rows.
 * Closed months become one part, over which FINAL costs nothing.
 */
const callEngine = (sortingKey: string, context: MigrationContext): string => `
ENGINE = ReplacingMergeTree(version, is_deleted)
PARTITION BY toYYYYMM(start_at)
ORDER BY (${sortingKey})
${expires('start_at', context)}
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1,
  min_age_to_force_merge_seconds = 86400, min_age_to_force_merge_on_partition_only = 1`;

export const MIGRATIONS: readonly Migration[] = [
  {
    number: 1,
    title: 'calls, dead letters, ledger, journal, keys',
    statements: (context) => {
      const table = (name: string): string => `CREATE TABLE IF NOT EXISTS ${context.database}.${name}`;
      return [
        `${table('cdr')} (
  calling_key UInt64 CODEC(ZSTD(1)),${callColumns}
)${callEngine('calling_key, start_at, cdr_key', context)}`,
        `${table('cdr_by_number')} (
  number_key UInt64 CODEC(ZSTD(1)),
  role ${enum8(ROLES)} CODEC(ZSTD(1)),${callColumns}
)${callEngine('number_key, start_at, cdr_key, role', context)}`,
        `${table('dead_letters')} (
  feed LowCardinality(String),
  topic LowCardinality(String),
  topic_id String,
  partition Int32,
  offset Int64,
  line UInt32,
  code LowCardinality(String),
  field LowCardinality(String),
  position UInt32 COMMENT 'byte of the record at which the fault begins, from 0',
  raw String COMMENT 'the record as sent' CODEC(ZSTD(3)),
  message_at DateTime64(3, 'UTC'),
  rejected_at DateTime('UTC')
) ENGINE = ReplacingMergeTree(rejected_at)
PARTITION BY toYYYYMM(message_at)
ORDER BY (feed, topic, topic_id, partition, offset, line)
${expires('message_at', context)}
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1`,
        `${table('ingest_ledger')} (
  cluster_id LowCardinality(String),
  topic LowCardinality(String),
  topic_id String,
  partition Int32,
  generation UInt64,
  from_offset Int64,
  next_offset Int64,
  feed LowCardinality(String),
  messages UInt64,
  records UInt64,
  stored UInt64,
  rejected UInt64,
  suppressed UInt64,
  skipped UInt64,
  blanked UInt64,
  rejected_by_code Map(String, UInt64),
  skipped_by_reason Map(String, UInt64),
  stored_by_hour Map(DateTime('UTC'), UInt64) COMMENT 'stored records per UTC hour of start',
  zone_overlaps UInt64 COMMENT 'local starts that occur twice (read with the earlier offset)',
  zone_gaps UInt64 COMMENT 'local starts that do not exist (moved forward)',
  reading String COMMENT 'hash of the feed settings, format version and dial plan',
  suppressions_version UInt64,
  message_at_max DateTime64(3, 'UTC') COMMENT 'newest Kafka timestamp of the range, 1970 if none',
  instance String,
  stored_at DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(stored_at)
ORDER BY (topic, partition, cluster_id, topic_id, generation, from_offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1`,
        `${table('ingest_state')} (
  instance String,
  topic LowCardinality(String),
  partition Int32,
  state LowCardinality(String) COMMENT 'reading, gap',
  detail String,
  next_offset Int64,
  end_offset Int64,
  updated_at DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(updated_at)
ORDER BY (topic, partition)`,
        `${table('lookup_journal')} (
  at DateTime64(3, 'UTC'),
  request_id String,
  phase ${enum8(['started', 'finished'])},
  key_id String,
  agent String,
  purpose LowCardinality(String),
  case_id String,
  route LowCardinality(String),
  number_hmac String COMMENT 'HMAC-SHA-256 of the number looked up, never the number',
  hmac_key_id String,
  filter String COMMENT 'the filter without numbers, as JSON',
  rows UInt64,
  complete UInt8
) ENGINE = MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (at, request_id, phase)
${expires('at', context)}
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1`,
        `${table('api_keys')} (
  key_id String,
  secret_hash String COMMENT 'salt and SHA-256, hexadecimal',
  label String,
  roles Array(LowCardinality(String)),
  created_at DateTime('UTC'),
  expires_at Nullable(DateTime('UTC')),
  revoked UInt8,
  version UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY key_id`,
        `${table('settings')} (
  name String,
  value String,
  set_at DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(set_at)
ORDER BY name`,
      ];
    },
  },
];

/** The schema version that this program was written for. */
export const SCHEMA_VERSION = MIGRATIONS.length;

/** The table that says which migrations ran; made before all others. */
export function migrationsTable(database: string): string {
  return `CREATE TABLE IF NOT EXISTS ${database}.schema_migrations (
  number UInt32, title String, program_version String, applied_at DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(applied_at) ORDER BY number`;
}

/** Names in the table `settings`. */
export const STORED_SETTINGS = {
  /** 32 random bytes as hexadecimal: the secret of all stored keys (`record-key.ts`). */
  identityKey: 'identity_key',
  retentionMonths: 'retention_months',
  /** 32 random bytes as hexadecimal: HMAC key of numbers in the journal, and signs cursors. */
  journalKey: 'journal_key',
} as const;
