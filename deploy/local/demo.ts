import { setTimeout as delay } from 'node:timers/promises';
import { defaultCacheDir } from './cache-folder.ts';
import { LocalServerError } from './errors.ts';
import { type LocalServers, startLocalServers } from './local-servers.ts';
import { freePort } from './ports.ts';
import { compiledLauncher } from './prerequisites.ts';
import { describeDeath } from './server-process.ts';
import { type ServiceProcess, startService } from './service-process.ts';

export interface DemoOptions {
  /** End by itself after this time; undefined: at Ctrl-C. */
  readonly seconds?: number;
  /** Calls a second. */
  readonly rate: number;
  readonly dataDir: string;
  /** Path of the `cdrhouse` program. */
  readonly program: string;
}

/** Everything that runs during the demo. */
interface Demo {
  readonly servers: LocalServers;
  /** How a server ended, if one did. */
  readonly serverDeath: () => string | undefined;
  readonly ingest: ServiceProcess;
  readonly serve: ServiceProcess;
  readonly generate: ServiceProcess;
  readonly api: string;
  readonly metrics: string;
  readonly apiKey: string;
}

/** What the live line shows, from the metrics of ingest. */
interface Reading {
  readonly stored: number;
  readonly lag: number;
}

const CALLS_PER_RUN_MAX = 1_000_000_000;
const READY_TIMEOUT_MS = 60_000;
const DRAIN_TIMEOUT_MS = 30_000;
const STOP_GRACE_MS = 40_000;
const TICK_MS = 500;
const RATE_SAMPLES = 10;

/**
 * The whole pipeline on this machine: servers, tables, topics, ingest, API and a stream of calls that end
 * now. Every part is the program that production runs. Gives the exit code: 0 when calls were stored and
 * the API found one.
 */
export async function runDemo(options: DemoOptions): Promise<number> {
  const interrupted = interruption();
  const began = performance.now();
  try {
    say('cdrhouse demo: starting Kafka and ClickHouse');
    const servers = await startLocalServers({
      dataDir: options.dataDir,
      kafkaPort: 0,
      clickhousePort: 0,
      printedGrants: true,
      report: say,
    });
    try {
      return await withServers(options, servers, interrupted, began);
    } finally {
      say('stopping the servers');
      await servers.stop();
    }
  } catch (error) {
    if (!(error instanceof LocalServerError) && !(error instanceof DemoError)) throw error;
    say(error instanceof LocalServerError ? `${error.code}: ${error.message}` : error.message);
    return 1;
  }
}

/** A part of the demo failed; the message says which and what it said. */
class DemoError extends Error {}

async function withServers(
  options: DemoOptions,
  servers: LocalServers,
  interrupted: AbortSignal,
  began: number,
): Promise<number> {
  const started: ServiceProcess[] = [];
  try {
    const demo = await startServices(options, servers, started);
    await firstCalls(demo, interrupted);
    await explain(demo, options);
    await watch(demo, options, interrupted, began);
    return await finish(demo, began);
  } finally {
    // The reverse order: nobody is left waiting for one that is gone.
    for (const service of started.toReversed()) await service.stop(STOP_GRACE_MS);
  }
}

async function startServices(
  { program, rate }: DemoOptions,
  servers: LocalServers,
  started: ServiceProcess[],
): Promise<Demo> {
  const launcher = await compiledLauncher(defaultCacheDir(), say);
  const queryPort = await freePort();
  const metricsPort = await freePort([queryPort]);
  const environment = serviceEnvironment(servers, queryPort, metricsPort);
  const start = (...commandLine: string[]): ServiceProcess => {
    const service = startService(launcher, program, commandLine, environment);
    started.push(service);
    return service;
  };
  const run = async (...commandLine: string[]): Promise<string> => {
    const service = start(...commandLine);
    if ((await service.ended) !== 0)
      throw new DemoError(`${commandLine.join(' ')} failed:\n${service.lastWords()}`);
    return service.output();
  };
  say('creating tables and topics');
  await run('migrate');
  const { token } = JSON.parse(
    await run('keys', 'add', '--role', 'disputes', 'billing', '--label', 'demo', '--json'),
  ) as { token: string };
  const ingest = start('ingest');
  const serve = start('serve');
  const seed = String(Date.now());
  const count = String(CALLS_PER_RUN_MAX);
  const generate = start(
    'generate',
    '--live',
    '--count',
    count,
    '--rate',
    String(rate),
    '--seed',
    seed,
    '--topic',
    'cdr',
  );
  const api = `http://127.0.0.1:${queryPort}`;
  let death: string | undefined;
  void servers.died.then((ended) => (death = describeDeath(ended)));
  return {
    servers,
    serverDeath: () => death,
    ingest,
    serve,
    generate,
    api,
    metrics: `http://127.0.0.1:${metricsPort}/metrics`,
    apiKey: token,
  };
}

