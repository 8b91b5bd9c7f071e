import { moment } from '../schemas/sql-time.ts';
import type { FEED_STATES, FeedRow } from '../schemas/api.ts';
import type { Statement } from './calls-sql.ts';
import type { SelectSource } from './clickhouse.ts';
import { countedLedger, FEED_COUNTS, feedCounts, type FeedCountsRow } from './ledger-sql.ts';
import { rangeConditions, rangeParameters, type Term } from './term-sql.ts';
import { writeMoment, writeTime } from './times.ts';

const HOUR_MS = 3_600_000;
/** Over which time the rate of records is taken. */
const RATE_SECONDS = 300;
/** Ingest tells how it stands every 10 seconds; one that did not for so long is not believed to be there. */
const STALE_MS = 60_000;

/** A log of a partition, as far as the ledger has read it. */
interface LogRow {
  readonly topic: string;
  readonly topic_id: string;
  readonly partition: number;
  readonly of_feed: string;
  readonly newest_generation: string;
  readonly ledger_end: string;
  /** 0: none of its messages had a timestamp. */
  readonly message_ms: string;
  readonly missing_offsets: string;
}

interface HeartbeatRow {
  readonly topic: string;
  readonly partition: number;
  readonly topic_id: string;
  readonly next_offset: string;
  readonly end_offset: string;
  readonly asked_ms: string;
  /** 0: not known yet. */
  readonly caught_up_ms: string;
}

interface GapRow {
  readonly topic: string;
  readonly partition: number;
  readonly next_offset: string;
  readonly detail: string;
  readonly noted_ms: string;
}

interface CountsRow extends FeedCountsRow {
  readonly feed: string;
  readonly by_code: Readonly<Record<string, string>>;
  readonly by_reason: Readonly<Record<string, string>>;
  readonly recent: string;
  /** Unix seconds of the newest hour in which a call began; 0: none. */
  readonly newest_hour: string | number;
}

interface NewestRow {
  readonly feed: string;
  readonly newest_ms: string;
}

/** Offsets of a log that were accepted as lost. */
interface LostRow {
  readonly topic: string;
  readonly topic_id: string;
  readonly partition: number;
  readonly lost_offsets: string;
}

/** What the newest audit of a feed found. */
interface ConflictsRow {
  readonly feed: string;
  readonly two_calls: string;
  readonly other_content: string;
  readonly looked_ms: string;
}

/** A feed of the settings. */
export interface FeedTerms {
  readonly name: string;
  readonly topic: string;
  readonly maxSilenceMs: number;
}

/** Of a range that a rewind cut nobody knows which of its messages are read again: its time does not count. */
function logsSql(database: string): Statement {
  const log = 'cluster_id, topic, topic_id, partition';
  const text = `SELECT topic, topic_id, partition,
  argMax(feed, generation) AS of_feed,
  max(generation) AS newest_generation,
  argMax(next_offset, (generation, next_offset)) AS ledger_end,
  toUnixTimestamp64Milli(maxIf(message_at_max, next_offset <= border)) AS message_ms,
  greatest(0, max(least(next_offset, border)) - min(from_offset) - sum(least(next_offset, border) - from_offset)) AS missing_offsets
FROM ${countedLedger(database)}
WHERE kind = 'read'
GROUP BY ${log}`;
  return { text, parameters: {} };
}

function heartbeatsSql(database: string): Statement {
  const text = `SELECT topic, partition, topic_id, next_offset, end_offset,
  toUnixTimestamp64Milli(asked_at) AS asked_ms, toUnixTimestamp64Milli(caught_up_at) AS caught_up_ms
FROM ${database}.ingest_heartbeats FINAL`;
  return { text, parameters: {} };
}

function gapsSql(database: string): Statement {
  const text = `SELECT topic, partition, next_offset, detail, toUnixTimestamp64Milli(updated_at) AS noted_ms
FROM ${database}.ingest_state FINAL WHERE state = 'gap' ORDER BY topic, partition`;
  return { text, parameters: {} };
}

/** What somebody accepted as lost (`ingest accept-gap`). */
function lostSql(database: string): Statement {
  const text = `SELECT topic, topic_id, partition, sum(next_offset - from_offset) AS lost_offsets
FROM ${database}.accepted_gaps FINAL GROUP BY topic, topic_id, partition`;
  return { text, parameters: {} };
}

function conflictsSql(database: string): Statement {
  const text = `SELECT feed, two_calls, other_content, toUnixTimestamp64Milli(looked_at) AS looked_ms
FROM ${database}.audited_conflicts FINAL`;
  return { text, parameters: {} };
}

function countsSql(database: string, nowMs: number): Statement {
  const text = `SELECT feed, ${FEED_COUNTS},
  sumMapIf(rejected_by_code, kind = 'read') AS by_code,
  sumMapIf(skipped_by_reason, kind = 'read') AS by_reason,
  sumIf(records, kind = 'read' AND stored_at > ${moment('since_ms')}) AS recent,
  max(toUnixTimestamp(arrayMax(mapKeys(stored_by_hour)))) AS newest_hour
FROM ${countedLedger(database)}
GROUP BY feed`;
  return { text, parameters: { since_ms: nowMs - RATE_SECONDS * 1000 } };
}

