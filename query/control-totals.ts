import { moment } from '../schemas/sql-time.ts';
import type { ControlRow, ControlTotals } from '../schemas/api.ts';
import { SORTING_KEYS } from '../schemas/tables.ts';
import type { Statement } from './calls-sql.ts';
import type { SelectSource } from './clickhouse.ts';
import type { Range } from './cursor.ts';
import type { KnownFeeds } from './feeds.ts';
import { countedLedger, FEED_COUNTS, feedCounts, type FeedCountsRow } from './ledger-sql.ts';
import {
  keptCondition,
  rangeConditions,
  rangeParameters,
  reachesBehind,
  reachesTerm,
  type Term,
} from './term-sql.ts';
import { writeMoment, writeTime } from './times.ts';

const HOUR_MS = 3_600_000;
/** What a DateTime of the ledger holds. */
const HOUR_SECONDS_MAX = 0xffff_ffff;

/** What is counted: all calls of these feeds in the hours that a range touches, since the ledger counts by hour. */
interface ControlQuestion {
  readonly hours: Range;
  readonly term: Term;
  readonly feeds: readonly string[];
}

interface AcceptedRow extends FeedCountsRow {
  readonly feed: string;
  readonly accepted: string;
}

interface LiveRow {
  readonly feed: string;
  readonly live: string;
  /** Past their term, and not swept yet: nobody reads them, and they are still there. */
  readonly overdue: string;
}

interface AdjustedRow {
  readonly feed: string;
  readonly swept: string;
  readonly erased: string;
}

interface MarkersRow {
  readonly feed: string;
  readonly corrected: string;
  readonly removed: string;
}

/** The whole UTC hours that a range touches. */
function hoursOf({ fromMs, toMs }: Range): Range {
  return { fromMs: Math.floor(fromMs / HOUR_MS) * HOUR_MS, toMs: Math.ceil(toMs / HOUR_MS) * HOUR_MS };
}

/** By feed: what the ledger accepted in the hours, and all that it counts since the feed's start. */
function acceptedSql(database: string, { hours, feeds }: ControlQuestion): Statement {
  const text = `SELECT feed,
  sum(arraySum(arrayMap((hour, calls) -> if(hour >= toDateTime({hour_from: UInt32}, 'UTC') AND hour < toDateTime({hour_to: UInt32}, 'UTC'), calls, 0),
    mapKeys(stored_by_hour), mapValues(stored_by_hour)))) AS accepted,
  ${FEED_COUNTS}
FROM ${countedLedger(database)}
WHERE feed IN {feeds: Array(String)}
GROUP BY feed`;
  return { text, parameters: { ...hourParameters(hours), feeds } };
}

function hourParameters({ fromMs, toMs }: Range): Record<string, number> {
  return { hour_from: hourSeconds(fromMs), hour_to: hourSeconds(toMs) };
}

function hourSeconds(ms: number): number {
  return Math.min(Math.max(0, ms / 1000), HOUR_SECONDS_MAX);
}

/** By feed: calls of the hours that are read now, and those past their term that are still there. */
function liveSql(database: string, { hours, term, feeds }: ControlQuestion): Statement {
  const isLive = reachesTerm(hours, term) ? keptCondition(term) : 'true';
  const text = `SELECT feed, countIf(${isLive}) AS live, countIf(NOT ${isLive}) AS overdue
FROM ${database}.cdr FINAL
WHERE start_at >= ${moment('from_ms')} AND start_at < ${moment('to_ms')} AND feed IN {feeds: Array(String)}
GROUP BY feed`;
  return { text, parameters: { ...rangeParameters(hours, term), from_ms: hours.fromMs, feeds } };
}

/** By feed: calls of the hours that sweeps and erasures took away. */
function adjustedSql(database: string, { hours, feeds }: ControlQuestion): Statement {
  const text = `SELECT feed, sumIf(calls, kind = 'swept') AS swept, sumIf(calls, kind = 'erased') AS erased
FROM ${database}.adjustments FINAL
WHERE hour >= toDateTime({hour_from: UInt32}, 'UTC') AND hour < toDateTime({hour_to: UInt32}, 'UTC')
  AND feed IN {feeds: Array(String)}
GROUP BY feed`;
  return { text, parameters: { ...hourParameters(hours), feeds } };
}

/**
 * By feed: delete markers in the hours that no newer row stands above. Those of `feeds reload --remove-gone`, whose
 * numbers a ledger row of no length notes, removed calls; all others were replaced by another reading.
 */
