import autocannon from 'autocannon';
import type { BenchServers } from './bench-servers.ts';
import { runCdrhouse, serveCdrhouse, type RunOptions, type Served } from './cdrhouse-run.ts';
import { blockPrefix, lastMonths, storeCalls, subscriberNumber, type StoredCalls } from './stored-calls.ts';
import type { Database } from './database.ts';
import { cpuSeconds } from './process-usage.ts';
import { median, percentile } from './table.ts';

/** The API over stored calls, and the questions that a bench asks it. */
const TOPIC = 'cdr';
const CHECKED_NUMBERS = 5;
const ROLES = ['disputes', 'disputes:unmasked', 'disputes:prefix', 'billing'];

/** A database with calls, and the API over it. */
export interface Asked {
  readonly name: string;
  readonly stored: StoredCalls;
  readonly database: Database;
  readonly served: Served;
  readonly headers: Readonly<Record<string, string>>;
}

export interface Month {
  readonly from: string;
  readonly to: string;
}

function month({ monthStarts }: StoredCalls, index: number): Month {
  const [from, to] = [monthStarts.at(index - 1)!, monthStarts.at(index)!].map((ms) => new Date(ms));
  return { from: from!.toISOString(), to: to!.toISOString() };
}

/** The newest month, whose parts are not merged; and the one before. */
export const openMonth = (stored: StoredCalls): Month => month(stored, -1);
export const closedMonth = (stored: StoredCalls): Month => month(stored, -2);

/** Bytes in active parts by table, of calls and of their primary keys in memory. */
export interface StoredSize {
  readonly table: 'cdr' | 'cdr_by_number';
  readonly bytes: number;
  readonly keyBytes: number;
  readonly parts: number;
}

export function storedSizes({ database }: BenchServers, name: string): Promise<StoredSize[]> {
  return database.rows<StoredSize>(
    `SELECT table, sum(bytes_on_disk) AS bytes, sum(primary_key_bytes_in_memory_allocated) AS keyBytes, count() AS parts
     FROM system.parts WHERE active AND database = '${name}' AND table IN ('cdr', 'cdr_by_number') GROUP BY table ORDER BY table`,
  );
}

/** Migrates a database and fills it with calls of the last months. */
export async function fill(
  bench: BenchServers,
  name: string,
  calls: number,
  months: number,
  environment: Readonly<Record<string, string>> = {},
): Promise<StoredCalls> {
  await runCdrhouse(bench, { database: name, topic: TOPIC, environment }, 'migrate');
  const began = performance.now();
  const stored = await storeCalls(bench.database, name, calls, lastMonths(months, Date.now()));
  const sizes = await storedSizes(bench, name);
  const sum = (of: (size: StoredSize) => number): number => sizes.reduce((all, size) => all + of(size), 0);
  process.stdout.write(
    `${name}: ${stored.calls} calls of ${stored.subscribers} numbers over ${months} months, ${stored.ledgerRows} rows in the ledger; ` +
      `${Math.round(sum(({ bytes }) => bytes) / 1e6)} MB in ${sum(({ parts }) => parts)} parts ` +
      `(${((performance.now() - began) / 1000).toFixed(0)} s)\n`,
  );
  return stored;
}

export async function serve(bench: BenchServers, name: string, stored: StoredCalls): Promise<Asked> {
  const run: RunOptions = { database: name, topic: TOPIC };
  const { stdout } = await runCdrhouse(bench, run, 'keys', 'add', '--role', ...ROLES);
  const served = await serveCdrhouse(bench, run);
  const headers = { authorization: `Bearer ${stdout.trim()}`, 'case-id': 'bench', purpose: 'support' };
  return { name, stored, database: bench.database, served, headers };
}

/** One of the numbers, another one each time. */
function anyNumber({ subscribers }: StoredCalls): string {
  return subscriberNumber(Math.floor(Math.random() * subscribers));
}

/** A question: the path that is asked, made anew for each request. */
export type Question = (stored: StoredCalls) => string;

