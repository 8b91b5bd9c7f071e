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
  timed,
  usagePath,
  type Asked,
  type Latency,
  type Month,
  type Question,
} from './asked.ts';
import { withBenchServers, type BenchServers } from './bench-servers.ts';
import { runCdrhouse, startIngest } from './cdrhouse-run.ts';
import { peakMemoryBytes } from './process-usage.ts';
import { benchHost, FIGURES, finishPart, OURS, type Figure } from './result.ts';
import { say } from './say.ts';
import { SteadyLoad } from './steady-load.ts';
import type { StoredCalls } from './stored-calls.ts';
import { median, textTable } from './table.ts';
import { readThresholds, type Held } from './thresholds.ts';
import { wholeNumber } from './whole-number.ts';

/**
 * `make bench-query`: what the HTTP API takes on many calls, asked of the real `serve`, beside the same questions on a
 * tenth of them and beside plain ClickHouse. Held are ratios within the run; what is wanted in absolute figures is
 * printed with them. Exits 1 where a threshold is broken.
 */
const { values } = parseArgs({
  options: {
    calls: { type: 'string', default: '50000000' },
    months: { type: 'string', default: '13' },
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '5' },
    connections: { type: 'string', default: '10' },
    /** Before anything is measured: Node compiles what is asked often, and a service has been asked before. */
    'warm-up-seconds': { type: 'string', default: '15' },
    /** Without the database that has a tenth of the calls. */
    alone: { type: 'boolean', default: false },
  },
});
const OPTIONS = {
  calls: wholeNumber('calls', values.calls, 100_000, 200_000_000),
  months: wholeNumber('months', values.months, 2, 35),
  rounds: wholeNumber('rounds', values.rounds, 1, 9),
  seconds: wholeNumber('seconds', values.seconds, 1, 600),
  connections: wholeNumber('connections', values.connections, 1, 100),
  warmUpSeconds: wholeNumber('warm-up-seconds', values['warm-up-seconds'], 1, 600),
};
const WHOLE = 'cdrhouse';
const TENTH = 'cdrhouse_tenth';
const CSV_ROWS = 1_000_000;
const LIVE_TOPIC = 'live';
/** Calls a second. */
const LIVE_RATE = 5000;
const HOUR_MS = 3_600_000;
/** Of `blockPrefix`. */
const PREFIX_NUMBERS = 10_000;

/** Rounds of one question, on all calls and on a tenth of them; undefined where a tenth was not asked. */
interface Both {
  readonly whole: Rounds;
  readonly tenth: Rounds | undefined;
}

/** Rounds of the question in turn on both, the first of each unmeasured. */
async function measure(
  whole: Asked,
  tenth: Asked | undefined,
  question: Question,
  connections: number,
): Promise<Both> {
  const { seconds } = OPTIONS;
  const rounds = [whole, ...(tenth === undefined ? [] : [tenth])].map((asked) => ({
    asked,
    of: new Rounds(seconds),
  }));
  for (let round = 0; round <= OPTIONS.rounds; round++) {
    for (const { asked, of } of rounds) {
      const took = await ask(asked, question, { connections, seconds });
      if (round > 0) of.add(took);
    }
  }
  return { whole: rounds[0]!.of, tenth: rounds[1]?.of };
}

/** Rounds of the question while ingest stores new calls at a steady rate. */
async function measureBesideIngest(bench: BenchServers, asked: Asked, question: Question): Promise<Rounds> {
  const { seconds, connections } = OPTIONS;
  const run = { database: asked.name, topic: LIVE_TOPIC };
  await runCdrhouse(bench, run, 'migrate');
  const ingest = await startIngest(bench, run);
  const load = new SteadyLoad(bench.servers.kafka, LIVE_TOPIC, LIVE_RATE);
  const rounds = new Rounds(seconds);
  for (let round = 0; round <= OPTIONS.rounds; round++) {
    const took = await ask(asked, question, { connections, seconds });
    if (round > 0) rounds.add(took);
  }
  const sent = await load.stop();
  await ingest.stop();
  const [row] = await bench.database.rows<{ calls: number }>(
    `SELECT count() AS calls FROM ${asked.name}.cdr FINAL WHERE start_at >= now() - INTERVAL 1 DAY`,
  );
  say(`beside ingest: ${sent} calls were sent, ${row!.calls} of them stored when it ended`);
  return rounds;
}

