import autocannon from 'autocannon';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { withBenchServers, type BenchServers } from './bench-servers.ts';
import { runCdrhouse, serveCdrhouse, type RunOptions, type Served } from './cdrhouse-run.ts';
import { peakMemoryBytes } from './process-usage.ts';
import { blockPrefix, lastMonths, storeCalls, subscriberNumber, type StoredCalls } from './stored-calls.ts';
import { median, textTable } from './table.ts';
import { brokenThresholds, readThresholds, type Held } from './thresholds.ts';
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
  },
});
const OPTIONS = {
  calls: wholeNumber('calls', values.calls, 100_000, 200_000_000),
  months: wholeNumber('months', values.months, 2, 35),
  rounds: wholeNumber('rounds', values.rounds, 1, 9),
  seconds: wholeNumber('seconds', values.seconds, 1, 600),
  connections: wholeNumber('connections', values.connections, 1, 100),
};
const WHOLE = 'cdrhouse';
const TENTH = 'cdrhouse_tenth';
const TOPIC = 'cdr';
const CSV_ROWS = 1_000_000;
const CHECKED_NUMBERS = 5;
const ROLES = ['disputes', 'disputes:unmasked', 'disputes:prefix', 'billing'];
const HOUR_MS = 3_600_000;

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** A database with calls, and the API over it. */
interface Asked {
  readonly name: string;
  readonly stored: StoredCalls;
  readonly served: Served;
  readonly headers: Readonly<Record<string, string>>;
}

interface Month {
  readonly from: string;
  readonly to: string;
}

function month({ monthStarts }: StoredCalls, index: number): Month {
  const [from, to] = [monthStarts.at(index - 1)!, monthStarts.at(index)!].map((ms) => new Date(ms));
  return { from: from!.toISOString(), to: to!.toISOString() };
}

/** The newest month, whose parts are not merged; and the one before. */
const openMonth = (stored: StoredCalls): Month => month(stored, -1);
const closedMonth = (stored: StoredCalls): Month => month(stored, -2);

async function fill(bench: BenchServers, name: string, calls: number): Promise<StoredCalls> {
  await runCdrhouse(bench, { database: name, topic: TOPIC }, 'migrate');
  const began = performance.now();
  const stored = await storeCalls(bench.database, name, calls, lastMonths(OPTIONS.months, Date.now()));
  const [size] = await bench.database.rows<{ megabytes: number; parts: number }>(
    `SELECT round(sum(bytes_on_disk) / 1e6) AS megabytes, count() AS parts FROM system.parts
     WHERE active AND database = '${name}' AND table IN ('cdr', 'cdr_by_number')`,
  );
  say(
    `${name}: ${stored.calls} calls of ${stored.subscribers} numbers over ${OPTIONS.months} months, ${stored.ledgerRows} rows in the ledger; ` +
      `${size!.megabytes} MB in ${size!.parts} parts (${((performance.now() - began) / 1000).toFixed(0)} s)`,
  );
  return stored;
}

async function serve(bench: BenchServers, name: string, stored: StoredCalls): Promise<Asked> {
  const run: RunOptions = { database: name, topic: TOPIC };
  const { stdout } = await runCdrhouse(bench, run, 'keys', 'add', '--role', ...ROLES);
  const served = await serveCdrhouse(bench, run);
  const headers = { authorization: `Bearer ${stdout.trim()}`, 'case-id': 'bench', purpose: 'support' };
  return { name, stored, served, headers };
}

/** One of the numbers, another one each time. */
function anyNumber({ subscribers }: StoredCalls): string {
  return subscriberNumber(Math.floor(Math.random() * subscribers));
}

/** A question: the path that is asked, made anew for each request. */
type Question = (stored: StoredCalls) => string;

const QUESTIONS = {
  number: (stored) => callsPath(anyNumber(stored), closedMonth(stored)),
  openMonth: (stored) => callsPath(anyNumber(stored), openMonth(stored)),
  prefix: (stored) =>
    callsPath(blockPrefix(Math.floor(Math.random() * stored.subscribers)), closedMonth(stored)),
  usageOfOne: (stored) => usagePath(closedMonth(stored), anyNumber(stored)),
} satisfies Record<string, Question>;

