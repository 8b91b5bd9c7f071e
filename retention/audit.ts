import type { ClickHouseClient } from '@clickhouse/client';
import { deadLettersSql } from '../schemas/dead-letters.ts';
import { requireKnownFeed } from '../schemas/feed.ts';
import { countingRanges, holesBetween, type CountingRange } from '../schemas/ledger-ranges.ts';
import { monthsSql } from '../schemas/retention-term.ts';
import type { Settings } from '../schemas/settings.ts';
import { sourceSpans, spansCondition, type FeedClaim, type SourceSpan } from '../schemas/source-spans.ts';
import { termsOf } from '../schemas/stored-settings.ts';
import { select, withRetentionClient } from './clickhouse.ts';
import { feedsWithIds, findConflicts, type Conflicts } from './conflicts.ts';
import { knownFeeds } from './known-feeds.ts';
import { letterTerms } from './table-terms.ts';

/** What is wrong with a range of a partition. */
export type AuditFault =
  /** The ledger does not cover these offsets. */
  | 'ledger_hole'
  /** `cdr` and `cdr_by_number` hold other records. */
  | 'tables_differ'
  /** There are other numbers of dead letters than the ledger counts. */
  | 'dead_letters_differ'
  /** `cdr` holds more records than the ledger accepted, those not counted that stand where a dead letter stood. */
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
  /** Beside these: records that were rejected, and that a replay of dead letters stored at their place. */
  readonly replayed: number;
  /** Records that sweeps took away from the tables because their term was over. */
  readonly swept: number;
  /** Records that erasures took away by the wish of a person. */
  readonly erased: number;
  /**
   * The rest: duplicates that collapsed into a record at another place, or records that are gone from both
   * tables. Without re-sent records it must be 0; `strict` says that it must.
   */
  readonly elsewhere: number;
  /** Offsets that Kafka lost before they were read, as somebody accepted (`ingest accept-gap`). */
  readonly lost_offsets: number;
  readonly differences: readonly AuditDifference[];
  /** Ids of the switch under which more than one record was sent. Nothing is wrong with the tables there. */
  readonly conflicts: readonly Conflicts[];
}

/** Offsets `[from, next)` that somebody accepted as lost. */
interface AcceptedGap {
  readonly topic: string;
  readonly topic_id: string;
  readonly partition: number;
  readonly from: number;
  readonly next: number;
}

type PartitionReport = Omit<AuditReport, 'conflicts' | 'swept' | 'erased'>;

interface LedgerRow {
  readonly topic: string;
  readonly topic_id: string;
  readonly partition: number;
  readonly feed: string;
  readonly generation: number;
  readonly from: number;
  readonly next: number;
  readonly stored: number;
  /** Of the stored those of hours that had begun to be due at the newest sweep: they may be gone. */
  readonly due: number;
  /** Of the stored so many, at most, that an erasure can have taken away: as many as it took of their hours. */
  readonly erasable: number;
  readonly rejected: number;
  /** 1: a rejected record of it may be past its term, so that it is gone. */
  readonly lettersDue: number;
  /** Unix seconds. */
  readonly storedAt: number;
}

/** Rows of a table within the range that begins at `from`. */
interface Found {
  readonly rows: number;
  /** Digest of the set of rows of a call table. */
  readonly digest: string;
  /** Of the rows of `cdr` those that stand where a dead letter stood. */
  readonly replayed: number;
  /** Of dead letters, beside `rows`: those that reading again put an end to. */
  readonly superseded: number;
}

/**
 * Compares the ledger's ranges with the source positions in both call tables and the dead letters. Of a topic
 * that was re-created only the newest one is compared: the positions of the older one may coincide. Throws FEED_UNKNOWN.
 */
