import { lastCalendarYear, Traffic } from '../ingest/generate/traffic.ts';
import type { PackedBatch } from '../ingest/parse/batch.ts';
import { BatchParser } from '../ingest/parse/parse-batch.ts';
import { readFeed } from '../schemas/feed.ts';
import { checkSettings } from '../schemas/settings.ts';

/**
 * CPU per record of one parse worker: bytes of a packed topic in, sorted and encoded blocks for both tables out.
 * Run it with `make bench-parse`.
 */
const RECORDS = 200_000;
const RECORDS_PER_MESSAGE = 500;
const ROUNDS = 7;

function packedBatch(): PackedBatch {
  const now = Date.now();
  const traffic = new Traffic(1, RECORDS, lastCalendarYear(now));
  const messages: Buffer[] = [];
  for (let from = 0; from < RECORDS; from += RECORDS_PER_MESSAGE) {
    const lines = Array.from({ length: RECORDS_PER_MESSAGE }, (_, i) => traffic.line(from + i));
    messages.push(Buffer.from(`${lines.join('\n')}\n`));
  }
  let end = 0;
  return {
    sources: [{ feed: 0, topic: 'cdr', topicId: '', partition: 0 }],
    bytes: Buffer.concat(messages),
    ends: Uint32Array.from(messages, (message) => (end += message.length)),
    sourceOf: new Uint16Array(messages.length),
    offsets: Float64Array.from(messages.keys()),
    timestamps: new Float64Array(messages.length).fill(now),
    tombstones: new Uint8Array(messages.length),
    count: messages.length,
    nowMs: now,
  };
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}

const batch = packedBatch();
const feeds = checkSettings({}).feeds.map(readFeed);
const parser = new BatchParser({
  feeds,
  identityKey: new Uint8Array(32),
  futureMsMax: 86_400_000,
  retentionMonths: 36,
});
const microseconds: number[] = [];
for (let round = 0; round < ROUNDS; round++) {
  const before = process.cpuUsage();
  const { cdrRows } = parser.parse(batch);
  const { user, system } = process.cpuUsage(before);
  if (cdrRows !== RECORDS) throw new Error(`${cdrRows} of ${RECORDS} records were accepted`);
  microseconds.push((user + system) / RECORDS);
}
const bytes = Math.round(batch.bytes.length / RECORDS);
process.stdout.write(
  `parse: ${median(microseconds).toFixed(2)} us CPU a record (median of ${ROUNDS} rounds of ${RECORDS} records of ${bytes} bytes)\n`,
);
