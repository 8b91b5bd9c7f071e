import { DIRECTIONS, enum8, OUTCOMES, ROLES } from './record.ts';
import { SUPPRESSION_KINDS } from './suppressions.ts';
import { CALL_TABLES, CHANGED_AT, type CallTable } from './tables.ts';

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

/** Tables whose rows have a term, and the column from which it runs. */
export const TERM_COLUMNS = {
  cdr: 'start_at',
  cdr_by_number: 'start_at',
  dead_letters: 'message_at',
  dead_letter_marks: 'message_at',
  lookup_journal: 'at',
  corrections: 'start_at',
  suppressions: 'to_at',
} as const;

/**
 * The TTL stands one month behind the term: it is the backstop, the sweep drops on the day. Arithmetic in
 * DateTime64, since a 32-bit time wraps in 2106.
 */
export const expires = (column: string, { retentionMonths }: Omit<MigrationContext, 'database'>): string =>
  `TTL ${column} + INTERVAL ${retentionMonths + 1} MONTH`;

/** Columns that both call tables hold, in the order of `SENT_COLUMNS` in `schemas/tables.ts`. */
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
 * Rows of a call table that are read at least: a look-up reads them in every part of its months, so that with the 8,192 of
 * ClickHouse's default one in the newest month costs twice as much.
 */
const CALLS_A_MARK = 2048;

/**
 * The engine of the call tables. fsync: without it a power cut can keep the ledger and lose the rows.
 * Closed months become one part, over which FINAL costs nothing.
 */
const callEngine = (sortingKey: string, context: MigrationContext): string => `
ENGINE = ReplacingMergeTree(version, is_deleted)
PARTITION BY toYYYYMM(start_at)
ORDER BY (${sortingKey})
${expires('start_at', context)}
SETTINGS index_granularity = ${CALLS_A_MARK}, ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1,
  min_age_to_force_merge_seconds = 86400, min_age_to_force_merge_on_partition_only = 1`;

const LZ4 = 'LZ4';
const ZSTD = 'ZSTD(1)';
const PACKED = 'T64, LZ4';
const CODECS_OF_BOTH = {
  start_at: PACKED,
  duration_ms: PACKED,
  talk_ms: PACKED,
  outcome: PACKED,
  direction: LZ4,
  account: LZ4,
  call_id: ZSTD,
  feed: LZ4,
  source_partition: PACKED,
  source_offset: PACKED,
  source_line: PACKED,
  stored_at: PACKED,
  version: PACKED,
};

/**
 * How columns of the call tables are compressed (`make bench-codecs`, docs/decisions/0024): numbers without their upper bits
 * and quickly; only texts that are not sorted closely enough are worth the time of ZSTD. `cdr_key` is random, and ClickHouse lets nobody
 * touch `is_deleted`.
 */
export const CALL_CODECS: Readonly<Record<CallTable, Readonly<Record<string, string>>>> = {
  cdr: {
    calling_key: LZ4,
    ...CODECS_OF_BOTH,
    calling_number: LZ4,
    displayed_caller_id: LZ4,
    dialed_number: ZSTD,
  },
  cdr_by_number: {
    number_key: LZ4,
    role: PACKED,
    ...CODECS_OF_BOTH,
    calling_number: ZSTD,
    displayed_caller_id: ZSTD,
    dialed_number: LZ4,
  },
};

/** Blocks of about a mark's values: a look-up that wants one mark decompresses no others. */
const BLOCK_BYTES_MIN = 16_384;

/** How a sweep takes calls of a month away. */
const SWEEP_KINDS = ['drop', 'delete'] as const;
export type SweepKind = (typeof SWEEP_KINDS)[number];

