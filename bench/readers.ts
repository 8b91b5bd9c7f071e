import { parseArgs } from 'node:util';
import { withBenchServers, type BenchServers } from './bench-servers.ts';
import { runCdrhouse, type EndedRun } from './cdrhouse-run.ts';
import { benchHost, finishPart, FIGURES, OURS } from './result.ts';
import { medianAndRange, textTable } from './table.ts';
import { wholeNumber } from './whole-number.ts';
import { PACKINGS, sendWorkload, Workload } from './workload.ts';

/**
 * `make bench-readers`: CPU a record of `ingest --until-idle` with the native addon and with plain consume, in
 * interleaved rounds on the same records, without ClickHouse's. Start and end of the program are taken off.
 */
const READERS = ['packed', 'plain'] as const;
type ReaderName = (typeof READERS)[number];

const { values } = parseArgs({
  options: {
    records: { type: 'string', default: '300000' },
    rounds: { type: 'string', default: '3' },
  },
});
const RECORDS = wholeNumber('records', values.records, 1000, 20_000_000);
const ROUNDS = wholeNumber('rounds', values.rounds, 1, 9);
const DAYS = 7;

let runs = 0;

/** Reads a topic into a fresh database. Rejects where not every record is stored. */
async function ingest(
  bench: BenchServers,
  topic: string,
  reader: ReaderName,
  records: number,
): Promise<EndedRun> {
  // A group of its own: one that was left just now still has the topic of then.
  const database = `bench_readers_${++runs}`;
  const run = { database, topic, environment: { CDRHOUSE_INGEST_READER: reader } };
  await runCdrhouse(bench, run, 'migrate');
  const ended = await runCdrhouse(bench, run, 'ingest', '--until-idle');
  const { stored } = JSON.parse(ended.stdout) as { stored: number };
  if (stored !== records) throw new Error(`${stored} of ${records} records are stored`);
  await bench.database.statement(`DROP DATABASE ${database} SYNC`);
  return ended;
}

async function measure(bench: BenchServers): Promise<void> {
  const host = await benchHost(bench);
  const workload = new Workload(RECORDS, DAYS);
  for (const packing of PACKINGS) {
    await runCdrhouse(bench, { database: 'bench_topics', topic: packing }, 'migrate');
    await sendWorkload(workload, packing, bench.servers.kafka, packing);
  }
  const used = new Map<string, { microseconds: number[]; megabytes: number[] }>();
  for (let round = 0; round < ROUNDS; round++) {
    for (const reader of READERS) {
      const start = await ingest(bench, 'empty', reader, 0);
      for (const packing of PACKINGS) {
        const { cpuSeconds, peakBytes } = await ingest(bench, packing, reader, RECORDS);
        const name = `${packing} topic, ${reader} reader`;
        const list = used.get(name) ?? { microseconds: [], megabytes: [] };
        used.set(name, list);
        list.microseconds.push(((cpuSeconds - start.cpuSeconds) / RECORDS) * 1e6);
        list.megabytes.push(peakBytes / 1e6);
        process.stdout.write(
          `  round ${round + 1}, ${name}: ${list.microseconds.at(-1)!.toFixed(2)} us CPU a record\n`,
        );
      }
    }
  }
  const rows = [...used].map(([name, { microseconds, megabytes }]) => [
    name,
    medianAndRange(microseconds),
    medianAndRange(megabytes, 0),
  ]);
  process.stdout.write(`${textTable(['median (range)', 'us CPU a record', 'peak resident MB'], rows)}\n`);
  const figures = [...used].flatMap(([name, { microseconds, megabytes }]) => [
    { name: FIGURES.programCpu, unit: 'us', who: OURS, case: name, values: microseconds },
    { name: FIGURES.peakMemory, unit: 'MB', who: OURS, case: name, values: megabytes },
  ]);
  finishPart(host, {
    part: 'readers',
    settings: { records: RECORDS, rounds: ROUNDS, days: DAYS },
    figures,
    checks: [{ what: 'every record is stored', who: OURS, passed: true, detail: `${RECORDS} a run` }],
    held: [],
    notes: [
      'CPU of the program alone, without ClickHouse; start and end are taken off. Without the addon that reads many messages at once each message passes through node-rdkafka.',
    ],
  });
}

await withBenchServers(measure);
