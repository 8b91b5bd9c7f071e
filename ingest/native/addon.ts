import type { KafkaConsumer } from 'node-rdkafka';
import { createRequire } from 'node:module';
import { CdrhouseError } from '../../schemas/errors.ts';
import type { MessageChunk } from '../message-chunk.ts';
import type { GroupDescription } from '../stale-assignment.ts';

const MESSAGES_ROOM = 20_000;
/** A poll ends at so many bytes, and has room for one message more of the size that Kafka allows by default. */
const BYTES_FULL = 1_048_576;
const BYTES_ROOM = 2 * BYTES_FULL + 65_536;

/** The functions of `addon.cc`; each takes node-rdkafka's native consumer first and calls back from a libuv thread. */
interface Addon {
  readonly nodeRdkafkaVersion: string;
  consume(
    client: object,
    room: PollRoom,
    messagesMax: number,
    bytesMax: number,
    timeoutMs: number,
    done: Done<Polled>,
  ): void;
  clusterId(client: object, timeoutMs: number, done: Done<string>): void;
  topicIds(client: object, topics: readonly string[], timeoutMs: number, done: Done<string[]>): void;
  describeGroup(client: object, group: string, timeoutMs: number, done: Done<GroupDescription>): void;
}

/** Memory that polls write into, one after the other, so that reading leaves no garbage. */
export class PollRoom {
  readonly bytes = new Uint8Array(BYTES_ROOM);
  readonly ends = new Uint32Array(MESSAGES_ROOM);
  readonly topicOf = new Uint16Array(MESSAGES_ROOM);
  readonly partitions = new Int32Array(MESSAGES_ROOM);
  readonly offsets = new Float64Array(MESSAGES_ROOM);
  readonly timestamps = new Float64Array(MESSAGES_ROOM);
  readonly tombstones = new Uint8Array(MESSAGES_ROOM);
}

/** What a poll wrote: so many messages and bytes; and the last message, where it was too large for the room. */
interface Polled extends Pick<MessageChunk, 'topics' | 'partitionEnds' | 'errors'> {
  readonly count: number;
  readonly bytes: number;
  readonly large: Uint8Array;
}

type Done<T> = (error: Error | null, value: T) => void;

const require = createRequire(import.meta.url);
let loaded: Addon | undefined;

/**
 * The compiled addon. Throws NATIVE_ADDON_MISSING where it is not there, or was compiled against another
 * node-rdkafka than the installed one, whose objects it would then misread.
 */
function addon(): Addon {
  if (loaded !== undefined) return loaded;
  let candidate: Addon;
  try {
    candidate = require('../../../ingest/native/build/Release/cdrhouse_native.node') as Addon;
  } catch (cause) {
    throw new CdrhouseError('NATIVE_ADDON_MISSING', 'the native addon cannot be loaded', cause);
  }
  const { version } = require('node-rdkafka/package.json') as { version: string };
  if (candidate.nodeRdkafkaVersion !== version) {
    throw new CdrhouseError(
      'NATIVE_ADDON_MISSING',
      `the native addon was compiled for node-rdkafka ${candidate.nodeRdkafkaVersion}, installed is ${version}`,
    );
  }
  loaded = candidate;
  return loaded;
}

/** Checks that the addon is there, before anything is connected. */
export function checkAddon(): void {
  addon();
}

/**
 * Up to `messagesMax` messages or about `bytesMax` bytes, and no more than there is room for, as one packed chunk in
 * that room; returns after `timeoutMs` with what has come by then.
 */
export async function consumePacked(
  consumer: KafkaConsumer,
  room: PollRoom,
  messagesMax: number,
  bytesMax: number,
  timeoutMs: number,
): Promise<MessageChunk> {
  const { count, bytes, large, ...rest } = await called<Polled>((done) =>
    addon().consume(clientOf(consumer), room, messagesMax, Math.min(bytesMax, BYTES_FULL), timeoutMs, done),
  );
  const packed = room.bytes.subarray(0, bytes);
  return {
    count,
    bytes: large.length === 0 ? packed : Buffer.concat([packed, large]),
    ends: room.ends.subarray(0, count),
    topicOf: room.topicOf.subarray(0, count),
    partitions: room.partitions.subarray(0, count),
    offsets: room.offsets.subarray(0, count),
    timestamps: room.timestamps.subarray(0, count),
    tombstones: room.tombstones.subarray(0, count),
    ...rest,
  };
}

/** Kafka's id of the cluster. */
export function fetchClusterId(consumer: KafkaConsumer, timeoutMs: number): Promise<string> {
  return called((done) => addon().clusterId(clientOf(consumer), timeoutMs, done));
}

/** Kafka's ids of these topics in the same order; empty text for a topic that does not exist. */
export function fetchTopicIds(
  consumer: KafkaConsumer,
  topics: readonly string[],
  timeoutMs: number,
): Promise<string[]> {
  return called((done) => addon().topicIds(clientOf(consumer), topics, timeoutMs, done));
}

/** The members of a consumer group and what they are assigned; no members where it does not exist. */
export function fetchGroup(
  consumer: KafkaConsumer,
  group: string,
  timeoutMs: number,
): Promise<GroupDescription> {
  return called((done) => addon().describeGroup(clientOf(consumer), group, timeoutMs, done));
}

function called<T>(start: (done: Done<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    start((error, value) => {
      if (error) reject(error);
      else resolve(value);
    });
  });
}

function clientOf(consumer: KafkaConsumer): object {
  return consumer.getClient() as object;
}