export const QUESTIONS = {
  number: (stored) => callsPath(anyNumber(stored), closedMonth(stored)),
  calling: (stored) => callsPath(anyNumber(stored), closedMonth(stored), 'calling'),
  displayed: (stored) => callsPath(anyNumber(stored), closedMonth(stored), 'displayed'),
  dialed: (stored) => callsPath(anyNumber(stored), closedMonth(stored), 'dialed'),
  openMonth: (stored) => callsPath(anyNumber(stored), openMonth(stored)),
  prefix: (stored) =>
    callsPath(blockPrefix(Math.floor(Math.random() * stored.subscribers)), closedMonth(stored)),
  usageOfOne: (stored) => usagePath(closedMonth(stored), anyNumber(stored)),
} satisfies Record<string, Question>;

function callsPath(number: string, { from, to }: Month, role = 'any'): string {
  return `/v1/calls?${new URLSearchParams({ number, role, from, to }).toString()}`;
}

export function usagePath({ from, to }: Month, number?: string): string {
  const filter: Record<string, string> = number === undefined ? {} : { calling_number: number };
  const parameters = { from, to, group_by: 'calling_number', increment: '60/60', ...filter };
  return `/v1/usage?${new URLSearchParams(parameters).toString()}`;
}

/** The answers of one round. */
export interface Answers {
  /** How long each took, in order. */
  readonly milliseconds: readonly number[];
  /** CPU ms an answer, of ClickHouse and of `serve`. */
  readonly databaseMs: number;
  readonly serveMs: number;
}

/** Asks for some seconds. Rejects where an answer is no 2xx. */
export async function ask(
  { database, served, headers, stored }: Asked,
  question: Question,
  { connections, seconds }: { readonly connections: number; readonly seconds: number },
): Promise<Answers> {
  const milliseconds: number[] = [];
  const before = { database: database.cpuSeconds, serve: cpuSeconds(served.pid) };
  const run = autocannon({
    url: served.url,
    connections,
    duration: seconds,
    headers,
    requests: [{ setupRequest: (request) => ({ ...request, method: 'GET', path: question(stored) }) }],
  });
  run.on('response', (_client, _status, _bytes, took) => milliseconds.push(took));
  const { errors, timeouts, non2xx } = await run;
  if (errors + timeouts + non2xx > 0)
    throw new Error(`${errors} errors, ${timeouts} timeouts, ${non2xx} answers that are no 2xx`);
  const msEach = (cpu: number): number => (cpu / milliseconds.length) * 1000;
  return {
    milliseconds: milliseconds.sort((a, b) => a - b),
    databaseMs: msEach(database.cpuSeconds - before.database),
    serveMs: msEach(cpuSeconds(served.pid) - before.serve),
  };
}

/** What the rounds of one question took, in ms: the median over the rounds of each. */
export interface Latency {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly perSecond: number;
  readonly databaseMs: number;
  readonly serveMs: number;
}

export class Rounds {
  readonly #rounds: Answers[] = [];
  readonly #seconds: number;

  /** @param seconds of a round */
  constructor(seconds: number) {
    this.#seconds = seconds;
  }

  add(answers: Answers): void {
    this.#rounds.push(answers);
  }

  /** A percentile of each round. */
  percentiles(share: number): number[] {
    return this.#rounds.map(({ milliseconds }) => percentile(milliseconds, share));
  }

  latency(): Latency {
    const of = (share: number): number => median(this.percentiles(share));
    const ofRounds = (each: (answers: Answers) => number): number => median(this.#rounds.map(each));
    return {
      p50: of(0.5),
      p95: of(0.95),
      p99: of(0.99),
      perSecond: ofRounds(({ milliseconds }) => milliseconds.length / this.#seconds),
      databaseMs: ofRounds(({ databaseMs }) => databaseMs),
      serveMs: ofRounds(({ serveMs }) => serveMs),
    };
  }
}

export async function answer({ served, headers }: Asked, path: string): Promise<Response> {
  const response = await fetch(`${served.url}${path}`, { headers });
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  return response;
}

/** The numbers must be found under their keys, or the bench measures nothing. */
export async function checkFound(bench: BenchServers, asked: Asked): Promise<void> {
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

export async function timed<T>(work: () => Promise<T>): Promise<{ seconds: number; value: T }> {
  const began = performance.now();
  const value = await work();
  return { seconds: (performance.now() - began) / 1000, value };
}
