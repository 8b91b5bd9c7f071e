import { setTimeout as sleep } from 'node:timers/promises';
import Kafka, { type ConsumerGlobalConfig, type LibrdKafkaError, type TopicPartition } from 'node-rdkafka';
import { CdrhouseError } from '../schemas/errors.ts';
import type { Settings } from '../schemas/settings.ts';
import { KafkaMetadata } from './kafka-metadata.ts';
import type { MessageChunk, PartitionOffset } from './message-chunk.ts';
import { nameOf } from './partitions.ts';
import { PendingCommits } from './pending-commits.ts';
import { chooseReader } from './readers/choice.ts';
import { PackedReader } from './readers/packed.ts';
import { PlainReader } from './readers/plain.ts';
import type { Reader, ReaderKind } from './readers/reader.ts';
import type { GroupDescription } from './stale-assignment.ts';

const CONNECT_TIMEOUT_MS = 15_000;
const REQUEST_TIMEOUT_MS = 10_000;
/** librdkafka's default, passed explicitly because leases are reckoned with it. */
const SESSION_TIMEOUT_MS = 45_000;
/** How often the plain reader looks for what consume(n) does not tell. */
const STATISTICS_MS = 1000;

/** What the pipeline is told. Assignments wait for `assign`; both are called from `poll`. */
export interface ConsumerListener {
  assigned(partitions: readonly TopicPartition[]): void;
  revoked(partitions: readonly TopicPartition[]): void;
  /** librdkafka's own errors (broker down and the like): it keeps trying by itself. */
  disturbed(code: number, reason: string): void;
}

/**
 * The Kafka consumer of one ingest process: node-rdkafka for everything about the group, a reader (the native addon,
 * or plain consume) for the messages. Beside
 * `readers/`, `native/` and `ship/` the only file that works with node-rdkafka; others know its types.
 */
export class Consumer {
  readonly #consumer: Kafka.KafkaConsumer;
  readonly #reader: Reader;
  readonly #commits: PendingCommits;
  #paused: readonly TopicPartition[] = [];

  private constructor(consumer: Kafka.KafkaConsumer, reader: Reader, commits: PendingCommits) {
    this.#consumer = consumer;
    this.#reader = reader;
    this.#commits = commits;
  }

  /**
   * Connects; `subscribe` joins the group. Throws KAFKA_UNREACHABLE, NATIVE_ADDON_MISSING, and SETTINGS_INVALID for
   * what the plain reader cannot be told.
   * @param instanceId name of this process slot: a process that dies and returns keeps its partitions. Undefined
   *   for one that only asks
   */
  static async connect(
    settings: Settings,
    instanceId: string | undefined,
    listener: ConsumerListener,
  ): Promise<Consumer> {
    const { kind } = chooseReader(settings.ingest.reader);
    const commits = new PendingCommits();
    const consumer = new Kafka.KafkaConsumer(
      {
        ...consumerConfiguration(settings, instanceId, listener, commits),
        ...(kind === 'plain' ? { 'statistics.interval.ms': STATISTICS_MS } : {}),
      },
      {
        // Never used: every assignment names its offset. A lost offset must stop the partition, not move it.
        'auto.offset.reset': 'error',
      },
    );
    const reader = createReader(kind, consumer, settings);
    consumer.on('event.error', (error) => listener.disturbed(error.code, error.message));
    await new Promise<void>((resolve, reject) => {
      consumer.connect({ timeout: CONNECT_TIMEOUT_MS }, (error: LibrdKafkaError | null) => {
        if (!error) return resolve();
        const detail = `no broker of ${settings.kafka.brokers} answers`;
        // A client that failed to connect still runs threads of its own.
        consumer.disconnect(() => reject(new CdrhouseError('KAFKA_UNREACHABLE', detail, error)));
      });
    });
    return new Consumer(consumer, reader, commits);
  }

  subscribe(topics: readonly string[]): void {
    this.#consumer.subscribe([...topics]);
  }

