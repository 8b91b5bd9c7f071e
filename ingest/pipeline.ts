import type { TopicPartition } from 'node-rdkafka';
import type { Logger } from 'pino';
import { errorCode } from '../schemas/clickhouse-errors.ts';
import { CdrhouseError } from '../schemas/errors.ts';
import type { Feed } from '../schemas/feed.ts';
import type { Settings } from '../schemas/settings.ts';
import { sqlTime } from '../schemas/sql-time.ts';
import {
  claimPartitions,
  findResumePoints,
  planCorrections,
  TopicRecreated,
  verifyTopics,
  type PartitionGap,
} from './assignment.ts';
import { BatchQueue, type BatchLimits } from './batch-queue.ts';
import type { IngestDatabase } from './clickhouse.ts';
import { Consumer, sessionTimeoutMs, type ConsumerListener } from './consumer.ts';
import { Heartbeat } from './heartbeat.ts';
import { LagWatch, oldestUnflushedSeconds } from './lag.ts';
import { Lease, OwnershipLost } from './lease.ts';
import { LogEnds } from './log-ends.ts';
import { POLL_ERRORS, type MessageChunk, type PartitionOffset, type PollError } from './message-chunk.ts';
import type { IngestMetrics, IngestState } from './metrics.ts';
import type { SealedBatch } from './open-batch.ts';
import type { ParsePool } from './parse-pool.ts';
import type { StoredBatch } from './parse/batch.ts';
import { nameOf, Partitions, type PartitionState } from './partitions.ts';
import { untilDone, type RetryReport } from './retry.ts';
import { staleAssignment } from './stale-assignment.ts';
import { addToSummary, emptySummary, type IngestSummary } from './summary.ts';
import type { Ownership, Writer } from './writer.ts';

const POLL_MS_MAX = 100;
const DRAIN_POLL_MS = 10;
/** Bytes of one poll: what it gives is copied into the batch at once. */
const POLL_BYTES_MAX = 1_048_576;
/** While no batch can be taken, reading just waits this long before it is paused, which drops what was read ahead. */
const PAUSE_AFTER_MS = 5000;
/** How long a poll may wait when all that is to be read has been: soon the last batch is stored. */
const END_POLL_MS = 10;
const WATCH_MS = 1000;
const TOPICS_LOOK_MS = 10_000;
/** Leaving the group once is enough, unless the request for it is lost. */
const REJOINS_MAX = 3;

export interface PipelineOptions {
  readonly settings: Settings;
  readonly feeds: readonly Feed[];
  readonly database: IngestDatabase;
  readonly pool: ParsePool;
  readonly limits: BatchLimits;
  readonly writer: Writer;
  readonly metrics: IngestMetrics;
  readonly log: Logger;
  readonly instanceId: string;
  readonly report: RetryReport;
}

/**
 * One ingest process: reads what Kafka assigns to it, fills batches, has them parsed in parallel and stored
 * in order, then tells the ledger and Kafka. The main thread only moves bytes.
 *
 * An epoch is the time of one assignment. When it ends (rebalance, shutdown), what is in flight is drained
 * within a grace time and then dropped: the next owner goes on from the ledger.
 */
export class Pipeline implements ConsumerListener {
  readonly #options: PipelineOptions;
  readonly #partitions = new Partitions();
  readonly #gaps = new Map<string, PartitionGap>();
  readonly #missingTopics = new Set<string>();
  readonly #summary = emptySummary();
  #consumer: Consumer | undefined;
  readonly #batches: BatchQueue;
  #epoch: Epoch;
  /** performance.now() at which the group turned out to have another owner; 0: it has not. */
  #lostAt = 0;
  #accepting = false;
  readonly #lag = new LagWatch();
  readonly #heartbeat: Heartbeat;
  #assigning: Promise<void> = Promise.resolve();
  #failure: unknown;
  /** The last poll brought something. */
  #moreAtHand = false;
  #paused = false;
  #topicsSeenAt = 0;
  #closing = false;
  #stop: AbortSignal = new AbortController().signal;
  /** How often it left the group since an assignment was right. */
  #rejoins = 0;
  /** What the group gave to this process last. */
  #given: readonly TopicPartition[] = [];
  /** Hands the next assignment to librdkafka, between two polls. */
  #applyAssignment: (() => void) | undefined;