/** The newest start of each feed, looked for in the newest hour that the ledger knows of it. */
function newestStartsSql(database: string, counts: readonly CountsRow[], term: Term): Statement {
  const hours = counts.map(({ newest_hour: hour }) => Number(hour) * 1000);
  const range = { fromMs: Math.min(...hours), toMs: Math.max(...hours) + HOUR_MS };
  const text = `SELECT feed, toUnixTimestamp64Milli(max(start_at)) AS newest_ms
FROM ${database}.cdr FINAL
WHERE toYYYYMM(start_at) IN {months: Array(UInt32)}
  AND ${rangeConditions(range, term).join('\n  AND ')}
  AND toUnixTimestamp64Milli(start_at) >= {hours: Array(Int64)}[indexOf({feeds: Array(String)}, feed)]
  AND feed IN {feeds: Array(String)}
GROUP BY feed`;
  const months = new Set(hours.map((ms) => Number(new Date(ms).toISOString().slice(0, 7).replace('-', ''))));
  return {
    text,
    parameters: {
      ...rangeParameters(range, term),
      months: [...months],
      hours,
      feeds: counts.map(({ feed }) => feed),
    },
  };
}

/** How all feeds of the settings and of the ledger stand. */
export async function readFeedRows(
  source: SelectSource,
  { feeds, term, zone }: { readonly feeds: readonly FeedTerms[]; readonly term: Term; readonly zone: string },
  signal: AbortSignal,
): Promise<FeedRow[]> {
  const { database } = source;
  const ask = <Row>(what: string, statement: Statement): Promise<Row[]> =>
    source.select<Row>(what, statement, signal);
  // Before the ledger: a heartbeat counts only where the ledger reaches as far as it says.
  const heartbeats = await ask<HeartbeatRow>('heartbeats', heartbeatsSql(database));
  const [logs, lost, gaps, counts, conflicts] = await Promise.all([
    ask<LogRow>('ledger', logsSql(database)),
    ask<LostRow>('accepted gaps', lostSql(database)),
    ask<GapRow>('gaps', gapsSql(database)),
    ask<CountsRow>('ledger', countsSql(database, term.nowMs)),
    ask<ConflictsRow>('conflicts', conflictsSql(database)),
  ]);
  const withCalls = counts.filter(({ newest_hour: hour }) => Number(hour) > 0);
  const newest =
    withCalls.length === 0
      ? []
      : await ask<NewestRow>('newest calls', newestStartsSql(database, withCalls, term));
  const names = new Set([...feeds.map(({ name }) => name), ...counts.map(({ feed }) => feed)]);
  return [...names].map((name) => {
    const terms = feeds.find((feed) => feed.name === name);
    const own = logs.filter(({ of_feed }) => of_feed === name);
    return writeRow({
      name,
      terms,
      counts: counts.find(({ feed }) => feed === name),
      newestStartMs: Number(newest.find(({ feed }) => feed === name)?.newest_ms ?? 0),
      progress: progressOf(own, lost, heartbeats, term.nowMs),
      gaps: gaps.filter(({ topic }) => topic === terms?.topic),
      conflicts: conflicts.find(({ feed }) => feed === name),
      nowMs: term.nowMs,
      zone,
    });
  });
}

function writeRow({
  name,
  terms,
  counts,
  newestStartMs,
  progress,
  gaps,
  conflicts,
  nowMs,
  zone,
}: {
  readonly name: string;
  readonly terms: FeedTerms | undefined;
  readonly counts: CountsRow | undefined;
  /** 0: there is no call. */
  readonly newestStartMs: number;
  readonly progress: FeedProgress;
  readonly gaps: readonly GapRow[];
  /** Undefined: no audit looked for them. */
  readonly conflicts: ConflictsRow | undefined;
  readonly nowMs: number;
  readonly zone: string;
}): FeedRow {
  const { state, completeUpToMs } = judge(progress, gaps.length > 0, terms?.maxSilenceMs, nowMs);
  return {
    feed: name,
    topic: terms?.topic ?? null,
    state,
    complete_up_to: writeMoment(completeUpToMs, zone),
    read_up_to: writeMoment(progress.readUpToMs, zone),
    silent_since: writeMoment(progress.newestMessageMs, zone),
    newest_start: writeMoment(newestStartMs > 0 ? newestStartMs : null, zone),
    lag_messages: progress.lagMessages === null ? null : String(progress.lagMessages),
    ingest_seen_at: writeMoment(progress.seenMs, zone),
    records_per_s: Math.round((Number(counts?.recent ?? 0) / RATE_SECONDS) * 1000) / 1000,
    ...feedCounts(counts),
    rejected_by_code: { ...counts?.by_code },
    skipped_by_reason: { ...counts?.by_reason },
    conflicts: {
      two_calls: conflicts?.two_calls ?? null,
      other_content: conflicts?.other_content ?? null,
      looked_at: conflicts === undefined ? null : writeTime(Number(conflicts.looked_ms), zone),
    },
    missing_offsets: String(progress.missingOffsets),
    lost_offsets: String(progress.lostOffsets),
    gaps: gaps.map(({ topic, partition, next_offset: expected, detail, noted_ms: noted }) => ({
      topic,
      partition,
      expected_offset: expected,
      reason: detail,
      noted_at: writeTime(Number(noted), zone),
    })),
  };
}

