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
  TopicRecreated,
  verifyTopics,
  type PartitionGap,
} from './assignment.ts';
import type { IngestDatabase } from './clickhouse.ts';
import { Consumer, sessionTimeoutMs, type ConsumerListener } from './consumer.ts';
import { Lease, OwnershipLost } from './lease.ts';
import { LogEnds } from './log-ends.ts';
import type { MessageChunk, PartitionOffset, PollError } from './message-chunk.ts';
import type { IngestMetrics } from './metrics.ts';
import { OpenBatch, type SealedBatch } from './open-batch.ts';
import type { ParsePool } from './parse-pool.ts';
import type { ParsedBatch } from './parse/batch.ts';
import { nameOf, Partitions, type PartitionState } from './partitions.ts';
import { untilDone, type RetryReport } from './retry.ts';
import { addToSummary, emptySummary, type IngestSummary } from './summary.ts';
import type { Ownership, Writer } from './writer.ts';

/** librdkafka's error codes that the pipeline acts on. */
const KAFKA = { unknownTopic: 3, offsetLost: -140, fatal: -150 } as const;

const POLL_MS_MAX = 100;
const DRAIN_POLL_MS = 10;
/** While no batch can be taken, reading just waits this long before it is paused, which drops what was read ahead. */
const PAUSE_AFTER_MS = 5000;
const PARSE_TRIES = 3;
const WATCH_MS = 1000;

export interface PipelineOptions {
  readonly settings: Settings;
  readonly feeds: readonly Feed[];
  readonly database: IngestDatabase;
  readonly pool: ParsePool;
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
  #open = new OpenBatch();
  #epoch: Epoch;
  /** performance.now() at which the group turned out to have another owner; 0: it has not. */
  #lostAt = 0;
  #accepting = false;
  #inFlight = 0;
  /** The batch before the next one; batches are stored one after the other. */
  #tail: Promise<void> = Promise.resolve();
  #assigning: Promise<void> = Promise.resolve();
  #slotFreed: () => void = () => undefined;
  #endsSeenAt = 0;
  #failure: unknown;
  #paused = false;
  #closing = false;
  #stop: AbortSignal = new AbortController().signal;
  /** What the group gave to this process last. */
  #given: readonly TopicPartition[] = [];
  /** Hands the next assignment to librdkafka, between two polls. */
  #applyAssignment: (() => void) | undefined;

  constructor(options: PipelineOptions) {
    this.#options = options;
    this.#epoch = this.#newEpoch();
  }

