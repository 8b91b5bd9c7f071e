import { setTimeout as sleep } from 'node:timers/promises';
import type { BenchServers } from './bench-servers.ts';
import type { Competitor, Place, Reading } from './competitor.ts';
import { badIdsIn, CONTENT_SQL, type DeliveryRecords } from './delivery-records.ts';
import { judge, type StoredRow, type Verdict } from './delivery-verdict.ts';
import { isOurs } from './result.ts';
import { say } from './say.ts';

/**
 * The kill comes at the first rows that appear when at least so much of the topic is stored. One kill is one moment of many, and
 * each costs the peers the time for which Kafka waits for a dead member: they have one, cdrhouse has several.
 */
export const KILL_AT_SHARE = 0.3;
export const OUR_KILLS_AT_SHARES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8];
const KILL_LOOK_MS = 1;
/** Where nothing more appears, the kill comes now. */
export const NOTHING_APPEARS_MS = 10_000;
/** For so long Kafka waits for a dead member of a peer, so that nobody waits for nothing; and by default. */
export const SESSION_MS = 10_000;
const DEFAULT_SESSION_MS = 45_000;
/** Where nothing happens for so much longer than that, the reader does not get through. */
const STALLED_BEYOND_SESSION_MS = 20_000;
const LOOK_MS = 300;
const RESTART_PAUSE_MS = 1000;
const STILL_MS = 3000;

/** What all are tried with. */
export interface DeliveryTopic {
  readonly topic: string;
  readonly records: DeliveryRecords;
  /** Small batches, so that a kill falls between many. */
  readonly batchRecords: number;
}

/** A competitor that is being tried. */
export interface Trial {
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
export interface Outcome {
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

async function begin(
  bench: BenchServers,
  { topic, records, batchRecords }: DeliveryTopic,
  competitor: Competitor,
  index: number,
): Promise<Trial> {
  const place: Place = {
    bench,
    topic,
    format: 'canonical-csv',
    database: `bench_delivery_${index}`,
    calls: records.good.size,
    batchRecords,
    sessionMs: SESSION_MS,
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
async function untilRowsAppear(trials: readonly Trial[], rows: number): Promise<void> {
  const before = await Promise.all(trials.map(storedRows));
  let appearedAt = performance.now();
  for (;;) {
    for (const [index, trial] of trials.entries()) {
      trial.killedAt = await storedRows(trial);
      if (trial.killedAt === before[index]) continue;
      if (trial.killedAt >= rows) return;
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
  const stalledMs =
    STALLED_BEYOND_SESSION_MS + (competitor.keepsSession === true ? DEFAULT_SESSION_MS : SESSION_MS);
  let before = '';
  let changedAt = performance.now();
  for (;;) {
    const left = await competitor.left(place);
    if (left === 0) return 0;
    const now = `${left} ${await storedRows(trial)}`;
    if (now !== before) changedAt = performance.now();
    before = now;
    if (performance.now() - changedAt > stalledMs) return left;
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
  sent: DeliveryTopic,
  competitor: Competitor,
  index: number,
): Promise<Outcome> {
  const { records } = sent;
  const trial = await begin(bench, sent, competitor, index);
  for (const share of isOurs(competitor.name) ? OUR_KILLS_AT_SHARES : [KILL_AT_SHARE]) {
    await untilRowsAppear([trial], share * records.lines.length);
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
export async function tryAll(
  bench: BenchServers,
  sent: DeliveryTopic,
  competitors: readonly Competitor[],
): Promise<Outcome[]> {
  const { records } = sent;
  const engines = competitors.filter(({ runsIn }) => runsIn === 'ClickHouse');
  const programs = competitors.filter(({ runsIn }) => runsIn === 'program');
  const trials: Trial[] = [];
  for (const [index, engine] of engines.entries()) trials.push(await begin(bench, sent, engine, index));
  if (trials.length > 0) {
    await untilRowsAppear(trials, KILL_AT_SHARE * records.lines.length);
    for (const { competitor, killedAt } of trials)
      say(`  ${competitor.name}: ClickHouse killed with ${killedAt} rows stored`);
    await bench.killClickhouse();
    for (const trial of trials) trial.kills++;
  }
  const finishing = Promise.all(trials.map((trial) => finish(trial, records)));
  const tried = programs.map((program, index) => tryProgram(bench, sent, program, engines.length + index));
  return [...(await Promise.all(tried)), ...(await finishing)];
}
