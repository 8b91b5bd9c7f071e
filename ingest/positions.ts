import { databaseFailure } from '../schemas/clickhouse-errors.ts';
import { CdrhouseError } from '../schemas/errors.ts';
import { readFeed, type Feed } from '../schemas/feed.ts';
import type { Settings } from '../schemas/settings.ts';
import { sqlTime } from '../schemas/sql-time.ts';
import { endOfRun, readPlaces } from './assignment.ts';
import { IngestDatabase, type LedgerHead, type StateRow } from './clickhouse.ts';
import { Consumer } from './consumer.ts';
import { readOtherwise, replacedRange, standingIn } from './corrections.ts';
import { claimRow } from './ledger-row.ts';
import { decideResume, type PartitionLog, type Resume } from './ledger.ts';
import { ingestLog } from './log.ts';
import { nameOf } from './partitions.ts';

/** How long a claim that a person makes may take on its way to the database. */
const CLAIM_MS_MAX = 30_000;

/** Where a partition stands in the ledger and in Kafka. */
export interface Position {
  readonly feed: Feed;
  readonly topic: string;
  readonly partition: number;
  readonly head: LedgerHead | undefined;
  /** Where the ledger says to go on. */
  readonly end: number;
  readonly log: PartitionLog;
  readonly resume: Resume;
}

/** A partition that was, or with a dry run would be, set to another place. */
export interface Moved {
  readonly topic: string;
  readonly partition: number;
  readonly from_offset: number;
  readonly to_offset: number;
  readonly reason?: string;
  /** The records will be read with other settings than before: what the old ones stored is replaced. */
  readonly reading_changed?: true;
  /** Records of the old reading, duplicates included. */
  readonly replaced_max?: number;
}

/** Where a partition is to go on. */
export interface Target {
  readonly position: Position;
  readonly offset: number;
  /** End of the range that is read again under another reading; 0: there is none. */
  readonly correctedUntil: number;
}

export interface RewindOptions {
  readonly settings: Settings;
  readonly topic: string;
  /** Undefined: all of the topic. */
  readonly partition: number | undefined;
  readonly to: { readonly offset: number } | { readonly timestampMs: number };
  readonly dryRun: boolean;
}

/**
 * Has partitions read again from an earlier place: writes claims of new generations there. Repeating changes
 * nothing that is read, unless the feed's settings have changed: then ingest replaces what the old ones stored
 * when it starts. Needs an idle group. A partition that stands still goes on from there. Throws USAGE_WRONG for a
 * place that Kafka does not hold or that lies ahead, GROUP_BUSY.
 */
export async function rewind(options: RewindOptions): Promise<Moved[]> {
  const { settings, topic, partition, to, dryRun } = options;
  return withPositions(settings, async ({ consumer, database, positions }) => {
    const chosen = positions.filter(
      (p) => p.topic === topic && (partition === undefined || p.partition === partition),
    );
    if (chosen.length === 0)
      throw new CdrhouseError(
        'USAGE_WRONG',
        `no feed reads ${topic}${partition === undefined ? '' : `/${partition}`}`,
      );
    const byTime =
      'timestampMs' in to
        ? await consumer.offsetsAt(
            topic,
            chosen.map((p) => p.partition),
            to.timestampMs,
          )
        : undefined;
    const targets = chosen.map((position) => ({
      position,
      // A time after the last message means that there is nothing to read again.
      offset:
        byTime === undefined
          ? (to as { offset: number }).offset
          : Math.min(byTime.get(position.partition) ?? position.end, lastPlace(position)),
    }));
    for (const { position, offset } of targets) checkTarget(position, offset);
    await requireIdle(consumer, settings);
    const moving: Target[] = [];
    for (const { position, offset } of targets) {
      if (offset === position.end && position.resume.kind === 'resume') continue;
      moving.push({ position, offset, correctedUntil: await correctedUntil(database, position, offset) });
    }
    const lines: Moved[] = [];
    for (const target of moving) lines.push(await describeRewind(database, target));
    if (dryRun) return lines;
    await claim(database, moving);
    for (const { position, offset } of moving)
      if (position.resume.kind === 'gap')
        await closeGap(database, { position, offset, reason: position.resume.reason, state: 'rewound' });
    return lines;
  });
}

