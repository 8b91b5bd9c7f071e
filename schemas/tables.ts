import { DIRECTIONS, enum8, OUTCOMES, ROLES } from './record.ts';

/** A column as ingest sends it: name, and the type of the block, which the server may convert on insert. */
export interface SentColumn {
  readonly name: string;
  readonly type: string;
}

/** Columns that both call tables share, in the order in which blocks carry them. */
const CALL_COLUMNS: readonly SentColumn[] = [
  { name: 'start_at', type: "DateTime64(3, 'UTC')" },
  { name: 'cdr_key', type: 'UInt64' },
  { name: 'calling_number', type: 'String' },
  { name: 'displayed_caller_id', type: 'String' },
  { name: 'dialed_number', type: 'String' },
  { name: 'duration_ms', type: 'UInt32' },
  { name: 'talk_ms', type: 'Nullable(UInt32)' },
  { name: 'outcome', type: enum8(OUTCOMES) },
  { name: 'direction', type: enum8(DIRECTIONS) },
  { name: 'account', type: 'String' },
  { name: 'call_id', type: 'String' },
  { name: 'feed', type: 'LowCardinality(String)' },
  { name: 'source_partition', type: 'Int32' },
  { name: 'source_offset', type: 'Int64' },
  { name: 'source_line', type: 'UInt32' },
];

/** What ingest inserts into each table. */
export const SENT_COLUMNS = {
  cdr: [{ name: 'calling_key', type: 'UInt64' }, ...CALL_COLUMNS],
  cdr_by_number: [
    { name: 'number_key', type: 'UInt64' },
    { name: 'role', type: enum8(ROLES) },
    ...CALL_COLUMNS,
  ],
  dead_letters: [
    { name: 'feed', type: 'LowCardinality(String)' },
    { name: 'topic', type: 'LowCardinality(String)' },
    { name: 'topic_id', type: 'LowCardinality(String)' },
    { name: 'partition', type: 'Int32' },
    { name: 'offset', type: 'Int64' },
    { name: 'line', type: 'UInt32' },
    { name: 'code', type: 'LowCardinality(String)' },
    { name: 'field', type: 'LowCardinality(String)' },
    { name: 'position', type: 'UInt32' },
    { name: 'raw', type: 'String' },
    { name: 'message_at', type: "DateTime64(3, 'UTC')" },
  ],
  /**
   * `blanked`, `zone_overlaps`, `zone_gaps`, `suppressions_version` and `instance` are for people who look into a range: no
   * program reads them. So is `instance` of `ingest_state`.
   */
  ingest_ledger: [
    { name: 'cluster_id', type: 'String' },
    { name: 'topic', type: 'String' },
    { name: 'topic_id', type: 'String' },
    { name: 'partition', type: 'Int32' },
    { name: 'generation', type: 'UInt64' },
    { name: 'from_offset', type: 'Int64' },
    { name: 'next_offset', type: 'Int64' },
    { name: 'feed', type: 'String' },
    { name: 'messages', type: 'UInt64' },
    { name: 'records', type: 'UInt64' },
    { name: 'stored', type: 'UInt64' },
    { name: 'rejected', type: 'UInt64' },
    { name: 'suppressed', type: 'UInt64' },
    { name: 'skipped', type: 'UInt64' },
    { name: 'blanked', type: 'UInt64' },
    { name: 'rejected_by_code', type: 'Map(String, UInt64)' },
    { name: 'skipped_by_reason', type: 'Map(String, UInt64)' },
    { name: 'stored_by_hour', type: "Map(DateTime('UTC'), UInt64)" },
    { name: 'zone_overlaps', type: 'UInt64' },
    { name: 'zone_gaps', type: 'UInt64' },
    { name: 'reading', type: 'String' },
    { name: 'suppressions_version', type: 'UInt64' },
    { name: 'message_at_max', type: "DateTime64(3, 'UTC')" },
    { name: 'instance', type: 'String' },
    { name: 'stored_at', type: "DateTime64(3, 'UTC')" },
    { name: 'kind', type: enum8(['read', 'replay']) },
    { name: 'correction', type: 'UInt32' },
    { name: 'corrected_until', type: 'Int64' },
  ],
  dead_letter_marks: [
    { name: 'topic', type: 'String' },
    { name: 'topic_id', type: 'String' },
    { name: 'partition', type: 'Int32' },
    { name: 'offset', type: 'Int64' },
    { name: 'line', type: 'UInt32' },
    { name: 'state', type: enum8(['replayed', 'superseded', 'replaying']) },
    { name: 'message_at', type: "DateTime64(3, 'UTC')" },
    { name: 'marked_at', type: "DateTime('UTC')" },
    { name: 'generation', type: 'UInt64' },
    { name: 'reading', type: 'String' },
  ],
} as const satisfies Record<string, readonly SentColumn[]>;
export type SentTable = keyof typeof SENT_COLUMNS;

/** The tables that hold each call, by calling number and by the others, with the sorting key that is unique in each. */
export const SORTING_KEYS = {
  cdr: 'calling_key, start_at, cdr_key',
  cdr_by_number: 'number_key, start_at, cdr_key, role',
} as const;
export type CallTable = keyof typeof SORTING_KEYS;
export const CALL_TABLES = Object.keys(SORTING_KEYS) as readonly CallTable[];

/** All columns of a call table, as SQL. */
export function callTableColumns(table: CallTable): string {
  return [...SENT_COLUMNS[table].map(({ name }) => name), 'stored_at', 'version', 'is_deleted'].join(', ');
}

/**
 * Settings of reads with FINAL of the call tables: partitions by themselves, since start_at is in every key; which row of
 * a key is the newest must be known before conditions on other columns pass rows over.
 */
