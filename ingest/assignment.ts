import type { TopicPartition } from 'node-rdkafka';
import { CdrhouseError } from '../schemas/errors.ts';
import type { Feed } from '../schemas/feed.ts';
import type { IngestDatabase, LedgerHead, NotedGap } from './clickhouse.ts';
import type { Consumer } from './consumer.ts';
import {
  decideCorrections,
  markReplaced,
  newestCorrection,
  outwaitOthers,
  type Correctable,
} from './corrections.ts';
import { claimRow } from './ledger-row.ts';
import { contiguousEnd, correctionZone, decideResume, type Gap } from './ledger.ts';
import { nameOf, type PartitionState } from './partitions.ts';
import type { Ownership } from './writer.ts';

/** How long a partition may take to answer once another one has not. */
const ASK_AGAIN_MS_MAX = 2000;

/** A partition that stands still until someone accepts that records may be missing. */
export interface PartitionGap extends Omit<Gap, 'onward'> {
  readonly topic: string;
  readonly partition: number;
}

export interface Resumed {
  readonly states: readonly PartitionState[];
  readonly gaps: readonly PartitionGap[];
  /** Those whose logs cannot be asked for, while others can, as where a partition has no leader: to be looked at again. */
  readonly silent: readonly TopicPartition[];
  /** Those of the states where rows of another reading may stand. */
  readonly correctable: readonly Correctable[];
  /** The newest correction by topic. */
  readonly corrections: ReadonlyMap<string, number>;
}

export interface AssignmentContext {
  readonly consumer: Consumer;
  readonly database: IngestDatabase;
  readonly feeds: readonly Feed[];
  readonly instance: string;
}

/**
 * Finds in the ledger where each assigned partition goes on. A topic that is gone meanwhile is left out. Rejects
 * where Kafka or the ledger cannot be read: the caller waits and tries again, since guessing would lose or repeat.
 * Of a single partition that does not answer nobody else's reading depends.
 */
export async function findResumePoints(
  context: AssignmentContext,
  partitions: readonly TopicPartition[],
): Promise<Resumed> {
  const { consumer, database } = context;
  const topics = [...new Set(partitions.map(({ topic }) => topic))];
  const clusterId = await consumer.clusterId();
  const topicIds = await consumer.topicIds(topics);
  const { heads, noted } = await readPlaces(database, topics);
  const corrections = new Map(
    await Promise.all(topics.map(async (topic) => [topic, await newestCorrection(database, topic)] as const)),
  );
  const states: PartitionState[] = [];
  const gaps: PartitionGap[] = [];
  const correctable: Correctable[] = [];
  const silent: TopicPartition[] = [];
  let failure: unknown;
  for (const { topic, partition } of partitions) {
    const topicId = topicIds.get(topic);
    if (topicId === undefined) continue;
    const name = nameOf(topic, partition);
    const head = heads.get(name);
    const end = head === undefined ? 0 : await endOfRun(database, head);
    const ends = await consumer
      .watermarks(topic, partition, silent.length === 0 ? undefined : ASK_AGAIN_MS_MAX)
      .catch((error: unknown) => {
        failure = error;
      });
    if (ends === undefined) {
      silent.push({ topic, partition });
      continue;
    }
    const { low, high } = ends;
    const resume = decideResume(head, end, { clusterId, topicId, low, high }, noted.get(name));
    if (resume.kind === 'gap') {
      const { reason, expected, logEnd } = resume;
      gaps.push({ topic, partition, reason, expected, logEnd });
      continue;
    }
    const feed = context.feeds.findIndex((candidate) => candidate.topic === topic);
    const state: PartitionState = {
      source: { feed, topic, topicId, partition },
      clusterId,
      generation: resume.generation,
      position: resume.offset,
      stored: resume.offset,
      end: high,
    };
    states.push(state);
    const zone = correctionZone(head, resume.offset, context.feeds[feed]!.reading, high);
    if (zone !== undefined) correctable.push({ state, zone });
  }
  if (silent.length > 0 && states.length + gaps.length === 0) throw failure as Error;
  return { states, gaps, silent, correctable, corrections };
}

/** What the ledger and the marks of gaps say of the partitions of topics, by `topic/partition`. */
export async function readPlaces(
  database: IngestDatabase,
  topics: readonly string[],
): Promise<{
  readonly heads: ReadonlyMap<string, LedgerHead>;
  readonly noted: ReadonlyMap<string, NotedGap>;
}> {
  const heads = await Promise.all(topics.map((topic) => database.ledgerHeads(topic)));
  return { heads: byName(heads.flat()), noted: byName(await database.openGaps(topics)) };
}

function byName<T extends { readonly topic: string; readonly partition: number }>(
  rows: readonly T[],
): Map<string, T> {
  return new Map(rows.map((row) => [nameOf(row.topic, row.partition), row]));
}

/** For how long others may still write, and since when this process owns its partitions. */
export interface Owned {
  readonly leaseMs: number;
  /** performance.now() */
  readonly since: number;
  readonly signal: AbortSignal;
}

/**
 * Decides under which correction each partition is stored, to be done before `claimPartitions`. Waits first
 * for what others may still write, where settings have changed.
 */
export async function planCorrections(
  { database }: AssignmentContext,
  { states, correctable, corrections }: Resumed,
  { leaseMs, since, signal }: Owned,
): Promise<void> {
  if (correctable.some(({ zone }) => zone.begun === undefined))
    await outwaitOthers(database, leaseMs, performance.now() - since, signal);
  await decideCorrections(database, states, correctable, corrections);
}

/**
 * Begins the generations of these partitions: from here on rows of older ones do not count. Then marks what is
 * read again under another reading.
 */
export async function claimPartitions(
  { database, feeds, instance }: AssignmentContext,
  states: readonly PartitionState[],
  { lease, signal }: Ownership,
): Promise<void> {
  if (states.length === 0) return;
  const written = { instance, nowMs: Date.now() };
  const rows = states.map((state) => claimRow(state, feeds[state.source.feed]!, written));
  const storedAtSeconds = Math.floor(written.nowMs / 1000);
  await database.insertLedger(rows, { storedAtSeconds, deadlineMs: await lease.deadline(), signal });
  await markReplaced(database, states, storedAtSeconds, async () => ({
    deadlineMs: await lease.deadline(),
    signal,
  }));
}

/** Thrown where a topic is no longer the one that was assigned: its offsets mean other records now. */
export class TopicRecreated extends CdrhouseError {
  constructor(topic: string) {
    super('PARTITION_GAP', `topic ${topic} was deleted or created again while it was read`);
  }
}

/**
 * Checks, after a batch was read and before it is written, that its topics are still those that were
 * assigned. What was read of a re-created topic would count under the old one, and its beginning be skipped.
 */
export async function verifyTopics(consumer: Consumer, partitions: readonly PartitionState[]): Promise<void> {
  const expected = new Map(partitions.map(({ source }) => [source.topic, source.topicId]));
  const ids = await consumer.topicIds([...expected.keys()]);
  for (const [topic, topicId] of expected) if (ids.get(topic) !== topicId) throw new TopicRecreated(topic);
}

/** Where the contiguous run of a head's ranges ends. */
export async function endOfRun(database: IngestDatabase, head: LedgerHead): Promise<number> {
  if (head.covered === head.nextOffset - head.fromOffset) return head.nextOffset;
  return contiguousEnd(head.fromOffset, await database.ledgerRanges(head));
}