  constructor(options: PipelineOptions) {
    this.#options = options;
    this.#batches = new BatchQueue(options.limits);
    const { database, instanceId, log } = options;
    this.#heartbeat = new Heartbeat(database, instanceId, (error) =>
      log.debug({ reason: errorCode(error) }, 'a heartbeat was left out'),
    );
    this.#epoch = this.#newEpoch();
  }

  get ready(): boolean {
    return this.#consumer !== undefined && this.#failure === undefined;
  }

  /** Whether Kafka answers within this time; undefined before the consumer has connected. */
  async kafkaAnswers(timeoutMs: number): Promise<boolean | undefined> {
    return this.#consumer?.answers(this.#options.feeds[0]!.topic, timeoutMs);
  }

  /** How things stand now. Partitions whose ownership is over are another process's to tell. */
  state(): IngestState {
    const isOver = this.#epoch.controller.signal.aborted;
    const partitions = isOver ? [] : this.#partitions.all;
    for (const state of partitions) {
      const { topic, partition } = state.source;
      state.end = Math.max(state.end, this.#consumer?.lastKnownEnd(topic, partition) ?? 0);
    }
    const unstored = isOver ? [] : this.#batches.unstored;
    return {
      lags: this.#lag.measure(partitions, unstored, Date.now()),
      paused: this.#paused,
      gaps: isOver ? [] : [...this.#gaps.values()],
      oldestUnflushedSeconds: oldestUnflushedSeconds(unstored, performance.now()),
      utilization: this.#options.pool.utilization,
    };
  }

  /** Reads until `stop` is aborted, then drains. Rejects with the error that ended it. */
  async runUntilStopped(stop: AbortSignal): Promise<IngestSummary> {
    return this.#run(async () => this.#turnUntil(() => Promise.resolve(stop.aborted)), stop);
  }

  /**
   * Reads every partition up to the end that it has now; then everything is stored and committed. Rejects with
   * IDLE_WITH_ERRORS where it was stopped before, with what was read stored all the same.
   */
  async runUntilIdle(stop: AbortSignal): Promise<IngestSummary> {
    let reached = false;
    const summary = await this.#run(async (consumer) => {
      const { feeds, log } = this.#options;
      const topics = feeds.map((feed) => feed.topic);
      const ends = await LogEnds.read(consumer, topics, (topic) => {
        log.warn({ code: 'TOPIC_MISSING', topic }, 'the topic does not exist; it counts as empty');
      });
      await this.#turnUntil(
        async () => {
          reached = await this.#reached(ends);
          return stop.aborted || reached;
        },
        () => ends.areRead(this.#partitions),
      );
    }, stop);
    if (!reached) {
      throw new CdrhouseError('IDLE_WITH_ERRORS', 'stopped before every partition was read to its end');
    }
    return summary;
  }

  assigned(partitions: readonly TopicPartition[]): void {
    if (this.#closing) return this.#unassign();
    const epoch = this.#newEpoch();
    this.#epoch = epoch;
    this.#given = partitions;
    this.#lostAt = 0;
    this.#enqueueAssignment(() => this.#beginEpoch(partitions, epoch));
  }

  revoked(partitions: readonly TopicPartition[]): void {
    if (this.#closing) return this.#unassign();
    this.#options.log.info({ partitions: partitions.length }, 'partitions revoked');
    this.#enqueueAssignment(async () => {
      await this.#endEpoch();
      this.#unassign();
    });
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

  disturbed(code: number, reason: string): void {
    this.#options.log.warn({ code: 'KAFKA_UNREACHABLE', kafkaCode: code, reason }, 'Kafka is disturbed');
  }

  async #run(work: (consumer: Consumer) => Promise<void>, stop: AbortSignal): Promise<IngestSummary> {
    this.#stop = stop;
    const { settings, instanceId, feeds, log } = this.#options;
    const began = performance.now();
    const consumer = await Consumer.connect(settings, instanceId, this);
    this.#consumer = consumer;
    try {
      log.info({ feeds: feeds.length, instanceId }, 'reading');
      await this.#subscribed(consumer, work);
      // From here on nothing new begins: an assignment that comes while the client closes would never end.
      this.#closing = true;
      await this.#whilePolling(async () => {
        await this.#assigning;
        await this.#endEpoch();
      });
      this.#throwFailure();
    } finally {
      this.#closing = true;
      this.#epoch.controller.abort(new Error('ended'));
      await this.#assigning;
      await consumer.close();
    }
    if (!stop.aborted) this.#throwGaps();
    this.#summary.seconds = Math.round(performance.now() - began) / 1000;
    return this.#summary;
  }

  /** Answers to commits come with polls, so these go on while something waits for one; what they read is dropped. */
  async #whilePolling(work: () => Promise<void>): Promise<void> {
    const state = { working: true };
    const worked = work().finally(() => {
      state.working = false;
    });
    // Met below; until then a failure must not count as unhandled.
    worked.catch(() => undefined);
    while (state.working) await this.#poll(1, 1, DRAIN_POLL_MS);
    await worked;
  }

  async #subscribed(consumer: Consumer, work: (consumer: Consumer) => Promise<void>): Promise<void> {
    // Ends are noted before the first record is read.
    const working = work(consumer);
    consumer.subscribe(this.#options.feeds.map((feed) => feed.topic));
    await working;
  }

  /**
   * Polls, fills, submits, until `done` says so.
   * @param complete true where nothing more is wanted: a batch need not wait for it. @default it waits for a flush interval
   */
  async #turnUntil(done: () => Promise<boolean>, complete: () => boolean = () => false): Promise<void> {
    while (!(await done())) {
      this.#throwFailure();
      if (this.#batches.isFull) await this.#waitForPlace();
      else this.#take(await this.#pollForBatch(complete() ? END_POLL_MS : POLL_MS_MAX));
      const { hasPlace, open } = this.#batches;
      if (hasPlace && (this.#batches.isDue(this.#moreAtHand) || (open.pending && complete()))) this.#submit();
      this.#watch();
    }
  }

  #pollForBatch(waitMsMax: number): Promise<MessageChunk> {
    const { messagesLeft, bytesLeft, pollMs } = this.#batches;
    return this.#poll(messagesLeft, Math.min(POLL_BYTES_MAX, bytesLeft), Math.min(pollMs, waitMsMax));
  }

  /**
   * An assignment takes effect between two polls: a poll that is under way would mix messages of the old one
   * with those of the new one, whose offsets decide what the ledger counts as read.
   */
  #poll(messagesMax: number, bytesMax: number, waitMs: number): Promise<MessageChunk> {
    this.#applyAssignment?.();
    return this.#consumer!.poll(messagesMax, bytesMax, waitMs);
  }

  #take(chunk: MessageChunk): void {
    this.#moreAtHand = chunk.count > 0;
    for (const error of chunk.errors) this.#pollFailed(error);
    if (!this.#accepting) return;
    const { open } = this.#batches;
    if (chunk.count > 0) open.add(chunk, (topic, partition) => this.#partitions.find(topic, partition));
    for (const { topic, partition, offset } of chunk.partitionEnds) {
      const state = this.#partitions.find(topic, partition);
      if (state !== undefined) open.reach(state, offset);
    }
  }

  /** Sends the open batch on its way: parsed and inserted at once, in the ledger after the batches before it. */
  #submit(): void {
    const epoch = this.#epoch;
    this.#batches.submit(async (batch, before) => {
      try {
        await this.#options.writer.write(batch, {
          ...ownershipOf(epoch),
          before,
          verifySource: () =>
            verifyTopics(
              this.#consumer!,
              batch.ranges.map(({ partition }) => partition),
            ),
          stored: (part, parsed, storeMs) => this.#stored(part, parsed, storeMs, epoch),
        });
      } catch (error) {
        // Those before it are stored first: what is in the tables should be in the ledger too.
        await before;
        if (!epoch.controller.signal.aborted) this.#epochFailed(epoch, error);
      }
    });
  }

  #stored(part: SealedBatch, parsed: StoredBatch, storeMs: number, epoch: Epoch): void {
    addToSummary(this.#summary, parsed);
    const feedNames = this.#options.feeds.map((feed) => feed.name);
    this.#options.metrics.batchStored(part, parsed, storeMs, feedNames);
    // Not awaited: the next batch need not wait for Kafka, and nothing reads the commit back.
    void this.#commit(
      offsetsOf(part.ranges.map(({ partition, next }) => ({ partition, offset: next }))),
      epoch,
    );
  }

  /** Commits for those who watch lag, and renews the lease. A commit that fails is only late: the ledger decides. */
  async #commit(offsets: readonly PartitionOffset[], { lease }: Epoch): Promise<void> {
    const sentAtMs = Date.now();
    try {
      lease.proven(await this.#consumer!.commit(offsets));
      this.#options.metrics.committed(Date.now() - sentAtMs);
    } catch (error) {
      const { code, message: reason } = error as CdrhouseError;
      this.#options.log.warn({ code, reason }, 'the offsets could not be committed');
    }
  }

  /**
   * Waits until another batch may be in flight. After a while reading is paused and the consumer polled, so
   * that it stays in its group however long the database is away.
   */
  async #waitForPlace(): Promise<void> {
    const began = performance.now();
    while (
      !this.#stop.aborted &&
      !this.#batches.hasPlace &&
      this.#failure === undefined &&
      !this.#epoch.controller.signal.aborted
    ) {
      await this.#batches.placeOrTimeout(POLL_MS_MAX);
      if (!this.#paused && performance.now() - began > PAUSE_AFTER_MS) this.#setPaused(true);
      // Nothing comes while all is paused, but rebalances and answers to commits do.
      if (this.#paused) this.#take(await this.#poll(1, 1, POLL_MS_MAX));
    }
    if (this.#paused) this.#setPaused(false);
  }

  #setPaused(paused: boolean): void {
    const { log } = this.#options;
    const partitions = this.#partitions.all.map(({ source }) => ({
      topic: source.topic,
      partition: source.partition,
    }));
    if (partitions.length > 0) {
      if (paused) this.#consumer!.pause(partitions);
      else this.#consumer!.resume(partitions);
    }
    this.#paused = paused;
    log.info({ paused }, paused ? 'reading is paused: the database does not keep up' : 'reading goes on');
  }

  #enqueueAssignment(work: () => Promise<void>): void {
    this.#assigning = this.#assigning.then(work).catch((error: unknown) => {
      this.#failure ??= error;
    });
  }

  async #beginEpoch(partitions: readonly TopicPartition[], epoch: Epoch): Promise<void> {
    const { database, feeds, instanceId, log } = this.#options;
    const context = { consumer: this.#consumer!, database, feeds, instance: instanceId };
    const { signal } = epoch.controller;
    const owned = { leaseMs: sessionTimeoutMs(this.#options.settings), since: performance.now(), signal };
    // Nothing is in flight yet: who is to end need not wait for the database.
    const stopped = (): void => epoch.controller.abort(new Error('stopped'));
    this.#stop.addEventListener('abort', stopped, { once: true });
    try {
      if (await this.#retried('look at the group', signal, () => this.#rejoined(partitions))) return;
      const resumed = await this.#retried('read the ledger', signal, async () => {
        await database.measureClock();
        return findResumePoints(context, partitions);
      });
      const { states, gaps, correctable } = resumed;
      if (correctable.length > 0)
        log.info({ partitions: correctable.length }, 'what was read with other settings is looked for');
      await this.#retried('look for what another reading stored', signal, () =>
        planCorrections(context, resumed, owned),
      );
      this.#partitions.clear();
      states.forEach((state) => this.#partitions.set(state));
      this.#gaps.clear();
      for (const gap of gaps) await this.#retried('note a gap', signal, () => this.#noteGap(gap));
      await this.#retried('claim the partitions', signal, () =>
        claimPartitions(context, states, ownershipOf(epoch)),
      );
      await this.#assignBetweenPolls(states, signal);
      log.info({ partitions: states.length, gaps: gaps.length }, 'partitions assigned');
    } catch (error) {
      if (!signal.aborted) this.#epochFailed(epoch, error);
      // librdkafka waits for an answer to the assignment; with this one it joins the group anew.
      if (error instanceof OwnershipLost || this.#stop.aborted) this.#unassign();
    } finally {
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
          this.#paused = false;
        }
        resolve();
      };
      if (signal.aborted) resolve();
    });
    signal.throwIfAborted();
  }

  /** Begins anew with the same partitions: those whose topic was re-created will stand still. */
  #restartEpoch(): void {
    this.#enqueueAssignment(async () => {
      if (this.#closing) return;
      await this.#batches.drained();
      this.#batches.drop();
      const epoch = this.#newEpoch();
      this.#epoch = epoch;
      await this.#beginEpoch(this.#given, epoch);
    });
  }

  #retried<T>(what: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const { settings, report } = this.#options;
    return untilDone(work, { what, pauseMsMax: settings.ingest.retry_seconds_max * 1000, signal, report });
  }

  /** Ends an epoch whose batches can no longer be stored: the ledger would have a hole. */
  #epochFailed(epoch: Epoch, error: unknown): void {
    if (error instanceof OwnershipLost) {
      this.#options.log.warn({ code: error.code }, error.message);
      // The group tells it too, by a revocation; if it does not, this process must not sit idle for ever.
      this.#lostAt = performance.now();
    } else if (!(error instanceof TopicRecreated)) this.#failure ??= error;
    this.#accepting = false;
    epoch.controller.abort(error);
    if (error instanceof TopicRecreated) this.#restartEpoch();
  }

  /** Stores what is in flight, within the grace time; what is not stored by then is dropped and read again. */
  async #endEpoch(): Promise<void> {
    this.#accepting = false;
    if (this.#batches.open.pending && !this.#epoch.controller.signal.aborted) this.#submit();
    else this.#batches.drop();
    const graceMs = this.#options.settings.ingest.drain_seconds_max * 1000;
    const grace = setTimeout(
      () => this.#epoch.controller.abort(new Error('the grace time is over')),
      graceMs,
    );
    await this.#batches.drained();
    clearTimeout(grace);
    const all = this.#partitions.all.map((partition) => ({ partition, offset: partition.stored }));
    if (all.length > 0) await this.#commit(offsetsOf(all), this.#epoch);
    this.#epoch.controller.abort(new Error('the assignment has ended'));
    this.#partitions.clear();
  }

  #pollFailed({ topic, partition, code, reason }: PollError): void {
    const { log } = this.#options;
    if (code === POLL_ERRORS.unknownTopic) {
      if (this.#missingTopics.has(topic)) return;
      this.#missingTopics.add(topic);
      log.warn(
        { code: 'TOPIC_MISSING', topic },
        'the topic does not exist yet; it is picked up when it does',
      );
    } else if (code === POLL_ERRORS.offsetLost) {
      const expected = this.#partitions.find(topic, partition)?.position ?? 0;
      const gap = { topic, partition, reason: 'Kafka lost the offset while it was read', expected };
      const { signal } = this.#epoch.controller;
      this.#enqueueAssignment(() => this.#retried('note a gap', signal, () => this.#noteGap(gap)));
    } else if (code === POLL_ERRORS.fatal) {
      // A consumer knows one: another member has its place, or the broker has forgotten that it has.
      this.#failure ??= new CdrhouseError('OWNERSHIP_LOST', reason);
    } else {
      // Negative codes are librdkafka's own: a broker that it does not reach.
      const judged = code < 0 ? 'KAFKA_UNREACHABLE' : 'KAFKA_REFUSED';
      log.warn({ code: judged, kafkaCode: code, topic, reason }, 'Kafka reports an error');
    }
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
      end_offset: 0,
      updated_at: sqlTime(Date.now()),
    });
  }

  /** True when all ends are reached; not yet, where the ledger cannot be asked. */
  async #reached(ends: LogEnds): Promise<boolean> {
    const { database, report } = this.#options;
    try {
      return await ends.areReached({
        partitions: this.#partitions,
        gaps: this.#gaps,
        settled: this.#accepting,
        database,
      });
    } catch (error) {
      report('ask the ledger how far others are', errorCode(error), 2, WATCH_MS);
      return false;
    }
  }

  #newEpoch(): Epoch {
    const prove = (): Promise<number> => {
      const all = this.#partitions.all.map((partition) => ({ partition, offset: partition.stored }));
      return this.#consumer!.commit(offsetsOf(all));
    };
    return {
      controller: new AbortController(),
      lease: new Lease(sessionTimeoutMs(this.#options.settings), prove),
    };
  }

  #watch(): void {
    if (this.#accepting) this.#heartbeat.beat(this.#consumer!, this.#partitions.all);
    if (this.#accepting && performance.now() - this.#topicsSeenAt > TOPICS_LOOK_MS) {
      this.#topicsSeenAt = performance.now();
      void this.#lookAtTopics(this.#epoch);
    }
    const sessionMs = sessionTimeoutMs(this.#options.settings);
    if (this.#lostAt > 0 && performance.now() - this.#lostAt > 2 * sessionMs) {
      this.#failure ??= new CdrhouseError(
        'OWNERSHIP_LOST',
        'the group gave no new assignment after it took the last one',
      );
    }
  }

  /** A topic that was made again is noticed with the next batch of it, or here where none comes. */
  async #lookAtTopics(epoch: Epoch): Promise<void> {
    try {
      await verifyTopics(this.#consumer!, this.#partitions.all);
    } catch (error) {
      // Whoever cannot be asked is asked again.
      if (!(error instanceof TopicRecreated)) return;
      await this.#batches.drained();
      if (!epoch.controller.signal.aborted) this.#epochFailed(epoch, error);
    }
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure as Error;
  }

  #throwGaps(): void {
    if (this.#gaps.size === 0) return;
    const [first] = this.#gaps.values();
    throw new CdrhouseError(
      'PARTITION_GAP',
      `${this.#gaps.size} partition(s) stand still; the first: ${first!.topic}/${first!.partition}, ${first!.reason}`,
    );
  }
}

/** The time of one assignment: ended by its controller; what it may write, and until when, is the lease's. */
interface Epoch {
  readonly controller: AbortController;
  readonly lease: Lease;
}

function ownershipOf({ controller, lease }: Epoch): Ownership {
  return { signal: controller.signal, lease };
}

function offsetsOf(
  places: readonly { readonly partition: PartitionState; readonly offset: number }[],
): PartitionOffset[] {
  return places.map(({ partition: { source }, offset }) => ({
    topic: source.topic,
    partition: source.partition,
    offset,
  }));
}
