import type { LedgerHead, NotedGap } from './clickhouse.ts';

/** What Kafka says of a partition: its identity, and the offsets that its log holds, `[low, high)`. */
export interface PartitionLog {
  readonly clusterId: string;
  readonly topicId: string;
  readonly low: number;
  readonly high: number;
}

/** Where to go on: at `offset`, under a new `generation`; or not at all, until someone accepts the gap. */
export type Resume =
  | { readonly kind: 'resume'; readonly offset: number; readonly generation: number }
  | ({ readonly kind: 'gap' } & Gap);

export interface Gap {
  readonly reason: string;
  /** Offset at which the ledger says to go on. */
  readonly expected: number;
  /** The lowest end that the log was seen to have. */
  readonly logEnd: number;
  /** Where reading goes on once somebody accepts it: nothing that Kafka holds and nobody has read lies before. */
  readonly onward: number;
}

/**
 * Where a partition goes on, from its newest generation in the ledger and from what Kafka holds.
 *
 * Invariants: a generation begins with a claim (a range of no length) at the place where the older ones
 * ended, so the newest one alone decides; its ranges tile from there, so the place is the end of their
 * contiguous run. Without a ledger it is the log's start, never the group's commit: a rebuilt database must
 * get everything. A gap that was noted holds until somebody accepts it: a log that lost its end grows over the
 * place where the ledger stands, with other records (docs/decisions/0028).
 *
 * @param end end of the contiguous run of the head's ranges (`contiguousEnd`)
 * @param noted the gap that was noted and that nobody has accepted
 */
export function decideResume(
  head: LedgerHead | undefined,
  end: number,
  log: PartitionLog,
  noted: NotedGap | undefined,
): Resume {
  if (head === undefined) return { kind: 'resume', offset: log.low, generation: 1 };
  const logEnd = Math.min(log.high, noted?.logEnd ?? log.high);
  const gap = (reason: string, onward: number): Resume => ({
    kind: 'gap',
    reason,
    expected: end,
    logEnd,
    onward,
  });
  if (head.clusterId !== log.clusterId)
    return gap('the ledger knows this topic from another Kafka cluster', log.low);
  if (head.topicId !== log.topicId) return gap('the topic was deleted and created again', log.low);
  if (end < log.low) return gap(`Kafka no longer holds offsets ${end} to ${log.low - 1}`, log.low);
  const readable = Math.max(log.low, Math.min(end, logEnd));
  if (end > log.high)
    return gap(`the log ends at ${log.high}, before the place where the ledger stands`, readable);
  if (noted !== undefined) return gap(noted.reason, readable);
  return { kind: 'resume', offset: end, generation: head.generation + 1 };
}

/** A range `[resume offset, until)` in which rows of another reading may stand. */
export interface CorrectionZone {
  readonly until: number;
  /** Number of a correction that has begun: nothing of the other reading can arrive any more. */
  readonly begun: number | undefined;
}

/**
 * Whether rows of another reading may stand from here on. They do where a crash left rows that the ledger does
 * not speak of and the feed's settings have changed since, and where someone had a range read again under
 * other settings; in either case until all of the range has been read.
 *
 * @param offset where the partition goes on
 * @param reading of the feed, now
 * @param high end of the log: nothing was ever read beyond it
 */
export function correctionZone(
  head: LedgerHead | undefined,
  offset: number,
  reading: string,
  high: number,
): CorrectionZone | undefined {
  if (head === undefined) return undefined;
  const unfinished = head.correctedUntil > offset;
  const changed = head.readings.some((last) => last !== reading);
  if (unfinished && !changed && head.correction > 0)
    return { until: head.correctedUntil, begun: head.correction };
  const until = Math.max(unfinished ? head.correctedUntil : 0, changed ? high : 0);
  return until > offset ? { until, begun: undefined } : undefined;
}

/** End of the run of ranges that begins at `from` and has no gap. The ranges are in order of their begin. */
export function contiguousEnd(
  from: number,
  ranges: readonly { fromOffset: number; nextOffset: number }[],
): number {
  let end = from;
  for (const range of ranges) {
    if (range.fromOffset > end) break;
    end = Math.max(end, range.nextOffset);
  }
  return end;
}
