import { createHash, type Hash } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';
import { CdrhouseError } from '../../schemas/errors.ts';
import type { FeedSettings, Settings } from '../../schemas/settings.ts';
import { LinePacker } from './line-packer.ts';
import { PlaceFile } from './place-file.ts';
import { Producer } from './producer.ts';

/** The largest message that a topic takes by Kafka's default (max.message.bytes), less its headers. */
const KAFKA_MESSAGE_BYTES_MAX = 1_000_000;

export interface ShipOptions {
  readonly settings: Settings;
  /** Name of the feed; may be left out where the settings have just one. */
  readonly feed: string | undefined;
  /** Paths, or `-` for standard input. */
  readonly files: readonly string[];
  /** Send files again that were sent before. */
  readonly again: boolean;
  /** Told how many bytes of how many have been handed over. */
  readonly progress?: (sent: number, total: number) => void;
}

export interface ShipSummary {
  readonly feed: string;
  readonly topic: string;
  readonly files: number;
  /** Files that were sent before, with the same content. */
  readonly skipped_files: number;
  /** Lines that are not empty. */
  lines: number;
  messages: number;
  bytes: number;
  seconds: number;
}

/** Sends files to the feed's topic. Throws FEED_UNKNOWN, FILE_UNREADABLE, RECORD_TOO_LONG, KAFKA_… */
export async function runShip(options: ShipOptions): Promise<ShipSummary> {
  const { settings, files, again } = options;
  const began = performance.now();
  const feed = findFeed(settings, options.feed);
  const place = new PlaceFile(settings.ship.place_file);
  const hashes = new Map<string, string>();
  // What is no regular file (a pipe, standard input) can be read once only, and is always sent.
  for (const path of files) if (isRegular(path)) hashes.set(path, await hashFile(path));
  const wanted = files.filter((path) => {
    const hash = hashes.get(path);
    return again || hash === undefined || !place.wasSent(feed.name, hash);
  });
  const total = wanted.reduce((sum, path) => sum + (hashes.has(path) ? statSync(path).size : 0), 0);
  const summary: ShipSummary = {
    feed: feed.name,
    topic: feed.topic,
    files: wanted.length,
    skipped_files: files.length - wanted.length,
    lines: 0,
    messages: 0,
    bytes: 0,
    seconds: 0,
  };
  const producer = await Producer.connect(settings);
  try {
    for (const path of wanted) {
      const bytesBefore = producer.bytes;
      const report = (): void => options.progress?.(producer.bytes, total);
      const file = path === '-' ? process.stdin : createReadStream(path, { highWaterMark: 1_048_576 });
      // The hash of what is sent, which may have changed since it was looked at.
      const sent = createHash('sha256');
      const stream = hashed(file, sent);
      summary.lines += await sendLines(
        stream,
        path,
        producer,
        feed.topic,
        settings.ship.message_bytes_max,
        report,
      );
      await producer.flush();
      if (hashes.has(path)) place.noteSent(feed.name, sent.digest('hex'), producer.bytes - bytesBefore);
    }
  } finally {
    await producer.close();
  }
  summary.messages = producer.messages;
  summary.bytes = producer.bytes;
  summary.seconds = Math.round(performance.now() - began) / 1000;
  return summary;
}

/** Sends the lines of a stream packed into messages; gives the number of lines that are not empty. */
export async function sendLines(
  stream: AsyncIterable<unknown>,
  name: string,
  producer: Producer,
  topic: string,
  bytesMax: number,
  report?: () => void,
): Promise<number> {
  const packer = new LinePacker(bytesMax);
  const send = async (messages: Buffer[]): Promise<void> => {
    for (const message of messages) {
      if (message.length > Math.max(bytesMax, KAFKA_MESSAGE_BYTES_MAX)) {
        throw new CdrhouseError(
          'RECORD_TOO_LONG',
          `${name}: a line near line ${packer.lines} has ${message.length} bytes`,
        );
      }
      await producer.send(topic, message);
    }
    report?.();
  };
  try {
    for await (const chunk of stream) await send(packer.add(chunk as Uint8Array));
  } catch (error) {
    if (error instanceof CdrhouseError) throw error;
    throw new CdrhouseError('FILE_UNREADABLE', `${name}: ${(error as Error).message}`, error);
  }
  await send(packer.finish());
  return packer.lines;
}

function findFeed(settings: Settings, name: string | undefined): FeedSettings {
  const known = settings.feeds.map((feed) => feed.name).join(', ');
  if (name === undefined) {
    if (settings.feeds.length === 1) return settings.feeds[0]!;
    throw new CdrhouseError('FEED_UNKNOWN', `say --feed; there are ${known}`);
  }
  const feed = settings.feeds.find((candidate) => candidate.name === name);
  if (feed === undefined)
    throw new CdrhouseError('FEED_UNKNOWN', `there is no feed "${name}"; there are ${known}`);
  return feed;
}

async function* hashed(stream: AsyncIterable<unknown>, hash: Hash): AsyncGenerator<Uint8Array> {
  for await (const chunk of stream) {
    hash.update(chunk as Uint8Array);
    yield chunk as Uint8Array;
  }
}

function isRegular(path: string): boolean {
  if (path === '-') return false;
  try {
    return statSync(path).isFile();
  } catch (error) {
    throw new CdrhouseError('FILE_UNREADABLE', `${path}: ${(error as Error).message}`, error);
  }
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1_048_576 }))
      hash.update(chunk as Uint8Array);
  } catch (error) {
    throw new CdrhouseError('FILE_UNREADABLE', `${path}: ${(error as Error).message}`, error);
  }
  return hash.digest('hex');
}
