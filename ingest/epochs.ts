import type { TopicPartition } from 'node-rdkafka';
import type { Logger } from 'pino';
import { CdrhouseError } from '../schemas/errors.ts';
import type { Feed } from '../schemas/feed.ts';
import type { Settings } from '../schemas/settings.ts';
import {
  claimPartitions,
  findResumePoints,
  planCorrections,
  TopicRecreated,
  verifyTopics,
  type PartitionGap,
} from './assignment.ts';
import type { BatchQueue } from './batch-queue.ts';
import type { IngestDatabase } from './clickhouse.ts';
import { sessionTimeoutMs, type Consumer } from './consumer.ts';
import { Lease, OwnershipLost } from './lease.ts';
import type { PartitionOffset } from './message-chunk.ts';
import { nameOf, offsetsOf, Partitions, type PartitionState } from './partitions.ts';
import { untilDone, type RetryReport } from './retry.ts';
import { staleAssignment } from './stale-assignment.ts';
import type { Ownership } from './writer.ts';

const TOPICS_LOOK_MS = 10_000;
/** A commit may fail, and librdkafka may repeat an older one behind it: those who watch lag are told anew what stands. */
const COMMIT_AGAIN_MS = 10_000;
/** Leaving the group once is enough, unless the request for it is lost. */
const REJOINS_MAX = 3;

/** The time of one assignment: ended by its controller; what it may write, and until when, is the lease's. */
export interface Epoch {
  readonly controller: AbortController;
  readonly lease: Lease;
}

export function ownershipOf({ controller, lease }: Epoch): Ownership {
  return { signal: controller.signal, lease };
}

export interface EpochsOptions {
  readonly settings: Settings;
  readonly feeds: readonly Feed[];
  readonly database: IngestDatabase;
  readonly log: Logger;
  readonly instanceId: string;
  readonly report: RetryReport;
}

/** What the pipeline does for an epoch. */
export interface EpochReader {
  readonly batches: BatchQueue;
  /** Partitions were handed out anew: none of them is paused. */
  begun(): void;
  /** Sends the open batch on its way. */
  submit(): void;
  /** Tells Kafka how far the ledger stands. */
  commit(offsets: readonly PartitionOffset[], epoch: Epoch): Promise<void>;
}

/**
 * Which partitions this process has, from when to when. An epoch is the time of one assignment. When it ends (rebalance,
 * shutdown), what is in flight is drained within a grace time and then dropped: the next owner goes on from the ledger.
 */
export class Epochs {
  readonly partitions = new Partitions();
  readonly #options: EpochsOptions;
  readonly #reader: EpochReader;
  readonly #gaps = new Map<string, PartitionGap>();
  #consumer: Consumer | undefined;
  #stop: AbortSignal = new AbortController().signal;
  #current: Epoch;
  #accepting = false;
  #assigning: Promise<void> = Promise.resolve();
  #failure: unknown;
  #closing = false;
  /** performance.now() at which the group turned out to have another owner; 0: it has not. */
  #lostAt = 0;
  #topicsSeenAt = 0;
  #committedAt = 0;
  /** How often it left the group since an assignment was right. */
  #rejoins = 0;
  /** What the group gave to this process, undefined where it took it away. */
  #given: readonly TopicPartition[] | undefined;
  /** Of these, those whose logs could not be asked for: they are not read. */
  #silent: readonly TopicPartition[] = [];
  /** Assignments that came. */
  #assignments = 0;
  /** Of the epoch that is being begun. */
  #beginning: AbortController | undefined;
  /** Hands the next assignment to librdkafka, between two polls. */
  #applyAssignment: (() => void) | undefined;

  constructor(options: EpochsOptions, reader: EpochReader) {
    this.#options = options;
    this.#reader = reader;
    this.#current = this.#newEpoch();
  }

  /** @param stop aborted to end */
  begin(consumer: Consumer, stop: AbortSignal): void {
    this.#consumer = consumer;
    this.#stop = stop;
  }

  get current(): Epoch {
    return this.#current;
  }

