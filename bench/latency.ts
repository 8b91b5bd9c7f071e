import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { liveLine } from '../ingest/generate/traffic.ts';
import { Producer } from '../ingest/ship/producer.ts';
import { withBenchServers, type BenchServers } from './bench-servers.ts';
import { cdrhouse, OUR_FLUSH_INTERVAL_MS } from './cdrhouse-competitor.ts';
import type { Competitor, Place } from './competitor.ts';
import { makeTopic } from './ingest-cases.ts';
import { kafkaEngine } from './peers/kafka-engine.ts';
import { outsideOption, OUTSIDE_OPTIONS } from './peers/outside-option.ts';
import { naiveNode, outsideTool } from './peers/program-peers.ts';
import { benchHost, FIGURES, finishPart, type Figure } from './result.ts';
import { say } from './say.ts';
import { percentile, textTable } from './table.ts';
import { readThresholds } from './thresholds.ts';
import { wholeNumber } from './whole-number.ts';
import { kafkaSettings } from './workload.ts';

/**
 * `make bench-latency`: at a steady rate, the time from the Kafka timestamp of each record to the first query that finds it, of
 * cdrhouse and its peers one after the other. How long each waits for more before it stores decides most of it, so that the
 * Kafka engine takes part twice: with its own default, and with the flush interval of cdrhouse. Exits 1 where a threshold is
 * broken.
 *
 * A query asks every few milliseconds which parts there are in the tables, whose merges are stopped meanwhile; which records
 * are in which part is asked in the end. So every record is measured, and no query gets slower by what is stored.
 */
const { values } = parseArgs({
  options: {
    /** Records a second. */
    rate: { type: 'string', default: '5000' },
    seconds: { type: 'string', default: '30' },
    /** `ingest.flush_interval_ms` of cdrhouse. */
    'flush-interval-ms': { type: 'string', default: String(OUR_FLUSH_INTERVAL_MS) },
    /** Only those whose name has this in it. */
    only: { type: 'string', default: '' },
    ...OUTSIDE_OPTIONS,
  },
});
const RATE = wholeNumber('rate', values.rate, 100, 100_000);
const SECONDS = wholeNumber('seconds', values.seconds, 5, 600);
const FLUSH_INTERVAL_MS = wholeNumber('flush-interval-ms', values['flush-interval-ms'], 10, 60_000);
const OUTSIDE = outsideOption(values);

/** A message so often, with the records of that time. */
const MESSAGE_MS = 20;
const MESSAGE_RECORDS = Math.round((RATE * MESSAGE_MS) / 1000);
const LOOK_PAUSE_MS = 10;
/** What is sent first finds the reader at its start, and does not count. */
const WARM_UP_SECONDS = 3;
const ARRIVAL_MS_MAX = 60_000;
const SEED = 11;

/** When which part was found first; UTC ms. */
class PartWatch {
  readonly #bench: BenchServers;
  readonly #database: string;
  readonly #tables: readonly string[];
  readonly #foundAt = new Map<string, number>();
  readonly #pausesMs: number[] = [];
  #watching = true;

  constructor({ bench, database }: Place, tables: readonly string[]) {
    this.#bench = bench;
    this.#database = database;
    this.#tables = tables;
  }

  /** Looks until it is stopped. */
  async watch(): Promise<void> {
    let before = performance.now();
    while (this.#watching) {
      for (const table of this.#tables) {
        const parts = await this.#bench.database.rows<{ part: string }>(
          `SELECT DISTINCT _part AS part FROM ${this.#database}.${table}`,
        );
        const now = Date.now();
        for (const { part } of parts) {
          const name = `${table}/${part}`;
          if (!this.#foundAt.has(name)) this.#foundAt.set(name, now);
        }
      }
      this.#pausesMs.push(performance.now() - before);
      before = performance.now();
      await sleep(LOOK_PAUSE_MS);
    }
  }

  stop(): void {
    this.#watching = false;
  }