/** Each service with its own database user, which has the rights that `migrate --print-grants` prints, as in production. A foreign settings file has no say here. */
function serviceEnvironment(
  servers: LocalServers,
  queryPort: number,
  metricsPort: number,
): Record<string, string> {
  const { ingest, query, retention } = servers.users;
  return {
    CDRHOUSE_CONFIG: '/dev/null',
    CDRHOUSE_KAFKA_BROKERS: servers.kafka,
    CDRHOUSE_CLICKHOUSE_URL: servers.clickhouse,
    CDRHOUSE_CLICKHOUSE_DATABASE: 'cdrhouse',
    CDRHOUSE_INGEST_CLICKHOUSE_USER: ingest.user,
    CDRHOUSE_INGEST_CLICKHOUSE_PASSWORD: ingest.password,
    CDRHOUSE_QUERY_CLICKHOUSE_USER: query.user,
    CDRHOUSE_QUERY_CLICKHOUSE_PASSWORD: query.password,
    CDRHOUSE_RETENTION_CLICKHOUSE_USER: retention.user,
    CDRHOUSE_RETENTION_CLICKHOUSE_PASSWORD: retention.password,
    CDRHOUSE_QUERY_HOST: '127.0.0.1',
    CDRHOUSE_QUERY_PORT: String(queryPort),
    CDRHOUSE_INGEST_METRICS_HOST: '127.0.0.1',
    CDRHOUSE_INGEST_METRICS_PORT: String(metricsPort),
    CDRHOUSE_INGEST_LOG_LEVEL: 'warn',
    CDRHOUSE_QUERY_LOG_LEVEL: 'warn',
  };
}

async function firstCalls(demo: Demo, interrupted: AbortSignal): Promise<void> {
  say('waiting for the first calls');
  const deadline = Date.now() + READY_TIMEOUT_MS;
  const ready = async (): Promise<boolean> => {
    const answer = await fetch(`${demo.api}/readyz`).catch(() => undefined);
    return answer?.status === 200 && ((await read(demo))?.stored ?? 0) > 0;
  };
  while (!(await ready())) {
    if (interrupted.aborted) throw new DemoError('interrupted');
    throwIfDead(demo);
    if (Date.now() > deadline) throw new DemoError(`no call was stored within ${READY_TIMEOUT_MS / 1000} s`);
    await delay(100);
  }
}

/** Prints what is where, with lines to paste. */
async function explain(demo: Demo, options: DemoOptions): Promise<void> {
  const number = encodeURIComponent(await busiestNumber(demo));
  const today = new Date().toISOString().slice(0, 10);
  const tomorrow = new Date(Date.now() + 86_400_000).toISOString().slice(0, 10);
  print(`
  Kafka        ${demo.servers.kafka}   topic cdr
  ClickHouse   ${demo.servers.clickhouse}   database cdrhouse
  API          ${demo.api}   description: ${demo.api}/openapi.json
  metrics      ${demo.metrics}
  data         ${options.dataDir}   (kept; delete the folder to start afresh)

Look up a number:
  curl -s '${demo.api}/v1/calls?number=${number}&limit=3' -H 'Authorization: Bearer ${demo.apiKey}' -H 'Case-Id: demo-1' -H 'Purpose: dispute'

Usage of the day, in total:
  curl -s '${demo.api}/v1/usage?from=${today}&to=${tomorrow}' -H 'Authorization: Bearer ${demo.apiKey}'

`);
}

/** The calling number with the most calls: the sample line should find some. */
async function busiestNumber(demo: Demo): Promise<string> {
  const query = `SELECT calling_number FROM cdrhouse.cdr WHERE startsWith(calling_number, '+')
    GROUP BY calling_number ORDER BY count() DESC, calling_number LIMIT 1 FORMAT TSVRaw`;
  const answer = await fetch(demo.servers.clickhouse, { method: 'POST', body: query });
  return (await answer.text()).trim();
}

