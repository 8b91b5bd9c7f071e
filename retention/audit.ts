import type { ClickHouseClient } from '@clickhouse/client';
import { countingRanges, holesBetween, type CountingRange } from '../schemas/ledger-ranges.ts';
import type { Settings } from '../schemas/settings.ts';
import { retentionClient } from './clickhouse.ts';

/** What is wrong with a range of a partition. */
export type AuditFault =
  /** The ledger does not cover these offsets. */
  | 'ledger_hole'
  /** `cdr` and `cdr_by_number` hold other records. */
  | 'tables_differ'
  /** There are other numbers of dead letters than the ledger counts. */
  | 'dead_letters_differ'
  /** `cdr` holds more records than the ledger accepted. */
  | 'too_many'
  /** With `strict`: fewer records than were accepted, and no other sending of them is known. */
  | 'too_few';

export interface AuditDifference {
  readonly topic: string;
  readonly partition: number;
  readonly from_offset: number;
  readonly next_offset: number;
  readonly fault: AuditFault;
  readonly ledger: number;
  readonly cdr: number;
  readonly cdr_by_number: number;
  readonly dead_letters: number;
}

export interface AuditReport {
  readonly partitions: number;
  readonly ranges: number;
  /** Records that the ledger accepted. */
  readonly accepted: number;
  /** Of these, records that stand at their place in both tables. */
  readonly found: number;
  /**
   * The rest: duplicates that collapsed into a record at another place, or records that are gone from both
   * tables. Without re-sent records and expired months it must be 0; `strict` says that it must.
   */
  readonly elsewhere: number;
  readonly differences: readonly AuditDifference[];
}

interface LedgerRow {
  readonly topic: string;
  readonly topic_id: string;
  readonly partition: number;
  readonly feed: string;
  readonly generation: number;
  readonly from: number;
  readonly next: number;
  readonly stored: number;
  readonly rejected: number;
}

/** Rows of a table within the range that begins at `from`, and a digest of their set. */
interface Found {
  readonly rows: number;
  readonly digest: string;
}

/**
 * Compares the ledger's ranges with the source positions in both call tables and the dead letters. Of a topic
 * that was re-created only the newest one is compared: the positions of the older one may coincide.
 */
export async function audit(
  settings: Settings,
  options: { readonly feed?: string; readonly strict: boolean },
): Promise<AuditReport> {
  const client = retentionClient(settings);
  const { database } = settings.clickhouse;
  try {
    const rows = (await readLedger(client, database)).filter(
      ({ feed }) => options.feed === undefined || options.feed === feed,
    );
    const partitions = new Map<string, LedgerRow[]>();
    for (const row of rows) {
      const name = `${row.topic}/${row.partition}`;
      partitions.set(name, [...(partitions.get(name) ?? []), row]);
    }
    const reports: AuditReport[] = [];
    for (const of of partitions.values())
      reports.push(await auditPartition(client, database, of, options.strict));
    return sum(reports);
  } finally {
    await client.close();
  }
}

