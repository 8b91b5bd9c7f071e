import { parseArgs } from 'node:util';
import {
  answer,
  ask,
  checkFound,
  closedMonth,
  fill,
  QUESTIONS,
  Rounds,
  serve,
  storedSizes,
  timed,
  usagePath,
  type Asked,
  type Question,
} from './asked.ts';
import { withBenchServers, type BenchServers } from './bench-servers.ts';
import { runCdrhouse } from './cdrhouse-run.ts';
import { fittedExponent } from './exponent.ts';
import { peakMemoryBytes } from './process-usage.ts';
import { benchHost, EXPONENT, FIGURES, finishPart, OURS, type Figure } from './result.ts';
import { median, textTable } from './table.ts';
import { readThresholds, type Held } from './thresholds.ts';
import { sendWorkload, Workload } from './workload.ts';
import { wholeNumber } from './whole-number.ts';

/**
 * `make bench-growth`: what grows with the number of stored calls: the CPU of a record that is stored on top of them,
 * look-ups, usage, memory, bytes on disk; each with the exponent that fits best. All sizes stand in one server, and
 * take turns. Exits 1 where an exponent is above its threshold.
 */
const { values } = parseArgs({
  options: {
    calls: { type: 'string', default: '1000000,5000000,20000000,50000000' },
    records: { type: 'string', default: '500000' },
    months: { type: 'string', default: '13' },
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '5' },
    connections: { type: 'string', default: '4' },
  },
});
const OPTIONS = {
  /** Stored calls of each size. */
  calls: values.calls.split(',').map((size) => wholeNumber('calls', size, 100_000, 200_000_000)),
  /** Stored on top of each size, in each round. */
  records: wholeNumber('records', values.records, 1000, 5_000_000),
  months: wholeNumber('months', values.months, 2, 35),
  rounds: wholeNumber('rounds', values.rounds, 1, 9),
  seconds: wholeNumber('seconds', values.seconds, 1, 600),
  connections: wholeNumber('connections', values.connections, 1, 100),
};
if (new Set(OPTIONS.calls).size < 2) throw new RangeError('--calls: at least two sizes, with commas');

/** Each round's records are of days of their own in the newest month, so that none is there already. */
const DAYS_A_ROUND = 3;
const DAY_MS = 86_400_000;
const EMPTY_TOPIC = 'growth-empty';
const topicOf = (round: number): string => `growth-${round}`;
const databaseOf = (calls: number): string => `cdrhouse_${calls}`;

/** What is measured at each size. */
interface Curve extends Pick<Figure, 'name' | 'unit' | 'case'> {
  readonly digits: number;
}

const STORED = 'stored on top of the calls';
const LOOK_UP = 'a number, any role, one month';
const USAGE_OF_ONE = 'usage of one number, one month';
const CURVES = {
  ingest: { name: FIGURES.cpu, unit: 'us', case: `${STORED}, without merges`, digits: 2 },
  start: { name: 'CPU of starting ingest', unit: 's', case: 'nothing to read', digits: 2 },
  ingestMemory: { name: FIGURES.peakMemory, unit: 'MB', case: 'ingest', digits: 0 },
  lookUp: { name: 'answer, p50', unit: 'ms', case: LOOK_UP, digits: 1 },
  lookUpP99: { name: 'answer, p99', unit: 'ms', case: LOOK_UP, digits: 1 },
  usageOfOne: { name: 'answer, p50', unit: 'ms', case: USAGE_OF_ONE, digits: 1 },
  usageOfAll: { name: 'answer', unit: 'ms', case: 'usage of all numbers, one month', digits: 0 },
  serveMemory: { name: FIGURES.peakMemory, unit: 'MB', case: 'serve', digits: 0 },
  bytes: { name: FIGURES.bytesACall, unit: 'bytes', case: 'cdr', digits: 1 },
  bytesByNumber: { name: FIGURES.bytesACall, unit: 'bytes', case: 'cdr_by_number', digits: 1 },
  keyBytes: { name: FIGURES.keyBytesACall, unit: 'bytes', case: 'both tables', digits: 4 },
} satisfies Record<string, Curve>;
type CurveName = keyof typeof CURVES;

/** Values by curve and size, one a round. */
class Measured {
  readonly #values = new Map<CurveName, Map<number, number[]>>();

