import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { withBenchServers, type BenchServers } from './bench-servers.ts';
import { cdrhouse } from './cdrhouse-competitor.ts';
import type { Competitor, Place, Reading } from './competitor.ts';
import { badIdsIn, CONTENT_SQL, deliveryRecords, type DeliveryRecords } from './delivery-records.ts';
import { byKind, judge, type StoredRow, type Verdict } from './delivery-verdict.ts';
import { makeTopic } from './ingest-cases.ts';
import { kafkaEngine, minimumKafkaEngine } from './peers/kafka-engine.ts';
import { outsideOption, OUTSIDE_OPTIONS } from './peers/outside-option.ts';
import { naiveNode, outsideTool } from './peers/program-peers.ts';
import { benchHost, finishPart, isOurs, type Check } from './result.ts';
import { textTable } from './table.ts';
import type { Held } from './thresholds.ts';
import { wholeNumber } from './whole-number.ts';
import { sendMessages, type Packing } from './workload.ts';

/**
 * `make bench-delivery`: what becomes of each record, by id, where 1 % of the input is bad and the reader is killed with
 * `kill -9` in the middle: cdrhouse and its peers, each from the same topic. Exits 1 where cdrhouse loses, doubles or
 * changes a record, or does not get to the end. What others do is a finding.
 */
const { values } = parseArgs({
  options: {
    records: { type: 'string', default: '100000' },
    /** `single`: one record a message; `packed`: as `cdrhouse ship` sends them. */
    packing: { type: 'string', default: 'single' },
    /** Only those whose name has this in it. */
    only: { type: 'string', default: '' },
    ...OUTSIDE_OPTIONS,
  },
});
const RECORDS = wholeNumber('records', values.records, 10_000, 5_000_000);
const PACKING = values.packing as Packing;
if (!['single', 'packed'].includes(PACKING)) throw new RangeError('--packing: allowed are single, packed');
const OUTSIDE = outsideOption(values);
const COMPETITORS: readonly Competitor[] = [
  cdrhouse(1),
  naiveNode(),
  naiveNode(true),
  ...(OUTSIDE === undefined ? [] : [outsideTool(OUTSIDE)]),
  kafkaEngine(1),
  minimumKafkaEngine(1),
  minimumKafkaEngine(1, true),
];
/** Small batches, so that the kill falls between many. */
const BATCH_RECORDS = Math.round(RECORDS / 20);
/** Lines of a packed message. */
const PACKED_LINES = 100;
const TOPIC = 'delivery';

/**
 * The kill comes at the first rows that appear when at least so much of the topic is stored. One kill is one moment of many, and
 * each costs the peers 45 s, for which Kafka waits for a dead member: they have one, cdrhouse has several.
 */
const KILL_AT_SHARE = 0.3;
const OUR_KILLS_AT_SHARES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8];
const KILL_LOOK_MS = 1;
/** Where nothing more appears, the kill comes now. */
const NOTHING_APPEARS_MS = 10_000;
/**
 * Beyond the 45 s for which Kafka waits for a dead member by default: where nothing happens for so long, the reader does not
 * get through.
 */
const STALLED_MS = 75_000;
const LOOK_MS = 300;
const RESTART_PAUSE_MS = 1000;
const STILL_MS = 3000;
const WORDS_MAX = 400;

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** A competitor that is being tried. */
interface Trial {
  readonly competitor: Competitor;
  readonly place: Place;
  /** Undefined while its program is away. */
  reading: Reading | undefined;
  /** How often it was killed, and rows in `cdr` at the last time. */
  kills: number;
  killedAt: number;
  /** How often its program ended by itself, and what it said last. */
  crashes: number;
  lastWords: string;
}

/** How a trial ended. */
interface Outcome {
  readonly trial: Trial;
  readonly verdict: Verdict;
  /** Messages that were never read. */
  readonly left: number;
}

async function storedRows({ competitor, place }: Trial): Promise<number> {
  const [count] = await place.bench.database.rows<{ rows: number }>(
    `SELECT count() AS rows FROM ${place.database}.${competitor.store.tables[0]!}`,
  );
  return count!.rows;
}

async function begin(bench: BenchServers, competitor: Competitor, index: number): Promise<Trial> {
  const place: Place = {
    bench,
    topic: TOPIC,
    format: 'canonical-csv',
    database: `bench_delivery_${index}`,
    calls: RECORDS - RECORDS / 100,
    batchRecords: PACKING === 'packed' ? Math.round(BATCH_RECORDS / PACKED_LINES) : BATCH_RECORDS,
  };
  await competitor.store.prepare(place);
  const trial: Trial = {
    competitor,
    place,
    reading: undefined,
    kills: 0,
    killedAt: 0,
    crashes: 0,
    lastWords: '',
  };
  await startAgain(trial);
  return trial;
}

/** Starts its program; one that ends before it is ready has crashed. */
async function startAgain(trial: Trial): Promise<void> {
  try {
    trial.reading = await trial.competitor.start(trial.place);
  } catch (error) {
    trial.crashes++;
    trial.reading = undefined;
    trial.lastWords = (error as Error).message;
  }
}