async function auditPartition(
  client: ClickHouseClient,
  database: string,
  rows: readonly LedgerRow[],
  strict: boolean,
): Promise<AuditReport> {
  const newest = rows.reduce((a, b) => (b.generation > a.generation ? b : a));
  const ranges = countingRanges(rows.filter(({ topic_id }) => topic_id === newest.topic_id));
  const { topic, topic_id, partition, feed } = newest;
  const parameters = { feed, topic, topic_id, partition, froms: ranges.map(({ from }) => from) };
  const place = 'feed = {feed: String} AND source_partition = {partition: Int32}';
  const digest = 'toString(groupBitXor(sipHash64(source_offset, source_line, cdr_key)))';
  const [cdr, byNumber, dead] = await Promise.all([
    found(
      client,
      `SELECT roundDown(source_offset, {froms: Array(Int64)}) AS from, count() AS rows, ${digest} AS digest
      FROM ${database}.cdr FINAL WHERE ${place} GROUP BY from`,
      parameters,
    ),
    found(
      client,
      `SELECT roundDown(source_offset, {froms: Array(Int64)}) AS from, count() AS rows, ${digest} AS digest
      FROM ${database}.cdr_by_number FINAL WHERE ${place} AND role = 'dialed' GROUP BY from`,
      parameters,
    ),
    found(
      client,
      `SELECT roundDown(offset, {froms: Array(Int64)}) AS from, count() AS rows, '' AS digest
      FROM ${database}.dead_letters FINAL
      WHERE feed = {feed: String} AND topic = {topic: String} AND topic_id = {topic_id: String} AND partition = {partition: Int32}
      GROUP BY from`,
      parameters,
    ),
  ]);
  const differences: AuditDifference[] = holesBetween(ranges).map(({ from, next }) => ({
    topic,
    partition,
    from_offset: from,
    next_offset: next,
    fault: 'ledger_hole',
    ledger: 0,
    cdr: 0,
    cdr_by_number: 0,
    dead_letters: 0,
  }));
  let inTables = 0;
  for (const range of ranges) {
    const at = { cdr: cdr.get(range.from), byNumber: byNumber.get(range.from), dead: dead.get(range.from) };
    inTables += at.cdr?.rows ?? 0;
    const fault = judge(range, at, strict);
    if (fault === undefined) continue;
    differences.push({
      topic,
      partition,
      from_offset: range.from,
      next_offset: range.next,
      fault,
      ledger: fault === 'dead_letters_differ' ? range.row.rejected : range.row.stored,
      cdr: at.cdr?.rows ?? 0,
      cdr_by_number: at.byNumber?.rows ?? 0,
      dead_letters: at.dead?.rows ?? 0,
    });
  }
  const accepted = ranges.reduce((total, { row }) => total + row.stored, 0);
  return {
    partitions: 1,
    ranges: ranges.length,
    accepted,
    found: inTables,
    elsewhere: accepted - inTables,
    differences,
  };
}

function judge(
  { row, next }: CountingRange<LedgerRow>,
  { cdr, byNumber, dead }: { cdr: Found | undefined; byNumber: Found | undefined; dead: Found | undefined },
  strict: boolean,
): AuditFault | undefined {
  if (cdr?.digest !== byNumber?.digest || cdr?.rows !== byNumber?.rows) return 'tables_differ';
  // Of a range that a newer generation cut short, the ledger's counts cover more than what counts.
  if (next < row.next) return undefined;
  if ((dead?.rows ?? 0) !== row.rejected) return 'dead_letters_differ';
  if ((cdr?.rows ?? 0) > row.stored) return 'too_many';
  return strict && (cdr?.rows ?? 0) < row.stored ? 'too_few' : undefined;
}

async function readLedger(client: ClickHouseClient, database: string): Promise<LedgerRow[]> {
  const result = await client.query({
    query: `SELECT topic, topic_id, partition, feed, generation, from_offset AS from, next_offset AS next, stored, rejected
      FROM ${database}.ingest_ledger FINAL ORDER BY topic, partition, generation, from_offset`,
    format: 'JSONEachRow',
    // Offsets and counts are far below 2^53.
    clickhouse_settings: { output_format_json_quote_64bit_integers: 0 },
  });
  return result.json<LedgerRow>();
}

async function found(
  client: ClickHouseClient,
  query: string,
  parameters: Record<string, unknown>,
): Promise<Map<number, Found>> {
  // A partition without ranges has no bounds to round to.
  if ((parameters['froms'] as unknown[]).length === 0) return new Map();
  const result = await client.query({
    query,
    query_params: parameters,
    format: 'JSONEachRow',
    clickhouse_settings: {
      output_format_json_quote_64bit_integers: 0,
      do_not_merge_across_partitions_select_final: 1,
    },
  });
  const rows = await result.json<Found & { from: number }>();
  return new Map(rows.map(({ from, ...rest }) => [from, rest]));
}

function sum(reports: readonly AuditReport[]): AuditReport {
  const total = (of: (report: AuditReport) => number): number =>
    reports.reduce((all, report) => all + of(report), 0);
  return {
    partitions: reports.length,
    ranges: total((r) => r.ranges),
    accepted: total((r) => r.accepted),
    found: total((r) => r.found),
    elsewhere: total((r) => r.elsewhere),
    differences: reports.flatMap(({ differences }) => differences),
  };
}