  /** How far apart two looks were, ms: half of the looks were nearer, 95 % were. */
  resolution(): { readonly p50: number; readonly p95: number } {
    const sorted = [...this.#pausesMs].sort((a, b) => a - b);
    return { p50: percentile(sorted, 0.5), p95: percentile(sorted, 0.95) };
  }

  /** When each record was found in the last of the tables. */
  async foundAt(oneRow: Readonly<Record<string, string>>): Promise<Map<string, number>> {
    const found = new Map<string, number>();
    for (const table of this.#tables) {
      const rows = await this.#bench.database.rows<{ id: string; part: string }>(
        `SELECT call_id AS id, _part AS part FROM ${this.#database}.${table} WHERE ${oneRow[table]!}`,
      );
      for (const { id, part } of rows) {
        const at = this.#foundAt.get(`${table}/${part}`) ?? Number.NaN;
        found.set(id, Math.max(found.get(id) ?? 0, at));
      }
    }
    return found;
  }
}

/** Sends at the rate; gives the Kafka timestamp by id, which is the moment at which the producer gets the message (CreateTime). */
async function sendSteadily(brokers: string, topic: string): Promise<Map<string, number>> {
  const producer = await Producer.connect(kafkaSettings(brokers, 'bench', topic));
  const sentAt = new Map<string, number>();
  const began = performance.now();
  try {
    const messages = Math.round(((SECONDS + WARM_UP_SECONDS) * 1000) / MESSAGE_MS);
    for (let message = 0; message < messages; message++) {
      await sleep(Math.max(0, began + message * MESSAGE_MS - performance.now()));
      const now = Date.now();
      const first = message * MESSAGE_RECORDS;
      const lines = Array.from({ length: MESSAGE_RECORDS }, (_, index) => liveLine(SEED, first + index, now));
      for (let index = 0; index < MESSAGE_RECORDS; index++) sentAt.set(`${SEED}-${first + index}`, now);
      await producer.send(topic, Buffer.from(lines.join('\n')));
    }
    await producer.flush();
    return sentAt;
  } finally {
    await producer.close();
  }
}

interface Latencies {
  readonly of: Competitor;
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
  readonly records: number;
  readonly resolution: { readonly p50: number; readonly p95: number };
}

async function measure(bench: BenchServers, competitor: Competitor, index: number): Promise<Latencies> {
  const topic = `latency-${index}`;
  await makeTopic(bench, topic);
  const records = Math.round(((SECONDS + WARM_UP_SECONDS) * 1000) / MESSAGE_MS) * MESSAGE_RECORDS;
  const database = `bench_latency_${index}`;
  const place: Place = { bench, topic, format: 'canonical-csv', database, calls: records };
  const { store } = competitor;
  await store.prepare(place);
  await bench.database.mergeNothing(database, store.tables);
  const reading = await competitor.start(place);
  const watch = new PartWatch(place, store.tables);
  const watching = watch.watch();
  try {
    const sentAt = await sendSteadily(bench.servers.kafka, topic);
    const deadline = performance.now() + ARRIVAL_MS_MAX;
    // Rows, not offsets: those are committed later, or earlier, than a query finds them.
    while ((await rowsOf(bench, `${database}.${store.tables[0]!}`)) < records) {
      if (performance.now() > deadline) throw new Error(`${competitor.name}: not everything arrives`);
      await sleep(LOOK_PAUSE_MS);
    }
    await sleep(1000);
    watch.stop();
    await watching;
    const foundAt = await watch.foundAt(store.oneRow);
    const [began] = sentAt.values();
    const warmUp = began! + WARM_UP_SECONDS * 1000;
    const latencies = [...sentAt]
      .filter(([, at]) => at >= warmUp)
      .map(([id, at]) => (foundAt.get(id) ?? Number.NaN) - at);
    if (latencies.some((ms) => Number.isNaN(ms)))
      throw new Error(`${competitor.name}: a record is not found`);
    const sorted = latencies.sort((a, b) => a - b);
    return {
      of: competitor,
      p50: percentile(sorted, 0.5),
      p95: percentile(sorted, 0.95),
      p99: percentile(sorted, 0.99),
      max: sorted.at(-1)!,
      records: sorted.length,
      resolution: watch.resolution(),
    };
  } finally {
    watch.stop();
    await watching;
    await reading.stop();
    await bench.database.statement(`DROP DATABASE ${database} SYNC`);
  }
}