/** Waits until rows have just appeared in one of them, with enough stored before: the worst moment for a kill. */
async function untilRowsAppear(trials: readonly Trial[], share: number): Promise<void> {
  const before = await Promise.all(trials.map(storedRows));
  let appearedAt = performance.now();
  for (;;) {
    for (const [index, trial] of trials.entries()) {
      trial.killedAt = await storedRows(trial);
      if (trial.killedAt === before[index]) continue;
      if (trial.killedAt >= RECORDS * share) return;
      before[index] = trial.killedAt;
      appearedAt = performance.now();
    }
    if (performance.now() - appearedAt > NOTHING_APPEARS_MS) return;
    await sleep(KILL_LOOK_MS);
  }
}

/** Keeps it running, as a supervisor does, until all is read or nothing happens any more. Gives what is left. */
async function untilEnd(trial: Trial): Promise<number> {
  const { competitor, place } = trial;
  let before = '';
  let changedAt = performance.now();
  for (;;) {
    const left = await competitor.left(place);
    if (left === 0) return 0;
    const now = `${left} ${await storedRows(trial)}`;
    if (now !== before) changedAt = performance.now();
    before = now;
    if (performance.now() - changedAt > STALLED_MS) return left;
    if (trial.reading === undefined || !trial.reading.isRunning()) {
      if (trial.reading !== undefined) {
        trial.crashes++;
        trial.lastWords = await trial.reading.lastWords();
      }
      await sleep(RESTART_PAUSE_MS);
      await startAgain(trial);
    }
    await sleep(LOOK_MS);
  }
}

/** A tool that has enough rows may be about to store more. */
async function untilStill(trial: Trial): Promise<void> {
  let before = -1;
  for (let rows = await storedRows(trial); rows !== before; rows = await storedRows(trial)) {
    before = rows;
    await sleep(STILL_MS);
  }
}

async function finish(trial: Trial, records: DeliveryRecords): Promise<Outcome> {
  const left = await untilEnd(trial);
  await untilStill(trial);
  if (left > 0 && trial.crashes === 0 && trial.reading !== undefined)
    trial.lastWords = await trial.reading.lastWords();
  await trial.reading?.stop();
  const { store } = trial.competitor;
  const { bench, database } = trial.place;
  const tables: StoredRow[][] = [];
  for (const table of store.tables) {
    tables.push(
      await bench.database.rows<StoredRow>(
        `SELECT call_id AS id, ${CONTENT_SQL} AS content FROM ${database}.${table} ${store.final} WHERE ${store.oneRow[table]!}`,
      ),
    );
  }
  const aside =
    store.name === 'both tables'
      ? await bench.database.rows<{ raw: string }>(`SELECT raw FROM ${database}.dead_letters FINAL`)
      : [];
  const verdict = judge(records, tables, new Set(aside.flatMap(({ raw }) => badIdsIn(raw))));
  await bench.database.statement(`DROP DATABASE ${database} SYNC`);
  return { trial, verdict, left };
}

/** A competitor whose own program is killed. */
async function tryProgram(
  bench: BenchServers,
  competitor: Competitor,
  index: number,
  records: DeliveryRecords,
): Promise<Outcome> {
  const trial = await begin(bench, competitor, index);
  for (const share of isOurs(competitor.name) ? OUR_KILLS_AT_SHARES : [KILL_AT_SHARE]) {
    await untilRowsAppear([trial], share);
    if (trial.reading?.isRunning() === false) trial.crashes++;
    await trial.reading?.kill();
    trial.kills++;
    say(`  ${competitor.name}: killed with ${trial.killedAt} rows stored`);
    await startAgain(trial);
  }
  return finish(trial, records);
}

/**
 * Tries all. Those that ClickHouse runs itself come first: it is killed once for all of them, and the programs are tried while
 * they go on, since times do not matter.
 */
async function tryAll(bench: BenchServers, records: DeliveryRecords): Promise<Outcome[]> {
  const wanted = COMPETITORS.filter(({ name }) => name.includes(values.only));
  const engines = wanted.filter(({ runsIn }) => runsIn === 'ClickHouse');
  const programs = wanted.filter(({ runsIn }) => runsIn === 'program');
  const trials: Trial[] = [];
  for (const [index, engine] of engines.entries()) trials.push(await begin(bench, engine, index));
  if (trials.length > 0) {
    await untilRowsAppear(trials, KILL_AT_SHARE);
    for (const { competitor, killedAt } of trials)
      say(`  ${competitor.name}: ClickHouse killed with ${killedAt} rows stored`);
    await bench.killClickhouse();
    for (const trial of trials) trial.kills++;
  }
  const finishing = Promise.all(trials.map((trial) => finish(trial, records)));
  const tried = programs.map((program, index) => tryProgram(bench, program, engines.length + index, records));
  return [...(await Promise.all(tried)), ...(await finishing)];
}

