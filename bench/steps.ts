import { parseArgs } from 'node:util';
import { cdrBlock, cdrByNumberBlock, type BlockContext } from '../ingest/parse/blocks.ts';
import type { PackedBatch } from '../ingest/parse/batch.ts';
import { CallColumns } from '../ingest/parse/call-columns.ts';
import { BatchMemory } from '../ingest/parse/batch-memory.ts';
import { LineReader } from '../ingest/parse/line-reader.ts';
import { LineSplitter } from '../ingest/parse/line-splitter.ts';
import { BatchParser } from '../ingest/parse/parse-batch.ts';
import { sortOrder } from '../ingest/parse/sort-order.ts';
import { withBenchServers, type BenchServers } from './bench-servers.ts';
import { runCdrhouse } from './cdrhouse-run.ts';
import { captureBlocks, insertFile, packedBatches, parseContext, type CapturedBatch } from './floor.ts';
import { medianAndRange, textTable } from './table.ts';
import { Workload } from './workload.ts';

/**
 * `make bench-steps`: CPU a record of each step alone, in one process, on the same batches: parse, sort and
 * encode in JavaScript, and ClickHouse's insert into each table.
 */
const { values } = parseArgs({
  options: {
    records: { type: 'string', default: '600000' },
    rounds: { type: 'string', default: '5' },
    days: { type: 'string', default: '7' },
  },
});
const RECORDS = Number(values.records);
const ROUNDS = Number(values.rounds);
const DATABASE = 'bench_steps';
const TABLES = ['cdr', 'cdr_by_number'] as const;

/** Variants of an insert: what each setting of ours costs. */
const INSERTS: readonly { readonly name: string; readonly settings: Readonly<Record<string, string>> }[] = [
  { name: 'insert', settings: {} },
  { name: 'insert, optimize_on_insert = 0', settings: { optimize_on_insert: '0' } },
];

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

  table(): string {
    return textTable(
      ['step', 'us CPU a record, median (range)'],
      [...this.#seconds].map(([step, seconds]) => [
        step,
        medianAndRange(seconds.map((value) => (value / RECORDS) * 1e6)),
      ]),
    );
  }
}

/** The parts of a `BatchParser`, each to be run alone. It counts no sources and rejects nothing. */
class BareParser {
  readonly #memory = new BatchMemory();
  readonly #splitter = new LineSplitter(this.#memory);
  readonly #calls = new CallColumns();
  readonly #reader: LineReader;
  readonly #context = parseContext();

  constructor() {
    const { feeds, identityKey } = this.#context;
    this.#reader = new LineReader(feeds[0]!, identityKey, this.#memory, this.#splitter, this.#calls);
  }

  /** Lines to columns. */
  parse(batch: PackedBatch): void {
    const calls = this.#calls;
    const splitter = this.#splitter;
    calls.clear();
    const start = this.#memory.load(batch.bytes);
    const end = start + batch.bytes.length;
    const position = { topic: '', partition: 0, offset: 0, line: 0 };
    for (let at = start; at < end; at = splitter.next) {
      splitter.split(at, end, this.#reader.separator);
      if (this.#reader.read(at, position) !== undefined) throw new Error('a record is rejected');
      const row = calls.length;
      calls.feed[row] = 0;
      calls.partition[row] = 0;
      calls.offset[row] = row;
      calls.line[row] = 1;
      calls.length = row + 1;
    }
  }

  /** The order of the rows of both tables. */
  sort(): void {
    const calls = this.#calls;
    const all = Uint32Array.from({ length: calls.length }, (_, call) => call);
    sortOrder(calls, calls.callingKey, all, calls.length);
    const keys = new Float64Array(2 * calls.length);
    const rowCall = new Uint32Array(2 * calls.length);
    let rows = 0;
    for (let call = 0; call < calls.length; call++) {
      for (const key of [calls.dialedKey[call]!, calls.displayedKey[call]!]) {
        if (Number.isNaN(key)) continue;
        keys[rows] = key;
        rowCall[rows++] = call;
      }
    }
    sortOrder(calls, keys, rowCall, rows);
  }

  /** Both blocks, their sorting included. */
  encode(batch: PackedBatch): number {
    const context: BlockContext = {
      calls: this.#calls,
      memory: this.#memory,
      sources: batch.sources,
      feedNames: ['default'],
    };
    return cdrBlock(context).length + cdrByNumberBlock(context).block.length;
  }
}

function countParsing(steps: Steps, batches: readonly PackedBatch[]): void {
  const bare = new BareParser();
  const whole = new BatchParser(parseContext());
  // The first round compiles the code.
  for (let round = -1; round < ROUNDS; round++) {
    const counted = round < 0 ? new Steps() : steps;
    for (const batch of batches) {
      counted.count('parse (split, read, hash)', round, () => bare.parse(batch));
      counted.count('sort, both tables', round, () => bare.sort());
      counted.count('sort and encode, both tables', round, () => bare.encode(batch));
      counted.count('all of a worker', round, () => whole.parse(batch));
    }
  }
}

async function countInserts(
  steps: Steps,
  bench: BenchServers,
  batches: readonly CapturedBatch[],
): Promise<void> {
  const { database } = bench;
  for (let round = 0; round < ROUNDS; round++) {
    for (const table of TABLES) {
      for (const { name, settings } of INSERTS) {
        await runCdrhouse(bench, { database: DATABASE, topic: 'bench-steps' }, 'migrate');
        // A merge would be counted with the inserts; `bench-ingest` counts it.
        await database.statement(`SYSTEM STOP MERGES ${DATABASE}.${table}`);
        await database.quiet();
        const before = database.cpuSeconds;
        for (const batch of batches) {
          const path = table === 'cdr' ? batch.cdr : batch.cdrByNumber;
          await insertFile(database, DATABASE, table, path, settings);
        }
        steps.add(`${table}: ${name}`, round, database.cpuSeconds - before);
        await database.statement(`DROP DATABASE ${DATABASE} SYNC`);
      }
    }
  }
}

await withBenchServers(async (bench) => {
  const workload = new Workload(RECORDS, Number(values.days));
  const steps = new Steps();
  countParsing(steps, [...packedBatches(workload)]);
  await countInserts(steps, bench, captureBlocks(bench, workload));
  process.stdout.write(
    `${RECORDS} records of ${Math.round(workload.bytes / RECORDS)} bytes, ${ROUNDS} rounds\n${steps.table()}\n`,
  );
});
