import { CdrhouseError } from '../schemas/errors.ts';
import { findFeed, readFeed, type Feed } from '../schemas/feed.ts';
import { countingRanges } from '../schemas/ledger-ranges.ts';
import type { Settings } from '../schemas/settings.ts';
import { FINAL_SETTINGS } from '../schemas/tables.ts';
import type { IngestDatabase, SelectSending } from './clickhouse.ts';
import type { Consumer } from './consumer.ts';
import { markRange, newestCorrection, replacedRange } from './corrections.ts';
import { placeCondition, readNowSql, type ReplacedRange } from './corrections-sql.ts';
import { claimRow } from './ledger-row.ts';
import { claim, requireIdle, withPositions, type Position, type Target } from './positions.ts';
import {
  planGone,
  planPartition,
  type GoneRange,
  type GoneReason,
  type PartitionPlan,
  type ReadRange,
  type ReloadTime,
} from './reload-plan.ts';

/** How long a statement that this command sends may take on its way to the database. */
const INSERT_MS_MAX = 30_000;

export interface ReloadOptions extends ReloadTime {
  readonly settings: Settings;
  readonly feed: string;
  /** Only say what would be done. */
  readonly dryRun: boolean;
  /** Delete what was stored from places that Kafka no longer has, so that it can be shipped again. */
  readonly removeGone: boolean;
}

/** What `feeds reload` prints. Times are UTC, ISO 8601. */
export interface ReloadReport {
  readonly feed: string;
  readonly topic: string;
  readonly dry_run: boolean;
  readonly group_idle: boolean;
  /** What ingest reads again when it starts. */
  readonly again: readonly {
    readonly partition: number;
    readonly from_offset: number;
    readonly next_offset: number;
    /** What was stored from offsets before this one is replaced; what lies behind is read to no effect. */
    readonly replaced_until: number;
    /** Calls that are replaced. */
    readonly replaced: number;
  }[];
  /** Partitions that an earlier reload or rewind set back and that ingest has not read since. */
  readonly waiting: readonly number[];
  readonly gone: readonly GoneReport[];
  /** Calls of `gone` that were deleted, or with a dry run would be; 0 without `--remove-gone`. */
  readonly removed: number;
  /** Where nothing was found: topics that were read once and that no feed reads now, with their feeds. */
  readonly other_topics: readonly { readonly topic: string; readonly feeds: readonly string[] }[];
}

/** A part of what was read with other settings that cannot be read again. */
export interface GoneReport {
  readonly reason: GoneReason;
  readonly topic: string;
  readonly partition: number;
  /** The feed's name at that time. */
  readonly feed: string;
  readonly from_offset: number;
  readonly next_offset: number;
  /** Newest Kafka time of its first batch, and of all. */
  readonly first_message_at: string;
  readonly last_message_at: string;
  readonly stored: number;
  readonly rejected: number;
  /** Stored calls by UTC day of their start, as they were read. */
  readonly days: Readonly<Record<string, number>>;
  /** Calls from there that are read now. */
  readonly still_stored: number;
  /** Condition that finds their rows in `cdr` and `cdr_by_number`. */
  readonly rows_where: string;
}

/** A partition with what is to be done in it. */
interface Planned {
  readonly position: Position;
  readonly plan: PartitionPlan;
}

/**
 * Has what a feed stored under other settings than today's read again, as far as Kafka holds it: writes the claims
 * at which ingest begins and replaces (docs/decisions/0008). What Kafka does not hold is listed; `removeGone`
 * deletes it, under a correction above which everything is stored that comes later.
 *
 * Throws FEED_UNKNOWN, GROUP_BUSY, PARTITION_GAP, CLICKHOUSE_…, KAFKA_…, and USAGE_WRONG where records behind `toMs`
 * were read with other settings too.
 */
export async function reloadFeed(options: ReloadOptions): Promise<ReloadReport> {
  const { settings } = options;
  const feedSettings = findFeed(settings.feeds, options.feed);
  const feed = readFeed(feedSettings);
  return withPositions({ ...settings, feeds: [feedSettings] }, async ({ consumer, database, positions }) => {
    for (const position of positions) requireNoGap(position);
    const rows = await readRanges(database, feed, settings.feeds);
    const planned = await planPositions(positions, rows, consumer, options, feed.reading);
    const { members } = await consumer.describeGroup(settings.kafka.group);
    for (const { position, plan } of planned) requireNothingBehind(position, plan, options);
    const gone = [
      ...planned.flatMap(({ plan }) => plan.gone),
      ...goneElsewhere(rows, positions, options, feed),
    ];
    const report = await describe(database, { options, feed, planned, gone, idle: members === 0 });
    if (options.dryRun) return report;
    const removing = options.removeGone && report.removed > 0;
    if (report.again.length === 0 && !removing) return report;
    await requireIdle(consumer, settings);
    if (removing) await removeGone(database, feed, positions[0], gone);
    await claim(
      database,
      planned.flatMap(({ position, plan }) => targetOf(position, plan, feed.reading)),
    );
    return report;
  });
}