  get ready(): boolean {
    return this.#consumer !== undefined && this.#failure === undefined;
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
      await this.#turnUntil(async () => {
        reached = await this.#reached(ends);
        return stop.aborted || reached;
      });
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

  /** Polls, fills, submits, until `done` says so. */
  async #turnUntil(done: () => Promise<boolean>): Promise<void> {
    while (!(await done())) {
      this.#throwFailure();
      await this.#waitForSlot();
      const { ingest } = this.#options.settings;
      const chunk = await this.#poll(
        Math.max(1, ingest.batch_messages_max - this.#open.messages),
        Math.max(1, ingest.batch_bytes_max - this.#open.bytes),
        this.#pollMs(),
      );
      this.#take(chunk);
      if (this.#due()) this.#submit();
      this.#watch();
    }
  }

  /**
   * An assignment takes effect between two polls: a poll that is under way would mix messages of the old one
   * with those of the new one, whose offsets decide what the ledger counts as read.
   */
  #poll(messagesMax: number, bytesMax: number, waitMs: number): Promise<MessageChunk> {
    this.#applyAssignment?.();
    return this.#consumer!.poll(messagesMax, bytesMax, waitMs);
  }

  #pollMs(): number {
    if (!this.#open.pending) return POLL_MS_MAX;
    const left = this.#open.openedAt + this.#options.settings.ingest.flush_interval_ms - performance.now();
    return Math.max(0, Math.min(POLL_MS_MAX, Math.floor(left)));
  }

  #take(chunk: MessageChunk): void {
    for (const error of chunk.errors) this.#pollFailed(error);
    if (!this.#accepting) return;
    if (chunk.count > 0) this.#open.add(chunk, (topic, partition) => this.#partitions.find(topic, partition));
    for (const { topic, partition, offset } of chunk.partitionEnds) {
      const state = this.#partitions.find(topic, partition);
      if (state !== undefined) this.#open.reach(state, offset);
    }
  }

  #due(): boolean {
    const { batch_messages_max, batch_bytes_max, flush_interval_ms } = this.#options.settings.ingest;
    const open = this.#open;
    if (!open.pending) return false;
    return (
      open.messages >= batch_messages_max ||
      open.bytes >= batch_bytes_max ||
      performance.now() - open.openedAt >= flush_interval_ms
    );
  }

  /** Sends the open batch on its way: parsed at once, stored after the batches before it. */
  #submit(): void {
    const sealed = this.#open.seal();
    this.#open = new OpenBatch();
    this.#inFlight++;
    const epoch = this.#epoch;
    const { signal } = epoch.controller;
    const parsing = this.#parse(sealed);
    // A failure is met where the batch is stored; until then it must not count as unhandled.
    parsing.catch(() => undefined);
    this.#tail = this.#tail
      .then(async () => this.#store(sealed, await parsing, epoch))
      .catch((error: unknown) => {
        if (!signal.aborted) this.#epochFailed(epoch, error);
      })
      .finally(() => {
        this.#inFlight--;
        this.#slotFreed();
      });
  }

  async #parse(sealed: SealedBatch): Promise<ParsedBatch> {
    for (let tried = 1; ; tried++) {
      try {
        return await this.#options.pool.parse(sealed.packed);
      } catch (cause) {
        this.#options.log.error({ code: 'PARSE_WORKER_FAILED', tried }, 'a parse worker failed');
        if (tried === PARSE_TRIES)
          throw new CdrhouseError('PARSE_WORKER_FAILED', 'a batch failed in three workers', cause);
      }
    }
  }

  async #store(sealed: SealedBatch, parsed: ParsedBatch, epoch: Epoch): Promise<void> {
    epoch.controller.signal.throwIfAborted();
    const began = performance.now();
    await this.#options.writer.write(sealed, parsed, {
      ...ownershipOf(epoch),
      verifySource: () => verifyTopics(this.#consumer!, sealed.ranges),
    });
    addToSummary(this.#summary, parsed);
    const feedNames = this.#options.feeds.map((feed) => feed.name);
    this.#options.metrics.batchStored(sealed, parsed, performance.now() - began, feedNames);
    // Not awaited: the next batch need not wait for Kafka, and nothing reads the commit back.
    void this.#commit(
      offsetsOf(sealed.ranges.map(({ partition, next }) => ({ partition, offset: next }))),
      epoch,
    );
  }

  /** Commits for those who watch lag, and renews the lease. A commit that fails is only late: the ledger decides. */
  async #commit(offsets: readonly PartitionOffset[], { lease }: Epoch): Promise<void> {
    const sentAtMs = Date.now();
    try {
      await this.#consumer?.commit(offsets);
      lease.proven(sentAtMs);
    } catch (error) {
      this.#options.log.warn({ reason: (error as Error).message }, 'the offsets could not be committed');
    }
  }

  /**
   * Waits until another batch may be in flight. After a while reading is paused and the consumer polled, so
   * that it stays in its group however long the database is away.
   */
  async #waitForSlot(): Promise<void> {
    const { batches_in_flight_max } = this.#options.settings.ingest;
    const began = performance.now();
    while (
      !this.#stop.aborted &&
      this.#inFlight >= batches_in_flight_max &&
      this.#failure === undefined &&
      !this.#epoch.controller.signal.aborted
    ) {
      await this.#slotOrTimeout();
      if (!this.#paused && performance.now() - began > PAUSE_AFTER_MS) this.#setPaused(true);
      if (this.#paused) this.#take(await this.#poll(1, 1, POLL_MS_MAX));
    }
    if (this.#paused) this.#setPaused(false);
  }

  #slotOrTimeout(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, POLL_MS_MAX);
      this.#slotFreed = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #setPaused(paused: boolean): void {
    const { log, metrics } = this.#options;
    const partitions = this.#partitions.all.map(({ source }) => ({
      topic: source.topic,
      partition: source.partition,
    }));
    if (partitions.length > 0) {
      if (paused) this.#consumer!.pause(partitions);
      else this.#consumer!.resume(partitions);
    }
    this.#paused = paused;
    metrics.setPaused(paused);
    log.info({ paused }, paused ? 'reading is paused: the database does not keep up' : 'reading goes on');
  }

  #enqueueAssignment(work: () => Promise<void>): void {
    this.#assigning = this.#assigning.then(work).catch((error: unknown) => {
      this.#failure ??= error;
    });
  }

  async #beginEpoch(partitions: readonly TopicPartition[], epoch: Epoch): Promise<void> {
    const { database, feeds, instanceId, log, metrics } = this.#options;
    const context = { consumer: this.#consumer!, database, feeds, instance: instanceId };
    const { signal } = epoch.controller;
    try {
      const { states, gaps } = await this.#retried('read the ledger', signal, async () => {
        await database.measureClock();
        return findResumePoints(context, partitions);
      });
      this.#partitions.clear();
      states.forEach((state) => this.#partitions.set(state));
      this.#gaps.clear();
      for (const gap of gaps) await this.#retried('note a gap', signal, () => this.#noteGap(gap));
      await this.#retried('claim the partitions', signal, () =>
        claimPartitions(context, states, ownershipOf(epoch)),
      );
      await this.#assignBetweenPolls(states, signal);
      metrics.setGaps(this.#gaps.size);
      log.info({ partitions: states.length, gaps: gaps.length }, 'partitions assigned');
    } catch (error) {
      if (!signal.aborted) this.#epochFailed(epoch, error);
      // librdkafka waits for an answer to the assignment; with this one it joins the group anew.
      if (error instanceof OwnershipLost) this.#unassign();
    }
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
      await this.#tail;
      this.#open = new OpenBatch();
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
    if (this.#open.pending && !this.#epoch.controller.signal.aborted) this.#submit();
    this.#open = new OpenBatch();
    const graceMs = this.#options.settings.ingest.drain_seconds_max * 1000;
    const grace = setTimeout(
      () => this.#epoch.controller.abort(new Error('the grace time is over')),
      graceMs,
    );
    await this.#tail;
    clearTimeout(grace);
    const all = this.#partitions.all.map((partition) => ({ partition, offset: partition.stored }));
    if (all.length > 0) await this.#commit(offsetsOf(all), this.#epoch);
    this.#epoch.controller.abort(new Error('the assignment has ended'));
    this.#partitions.clear();
  }

  #pollFailed({ topic, partition, code, reason }: PollError): void {
    const { log } = this.#options;
    if (code === KAFKA.unknownTopic) {
      if (this.#missingTopics.has(topic)) return;
      this.#missingTopics.add(topic);
      log.warn(
        { code: 'TOPIC_MISSING', topic },
        'the topic does not exist yet; it is picked up when it does',
      );
    } else if (code === KAFKA.offsetLost) {
      const expected = this.#partitions.find(topic, partition)?.position ?? 0;
      const gap = { topic, partition, reason: 'Kafka lost the offset while it was read', expected };
      const { signal } = this.#epoch.controller;
      this.#enqueueAssignment(() => this.#retried('note a gap', signal, () => this.#noteGap(gap)));
    } else if (code === KAFKA.fatal) {
      this.#failure ??= new CdrhouseError('KAFKA_REFUSED', reason);
    } else log.warn({ kafkaCode: code, topic, reason }, 'Kafka reports an error');
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
      return await ends.areReached(
        this.#partitions,
        (name) => this.#gaps.has(name),
        (topic) => database.ledgerHeads(topic),
      );
    } catch (error) {
      report('ask the ledger how far others are', errorCode(error), 2, WATCH_MS);
      return false;
    }
  }

  #newEpoch(): Epoch {
    const prove = async (): Promise<void> => {
      const all = this.#partitions.all.map((partition) => ({ partition, offset: partition.stored }));
      await this.#consumer!.commit(offsetsOf(all));
    };
    return {
      controller: new AbortController(),
      lease: new Lease(sessionTimeoutMs(this.#options.settings), prove),
    };
  }

  #watch(): void {
    const sessionMs = sessionTimeoutMs(this.#options.settings);
    if (this.#lostAt > 0 && performance.now() - this.#lostAt > 2 * sessionMs) {
      this.#failure ??= new CdrhouseError(
        'OWNERSHIP_LOST',
        'the group gave no new assignment after it took the last one',
      );
    }
    if (performance.now() - this.#endsSeenAt < WATCH_MS) return;
    this.#endsSeenAt = performance.now();
    const { metrics, pool } = this.#options;
    for (const state of this.#partitions.all) {
      state.end = Math.max(
        state.end,
        this.#consumer!.lastKnownEnd(state.source.topic, state.source.partition),
      );
    }
    metrics.setUtilization(pool.utilization);
    metrics.setLag(this.#partitions.all);
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
