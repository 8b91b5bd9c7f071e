import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { fill } from './asked.ts';
import { withBenchServers, type BenchServers } from './bench-servers.ts';
import { runCdrhouse } from './cdrhouse-run.ts';
import { benchHost, finishPart, OURS, type Check, type Figure } from './result.ts';
import { subscriberNumber, type StoredCalls } from './stored-calls.ts';
import { textTable } from './table.ts';
import { readThresholds } from './thresholds.ts';
import { wholeNumber } from './whole-number.ts';

/**
 * `make bench-retention`: what it costs that calls go: a sweep of one month, a sweep of a month that is due in part, and
 * an erasure of one number, each among many calls, beside plain statements that take the same rows away and prove
 * nothing. CPU is counted until merges are quiet. Exits 1 where a threshold is broken or a row is left.
 */
const { values } = parseArgs({ options: { calls: { type: 'string', default: '50000000' } } });
const CALLS = wholeNumber('calls', values.calls, 200_000, 200_000_000);

const NAME = 'cdrhouse';
/** Copies of the tables that share their parts; the plain statements work on them. */
const PLAIN = 'plain';
const TABLES = ['cdr', 'cdr_by_number'] as const;
const MONTHS = 13;
const LOOK_MS = 100;
/** The first of the months is due as a whole, the second in part. */
const ENVIRONMENT = { CDRHOUSE_RETENTION_MONTHS: '12', CDRHOUSE_RETENTION_BILLING_MONTHS: '0' };
/** No number that is displayed for others, which are multiples of 50. */
const ERASED_INDEX = 1007;

/** What one way of taking calls away used, in seconds. */
interface Used {
  readonly who: string;
  readonly what: string;
  readonly seconds: number;
  readonly program: number;
  readonly clickhouse: number;
}

const cpu = ({ program, clickhouse }: Used): number => program + clickhouse;

class Bench {
  readonly #bench: BenchServers;
  readonly #used: Used[] = [];

  constructor(bench: BenchServers) {
    this.#bench = bench;
  }

  get used(): readonly Used[] {
    return this.#used;
  }

  /** Runs statements, one after the other, and waits for what they began. */
  async statements(...statements: string[]): Promise<void> {
    for (const statement of statements) {
      await this.#bench.database.statement(statement);
      // An answer may take five minutes, such a change longer.
      while ((await this.#running()) > 0) await sleep(LOOK_MS);
    }
  }

  async #running(): Promise<number> {
    const query = `SELECT count() AS mutations FROM system.mutations WHERE NOT is_done AND database = '${PLAIN}'`;
    return (await this.row<{ mutations: number }>(query)).mutations;
  }

  /** The first row of a query. */
  async row<T>(query: string): Promise<T> {
    return (await this.#bench.database.rows<T>(query))[0]!;
  }

  /** Rows of both tables. */
  async count(condition: string): Promise<number> {
    const counts = TABLES.map((table) => `(SELECT count() FROM ${NAME}.${table} WHERE ${condition})`);
    return (await this.row<{ rows: number }>(`SELECT ${counts.join(' + ')} AS rows`)).rows;
  }

  async plainly(who: string, what: string, ...statements: string[]): Promise<Used> {
    return this.#measure(who, what, async () => {
      await this.statements(...statements);
      return 0;
    });
  }

  /** Runs a command of cdrhouse, and gives what it reports. */
  async command(what: string, ...commandLine: string[]): Promise<{ used: Used; report: unknown }> {
    let stdout = '';
    const used = await this.#measure(OURS, what, async () => {
      const run = { database: NAME, topic: 'cdr', environment: ENVIRONMENT };
      const ended = await runCdrhouse(this.#bench, run, ...commandLine, '--json');
      stdout = ended.stdout;
      return ended.cpuSeconds;
    });
    return { used, report: JSON.parse(stdout) as unknown };
  }

  /** @param work gives CPU seconds of the program */
  async #measure(who: string, what: string, work: () => Promise<number>): Promise<Used> {
    const { database } = this.#bench;
    await database.quiet();
    const before = database.cpuSeconds;
    const began = performance.now();
    const program = await work();
    const seconds = (performance.now() - began) / 1000;
    await database.quiet();
    const used = { who, what, seconds, program, clickhouse: database.cpuSeconds - before };
    this.#used.push(used);
    return used;
  }
}

interface SweepReport {
  readonly calls: number;
  readonly months: readonly { readonly month: number; readonly kind: string; readonly state: string }[];
}

interface EraseReport {
  readonly state: string;
  readonly result: { readonly calls_deleted: number };
}

/** `202510`, the partition of a month. */
function partitionOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 7).replace('-', '');
}