  add(curve: CurveName, calls: number, value: number): void {
    const sizes = this.#values.get(curve) ?? new Map<number, number[]>();
    this.#values.set(curve, sizes);
    sizes.set(calls, [...(sizes.get(calls) ?? []), value]);
  }

  medianAt(curve: CurveName, calls: number): number {
    return median(this.#values.get(curve)?.get(calls) ?? []);
  }

  exponent(curve: CurveName): number {
    return fittedExponent(OPTIONS.calls.map((size) => ({ size, value: this.medianAt(curve, size) })));
  }

  figures(): Figure[] {
    return [...this.#values].flatMap(([curve, sizes]) => {
      const { name, unit, case: of } = CURVES[curve];
      const figure = { who: OURS, case: of };
      return [
        ...[...sizes].map(([calls, list]) => ({ ...figure, name, unit, values: list, calls })),
        { ...figure, name: `${EXPONENT}${name}`, unit: '', values: [this.exponent(curve)] },
      ];
    });
  }

  table(): string {
    return textTable(
      ['stored calls', ...OPTIONS.calls.map((calls) => calls.toLocaleString('en')), 'exponent'],
      [...this.#values.keys()].map((curve) => {
        const { name, unit, case: of, digits } = CURVES[curve];
        const shown = OPTIONS.calls.map((calls) => this.medianAt(curve, calls).toFixed(digits));
        return [`${of}: ${name}, ${unit}`, ...shown, this.exponent(curve).toFixed(2)];
      }),
    );
  }
}

/** Rounds of the questions, all sizes in turn; the first one is not measured. */
async function measureQuestions(sizes: readonly Asked[], measured: Measured): Promise<void> {
  const { seconds, connections } = OPTIONS;
  const percentiles = async (asked: Asked, question: Question, at: number) => {
    const round = new Rounds(seconds);
    round.add(await ask(asked, question, { connections: at, seconds }));
    return round.latency();
  };
  for (let round = 0; round <= OPTIONS.rounds; round++) {
    for (const asked of sizes) {
      const lookUp = await percentiles(asked, QUESTIONS.number, connections);
      const usageOfOne = await percentiles(asked, QUESTIONS.usageOfOne, 1);
      const path = usagePath(closedMonth(asked.stored));
      const usageOfAll = await timed(async () => (await answer(asked, path)).arrayBuffer());
      if (round === 0) continue;
      const { calls } = asked.stored;
      measured.add('lookUp', calls, lookUp.p50);
      measured.add('lookUpP99', calls, lookUp.p99);
      measured.add('usageOfOne', calls, usageOfOne.p50);
      measured.add('usageOfAll', calls, usageOfAll.seconds * 1000);
    }
  }
  for (const { stored, served } of sizes)
    measured.add('serveMemory', stored.calls, (peakMemoryBytes(served.pid) ?? Number.NaN) / 2 ** 20);
}

/** Sends the records of each round to a topic of its own. */
async function sendRounds(bench: BenchServers, newestMonthMs: number): Promise<void> {
  await runCdrhouse(bench, { database: 'bench_topics', topic: EMPTY_TOPIC }, 'migrate');
  for (let round = 1; round <= OPTIONS.rounds; round++) {
    const from = newestMonthMs + (round - 1) * DAYS_A_ROUND * DAY_MS;
    const workload = new Workload(OPTIONS.records, DAYS_A_ROUND, { from });
    await runCdrhouse(bench, { database: 'bench_topics', topic: topicOf(round) }, 'migrate');
    await sendWorkload(workload, 'packed', bench.servers.kafka, topicOf(round));
  }
  await bench.database.statement('DROP DATABASE bench_topics SYNC');
}

/** One run of ingest onto the calls of a database, in a group of its own: one that was left just now still has the topic of then. */
function ingest(bench: BenchServers, database: string, topic: string, round: number) {
  const environment = { CDRHOUSE_KAFKA_GROUP: `${database}-${topic}-${round}` };
  return runCdrhouse(bench, { database, topic, environment }, 'ingest', '--until-idle');
}

