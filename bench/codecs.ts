import { parseArgs } from 'node:util';
import { CALL_CODECS } from '../schemas/migrations.ts';
import { CALL_TABLES, SORTING_KEYS, type CallTable } from '../schemas/tables.ts';
import { storedSizes } from './asked.ts';
import { withBenchServers, type BenchServers } from './bench-servers.ts';
import { runCdrhouse } from './cdrhouse-run.ts';
import { captureBlocks, insertTable, type CapturedBatch } from './floor.ts';
import { benchHost, finishPart, OURS, type Figure } from './result.ts';
import { groupBy, medianAndRange, textTable } from './table.ts';
import { wholeNumber } from './whole-number.ts';
import { Workload } from './workload.ts';

/**
 * `make bench-codecs`: what the compression of the call tables costs: CPU of inserting the blocks that ingest makes, of
 * merging them once, and of reading the calls of one key before that; bytes on disk. The ones in use beside others.
 */
const { values } = parseArgs({
  options: {
    records: { type: 'string', default: '1500000' },
    rounds: { type: 'string', default: '2' },
    days: { type: 'string', default: '7' },
  },
});
const RECORDS = wholeNumber('records', values.records, 100_000, 20_000_000);
const ROUNDS = wholeNumber('rounds', values.rounds, 1, 9);
const DAYS = wholeNumber('days', values.days, 1, 365);
const DATABASE = 'bench_codecs';
const KEYS_READ = 40;

interface Candidate {
  readonly name: string;
  /** The codec of a column that has one in `CALL_CODECS`. */
  readonly codec: (chosen: string) => string;
  readonly settings: string;
}

const CANDIDATES: readonly Candidate[] = [
  { name: 'in use', codec: (chosen) => chosen, settings: '' },
  {
    name: 'in use, blocks of 64 KiB',
    codec: (chosen) => chosen,
    settings: 'min_compress_block_size = 65536',
  },
  {
    name: "in use, with ClickHouse's statistics of columns",
    codec: (chosen) => chosen,
    settings: "auto_statistics_types = 'basic, uniq_v2'",
  },
  { name: 'LZ4 for all', codec: () => 'LZ4', settings: '' },
  { name: 'ZSTD(1) for all', codec: () => 'ZSTD(1)', settings: '' },
  {
    name: 'ZSTD(1) for all, blocks of 64 KiB',
    codec: () => 'ZSTD(1)',
    settings: 'min_compress_block_size = 65536',
  },
];

const figures: Figure[] = [];

function note(name: string, unit: string, table: CallTable, of: Candidate, value: number): void {
  figures.push({ name, unit, who: OURS, case: `${table}: ${of.name}`, values: [value] });
}

async function makeTables(bench: BenchServers, { codec, settings }: Candidate): Promise<void> {
  const { database } = bench;
  await runCdrhouse(bench, { database: DATABASE, topic: 'bench-codecs' }, 'migrate');
  for (const table of CALL_TABLES) {
    const columns = Object.entries(CALL_CODECS[table]).map(
      ([column, chosen]) => `MODIFY COLUMN ${column} CODEC(${codec(chosen)})`,
    );
    await database.statement(`ALTER TABLE ${DATABASE}.${table} ${columns.join(', ')}`);
    if (settings !== '')
      await database.statement(`ALTER TABLE ${DATABASE}.${table} MODIFY SETTING ${settings}`);
  }
  await database.mergeNothing(DATABASE, CALL_TABLES);
}

/** Runs `work`, and gives the CPU seconds of ClickHouse until it is quiet. */
async function cpuOf({ database }: BenchServers, work: () => Promise<unknown>): Promise<number> {
  await database.quiet(1);
  const before = database.cpuSeconds;
  await work();
  return database.cpuSeconds - before;
}

async function measureTable(
  bench: BenchServers,
  candidate: Candidate,
  table: CallTable,
  batches: readonly CapturedBatch[],
): Promise<void> {
  const { database } = bench;
  const target = `${DATABASE}.${table}`;
  const inserting = await cpuOf(bench, () => insertTable(database, DATABASE, table, batches));
  note('CPU of inserting, a record', 'us', table, candidate, (inserting / RECORDS) * 1e6);
  const key = SORTING_KEYS[table].split(',', 1)[0]!;
  const keys = await database.rows<{ key: string }>(
    `SELECT toString(${key}) AS key FROM ${target} GROUP BY ${key} ORDER BY cityHash64(${key}) LIMIT ${KEYS_READ}`,
  );
  const reading = await cpuOf(bench, async () => {
    for (const each of keys)
      await database.statement(`SELECT * FROM ${target} FINAL WHERE ${key} = ${each.key} FORMAT Null`, {
        max_threads: '1',
      });
  });
  note('CPU of reading one key, parts not merged', 'ms', table, candidate, (reading / keys.length) * 1e3);
  const merging = await cpuOf(bench, () => database.statement(`OPTIMIZE TABLE ${target} FINAL`));
  note('CPU of one merge, a record', 'us', table, candidate, (merging / RECORDS) * 1e6);
  const size = (await storedSizes(bench, DATABASE)).find((each) => each.table === table);
  note('bytes a record on disk, merged', 'bytes', table, candidate, size!.bytes / RECORDS);
}

/** The figures with one value a round. */
function byRound(): Figure[] {
  const groups = groupBy(figures, ({ name, case: of }) => `${name} ${of}`);
  return [...groups.values()].map((list) => ({
    ...list[0]!,
    values: list.flatMap(({ values: each }) => each),
  }));
}

await withBenchServers(async (bench) => {
  const host = await benchHost(bench);
  const batches = captureBlocks(bench, new Workload(RECORDS, DAYS));
  for (let round = 0; round < ROUNDS; round++) {
    for (const candidate of CANDIDATES) {
      process.stdout.write(`  round ${round + 1}: ${candidate.name}\n`);
      await makeTables(bench, candidate);
      for (const table of CALL_TABLES) await measureTable(bench, candidate, table, batches);
      await bench.database.statement(`DROP DATABASE ${DATABASE} SYNC`);
    }
  }
  const measured = byRound();
  const rows = [...groupBy(measured, (figure) => figure.case)]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([of, list]) => [of, ...list.map((figure) => medianAndRange(figure.values))]);
  const head = [...new Set(measured.map(({ name, unit }) => `${name} (${unit})`))];
  process.stdout.write(
    `${RECORDS} records, ${batches.length} inserts a table\n${textTable(['', ...head], rows)}\n`,
  );
  finishPart(host, {
    part: 'codecs',
    settings: { records: RECORDS, rounds: ROUNDS, days: DAYS, inserts: batches.length, columns: CALL_CODECS },
    figures: measured,
    checks: [],
    held: [],
    notes: [],
  });
});