function callsPath(number: string, { from, to }: Month): string {
  return `/v1/calls?${new URLSearchParams({ number, from, to }).toString()}`;
}

function usagePath({ from, to }: Month, number?: string): string {
  const filter: Record<string, string> = number === undefined ? {} : { calling_number: number };
  const parameters = { from, to, group_by: 'calling_number', increment: '60/60', ...filter };
  return `/v1/usage?${new URLSearchParams(parameters).toString()}`;
}

/** Milliseconds of the answers of one round. */
async function ask({ served, headers, stored }: Asked, question: Question, connections: number) {
  const milliseconds: number[] = [];
  const run = autocannon({
    url: served.url,
    connections,
    duration: OPTIONS.seconds,
    headers,
    requests: [{ setupRequest: (request) => ({ ...request, method: 'GET', path: question(stored) }) }],
  });
  run.on('response', (_client, _status, _bytes, took) => milliseconds.push(took));
  const { errors, timeouts, non2xx } = await run;
  if (errors + timeouts + non2xx > 0)
    throw new Error(`${errors} errors, ${timeouts} timeouts, ${non2xx} answers that are no 2xx`);
  return milliseconds.sort((a, b) => a - b);
}

function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** What the rounds of one question took, in ms: the median over the rounds of each percentile. */
interface Latency {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly perSecond: number;
}

class Rounds {
  readonly #rounds: (readonly number[])[] = [];

  add(sorted: readonly number[]): void {
    this.#rounds.push(sorted);
  }