async function describeRewind(
  database: IngestDatabase,
  { position, offset, correctedUntil: until }: Target,
): Promise<Moved> {
  const line = moved(position, offset);
  if (until === 0) return line;
  const { topic, partition, log } = position;
  const range = await replacedRange(database, {
    topic,
    topicId: log.topicId,
    partition,
    from: offset,
    until,
  });
  return { ...line, reading_changed: true, replaced_max: (await standingIn(database, range)).records };
}

/** Up to where rows of another reading may stand from this offset on; 0: nowhere. */
async function correctedUntil(
  database: IngestDatabase,
  { feed, head, end, log, resume }: Position,
  offset: number,
): Promise<number> {
  // Rows of a topic that was created again came from other offsets.
  if (head?.topicId !== log.topicId) return 0;
  const unfinished = head.correctedUntil > end ? head.correctedUntil : 0;
  const until = (await readOtherwise(database, head, offset, feed))
    ? Math.max(unfinished, log.high)
    : unfinished;
  // What came from a part of the log that is gone would not be read again: other records have its offsets now.
  const kept = resume.kind === 'gap' && resume.logEnd < end ? Math.min(until, resume.logEnd) : until;
  return kept > offset ? kept : 0;
}

/** A partition that stands still, and where it would go on. */
interface AcceptedGap {
  readonly position: Position;
  readonly offset: number;
  readonly reason: string;
}

/**
 * Goes on behind what Kafka lost, for every partition that stands still (or those chosen). Gives what was
 * accepted; the missing range stays recorded in `accepted_gaps`. Needs an idle group, to look (`dryRun`) it does not.
 * Throws GROUP_BUSY.
 */
export async function acceptGaps(
  settings: Settings,
  chosen: { readonly topic: string | undefined; readonly partition: number | undefined },
  dryRun: boolean,
): Promise<Moved[]> {
  return withPositions(settings, async ({ consumer, database, positions }) => {
    const gaps = positions.flatMap((position): AcceptedGap[] => {
      const { topic, partition, resume } = position;
      if ((chosen.topic ?? topic) !== topic || (chosen.partition ?? partition) !== partition) return [];
      return resume.kind === 'gap' ? [{ position, offset: resume.onward, reason: resume.reason }] : [];
    });
    if (!dryRun && gaps.length > 0) {
      await requireIdle(consumer, settings);
      const targets: Target[] = [];
      for (const { position, offset } of gaps)
        targets.push({ position, offset, correctedUntil: await correctedUntil(database, position, offset) });
      // Before it is passed: a hole that nobody is known to have accepted would be a fault for ever.
      await database.insertAcceptedGaps(gaps.flatMap(acceptedHole));
      await claim(database, targets);
      for (const gap of gaps) await closeGap(database, { ...gap, state: 'gap_accepted' });
    }
    return gaps.map(({ position, offset, reason }) => ({ ...moved(position, offset), reason }));
  });
}

export interface Connected {
  readonly consumer: Consumer;
  readonly database: IngestDatabase;
  readonly positions: readonly Position[];
}

/**
 * Connects beside the group, without joining it, and reads where every partition stands. What fails of the database has
 * its code.
 */
export async function withPositions<T>(
  settings: Settings,
  work: (connected: Connected) => Promise<T>,
): Promise<T> {
  const database = new IngestDatabase(settings);
  const log = ingestLog(settings);
  const listener = {
    assigned: () => undefined,
    revoked: () => undefined,
    disturbed: (kafkaCode: number, reason: string) =>
      log.warn({ code: 'KAFKA_UNREACHABLE', kafkaCode, reason }, 'Kafka is disturbed'),
  };
  let consumer: Consumer | undefined;
  try {
    consumer = await Consumer.connect(settings, undefined, listener);
    return await work({ consumer, database, positions: await readPositions(settings, consumer, database) });
  } catch (error) {
    throw databaseFailure(error);
  } finally {
    await consumer?.close();
    await database.close();
  }
}

