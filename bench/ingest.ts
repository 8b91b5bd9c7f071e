import { parseArgs } from 'node:util';
import { withBenchServers, type BenchServers } from './bench-servers.ts';
import { STORED_SETTINGS } from '../schemas/migrations.ts';
import { runCdrhouse } from './cdrhouse-run.ts';
import { captureBlocks, insertBatches, readTopic, type CapturedBatch } from './floor.ts';
import { IDENTITY_KEY } from './packed-batches.ts';
import { kafkaEngineDone, startKafkaEngine, stopKafkaEngine } from './peers/kafka-engine.ts';
import { cpuSeconds } from './process-usage.ts';
import { benchHost, FIGURES, finishPart, OURS, type Check, type Figure } from './result.ts';
import { groupBy, median, medianAndRange, textTable } from './table.ts';
import { readThresholds } from './thresholds.ts';
import { PACKINGS, sendWorkload, Workload, type Packing } from './workload.ts';
import { wholeNumber } from './whole-number.ts';

/**
 * `make bench-ingest`: CPU a record from Kafka into both tables, of cdrhouse and of ClickHouse's own Kafka table
 * engine, in interleaved rounds on the same records; and the floor, the same blocks inserted from files. CPU is
 * counted until merges are quiet. Exits 1 where a threshold is broken.
 */
const CONSUMERS = [1, 2] as const;
const PROCESSES = [1, 2] as const;

const { values } = parseArgs({
  options: {
    records: { type: 'string', default: '1000000' },
    rounds: { type: 'string', default: '3' },
    days: { type: 'string', default: '7' },
    profile: { type: 'string' },
  },
});
const OPTIONS = {
  records: wholeNumber('records', values.records, 1000, 20_000_000),
  rounds: wholeNumber('rounds', values.rounds, 1, 5),
  days: wholeNumber('days', values.days, 1, 365),
  /** A folder for profiles of node; they cost some CPU themselves. */
  profile: values.profile,
};

/** What one competitor used in one round, CPU and wall in seconds; of cdrhouse from the assignment of partitions on. */
interface Measured {
  readonly who: string;
  readonly packing: Packing;
  readonly round: number;
  readonly seconds: number;
  /** Without what starting and ending the program costs. */
  readonly program: number;
  readonly clickhouse: number;
  /** Of `clickhouse`, what merges used. How many there are depends on the number of parts that were inserted. */
  readonly merges: number;
  readonly broker: number;
  readonly peakBytes: number;
}

/** A workload in Kafka and, encoded, in files; and what the tables must hold in the end. */
interface Prepared {
  readonly bench: BenchServers;
  readonly workload: Workload;
  readonly messages: Record<Packing, number>;
  readonly batches: readonly CapturedBatch[];
  readonly rows: { readonly cdr: number; readonly cdrByNumber: number };
}