  latency(): Latency {
    const of = (share: number): number => median(this.#rounds.map((sorted) => percentile(sorted, share)));
    const perSecond = median(this.#rounds.map(({ length }) => length / OPTIONS.seconds));
    return { p50: of(0.5), p95: of(0.95), p99: of(0.99), perSecond };
  }
}

/** Rounds of the question in turn on both, the first of each unmeasured. */
async function measure(
  whole: Asked,
  tenth: Asked,
  question: Question,
  connections: number,
): Promise<{ whole: Latency; tenth: Latency }> {
  const rounds = { whole: new Rounds(), tenth: new Rounds() };
  for (let round = 0; round <= OPTIONS.rounds; round++) {
    for (const [asked, of] of [
      [whole, rounds.whole],
      [tenth, rounds.tenth],
    ] as const) {
      const took = await ask(asked, question, connections);
      if (round > 0) of.add(took);
    }
  }
  return { whole: rounds.whole.latency(), tenth: rounds.tenth.latency() };
}

async function answer({ served, headers }: Asked, path: string): Promise<Response> {
  const response = await fetch(`${served.url}${path}`, { headers });
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  return response;
}

/** The numbers must be found under their keys, or the bench measures nothing. */
async function checkFound(bench: BenchServers, asked: Asked): Promise<void> {
  const { stored, name } = asked;
  const { from, to } = closedMonth(stored);
  for (let check = 0; check < CHECKED_NUMBERS; check++) {
    const number = anyNumber(stored);
    const { matched } = (await (await answer(asked, callsPath(number, { from, to }))).json()) as {
      matched: { calls: string };
    };
    const [scanned] = await bench.database.rows<{ calls: number }>(
      `SELECT count() AS calls FROM ${name}.cdr WHERE '${number}' IN (calling_number, displayed_caller_id, dialed_number)
       AND start_at >= parseDateTime64BestEffort('${from}') AND start_at < parseDateTime64BestEffort('${to}')`,
    );
    if (Number(matched.calls) !== scanned!.calls || scanned!.calls === 0)
      throw new Error(`${matched.calls} calls of a number are found, ${scanned!.calls} are there`);
  }
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

async function timed<T>(work: () => Promise<T>): Promise<{ seconds: number; value: T }> {
  const began = performance.now();
  const value = await work();
  return { seconds: (performance.now() - began) / 1000, value };
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
  return { seconds: median(ours), plainSeconds: median(plain), csvSeconds: csv.seconds };
}

const ms = (value: number): string => value.toFixed(1);

function row(what: string, { p50, p95, p99, perSecond }: Latency, wanted: string): string[] {
  return [what, ms(p50), ms(p95), ms(p99), perSecond.toFixed(0), wanted];
}

await withBenchServers(
  async (bench) => {
    const { connections } = OPTIONS;
    const whole = await serve(bench, WHOLE, await fill(bench, WHOLE, OPTIONS.calls));
    const tenth = await serve(bench, TENTH, await fill(bench, TENTH, Math.round(OPTIONS.calls / 10)));
    try {
      await bench.database.quiet();
      for (const asked of [whole, tenth]) await checkFound(bench, asked);
      const number = await measure(whole, tenth, QUESTIONS.number, connections);
      const open = await measure(whole, tenth, QUESTIONS.openMonth, connections);
      const prefix = await measure(whole, tenth, QUESTIONS.prefix, connections);
      const usageOfOne = await measure(whole, tenth, QUESTIONS.usageOfOne, 1);
      const usageOfAll = await measureUsageOfAll(bench, whole);
      const csv = await measureCsv(bench, whole);

      const rows = (what: string, both: { whole: Latency; tenth: Latency }, wanted: string): string[][] => [
        row(what, both.whole, wanted),
        row('  the same at a tenth of the calls', both.tenth, ''),
      ];
      say(
        `${cpus().length} cores carry database, program and this bench; median of ${OPTIONS.rounds} rounds of ${OPTIONS.seconds} s`,
      );
      say(
        textTable(
          ['ms', 'p50', 'p95', 'p99', 'answers/s', 'wanted p99'],
          [
            ...rows(`a number, any role, a closed month, ${connections} connections`, number, '100'),
            ...rows('the same in the newest month, whose parts are not merged', open, '100'),
            ...rows(`prefix of 10,000 numbers, a closed month, ${connections} connections`, prefix, '300'),
            ...rows('usage of one calling number, a month, 1 connection', usageOfOne, '100'),
          ],
        ),
      );
      say(
        `usage of all calling numbers of a month: ${usageOfAll.seconds.toFixed(2)} s (wanted 2); all groups as CSV ${usageOfAll.csvSeconds.toFixed(2)} s; ` +
          `plain GROUP BY ${usageOfAll.plainSeconds.toFixed(2)} s`,
      );
      say(
        `CSV of ${csv.rows} records: ${csv.seconds.toFixed(1)} s (wanted 30), ClickHouse's own ${csv.plainSeconds.toFixed(1)} s; ` +
          `peak memory of the program ${csv.megabytes.toFixed(0)} MB, ${csv.megabytesBefore.toFixed(0)} MB behind a tenth of the rows`,
      );

      const limits = readThresholds().query;
      const growth = (both: { whole: Latency; tenth: Latency }): number => both.whole.p99 / both.tenth.p99;
      const held: Held[] = [
        {
          what: 'a number: p99 against a tenth of the calls',
          value: growth(number),
          max: limits.number_growth_max,
        },
        {
          what: 'the newest month: p99 against a tenth of the calls',
          value: growth(open),
          max: limits.number_growth_max,
        },
        {
          what: 'a prefix: p99 against a tenth of the calls',
          value: growth(prefix),
          max: limits.prefix_growth_max,
        },
        {
          what: 'usage of one number against a look-up, p50',
          value: usageOfOne.whole.p50 / number.whole.p50,
          max: limits.usage_of_one_ratio_max,
        },
        {
          what: 'usage of all numbers against plain GROUP BY',
          value: usageOfAll.seconds / usageOfAll.plainSeconds,
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
      const broken = brokenThresholds(held);
      for (const { what } of broken) say(`BROKEN: ${what}`);
      process.exitCode = broken.length === 0 ? 0 : 1;
    } finally {
      await whole.served.stop();
      await tenth.served.stop();
    }
  },
  [WHOLE, TENTH],
);
