import type { KafkaConsumer, LibrdKafkaError, Message } from 'node-rdkafka';
import { POLL_ERRORS, type MessageChunk, type PartitionOffset, type PollError } from '../message-chunk.ts';
import type { KafkaMetadata } from '../kafka-metadata.ts';
import { nameOf } from '../partitions.ts';
import type { GroupDescription } from '../stale-assignment.ts';
import type { Reader } from './reader.ts';
import { readStatistics } from './statistics.ts';

/** librdkafka's error code for a client without an assignment. */
const NO_ASSIGNMENT = -172;

/**
 * Messages of one consume. Behind an end of partition each next message restarts its wait of 1 ms, so this also
 * bounds how long a trickle can hold a poll.
 */
const MESSAGES_MAX = 1000;
/**
 * Statistics that have to agree: one may fall between an assignment and its taking effect. As many pass before
 * partitions are sought, so that one whose offset is lost is known by then: sought, it would fail again.
 */
const LOOKS = 2;
/** How large a message is taken to be before the first has come. */
const FIRST_MESSAGE_BYTES = 65_536;

interface Place {
  readonly topic: string;
  readonly partition: number;
  /** Offset behind the last message that was handed over. */
  next: number;
  /** In how many statistics in a row librdkafka did not fetch it. */
  idleLooks: number;
  lost: boolean;
}

/**
 * Reads with node-rdkafka's own consume(n): a JavaScript object per message. What it does not tell is found in
 * librdkafka's statistics, which come every second:
 *
 * - An error behind messages of the same consume is dropped by node-rdkafka, and one before them comes without topic
 *   and partition. A partition whose offset is lost is no longer fetched, which the statistics say; so they do
 *   of a fatal error.
 * - With an error, the ends of partitions that came before it are dropped. librdkafka tells each end once, so the
 *   partitions are sought to where they are, upon which it tells them again.
 */
export class PlainReader implements Reader {
  readonly #consumer: KafkaConsumer;
  readonly #metadata: KafkaMetadata;
  readonly #places = new Map<string, Place>();
  #ends: PartitionOffset[] = [];
  #errors: PollError[] = [];
  #messageBytes = FIRST_MESSAGE_BYTES;
  /** Date.now() of the assignment. */
  #assignedAt = 0;
  /** Date.now() of the first error since the last seek; 0: there was none. */
  #failedAt = 0;
  #looksSinceFailure = 0;
  #fatal = false;

  /** @param consumer made with `statistics.interval.ms` */
  constructor(consumer: KafkaConsumer, metadata: KafkaMetadata) {
    this.#consumer = consumer;
    this.#metadata = metadata;
    // Told between the messages that consume calls back with, after them in order.
    consumer.on('partition.eof', ({ topic, partition, offset }) => {
      this.#ends.push({ topic, partition, offset });
    });
    consumer.on('event.stats', ({ message }: { message: string }) => this.#look(message));
  }

  async poll(messagesMax: number, bytesMax: number, timeoutMs: number): Promise<MessageChunk> {
    const countMax = Math.max(1, Math.floor(bytesMax / this.#messageBytes));
    // The timeout of consume(n) begins anew with each message: n of them may take what is there, one may be waited for.
    let messages = await this.#consume(Math.min(messagesMax, MESSAGES_MAX, countMax), 0);
    if (messages.length === 0 && this.#ends.length === 0 && this.#errors.length === 0 && timeoutMs > 0)
      messages = await this.#consume(1, timeoutMs);
    const chunk = pack(messages, this.#ends, this.#errors);
    this.#ends = [];
    this.#errors = [];
    if (messages.length > 0) this.#messageBytes = Math.max(1, chunk.bytes.length / messages.length);
    for (const { topic, partition, offset } of messages) {
      const place = this.#places.get(nameOf(topic, partition));
      if (place !== undefined) place.next = Math.max(place.next, offset + 1);
    }
    return chunk;
  }

  assigned(partitions: readonly PartitionOffset[]): void {
    this.#places.clear();
    this.#ends = [];
    this.#assignedAt = Date.now();
    this.#failedAt = 0;
    for (const { topic, partition, offset } of partitions) {
      this.#places.set(nameOf(topic, partition), {
        topic,
        partition,
        next: offset,
        idleLooks: 0,
        lost: false,
      });
    }
  }

  clusterId(): Promise<string> {
    return this.#metadata.clusterId();
  }

  topicIds(topics: readonly string[]): Promise<Map<string, string>> {
    return this.#metadata.topicIds(topics);
  }

  describeGroup(group: string): Promise<GroupDescription> {
    return this.#metadata.describeGroup(group);
  }

  close(): Promise<void> {
    return this.#metadata.close();
  }

  /** Up to `count` messages. An error becomes one of the poll; the messages before it are not lost. */
  async #consume(count: number, timeoutMs: number): Promise<Message[]> {
    this.#consumer.setDefaultConsumeTimeout(timeoutMs);
    const { error, messages } = await new Promise<{ error: LibrdKafkaError | null; messages: Message[] }>(
      (resolve) => {
        this.#consumer.consume(count, (failure: LibrdKafkaError | null, read: Message[] | undefined) =>
          resolve({ error: failure, messages: read ?? [] }),
        );
      },
    );
    if (error) await this.#failed(error);
    return messages;
  }

  async #failed({ code, message }: LibrdKafkaError): Promise<void> {
    if (code === NO_ASSIGNMENT) throw new Error('not connected');
    if (this.#failedAt === 0) {
      this.#failedAt = Date.now();
      this.#looksSinceFailure = 0;
    }
    if (code === POLL_ERRORS.offsetLost || code === POLL_ERRORS.fatal) return;
    const topics = code === POLL_ERRORS.unknownTopic ? await this.#missingTopics() : [''];
    for (const topic of topics) this.#errors.push({ topic, partition: -1, code, reason: message });
  }