const readOnce = (month: string): string[] =>
  TABLES.map(
    (table) =>
      `SELECT count(), groupBitXor(cityHash64(cdr_key, start_at)) FROM ${NAME}.${table} FINAL WHERE toYYYYMM(start_at) = ${month} FORMAT Null`,
  );
const ofBoth = (statement: (table: string) => string): string[] => TABLES.map(statement);

/** One month that is due as a whole. */
async function sweepWhole(bench: Bench, month: string): Promise<{ ratio: number; check: Check }> {
  const what = 'sweep of one month';
  const read = await bench.plainly('reading the month once', what, ...readOnce(month));
  const drop = await bench.plainly(
    'plain DROP PARTITION',
    what,
    ...ofBoth((table) => `ALTER TABLE ${PLAIN}.${table} DROP PARTITION ${month}`),
  );
  const { calls } = await bench.row<{ calls: number }>(
    `SELECT count() AS calls FROM ${NAME}.cdr WHERE toYYYYMM(start_at) = ${month}`,
  );
  const others = await bench.count(`toYYYYMM(start_at) != ${month}`);
  const ended = await bench.command(what, 'retention', 'sweep', '--trust-clock');
  const report = ended.report as SweepReport;
  const left = await bench.count(`toYYYYMM(start_at) = ${month}`);
  const kept = await bench.count('1');
  const [swept, more] = report.months;
  const passed =
    calls > CALLS / MONTHS / 1.01 &&
    report.calls === calls &&
    more === undefined &&
    swept?.kind === 'drop' &&
    swept.state === 'done' &&
    left === 0 &&
    kept === others;
  return {
    ratio: ended.used.clickhouse / (read.clickhouse + drop.clickhouse),
    check: {
      what: 'the month is gone from both tables, and nothing else',
      who: OURS,
      passed,
      detail: `${report.calls} of ${calls} calls, ${left} rows left, ${others - kept} rows of other months gone`,
    },
  };
}

/** The month of which a part is due: undefined where that is less than nothing, on the first of a month. */
async function sweepPart(bench: Bench, month: string): Promise<Check> {
  const what = 'sweep of a month that is due in part';
  const due = `toYYYYMM(start_at) = ${month} AND addMonths(start_at, 12) <= now64(3)`;
  await bench.plainly(
    'plain ALTER … DELETE',
    what,
    ...ofBoth(
      (table) =>
        `ALTER TABLE ${PLAIN}.${table} DELETE IN PARTITION ${month} WHERE addMonths(start_at, 12) <= now64(3)`,
    ),
  );
  const before = await bench.count(`toYYYYMM(start_at) = ${month}`);
  const dueBefore = await bench.count(due);
  const ended = await bench.command(what, 'retention', 'sweep', '--trust-clock');
  const report = ended.report as SweepReport;
  // Some more have become due meanwhile.
  const after = await bench.count(`toYYYYMM(start_at) = ${month}`);
  const gone = before - after;
  const states = report.months.map(({ kind, state }) => `${kind} ${state}`).join(', ');
  return {
    what: 'what is due of the month is gone from both tables',
    who: OURS,
    passed: states === 'delete done' && gone >= dueBefore && gone <= dueBefore * 1.01 + 1000,
    detail: `${states}: ${gone} rows gone, ${dueBefore} were due just before${gone > dueBefore ? '; more became due until it began' : ''}`,
  };
}

async function erase(bench: Bench, { monthStarts }: StoredCalls): Promise<{ ratio: number; check: Check }> {
  const what = 'erasure of one number';
  const number = subscriberNumber(ERASED_INDEX);
  const anywhere = `'${number}' IN (calling_number, displayed_caller_id, dialed_number)`;
  const { own } = await bench.row<{ own: number }>(
    `SELECT count() AS own FROM ${NAME}.cdr WHERE calling_number = '${number}'`,
  );
  const { calls } = await bench.row<{ calls: number }>(`SELECT count() AS calls FROM ${NAME}.cdr`);
  const plain = await bench.plainly(
    'plain ALTER … DELETE',
    what,
    ...ofBoth((table) => `ALTER TABLE ${PLAIN}.${table} DELETE WHERE ${anywhere}`),
  );
  const [from, to] = [monthStarts[0]!, Date.now()].map((ms) => new Date(ms).toISOString()) as [
    string,
    string,
  ];
  const person = ['--number', number, '--from', from, '--to', to];
  const ended = await bench.command(what, 'subject', 'erase', ...person, '--reason', 'bench');
  const report = ended.report as EraseReport;
  const left = await bench.count(anywhere);
  const { calls: after } = await bench.row<{ calls: number }>(
    `SELECT count() AS calls FROM ${NAME}.cdr FINAL`,
  );
  const deleted = report.result.calls_deleted;
  return {
    ratio: ended.used.clickhouse / plain.clickhouse,
    check: {
      what: 'the number is in no row of both tables, its own calls are gone, and no other call',
      who: OURS,
      passed: report.state === 'done' && left === 0 && own > 0 && deleted === own && after === calls - own,
      detail: `${report.state}: ${deleted} of ${own} calls, ${left} rows left, ${calls - own - after} calls of others gone`,
    },
  };
}