/** Reads an answer to its end and throws it away; seconds and lines. */
async function drain(response: Response): Promise<{ seconds: number; lines: number }> {
  const began = performance.now();
  let lines = 0;
  for await (const chunk of response.body!) for (const byte of chunk as Uint8Array) if (byte === 10) lines++;
  return { seconds: (performance.now() - began) / 1000, lines };
}

/** A range of the closed month with about so many calls. */
function rangeOf({ calls, monthStarts }: StoredCalls, rows: number): Month {
  const begin = monthStarts.at(-3)!;
  const end = monthStarts.at(-2)!;
  const hours = Math.ceil((rows / (calls / OPTIONS.months)) * ((end - begin) / HOUR_MS));
  const until = Math.min(end, begin + hours * HOUR_MS);
  return { from: new Date(begin).toISOString(), to: new Date(until).toISOString() };
}

/** An export, and the same rows as ClickHouse itself writes them. */
async function measureCsv(bench: BenchServers, asked: Asked) {
  const { from, to } = rangeOf(asked.stored, CSV_ROWS);
  const path = `/v1/records?${new URLSearchParams({ from, to, format: 'csv' }).toString()}`;
  const small = rangeOf(asked.stored, CSV_ROWS / 10);
  await drain(
    await answer(asked, `/v1/records?${new URLSearchParams({ ...small, format: 'csv' }).toString()}`),
  );
  const before = peakMemoryBytes(asked.served.pid) ?? 0;
  const ours = await timed(async () => drain(await answer(asked, path)));
  const after = peakMemoryBytes(asked.served.pid) ?? 0;
  const plain = await timed(async () =>
    bench.database
      .statement(`SELECT start_at, cdr_key, calling_number, displayed_caller_id, dialed_number, duration_ms, talk_ms, outcome,
  direction, account, feed, call_id, stored_at FROM ${asked.name}.cdr
WHERE start_at >= parseDateTime64BestEffort('${from}') AND start_at < parseDateTime64BestEffort('${to}')
ORDER BY start_at, cdr_key FORMAT CSV`),
  );
  return {
    rows: ours.value.lines - 1,
    seconds: ours.seconds,
    plainSeconds: plain.seconds,
    /** Peaks of the program: behind an export of a tenth of the rows, and behind that of all. */
    megabytesBefore: before / 2 ** 20,
    megabytes: after / 2 ** 20,
  };
}

/** Usage of all callers of a month, and what plain ClickHouse takes to group the same rows. */
async function measureUsageOfAll(bench: BenchServers, asked: Asked) {
  const { from, to } = closedMonth(asked.stored);
  const ours: number[] = [];
  const plain: number[] = [];
  for (let round = 0; round <= OPTIONS.rounds; round++) {
    const took = await timed(async () => (await answer(asked, usagePath({ from, to }))).arrayBuffer());
    const grouped = await timed(async () =>
      bench.database
        .statement(`SELECT calling_number, count(), sum(duration_ms), sum(talk_ms) FROM ${asked.name}.cdr
WHERE start_at >= parseDateTime64BestEffort('${from}') AND start_at < parseDateTime64BestEffort('${to}')
GROUP BY calling_number ORDER BY calling_number LIMIT 101 FORMAT Null`),
    );
    if (round === 0) continue;
    ours.push(took.seconds);
    plain.push(grouped.seconds);
  }
  const csv = await timed(async () => drain(await answer(asked, `${usagePath({ from, to })}&format=csv`)));
  return { seconds: ours, plainSeconds: plain, csvSeconds: csv.seconds };
}

interface Answered {
  readonly what: string;
  readonly both: Both;
  /** p99, ms. */
  readonly wanted: string;
}