/** How far a feed's partitions are read; times in UTC ms, null: not known. */
export interface FeedProgress {
  readonly readUpToMs: number | null;
  readonly newestMessageMs: number | null;
  readonly seenMs: number | null;
  readonly lagMessages: number | null;
  readonly missingOffsets: number;
  /** Of these, what somebody accepted as lost. */
  readonly lostOffsets: number;
}

function progressOf(
  logs: readonly LogRow[],
  lost: readonly LostRow[],
  heartbeats: readonly HeartbeatRow[],
  nowMs: number,
): FeedProgress {
  const partitions = newestLogs(logs).map((log) => {
    const heartbeat = heartbeats.find((row) => isOf(row, log));
    const messageMs = Number(log.message_ms);
    return {
      readUpToMs: Math.max(messageMs, Number(heartbeat?.caught_up_ms ?? 0)),
      seenMs: Number(heartbeat?.asked_ms ?? 0),
      lag: heartbeat === undefined ? 0 : Math.max(0, Number(heartbeat.end_offset) - Number(log.ledger_end)),
    };
  });
  const seenMs = least(partitions.map((of) => of.seenMs));
  const newestMessageMs = Math.max(0, ...logs.map((log) => Number(log.message_ms)));
  return {
    readUpToMs: least(partitions.map((of) => of.readUpToMs)),
    newestMessageMs: newestMessageMs > 0 ? newestMessageMs : null,
    seenMs,
    lagMessages:
      seenMs === null || nowMs - seenMs > STALE_MS ? null : partitions.reduce((sum, { lag }) => sum + lag, 0),
    missingOffsets: logs.reduce((sum, log) => sum + Number(log.missing_offsets), 0),
    lostOffsets: logs.reduce((sum, log) => sum + lostOf(log, lost), 0),
  };
}

/** Of what the ledger misses, what was accepted as lost. */
function lostOf(log: LogRow, lost: readonly LostRow[]): number {
  const row = lost.find(
    ({ topic, topic_id, partition }) =>
      topic === log.topic && topic_id === log.topic_id && partition === log.partition,
  );
  return Math.min(Number(log.missing_offsets), Number(row?.lost_offsets ?? 0));
}

/** The smallest; null where there is none, or where one is 0, that is not known. */
function least(values: readonly number[]): number | null {
  const smallest = values.length === 0 ? 0 : Math.min(...values);
  return smallest > 0 ? smallest : null;
}

/** Of each partition the log that is read now: a topic that was made again has an older one. */
function newestLogs(logs: readonly LogRow[]): LogRow[] {
  const newest = new Map<string, LogRow>();
  for (const log of logs) {
    const name = `${log.topic}/${log.partition}`;
    const other = newest.get(name);
    if (other === undefined || Number(log.newest_generation) > Number(other.newest_generation))
      newest.set(name, log);
  }
  return [...newest.values()];
}

/** A heartbeat of another topic of this name, or from before a rewind, proves nothing of the log. */
function isOf(heartbeat: HeartbeatRow, log: LogRow): boolean {
  return (
    heartbeat.topic === log.topic &&
    heartbeat.partition === log.partition &&
    heartbeat.topic_id === log.topic_id &&
    Number(heartbeat.next_offset) <= Number(log.ledger_end)
  );
}

/**
 * What is proven of a feed. A feed that is silent for longer than its switch ever is may be quiet or cut off: then it
 * is complete up to its newest message only, and its state is unknown.
 *
 * @param maxSilenceMs undefined: the feed does not stand in the settings
 */
export function judge(
  { readUpToMs, newestMessageMs, seenMs, missingOffsets, lostOffsets }: FeedProgress,
  hasGap: boolean,
  maxSilenceMs: number | undefined,
  nowMs: number,
): { readonly state: (typeof FEED_STATES)[number]; readonly completeUpToMs: number | null } {
  if (hasGap || missingOffsets > lostOffsets) return { state: 'gap', completeUpToMs: null };
  if (readUpToMs === null || newestMessageMs === null || maxSilenceMs === undefined)
    return { state: 'unknown', completeUpToMs: null };
  const isSilent = readUpToMs - newestMessageMs > maxSilenceMs;
  const completeUpToMs = isSilent ? newestMessageMs : readUpToMs;
  const isStale = seenMs === null || nowMs - seenMs > STALE_MS;
  if (isSilent || isStale) return { state: 'unknown', completeUpToMs };
  return { state: nowMs - readUpToMs > STALE_MS ? 'behind' : 'complete', completeUpToMs };
}
