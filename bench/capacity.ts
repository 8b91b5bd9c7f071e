import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { storedSizes } from './asked.ts';
import { withBenchServers, type BenchServers } from './bench-servers.ts';
import { missingCommands, readInputs, type Input } from './capacity-inputs.ts';
import {
  agreement,
  CHECKED_LOAD,
  LIVE_RATE,
  predictDay,
  type LiveUse,
  type Prediction,
} from './capacity-model.ts';
import { capacityTables } from './capacity-tables.ts';
import { runCdrhouse, startIngest } from './cdrhouse-run.ts';
import { CALL_TABLES } from '../schemas/tables.ts';
import { cpuSeconds } from './process-usage.ts';
import { benchHost, FIGURES, finishPart, OURS, type Figure, type Host, type SavedResult } from './result.ts';
import { largestOfEachPart, readResults } from './saved-results.ts';
import { SteadyLoad } from './steady-load.ts';
import { median } from './table.ts';
import { readThresholds } from './thresholds.ts';
import { sendWorkload, Workload } from './workload.ts';

/**
 * `make bench-capacity`: stores one day of a million calls at once, holds what it took against what the largest results of
 * the other parts foretell; takes such calls for a minute as they come; and writes the tables of docs/capacity.md. With
 * `--write-only` it stores nothing, and takes its own newest result. Exits 1 where the arithmetic is off by more than the threshold.
 */
const { values } = parseArgs({ options: { 'write-only': { type: 'boolean', default: false } } });
const DOCUMENT = fileURLToPath(new URL('../../docs/capacity.md', import.meta.url));
const DAY = 'one day';
const DATABASE = 'cdrhouse';
const TOPIC = 'day';
const EMPTY_TOPIC = 'nothing';
const LIVE_TOPIC = 'live';
/** Until the programs have started, and no longer. */
const LIVE_WARM_UP_MS = 10_000;
const LIVE_SECONDS = 60;

/** Names of the figures of the day; the case of each is `DAY`. */
const DAY_FIGURES = {
  bytes: 'on disk, both call tables, merged',
  program: 'CPU of ingest',
  clickhouse: 'CPU of ClickHouse, until stored',
  merges: 'CPU of ClickHouse, merged once',
  broker: 'CPU of the broker',
} as const;

/** Bytes of the logs of a topic, which is there once. */
function logBytes(bench: BenchServers, topic: string): number {
  const folders = readdirSync(bench.folder, { recursive: true, withFileTypes: true }).filter(
    (entry) => entry.isDirectory() && new RegExp(`^${topic}-[0-9]+$`).test(entry.name),
  );
  const logs = folders.flatMap(({ parentPath, name }) => {
    const folder = join(parentPath, name);
    return readdirSync(folder)
      .filter((file) => file.endsWith('.log'))
      .map((file) => join(folder, file));
  });
  if (logs.length === 0) throw new Error(`the broker has no log of ${topic}`);
  return logs.reduce((sum, log) => sum + statSync(log).size, 0);
}

function dayFigure(name: string, unit: string, value: number): Figure {
  return { name, unit, who: OURS, case: DAY, values: [value], calls: CHECKED_LOAD };
}

async function storeDay(bench: BenchServers): Promise<Figure[]> {
  const { database, servers } = bench;
  const workload = new Workload(CHECKED_LOAD, 1);
  for (const topic of [EMPTY_TOPIC, TOPIC])
    await runCdrhouse(bench, { database: DATABASE, topic }, 'migrate');
  await sendWorkload(workload, 'packed', servers.kafka, TOPIC);
  const ingest = (topic: string) =>
    runCdrhouse(
      bench,
      { database: DATABASE, topic, environment: { CDRHOUSE_KAFKA_GROUP: `bench-${topic}` } },
      'ingest',
      '--until-idle',
    );
  const start = await ingest(EMPTY_TOPIC);
  await database.mergeNothing(DATABASE, CALL_TABLES);
  await database.quiet();
  const before = database.cpuSeconds;
  const brokerBefore = cpuSeconds(servers.pids.kafka);
  const ended = await ingest(TOPIC);
  const broker = cpuSeconds(servers.pids.kafka) - brokerBefore;
  await database.quiet();
  const clickhouse = database.cpuSeconds - before;
  const [row] = await database.rows<{ calls: number }>(`SELECT count() AS calls FROM ${DATABASE}.cdr FINAL`);
  if (row!.calls !== CHECKED_LOAD) throw new Error(`${row!.calls} of ${CHECKED_LOAD} calls are stored`);
  // As a closed month is in the end.
  const merges = await database.mergeAll(DATABASE, CALL_TABLES);
  await database.mergeAgain(DATABASE, CALL_TABLES);
  const sizes = await storedSizes(bench, DATABASE);
  return [
    dayFigure(
      DAY_FIGURES.bytes,
      'bytes',
      sizes.reduce((sum, { bytes }) => sum + bytes, 0),
    ),
    dayFigure(DAY_FIGURES.program, 's', ended.cpuSeconds - start.cpuSeconds),
    dayFigure(DAY_FIGURES.clickhouse, 's', clickhouse),
    dayFigure(DAY_FIGURES.merges, 's', merges),
    dayFigure(DAY_FIGURES.broker, 's', broker),
    { ...dayFigure(FIGURES.kafkaBytes, 'bytes', logBytes(bench, TOPIC) / CHECKED_LOAD), case: 'packed' },
  ];
}