/** How far a sweep of a month is. */
const SWEEP_STATES = ['begun', 'counted', 'done', 'refused', 'failed'] as const;
export type SweepState = (typeof SWEEP_STATES)[number];

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
      ];
    },
  },
  {
    number: 2,
    title: 'reading again under another reading, replays, fewer merges',
    statements: ({ database, ...context }) => [
      // Rows of a range of offsets lie in few parts: its bounds let all others be passed over.
      ...['cdr', 'cdr_by_number'].map(
        (table) => `ALTER TABLE ${database}.${table}
  ADD INDEX IF NOT EXISTS by_source_offset source_offset TYPE minmax GRANULARITY 1024`,
      ),
      // What changed since a moment lies in few parts too.
      `ALTER TABLE ${database}.cdr ADD INDEX IF NOT EXISTS by_change ${CHANGED_AT} TYPE minmax GRANULARITY 1024`,
      // Merging a row costs more than inserting it: many parts at once, so that it is merged seldom.
      ...['cdr', 'cdr_by_number'].map(
        (table) => `ALTER TABLE ${database}.${table}
  MODIFY SETTING min_parts_to_merge_at_once = 10`,
      ),
      `ALTER TABLE ${database}.ingest_ledger
  ADD COLUMN IF NOT EXISTS kind ${enum8(['read', 'replay'])} COMMENT 'read: from Kafka; replay: from dead_letters, generation is then its Unix ms',
  ADD COLUMN IF NOT EXISTS correction UInt32 COMMENT 'of a generation: its rows up to corrected_until are read again under another reading, as this correction; 0: none',
  ADD COLUMN IF NOT EXISTS corrected_until Int64`,
      `CREATE TABLE IF NOT EXISTS ${database}.dead_letter_marks (
  topic LowCardinality(String),
  topic_id String,
  partition Int32,
  offset Int64,
  line UInt32,
  state ${enum8(['replayed', 'superseded', 'replaying'])} COMMENT 'replayed: stored by dead-letters replay; superseded: its range was read again since; replaying: a replay is about to store it',
  message_at DateTime64(3, 'UTC'),
  marked_at DateTime('UTC') COMMENT 'of a replay: the rejected_at of what it read; superseded: the moment before reading again',
  generation UInt64 COMMENT 'of a replay: that of its ledger row',
  reading String COMMENT 'of a replay: that of its ledger row'
) ENGINE = ReplacingMergeTree(marked_at)
PARTITION BY toYYYYMM(message_at)
ORDER BY (topic, topic_id, partition, offset, line)
${expires('message_at', context)}
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1`,
      `CREATE TABLE IF NOT EXISTS ${database}.ingest_heartbeats (
  topic LowCardinality(String),
  partition Int32,
  topic_id String,
  instance String,
  next_offset Int64 COMMENT 'behind what is in the ledger',
  end_offset Int64 COMMENT 'end of the log, asked for at asked_at',
  asked_at DateTime64(3, 'UTC'),
  caught_up_at DateTime64(3, 'UTC') COMMENT 'all that Kafka had at this moment is in the ledger; 1970: not known yet'
) ENGINE = ReplacingMergeTree(asked_at)
ORDER BY (topic, partition)`,
      // The journal is sorted by time; who looks for a number or a case must not read years of it.
      `ALTER TABLE ${database}.lookup_journal
  ADD INDEX IF NOT EXISTS by_number number_hmac TYPE bloom_filter GRANULARITY 1,
  ADD INDEX IF NOT EXISTS by_case case_id TYPE bloom_filter GRANULARITY 1`,
      `ALTER TABLE ${database}.api_keys
  ADD COLUMN IF NOT EXISTS shared UInt8 COMMENT 'a team uses it: each request names its Agent',
  ADD COLUMN IF NOT EXISTS requests_per_minute UInt32 COMMENT '0: query.requests_per_minute of the settings',
  ADD COLUMN IF NOT EXISTS addresses Array(String) COMMENT 'networks from which it may be used (CIDR); none: any'`,
    ],
  },
  {
    number: 3,
    title: 'sweeps with proof, adjustments, legal holds',
    statements: ({ database }) => [
      `CREATE TABLE IF NOT EXISTS ${database}.adjustments (
  kind LowCardinality(String) COMMENT 'swept: gone because its term was over; erased: gone by the wish of a person',
  feed LowCardinality(String),
  hour DateTime('UTC') COMMENT 'UTC hour of start',
  source String COMMENT 'what took them away: the sweep_id of a sweep, the request_id of an erasure and how far it went',
  calls UInt64,
  at DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(at)
ORDER BY (kind, feed, hour, source)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1`,
      `CREATE TABLE IF NOT EXISTS ${database}.retention_proofs (
  month UInt32 COMMENT 'YYYYMM of start, UTC',
  sweep_id String,
  kind ${enum8(SWEEP_KINDS)} COMMENT 'drop: all of the month; delete: its overdue days',
  state ${enum8(SWEEP_STATES)} COMMENT 'begun: nothing is gone yet; counted: what goes is in adjustments; done: gone and verified; refused: nothing is gone; failed: gone, and not proven',
  code LowCardinality(String) COMMENT 'refused, failed: the error code',
  term_months UInt32,
  due_at DateTime64(3, 'UTC') COMMENT 'what was due at this moment goes',
  calls_before UInt64 COMMENT 'calls that were due, in cdr',
  calls_by_number_before UInt64 COMMENT 'the same in cdr_by_number',
  digest_before String COMMENT 'of the set of calls, equal in both tables',
  rows_after UInt64 COMMENT 'rows that were due and are still there, in both tables',
  kept_before UInt64 COMMENT 'calls of the month that were not due, in cdr',
  kept_after UInt64,
  held UInt64 COMMENT 'of the calls those that a legal hold keeps a copy of',
  bytes_before UInt64 COMMENT 'of the month on disk, in both tables',
  parts Array(String) COMMENT 'that held the month before: table/part',
  parts_after Array(String) COMMENT 'of these, still on disk',
  statements Array(String),
  part_log Array(String) COMMENT 'events of system.part_log, where the server keeps one',
  program_version String,
  begun_at DateTime64(3, 'UTC'),
  recorded_at DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(recorded_at)
ORDER BY (month, sweep_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1`,
      `CREATE TABLE IF NOT EXISTS ${database}.legal_holds (
  hold_id String,
  numbers Array(String) COMMENT 'as they are stored in the calls',
  from_at DateTime64(3, 'UTC') COMMENT 'of starts, inclusive',
  to_at DateTime64(3, 'UTC') COMMENT 'exclusive',
  reason String,
  until_at DateTime64(3, 'UTC') COMMENT 'the hold ends by itself',
  created_at DateTime64(3, 'UTC'),
  released_at Nullable(DateTime64(3, 'UTC')),
  release_reason String,
  version UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY hold_id
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1`,
      // A partition a hold, so that its end is one DROP PARTITION. No TTL.
      `CREATE TABLE IF NOT EXISTS ${database}.cdr_held (
  hold_id String,
  calling_key UInt64 CODEC(ZSTD(1)),${callColumns}
) ENGINE = ReplacingMergeTree(version, is_deleted)
PARTITION BY hold_id
ORDER BY (calling_key, start_at, cdr_key)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1`,
    ],
  },
  {
    number: 4,
    title: 'requests of persons, corrections, restrictions, objections',
    statements: ({ database, ...context }) => {
      const table = (name: string): string => `CREATE TABLE IF NOT EXISTS ${database}.${name}`;
      const synced = 'SETTINGS fsync_after_insert = 1, fsync_part_directory = 1';
      // The number itself: reads ask for it row by row. The calls that have it are kept as well.
      const held = `
  number String COMMENT 'as calls hold it',
  feed LowCardinality(String) COMMENT 'of calls of this feed only; empty: of all',
  held_from DateTime64(3, 'UTC') COMMENT 'the person held the number from here on',
  held_to DateTime64(3, 'UTC') COMMENT 'and before this moment; 2290: to this day',
  request_id String,`;
      return [
        `${table('subject_requests')} (
  request_id String,
  kind LowCardinality(String) COMMENT 'export, rectify, erase, restrict, lift, object, withdraw',
  state LowCardinality(String) COMMENT 'begun, deferred, refused, done',
  reason String,
  number_hmacs Array(String) COMMENT 'HMAC-SHA-256 of each number, never the number',
  hmac_key_id String COMMENT 'the key of the journal at that time',
  feeds Array(String) COMMENT 'numbers of these feeds only; none: of all',
  held_from DateTime64(3, 'UTC') COMMENT 'the person held the numbers from here on',
  held_to DateTime64(3, 'UTC') COMMENT 'and before this moment; 2290: to this day',
  asked_at DateTime64(3, 'UTC') COMMENT 'when the person asked',
  due_at DateTime64(3, 'UTC') COMMENT 'when it must be answered',
  begun_at DateTime64(3, 'UTC'),
  finished_at Nullable(DateTime64(3, 'UTC')),
  details String COMMENT 'what else was asked, as JSON without numbers',
  certificate String COMMENT 'signed, as JSON; empty until it is finished',
  version UInt64
) ENGINE = ReplacingMergeTree(version) ORDER BY request_id ${synced}`,
        `${table('corrections')} (
  cdr_key UInt64,
  start_at DateTime64(3, 'UTC') COMMENT 'as it was before',
  request_id String,
  calling_key UInt64 COMMENT 'as it was before',
  new_start_at DateTime64(3, 'UTC'),
  new_calling_key UInt64,
  correction UInt32 COMMENT 'its number in the versions of rows',
  field LowCardinality(String),
  before String COMMENT 'its value, as text',
  after String,
  row String COMMENT 'the row of cdr as it was before, as JSON',
  reason String,
  corrected_at DateTime64(3, 'UTC'),
  done UInt8 COMMENT '0: begun, the tables may not have it yet',
  version UInt64
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(start_at)
ORDER BY (cdr_key, start_at, request_id)
${expires('start_at', context)}
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1`,
        `${table('restrictions')} (${held}
  keep_past_term UInt8 COMMENT '1: the calls are kept until it is lifted',
  lifted_by String COMMENT 'the request that lifted it; empty: it holds',
  changed_at DateTime64(3, 'UTC'),
  version UInt64
) ENGINE = ReplacingMergeTree(version) ORDER BY (number, feed, held_from, held_to, request_id) ${synced}`,
        `${table('objections')} (${held}
  purpose LowCardinality(String) COMMENT 'for which look-ups are refused',
  kind LowCardinality(String) COMMENT 'object, withdraw',
  lifted_by String COMMENT 'the request that lifted it; empty: it holds',
  changed_at DateTime64(3, 'UTC'),
  version UInt64
) ENGINE = ReplacingMergeTree(version) ORDER BY (number, feed, purpose, held_from, held_to, request_id) ${synced}`,
        `${table('signing_keys')} (
  key_id String,
  private_key String COMMENT 'Ed25519, PKCS 8 in base64; signs certificates',
  made_at DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(made_at) ORDER BY key_id ${synced}`,
      ];
    },
  },
  {
    number: 5,
    title: 'erasure: suppressions, and which of them each writer works with',
    statements: ({ database, retentionMonths }) => [
      `CREATE TABLE IF NOT EXISTS ${database}.suppressions (
  request_id String,
  kind ${enum8(SUPPRESSION_KINDS)} COMMENT 'drop: calls that the number made; blank: calls of others with it',
  number_hash String COMMENT 'keyed hash of the number, never the number',
  key_id String COMMENT 'of the keys of the hash',
  feed String COMMENT 'of calls of this feed only; empty: of all',
  from_at DateTime64(3, 'UTC') COMMENT 'of the start of calls, inclusive',
  to_at DateTime64(3, 'UTC') COMMENT 'exclusive',
  version UInt64 COMMENT 'Unix us, above all that were there before'
) ENGINE = ReplacingMergeTree(version)
ORDER BY (request_id, kind, number_hash, feed)
${expires('to_at', { retentionMonths })}
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1`,
      `CREATE TABLE IF NOT EXISTS ${database}.ingest_writers (
  instance String,
  suppressions_version UInt64 COMMENT 'the oldest that anything under way was parsed with',
  reported_at DateTime64(3, 'UTC') COMMENT 'by the clock of the database; no write begins later than 30 s after it',
  ended UInt8
) ENGINE = ReplacingMergeTree(reported_at)
ORDER BY instance
TTL reported_at + INTERVAL 1 DAY`,
      // In memory: what is to be erased must not be written to disk once more. A request that is done again fills it anew.
      `CREATE TABLE IF NOT EXISTS ${database}.erasure_numbers (
  request_id String, feed String, number String, number_key UInt64, blanked String, blanked_key UInt64
) ENGINE = Memory`,
      `CREATE TABLE IF NOT EXISTS ${database}.erasure_letters (
  request_id String, topic String, topic_id String, partition Int32, offset Int64, line UInt32, raw_hash UInt64
) ENGINE = Memory`,
    ],
  },
  {
    number: 6,
    title: 'what the newest audit found of ids that stand for several records',
    statements: ({ database }) => [
      `CREATE TABLE IF NOT EXISTS ${database}.audited_conflicts (
  feed String,
  two_calls UInt64 COMMENT 'ids with calls of another start or calling number, which all count',
  other_content UInt64 COMMENT 'ids sent again with other content, which does not count',
  looked_at DateTime64(3, 'UTC') COMMENT 'when the audit began to look; later calls are not in it'
) ENGINE = ReplacingMergeTree(looked_at) ORDER BY feed`,
    ],
  },
  {
    number: 7,
    title: 'legal holds of a feed, proofs of what a sweep takes beside the calls',
    statements: ({ database }) => [
      `ALTER TABLE ${database}.legal_holds
  ADD COLUMN IF NOT EXISTS feeds Array(String) COMMENT 'calls of these feeds only; none: of all' AFTER numbers`,
      `CREATE TABLE IF NOT EXISTS ${database}.table_proofs (
  table LowCardinality(String) COMMENT 'whose rows went, beside those of the calls',
  sweep_id String,
  state ${enum8(['begun', 'done', 'failed'])} COMMENT 'begun: rows may be gone; done: gone and verified; failed: not proven',
  code LowCardinality(String) COMMENT 'failed: the error code',
  term_months UInt32,
  due_at DateTime64(3, 'UTC') COMMENT 'what was due at this moment goes',
  rows_before UInt64 COMMENT 'rows that were due, superseded ones included',
  rows_after UInt64 COMMENT 'of these, still there',
  statement String,
  program_version String,
  begun_at DateTime64(3, 'UTC'),
  recorded_at DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(recorded_at)
ORDER BY (table, sweep_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1`,
    ],
  },
  {
    number: 8,
    title: 'gaps that somebody accepted',
    statements: ({ database }) => [
      `CREATE TABLE IF NOT EXISTS ${database}.accepted_gaps (
  topic LowCardinality(String),
  topic_id String,
  partition Int32,
  from_offset Int64 COMMENT 'where the ledger said to go on',
  next_offset Int64 COMMENT 'where reading went on',
  reason String,
  accepted_at DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(accepted_at)
ORDER BY (topic, topic_id, partition, from_offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1`,
    ],
  },
  {
    number: 9,
    title: 'terms of feeds in proofs of sweeps',
    statements: ({ database }) =>
      ['retention_proofs', 'table_proofs'].map(
        (table) => `ALTER TABLE ${database}.${table}
  ADD COLUMN IF NOT EXISTS feed_terms Map(String, UInt32) COMMENT 'months of feeds with a shorter term' AFTER term_months`,
      ),
  },
  {
    number: 10,
    title: 'codecs that cost less, smaller blocks',
    statements: ({ database }) =>
      // Parts that exist take them over when they are merged.
      CALL_TABLES.flatMap((table) => [
        `ALTER TABLE ${database}.${table}\n  ${Object.entries(CALL_CODECS[table])
          .map(([column, codec]) => `MODIFY COLUMN ${column} CODEC(${codec})`)
          .join(',\n  ')}`,
        `ALTER TABLE ${database}.${table} MODIFY SETTING min_compress_block_size = ${BLOCK_BYTES_MIN}`,
      ]),
  },
  {
    number: 11,
    title: 'no statistics of columns, fewer merges of what comes in rows',
    statements: ({ database }) => [
      // ClickHouse 26.4 and newer make them by default: merges cost more, no statement here is planned by them, and they would
      // repeat numbers (decision 0025).
      ...[...CALL_TABLES, 'dead_letters', 'lookup_journal', 'ingest_ledger'].map(
        (table) => `ALTER TABLE ${database}.${table} MODIFY SETTING auto_statistics_types = ''`,
      ),
      // An insert brings a few rows: by default every third one has all that is there merged again, up to some MB.
      ...['lookup_journal', 'ingest_ledger'].map(
        (table) => `ALTER TABLE ${database}.${table} MODIFY SETTING merge_selector_base = 20`,
      ),
    ],
  },
  {
    number: 12,
    title: 'the settings under which records were read',
    statements: ({ database }) => [
      `CREATE TABLE IF NOT EXISTS ${database}.readings (
  feed LowCardinality(String),
  reading String COMMENT 'as in the ledger: hash of all that decides how records are read',
  settings String COMMENT 'JSON: the settings of the feed',
  recorded_at DateTime64(3, 'UTC') DEFAULT now64(3)
) ENGINE = ReplacingMergeTree
ORDER BY (feed, reading)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1`,
    ],
  },
  {
    number: 13,
    title: 'small parts are merged with their like',
    statements: ({ database }) => [
      // Decision 0027. Below some MB ClickHouse takes all parts to be alike: it writes the one that has grown anew for the sake
      // of some that are new, and where ten at once are asked for it leaves most of these out again, since they are small.
      ...CALL_TABLES.map(
        (table) =>
          `ALTER TABLE ${database}.${table} MODIFY SETTING merge_selector_base = 8, min_parts_to_merge_at_once = 0`,
      ),
      ...[...CALL_TABLES, 'dead_letters', 'lookup_journal', 'ingest_ledger'].map(
        (table) =>
          `ALTER TABLE ${database}.${table} MODIFY SETTING merge_selector_enable_heuristic_to_remove_small_parts_at_right = 0`,
      ),
    ],
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

/**
 * The table of the database's own settings; made before those whose DDL depends on them. It remembers the tokens of
 * its inserts, so that of two first values only one is stored, whoever stores it.
 */
export function settingsTable(database: string): string {
  return `CREATE TABLE IF NOT EXISTS ${database}.settings (
  name String, value String, set_at DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(set_at) ORDER BY name
SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1`;
}

/** Names in the table `settings`. */
export const STORED_SETTINGS = {
  /** 32 random bytes as hexadecimal: the secret of all stored keys (`record-key.ts`), of call ids and cursors. */
  identityKey: 'identity_key',
  retentionMonths: 'retention_months',
  /** Names that begin so, with the name of a feed behind: its own shorter term. */
  feedRetentionMonths: 'retention_months_of_feed_',
  /** 32 random bytes as hexadecimal: HMAC key of numbers in the journal (`keys rotate-journal`). */
  journalKey: 'journal_key',
  /** Names that begin so hold keys that the journal had before: numbers under them are still found. */
  formerJournalKey: 'journal_key_former_',
} as const;
