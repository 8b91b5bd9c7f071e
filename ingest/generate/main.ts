import { once } from 'node:events';
import { Readable, type Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Settings } from '../../schemas/settings.ts';
import { sendLines } from '../ship/main.ts';
import { Producer } from '../ship/producer.ts';

/** Lines that are written at once. */
const CHUNK_LINES = 1000;

export interface GenerateOptions {
  readonly count: number;
  /** Line i, without a newline (`Traffic.line`, `liveLine`). */
  readonly line: (index: number) => string;
  /** Lines a second; undefined: as fast as it goes. */
  readonly rate: number | undefined;
  /** Ends the stream early, at a whole line. */
  readonly stop: AbortSignal;
}

/** Chunks of lines, paced to the rate. */
async function* generatedChunks({ count, line, rate, stop }: GenerateOptions): AsyncGenerator<Buffer> {
  const chunkLines =
    rate === undefined ? CHUNK_LINES : Math.max(1, Math.min(CHUNK_LINES, Math.round(rate / 20)));
  const began = performance.now();
  for (let from = 0; from < count && !stop.aborted; from += chunkLines) {
    const lines: string[] = [];
    for (let index = from; index < Math.min(count, from + chunkLines); index++) lines.push(line(index));
    if (rate !== undefined) await sleep(Math.max(0, began + (from / rate) * 1000 - performance.now()));
    yield Buffer.from(`${lines.join('\n')}\n`);
  }
}

/** Writes the lines to a stream, waiting while it is full. */
export async function generateToStream(options: GenerateOptions, output: Writable): Promise<void> {
  for await (const chunk of generatedChunks(options)) {
    if (!output.write(chunk)) await once(output, 'drain');
  }
}

/** Sends the lines to a topic, many a message. */
export async function generateToTopic(
  options: GenerateOptions,
  settings: Settings,
  topic: string,
): Promise<void> {
  const producer = await Producer.connect(settings);
  try {
    if (options.rate === undefined) {
      const chunks = Readable.from(generatedChunks(options));
      await sendLines(chunks, producer, topic, settings.ship.message_bytes_max);
    } else {
      // Each chunk is a message of its own, so that records do not wait for a message to fill.
      for await (const chunk of generatedChunks(options)) await producer.send(topic, chunk);
    }
    await producer.flush();
  } finally {
    await producer.close();
  }
}
