import { BATCH_MOMENT, sqlText } from './tables.ts';

/** A claim of any topic's partition for a feed. */
export interface FeedClaim {
  readonly feed: string;
  readonly topic: string;
  readonly topicId: string;
  /** Unix seconds. */
  readonly claimedAt: number;
}

/** A time in which rows of a feed came from one topic, Unix seconds: `[since, before)`. */
export interface SourceSpan {
  readonly feed: string;
  readonly since: number;
  /** Undefined: to this day. */
  readonly before: number | undefined;
}

/**
 * When rows of these feeds came from this topic: the stored rows know feed, partition and offset, but not the
 * topic, and offsets of a topic that was created again, or of another one that the feed was read from, may coincide.
 *
 * @param claims of one partition number, in order of time
 */
export function sourceSpans(claims: readonly FeedClaim[], topic: string, topicId: string): SourceSpan[] {
  const spans: SourceSpan[] = [];
  const open = new Map<string, number>();
  for (const { feed, claimedAt, ...of } of claims) {
    const since = open.get(feed);
    if (of.topic === topic && of.topicId === topicId) {
      if (since === undefined) open.set(feed, claimedAt);
    } else if (since !== undefined) {
      open.delete(feed);
      if (since < claimedAt) spans.push({ feed, since, before: claimedAt });
    }
  }
  return [...spans, ...[...open].map(([feed, since]) => ({ feed, since, before: undefined }))];
}

/**
 * SQL condition of the rows of call tables whose batches were stored in one of these spans, by the clock of the claims.
 * Without a span there are none.
 */
export function spansCondition(spans: readonly SourceSpan[]): string {
  const times = spans.map(({ feed, since, before }) => {
    const end = before === undefined ? '' : ` AND ${BATCH_MOMENT} < ${before}`;
    return `feed = ${sqlText(feed)} AND ${BATCH_MOMENT} >= ${since}${end}`;
  });
  return times.length === 0 ? '0' : times.join(' OR ');
}
