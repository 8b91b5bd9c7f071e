import { setTimeout as sleep } from 'node:timers/promises';
import type { Feed } from '../schemas/feed.ts';
import { countingRanges, type LedgerRange } from '../schemas/ledger-ranges.ts';
import type { IngestDatabase, LedgerHead, SelectSending } from './clickhouse.ts';
import {
  countLettersSql,
  countSql,
  cutAt,
  markersSql,
  sharesSql,
  supersededSql,
  type ReplacedRange,
} from './corrections-sql.ts';
import { CALL_TABLES, runningInsertsSql, STILL_RUNNING_SQL, type CallTable } from '../schemas/tables.ts';
import { sourceSpans, type FeedClaim } from '../schemas/source-spans.ts';
import type { CorrectionZone } from './ledger.ts';
import type { PartitionState } from './partitions.ts';

/**
 * Reading again under another reading (docs/decisions/0008): what the old one stored beyond the ledger, or in a
 * range that someone had read again, is marked as deleted before the range is read.
 */

/** Rows whose markers one INSERT writes: its set of keys stays in memory. */
const ROWS_PER_INSERT_MAX = 1_000_000;
/** Beyond the lease: deadlines are whole seconds, and clocks drift. */
const LEASE_MARGIN_MS = 2000;
const RUNNING_POLL_MS = 200;

/** A partition in which rows of another reading may stand from its position on. */
export interface Correctable {
  readonly state: PartitionState;
  readonly zone: CorrectionZone;
}

/** What of a range stands in the tables: at most this many records, and as many rejected ones. */
export interface Standing {
  readonly records: number;
  readonly rejected: number;
}

/** When rows of the partition came from this topic, by the claims in the ledger. */
async function readSpans(
  database: IngestDatabase,
  { topic, topicId, partition }: Omit<ReplacedRange, 'spans'>,
): Promise<ReplacedRange['spans']> {
  const ledger = `${database.database}.ingest_ledger`;
  const claims = await database.rows<FeedClaim>(
    `SELECT feed, topic, topic_id AS topicId, toUnixTimestamp(toDateTime(min(stored_at), 'UTC')) AS claimedAt
     FROM ${ledger} AS ledger FINAL
     WHERE partition = {partition: Int32} AND kind = 'read' AND feed IN (
       SELECT feed FROM ${ledger} WHERE topic = {topic: String} AND topic_id = {topicId: String} AND partition = {partition: Int32})
     GROUP BY feed, topic, topicId, cluster_id, generation ORDER BY min(ledger.stored_at), generation`,
    { topic, topicId, partition },
  );
  return sourceSpans(claims, topic, topicId);
}

/** A range with the times in which its rows were stored. */
export async function replacedRange(
  database: IngestDatabase,
  range: Omit<ReplacedRange, 'spans'>,
): Promise<ReplacedRange> {
  return { ...range, spans: await readSpans(database, range) };
}

/** What stands in the tables of a range. Rows that lost against another one of their key are counted too. */
export async function standingIn(database: IngestDatabase, range: ReplacedRange): Promise<Standing> {
  const count = async (query: string): Promise<number> =>
    (await database.rows<{ rows: number }>(query))[0]?.rows ?? 0;
  const [calls, byNumber, rejected] = await Promise.all([
    count(countSql(database.database, 'cdr', range)),
    count(countSql(database.database, 'cdr_by_number', range)),
    count(countLettersSql(database.database, range)),
  ]);
  // A crash between the two inserts leaves rows in one of the tables.
  return { records: calls > 0 ? calls : byNumber, rejected };
}

/** Number of the newest correction in any partition of a topic; 0: there was none. */
export async function newestCorrection(database: IngestDatabase, topic: string): Promise<number> {
  const [row] = await database.rows<{ newest: number }>(
    `SELECT max(correction) AS newest FROM ${database.database}.ingest_ledger WHERE topic = {topic: String}`,
    { topic },
  );
  return row?.newest ?? 0;
}

/**
 * Waits until no insert of a process that owned these partitions before can arrive any more: until the last
 * lease that it may have had is over, and until the inserts that run then have ended.
 *
 * @param ownedForMs how long this process owns the partitions
 */
