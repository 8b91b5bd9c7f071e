import { open, stat, type FileHandle } from 'node:fs/promises';
import { CdrhouseError } from '../../schemas/errors.ts';
import { findFeed } from '../../schemas/feed.ts';
import type { FeedSettings, Settings } from '../../schemas/settings.ts';
import { readAt, recognise } from './content.ts';
import { follow } from './follow.ts';
import { beginsGzip, gunzip } from './gunzip.ts';
import { sendPacked } from './gzip-file.ts';
import { findInputs, type Inputs, type Sort } from './inputs.ts';
import { LinePacker } from './line-packer.ts';
import { PlaceFile, type Place } from './place-file.ts';
import { PlainFile } from './plain-file.ts';
import { lineBytesMax, Producer } from './producer.ts';
import { Shipment, type ShipSummary } from './shipment.ts';

/** A place is noted at least this often, so that a large file goes on where it was broken off. */
const NOTED_BYTES = 67_108_864;

export interface ShipOptions {
  readonly settings: Settings;
  /** Name of the feed; may be left out where the settings have just one. */
  readonly feed: string | undefined;
  /** Files, folders, patterns, or `-` for standard input. */
  readonly files: readonly string[];
  /** Send files again that were sent before. */
  readonly again: boolean;
  /** Go on with what is written and with new files, until `stop`. */
  readonly follow: boolean;
  readonly sort: Sort;
  readonly stop: AbortSignal;
  /** Told what concerns one file or line only; the others go on. */
  readonly report: (error: CdrhouseError) => void;
  /** Told what an operator may want to know. */
  readonly say: (text: string) => void;
  /** Told how many bytes of how many have been read. */
  readonly progress?: (read: number, total: number) => void;
}

/**
 * Sends files to the feed's topic. What fails for one file is reported and counted, and the others are sent. Throws
 * FEED_UNKNOWN, TOPIC_MISSING, KAFKA_…, FILE_UNREADABLE and FILE_UNWRITABLE of the place file.
 */
export async function runShip(options: ShipOptions): Promise<ShipSummary> {
  const { settings, stop } = options;
  const began = performance.now();
  const feed = findFeed(settings.feeds, options.feed);
  const summary = emptySummary(feed);
  const places = new PlaceFile(settings.ship.place_file, options.say);
  const common = { settings, feed, places, summary, stop, report: options.report };
  try {
    if (options.follow) {
      await follow(common, options);
    } else {
      const inputs = await findInputs(options.files, options.sort);
      saySkipped(inputs, options.say);
      await sendFiles(common, inputs, options);
    }
  } finally {
    places.close();
  }
  summary.seconds = Math.round(performance.now() - began) / 1000;
  return summary;
}

type Common = Omit<ConstructorParameters<typeof Shipment>[0], 'producer' | 'progress'>;

async function sendFiles(common: Common, inputs: Inputs, options: ShipOptions): Promise<void> {
  const total = await totalBytes(inputs.files);
  const { progress } = options;
  const { summary, settings, feed } = common;
  for (const { path, reason } of inputs.missing) {
    summary.failed_files++;
    common.report(new CdrhouseError('FILE_UNREADABLE', `${path}: ${reason}`));
  }
  if (inputs.files.length === 0) return;
  const producer = await Producer.connect(settings);
  try {
    await producer.requireTopic(feed.topic);
    const shipment = new Shipment({ ...common, producer, progress: (bytes) => progress?.(bytes, total) });
    for (const path of inputs.files) {
      if (common.stop.aborted) break;
      try {
        if (await sendFile(shipment, path, options)) summary.files++;
        else summary.skipped_files++;
      } catch (error) {
        if (isOfKafka(error)) throw error;
        shipment.failed(path, error);
      }
      // Also what was sent of a file that failed.
      await producer.flush();
    }
  } finally {
    await producer.close();
    summary.messages = producer.messages;
    summary.bytes = producer.bytes;
  }
}

/** Sends a file to its end; false where all of it was sent before. Throws FILE_…, KAFKA_… */
async function sendFile(shipment: Shipment, path: string, { again, say }: ShipOptions): Promise<boolean> {
  // What is no regular file (a pipe, standard input) can be read once only, and is always sent.
  if (path === '-') return sendStream(shipment, path, process.stdin);
  const handle = await open(path);
  try {
    const stats = await handle.stat();
    if (!stats.isFile())
      return await sendStream(shipment, path, handle.createReadStream({ autoClose: false }));
    if (beginsGzip(await readAt(handle, 0, 2))) {
      const { sent, places } = await sendPacked(shipment, path, handle, again ? 'send anyway' : 'completely');
      await note(shipment, places);
      return sent || again;
    }
    return await sendPlain(shipment, path, handle, again, say);
  } finally {
    await handle.close();
  }
}