/** Shows a live line until the time is over or Ctrl-C comes. */
async function watch(
  demo: Demo,
  options: DemoOptions,
  interrupted: AbortSignal,
  began: number,
): Promise<void> {
  const live = process.stderr.isTTY;
  // Batches are stored about once a second: the rate is taken over several.
  const samples: { at: number; stored: number }[] = [];
  let printedAt = 0;
  const over = (): boolean =>
    interrupted.aborted ||
    (options.seconds !== undefined && performance.now() - began >= options.seconds * 1000);
  while (!over()) {
    throwIfDead(demo);
    await delay(TICK_MS, undefined, { signal: interrupted }).catch(() => undefined);
    const reading = await read(demo);
    if (reading === undefined) continue;
    samples.push({ at: performance.now(), stored: reading.stored });
    if (samples.length > RATE_SAMPLES) samples.shift();
    const line = statusLine(samples, reading);
    if (live) process.stderr.write(`\r\x1b[2K${line}`);
    else if (performance.now() - printedAt >= 5000) {
      say(line);
      printedAt = performance.now();
    }
  }
  if (live) process.stderr.write('\n');
}

function statusLine(samples: readonly { at: number; stored: number }[], { lag, stored }: Reading): string {
  const [first] = samples;
  const last = samples.at(-1);
  const seconds = first === undefined || last === undefined ? 0 : (last.at - first.at) / 1000;
  const rate = seconds === 0 ? 0 : (last!.stored - first!.stored) / seconds;
  return `${grouped(rate)} records/s | lag ${grouped(lag)} messages | ${grouped(stored)} calls stored`;
}

/** Ends the stream, waits until everything is stored, looks one number up, and sums up. */
async function finish(demo: Demo, began: number): Promise<number> {
  say('ending the stream');
  await demo.generate.stop(STOP_GRACE_MS);
  const deadline = Date.now() + DRAIN_TIMEOUT_MS;
  let reading = await read(demo);
  while ((reading === undefined || reading.lag > 0) && Date.now() < deadline) {
    throwIfDead(demo, false);
    await delay(100);
    reading = await read(demo);
  }
  const found = await lookUp(demo);
  const stored = reading?.stored ?? 0;
  const lag = reading?.lag ?? Number.NaN;
  const seconds = Math.round((performance.now() - began) / 100) / 10;
  print(
    `summary: ${grouped(stored)} calls stored in ${seconds} s, lag ${lag} messages, a look-up found ${found} calls\n`,
  );
  return stored > 0 && lag === 0 && found > 0 ? 0 : 1;
}

/** Calls that the API finds for the busiest number, at most 100. */
async function lookUp(demo: Demo): Promise<number> {
  const number = encodeURIComponent(await busiestNumber(demo));
  const answer = await fetch(`${demo.api}/v1/calls?number=${number}&limit=100`, {
    headers: { authorization: `Bearer ${demo.apiKey}`, 'case-id': 'demo-summary', purpose: 'support' },
  });
  if (!answer.ok) return 0;
  return ((await answer.json()) as { data: unknown[] }).data.length;
}

async function read(demo: Demo): Promise<Reading | undefined> {
  const answer = await fetch(demo.metrics).catch(() => undefined);
  if (answer === undefined || !answer.ok) return undefined;
  const text = await answer.text();
  const sum = (name: RegExp): number =>
    text
      .split('\n')
      .filter((line) => name.test(line))
      .reduce((total, line) => total + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
  return {
    stored: sum(/^cdrhouse_ingest_records_total\{.*result="stored"/),
    lag: sum(/^cdrhouse_ingest_lag_messages\{/),
  };
}

/** Throws where a part has ended by itself; `generate` may, once its stream is ended. */
function throwIfDead({ ingest, serve, generate, serverDeath }: Demo, streaming = true): void {
  for (const part of streaming ? [ingest, serve, generate] : [ingest, serve]) {
    const code = part.exitCode();
    if (code !== undefined)
      throw new DemoError(`${part.name} ended with exit code ${code}:\n${part.lastWords()}`);
  }
  const death = serverDeath();
  if (death !== undefined) throw new DemoError(death);
}

/** Aborted at the first Ctrl-C or SIGTERM; a second one ends the process, and everything with it. */
function interruption(): AbortSignal {
  const controller = new AbortController();
  let signals = 0;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      signals++;
      if (signals > 1) process.exit(1);
      controller.abort();
    });
  }
  return controller.signal;
}

function grouped(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

function print(text: string): void {
  process.stdout.write(text);
}