function usedTable(used: readonly Used[]): string {
  return textTable(
    ['seconds', 'wall', 'CPU', 'of it the program'],
    used.map((one) => [
      `${one.what}: ${one.who}`,
      one.seconds.toFixed(1),
      cpu(one).toFixed(1),
      one.program.toFixed(1),
    ]),
  );
}

function figuresOf(used: readonly Used[]): Figure[] {
  return used.flatMap((one) => {
    const figure = (name: string, value: number): Figure => {
      return { name, unit: 's', who: one.who, case: one.what, values: [value], calls: CALLS };
    };
    return [
      figure('CPU', cpu(one)),
      figure('CPU of the program', one.program),
      figure('CPU of ClickHouse', one.clickhouse),
      figure('wall', one.seconds),
    ];
  });
}

await withBenchServers(async (servers) => {
  const host = await benchHost(servers);
  const bench = new Bench(servers);
  await runCdrhouse(servers, { database: NAME, topic: 'cdr', environment: ENVIRONMENT }, 'migrate');
  // It would take a part of the month away while the calls are made.
  await bench.statements(...ofBoth((table) => `ALTER TABLE ${NAME}.${table} REMOVE TTL`));
  const stored = await fill(servers, NAME, CALLS, MONTHS, ENVIRONMENT);
  const [whole, inPart] = stored.monthStarts.slice(0, 2).map(partitionOf) as [string, string];
  await bench.statements(
    `CREATE DATABASE ${PLAIN}`,
    ...ofBoth((table) => `CREATE TABLE ${PLAIN}.${table} CLONE AS ${NAME}.${table}`),
    // Each month's sweep is measured alone: this one comes back from the copy.
    ...ofBoth((table) => `CREATE TABLE ${PLAIN}.${table}_part CLONE AS ${NAME}.${table}`),
    ...ofBoth((table) => `ALTER TABLE ${NAME}.${table} DROP PARTITION ${inPart}`),
  );
  const sweptWhole = await sweepWhole(bench, whole);
  await bench.statements(
    ...ofBoth(
      (table) => `ALTER TABLE ${NAME}.${table} ATTACH PARTITION ${inPart} FROM ${PLAIN}.${table}_part`,
    ),
    ...ofBoth((table) => `DROP TABLE ${PLAIN}.${table}_part SYNC`),
  );
  const checks = [sweptWhole.check];
  if (new Date().getUTCDate() > 1) checks.push(await sweepPart(bench, inPart));
  const erased = await erase(bench, stored);
  checks.push(erased.check);

  process.stdout.write(`${usedTable(bench.used)}\n`);
  for (const { what, passed, detail } of checks)
    process.stdout.write(`${passed ? 'proven' : 'NOT PROVEN'}: ${what}: ${detail}\n`);
  const limits = readThresholds().retention;
  finishPart(host, {
    part: 'retention',
    settings: {
      calls: CALLS,
      months: MONTHS,
      retention_months: 12,
      merges: 'counted until none has run for 2 s',
    },
    figures: figuresOf(bench.used),
    checks,
    held: [
      {
        what: 'CPU of ClickHouse for a sweep of one month, against reading it once and dropping it',
        value: sweptWhole.ratio,
        max: limits.sweep_ratio_max,
      },
      {
        what: 'CPU of ClickHouse for an erasure, against plain ALTER … DELETE',
        value: erased.ratio,
        max: limits.erase_ratio_max,
      },
    ],
    notes: [
      'The program itself uses about as much whatever the size, so that ratios are those of ClickHouse.',
      'A plain DROP PARTITION proves nothing, copies nothing for legal holds and leaves totals unexplained; the sweep reads the month in both tables and compares them.',
      'A plain ALTER … DELETE takes the calls of others with it and leaves the number in parts that were replaced; the erasure blanks it there, removes those parts, keeps the number out when it is sent again, and looks for it afterwards.',
      'An erasure or a month that is due in part rewrites every part in which there is something to take: this is what the cost follows, not the number of calls that go.',
    ],
  });
});
