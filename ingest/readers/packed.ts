import type { KafkaConsumer } from 'node-rdkafka';
import { CdrhouseError } from '../../schemas/errors.ts';
import type { MessageChunk } from '../message-chunk.ts';
import { consumePacked, fetchClusterId, fetchGroup, fetchTopicIds, PollRoom } from '../native/addon.ts';
import type { GroupDescription } from '../stale-assignment.ts';
import type { Reader } from './reader.ts';

/** Reads with the native addon: messages, ends and errors come in one packed chunk. */
export class PackedReader implements Reader {
  readonly #consumer: KafkaConsumer;
  readonly #requestMs: number;
  readonly #room = new PollRoom();

  /** @param requestMs how long a question may take */
  constructor(consumer: KafkaConsumer, requestMs: number) {
    this.#consumer = consumer;
    this.#requestMs = requestMs;
  }

  poll(messagesMax: number, bytesMax: number, timeoutMs: number): Promise<MessageChunk> {
    return consumePacked(this.#consumer, this.#room, messagesMax, bytesMax, timeoutMs);
  }

  assigned(): void {
    // librdkafka tells with each event whose it is.
  }

  clusterId(): Promise<string> {
    return asked('the id of the cluster', fetchClusterId(this.#consumer, this.#requestMs));
  }

  async topicIds(topics: readonly string[], timeoutMs = this.#requestMs): Promise<Map<string, string>> {
    const ids = await asked('the ids of topics', fetchTopicIds(this.#consumer, topics, timeoutMs));
    return new Map(
      topics.map((topic, index) => [topic, ids[index] ?? ''] as const).filter(([, id]) => id !== ''),
    );
  }

  describeGroup(group: string): Promise<GroupDescription> {
    return asked('the members of the group', fetchGroup(this.#consumer, group, this.#requestMs));
  }

  async close(): Promise<void> {
    // The consumer is its owner's.
  }
}

/** What the addon says of an answer that did not come is an error without a code. */
async function asked<T>(what: string, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (cause) {
    if (cause instanceof CdrhouseError) throw cause;
    throw new CdrhouseError('KAFKA_UNREACHABLE', `${what} cannot be fetched`, cause);
  }
}
