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
  type Month,
  type Question,
} from './asked.ts';
import { withBenchServers, type BenchServers } from './bench-servers.ts';
import { runCdrhouse, startIngest } from './cdrhouse-run.ts';
import { peakMemoryBytes } from './process-usage.ts';
import {
  answersNote,
  queryFigures,
  queryHeld,
  queryTable,
  type Both,
  type Exported,
  type Measured,
  type UsageOfAll,
} from './query-report.ts';
import { benchHost, finishPart, OURS } from './result.ts';
import { say } from './say.ts';
import { SteadyLoad } from './steady-load.ts';
import type { StoredCalls } from './stored-calls.ts';
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

/** Rounds of the question in turn on both, the first of each unmeasured. */
async function measure(served: readonly Asked[], question: Question, connections: number): Promise<Both> {
  const { seconds } = OPTIONS;
  const rounds = served.map((asked) => ({ asked, of: new Rounds(seconds) }));
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

async function measureCsv(bench: BenchServers, asked: Asked): Promise<Exported> {
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
    megabytesBefore: before / 2 ** 20,
    megabytes: after / 2 ** 20,
  };
}

/** Usage of all callers of a month, and what plain ClickHouse takes to group the same rows. */
async function measureUsageOfAll(bench: BenchServers, asked: Asked): Promise<UsageOfAll> {
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

/**
 * All questions, one after the other.
 * @param served all calls, and a tenth of them where it is asked, too
 */
async function measureAll(bench: BenchServers, served: readonly Asked[]): Promise<Measured> {
  const { calls, connections } = OPTIONS;
  const [whole, tenth] = [served[0]!, served[1]];
  const both = (question: Question, of = connections): Promise<Both> => measure(served, question, of);
  return {
    calls,
    connections,
    liveRate: LIVE_RATE,
    number: await both(QUESTIONS.number),
    openMonth: await both(QUESTIONS.openMonth),
    calling: await both(QUESTIONS.calling),
    displayed: await both(QUESTIONS.displayed),
    dialed: await both(QUESTIONS.dialed),
    prefix: await both(QUESTIONS.prefix, 1),
    prefixes: await both(QUESTIONS.prefix),
    prefixIsFull: tenth !== undefined && tenth.stored.subscribers >= PREFIX_NUMBERS,
    usageOfOne: await both(QUESTIONS.usageOfOne, 1),
    usageOfAll: await measureUsageOfAll(bench, whole),
    csv: await measureCsv(bench, whole),
    besideIngest: await measureBesideIngest(bench, whole, QUESTIONS.number),
  };
}

const SERVERS = { databases: [WHOLE, TENTH] };

await withBenchServers(async (bench) => {
  const host = await benchHost(bench);
  const { calls, months, connections, rounds, seconds, warmUpSeconds } = OPTIONS;
  const whole = await serve(bench, WHOLE, await fill(bench, WHOLE, calls, months));
  const served = [whole];
  if (!values.alone)
    served.push(await serve(bench, TENTH, await fill(bench, TENTH, Math.round(calls / 10), months)));
  try {
    await bench.database.quiet();
    for (const asked of served) await checkFound(bench, asked);
    for (const asked of served) await ask(asked, QUESTIONS.number, { connections, seconds: warmUpSeconds });
    const measured = await measureAll(bench, served);
    say(
      `${host.cores} cores carry database, program and this bench; median of ${rounds} rounds of ${seconds} s`,
    );
    say(queryTable(measured));
    const held = queryHeld(measured);
    for (const { what, value, max } of held) say(`${what}: ${value.toFixed(2)}, at most ${max}`);
    finishPart(host, {
      part: 'query',
      settings: { ...OPTIONS, ledger_rows: whole.stored.ledgerRows, subscribers: whole.stored.subscribers },
      figures: queryFigures(measured),
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
        answersNote(measured, seconds),
        'Wanted are figures of 50,000,000 calls.',
        'ClickHouse makes the stored calls itself; a number has as many of them whatever the size of the table.',
        'Database, program and the client that asks share the cores.',
      ],
    });
  } finally {
    for (const asked of served) await asked.served.stop();
  }
}, SERVERS);