async function rowsOf({ database }: BenchServers, table: string): Promise<number> {
  const [count] = await database.rows<{ rows: number }>(`SELECT count() AS rows FROM ${table}`);
  return count!.rows;
}

function labelOf({ name, flushIntervalMs }: Competitor): string {
  return flushIntervalMs === undefined ? name : `${name}, flushed after ${flushIntervalMs} ms`;
}

function figuresOf({ of, p50, p95, p99 }: Latencies): Figure[] {
  const who = labelOf(of);
  const figure = (name: string, value: number): Figure => {
    return { name, unit: 'ms', who, case: `${RATE} records/s`, values: [value] };
  };
  return [figure(FIGURES.latencyP50, p50), figure(FIGURES.latencyP95, p95), figure(FIGURES.latencyP99, p99)];
}

await withBenchServers(async (bench) => {
  const host = await benchHost(bench);
  const competitors = [
    cdrhouse(1, undefined, undefined, FLUSH_INTERVAL_MS),
    kafkaEngine(1),
    kafkaEngine(1, FLUSH_INTERVAL_MS),
    naiveNode(),
    ...(OUTSIDE === undefined ? [] : [outsideTool(OUTSIDE)]),
  ].filter(({ name }) => name.includes(values.only));
  say(
    `${RATE} records a second for ${SECONDS} s, in ${1000 / MESSAGE_MS} messages a second; fsync after each insert; no merges`,
  );
  const measured: Latencies[] = [];
  for (const [index, competitor] of competitors.entries()) {
    say(`  ${labelOf(competitor)}: ${competitor.settings}`);
    measured.push(await measure(bench, competitor, index));
  }
  say(
    `\n${textTable(
      [
        'ms from Kafka timestamp to queryable',
        'p50',
        'p95',
        'p99',
        'max',
        'records',
        'between looks, p50',
        'p95',
      ],
      measured.map(({ of, p50, p95, p99, max, records, resolution }) => [
        labelOf(of),
        ...[p50, p95, p99, max, records, resolution.p50, resolution.p95].map((value) => value.toFixed(0)),
      ]),
    )}`,
  );
  const [ours, engine] = [/^cdrhouse/, /^Kafka engine/].map((who) =>
    measured.find(({ of }) => who.test(of.name) && of.flushIntervalMs === FLUSH_INTERVAL_MS),
  );
  finishPart(host, {
    part: 'latency',
    settings: {
      rate: RATE,
      seconds: SECONDS,
      messages_a_second: 1000 / MESSAGE_MS,
      fsync: 'after each insert, all tables',
      merges: 'stopped, so that parts can be told apart',
      competitors: Object.fromEntries(competitors.map((one) => [labelOf(one), one.settings])),
      between_looks_ms: Object.fromEntries(measured.map(({ of, resolution }) => [labelOf(of), resolution])),
    },
    figures: measured.flatMap(figuresOf),
    checks: [],
    held:
      ours === undefined || engine === undefined
        ? []
        : [
            {
              what: 'timestamp to queryable, p99, against the Kafka engine with the same flush interval',
              value: ours.p99 / engine.p99,
              max: readThresholds().latency_p99_ratio_max,
            },
          ],
    notes: [
      'What is sent in the first seconds does not count, to the message: so the numbers of records differ by those of one message or two. None is lost.',
      'Queryable: a query finds the record in every table that the competitor fills. The moment is that of the answer, so it is late by up to the time between two looks.',
    ],
  });
});