  async #missingTopics(): Promise<string[]> {
    const subscribed = this.#consumer.subscription();
    try {
      const ids = await this.#metadata.topicIds(subscribed);
      return subscribed.filter((topic) => !ids.has(topic));
    } catch {
      // It is a message for people, who get it without the name then.
      return [''];
    }
  }

  #look(text: string): void {
    const { atMs, fatal, notFetched } = readStatistics(text);
    if (fatal !== undefined && !this.#fatal) {
      this.#fatal = true;
      this.#errors.push({ topic: '', partition: -1, code: POLL_ERRORS.fatal, reason: fatal });
    }
    // Statistics wait in the queue of messages: these may be older than what they are to tell of.
    if (atMs > this.#assignedAt) this.#findLost(notFetched);
    if (this.#failedAt === 0 || atMs <= this.#failedAt || ++this.#looksSinceFailure < LOOKS) return;
    this.#failedAt = 0;
    this.#seek();
  }

  #findLost(notFetched: ReadonlySet<string>): void {
    for (const [name, place] of this.#places) {
      place.idleLooks = notFetched.has(name) ? place.idleLooks + 1 : 0;
      if (place.lost || place.idleLooks < LOOKS) continue;
      place.lost = true;
      const { topic, partition } = place;
      this.#errors.push({ topic, partition, code: POLL_ERRORS.offsetLost, reason: 'no longer fetched' });
    }
  }

  /** Has librdkafka read on from where each partition is, so that it tells again which of them are at their end. */
  #seek(): void {
    for (const { topic, partition, next, lost } of this.#places.values()) {
      // Without a timeout nothing is answered. One that fails has lost its assignment meanwhile.
      if (!lost) this.#consumer.seek({ topic, partition, offset: next }, 0, () => undefined);
    }
  }
}

/** Messages as one chunk, payloads back to back. */
function pack(
  messages: readonly Message[],
  partitionEnds: readonly PartitionOffset[],
  errors: readonly PollError[],
): MessageChunk {
  const count = messages.length;
  const size = messages.reduce((sum, { value }) => sum + (value?.length ?? 0), 0);
  const bytes = new Uint8Array(size);
  const ends = new Uint32Array(count);
  const topicOf = new Uint16Array(count);
  const partitions = new Int32Array(count);
  const offsets = new Float64Array(count);
  const timestamps = new Float64Array(count);
  const tombstones = new Uint8Array(count);
  const topics: string[] = [];
  let end = 0;
  let topicIndex = 0;
  for (const [index, message] of messages.entries()) {
    if (topics[topicIndex] !== message.topic) {
      topicIndex = topics.indexOf(message.topic);
      if (topicIndex < 0) topicIndex = topics.push(message.topic) - 1;
    }
    const { value } = message;
    if (value === null) tombstones[index] = 1;
    else bytes.set(value, end);
    end += value?.length ?? 0;
    ends[index] = end;
    topicOf[index] = topicIndex;
    partitions[index] = message.partition;
    offsets[index] = message.offset;
    timestamps[index] = message.timestamp ?? -1;
  }
  return {
    count,
    bytes,
    ends,
    topicOf,
    partitions,
    offsets,
    timestamps,
    tombstones,
    topics,
    partitionEnds,
    errors,
  };
}