export async function audit(
  settings: Settings,
  options: { readonly feed?: string; readonly strict: boolean },
): Promise<AuditReport> {
  const { database } = settings.clickhouse;
  return withRetentionClient(settings, async (client) => {
    const ledger = await readLedger(client, settings);
    if (options.feed !== undefined) requireKnownFeed(options.feed, await knownFeeds(client, settings));
    const rows = ledger.filter(({ feed }) => options.feed === undefined || options.feed === feed);
    const partitions = new Map<string, LedgerRow[]>();
    for (const row of rows) {
      const name = `${row.topic}/${row.partition}`;
      partitions.set(name, [...(partitions.get(name) ?? []), row]);
    }
    const accepted = await select<AcceptedGap>(
      client,
      `SELECT topic, topic_id, partition, from_offset AS from, next_offset AS next FROM ${database}.accepted_gaps FINAL`,
    );
    const reports: PartitionReport[] = [];
    for (const of of partitions.values())
      reports.push(
        await auditPartition(client, database, { rows: of, ledger, accepted, strict: options.strict }),
      );
    const total = sum(reports);
    const { swept, erased } = await readAdjusted(client, database, [
      ...new Set(rows.map(({ feed }) => feed)),
    ]);
    return {
      ...total,
      swept,
      erased,
      // What is gone may have come from a topic of before that is not audited.
      elsewhere: Math.max(0, total.elsewhere - swept - erased),
      conflicts: await findConflicts(client, database, feedsInQuestion(settings, rows)),
    };
  });
}

/** Names under which records with an id of the switch were stored, as far as they are audited. */
function feedsInQuestion({ feeds }: Settings, rows: readonly LedgerRow[]): string[] {
  const topics = new Set(feedsWithIds(feeds).map(({ topic }) => topic));
  return [...new Set(rows.filter(({ topic }) => topics.has(topic)).map(({ feed }) => feed))];
}

