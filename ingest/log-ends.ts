import { endOfRun, readPlaces, type PartitionGap } from './assignment.ts';
import type { IngestDatabase } from './clickhouse.ts';
import type { Consumer } from './consumer.ts';
import { decideResume } from './ledger.ts';
import { nameOf, type Partitions } from './partitions.ts';

/** How often the ledger is asked how far other processes of the group are. */
const ASK_MS = 1000;

interface LogEnd {
  readonly topic: string;
  readonly partition: number;
  readonly end: number;
}

/** What this process knows of the partitions when it asks whether the ends are reached. */
export interface Progress {
  readonly partitions: Partitions;
  /** Partitions that stand still, by `topic/partition`; those of other processes are added. */
  readonly gaps: Map<string, PartitionGap>;
  /** True while an assignment holds: what is not in `partitions` then is another process's. */
  readonly settled: boolean;
  readonly database: IngestDatabase;
}

/** The ends of all partitions at one moment, and whether they have been reached since. */
export class LogEnds {
  readonly #consumer: Consumer;
  /** By `topic/partition`; partitions that were empty are not in it. */
  readonly #ends = new Map<string, LogEnd>();
  #askedAt = Number.NEGATIVE_INFINITY;

  private constructor(consumer: Consumer) {
    this.#consumer = consumer;
  }

  /** Reads the ends that the logs of these topics have now. A topic that does not exist counts as empty. */
  static async read(
    consumer: Consumer,
    topics: readonly string[],
    missing: (topic: string) => void,
  ): Promise<LogEnds> {
    const ends = new LogEnds(consumer);
    const counts = await consumer.partitionCounts(topics);
    for (const topic of topics) {
      const count = counts.get(topic);
      if (count === undefined) missing(topic);
      for (let partition = 0; partition < (count ?? 0); partition++) {
        const { low, high } = await consumer.watermarks(topic, partition);
        if (high > low) ends.#ends.set(nameOf(topic, partition), { topic, partition, end: high });
      }
    }
    return ends;
  }

  /** True when this process has read its partitions up to their ends; what it has is waiting for nothing more. */
  areRead({ all }: Partitions): boolean {
    return all.every(({ source: { topic, partition }, position }) => {
      const logEnd = this.#ends.get(nameOf(topic, partition));
      return logEnd === undefined || position >= logEnd.end;
    });
  }

  /**
   * True when the ledger covers all ends but those of partitions that stand still, whether by this process or
   * by others of the group, of whom the ledger is asked now and then.
   */
  async areReached(progress: Progress): Promise<boolean> {
    const others: LogEnd[] = [];
    for (const [name, logEnd] of this.#ends) {
      if (progress.gaps.has(name)) continue;
      const state = progress.partitions.find(logEnd.topic, logEnd.partition);
      if (state === undefined) others.push(logEnd);
      else if (state.stored < logEnd.end) return false;
    }
    if (others.length === 0) return true;
    if (performance.now() - this.#askedAt < ASK_MS) return false;
    this.#askedAt = performance.now();
    return this.#othersReached(others, progress);
  }

  /** Asks the ledger where other processes stand; without an assignment a gap may be for this one to note. */
  async #othersReached(others: readonly LogEnd[], { gaps, settled, database }: Progress): Promise<boolean> {
    const topics = [...new Set(others.map(({ topic }) => topic))];
    // The ledger before the logs: what it holds by then, they hold too.
    const { heads, noted } = await readPlaces(database, topics);
    const clusterId = await this.#consumer.clusterId();
    const topicIds = await this.#consumer.topicIds(topics);
    let reached = true;
    for (const { topic, partition, end } of others) {
      const name = nameOf(topic, partition);
      const head = heads.get(name);
      const topicId = topicIds.get(topic);
      const resume =
        topicId === undefined
          ? ({ kind: 'gap', reason: 'the topic was deleted', expected: end, logEnd: 0 } as const)
          : decideResume(
              head,
              head === undefined ? 0 : await endOfRun(database, head),
              { clusterId, topicId, ...(await this.#consumer.watermarks(topic, partition)) },
              noted.get(name),
            );
      if (resume.kind === 'resume') reached &&= head !== undefined && resume.offset >= end;
      else if (settled) {
        const { reason, expected, logEnd } = resume;
        gaps.set(name, { topic, partition, reason, expected, logEnd });
      } else reached = false;
    }
    return reached;
  }
}
