import type { MessageChunk, PartitionOffset } from '../message-chunk.ts';
import type { GroupDescription } from '../stale-assignment.ts';

/** `packed`: by the native addon. `plain`: by node-rdkafka's own consume(n). */
export type ReaderKind = 'packed' | 'plain';

/** How the messages of a consumer are read, and what Kafka is asked that node-rdkafka's own API does not tell. */
export interface Reader {
  /**
   * At most `messagesMax` messages and about `bytesMax` bytes; returns after `timeoutMs` with what has come by then.
   * One poll at a time; a chunk holds until the next one.
   */
  poll(messagesMax: number, bytesMax: number, timeoutMs: number): Promise<MessageChunk>;
  /** Told with each assignment: what is read from now on, and from where. Empty: nothing. */
  assigned(partitions: readonly PartitionOffset[]): void;
  /** Kafka's id of the cluster. */
  clusterId(): Promise<string>;
  /**
   * Ids of topics by name, base64 without padding; without those that do not exist.
   * @param timeoutMs gives up after this time, where a reader can
   */
  topicIds(topics: readonly string[], timeoutMs?: number): Promise<Map<string, string>>;
  /** The members of a group and what they are assigned; no members where it does not exist. */
  describeGroup(group: string): Promise<GroupDescription>;
  close(): Promise<void>;
}
