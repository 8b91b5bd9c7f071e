import type { TopicPartition } from 'node-rdkafka';
import type { Logger } from 'pino';
import { errorCode } from '../schemas/clickhouse-errors.ts';
import { CdrhouseError } from '../schemas/errors.ts';
import type { Feed } from '../schemas/feed.ts';
import type { Settings } from '../schemas/settings.ts';
import { verifyTopics } from './assignment.ts';
import { BatchQueue, type BatchLimits } from './batch-queue.ts';
import type { IngestDatabase } from './clickhouse.ts';
import { Consumer, type ConsumerListener } from './consumer.ts';
import { Epochs, ownershipOf, type Epoch } from './epochs.ts';
import { Heartbeat } from './heartbeat.ts';
import { LagWatch, oldestUnflushedSeconds } from './lag.ts';
import { LogEnds } from './log-ends.ts';
import { POLL_ERRORS, type MessageChunk, type PartitionOffset, type PollError } from './message-chunk.ts';
import type { IngestMetrics, IngestState } from './metrics.ts';
import type { SealedBatch } from './open-batch.ts';
import type { ParsePool } from './parse-pool.ts';
import type { StoredBatch } from './parse/batch.ts';
import { offsetsOf, type Partitions } from './partitions.ts';
import type { RetryReport } from './retry.ts';
import { addToSummary, emptySummary, type IngestSummary } from './summary.ts';
import type { Writer } from './writer.ts';

const POLL_MS_MAX = 100;
const DRAIN_POLL_MS = 10;
/** Bytes of one poll: what it gives is copied into the batch at once. */
const POLL_BYTES_MAX = 1_048_576;
/** While no batch can be taken, reading just waits this long before it is paused, which drops what was read ahead. */
const PAUSE_AFTER_MS = 5000;
/** How long a poll may wait when all that is to be read has been: soon the last batch is stored. */
const END_POLL_MS = 10;
const WATCH_MS = 1000;

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
 * in order, then tells the ledger and Kafka. The main thread only moves bytes. Which partitions it has is for `Epochs`.
 */
export class Pipeline implements ConsumerListener {
  readonly #options: PipelineOptions;
  readonly #batches: BatchQueue;
  readonly #epochs: Epochs;
  readonly #partitions: Partitions;
  readonly #missingTopics = new Set<string>();
  readonly #summary = emptySummary();
  readonly #lag = new LagWatch();
  readonly #heartbeat: Heartbeat;
  #consumer: Consumer | undefined;
  /** The last poll brought something. */
  #moreAtHand = false;
  #paused = false;
  #stop: AbortSignal = new AbortController().signal;