  /**
   * Answers an assignment by leaving the group, and joins it again: all partitions are shared out anew. Other than at
   * the end of the client, a static member that unsubscribes does leave.
   */
  rejoin(topics: readonly string[]): void {
    // Without an answer librdkafka would put off leaving, and forget it with the next subscription.
    this.assign([]);
    this.#consumer.unsubscribe();
    this.subscribe(topics);
  }

  poll(messagesMax: number, bytesMax: number, timeoutMs: number): Promise<MessageChunk> {
    return this.#reader.poll(messagesMax, bytesMax, timeoutMs);
  }

  assign(partitions: readonly PartitionOffset[]): void {
    this.resume();
    this.#consumer.assign([...partitions]);
    this.#reader.assigned(partitions);
  }

  unassign(): void {
    this.resume();
    this.#reader.assigned([]);
    this.#consumer.unassign();
  }

  pause(partitions: readonly TopicPartition[]): void {
    if (partitions.length === 0) return;
    this.#consumer.pause([...partitions]);
    this.#paused = partitions;
  }

  /**
   * Resumes what was paused. Assigning does so first: a partition that is paused when it is taken away is still paused for
   * librdkafka when it comes back, however long after, and would never be read again.
   */
  resume(): void {
    if (this.#paused.length === 0) return;
    this.#consumer.resume([...this.#paused]);
    this.#paused = [];
  }

  /**
   * Tells Kafka how far the ledger stands, for those who watch lag; nothing reads it back. Resolves when the
   * coordinator has accepted it, with the moment (UTC ms) as of which that proves that this process owns the partitions.
   * Rejects with OwnershipLost where it does not, with KAFKA_UNREACHABLE where it cannot be asked.
   */
  commit(offsets: readonly PartitionOffset[]): Promise<number> {
    return this.#commits.send(offsets, () => this.#consumer.commit([...offsets]));
  }

  clusterId(): Promise<string> {
    return this.#reader.clusterId();
  }

  /** The members of a group and what they are assigned; no members where it does not exist. */
  describeGroup(group: string): Promise<GroupDescription> {
    return this.#reader.describeGroup(group);
  }

  /** The first offset of each partition whose message has this timestamp or a later one; none where no message has. */
  offsetsAt(topic: string, partitions: readonly number[], timestampMs: number): Promise<Map<number, number>> {
    const asked = partitions.map((partition) => ({ topic, partition, offset: timestampMs }));
    return new Promise((resolve, reject) => {
      this.#consumer.offsetsForTimes(asked, REQUEST_TIMEOUT_MS, (error: LibrdKafkaError | null, found) => {
        if (error) reject(new CdrhouseError('KAFKA_UNREACHABLE', 'offsets by time cannot be fetched', error));
        // Below zero: Kafka's sign for the end.
        else
          resolve(
            new Map(
              found.filter(({ offset }) => offset >= 0).map(({ partition, offset }) => [partition, offset]),
            ),
          );
      });
    });
  }

  /** Ids of topics by name, without those that do not exist. */
  async topicIds(topics: readonly string[]): Promise<Map<string, string>> {
    return topics.length === 0 ? new Map() : this.#reader.topicIds(topics);
  }

  /**
   * True when Kafka describes a topic within this time: what ingest asks for before it stores each batch. Metadata
   * that librdkafka keeps would be no sign of life, and a plain request for it may create a topic anew.
   */
  async answers(topic: string, timeoutMs: number): Promise<boolean> {
    const asked = this.#reader.topicIds([topic], timeoutMs).then(
      () => true,
      () => false,
    );
    return Promise.race([asked, sleep(timeoutMs, false, { ref: false })]);
  }

  /** Number of partitions of these topics; a topic that does not exist is left out. */
  async partitionCounts(topics: readonly string[]): Promise<Map<string, number>> {
    const metadata = await new Promise<Kafka.Metadata>((resolve, reject) => {
      this.#consumer.getMetadata(
        { allTopics: true, timeout: REQUEST_TIMEOUT_MS },
        (error: LibrdKafkaError | null, data) => {
          if (error)
            reject(
              new CdrhouseError('KAFKA_UNREACHABLE', 'the metadata of the topics cannot be fetched', error),
            );
          else resolve(data);
        },
      );
    });
    const wanted = new Set(topics);
    return new Map(
      metadata.topics
        .filter(({ name }) => wanted.has(name))
        .map(({ name, partitions }) => [name, partitions.length]),
    );
  }

  /** The offsets that a partition's log holds: `[low, high)`. */
  watermarks(
    topic: string,
    partition: number,
    timeoutMs = REQUEST_TIMEOUT_MS,
  ): Promise<{ low: number; high: number }> {
    return new Promise((resolve, reject) => {
      this.#consumer.queryWatermarkOffsets(
        topic,
        partition,
        timeoutMs,
        (error: LibrdKafkaError | null, offsets) => {
          const detail = `the ends of ${nameOf(topic, partition)} cannot be fetched`;
          if (error) reject(new CdrhouseError('KAFKA_UNREACHABLE', detail, error));
          else resolve({ low: offsets.lowOffset, high: offsets.highOffset });
        },
      );
    });
  }

  /** The end of a partition's log as the last fetch told it; 0 before the first. */
  lastKnownEnd(topic: string, partition: number): number {
    try {
      return Math.max(0, this.#consumer.getWatermarkOffsets(topic, partition).highOffset);
    } catch {
      // librdkafka throws while it does not know the partition yet.
      return 0;
    }
  }

  /** Leaves the group's work (a static member keeps its place) and ends the client's threads. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#consumer.disconnect(() => resolve());
    });
    await this.#reader.close();
  }
}

function createReader(kind: ReaderKind, consumer: Kafka.KafkaConsumer, { kafka }: Settings): Reader {
  return kind === 'packed'
    ? new PackedReader(consumer, REQUEST_TIMEOUT_MS)
    : new PlainReader(consumer, new KafkaMetadata(kafka, REQUEST_TIMEOUT_MS));
}

/** Session timeout of the group in ms: how long a silent member keeps its partitions. */
export function sessionTimeoutMs(settings: Settings): number {
  return Number(settings.kafka.client['session.timeout.ms'] ?? SESSION_TIMEOUT_MS);
}

function consumerConfiguration(
  settings: Settings,
  instanceId: string | undefined,
  listener: ConsumerListener,
  commits: PendingCommits,
): ConsumerGlobalConfig {
  return {
    ...settings.kafka.client,
    'metadata.broker.list': settings.kafka.brokers,
    'group.id': settings.kafka.group,
    ...(instanceId === undefined ? {} : { 'group.instance.id': instanceId }),
    // Eager and classic: every rebalance revokes all, is drained, and is assigned again from the ledger.
    'partition.assignment.strategy': 'range,roundrobin',
    'session.timeout.ms': sessionTimeoutMs(settings),
    'enable.auto.commit': false,
    'enable.auto.offset.store': false,
    'isolation.level': 'read_committed',
    'enable.partition.eof': true,
    'allow.auto.create.topics': false,
    // A topic that is created later is found within this time.
    'topic.metadata.refresh.interval.ms': 5000,
    // What librdkafka reads ahead, per partition and in all: bounds memory while the database is slow.
    'queued.max.messages.kbytes': 4096,
    'queued.min.messages': 20_000,
    'fetch.message.max.bytes': 4_194_304,
    'fetch.wait.max.ms': 100,
    // How soon fetching goes on when what was read ahead has been taken; librdkafka's second would throttle it.
    'fetch.queue.backoff.ms': 20,
    offset_commit_cb: (error: LibrdKafkaError | null, offsets: PartitionOffset[]) =>
      commits.answered(error, offsets),
    rebalance_cb: (error: LibrdKafkaError, partitions: TopicPartition[]) => {
      if (error.code === Kafka.CODES.ERRORS.ERR__ASSIGN_PARTITIONS) listener.assigned(partitions);
      else listener.revoked(partitions);
    },
  };
}
