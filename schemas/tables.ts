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
  ],
} as const satisfies Record<string, readonly SentColumn[]>;
export type SentTable = keyof typeof SENT_COLUMNS;

/**
 * First stored wins: ingest writes a version that falls with time, so that a record sent again never
 * changes what is read. A correction n writes n * 2^32, above all of these.
 */
export function ingestVersion(storedAtSeconds: number): number {
  return 0xffff_ffff - storedAtSeconds;
}

/** A column whose value is the same in all rows of an insert: the server fills it in, the block does not carry it. */
export interface ConstantColumn {
  readonly name: string;
  readonly expression: string;
}

/** The constant columns of a batch that counts as stored at this moment (Unix seconds). */
export function constantColumns(table: SentTable, storedAtSeconds: number): readonly ConstantColumn[] {
  const storedAt = `toDateTime(${storedAtSeconds}, 'UTC')`;
  const ofCalls = [
    { name: 'stored_at', expression: storedAt },
    { name: 'version', expression: `toUInt64(${ingestVersion(storedAtSeconds)})` },
    { name: 'is_deleted', expression: 'toUInt8(0)' },
  ];
  return {
    cdr: ofCalls,
    cdr_by_number: ofCalls,
    dead_letters: [{ name: 'rejected_at', expression: storedAt }],
    ingest_ledger: [],
  }[table];
}
