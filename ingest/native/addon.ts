import type { KafkaConsumer } from 'node-rdkafka';
import { createRequire } from 'node:module';
import { CdrhouseError } from '../../schemas/errors.ts';
import type { MessageChunk } from '../message-chunk.ts';

/** The functions of `addon.cc`; each takes node-rdkafka's native consumer first and calls back from a libuv thread. */
interface Addon {
  readonly nodeRdkafkaVersion: string;
  consume(
    client: object,
    messagesMax: number,
    bytesMax: number,
    timeoutMs: number,
    done: Done<MessageChunk>,
  ): void;
  clusterId(client: object, timeoutMs: number, done: Done<string>): void;
  topicIds(client: object, topics: readonly string[], timeoutMs: number, done: Done<string[]>): void;
  groupMembers(client: object, group: string, timeoutMs: number, done: Done<number>): void;
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
 * Up to `messagesMax` messages or about `bytesMax` bytes as one packed chunk; returns after `timeoutMs` with
 * what has come by then.
 */
export function consumePacked(
  consumer: KafkaConsumer,
  messagesMax: number,
  bytesMax: number,
  timeoutMs: number,
): Promise<MessageChunk> {
  return called((done) => addon().consume(clientOf(consumer), messagesMax, bytesMax, timeoutMs, done));
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

/** How many members a consumer group has; a static member counts until its session is over. */
export function fetchGroupMembers(
  consumer: KafkaConsumer,
  group: string,
  timeoutMs: number,
): Promise<number> {
  return called((done) => addon().groupMembers(clientOf(consumer), group, timeoutMs, done));
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
