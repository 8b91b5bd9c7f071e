import { Admin } from '@platformatic/kafka';

/** Kafka's sign for the end of a partition. */
const LATEST = -1n;
const REQUEST_MS = 10_000;

/** How far consumer groups are, asked from outside: a client that joins none of them. */
export class GroupOffsets {
  readonly #admin: Admin;

  constructor(brokers: string) {
    this.#admin = new Admin({
      clientId: 'bench',
      bootstrapBrokers: [brokers],
      timeout: REQUEST_MS,
      connectTimeout: REQUEST_MS,
      requestTimeout: REQUEST_MS,
      autocreateTopics: false,
    });
  }

  /** Messages of a topic that a group has not committed yet. */
  async left(group: string, topic: string): Promise<number> {
    const ends = await this.#ends(topic);
    const partitionIndexes = [...ends.keys()];
    const [offsets] = await this.#admin.listConsumerGroupOffsets({
      groups: [{ groupId: group, topics: [{ name: topic, partitionIndexes }] }],
    });
    const committed = new Map(
      offsets?.topics.flatMap(({ partitions }) =>
        partitions.map(({ partitionIndex, committedOffset }) => [partitionIndex, committedOffset] as const),
      ),
    );
    let left = 0;
    for (const [partition, end] of ends) {
      const offset = committed.get(partition) ?? -1n;
      // Nothing is committed yet: the topics of a bench begin at 0.
      left += Number(end - (offset < 0n ? 0n : offset));
    }
    return left;
  }

  async close(): Promise<void> {
    await this.#admin.close();
  }

  async #ends(topic: string): Promise<Map<number, bigint>> {
    const metadata = await this.#admin.metadata({ topics: [topic] });
    const partitions = Array.from(
      { length: metadata.topics.get(topic)!.partitionsCount },
      (_, partitionIndex) => ({ partitionIndex, timestamp: LATEST }),
    );
    const [ends] = await this.#admin.listOffsets({ topics: [{ name: topic, partitions }] });
    return new Map(ends!.partitions.map(({ partitionIndex, offset }) => [partitionIndex, offset]));
  }
}
