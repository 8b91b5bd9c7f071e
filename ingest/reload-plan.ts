import { countingRanges, type CountingRange, type LedgerRange } from '../schemas/ledger-ranges.ts';

/** What the ledger says of a range, as far as reloading a feed needs it. */
export interface ReadRange extends LedgerRange {
  readonly topic: string;
  readonly topicId: string;
  readonly partition: number;
  /** The feed's name at that time. */
  readonly feed: string;
  readonly reading: string;
  readonly messages: number;
  readonly stored: number;
  readonly rejected: number;
  /** Newest Kafka timestamp in UTC ms; 0 if none. */
  readonly messageAtMax: number;
  /** Stored calls by UTC hour of their start, `YYYY-MM-DD hh:mm:ss`; may be left out for the reading of today. */
  readonly hours: Readonly<Record<string, number>>;
}

/** Kafka times, `[fromMs, toMs)`, UTC ms. */
export interface ReloadTime {
  readonly fromMs: number;
  /** Undefined: to the end. */
  readonly toMs: number | undefined;
}

/** What Kafka holds of a partition. */
export interface HeldLog {
  /** Offsets from here on are held. */
  readonly low: number;
  /** Where the ledger stands. */
  readonly end: number;
  /** The first offset of `fromMs` or later; undefined: no message is as new. */
  readonly fromOffset: number | undefined;
  /** The same of `toMs`. */
  readonly toOffset: number | undefined;
}

/** Why Kafka cannot give a range again. */
export type GoneReason = 'expired' | 'topic_deleted' | 'topic_not_read';

/** Neighbouring ranges of a partition that were read with other settings, and that Kafka does not hold. */
export interface GoneRange {
  readonly reason: GoneReason;
  readonly topic: string;
  readonly topicId: string;
  readonly partition: number;
  readonly feed: string;
  readonly from: number;
  readonly next: number;
  /** Newest Kafka time of the first of them and of all, UTC ms. */
  readonly firstMessageAt: number;
  readonly lastMessageAt: number;
  /** Records that were accepted, duplicates included; where the ledger's ranges reach beyond, those beyond too. */
  readonly stored: number;
  readonly rejected: number;
  /** Of the stored ones, calls by UTC day of their start. */
  readonly days: Readonly<Record<string, number>>;
}

export interface PartitionPlan {
  /** Where reading begins again, and up to where rows of another reading are replaced. Undefined: nowhere. */
  readonly again: { readonly from: number; readonly until: number } | undefined;
  readonly gone: readonly GoneRange[];
  /** Ranges behind `toMs` that were read with other settings, where something is to be read again. */
  readonly behind:
    { readonly from: number; readonly next: number; readonly lastMessageAt: number } | undefined;
}

/**
 * What reloading does in one partition of the feed's topic.
 *
 * Kafka is read forward from one place to its end, so what lies behind the time is read again too. That changes
 * nothing where it was read with today's settings; where it was not, `behind` says so.
 *
 * @param ranges those that count, of this topic and partition, in offset order
 * @param reading of the feed, now
 */
export function planPartition(
  ranges: readonly CountingRange<ReadRange>[],
  { low, end, fromOffset = Infinity, toOffset = Infinity }: HeldLog,
  time: ReloadTime,
  reading: string,
): PartitionPlan {
  const begin = Math.max(low, fromOffset);
  const stop = Math.min(end, toOffset);
  const others = ranges.filter(({ row }) => wasReadOtherwise(row, reading));
  const inTime = others.filter(({ from, next }) => next > begin && from < stop);
  const gone = inTimeByLedger(ranges, time)
    .filter(
      ({ row, from, next }) =>
        wasReadOtherwise(row, reading) && from < low && (next <= low || fromOffset <= low),
    )
    .map((range) => ({ ...range, next: Math.min(range.next, low) }));
  const first = inTime[0];
  if (first === undefined) return { again: undefined, gone: joinGone(gone, 'expired'), behind: undefined };
  const beyond = others.filter(({ next }) => next > toOffset);
  const behind =
    beyond.length === 0
      ? undefined
      : {
          from: Math.max(toOffset, beyond[0]!.from),
          next: beyond.at(-1)!.next,
          lastMessageAt: beyond.reduce((newest, { row }) => Math.max(newest, row.messageAtMax), 0),
        };
  const again = { from: Math.max(begin, first.from), until: inTime.at(-1)!.next };
  return { again, gone: joinGone(gone, 'expired'), behind };
}

/** What was read with other settings, within the time, from where nothing can be read any more. */
export function planGone(
  rows: readonly ReadRange[],
  time: ReloadTime,
  reading: string,
  reason: GoneReason,
): GoneRange[] {
  const ranges = inTimeByLedger(countingRanges(rows), time);
  return joinGone(
    ranges.filter(({ row }) => wasReadOtherwise(row, reading)),
    reason,
  );
}

function wasReadOtherwise(row: ReadRange, reading: string): boolean {
  return row.messages > 0 && row.reading !== reading;
}

/**
 * Ranges that may hold messages of this time. The ledger knows the newest message of each; the oldest one is taken
 * to be no older than the newest one before it.
 */
function inTimeByLedger(
  ranges: readonly CountingRange<ReadRange>[],
  { fromMs, toMs = Infinity }: ReloadTime,
): CountingRange<ReadRange>[] {
  return ranges.filter(
    ({ row }, index) =>
      row.messageAtMax >= fromMs && (index === 0 || ranges[index - 1]!.row.messageAtMax < toMs),
  );
}

function joinGone(ranges: readonly CountingRange<ReadRange>[], reason: GoneReason): GoneRange[] {
  const runs: CountingRange<ReadRange>[][] = [];
  for (const range of ranges) {
    const last = runs.at(-1)?.at(-1);
    if (last?.next === range.from && last.row.feed === range.row.feed) runs.at(-1)!.push(range);
    else runs.push([range]);
  }
  return runs.map((run) => {
    const rows = run.map(({ row }) => row);
    const { topic, topicId, partition, feed } = rows[0]!;
    return {
      reason,
      topic,
      topicId,
      partition,
      feed,
      from: run[0]!.from,
      next: run.at(-1)!.next,
      firstMessageAt: rows[0]!.messageAtMax,
      lastMessageAt: rows.reduce((newest, row) => Math.max(newest, row.messageAtMax), 0),
      stored: rows.reduce((sum, row) => sum + row.stored, 0),
      rejected: rows.reduce((sum, row) => sum + row.rejected, 0),
      days: callsByDay(rows),
    };
  });
}

function callsByDay(rows: readonly ReadRange[]): Record<string, number> {
  const days = new Map<string, number>();
  for (const { hours } of rows) {
    for (const [hour, count] of Object.entries(hours)) {
      const day = hour.slice(0, 'YYYY-MM-DD'.length);
      days.set(day, (days.get(day) ?? 0) + count);
    }
  }
  return Object.fromEntries([...days].sort(([a], [b]) => (a < b ? -1 : 1)));
}