async function measureIngest(bench: BenchServers, calls: number, round: number, measured: Measured) {
  const { database } = bench;
  const name = databaseOf(calls);
  const start = await ingest(bench, name, EMPTY_TOPIC, round);
  await database.quiet();
  const before = database.cpuSeconds;
  const mergesBefore = database.mergeCpuSeconds;
  const ended = await ingest(bench, name, topicOf(round), round);
  await database.quiet();
  const { stored } = JSON.parse(ended.stdout) as { stored: number };
  if (stored !== OPTIONS.records)
    throw new Error(`${name}: ${stored} of ${OPTIONS.records} records are stored`);
  const [row] = await database.rows<{ calls: number }>(`SELECT count() AS calls FROM ${name}.cdr FINAL`);
  const expected = calls + round * OPTIONS.records;
  if (row!.calls !== expected) throw new Error(`${name}: ${row!.calls} calls of ${expected}`);
  const merges = database.mergeCpuSeconds - mergesBefore;
  const used = ended.cpuSeconds - start.cpuSeconds + database.cpuSeconds - before;
  measured.add('ingest', calls, ((used - merges) / OPTIONS.records) * 1e6);
  measured.add('start', calls, start.cpuSeconds);
  measured.add('ingestMemory', calls, ended.peakBytes / 2 ** 20);
}

async function measureSizes(bench: BenchServers, measured: Measured): Promise<void> {
  for (const calls of OPTIONS.calls) {
    const name = databaseOf(calls);
    // A part's keys are in memory from the first question on that it could answer.
    await bench.database.statement(`SELECT count() FROM ${name}.cdr WHERE calling_key = 1`);
    await bench.database.statement(`SELECT count() FROM ${name}.cdr_by_number WHERE number_key = 1`);
    const sizes = await storedSizes(bench, name);
    for (const { table, bytes } of sizes)
      measured.add(table === 'cdr' ? 'bytes' : 'bytesByNumber', calls, bytes / calls);
    measured.add('keyBytes', calls, sizes.reduce((sum, { keyBytes }) => sum + keyBytes, 0) / calls);
  }
}

function thresholds(measured: Measured): Held[] {
  const limits = readThresholds().growth;
  const held = (curve: CurveName, max: number): Held => {
    const { name, case: of } = CURVES[curve];
    return { what: `exponent of: ${name}, ${of}`, value: measured.exponent(curve), max };
  };
  return [
    held('ingest', limits.ingest_without_merges_exponent_max),
    held('lookUp', limits.look_up_exponent_max),
    held('usageOfOne', limits.usage_of_one_exponent_max),
    held('usageOfAll', limits.usage_of_all_exponent_max),
    held('ingestMemory', limits.memory_exponent_max),
    held('serveMemory', limits.memory_exponent_max),
  ];
}

const SERVERS = { databases: OPTIONS.calls.map(databaseOf) };

await withBenchServers(async (bench) => {
  const host = await benchHost(bench);
  const measured = new Measured();
  const sizes: Asked[] = [];
  try {
    for (const calls of OPTIONS.calls) {
      const name = databaseOf(calls);
      sizes.push(await serve(bench, name, await fill(bench, name, calls, OPTIONS.months)));
    }
    await bench.database.quiet();
    for (const asked of sizes) await checkFound(bench, asked);
    await measureQuestions(sizes, measured);
    await measureSizes(bench, measured);
  } finally {
    for (const { served } of sizes) await served.stop();
  }
  await sendRounds(bench, sizes[0]!.stored.monthStarts.at(-2)!);
  for (let round = 1; round <= OPTIONS.rounds; round++)
    for (const calls of OPTIONS.calls) await measureIngest(bench, calls, round, measured);

  process.stdout.write(`${measured.table()}\n`);
  finishPart(host, {
    part: 'growth',
    settings: { ...OPTIONS, fsync: 'after each insert', merges: 'as they come, not counted' },
    figures: measured.figures(),
    checks: [
      {
        what: 'every record once, on top of the calls',
        who: OURS,
        passed: true,
        detail: 'lost 0, twice 0, at each size and round',
      },
      {
        what: 'as many calls of a number as a scan finds',
        who: OURS,
        passed: true,
        detail: 'numbers drawn at random, at each size',
      },
    ],
    held: thresholds(measured),
    notes: [
      'ClickHouse makes the stored calls itself, in the keys of the program. A number has as many of them whatever the size, so that the answers are equally long.',
      'Usage of all numbers of a month reads all of its calls: an exponent of 1 is right for it.',
    ],
  });
}, SERVERS);
