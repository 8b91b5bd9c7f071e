import { parentPort, workerData } from 'node:worker_threads';
import { BatchParser } from '../ingest/parse/parse-batch.ts';
import { BLOCK_TABLES } from '../schemas/tables.ts';
import { FORMAT_LINES } from './format-lines.ts';
import { packedBatch, parseContext } from './packed-batches.ts';

/** A thread of `parse.ts`: parses the records of one format, as often as it is asked. */
export interface FormatTask {
  readonly format: string;
  readonly records: number;
  readonly messageBytes: number;
}

/** What one round used, in us of CPU of the whole process: parsing, and with sorting and encoding both blocks. */
export interface FormatRound {
  readonly parse: number;
  readonly all: number;
  readonly bytes: number;
}

const { format, records, messageBytes } = workerData as FormatTask;
const lines = FORMAT_LINES.find((one) => one.format === format)!;
const batch = packedBatch(lines.messages(records, messageBytes));
const parser = new BatchParser(parseContext({ format, ...lines.settings }));

function round(): FormatRound {
  const before = process.cpuUsage();
  const { calls } = parser.parse(batch);
  const parsed = process.cpuUsage(before);
  for (const table of BLOCK_TABLES) parser.wholeBlock(table);
  const all = process.cpuUsage(before);
  if (calls !== records) throw new Error(`${format}: ${calls} of ${records} records were accepted`);
  return { parse: parsed.user + parsed.system, all: all.user + all.system, bytes: batch.bytes.length };
}

// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
parentPort!.on('message', () => parentPort!.postMessage(round()));
