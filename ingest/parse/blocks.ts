import { SENT_COLUMNS, type BlockTable } from '../../schemas/tables.ts';
import type { BatchSource } from './batch.ts';
import type { BatchMemory, GatheredColumns } from './batch-memory.ts';
import { lowCardinality, NativeBlock, type NativeColumn } from './native-block.ts';
import type { Rejects } from './rejects.ts';

/** What the blocks of a batch are made from. */
export interface BlockContext {
  readonly rejects: Rejects;
  readonly memory: BatchMemory;
  readonly sources: readonly BatchSource[];
  /** Feed names; `sources[i].feed` is an index into them. */
  readonly feedNames: readonly string[];
}

/** The rows of a table. */
export interface TableBlock {
  readonly native: NativeBlock;
  /** Of `cdr`: how many rows have the key of the one before, by feed. */
  readonly duplicatesByFeed: readonly number[];
}

/**
 * The block of a table, sorted by the table's key. It lies in the batch's memory until the next batch is parsed.
 */
export function tableBlock(table: BlockTable, context: BlockContext): TableBlock {
  const { memory, feedNames } = context;
  if (table === 'dead_letters') return { native: deadLettersBlock(context), duplicatesByFeed: [] };
  if (memory.calls === 0) return { native: new NativeBlock(0, []), duplicatesByFeed: [] };
  const { rows, columns } = memory.gather(table === 'cdr' ? 'calling' : 'dialed and displayed');
  return {
    native: new NativeBlock(rows, callColumns(table, columns, feedNames)),
    duplicatesByFeed: table === 'cdr' ? duplicatesByFeed(columns, rows, feedNames.length) : [],
  };
}

/** Whether the 64-bit value at this word is the one before it. */
function repeats(column: Uint32Array, at: number): boolean {
  return column[at] === column[at - 2] && column[at + 1] === column[at - 1];
}

function duplicatesByFeed(columns: GatheredColumns, rows: number, feeds: number): number[] {
  const words = ({ buffer, byteOffset }: Uint8Array): Uint32Array =>
    new Uint32Array(buffer, byteOffset, 2 * rows);
  const [record, start, key] = [words(columns.cdr_key), words(columns.start_at), words(columns.key)];
  const feed = new Uint16Array(columns.feed.buffer, columns.feed.byteOffset, rows);
  const counts = Array.from({ length: feeds }, () => 0);
  for (let i = 2; i < 2 * rows; i += 2) {
    // The record key first: it is seldom the same.
    if (repeats(record, i) && repeats(start, i) && repeats(key, i)) counts[feed[i >> 1]!]!++;
  }
  return counts;
}

function callColumns(
  table: 'cdr' | 'cdr_by_number',
  gathered: GatheredColumns,
  feedNames: readonly string[],
): NativeColumn[] {
  const parts: Record<string, readonly Uint8Array[]> = {
    calling_key: [gathered.key],
    number_key: [gathered.key],
    talk_ms: [gathered.talk_unknown, gathered.talk_ms],
    feed: lowCardinality(feedNames, gathered.feed),
  };
  return SENT_COLUMNS[table].map(({ name, type }) => ({
    name,
    type,
    parts: parts[name] ?? [gathered[name as keyof GatheredColumns]],
  }));
}

function deadLettersBlock({ rejects, sources, feedNames }: BlockContext): NativeBlock {
  const words = (valueOf: (reject: number) => string): Uint8Array[] => {
    const values = rejects.code.map((_, reject) => valueOf(reject));
    const distinct = [...new Set(values)];
    const indexes = new Map(distinct.map((word, index) => [word, index]));
    return lowCardinality(distinct, bytesOf(Uint16Array.from(values, (value) => indexes.get(value)!)));
  };
  const sourceOf = (reject: number): BatchSource => sources[rejects.source[reject]!]!;
  const int64 = (values: readonly number[]): Uint8Array[] => [
    bytesOf(BigInt64Array.from(values, (value) => BigInt(value))),
  ];
  const parts = {
    feed: words((reject) => feedNames[sourceOf(reject).feed]!),
    topic: words((reject) => sourceOf(reject).topic),
    topic_id: words((reject) => sourceOf(reject).topicId),
    partition: [bytesOf(Int32Array.from(rejects.source, (source) => sources[source]!.partition))],
    offset: int64(rejects.offset),
    line: [bytesOf(Uint32Array.from(rejects.line))],
    code: words((reject) => rejects.code[reject]!),
    field: words((reject) => rejects.field[reject]!),
    position: [bytesOf(Uint32Array.from(rejects.position))],
    raw: [rejects.texts],
    message_at: int64(rejects.messageAtMs),
  };
  const columns = SENT_COLUMNS.dead_letters.map(({ name, type }) => ({ name, type, parts: parts[name] }));
  return new NativeBlock(rejects.length, columns);
}

function bytesOf({ buffer }: { readonly buffer: ArrayBufferLike }): Uint8Array {
  return new Uint8Array(buffer);
}
