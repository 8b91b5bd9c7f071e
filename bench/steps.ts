import { parseArgs } from 'node:util';
import { PIECE_BYTES } from '../ingest/block-stream.ts';
import type { PackedBatch } from '../ingest/parse/batch.ts';
import { BatchParser } from '../ingest/parse/parse-batch.ts';
import { withBenchServers, type BenchServers } from './bench-servers.ts';
import { runCdrhouse } from './cdrhouse-run.ts';
import type { Database } from './database.ts';
import { captureBlocks, insertBatches, insertTable, type CapturedBatch } from './floor.ts';
import { packedBatches, parseContext } from './packed-batches.ts';
import { benchHost, finishPart, OURS, type Figure } from './result.ts';
import { medianAndRange, textTable } from './table.ts';
import { wholeNumber } from './whole-number.ts';
import { Workload } from './workload.ts';

/**
 * `make bench-steps`: CPU a record of each step alone, in one process, on the same batches: parse, sort and gather, encode,
 * and ClickHouse's insert into each table; and into both at once, which is the floor of `bench-ingest`, here on as many records.
 */
const { values } = parseArgs({
  options: {
    records: { type: 'string', default: '3000000' },
    rounds: { type: 'string', default: '2' },
    days: { type: 'string', default: '7' },
  },
});
const RECORDS = wholeNumber('records', values.records, 1000, 20_000_000);
const ROUNDS = wholeNumber('rounds', values.rounds, 1, 9);
const DAYS = wholeNumber('days', values.days, 1, 365);
const DATABASE = 'bench_steps';
const TABLES = ['cdr', 'cdr_by_number'] as const;

type InsertAll = (database: Database, batches: readonly CapturedBatch[]) => Promise<unknown>;

function into(table: (typeof TABLES)[number], settings: Readonly<Record<string, string>> = {}): InsertAll {
  return (database, batches) => insertTable(database, DATABASE, table, batches, settings);
}

const INSERTS: Readonly<Record<string, InsertAll>> = {
  'cdr: insert': into('cdr'),
  'cdr: insert, optimize_on_insert = 1': into('cdr', { optimize_on_insert: '1' }),
  'cdr_by_number: insert': into('cdr_by_number'),
  'cdr_by_number: insert, optimize_on_insert = 1': into('cdr_by_number', { optimize_on_insert: '1' }),
  'both tables at once: insert (the floor)': (database, batches) =>
    insertBatches(database, DATABASE, batches),
};

/** Seconds of CPU by step, one value a round. */
class Steps {
  readonly #seconds = new Map<string, number[]>();

  add(step: string, round: number, seconds: number): void {
    const list = this.#seconds.get(step) ?? [];
    list[round] = (list[round] ?? 0) + seconds;
    this.#seconds.set(step, list);
  }

  /** Runs `work` and counts the CPU of this process. */
  count<T>(step: string, round: number, work: () => T): T {
    const before = process.cpuUsage();
    const result = work();
    const { user, system } = process.cpuUsage(before);
    this.add(step, round, (user + system) / 1_000_000);
    return result;
  }

  figures(): Figure[] {
    return [...this.#seconds].map(([step, seconds]) => ({
      name: 'CPU a record, of a step',
      unit: 'us',
      who: OURS,
      case: step,
      values: seconds.map((value) => (value / RECORDS) * 1e6),
    }));
  }
}

function countParsing(steps: Steps, batches: readonly PackedBatch[]): void {
  const parser = new BatchParser(parseContext());
  const piece = new Uint8Array(PIECE_BYTES);
  // The first round compiles the code.
  for (let round = -1; round < ROUNDS; round++) {
    const counted = round < 0 ? new Steps() : steps;
    for (const batch of batches) {
      counted.count('parse (split, read, hash)', round, () => parser.parse(batch));
      for (const table of TABLES) {
        const { native } = counted.count(`sort and gather, ${table}`, round, () => parser.block(table));
        counted.count(`write pieces, ${table}`, round, () => {
          while (native.bytesLeft > 0) native.read(piece);
        });
      }
    }
  }
}

async function countInserts(
  steps: Steps,
  bench: BenchServers,
  batches: readonly CapturedBatch[],
): Promise<void> {
  const { database } = bench;
  // The first round finds the server cold.
  for (let round = -1; round < ROUNDS; round++) {
    const counted = round < 0 ? new Steps() : steps;
    for (const [step, insertAll] of Object.entries(INSERTS)) {
      await runCdrhouse(bench, { database: DATABASE, topic: 'bench-steps' }, 'migrate');
      // A merge would be counted with the inserts; `bench-ingest` counts it.
      await database.mergeNothing(DATABASE, TABLES);
      await database.quiet();
      const before = database.cpuSeconds;
      await insertAll(database, batches);
      counted.add(step, round, database.cpuSeconds - before);
      await database.statement(`DROP DATABASE ${DATABASE} SYNC`);
    }
  }
}

await withBenchServers(async (bench) => {
  const host = await benchHost(bench);
  const workload = new Workload(RECORDS, DAYS);
  const bytes = Math.round(workload.bytes / RECORDS);
  const steps = new Steps();
  countParsing(steps, [...packedBatches(workload)]);
  await countInserts(steps, bench, captureBlocks(bench, workload));
  const figures = steps.figures();
  const rows = figures.map((figure) => [figure.case, medianAndRange(figure.values)]);
  process.stdout.write(
    `${RECORDS} records of ${bytes} bytes, ${ROUNDS} rounds\n${textTable(['step', 'us CPU a record, median (range)'], rows)}\n`,
  );
  finishPart(host, {
    part: 'steps',
    settings: {
      records: RECORDS,
      rounds: ROUNDS,
      days: DAYS,
      bytes_a_record: bytes,
      merges: 'stopped',
      fsync: 'after each insert',
    },
    figures,
    checks: [],
    held: [],
    notes: ['Each step alone and in one process: nothing waits, nothing is done beside it.'],
  });
});