  constructor(options: PipelineOptions) {
    this.#options = options;
    this.#batches = new BatchQueue(options.limits);
    const { database, instanceId, log } = options;
    this.#heartbeat = new Heartbeat(database, instanceId, (error) => {
      const reason = error instanceof CdrhouseError ? error.message : errorCode(error);
      log.debug({ reason }, 'a heartbeat was left out');
    });
    this.#epochs = new Epochs(options, {
      batches: this.#batches,
      begun: () => (this.#paused = false),
      submit: () => this.#submit(),
      commit: (offsets, epoch) => this.#commit(offsets, epoch),
    });
    this.#partitions = this.#epochs.partitions;
  }

  get ready(): boolean {
    return this.#consumer !== undefined && this.#epochs.failure === undefined;
  }

  /** Whether Kafka answers within this time; undefined before the consumer has connected. */
  async kafkaAnswers(timeoutMs: number): Promise<boolean | undefined> {
    return this.#consumer?.answers(this.#options.feeds[0]!.topic, timeoutMs);
  }

  /** How things stand now. Partitions whose ownership is over are another process's to tell. */
  state(): IngestState {
    const isOver = this.#epochs.current.controller.signal.aborted;
    const partitions = isOver ? [] : this.#partitions.all;
    for (const state of partitions) {
      const { topic, partition } = state.source;
      state.end = Math.max(state.end, this.#consumer?.lastKnownEnd(topic, partition) ?? 0);
    }
    const unstored = isOver ? [] : this.#batches.unstored;
    return {
      lags: this.#lag.measure(partitions, unstored, Date.now()),
      paused: this.#paused,
      gaps: isOver ? [] : [...this.#epochs.gaps.values()],
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
    this.#epochs.assigned(partitions);
  }

  revoked(partitions: readonly TopicPartition[]): void {
    this.#epochs.revoked(partitions);
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
    this.#epochs.begin(consumer, stop);
    try {
      log.info({ feeds: feeds.length, instanceId }, 'reading');
      await this.#subscribed(consumer, work);
      this.#epochs.close();
      await this.#whilePolling(() => this.#epochs.end());
      this.#epochs.throwFailure();
    } finally {
      await this.#epochs.abandon();
      await consumer.close();
    }
    if (!stop.aborted) this.#epochs.throwGaps();
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
      this.#epochs.throwFailure();
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

  #poll(messagesMax: number, bytesMax: number, waitMs: number): Promise<MessageChunk> {
    this.#epochs.betweenPolls();
    return this.#consumer!.poll(messagesMax, bytesMax, waitMs);
  }

  #take(chunk: MessageChunk): void {
    this.#moreAtHand = chunk.count > 0;
    for (const error of chunk.errors) this.#pollFailed(error);
    if (!this.#epochs.accepting) return;
    const { open } = this.#batches;
    if (chunk.count > 0) open.add(chunk, (topic, partition) => this.#partitions.find(topic, partition));
    for (const { topic, partition, offset } of chunk.partitionEnds) {
      const state = this.#partitions.find(topic, partition);
      if (state !== undefined) open.reach(state, offset);
    }
  }

  /** Sends the open batch on its way: parsed and inserted at once, in the ledger after the batches before it. */
  #submit(): void {
    const epoch = this.#epochs.current;
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
        this.#epochs.endFailed(epoch, error);
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
    while (!this.#batches.hasPlace) {
      await this.#batches.placeOrTimeout(POLL_MS_MAX);
      if (!this.#paused && performance.now() - began > PAUSE_AFTER_MS) this.#setPaused(true);
      // Nothing comes while all is paused, but rebalances and answers to commits do.
      if (this.#paused) this.#take(await this.#poll(1, 1, POLL_MS_MAX));
      const { failure, current } = this.#epochs;
      // Asked behind the waiting, so that whoever comes again at once lets others work.
      if (this.#stop.aborted || failure !== undefined || current.controller.signal.aborted) break;
    }
    if (this.#paused) this.#setPaused(false);
  }

  #setPaused(paused: boolean): void {
    const { log } = this.#options;
    if (paused) this.#consumer!.pause(this.#partitions.all.map(({ source }) => source));
    else this.#consumer!.resume();
    this.#paused = paused;
    log.info({ paused }, paused ? 'reading is paused: the database does not keep up' : 'reading goes on');
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
      this.#epochs.offsetLost(topic, partition);
    } else if (code === POLL_ERRORS.fatal) {
      // A consumer knows one: another member has its place, or the broker has forgotten that it has.
      this.#epochs.fail(new CdrhouseError('OWNERSHIP_LOST', reason));
    } else {
      // Negative codes are librdkafka's own: a broker that it does not reach.
      const judged = code < 0 ? 'KAFKA_UNREACHABLE' : 'KAFKA_REFUSED';
      log.warn({ code: judged, kafkaCode: code, topic, reason }, 'Kafka reports an error');
    }
  }

  /** True when all ends are reached; not yet, where the ledger cannot be asked. */
  async #reached(ends: LogEnds): Promise<boolean> {
    const { database, report } = this.#options;
    try {
      return await ends.areReached({
        partitions: this.#partitions,
        gaps: this.#epochs.gaps,
        settled: this.#epochs.accepting,
        database,
      });
    } catch (error) {
      report('ask the ledger how far others are', errorCode(error), 2, WATCH_MS);
      return false;
    }
  }

  #watch(): void {
    if (this.#epochs.accepting) this.#heartbeat.beat(this.#consumer!, this.#partitions.all);
    this.#epochs.watch();
  }
}