const ms = (value: number): string => value.toFixed(1);

function latencyRow(what: string, latency: Latency, wanted: string): string[] {
  const { p50, p95, p99, perSecond, databaseMs, serveMs } = latency;
  return [what, ms(p50), ms(p95), ms(p99), wanted, perSecond.toFixed(0), ms(databaseMs), ms(serveMs)];
}

function latencyTable(answered: readonly Answered[]): string {
  return textTable(
    ['ms', 'p50', 'p95', 'p99', 'wanted p99', 'answers/s', 'CPU an answer: database', 'serve'],
    answered.flatMap(({ what, both, wanted }) => [
      latencyRow(what, both.whole.latency(), wanted),
      ...(both.tenth === undefined
        ? []
        : [latencyRow('  the same at a tenth of the calls', both.tenth.latency(), '')]),
    ]),
  );
}

function figuresOf({ what, both }: Answered): Figure[] {
  const sizes = [
    { rounds: both.whole, calls: OPTIONS.calls },
    { rounds: both.tenth, calls: Math.round(OPTIONS.calls / 10) },
  ];
  return sizes.flatMap(({ rounds, calls }) =>
    rounds === undefined
      ? []
      : [50, 95, 99].map((percent) => ({
          name: `answer, p${percent}`,
          unit: 'ms',
          who: OURS,
          case: what,
          values: rounds.percentiles(percent / 100),
          calls,
        })),
  );
}

