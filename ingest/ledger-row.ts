import type { Feed } from '../schemas/feed.ts';
import { sqlTime } from '../schemas/sql-time.ts';
import type { LedgerRow } from './clickhouse.ts';
import { emptyCounts, type SourceCounts } from './parse/batch.ts';
import type { PartitionState } from './partitions.ts';

/** Who wrote a row and when. */
export interface Written {
  readonly instance: string;
  readonly nowMs: number;
  /** Of the suppressions that the range was parsed with. */
  readonly suppressionsVersion: number;
}

/** The row that says: offsets `[from, next)` of this partition are stored, and what they held. */
export function ledgerRow(
  partition: PartitionState,
  feed: Feed,
  { from, next }: { readonly from: number; readonly next: number },
  counts: SourceCounts,
  { instance, nowMs, suppressionsVersion }: Written,
): LedgerRow {
  const { source, clusterId, generation, correction } = partition;
  return {
    cluster_id: clusterId,
    topic: source.topic,
    topic_id: source.topicId,
    partition: source.partition,
    generation,
    from_offset: from,
    next_offset: next,
    feed: feed.name,
    messages: counts.messages,
    records: counts.records,
    stored: counts.stored,
    rejected: counts.rejected,
    suppressed: counts.suppressed,
    skipped: counts.skipped,
    blanked: counts.blanked,
    rejected_by_code: counts.rejectedByCode,
    skipped_by_reason: counts.skippedByReason,
    stored_by_hour: Object.fromEntries([...counts.storedByHour].map(([hour, count]) => [hour * 3600, count])),
    zone_overlaps: counts.zoneOverlaps,
    zone_gaps: counts.zoneGaps,
    reading: feed.reading,
    suppressions_version: suppressionsVersion,
    message_at_max: sqlTime(counts.messageAtMax),
    instance,
    stored_at: sqlTime(nowMs),
    kind: 'read',
    // In every row: the first range of a generation has the key of its claim, and takes its place.
    correction: correction?.number ?? 0,
    corrected_until: correction?.until ?? 0,
  };
}

/** A range of no length, which begins the partition's generation at the place where it goes on. */
export function claimRow(
  partition: PartitionState,
  feed: Feed,
  written: Omit<Written, 'suppressionsVersion'>,
): LedgerRow {
  const { position } = partition;
  return ledgerRow(partition, feed, { from: position, next: position }, emptyCounts(), {
    ...written,
    suppressionsVersion: 0,
  });
}