function requireNoGap({ topic, partition, resume }: Position): void {
  if (resume.kind === 'gap')
    throw new CdrhouseError('PARTITION_GAP', `${topic}/${partition} stands still: ${resume.reason}`);
}

function requireNothingBehind(
  { topic, partition }: Position,
  { behind }: PartitionPlan,
  { toMs }: ReloadTime,
): void {
  if (behind === undefined) return;
  throw new CdrhouseError(
    'USAGE_WRONG',
    `${topic}/${partition}: offsets ${behind.from} to ${behind.next - 1}, behind --to ${isoTime(toMs!)}, were read with ` +
      `other settings than today's too, and Kafka is read from --from to its end: leave --to out, or say a time after ` +
      isoTime(behind.lastMessageAt),
  );
}

/** The ranges of the feed's topic, and of topics that nobody reads now and that the feed was read from. */
async function readRanges(
  database: IngestDatabase,
  feed: Feed,
  configured: Settings['feeds'],
): Promise<ReadRange[]> {
  const ledger = `${database.database}.ingest_ledger`;
  return database.rows<ReadRange>(
    `SELECT topic, topic_id AS topicId, partition, generation, from_offset AS from, next_offset AS next, feed, reading,
      messages, stored, rejected, toUnixTimestamp64Milli(message_at_max) AS messageAtMax,
      if(reading = {reading: String}, map(), stored_by_hour) AS hours
    FROM ${ledger} FINAL
    WHERE kind = 'read' AND (topic = {topic: String} OR topic IN (
      SELECT topic FROM ${ledger} WHERE feed = {feed: String} AND topic NOT IN {topics: Array(String)}))`,
    {
      topic: feed.topic,
      feed: feed.name,
      reading: feed.reading,
      topics: configured.map(({ topic }) => topic),
    },
  );
}

async function planPositions(
  positions: readonly Position[],
  rows: readonly ReadRange[],
  consumer: Consumer,
  time: ReloadTime,
  reading: string,
): Promise<Planned[]> {
  const [first] = positions;
  if (first === undefined) return [];
  const offsetsAt = (timestampMs: number): Promise<Map<number, number>> =>
    consumer.offsetsAt(
      first.topic,
      positions.map(({ partition }) => partition),
      timestampMs,
    );
  const from = await offsetsAt(time.fromMs);
  const to = time.toMs === undefined ? new Map<number, number>() : await offsetsAt(time.toMs);
  return positions.map((position) => {
    const { partition, end, log } = position;
    const own = rows.filter((row) => isOf(row, position));
    const held = { low: log.low, end, fromOffset: from.get(partition), toOffset: to.get(partition) };
    return { position, plan: planPartition(countingRanges(own), held, time, reading) };
  });
}

/** Whether a range came from this partition, and not from an older topic of the same name. */
function isOf(row: ReadRange, { topic, partition, log }: Position): boolean {
  return row.topic === topic && row.partition === partition && row.topicId === log.topicId;
}

function goneElsewhere(
  rows: readonly ReadRange[],
  positions: readonly Position[],
  time: ReloadTime,
  feed: Feed,
): GoneRange[] {
  const partitions = new Map<string, ReadRange[]>();
  for (const row of rows) {
    if (positions.some((position) => isOf(row, position))) continue;
    const key = JSON.stringify([row.topic, row.topicId, row.partition]);
    partitions.set(key, [...(partitions.get(key) ?? []), row]);
  }
  return [...partitions.values()].flatMap((of) =>
    of[0]!.topic === feed.topic
      ? planGone(of, time, feed.reading, 'topic_deleted')
      : planGone(of, time, feed.reading, 'topic_not_read').filter((range) => range.feed === feed.name),
  );
}