async function auditPartition(
  client: ClickHouseClient,
  database: string,
  {
    rows,
    ledger,
    accepted: acceptedGaps,
    strict,
  }: {
    readonly rows: readonly LedgerRow[];
    readonly ledger: readonly LedgerRow[];
    readonly accepted: readonly AcceptedGap[];
    readonly strict: boolean;
  },
): Promise<PartitionReport> {
  const newest = rows.reduce((a, b) => (b.generation > a.generation ? b : a));
  const ranges = countingRanges(rows.filter(({ topic_id }) => topic_id === newest.topic_id));
  const { topic, topic_id, partition } = newest;
  const letters = deadLettersSql(database, {}, { topic, topicId: topic_id, partition });
  // What was superseded is no longer rejected: its range was read again, and the ledger counts what came of that.
  const isRejected = "state != 'superseded'";
  // The feed may have had other names.
  const feeds = [...new Set(ranges.map(({ row }) => row.feed))];
  const parameters = { ...letters.parameters, feeds, partition, froms: ranges.map(({ from }) => from) };
  const place = `source_partition = {partition: Int32} AND (${spansCondition(spansOf(newest, feeds, ledger))})`;
  const digest = 'toString(groupBitXor(sipHash64(source_offset, source_line, cdr_key)))';
  const [cdr, byNumber, deadLetters] = await Promise.all([
    rowsByRange(
      client,
      `SELECT roundDown(source_offset, {froms: Array(Int64)}) AS from, count() AS rows, ${digest} AS digest,
        countIf((source_offset, source_line) IN (SELECT offset, line FROM ${letters.from} WHERE ${isRejected})) AS replayed, 0 AS superseded
      FROM ${database}.cdr FINAL WHERE ${place} GROUP BY from`,
      parameters,
    ),
    rowsByRange(
      client,
      `SELECT roundDown(source_offset, {froms: Array(Int64)}) AS from, count() AS rows, ${digest} AS digest, 0 AS replayed, 0 AS superseded
      FROM ${database}.cdr_by_number FINAL WHERE ${place} AND role = 'dialed' GROUP BY from`,
      parameters,
    ),
    rowsByRange(
      client,
      `SELECT roundDown(offset, {froms: Array(Int64)}) AS from, countIf(${isRejected}) AS rows, '' AS digest, 0 AS replayed,
        countIf(NOT ${isRejected}) AS superseded
      FROM ${letters.from} WHERE feed IN {feeds: Array(String)} GROUP BY from`,
      parameters,
    ),
  ]);
  const lost = acceptedGaps.filter(
    (gap) => gap.topic === topic && gap.topic_id === topic_id && gap.partition === partition,
  );
  const holes = holesBetween(ranges);
  const unexplained = holesBetween([...ranges, ...lost].sort((a, b) => a.from - b.from));
  const differences: AuditDifference[] = unexplained.map(({ from, next }) => ({
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
  let found = 0;
  let replayed = 0;
  for (const range of ranges) {
    const at = {
      cdr: cdr.get(range.from),
      byNumber: byNumber.get(range.from),
      dead: deadLetters.get(range.from),
    };
    found += (at.cdr?.rows ?? 0) - (at.cdr?.replayed ?? 0);
    replayed += at.cdr?.replayed ?? 0;
    const fault = judge(range, at, { strict, isRead: range.row.generation === newest.generation });
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
    found,
    replayed,
    elsewhere: accepted - found,
    lost_offsets: lengthOf(holes) - lengthOf(unexplained),
    differences,
  };
}

/** When rows of these names came from this topic: another feed may have had one of them before, or since. */
function spansOf(
  { topic, topic_id, partition }: LedgerRow,
  feeds: readonly string[],
  ledger: readonly LedgerRow[],
): SourceSpan[] {
  const claims = new Map<string, FeedClaim & { generation: number }>();
  for (const row of ledger) {
    if (row.partition !== partition || !feeds.includes(row.feed)) continue;
    const key = JSON.stringify([row.feed, row.topic, row.topic_id, row.generation]);
    const claimedAt = Math.min(row.storedAt, claims.get(key)?.claimedAt ?? Infinity);
    const { feed, generation } = row;
    claims.set(key, { feed, topic: row.topic, topicId: row.topic_id, generation, claimedAt });
  }
  const inOrder = [...claims.values()].sort(
    (a, b) => a.claimedAt - b.claimedAt || a.generation - b.generation,
  );
  return feeds.flatMap((feed) => {
    const own = inOrder.filter((claim) => claim.feed === feed);
    // Clocks do not matter where all rows of the name are from here.
    return own.every((claim) => claim.topic === topic && claim.topicId === topic_id)
      ? [{ feed, since: 0, before: undefined }]
      : sourceSpans(own, topic, topic_id);
  });
}

function lengthOf(holes: readonly { readonly from: number; readonly next: number }[]): number {
  return holes.reduce((length, { from, next }) => length + next - from, 0);
}

function judge(
  { row, next }: CountingRange<LedgerRow>,
  { cdr, byNumber, dead }: { cdr: Found | undefined; byNumber: Found | undefined; dead: Found | undefined },
  { strict, isRead }: { readonly strict: boolean; readonly isRead: boolean },
): AuditFault | undefined {
  if (cdr?.digest !== byNumber?.digest || cdr?.rows !== byNumber?.rows) return 'tables_differ';
  // Of a range that a newer generation cut short, the ledger's counts cover more than what counts.
  if (next < row.next) return undefined;
  const gone = row.rejected - (dead?.rows ?? 0);
  // Of what Kafka no longer had when it was to be read again nothing took the place (`feeds reload --remove-gone`).
  const isEnded = !isRead && cdr === undefined && dead?.superseded === row.rejected;
  if (gone < 0 || (gone > 0 && !isEnded && row.lettersDue === 0)) return 'dead_letters_differ';
  const asRead = (cdr?.rows ?? 0) - (cdr?.replayed ?? 0);
  // What a replay stored is known by its rejected record, which may be gone.
  if (asRead > row.stored + gone) return 'too_many';
  return strict && asRead + row.due + row.erasable < row.stored ? 'too_few' : undefined;
}

async function readLedger(client: ClickHouseClient, settings: Settings): Promise<LedgerRow[]> {
  const {
    clickhouse: { database },
    kafka,
  } = settings;
  const ofLetters = letterTerms(settings, termsOf(settings));
  const [newest] = await select<{ all: number; feeds: Record<string, number>; due: number }>(
    client,
    `SELECT argMax(term_months, due_at) AS all, argMax(feed_terms, due_at) AS feeds, toUnixTimestamp(toDateTime(max(due_at), 'UTC')) AS due
     FROM ${database}.retention_proofs FINAL WHERE state = 'done'`,
  );
  // Offsets and counts are far below 2^53. The last hour that had begun to be due may be gone in part.
  return select<LedgerRow>(
    client,
    `WITH ${monthsSql(newest!)} AS months
     SELECT topic, topic_id, partition, feed, generation, from_offset AS from, next_offset AS next, stored, rejected,
        arraySum(arrayMap((hour, calls) -> if(addMonths(hour, months) <= toDateTime({due: UInt32}, 'UTC'), calls, 0),
          mapKeys(stored_by_hour), mapValues(stored_by_hour))) AS due,
        arraySum(arrayMap((hour, calls) -> least(calls, erased[hour]), mapKeys(stored_by_hour), mapValues(stored_by_hour))) AS erasable,
        addMonths(message_at_max - toIntervalDay({topic_days: UInt32}), ${monthsSql(ofLetters)}) <= now64(3, 'UTC') AS lettersDue,
        toUnixTimestamp(toDateTime(stored_at, 'UTC')) AS storedAt
      FROM (SELECT * FROM ${database}.ingest_ledger FINAL) AS ledger
      LEFT JOIN (
        SELECT toString(feed) AS feed, mapFromArrays(groupArray(hour), groupArray(calls)) AS erased
        FROM (SELECT feed, hour, sum(calls) AS calls FROM ${database}.adjustments FINAL WHERE kind = 'erased' GROUP BY feed, hour)
        GROUP BY feed
      ) AS erasures USING (feed)
      WHERE kind = 'read' ORDER BY topic, partition, generation, from_offset`,
    {
      due: newest!.due,
      // The oldest message of a range can be as much older than the newest as Kafka keeps both.
      topic_days: kafka.topic_retention_days,
    },
  );
}

/** Calls of these feeds that sweeps and erasures took away. */
async function readAdjusted(
  client: ClickHouseClient,
  database: string,
  feeds: readonly string[],
): Promise<{ readonly swept: number; readonly erased: number }> {
  const [row] = await select<{ swept: number; erased: number }>(
    client,
    `SELECT sumIf(calls, kind = 'swept') AS swept, sumIf(calls, kind = 'erased') AS erased FROM ${database}.adjustments FINAL
     WHERE feed IN {feeds: Array(String)}`,
    { feeds },
  );
  return row!;
}

async function rowsByRange(
  client: ClickHouseClient,
  query: string,
  parameters: Record<string, unknown>,
): Promise<Map<number, Found>> {
  // A partition without ranges has no bounds to round to.
  if ((parameters['froms'] as unknown[]).length === 0) return new Map();
  const rows = await select<Found & { from: number }>(client, query, parameters, {
    do_not_merge_across_partitions_select_final: 1,
  });
  return new Map(rows.map(({ from, ...rest }) => [from, rest]));
}

function sum(reports: readonly PartitionReport[]): PartitionReport {
  const total = (of: (report: PartitionReport) => number): number =>
    reports.reduce((all, report) => all + of(report), 0);
  return {
    partitions: reports.length,
    ranges: total((r) => r.ranges),
    accepted: total((r) => r.accepted),
    found: total((r) => r.found),
    replayed: total((r) => r.replayed),
    elsewhere: total((r) => r.elsewhere),
    lost_offsets: total((r) => r.lost_offsets),
    differences: reports.flatMap(({ differences }) => differences),
  };
}
