import { parseArgs } from 'node:util';
import { COMPRESSION } from '../ingest/ship/producer.ts';
import { checkSettings } from '../schemas/settings.ts';
import { withBenchServers, type BenchServers } from './bench-servers.ts';
import type { StartCost } from './cdrhouse-competitor.ts';
import { EndStates } from './end-state.ts';
import { readTopic } from './floor.ts';
import { entriesOf, INGEST_CASES, sendCase, Workloads, type Entry, type SentCase } from './ingest-cases.ts';
import { costTable, figuresOf, ratioFigures, ratioLines, ratiosHeld, ratiosOf } from './ingest-report.ts';
import { cpuToStored, IngestRuns, measureStart, microseconds, type Measured } from './ingest-run.ts';
import { outsideOption, OUTSIDE_OPTIONS } from './peers/outside-option.ts';
import { benchHost, FIGURES, finishPart, OURS, type Figure } from './result.ts';
import { say } from './say.ts';
import { groupBy } from './table.ts';
import { readThresholds, type Held } from './thresholds.ts';
import { wholeNumber } from './whole-number.ts';

/**
 * `make bench-ingest`: CPU a record from Kafka into ClickHouse, of cdrhouse and of its peers, in interleaved rounds on the
 * same records; and the floor, the same blocks inserted from files. Merging is counted apart. Exits 1 where a
 * threshold is broken.
 */
const { values } = parseArgs({
  options: {
    records: { type: 'string', default: '3000000' },
    rounds: { type: 'string', default: '5' },
    days: { type: 'string', default: '7' },
    /** Names with commas between them. */
    cases: { type: 'string', default: INGEST_CASES.map(({ name }) => name).join(',') },
    /** Only those whose name has this in it. */
    only: { type: 'string', default: '' },
    /** What otherwise runs in the first round only runs in all of them. */
    'all-rounds': { type: 'boolean', default: false },
    profile: { type: 'string' },
    ...OUTSIDE_OPTIONS,
  },
});
const OPTIONS = {
  records: wholeNumber('records', values.records, 1000, 20_000_000),
  rounds: wholeNumber('rounds', values.rounds, 1, 9),
  days: wholeNumber('days', values.days, 1, 365),
};
const OUTSIDE = outsideOption(values);
const CASES = values.cases.split(',').map((wanted) => {
  const found = INGEST_CASES.find(({ name }) => name === wanted);
  if (found === undefined)
    throw new RangeError(`--cases: allowed are ${INGEST_CASES.map(({ name }) => name).join(', ')}`);
  return found;
});

function percent(share: number): string {
  return `${(share * 100).toFixed(0)} %`;
}

async function sendAll(bench: BenchServers): Promise<SentCase[]> {
  const sent: SentCase[] = [];
  const workloads = new Workloads();
  for (const one of CASES) {
    const whole = await sendCase(bench, workloads, one, OPTIONS.records, OPTIONS.days);
    sent.push(whole);
    const { facts, messages } = whole;
    say(
      `${one.name}: ${one.about}; ${facts.records} records of ${Math.round(facts.bytes / facts.records)} bytes over ${OPTIONS.days} days, ` +
        `${facts.rows.cdr} calls, ${messages} messages in 4 partitions; as calls end: against the record before, the calling ` +
        `number falls in ${percent(facts.order.callingNumberFalls)} of the records, the start in ${percent(facts.order.startFalls)}`,
    );
  }
  return sent;
}

function entries(sent: SentCase, startCost: StartCost): readonly Entry[] {
  return entriesOf(sent.of, startCost, OUTSIDE, values.profile).filter(({ competitor }) =>
    competitor.name.includes(values.only),
  );
}

function saySettings(sent: readonly SentCase[], startCost: StartCost): Record<string, string> {
  const settings = new Map(
    sent.flatMap((one) =>
      entries(one, startCost).map(({ competitor }) => [competitor.name, competitor.settings] as const),
    ),
  );
  for (const [who, about] of settings) say(`${who}: ${about}`);
  return Object.fromEntries(settings);
}

async function measureAll(
  bench: BenchServers,
  sent: readonly SentCase[],
  startCost: StartCost,
): Promise<Measured[]> {
  const runs = new IngestRuns(bench, new EndStates());
  const measured: Measured[] = [];
  // The first run of all would pay for the servers' cold caches and code.
  const cold = sent[0]!;
  const first = entries(cold, startCost)[0];
  if (first !== undefined) await runs.competitor(cold, 0, first.competitor);
  const add = (one: Measured): void => {
    measured.push(one);
    const used = microseconds(one, cpuToStored(one)).toFixed(2);
    say(`  round ${one.round}, ${one.case}: ${one.who}: ${used} us CPU a record; ${one.check.detail}`);
  };
  for (let round = 1; round <= OPTIONS.rounds; round++) {
    for (const one of sent) {
      for (const { competitor, rounds, records } of entries(one, startCost)) {
        if (round > 1 && rounds === 'first' && !values['all-rounds']) continue;
        add(await runs.competitor(records === 'few' ? one.few! : one, round, competitor));
      }
      if (one.blocks.length > 0) add(await runs.floor(one, round));
    }
  }
  return measured;
}