export async function outwaitOthers(
  database: IngestDatabase,
  leaseMs: number,
  ownedForMs: number,
  signal: AbortSignal,
): Promise<void> {
  await sleep(Math.max(0, leaseMs + LEASE_MARGIN_MS - ownedForMs), undefined, { signal });
  // Just the inserts of the database's own user are seen, which is who all ingest processes are.
  const running = await database.rows<{ id: string }>(runningInsertsSql(database.database));
  const ids = running.map(({ id }) => id);
  for (let left = ids.length; left > 0;) {
    await sleep(RUNNING_POLL_MS, undefined, { signal });
    const [row] = await database.rows<{ running: number }>(STILL_RUNNING_SQL, { ids });
    left = row?.running ?? 0;
  }
}

/**
 * Gives each partition the correction under which it is stored. A zone in which nothing stands needs none.
 * Corrections that have not begun need `outwaitOthers` before.
 *
 * @param newest the newest correction by topic
 */
export async function decideCorrections(
  database: IngestDatabase,
  states: readonly PartitionState[],
  correctable: readonly Correctable[],
  newest: ReadonlyMap<string, number>,
): Promise<void> {
  for (const state of states) {
    const number = newest.get(state.source.topic) ?? 0;
    if (number > 0) state.correction = { number, until: 0 };
  }
  const nowSeconds = Math.floor(Date.now() / 1000);
  for (const { state, zone } of correctable) {
    const last = newest.get(state.source.topic) ?? 0;
    if (zone.begun !== undefined) {
      state.correction = { number: Math.max(zone.begun, last), until: zone.until };
      continue;
    }
    const { records, rejected } = await standingIn(database, await rangeOf(database, state, zone.until));
    if (records + rejected === 0) continue;
    state.correction = { number: Math.max(nowSeconds, last + 1), until: zone.until };
  }
}

/**
 * Writes the markers of all partitions whose correction has a range. To be called when the ledger holds the
 * claims with these corrections, which make the next owner do it again if this process ends in the middle.
 * Repeating changes nothing.
 *
 * @param claimedAtSeconds what is rejected from then on counts anew
 */
export async function markReplaced(
  database: IngestDatabase,
  states: readonly PartitionState[],
  claimedAtSeconds: number,
  sending: () => Promise<SelectSending>,
): Promise<void> {
  for (const state of states) {
    const { correction } = state;
    if (correction === undefined || correction.until <= state.position) continue;
    const range = await rangeOf(database, state, correction.until);
    await markRange(database, range, correction.number, claimedAtSeconds, sending);
  }
}

/** Writes the markers of a range in both tables, and marks its dead letters. Repeating changes nothing. */
export async function markRange(
  database: IngestDatabase,
  range: ReplacedRange,
  correction: number,
  claimedAtSeconds: number,
  sending: () => Promise<SelectSending>,
): Promise<void> {
  const name = database.database;
  for (const table of CALL_TABLES) {
    for (const share of await inShares(database, table, range))
      await database.insertSelect(markersSql(name, table, share, correction), {}, await sending());
  }
  await database.insertSelect(supersededSql(name, range, claimedAtSeconds), {}, await sending());
}

function rangeOf(database: IngestDatabase, state: PartitionState, until: number): Promise<ReplacedRange> {
  const { topic, topicId, partition } = state.source;
  return replacedRange(database, { topic, topicId, partition, from: state.position, until });
}

async function inShares(
  database: IngestDatabase,
  table: CallTable,
  range: ReplacedRange,
): Promise<ReplacedRange[]> {
  const [row] = await database.rows<{ rows: number }>(countSql(database.database, table, range));
  const rows = row?.rows ?? 0;
  if (rows === 0) return [];
  const shares = Math.ceil(rows / ROWS_PER_INSERT_MAX);
  if (shares === 1) return [range];
  const [cut] = await database.rows<{ ends: number[] }>(sharesSql(database.database, table, range, shares));
  return cutAt(range, cut?.ends ?? []);
}

/** Whether ranges from this offset on that count were read under another reading than this one. */
export async function readOtherwise(
  database: IngestDatabase,
  head: LedgerHead,
  offset: number,
  feed: Feed,
): Promise<boolean> {
  if (head.readings.some((last) => last !== feed.reading)) return true;
  const rows = await database.rows<LedgerRange & { reading: string }>(
    `SELECT generation, from_offset AS from, next_offset AS next, reading FROM ${database.database}.ingest_ledger FINAL
     WHERE topic = {topic: String} AND topic_id = {topicId: String} AND partition = {partition: Int32} AND kind = 'read'
       AND (next_offset > {offset: Int64} OR next_offset = from_offset)`,
    { topic: head.topic, topicId: head.topicId, partition: head.partition, offset },
  );
  return countingRanges(rows).some(({ row, next }) => next > offset && row.reading !== feed.reading);
}