function listed(counts: ReadonlyMap<string, number>): string {
  return [...counts].map(([kind, count]) => `${kind}: ${count}`).join('; ');
}

/** In one line, as far as it fits into a report. */
function shortened(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ').trim();
  return line.length > WORDS_MAX ? `${line.slice(0, WORDS_MAX)} …` : line;
}

/** What a reader of the report wants to know beside the numbers. */
function findings({ trial, verdict, left }: Outcome, records: DeliveryRecords): string[] {
  const { name } = trial.competitor;
  const ended = trial.crashes === 0 ? '' : `, its program ended ${trial.crashes} times`;
  const kinds = (what: string, ids: ReadonlySet<string>): string[] =>
    ids.size === 0 ? [] : [`${name}: ${what}: ${listed(byKind(ids, records))}`];
  return [
    ...(left === 0
      ? []
      : [
          `${name}: blocked: ${left} messages were never read${ended}; it said: ${shortened(trial.lastWords)}`,
        ]),
    ...kinds('stored as something else', verdict.altered),
    ...kinds('neither stored nor kept aside', verdict.gone),
    ...(verdict.madeUp.size === 0 ? [] : [`${name}: ids that nobody sent: ${verdict.madeUp.size}`]),
  ];
}

function checkOf({ trial, verdict, left }: Outcome): Check {
  const { lost, twice, altered, madeUp, gone } = verdict;
  const wrong = lost.size + twice.size + altered.size + madeUp.size + gone.size;
  return {
    what: 'after kill -9 and with 1 % bad input: every record once, unaltered, or kept aside',
    who: trial.competitor.name,
    passed: wrong === 0 && left === 0,
    detail:
      `lost ${lost.size}, twice ${twice.size}, altered ${altered.size + madeUp.size}, gone ${gone.size}, ` +
      (left === 0 ? 'read to the end' : `blocked with ${left} messages left`),
  };
}

/** What must not be at all. */
function heldOf({ verdict, left }: Outcome): Held[] {
  const { lost, twice, altered, madeUp, gone } = verdict;
  return [
    { what: 'cdrhouse: records lost', value: lost.size, max: 0 },
    { what: 'cdrhouse: records twice', value: twice.size, max: 0 },
    { what: 'cdrhouse: records altered', value: altered.size + madeUp.size, max: 0 },
    { what: 'cdrhouse: bad records that are nowhere', value: gone.size, max: 0 },
    { what: 'cdrhouse: messages never read', value: left, max: 0 },
  ];
}

await withBenchServers(async (bench) => {
  const host = await benchHost(bench);
  const records = deliveryRecords(RECORDS);
  await makeTopic(bench, TOPIC);
  const lines = PACKING === 'packed' ? PACKED_LINES : 1;
  const messages = Array.from({ length: Math.ceil(RECORDS / lines) }, (_, index) =>
    Buffer.from(records.lines.slice(index * lines, (index + 1) * lines).join('\n')),
  );
  await sendMessages(messages, bench.servers.kafka, TOPIC);
  say(
    `${RECORDS} records, ${records.bad.size} of them bad, in ${messages.length} messages; killed with kill -9 when rows have just ` +
      `appeared and ${KILL_AT_SHARE * 100} % are stored, or when nothing appears for ${NOTHING_APPEARS_MS / 1000} s, and started again; ` +
      `cdrhouse ${OUR_KILLS_AT_SHARES.length} times`,
  );
  const outcomes = await tryAll(bench, records);

  say(
    `\n${textTable(
      [
        'records',
        'lost',
        'twice',
        'altered',
        'made up',
        'bad: aside',
        'bad: gone',
        'blocked',
        'kills',
        'crashes',
      ],
      outcomes.map(({ trial, verdict, left }) => [
        trial.competitor.name,
        String(verdict.lost.size),
        String(verdict.twice.size),
        String(verdict.altered.size),
        String(verdict.madeUp.size),
        String(verdict.aside.size),
        String(verdict.gone.size),
        left === 0 ? 'no' : `${left} left`,
        String(trial.kills),
        String(trial.crashes),
      ]),
    )}`,
  );
  const found = outcomes.flatMap((outcome) => findings(outcome, records));
  for (const finding of found) say(finding);

  finishPart(host, {
    part: 'delivery',
    settings: {
      records: RECORDS,
      bad: listed(byKind(new Set(records.bad.keys()), records)),
      packing: PACKING,
      batch_records: BATCH_RECORDS,
      kill: 'kill -9 of the process that reads: cdrhouse, the naive consumer; ClickHouse for its Kafka engine',
      competitors: Object.fromEntries(
        outcomes.map(({ trial: { competitor } }) => [competitor.name, competitor.settings]),
      ),
    },
    figures: [],
    checks: outcomes.map(checkOf),
    held: outcomes.filter(({ trial }) => isOurs(trial.competitor.name)).flatMap(heldOf),
    notes: [
      'Killed when rows have just appeared: their offsets are perhaps not committed. One kill is one moment of many, and a peer has one only.',
      ...found,
    ],
  });
});
