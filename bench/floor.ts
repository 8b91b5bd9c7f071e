import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { INSERT_SETTINGS } from '../ingest/clickhouse.ts';
import { Consumer } from '../ingest/consumer.ts';
import { BatchParser } from '../ingest/parse/parse-batch.ts';
import { SENT_COLUMNS } from '../schemas/tables.ts';
import type { BenchServers } from './bench-servers.ts';
import type { Database } from './database.ts';
import { packedBatches, parseContext, rowsOf } from './packed-batches.ts';
import { kafkaSettings, type Workload } from './workload.ts';

const POLL_MS = 100;
const POLL_BYTES = 16_777_216;
const POLL_MESSAGES = 200_000;
const READ_POLLS_MAX = 100_000;

/** The encoded blocks of one batch, in files. */
export interface CapturedBatch {
  readonly cdr: string;
  readonly cdrByNumber: string;
  readonly cdrRows: number;
  readonly cdrByNumberRows: number;
}

/** Parses the workload and writes the blocks of each batch to files. */
export function captureBlocks(bench: BenchServers, workload: Workload): CapturedBatch[] {
  const parser = new BatchParser(parseContext());
  return [...packedBatches(workload)].map((batch, index) => {
    parser.parse(batch);
    const cdr = parser.wholeBlock('cdr');
    const cdrByNumber = parser.wholeBlock('cdr_by_number');
    return {
      cdr: bench.write(`cdr-${index}.native`, cdr),
      cdrByNumber: bench.write(`cdr_by_number-${index}.native`, cdrByNumber),
      cdrRows: rowsOf(cdr),
      cdrByNumberRows: rowsOf(cdrByNumber),
    };
  });
}

/** Inserts one block as it is, constant columns left to their defaults; `settings` are laid over those of ingest. */
async function insertFile(
  database: Database,
  name: string,
  table: 'cdr' | 'cdr_by_number',
  path: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<void> {
  const columns = SENT_COLUMNS[table].map((column) => column.name).join(', ');
  const query = `INSERT INTO ${name}.${table} (${columns}) FORMAT Native`;
  const all = Object.entries({ ...INSERT_SETTINGS, ...settings }).map(([setting, value]) => [
    setting,
    String(value),
  ]);
  await database.insert(query, readFileSync(path), Object.fromEntries(all) as Record<string, string>);
}

/** The blocks of one table, one batch after the other. */
export async function insertTable(
  database: Database,
  name: string,
  table: 'cdr' | 'cdr_by_number',
  batches: readonly CapturedBatch[],
  settings: Readonly<Record<string, string>> = {},
): Promise<void> {
  for (const { cdr, cdrByNumber } of batches)
    await insertFile(database, name, table, table === 'cdr' ? cdr : cdrByNumber, settings);
}

/** The floor: both blocks of each batch at once, one batch after the other. Gives wall seconds. */
export async function insertBatches(
  database: Database,
  name: string,
  batches: readonly CapturedBatch[],
): Promise<number> {
  const began = performance.now();
  for (const { cdr, cdrByNumber } of batches) {
    await Promise.all([
      insertFile(database, name, 'cdr', cdr),
      insertFile(database, name, 'cdr_by_number', cdrByNumber),
    ]);
  }
  return (performance.now() - began) / 1000;
}

/** Wall and CPU seconds of this process for reading a topic to its end and doing nothing with it. */
export async function readTopic(
  brokers: string,
  group: string,
  topic: string,
  messages: number,
): Promise<{ seconds: number; cpuSeconds: number }> {
  const settings = kafkaSettings(brokers, group, topic);
  const partitions = Array.from({ length: settings.kafka.topic_partitions }, (_, partition) => ({
    topic,
    partition,
    offset: 0,
  }));
  const consumer: Consumer = await Consumer.connect(settings, group, {
    assigned: () => consumer.assign(partitions),
    revoked: () => consumer.unassign(),
    disturbed: () => undefined,
  });
  try {
    consumer.subscribe([topic]);
    let chunk = await consumer.poll(1, 1, POLL_MS);
    while (chunk.count === 0) {
      await sleep(1);
      chunk = await consumer.poll(1, 1, POLL_MS);
    }
    const began = performance.now();
    const cpuBefore = process.cpuUsage();
    let read = chunk.count;
    for (let poll = 0; read < messages; poll++) {
      if (poll > READ_POLLS_MAX) throw new Error(`${read} of ${messages} messages came`);
      read += (await consumer.poll(POLL_MESSAGES, POLL_BYTES, POLL_MS)).count;
    }
    const { user, system } = process.cpuUsage(cpuBefore);
    return { seconds: (performance.now() - began) / 1000, cpuSeconds: (user + system) / 1_000_000 };
  } finally {
    await consumer.close();
  }
}