export const FINAL_SETTINGS = {
  do_not_merge_across_partitions_select_final: 1,
  use_skip_indexes_if_final: 0,
  optimize_move_to_prewhere_if_final: 0,
  query_plan_optimize_lazy_final: 0,
} as const;

/** The inserts of calls and dead letters that run now, by `id`: all statements that store some begin like this. */
export function runningInsertsSql(database: string): string {
  const into = `INSERT INTO ${database}`;
  return `SELECT query_id AS id FROM system.processes
    WHERE startsWith(query, '${into}.cdr') OR startsWith(query, '${into}.dead_letters ')`;
}

/** How many of the statements with these ids still run. */
export const STILL_RUNNING_SQL =
  'SELECT count() AS running FROM system.processes WHERE query_id IN {ids: Array(String)}';

/** Tables whose rows a parse worker makes, in the order in which it makes them. */
export const BLOCK_TABLES = ['cdr', 'cdr_by_number', 'dead_letters'] as const;
export type BlockTable = (typeof BLOCK_TABLES)[number];

/**
 * First stored wins: ingest writes a version that falls with time, so that a record sent again never
 * changes what is read. Rows of a correction n stand at n * 2^32 and above (`correctionVersion`).
 */
export function ingestVersion(storedAtSeconds: number): number {
  return 0xffff_ffff - storedAtSeconds;
}

/**
 * SQL of the moment at which the batch of a row counts as stored, Unix seconds, as its version has it: that of its row in
 * the ledger. `stored_at` can be later, and is by another clock. A delete marker has no batch.
 */
export const BATCH_MOMENT = '(4294967295 - bitAnd(version, 4294967295))';

/** The same of a version at hand. */
export function batchMoment(version: bigint): number {
  return 0xffff_ffff - Number(version & 0xffff_ffffn);
}

/** The correction under which a row of this version is stored; 0: none. */
export function correctionOf(version: bigint): number {
  return Number(version >> 32n);
}

/**
 * SQL of the version of a correction's delete markers. What is stored under the correction adds its
 * `ingestVersion`: it wins over the markers, and among itself the first wins. The number is beyond 2^53, so
 * the server computes it.
 */
export function correctionVersion(correction: number): string {
  return `bitShiftLeft(toUInt64(${correction}), 32)`;
}

/** SQL of the moment at which a statement began, by the server's clock. */
export const SERVER_NOW = "toDateTime(now(), 'UTC')";

/**
 * SQL of when a row of a call table came to be as it is, Unix seconds: never earlier than the begin of the insert that
 * brought it, by the server's clock. A later correction that keeps `stored_at` counts from its own number, which is
 * Unix seconds.
 */
export const CHANGED_AT = 'greatest(toUnixTimestamp(stored_at), bitShiftRight(version, 32))';

/**
 * Whatever changed so long ago is visible: an insert that began gets its rows within seconds (the server waits 30 s for
 * each piece and gives it up then), and writes them as one block.
 */
export const VISIBLE_WITHIN_SECONDS = 300;

/** A partition of whose records rows are stored. */
export interface StoredSource {
  readonly feed: string;
  readonly partition: number;
  /** The correction under which they are stored, Unix seconds of its begin; 0: none. */
  readonly correction: number;
}

/** A text as an SQL literal. */
export function sqlText(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

/** A column whose value the server fills in, so that the block does not carry it. */
export interface ConstantColumn {
  readonly name: string;
  readonly expression: string;
}

/**
 * The columns of a batch that counts as stored at this moment (Unix seconds) and that are not sent.
 * @param sources all that the insert has rows of; without any, no row stands above a correction's markers
 */
export function constantColumns(
  table: SentTable,
  storedAtSeconds: number,
  sources: readonly StoredSource[] = [],
): readonly ConstantColumn[] {
  const storedAt = `toDateTime(${storedAtSeconds}, 'UTC')`;
  const ofCalls = [
    // By the server's clock too: a batch may have waited for the database for hours (`CHANGED_AT`).
    { name: 'stored_at', expression: `greatest(${storedAt}, ${SERVER_NOW})` },
    { name: 'version', expression: versionOf(storedAtSeconds, sources) },
    { name: 'is_deleted', expression: 'toUInt8(0)' },
  ];
  return {
    cdr: ofCalls,
    cdr_by_number: ofCalls,
    dead_letters: [{ name: 'rejected_at', expression: storedAt }],
    ingest_ledger: [],
    dead_letter_marks: [],
  }[table];
}

function versionOf(storedAtSeconds: number, sources: readonly StoredSource[]): string {
  const plain = `toUInt64(${ingestVersion(storedAtSeconds)})`;
  const corrections = new Set(sources.map(({ correction }) => correction));
  if (corrections.size === 0) return plain;
  const above = (correction: number): string =>
    correction === 0 ? plain : `${plain} + ${correctionVersion(correction)}`;
  // Nearly always all of an insert have the same one, so that nothing is computed per row.
  const [first, ...others] = [...corrections];
  if (others.length === 0) return above(first!);
  const cases = others.flatMap((correction) => [sourcesCondition(sources, correction), above(correction)]);
  return `multiIf(${cases.join(', ')}, ${above(first!)})`;
}

/** Holds for the rows of the sources that have this correction. */
function sourcesCondition(sources: readonly StoredSource[], correction: number): string {
  const partitions = new Map<string, number[]>();
  for (const source of sources) {
    if (source.correction !== correction) continue;
    partitions.set(source.feed, [...(partitions.get(source.feed) ?? []), source.partition]);
  }
  return [...partitions]
    .map(([feed, of]) => `feed = ${sqlText(feed)} AND source_partition IN (${of.join(', ')})`)
    .join(' OR ');
}