function markersSql(database: string, { hours, term, feeds }: ControlQuestion): Statement {
  const key = SORTING_KEYS.cdr;
  const inHours = rangeConditions(hours, term).join(' AND ');
  const marked = `SELECT ${key} FROM ${database}.cdr WHERE is_deleted = 1 AND ${inHours}`;
  const text = `SELECT of_feed AS feed, countIf(NOT is_removal) AS corrected, countIf(is_removal) AS removed
FROM (
  SELECT any(feed) AS of_feed,
    bitShiftRight(max(version), 32) IN (
      SELECT toUInt64(correction) FROM ${database}.ingest_ledger WHERE kind = 'replay' AND correction > 0
    ) AS is_removal
  FROM ${database}.cdr
  WHERE is_deleted = 1 AND ${inHours} AND feed IN {feeds: Array(String)}
    AND (${key}) NOT IN (
      SELECT ${key} FROM ${database}.cdr FINAL WHERE ${inHours} AND (${key}) IN (${marked})
    )
  GROUP BY ${key}
)
GROUP BY of_feed`;
  return { text, parameters: { ...rangeParameters(hours, term), feeds } };
}

/**
 * Control totals of the range's hours. The ledger is read before the calls: what is stored meanwhile is `not_in_ledger`,
 * never a duplicate.
 */
export async function readControlTotals(
  source: SelectSource,
  { range, term, zone }: { readonly range: Range; readonly term: Term; readonly zone: string },
  known: KnownFeeds,
  signal: AbortSignal,
): Promise<ControlTotals> {
  const hours = hoursOf(range);
  const feeds = [...known.keys()];
  const question = { hours, term, feeds };
  const { database } = source;
  const accepted = await source.select<AcceptedRow>('ledger', acceptedSql(database, question), signal);
  const [live, markers, adjusted] = await Promise.all([
    source.select<LiveRow>('live calls', liveSql(database, question), signal),
    source.select<MarkersRow>('markers', markersSql(database, question), signal),
    source.select<AdjustedRow>('adjustments', adjustedSql(database, question), signal),
  ]);
  // What ClickHouse's own TTL takes, a month later than a sweep should have, is counted nowhere.
  const mayHaveExpired = reachesBehind(hours, term.months.all + 1, term.nowMs);
  return {
    from: writeTime(hours.fromMs, zone),
    to: writeTime(hours.toMs, zone),
    feeds: feeds.map((feed) => {
      const ofFeed = <Row extends { feed: string }>(rows: readonly Row[]): Row | undefined =>
        rows.find((row) => row.feed === feed);
      return {
        feed,
        read_up_to: writeMoment(known.get(feed) ?? null, zone),
        ...balance({
          accepted: ofFeed(accepted)?.accepted,
          live: ofFeed(live)?.live,
          overdue: ofFeed(live)?.overdue,
          corrected: ofFeed(markers)?.corrected,
          removed: ofFeed(markers)?.removed,
          swept: ofFeed(adjusted)?.swept,
          erased: ofFeed(adjusted)?.erased,
          mayHaveExpired,
        }),
        since_start: feedCounts(ofFeed(accepted)),
      };
    }),
  };
}

interface Counted {
  readonly accepted: string | undefined;
  readonly live: string | undefined;
  readonly overdue: string | undefined;
  readonly corrected: string | undefined;
  readonly removed: string | undefined;
  readonly swept: string | undefined;
  readonly erased: string | undefined;
  readonly mayHaveExpired: boolean;
}

/** accepted + not_in_ledger = live + duplicates + removed + swept + erased, where all that is past its term is swept. */
function balance({
  accepted = '0',
  live = '0',
  overdue = '0',
  corrected = '0',
  removed = '0',
  swept = '0',
  erased = '0',
  mayHaveExpired,
}: Counted): Omit<ControlRow, 'feed' | 'read_up_to' | 'since_start'> {
  const gone = BigInt(accepted) - BigInt(live) - BigInt(overdue) - BigInt(removed) - BigInt(swept);
  const explained = erasedOf(gone, BigInt(erased));
  const rest = gone - explained;
  return {
    accepted,
    live,
    duplicates: mayHaveExpired ? null : String(rest > 0n ? rest : 0n),
    corrected,
    removed,
    swept,
    erased: String(explained),
    not_in_ledger: String(rest < 0n ? -rest : 0n),
  };
}

/** What was erased and is read from the topic again is suppressed, and no longer among the accepted. */
function erasedOf(gone: bigint, erased: bigint): bigint {
  return gone < 0n ? 0n : gone < erased ? gone : erased;
}
