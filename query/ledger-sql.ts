import { moment } from '../schemas/sql-time.ts';
import type { Statement } from './calls-sql.ts';

/**
 * Rows of the ledger that count, as a table expression: replays, and what was read and is not read again. A generation
 * begins where its first range does, and ranges of older ones that begin at or beyond that place do not count
 * (`countingRanges` in schemas says the same of one partition). A range that is cut there counts whole. `border` is the
 * place of a `read` row from which on newer generations count. To find it no FINAL is needed: a row that was written twice
 * begins where it did.
 */
export function countedLedger(database: string): string {
  const log = 'cluster_id, topic, topic_id, partition';
  return `(
  SELECT * FROM (SELECT * FROM ${database}.ingest_ledger FINAL) AS ledger
  LEFT JOIN (
    SELECT ${log}, generation,
      ifNull(minOrNull(begin) OVER (PARTITION BY ${log} ORDER BY generation DESC
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), toInt64(9223372036854775807)) AS border
    FROM (
      SELECT ${log}, generation, min(from_offset) AS begin
      FROM ${database}.ingest_ledger WHERE kind = 'read' GROUP BY ${log}, generation
    )
  ) AS borders USING (${log}, generation)
  WHERE kind = 'replay' OR from_offset < border
)`;
}

/**
 * How far each log of each feed is read: up to the time of its newest message among the ranges that were stored since, or, as
 * a row of no feed, the last moment at which ingest had stored all that Kafka had. Not what a rewind took back, which
 * `GET /v1/feeds` knows: it is asked every few seconds.
 */
export function logProgressSql(database: string, sinceMs: number): Statement {
  const text = `SELECT feed, topic, topic_id AS topicId, partition, max(generation) AS generation,
  toUnixTimestamp64Milli(max(message_at_max)) AS readUpToMs
FROM ${database}.ingest_ledger WHERE kind = 'read' AND stored_at >= ${moment('since_ms')}
GROUP BY feed, topic, topic_id, partition
UNION ALL
SELECT '' AS feed, topic, topic_id, partition, 0, toUnixTimestamp64Milli(caught_up_at)
FROM ${database}.ingest_heartbeats FINAL`;
  return { text, parameters: { since_ms: sinceMs } };
}

/** SQL of what the counted ledger knows of a feed since its start, for a SELECT that is grouped by feed. */
export const FEED_COUNTS = `sumIf(records, kind = 'read') AS all_consumed,
  sumIf(stored, kind = 'read') AS all_stored,
  sumIf(rejected, kind = 'read') AS all_rejected,
  sumIf(suppressed, kind = 'read') AS all_suppressed,
  sumIf(skipped, kind = 'read') AS all_skipped,
  sumIf(stored, kind = 'replay') AS all_replayed`;

/** A row with `FEED_COUNTS` (64-bit integers as text). */
export interface FeedCountsRow {
  readonly all_consumed: string;
  readonly all_stored: string;
  readonly all_rejected: string;
  readonly all_suppressed: string;
  readonly all_skipped: string;
  readonly all_replayed: string;
}

/** The counts as answers show them; of a feed without a row all are 0. */
export function feedCounts(row: FeedCountsRow | undefined) {
  return {
    consumed: row?.all_consumed ?? '0',
    stored: row?.all_stored ?? '0',
    rejected: row?.all_rejected ?? '0',
    suppressed: row?.all_suppressed ?? '0',
    skipped: row?.all_skipped ?? '0',
    replayed: row?.all_replayed ?? '0',
  };
}