/** Reading alone: what no consumer can be cheaper than. */
async function readAlone(bench: BenchServers, sent: readonly SentCase[]): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const { of, topic, facts, messages } of sent.filter(({ of: { name } }) => name !== 'dedup')) {
    const read = await readTopic(bench.servers.kafka, 'bench_read', topic, messages);
    const used = (read.cpuSeconds / facts.records) * 1e6;
    const rate = facts.records / read.seconds;
    say(
      `Kafka read without parsing, ${of.name}: ${used.toFixed(2)} us CPU a record, ${rate.toFixed(0)} records/s`,
    );
    const who = 'floor: Kafka read without parsing';
    figures.push(
      { name: FIGURES.cpu, unit: 'us', who, case: of.name, values: [used] },
      { name: FIGURES.rate, unit: '1/s', who, case: of.name, values: [rate] },
    );
  }
  return figures;
}

function peakMegabytes(measured: readonly Measured[]): number {
  return Math.max(...measured.filter(({ who }) => who === OURS).map(({ peakBytes }) => peakBytes)) / 2 ** 20;
}

/** Peak memory of one process, where one ran. */
function memoryHeld(measured: readonly Measured[]): Held[] {
  if (!measured.some(({ who }) => who === OURS)) return [];
  const max = readThresholds().ingest_peak_memory_megabytes_max;
  return [{ what: 'peak memory of cdrhouse, MB', value: peakMegabytes(measured), max }];
}

await withBenchServers(async (bench) => {
  const host = await benchHost(bench);
  say(
    `${OPTIONS.rounds} rounds; ${host.cores} cores carry broker, database and program; every table has fsync after each insert; ` +
      'ClickHouse merges nothing while a record is stored, and afterwards each month to one part, whose CPU is shown apart',
  );
  const sent = await sendAll(bench);
  const startCost = await measureStart(bench);
  const settings = saySettings(sent, startCost);
  const reads = await readAlone(bench, sent);
  const measured = await measureAll(bench, sent, startCost);
  say(`\n${costTable(measured)}`);
  say(
    `start and end of a process, not counted above: ${startCost.cpuSeconds.toFixed(2)} s CPU in ${startCost.seconds.toFixed(2)} s`,
  );
  const ratios = ratiosOf(
    measured,
    sent.map(({ of }) => of.name),
  );
  for (const line of ratioLines(ratios)) say(line);
  const memory = peakMegabytes(measured);
  if (memory > 0) say(`peak resident memory of cdrhouse: ${memory.toFixed(0)} MB`);

  finishPart(host, {
    part: 'ingest',
    settings: {
      ...OPTIONS,
      cases: Object.fromEntries(
        sent.map(({ of, facts, messages }) => [of.name, { about: of.about, ...facts, messages }]),
      ),
      competitors: settings,
      topics: `${checkSettings({}).kafka.topic_partitions} partitions each, messages compressed with ${COMPRESSION}`,
      fsync: 'after each insert, all tables',
      merges: 'none while records are stored, then each month to one part',
      start_of_program: startCost,
    },
    figures: [...figuresOf(measured), ...reads, ...ratioFigures(ratios)],
    // Of several rounds the one that failed says more.
    checks: [...groupBy(measured, ({ check }) => `${check.who}: ${check.what}`).values()].map(
      (list) => (list.find(({ check }) => !check.passed) ?? list[0]!).check,
    ),
    held: [...ratiosHeld(ratios, readThresholds()), ...memoryHeld(measured)],
    notes: [
      'A ratio is taken within each round in which both ran. It is no quotient of the medians, and medians of columns do not add up.',
      'Records a second count from the moment at which a competitor has its partitions, until it has committed them all (a look every 100 ms) or, of cdrhouse, until its program has ended; those of an outside tool from its start. The last block of the Kafka engine waits a quarter of a second for more.',
      'CPU a record is that until it is stored. How often ClickHouse then writes it anew depends on months of other records; once is the least, and is counted apart: all parts of a month into one.',
      'Start and end of each process are not counted, except those of an outside tool.',
      ...(values['all-rounds'] || OPTIONS.rounds === 1
        ? []
        : [
            'What runs in the first round only, and has no range: 2 processes, 2 consumers, one table, asterisk, dedup. --all-rounds has all of it in each.',
          ]),
      'The naive consumer reads a fifth of the records.',
      'One table has neither number keys nor record keys: it stores a record that comes again twice.',
      'The statements of the Kafka engine are in bench/peers/kafka-engine-sql.ts, the naive consumer is bench/peers/naive-node.ts.',
    ],
  });
});