interface EndState {
  readonly calls: number;
  readonly ids: number;
  /** Sum of a hash over all columns that do not depend on the place in Kafka or the time. */
  readonly content: string;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

async function prepare(bench: BenchServers): Promise<Prepared> {
  const workload = new Workload(OPTIONS.records, OPTIONS.days);
  const messages: Record<Packing, number> = { packed: 0, single: 0 };
  for (const packing of PACKINGS) {
    await runCdrhouse(bench, { database: 'bench_topics', topic: packing }, 'migrate');
    messages[packing] = await sendWorkload(workload, packing, bench.servers.kafka, packing);
  }
  await bench.database.statement('DROP DATABASE bench_topics SYNC');
  const batches = captureBlocks(bench, workload);
  const rows = {
    cdr: batches.reduce((sum, batch) => sum + batch.cdrRows, 0),
    cdrByNumber: batches.reduce((sum, batch) => sum + batch.cdrByNumberRows, 0),
  };
  if (rows.cdr !== workload.records) throw new Error(`${rows.cdr} of ${workload.records} records are read`);
  return { bench, workload, messages, batches, rows };
}

/** Runs `work` in a migrated database of its own, beside a quiet server. */
async function inDatabase<T>(
  { bench }: Prepared,
  name: string,
  topic: Packing,
  work: () => Promise<T>,
): Promise<T> {
  await runCdrhouse(bench, { database: name, topic }, 'migrate');
  // The same secret in all databases, so that their keys can be compared; the newest value counts.
  await bench.database.statement(
    `INSERT INTO ${name}.settings VALUES ('${STORED_SETTINGS.identityKey}', '${IDENTITY_KEY.toString('hex')}', now64(3) + 1)`,
  );
  try {
    await bench.database.quiet();
    return await work();
  } finally {
    await bench.database.statement(`DROP DATABASE ${name} SYNC`);
  }
}

async function measureCdrhouse(
  prepared: Prepared,
  packing: Packing,
  round: number,
  processes: number,
  start: Start,
): Promise<Measured> {
  const { bench } = prepared;
  const { database, servers } = bench;
  const name = `bench_cdrhouse_${packing}_${round}_${processes}`;
  return inDatabase(prepared, name, packing, async () => {
    const brokerBefore = cpuSeconds(servers.pids.kafka);
    const before = database.cpuSeconds;
    const mergesBefore = database.mergeCpuSeconds;
    const profile = OPTIONS.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${OPTIONS.profile}`];
    const environment = { CDRHOUSE_INGEST_PROCESSES: String(processes) };
    const run = { database: name, topic: packing, nodeOptions: profile, environment };
    const ended = await runCdrhouse(bench, run, 'ingest', '--until-idle');
    const broker = cpuSeconds(servers.pids.kafka) - brokerBefore;
    await database.quiet();
    const quiet = database.cpuSeconds;
    await checkEndState(prepared, name);
    return {
      who: processes === 1 ? 'cdrhouse' : `cdrhouse, ${processes} processes`,
      packing,
      round,
      seconds: ended.assignedSeconds!,
      program: ended.cpuSeconds - start.program * processes,
      clickhouse: quiet - before,
      merges: database.mergeCpuSeconds - mergesBefore,
      broker,
      peakBytes: ended.peakBytes,
    };
  });
}

/** Wall and CPU seconds of starting and ending the program. */
interface Start {
  readonly seconds: number;
  readonly program: number;
}

/** A run with nothing to read. */
async function measureStart(prepared: Prepared): Promise<Start> {
  const topic = 'empty';
  await runCdrhouse(prepared.bench, { database: 'bench_start', topic }, 'migrate');
  const run = { database: 'bench_start', topic };
  const { seconds, cpuSeconds: program } = await runCdrhouse(prepared.bench, run, 'ingest', '--until-idle');
  await prepared.bench.database.statement('DROP DATABASE bench_start SYNC');
  return { seconds, program };
}

async function measurePeer(
  prepared: Prepared,
  packing: Packing,
  round: number,
  consumers: number,
): Promise<Measured> {
  const { database, servers } = prepared.bench;
  const name = `bench_peer_${packing}_${round}_${consumers}`;
  return inDatabase(prepared, name, packing, async () => {
    const brokerBefore = cpuSeconds(servers.pids.kafka);
    const before = database.cpuSeconds;
    const mergesBefore = database.mergeCpuSeconds;
    const began = performance.now();
    await startKafkaEngine(database, { name, brokers: servers.kafka, topic: packing, consumers });
    await kafkaEngineDone(database, name, prepared.rows);
    const seconds = (performance.now() - began) / 1000;
    const broker = cpuSeconds(servers.pids.kafka) - brokerBefore;
    await database.quiet();
    const quiet = database.cpuSeconds;
    await stopKafkaEngine(database, name);
    await checkEndState(prepared, name);
    return {
      who: `Kafka engine, ${consumers} consumer${consumers === 1 ? '' : 's'}`,
      packing,
      round,
      seconds,
      program: 0,
      clickhouse: quiet - before,
      merges: database.mergeCpuSeconds - mergesBefore,
      broker,
      peakBytes: 0,
    };
  });
}

async function measureFloor(prepared: Prepared, round: number): Promise<Measured> {
  const { database } = prepared.bench;
  const name = `bench_floor_${round}`;
  return inDatabase(prepared, name, 'packed', async () => {
    const before = database.cpuSeconds;
    const mergesBefore = database.mergeCpuSeconds;
    const seconds = await insertBatches(database, name, prepared.batches);
    await database.quiet();
    const quiet = database.cpuSeconds;
    await checkEndState(prepared, name);
    return {
      who: 'floor: same blocks from files',
      packing: 'packed' as const,
      round,
      seconds,
      program: 0,
      clickhouse: quiet - before,
      merges: database.mergeCpuSeconds - mergesBefore,
      broker: 0,
      peakBytes: 0,
    };
  });
}

/** The content of the first database that was checked; all others must have the same. */
const contentSeen = new Map<string, string>();

/** Throws where a record is missing, there twice, or not the same as in the databases checked before. */
async function checkEndState({ bench, rows }: Prepared, name: string): Promise<void> {
  for (const [table, key, expected] of [
    ['cdr', 'calling_key', rows.cdr],
    ['cdr_by_number', 'number_key, role', rows.cdrByNumber],
  ] as const) {
    const [state] = await bench.database.rows<EndState>(`
      SELECT count() AS calls, uniqExact(call_id) AS ids, toString(sum(cityHash64(${key}, cdr_key, start_at, calling_number,
        displayed_caller_id, dialed_number, duration_ms, ifNull(talk_ms, 4294967295), outcome, direction, account,
        call_id, feed))) AS content
      FROM ${name}.${table} FINAL`);
    const { calls, ids, content } = state!;
    const first = contentSeen.get(table) ?? content;
    contentSeen.set(table, first);
    if (calls !== expected || ids !== rows.cdr || content !== first) {
      throw new Error(
        `${name}.${table}: ${calls} rows of ${expected}, ${ids} calls of ${rows.cdr}` +
          (content === first ? '' : ', and a record is not what it is elsewhere'),
      );
    }
  }
}

async function measureAll(prepared: Prepared, start: Start): Promise<Measured[]> {
  const measured: Measured[] = [];
  const add = (one: Measured): void => {
    measured.push(one);
    const total = microseconds(cpu(one));
    say(`  round ${one.round}, ${one.packing}: ${one.who}: ${total.toFixed(2)} us CPU a record`);
  };
  for (let round = 1; round <= OPTIONS.rounds; round++) {
    for (const packing of PACKINGS) {
      for (const processes of PROCESSES)
        add(await measureCdrhouse(prepared, packing, round, processes, start));
      for (const consumers of CONSUMERS) add(await measurePeer(prepared, packing, round, consumers));
    }
    add(await measureFloor(prepared, round));
  }
  return measured;
}

function microseconds(seconds: number): number {
  return (seconds / OPTIONS.records) * 1e6;
}

function cpuTable(measured: readonly Measured[]): string {
  const groups = groupBy(measured, (one) => `${one.packing}: ${one.who}`);
  const shown = (list: readonly Measured[], value: (one: Measured) => number): string =>
    medianAndRange(list.map((one) => microseconds(value(one))));
  return textTable(
    [
      'us CPU a record, median (range)',
      'program',
      'ClickHouse',
      'of it merges',
      'both',
      'broker',
      'records/s',
    ],
    [...groups].map(([name, list]) => [
      name,
      shown(list, (one) => one.program),
      shown(list, (one) => one.clickhouse),
      shown(list, (one) => one.merges),
      shown(list, cpu),
      shown(list, (one) => one.broker),
      medianAndRange(
        list.map((one) => OPTIONS.records / one.seconds),
        0,
      ),
    ]),
  );
}

function cpu(one: Measured): number {
  return one.program + one.clickhouse;
}

function cpuWithoutMerges(one: Measured): number {
  return cpu(one) - one.merges;
}

/** Per round: what cdrhouse and ClickHouse use against what the better peer of the round does. */
function ratios(
  measured: readonly Measured[],
  packing: Packing,
  used: (one: Measured) => number = cpu,
): number[] {
  return Array.from({ length: OPTIONS.rounds }, (_, index) => {
    const ofRound = measured.filter((one) => one.packing === packing && one.round === index + 1);
    const ours = ofRound.find(({ who }) => who === 'cdrhouse')!;
    const peers = ofRound.filter(({ who }) => who.startsWith('Kafka engine'));
    return used(ours) / Math.min(...peers.map(used));
  });
}

/** Per round: end-to-end rate on the packed topic, from the assignment of partitions to the end of the program, against the floor's. */
function floorShares(measured: readonly Measured[]): number[] {
  const wall = (isMeant: (who: string) => boolean): number[] =>
    measured.filter((one) => one.packing === 'packed' && isMeant(one.who)).map((one) => one.seconds);
  const ours = wall((who) => who === 'cdrhouse');
  return wall((who) => who.startsWith('floor')).map((floor, round) => floor / ours[round]!);
}

/** One figure a competitor and topic, with a value a round. */
function figuresOf(measured: readonly Measured[]): Figure[] {
  const figures: Figure[] = [];
  for (const list of groupBy(measured, (one) => `${one.packing}: ${one.who}`).values()) {
    const { who, packing } = list[0]!;
    const add = (name: string, unit: string, value: (one: Measured) => number): void => {
      const values = list.map(value);
      if (values.some((found) => found !== 0)) figures.push({ name, unit, who, case: packing, values });
    };
    add(FIGURES.cpu, 'us', (one) => microseconds(cpu(one)));
    add(FIGURES.programCpu, 'us', (one) => microseconds(one.program));
    add(FIGURES.clickhouseCpu, 'us', (one) => microseconds(one.clickhouse));
    add(FIGURES.mergesCpu, 'us', (one) => microseconds(one.merges));
    add(FIGURES.brokerCpu, 'us', (one) => microseconds(one.broker));
    add(FIGURES.rate, '1/s', (one) => OPTIONS.records / one.seconds);
    add(FIGURES.peakMemory, 'MB', (one) => one.peakBytes / 2 ** 20);
  }
  return figures;
}

/** `checkEndState` has thrown where this is not so. */
function checksOf(measured: readonly Measured[]): Check[] {
  return [...groupBy(measured, ({ who }) => who).keys()].map((who) => ({
    what: 'every record once, in both tables, the same as all others have it',
    who,
    passed: true,
    detail: 'lost 0, twice 0, altered 0',
  }));
}

await withBenchServers(async (bench) => {
  const host = await benchHost(bench);
  const prepared = await prepare(bench);
  const { workload, messages } = prepared;
  say(
    `${workload.records} records of ${Math.round(workload.bytes / workload.records)} bytes over ${OPTIONS.days} days; ` +
      `${messages.packed} packed and ${messages.single} single messages in 4 partitions; ${OPTIONS.rounds} rounds`,
  );
  say(`fsync after each insert for all; ${host.cores} cores carry broker, database and program`);
  const start = await measureStart(prepared);
  const measured = await measureAll(prepared, start);
  const reads = [];
  for (const packing of PACKINGS) {
    const read = await readTopic(bench.servers.kafka, 'bench_read', packing, messages[packing]);
    reads.push({ packing, ...read });
  }

  say(`\n${cpuTable(measured)}`);
  say(
    `start and end of a process, not counted above: ${start.program.toFixed(2)} s CPU in ${start.seconds.toFixed(2)} s`,
  );
  for (const { packing, seconds, cpuSeconds: used } of reads) {
    say(
      `Kafka read without parsing, ${packing}: ${microseconds(used).toFixed(2)} us CPU a record, ${Math.round(workload.records / seconds)} records/s`,
    );
  }
  const packed = ratios(measured, 'packed');
  const single = ratios(measured, 'single');
  const shares = floorShares(measured);
  const peakMegabytes = Math.max(...measured.map(({ peakBytes }) => peakBytes)) / 2 ** 20;
  for (const [packing, list] of [
    ['packed', packed],
    ['single', single],
  ] as const) {
    const bare = medianAndRange(ratios(measured, packing, cpuWithoutMerges));
    say(
      `CPU of cdrhouse + ClickHouse against the better peer: ${packing} ${medianAndRange(list)}; without merges ${bare}`,
    );
  }
  say(
    `end to end, from the assignment of partitions to the end of the program, against the floor: packed ${medianAndRange(shares)}`,
  );
  say(`peak resident memory of cdrhouse: ${peakMegabytes.toFixed(0)} MB`);

  const limits = readThresholds();
  const figure = (name: string, packing: Packing, ratio: readonly number[]): Figure => {
    return { name, unit: '', who: OURS, case: packing, values: ratio };
  };
  finishPart(host, {
    part: 'ingest',
    settings: {
      ...OPTIONS,
      bytes_a_record: Math.round(workload.bytes / workload.records),
      messages,
      order: 'as calls end: number keys are in no order',
      fsync: 'after each insert',
      merges: 'counted until none has run for 2 s',
      start_of_program: start,
    },
    figures: [
      ...figuresOf(measured),
      ...reads.map(({ packing, cpuSeconds: used }) => ({
        name: FIGURES.cpu,
        unit: 'us',
        who: 'floor: Kafka read without parsing',
        case: packing,
        values: [microseconds(used)],
      })),
      figure(FIGURES.peerRatio, 'packed', packed),
      figure(FIGURES.peerRatio, 'single', single),
      figure(FIGURES.floorShare, 'packed', shares),
    ],
    checks: checksOf(measured),
    held: [
      { what: 'CPU ratio, packed', value: median(packed), max: limits.packed_cpu_ratio_max },
      { what: 'CPU ratio, single', value: median(single), max: limits.single_cpu_ratio_max },
      { what: 'share of the floor', value: median(shares), min: limits.share_of_floor_min },
      { what: 'peak memory in MB', value: peakMegabytes, max: limits.peak_memory_megabytes_max },
    ],
    notes: [
      'Start and end of each process are not counted; the end state of each run is compared by a hash over all columns.',
    ],
  });
});