await withBenchServers(
  async (bench) => {
    const host = await benchHost(bench);
    const { calls, months, connections } = OPTIONS;
    const whole = await serve(bench, WHOLE, await fill(bench, WHOLE, calls, months));
    const tenth = values.alone
      ? undefined
      : await serve(bench, TENTH, await fill(bench, TENTH, Math.round(calls / 10), months));
    const served = [whole, ...(tenth === undefined ? [] : [tenth])];
    try {
      await bench.database.quiet();
      for (const asked of served) await checkFound(bench, asked);
      for (const asked of served)
        await ask(asked, QUESTIONS.number, { connections, seconds: OPTIONS.warmUpSeconds });
      const number = await measure(whole, tenth, QUESTIONS.number, connections);
      const open = await measure(whole, tenth, QUESTIONS.openMonth, connections);
      const calling = await measure(whole, tenth, QUESTIONS.calling, connections);
      const displayed = await measure(whole, tenth, QUESTIONS.displayed, connections);
      const dialed = await measure(whole, tenth, QUESTIONS.dialed, connections);
      const prefix = await measure(whole, tenth, QUESTIONS.prefix, 1);
      const prefixes = await measure(whole, tenth, QUESTIONS.prefix, connections);
      const usageOfOne = await measure(whole, tenth, QUESTIONS.usageOfOne, 1);
      const usageOfAll = await measureUsageOfAll(bench, whole);
      const csv = await measureCsv(bench, whole);
      const besideIngest = await measureBesideIngest(bench, whole, QUESTIONS.number);

      const answered: Answered[] = [
        {
          what: `a number, any role, a closed month, ${connections} connections`,
          both: number,
          wanted: '100',
        },
        {
          what: 'the same in the newest month, whose parts are not merged',
          both: open,
          wanted: '100',
        },
        { what: 'a calling number', both: calling, wanted: '100' },
        { what: 'a displayed number', both: displayed, wanted: '100' },
        { what: 'a dialed number', both: dialed, wanted: '100' },
        { what: 'prefix of 10,000 numbers, a closed month, 1 connection', both: prefix, wanted: '300' },
        { what: `the same, ${connections} connections`, both: prefixes, wanted: '' },
        { what: 'usage of one calling number, a month, 1 connection', both: usageOfOne, wanted: '100' },
        {
          what: `a number, any role, while ingest stores ${LIVE_RATE} calls a second`,
          both: { whole: besideIngest, tenth: undefined },
          wanted: '100',
        },
      ];
      say(
        `${host.cores} cores carry database, program and this bench; median of ${OPTIONS.rounds} rounds of ${OPTIONS.seconds} s`,
      );
      say(latencyTable(answered));
      say(
        `usage of all calling numbers of a month: ${median(usageOfAll.seconds).toFixed(2)} s (wanted 2); all groups as CSV ${usageOfAll.csvSeconds.toFixed(2)} s; ` +
          `plain GROUP BY ${median(usageOfAll.plainSeconds).toFixed(2)} s`,
      );
      say(
        `CSV of ${csv.rows} records: ${csv.seconds.toFixed(1)} s (wanted 30), ClickHouse's own ${csv.plainSeconds.toFixed(1)} s; ` +
          `peak memory of the program ${csv.megabytes.toFixed(0)} MB, ${csv.megabytesBefore.toFixed(0)} MB behind a tenth of the rows`,
      );

      const limits = readThresholds().query;
      const growth = (what: string, { whole: all, tenth: few }: Both, max: number): Held[] =>
        few === undefined
          ? []
          : [
              {
                what: `${what}: p99 against a tenth of the calls`,
                value: all.latency().p99 / few.latency().p99,
                max,
              },
            ];
      const held: Held[] = [
        ...growth('a number', number, limits.number_growth_max),
        ...growth('the newest month', open, limits.number_growth_max),
        // With fewer numbers than a prefix has the tenth answers less.
        ...(tenth !== undefined && tenth.stored.subscribers < PREFIX_NUMBERS
          ? []
          : growth('a prefix', prefix, limits.prefix_growth_max)),
        {
          what: `a number while ingest stores ${LIVE_RATE} calls a second, against without: p50`,
          value: besideIngest.latency().p50 / number.whole.latency().p50,
          max: limits.beside_ingest_ratio_max,
        },
        {
          what: 'usage of one number against a look-up, p50',
          value: usageOfOne.whole.latency().p50 / number.whole.latency().p50,
          max: limits.usage_of_one_ratio_max,
        },
        {
          what: 'usage of all numbers against plain GROUP BY',
          value: median(usageOfAll.seconds) / median(usageOfAll.plainSeconds),
          max: limits.usage_of_all_ratio_max,
        },
        {
          what: 'CSV against that of ClickHouse',
          value: csv.seconds / csv.plainSeconds,
          max: limits.csv_ratio_max,
        },
        {
          what: 'memory behind all rows against a tenth of them',
          value: csv.megabytes / csv.megabytesBefore,
          max: limits.csv_memory_growth_max,
        },
      ];
      for (const { what, value, max } of held) say(`${what}: ${value.toFixed(2)}, at most ${max}`);
      const seconds = (who: string, what: string, took: readonly number[]): Figure => {
        return { name: 'answer', unit: 's', who, case: what, values: took, calls };
      };
      const grouped = 'usage of all calling numbers, a month';
      const exported = `CSV of ${csv.rows} records`;
      finishPart(host, {
        part: 'query',
        settings: { ...OPTIONS, ledger_rows: whole.stored.ledgerRows, subscribers: whole.stored.subscribers },
        figures: [
          ...answered.flatMap(figuresOf),
          seconds(OURS, grouped, usageOfAll.seconds),
          seconds('plain GROUP BY of ClickHouse', grouped, usageOfAll.plainSeconds),
          seconds(OURS, exported, [csv.seconds]),
          seconds("ClickHouse's own CSV", exported, [csv.plainSeconds]),
          { name: FIGURES.peakMemory, unit: 'MB', who: OURS, case: exported, values: [csv.megabytes], calls },
        ],
        checks: [
          {
            what: 'as many calls of a number as a scan finds',
            who: OURS,
            passed: true,
            detail: 'numbers drawn at random, on each size',
          },
        ],
        held,
        notes: [
          'ClickHouse makes the stored calls itself; a number has as many of them whatever the size of the table.',
          'Database, program and the client that asks share the cores.',
        ],
      });
    } finally {
      for (const asked of served) await asked.served.stop();
    }
  },
  { databases: [WHOLE, TENTH] },
);