async function describe(
  database: IngestDatabase,
  {
    options,
    feed,
    planned,
    gone,
    idle,
  }: {
    readonly options: ReloadOptions;
    readonly feed: Feed;
    readonly planned: readonly Planned[];
    readonly gone: readonly GoneRange[];
    readonly idle: boolean;
  },
): Promise<ReloadReport> {
  const again: ReloadReport['again'][number][] = [];
  for (const { position, plan } of planned) {
    if (plan.again === undefined) continue;
    const { from, until } = plan.again;
    const { topic, partition, log } = position;
    const range = await replacedRange(database, { topic, topicId: log.topicId, partition, from, until });
    again.push({
      partition,
      from_offset: from,
      next_offset: position.end,
      replaced_until: until,
      replaced: await readNow(database, range),
    });
  }
  const goneReports: GoneReport[] = [];
  for (const range of gone) goneReports.push(await describeGone(database, range));
  const nothing = again.length === 0 && gone.length === 0;
  return {
    feed: feed.name,
    topic: feed.topic,
    dry_run: options.dryRun,
    group_idle: idle,
    again,
    waiting: planned
      .filter(({ position: { head, end } }) => (head?.correctedUntil ?? 0) > end)
      .map(({ position }) => position.partition),
    gone: goneReports,
    removed: options.removeGone ? goneReports.reduce((sum, { still_stored }) => sum + still_stored, 0) : 0,
    other_topics: nothing ? await topicsNotRead(database, options.settings) : [],
  };
}

async function describeGone(database: IngestDatabase, gone: GoneRange): Promise<GoneReport> {
  const { reason, topic, partition, feed, from, next, stored, rejected, days } = gone;
  const range = await goneRange(database, gone);
  return {
    reason,
    topic,
    partition,
    feed,
    from_offset: from,
    next_offset: next,
    first_message_at: isoTime(gone.firstMessageAt),
    last_message_at: isoTime(gone.lastMessageAt),
    stored,
    rejected,
    days,
    still_stored: await readNow(database, range),
    rows_where: placeCondition(range),
  };
}

async function goneRange(database: IngestDatabase, gone: GoneRange): Promise<ReplacedRange> {
  const { topic, topicId, partition, from, next } = gone;
  const range = await replacedRange(database, { topic, topicId, partition, from, until: next });
  return { ...range, spans: range.spans.filter(({ feed }) => feed === gone.feed) };
}

async function readNow(database: IngestDatabase, range: ReplacedRange): Promise<number> {
  const query = readNowSql(database.database, 'cdr', range);
  const [row] = await database.rows<{ rows: number }>(query, {}, FINAL_SETTINGS);
  return row?.rows ?? 0;
}

async function topicsNotRead(
  database: IngestDatabase,
  { feeds }: Settings,
): Promise<ReloadReport['other_topics']> {
  return database.rows(
    `SELECT topic, arraySort(groupUniqArray(feed)) AS feeds FROM ${database.database}.ingest_ledger
     WHERE topic NOT IN {topics: Array(String)} GROUP BY topic ORDER BY topic`,
    { topics: feeds.map(({ topic }) => topic) },
  );
}

/** The claim of a partition: rows of another reading may stand behind the ledger too where it was read otherwise last. */
function targetOf(position: Position, { again }: PartitionPlan, reading: string): Target[] {
  if (again === undefined) return [];
  const { head, end, log } = position;
  const unfinished = head !== undefined && head.correctedUntil > end ? head.correctedUntil : 0;
  const changed = head?.readings.some((last) => last !== reading) === true ? log.high : 0;
  return [{ position, offset: again.from, correctedUntil: Math.max(again.until, unfinished, changed) }];
}

/**
 * Deletes what stands of these ranges. A row in the ledger comes first: from then on ingest stores everything from the
 * feed's topic above the markers, so that what is shipped again is seen, also where it has the old key. Nobody has to
 * be waited for, since the ranges are in the ledger: what arrives late is a repetition of what the markers hide.
 */
async function removeGone(
  database: IngestDatabase,
  feed: Feed,
  position: Position | undefined,
  gone: readonly GoneRange[],
): Promise<void> {
  if (position === undefined)
    throw new CdrhouseError('TOPIC_MISSING', `topic ${feed.topic} of feed ${feed.name} does not exist`);
  await database.measureClock();
  const nowMs = Date.now();
  const seconds = Math.floor(nowMs / 1000);
  const number = Math.max(seconds, (await newestCorrection(database, feed.topic)) + 1);
  const { topic, partition, end, log } = position;
  const row = claimRow(
    {
      source: { feed: 0, topic, topicId: log.topicId, partition },
      clusterId: log.clusterId,
      generation: nowMs,
      position: end,
      stored: end,
      end: log.high,
      correction: { number, until: 0 },
    },
    feed,
    { instance: 'command', nowMs },
  );
  // No claim: where the partition goes on stays as it was.
  await database.insertLedger([{ ...row, kind: 'replay' }], { storedAtSeconds: seconds, ...sending() });
  for (const range of gone)
    await markRange(database, await goneRange(database, range), number, seconds, () =>
      Promise.resolve(sending()),
    );
}

function sending(): SelectSending {
  return { deadlineMs: Date.now() + INSERT_MS_MAX, signal: new AbortController().signal };
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