async function readPositions(
  settings: Settings,
  consumer: Consumer,
  database: IngestDatabase,
): Promise<Position[]> {
  const feeds = settings.feeds.map(readFeed);
  const topics = feeds.map((feed) => feed.topic);
  const [clusterId, topicIds, counts] = await Promise.all([
    consumer.clusterId(),
    consumer.topicIds(topics),
    consumer.partitionCounts(topics),
  ]);
  const { heads, noted } = await readPlaces(database, topics);
  const positions: Position[] = [];
  for (const feed of feeds) {
    const { topic } = feed;
    const topicId = topicIds.get(topic);
    if (topicId === undefined) continue;
    for (let partition = 0; partition < (counts.get(topic) ?? 0); partition++) {
      const name = nameOf(topic, partition);
      const head = heads.get(name);
      const { low, high } = await consumer.watermarks(topic, partition);
      const end = head === undefined ? low : await endOfRun(database, head);
      const log = { clusterId, topicId, low, high };
      const resume = decideResume(head, end, log, noted.get(name));
      positions.push({ feed, topic, partition, head, end, log, resume });
    }
  }
  return positions;
}

/** The last place to which a partition may be set: none that nobody has read is passed over. */
function lastPlace({ end, resume }: Position): number {
  return resume.kind === 'gap' ? Math.min(end, resume.onward) : end;
}

function checkTarget(position: Position, offset: number): void {
  const { topic, partition, log, resume } = position;
  const last = lastPlace(position);
  if (offset >= log.low && offset <= last) return;
  const why = resume.kind === 'gap' ? `it stands still, since ${resume.reason}` : 'where the ledger stands';
  throw new CdrhouseError(
    'USAGE_WRONG',
    `${topic}/${partition}: allowed are offsets ${log.low} (the oldest that Kafka holds) to ${last} (${why})`,
  );
}

export async function requireIdle(consumer: Consumer, { kafka }: Settings): Promise<void> {
  const { members } = await consumer.describeGroup(kafka.group);
  if (members > 0)
    throw new CdrhouseError('GROUP_BUSY', `consumer group ${kafka.group} has ${members} member(s)`);
}

export async function claim(database: IngestDatabase, targets: readonly Target[]): Promise<void> {
  if (targets.length === 0) return;
  await database.measureClock();
  const nowMs = Date.now();
  const rows = targets.map(({ position: { feed, topic, partition, head, log }, offset, ...target }) =>
    claimRow(
      {
        source: { feed: 0, topic, topicId: log.topicId, partition },
        clusterId: log.clusterId,
        generation: (head?.generation ?? 0) + 1,
        position: offset,
        stored: offset,
        end: log.high,
        correction: { number: 0, until: target.correctedUntil },
      },
      feed,
      { instance: 'command', nowMs },
    ),
  );
  await database.insertLedger(rows, {
    storedAtSeconds: Math.floor(nowMs / 1000),
    deadlineMs: nowMs + CLAIM_MS_MAX,
    signal: new AbortController().signal,
  });
}

/** The hole that the ledger gets; none where the topic is another one, or shorter. */
function acceptedHole({ position, offset, reason }: AcceptedGap): object[] {
  const { topic, partition, head, end, log } = position;
  if (head?.topicId !== log.topicId || offset <= end) return [];
  const accepted_at = sqlTime(Date.now());
  return [
    { topic, topic_id: log.topicId, partition, from_offset: end, next_offset: offset, reason, accepted_at },
  ];
}

/** Has the partition no longer count as one that stands still. */
async function closeGap(
  database: IngestDatabase,
  {
    position,
    offset,
    reason,
    state,
  }: AcceptedGap & {
    /** How a person had it go on. */
    readonly state: Exclude<StateRow['state'], 'gap'>;
  },
): Promise<void> {
  await database.insertState({
    instance: 'command',
    topic: position.topic,
    partition: position.partition,
    state,
    detail: `${reason}; reading went on at offset ${offset} instead of ${position.end}`,
    next_offset: offset,
    end_offset: position.log.high,
  });
}

function moved({ topic, partition, end }: Position, offset: number): Moved {
  return { topic, partition, from_offset: end, to_offset: offset };
}
