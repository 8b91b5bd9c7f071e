import type { KafkaConsumer } from 'node-rdkafka';
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
    return fetchClusterId(this.#consumer, this.#requestMs);
  }

  async topicIds(topics: readonly string[], timeoutMs = this.#requestMs): Promise<Map<string, string>> {
    const ids = await fetchTopicIds(this.#consumer, topics, timeoutMs);
    return new Map(
      topics.map((topic, index) => [topic, ids[index] ?? ''] as const).filter(([, id]) => id !== ''),
    );
  }

  describeGroup(group: string): Promise<GroupDescription> {
    return fetchGroup(this.#consumer, group, this.#requestMs);
  }

  async close(): Promise<void> {
    // The consumer is its owner's.
  }
}