  /** Whether what is read counts. */
  get accepting(): boolean {
    return this.#accepting;
  }

  /** Partitions that stand still. */
  get gaps(): Map<string, PartitionGap> {
    return this.#gaps;
  }

  get failure(): unknown {
    return this.#failure;
  }

  /** The first failure is the one that is thrown. */
  fail(error: unknown): void {
    this.#failure ??= error;
  }

  throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure as Error;
  }

  throwGaps(): void {
    if (this.#gaps.size === 0) return;
    const [first] = this.#gaps.values();
    throw new CdrhouseError(
      'PARTITION_GAP',
      `${this.#gaps.size} partition(s) stand still; the first: ${first!.topic}/${first!.partition}, ${first!.reason}`,
    );
  }

  assigned(partitions: readonly TopicPartition[]): void {
    if (this.#closing) return this.#unassign();
    const assignment = ++this.#assignments;
    // When topics change, librdkafka joins anew without waiting for an answer to what it told before.
    this.#beginning?.abort(new Error('another assignment came'));
    this.#enqueue(async () => {
      if (assignment !== this.#assignments) return;
      if (this.#closing) return this.#unassign();
      this.#given = partitions;
      await this.#endEpoch();
      await this.#beginEpoch(partitions);
    });
  }

  revoked(partitions: readonly TopicPartition[]): void {
    if (this.#closing) return this.#unassign();
    this.#options.log.info({ partitions: partitions.length }, 'partitions revoked');
    this.#enqueue(async () => {
      this.#given = undefined;
      await this.#endEpoch();
      this.#unassign();
    });
  }

  /**
   * Has an assignment that waits take effect, to be called between two polls: a poll that is under way would mix messages of
   * the old one with those of the new one, whose offsets decide what the ledger counts as read.
   */
  betweenPolls(): void {
    this.#applyAssignment?.();
  }

  /** From here on nothing new begins: an assignment that comes while the client closes would never end. */
  close(): void {
    this.#closing = true;
  }

  /** Ends what is under way in order: what was read is stored, within the grace time. */
  async end(): Promise<void> {
    await this.#assigning;
    await this.#endEpoch();
  }

  /** Ends what is under way at once. */
  async abandon(): Promise<void> {
    this.#closing = true;
    this.#current.controller.abort(new Error('ended'));
    await this.#assigning;
  }

  /** Ends an epoch whose batches can no longer be stored: the ledger would have a hole. */
  endFailed(epoch: Epoch, error: unknown): void {
    if (epoch.controller.signal.aborted) return;
    if (error instanceof OwnershipLost) {
      this.#options.log.warn({ code: error.code }, error.message);
      // The group tells it too, by a revocation; if it does not, this process must not sit idle for ever.
      this.#lostAt = performance.now();
    } else if (!(error instanceof TopicRecreated)) this.fail(error);
    this.#accepting = false;
    epoch.controller.abort(error);
    if (error instanceof TopicRecreated) this.#restartEpoch();
  }

  /** Kafka lost the offset at which a partition was read. */
  offsetLost(topic: string, partition: number): void {
    const state = this.partitions.find(topic, partition);
    // Where it is no longer ours, its owner finds the gap.
    if (!this.#accepting || state === undefined) return;
    const reason = 'Kafka lost the offset while it was read';
    const expected = state.position;
    const { signal } = this.#current.controller;
    this.#enqueue(async () => {
      if (signal.aborted) return;
      await this.#retried('note a gap', signal, async () => {
        const { high } = await this.#consumer!.watermarks(topic, partition);
        await this.#noteGap({ topic, partition, reason, expected, logEnd: high });
      });
    });
  }

  /** Looks now and then at what nobody tells. */
  watch(): void {
    if (this.#accepting && performance.now() - this.#topicsSeenAt > TOPICS_LOOK_MS) {
      this.#topicsSeenAt = performance.now();
      void this.#lookAtTopics(this.#current);
      void this.#lookAtSilent(this.#current);
    }
    if (this.#accepting && performance.now() - this.#committedAt > COMMIT_AGAIN_MS) {
      this.#committedAt = performance.now();
      void this.#commitStored(this.#current);
    }
    const sessionMs = sessionTimeoutMs(this.#options.settings);
    if (this.#lostAt > 0 && performance.now() - this.#lostAt > 2 * sessionMs)
      this.fail(
        new CdrhouseError('OWNERSHIP_LOST', 'the group gave no new assignment after it took the last one'),
      );
  }

  /** Answers a rebalance that leaves this process without partitions. */
  #unassign(): void {
    try {
      this.#consumer?.unassign();
    } catch (error) {
      // The client is closing and has dropped its assignment by itself.
      this.#options.log.debug({ reason: (error as Error).message }, 'not unassigned');
    }
  }

  #enqueue(work: () => Promise<void>): void {
    this.#assigning = this.#assigning.then(work).catch((error: unknown) => this.fail(error));
  }

  async #beginEpoch(given: readonly TopicPartition[]): Promise<void> {
    const epoch = this.#newEpoch();
    this.#current = epoch;
    this.#beginning = epoch.controller;
    this.#lostAt = 0;
    const { database, feeds, instanceId, log } = this.#options;
    const context = { consumer: this.#consumer!, database, feeds, instance: instanceId };
    const { signal } = epoch.controller;
    const owned = { leaseMs: sessionTimeoutMs(this.#options.settings), since: performance.now(), signal };
    // Nothing is in flight yet: who is to end need not wait for the database.
    const stopped = (): void => epoch.controller.abort(new Error('stopped'));
    this.#stop.addEventListener('abort', stopped, { once: true });
    try {
      if (await this.#retried('look at the group', signal, () => this.#rejoined(given))) return;
      const resumed = await this.#retried('read the ledger', signal, async () => {
        await database.measureClock();
        return findResumePoints(context, given);
      });
      const { states, gaps, silent, correctable } = resumed;
      this.#silent = silent;
      if (silent.length > 0)
        log.warn(
          { code: 'KAFKA_UNREACHABLE', partitions: silent.map((of) => nameOf(of.topic, of.partition)) },
          'partitions that do not answer are left out; they are looked at again',
        );
      if (correctable.length > 0)
        log.info({ partitions: correctable.length }, 'what was read with other settings is looked for');
      await this.#retried('look for what another reading stored', signal, () =>
        planCorrections(context, resumed, owned),
      );
      this.partitions.clear();
      states.forEach((state) => this.partitions.set(state));
      this.#gaps.clear();
      for (const gap of gaps) await this.#retried('note a gap', signal, () => this.#noteGap(gap));
      await this.#retried('claim the partitions', signal, () =>
        claimPartitions(context, states, ownershipOf(epoch)),
      );
      await this.#assignBetweenPolls(states, signal);
      log.info({ partitions: states.length, gaps: gaps.length }, 'partitions assigned');
    } catch (error) {
      this.endFailed(epoch, error);
      // librdkafka waits for an answer to the assignment; with this one it looks at the group again, and joins it anew.
      if (this.#stop.aborted) this.#unassign();
      else if (error instanceof OwnershipLost) this.#consumer!.assign([]);
    } finally {
      this.#beginning = undefined;
      this.#stop.removeEventListener('abort', stopped);
    }
  }

  /** True where the assignment was stale and this process has left the group, to join it again. */
  async #rejoined(given: readonly TopicPartition[]): Promise<boolean> {
    const { settings, feeds, log } = this.#options;
    const topics = feeds.map(({ topic }) => topic);
    const consumer = this.#consumer!;
    const group = await consumer.describeGroup(settings.kafka.group);
    const reason = staleAssignment(given, await consumer.partitionCounts(topics), topics, group);
    if (reason === undefined) {
      this.#rejoins = 0;
      return false;
    }
    if (++this.#rejoins > REJOINS_MAX)
      throw new CdrhouseError('OWNERSHIP_LOST', `the group keeps sharing out wrongly: ${reason}`);
    log.info({ reason }, 'the group gave what it had given before: joining it again');
    consumer.rejoin(topics);
    return true;
  }

  async #assignBetweenPolls(states: readonly PartitionState[], signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      signal.addEventListener('abort', () => resolve(), { once: true });
      this.#applyAssignment = () => {
        this.#applyAssignment = undefined;
        if (!signal.aborted) {
          this.#consumer!.assign(
            offsetsOf(states.map((partition) => ({ partition, offset: partition.position }))),
          );
          this.#accepting = true;
          this.#reader.begun();
        }
        resolve();
      };
      if (signal.aborted) resolve();
    });
    signal.throwIfAborted();
  }

  /** Begins anew with the same partitions: those whose topic was re-created will stand still. */
  #restartEpoch(): void {
    this.#enqueue(async () => {
      const given = this.#given;
      if (this.#closing || given === undefined) return;
      await this.#reader.batches.drained();
      this.#reader.batches.drop();
      await this.#beginEpoch(given);
    });
  }

  /** Stores what is in flight, within the grace time; what is not stored by then is dropped and read again. */
  async #endEpoch(): Promise<void> {
    const epoch = this.#current;
    const { controller } = epoch;
    this.#accepting = false;
    const { batches } = this.#reader;
    if (batches.open.pending && !controller.signal.aborted) this.#reader.submit();
    else batches.drop();
    const graceMs = this.#options.settings.ingest.drain_seconds_max * 1000;
    const grace = setTimeout(() => controller.abort(new Error('the grace time is over')), graceMs);
    await batches.drained();
    clearTimeout(grace);
    await this.#commitStored(epoch);
    controller.abort(new Error('the assignment has ended'));
    this.partitions.clear();
  }

  #newEpoch(): Epoch {
    return {
      controller: new AbortController(),
      lease: new Lease(sessionTimeoutMs(this.#options.settings), () =>
        this.#consumer!.commit(this.#storedOffsets()),
      ),
    };
  }

  async #commitStored(epoch: Epoch): Promise<void> {
    const stored = this.#storedOffsets();
    if (stored.length > 0) await this.#reader.commit(stored, epoch);
  }

  #storedOffsets(): PartitionOffset[] {
    return offsetsOf(this.partitions.all.map((partition) => ({ partition, offset: partition.stored })));
  }

  async #noteGap(gap: PartitionGap): Promise<void> {
    const { log, database, instanceId } = this.#options;
    this.#gaps.set(nameOf(gap.topic, gap.partition), gap);
    log.error({ code: 'PARTITION_GAP', ...gap }, 'a partition stands still: records may be missing');
    await database.insertState({
      instance: instanceId,
      topic: gap.topic,
      partition: gap.partition,
      state: 'gap',
      detail: gap.reason,
      next_offset: gap.expected,
      end_offset: gap.logEnd,
    });
  }

  /** A topic that was made again is noticed with the next batch of it, or here where none comes. */
  async #lookAtTopics(epoch: Epoch): Promise<void> {
    try {
      await verifyTopics(this.#consumer!, this.partitions.all);
    } catch (error) {
      // Whoever cannot be asked is asked again.
      if (!(error instanceof TopicRecreated)) return;
      await this.#reader.batches.drained();
      this.endFailed(epoch, error);
    }
  }

  /** Begins anew with all partitions where one answers that did not. */
  async #lookAtSilent({ controller: { signal } }: Epoch): Promise<void> {
    const [first] = this.#silent;
    const given = this.#given;
    if (first === undefined || given === undefined) return;
    try {
      await this.#consumer!.watermarks(first.topic, first.partition);
    } catch {
      // Another one the next time.
      this.#silent = [...this.#silent.slice(1), first];
      return;
    }
    this.#enqueue(async () => {
      // Another assignment may have come meanwhile.
      if (signal.aborted || this.#closing) return;
      await this.#endEpoch();
      await this.#beginEpoch(given);
    });
  }

  #retried<T>(what: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const { settings, report } = this.#options;
    return untilDone(work, { what, pauseMsMax: settings.ingest.retry_seconds_max * 1000, signal, report });
  }
}
