import { pino } from 'pino';
import { CdrhouseError } from '../schemas/errors.ts';
import { readFeed, type Feed } from '../schemas/feed.ts';
import type { Settings } from '../schemas/settings.ts';
import { sqlTime } from '../schemas/sql-time.ts';
import { endOfRun } from './assignment.ts';
import { IngestDatabase, type LedgerHead } from './clickhouse.ts';
import { Consumer } from './consumer.ts';
import { claimRow } from './ledger-row.ts';
import { decideResume, type PartitionLog } from './ledger.ts';

/** How long a claim that a person makes may take on its way to the database. */
const CLAIM_MS_MAX = 30_000;

/** Where a partition stands in the ledger and in Kafka. */
interface Position {
  readonly feed: Feed;
  readonly topic: string;
  readonly partition: number;
  readonly head: LedgerHead | undefined;
  /** Where the ledger says to go on. */
  readonly end: number;
  readonly log: PartitionLog;
}

/** A partition that was, or with a dry run would be, set to another place. */
export interface Moved {
  readonly topic: string;
  readonly partition: number;
  readonly from_offset: number;
  readonly to_offset: number;
  readonly reason?: string;
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
 * nothing that is read. Needs an idle group. Throws USAGE_WRONG for a place that Kafka does not hold or that
 * lies ahead, GROUP_BUSY, READING_CHANGED.
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
          : Math.min(byTime.get(position.partition) ?? position.end, position.end),
    }));
    for (const { position, offset } of targets) await checkTarget(database, position, offset);
    await requireIdle(consumer, settings);
    const moving = targets.filter(({ position, offset }) => offset < position.end);
    if (!dryRun) await claim(database, moving);
    return moving.map(({ position, offset }) => moved(position, offset));
  });
}

/**
 * Goes on behind what Kafka lost, for every partition that stands still (or those chosen). Gives what was
 * accepted; the missing range stays recorded in `ingest_state`.
 */
export async function acceptGaps(
  settings: Settings,
  chosen: { readonly topic: string | undefined; readonly partition: number | undefined },
  dryRun: boolean,
): Promise<Moved[]> {
  return withPositions(settings, async ({ consumer, database, positions }) => {
    const gaps = positions.flatMap((position) => {
      const { topic, partition } = position;
      if ((chosen.topic ?? topic) !== topic || (chosen.partition ?? partition) !== partition) return [];
      const resume = decideResume(position.head, position.end, position.log);
      if (resume.kind !== 'gap') return [];
      // Of a log that is shorter than the ledger what is there has been read; else all that is there is new.
      const isShorter = position.head?.topicId === position.log.topicId && position.end > position.log.high;
      return [{ position, offset: isShorter ? position.log.high : position.log.low, reason: resume.reason }];
    });
    if (gaps.length > 0) await requireIdle(consumer, settings);
    if (!dryRun) {
      await claim(database, gaps);
      for (const { position, offset, reason } of gaps) await noteAccepted(database, position, offset, reason);
    }
    return gaps.map(({ position, offset, reason }) => ({ ...moved(position, offset), reason }));
  });
}

interface Connected {
  readonly consumer: Consumer;
  readonly database: IngestDatabase;
  readonly positions: readonly Position[];
}

/** Connects beside the group, without joining it, and reads where every partition stands. */
async function withPositions<T>(settings: Settings, work: (connected: Connected) => Promise<T>): Promise<T> {
  const database = new IngestDatabase(settings);
  const log = pino({ name: 'cdrhouse-ingest', level: settings.ingest.log_level }, pino.destination(2));
  const listener = {
    assigned: () => undefined,
    revoked: () => undefined,
    disturbed: (kafkaCode: number, reason: string) => log.warn({ kafkaCode, reason }, 'Kafka is disturbed'),
  };
  let consumer: Consumer | undefined;
  try {
    consumer = await Consumer.connect(settings, undefined, listener);
    return await work({ consumer, database, positions: await readPositions(settings, consumer, database) });
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
  const positions: Position[] = [];
  for (const feed of feeds) {
    const { topic } = feed;
    const topicId = topicIds.get(topic);
    if (topicId === undefined) continue;
    const heads = new Map((await database.ledgerHeads(topic)).map((head) => [head.partition, head]));
    for (let partition = 0; partition < (counts.get(topic) ?? 0); partition++) {
      const head = heads.get(partition);
      const { low, high } = await consumer.watermarks(topic, partition);
      const end = head === undefined ? low : await endOfRun(database, head);
      positions.push({ feed, topic, partition, head, end, log: { clusterId, topicId, low, high } });
    }
  }
  return positions;
}

async function checkTarget(database: IngestDatabase, position: Position, offset: number): Promise<void> {
  const { topic, partition, end, log, feed, head } = position;
  const place = `${topic}/${partition}`;
  if (offset < log.low || offset > end) {
    throw new CdrhouseError(
      'USAGE_WRONG',
      `${place}: allowed are offsets ${log.low} (the oldest that Kafka holds) to ${end} (where the ledger stands)`,
    );
  }
  if (head === undefined || offset === end) return;
  const readings = await database.readingsFrom(topic, partition, offset);
  if (readings.some((reading) => reading !== feed.reading)) {
    throw new CdrhouseError(
      'READING_CHANGED',
      `${place}: the records from offset ${offset} on were read with other settings of feed ${feed.name}`,
    );
  }
}

async function requireIdle(consumer: Consumer, { kafka }: Settings): Promise<void> {
  const members = await consumer.groupMembers(kafka.group);
  if (members > 0)
    throw new CdrhouseError('GROUP_BUSY', `consumer group ${kafka.group} has ${members} member(s)`);
}

async function claim(
  database: IngestDatabase,
  targets: readonly { position: Position; offset: number }[],
): Promise<void> {
  if (targets.length === 0) return;
  await database.measureClock();
  const nowMs = Date.now();
  const rows = targets.map(({ position: { feed, topic, partition, head, log }, offset }) =>
    claimRow(
      {
        source: { feed: 0, topic, topicId: log.topicId, partition },
        clusterId: log.clusterId,
        generation: (head?.generation ?? 0) + 1,
        position: offset,
        stored: offset,
        end: log.high,
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

async function noteAccepted(
  database: IngestDatabase,
  position: Position,
  offset: number,
  reason: string,
): Promise<void> {
  await database.insertState({
    instance: 'command',
    topic: position.topic,
    partition: position.partition,
    state: 'gap_accepted',
    detail: `${reason}; reading went on at offset ${offset} instead of ${position.end}`,
    next_offset: offset,
    end_offset: position.log.high,
    updated_at: sqlTime(Date.now()),
  });
}

function moved({ topic, partition, end }: Position, offset: number): Moved {
  return { topic, partition, from_offset: end, to_offset: offset };
}