const LIVE_CASE = 'as they come';

/** Cores of each program while calls come one by one, at the rate at which a day has that many. */
async function takeLive(bench: BenchServers): Promise<Figure[]> {
  const { database, servers } = bench;
  const run = { database: DATABASE, topic: LIVE_TOPIC };
  await runCdrhouse(bench, run, 'migrate');
  const ingest = await startIngest(bench, run);
  const load = new SteadyLoad(servers.kafka, LIVE_TOPIC, LIVE_RATE);
  const used = () => [ingest.usage().cpuSeconds, database.cpuSeconds, cpuSeconds(servers.pids.kafka)];
  await sleep(LIVE_WARM_UP_MS);
  const before = used();
  await sleep(LIVE_SECONDS * 1000);
  const after = used();
  await load.stop();
  await ingest.stop();
  return LIVE.map(({ what }, index) => ({
    name: what,
    unit: 'cores',
    who: OURS,
    case: LIVE_CASE,
    values: [(after[index]! - before[index]!) / LIVE_SECONDS],
  }));
}

/** In the order in which they are asked. */
const LIVE: readonly Omit<LiveUse, 'cores'>[] = [
  { what: 'cores of ingest', input: 'program_us' },
  { what: 'cores of ClickHouse, merges included', input: 'clickhouse_us' },
  { what: 'cores of the broker', input: 'broker_us' },
];

function liveOf(figures: readonly Figure[]): LiveUse[] {
  return LIVE.map((use) => ({
    ...use,
    cores: median(figures.find(({ name }) => name === use.what)!.values),
  }));
}

function predictionsOf(inputs: readonly Input[], figures: readonly Figure[]): Prediction[] {
  const measured = (name: string): number => median(figures.find((figure) => figure.name === name)!.values);
  return predictDay(inputs, CHECKED_LOAD, {
    bytes: measured(DAY_FIGURES.bytes),
    program: measured(DAY_FIGURES.program),
    clickhouse: measured(DAY_FIGURES.clickhouse),
    merges: measured(DAY_FIGURES.merges),
  });
}

/** Writes the tables between their marks; the text around them stays. */
function writeDocument(tables: Readonly<Record<string, string>>): void {
  let text = readFileSync(DOCUMENT, 'utf8');
  for (const [name, table] of Object.entries(tables)) {
    const place = new RegExp(`(<!-- measured: ${name} -->\n)[^]*?(<!-- end -->)`);
    if (!place.test(text)) throw new Error(`docs/capacity.md has no place for ${name}`);
    text = text.replace(place, (_, open: string, close: string) => `${open}${table}\n${close}`);
  }
  writeFileSync(DOCUMENT, text);
  process.stdout.write('written: the tables of docs/capacity.md\n');
}

function finishDay(host: Host, others: readonly SavedResult[], figures: readonly Figure[]): void {
  const settings = { calls: CHECKED_LOAD, packing: 'packed', fsync: 'after each insert' };
  const own = { part: 'capacity', settings, figures, checks: [], held: [], notes: [] };
  const results = [...others, { ...own, at: '', host, others_cores: 0, broken: [] }];
  const inputs = readInputs(results);
  const day = predictionsOf(inputs, figures);
  writeDocument(capacityTables(inputs, day, liveOf(figures)));
  const min = readThresholds().capacity.prediction_ratio_min;
  finishPart(host, {
    ...own,
    checks: [
      {
        what: 'every call of the day is stored',
        who: OURS,
        passed: true,
        detail: `${CHECKED_LOAD} calls`,
      },
    ],
    held: day.map((prediction) => ({
      what: `foretold against measured: ${prediction.what}`,
      value: agreement(prediction),
      min,
    })),
    notes: [
      'The day comes at once, as after an outage. As calls come one by one, fixed costs of batches and of idle programs weigh more than the calls.',
    ],
  });
}

const saved = largestOfEachPart(readResults());
const others = saved.filter(({ part }) => part !== 'capacity');
const missing = missingCommands(others);
if (missing.length > 0) throw new Error(`results are missing; run first: ${missing.join(', ')}`);
if (values['write-only']) {
  const inputs = readInputs(saved);
  const { figures } = saved.find(({ part }) => part === 'capacity')!;
  writeDocument(capacityTables(inputs, predictionsOf(inputs, figures), liveOf(figures)));
} else {
  await withBenchServers(async (bench) => {
    const host = await benchHost(bench);
    finishDay(host, others, [...(await storeDay(bench)), ...(await takeLive(bench))]);
  });
}