async function sendPlain(
  shipment: Shipment,
  path: string,
  handle: FileHandle,
  again: boolean,
  say: (text: string) => void,
): Promise<boolean> {
  const { feed, places, stop } = shipment;
  const before = await handle.stat();
  const known = again ? undefined : await recognise(handle, before.size, feed.name, places);
  const continued = known && (await PlainFile.open(shipment, path, handle, known));
  if (continued !== undefined && known?.end === before.size) return false;
  if (known !== undefined && continued === undefined)
    say(`${path}: begins and ends like what was sent, but differs in between: it is sent whole`);
  const file = continued ?? (await PlainFile.open(shipment, path, handle, undefined))!;
  while (await file.sendLines(NOTED_BYTES)) await note(shipment, [file.place()]);
  if (!stop.aborted) {
    const after = await handle.stat();
    // Of a file that grows meanwhile, the last line may be cut.
    if (after.size === before.size && after.mtimeMs === before.mtimeMs) await file.sendUnended();
    else if (after.size > file.end)
      say(`${path}: grows; a last line without its newline is left for the next time`);
  }
  await note(shipment, [file.place()]);
  return true;
}

/** Notes places once Kafka has acknowledged everything. */
async function note({ producer, places }: Shipment, reached: readonly Place[]): Promise<void> {
  await producer.flush();
  places.note(reached);
}

async function sendStream(
  shipment: Shipment,
  path: string,
  stream: AsyncIterable<unknown>,
): Promise<boolean> {
  const name = path === '-' ? 'standard input' : path;
  const { stop, settings } = shipment;
  const packer = new LinePacker(settings.ship.message_bytes_max, {
    lineBytesMax: lineBytesMax(settings),
    head: shipment.newHead(),
    tooLong: (line) => shipment.tooLong(name, line),
  });
  try {
    for await (const chunk of unpacked(stream)) {
      await shipment.send(name, packer, packer.add(chunk));
      shipment.read(chunk.length);
      if (stop.aborted) break;
    }
    await shipment.send(name, packer, stop.aborted ? packer.flush() : packer.finish());
  } catch (error) {
    if (error instanceof CdrhouseError) throw error;
    await shipment.send(name, packer, packer.flush());
    const code = (error as NodeJS.ErrnoException).code?.startsWith('Z_') ? 'FILE_DAMAGED' : 'FILE_UNREADABLE';
    throw new CdrhouseError(code, `${name}: ${(error as Error).message}`, error);
  }
  return true;
}

/** Sends the lines of a stream packed into messages; gives the number of lines that are not empty. */
export async function sendLines(
  stream: AsyncIterable<unknown>,
  producer: Producer,
  topic: string,
  bytesMax: number,
): Promise<number> {
  const packer = new LinePacker(bytesMax);
  for await (const chunk of stream)
    for (const message of packer.add(chunk as Uint8Array)) await producer.send(topic, message);
  for (const message of packer.finish()) await producer.send(topic, message);
  return packer.lines;
}

/** A stream, unpacked where it begins like a gzip file. */
async function* unpacked(stream: AsyncIterable<unknown>): AsyncGenerator<Uint8Array> {
  const chunks = (stream as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
  const next = await chunks.next();
  if (next.done === true) return;
  const whole = (async function* (): AsyncGenerator<Uint8Array> {
    yield next.value;
    yield* { [Symbol.asyncIterator]: () => chunks };
  })();
  yield* beginsGzip(next.value) ? gunzip(whole) : whole;
}

function isOfKafka(error: unknown): boolean {
  return (
    error instanceof CdrhouseError &&
    ['KAFKA_UNREACHABLE', 'KAFKA_REFUSED', 'FILE_UNWRITABLE'].includes(error.code)
  );
}

/** Bytes of the regular files, for the progress. */
async function totalBytes(paths: readonly string[]): Promise<number> {
  let total = 0;
  for (const path of paths) {
    try {
      if (path !== '-') total += (await stat(path)).size;
    } catch {
      // Said when it is opened.
    }
  }
  return total;
}

function saySkipped({ skipped }: Inputs, say: (text: string) => void): void {
  for (const kind of new Set(skipped.map((one) => one.kind))) {
    const paths = skipped.filter((one) => one.kind === kind).map(({ path }) => path);
    const more = paths.length > 3 ? ` and ${paths.length - 3} more` : '';
    say(`not taken, ${kind}: ${paths.slice(0, 3).join(', ')}${more}; name it to have it sent`);
  }
}

function emptySummary(feed: FeedSettings): ShipSummary {
  return {
    feed: feed.name,
    topic: feed.topic,
    files: 0,
    skipped_files: 0,
    failed_files: 0,
    lines: 0,
    messages: 0,
    bytes: 0,
    too_long: 0,
    too_long_lines: [],
    seconds: 0,
  };
}
