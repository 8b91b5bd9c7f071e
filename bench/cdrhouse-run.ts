import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { BenchServers } from './bench-servers.ts';
import { endedChildrenCpuSeconds, treePeakBytes } from './process-usage.ts';
import { Program, spawnGroup, type Child } from './program.ts';

const PROGRAM = fileURLToPath(new URL('../cli.js', import.meta.url));
const MEMORY_LOOK_MS = 20;
/** What ingest logs when Kafka has assigned its partitions. */
const ASSIGNED = '"partitions assigned"';
const LISTENING = /listening on (http:\S+)/;

export interface RunOptions {
  /** The ClickHouse database; also the consumer group. */
  readonly database: string;
  readonly topic: string;
  /** @default 'canonical-csv' */
  readonly format?: string | undefined;
  /** Options of node itself, for profiles. */
  readonly nodeOptions?: readonly string[] | undefined;
  /** CDRHOUSE_… variables beside those of the bench. */
  readonly environment?: Readonly<Record<string, string>> | undefined;
}

/** A `cdrhouse` command that has ended well. */
export interface EndedRun {
  readonly stdout: string;
  readonly seconds: number;
  /** Of these, from the moment at which Kafka had assigned its partitions; joining a group takes up to a second more or less. */
  readonly assignedSeconds: number | undefined;
  readonly cpuSeconds: number;
  /** Of all its processes together. */
  readonly peakBytes: number;
}

/** Starts a command as an operator does, with the settings of the bench. */
function start(
  bench: BenchServers,
  { database, topic, format = 'canonical-csv', nodeOptions = [], environment = {} }: RunOptions,
  commandLine: readonly string[],
) {
  const { servers, folder } = bench;
  const { ingest, query, retention } = servers.users;
  const feeds = [{ name: 'default', topic, format }];
  const config = bench.write(`${database}.yaml`, JSON.stringify({ feeds }));
  return spawnGroup(process.execPath, [...nodeOptions, PROGRAM, ...commandLine], {
    cwd: folder,
    env: {
      CDRHOUSE_CONFIG: config,
      CDRHOUSE_KAFKA_BROKERS: servers.kafka,
      CDRHOUSE_KAFKA_GROUP: database,
      CDRHOUSE_CLICKHOUSE_URL: servers.clickhouse,
      CDRHOUSE_CLICKHOUSE_DATABASE: database,
      CDRHOUSE_INGEST_CLICKHOUSE_USER: ingest.user,
      CDRHOUSE_INGEST_CLICKHOUSE_PASSWORD: ingest.password,
      CDRHOUSE_QUERY_CLICKHOUSE_USER: query.user,
      CDRHOUSE_QUERY_CLICKHOUSE_PASSWORD: query.password,
      CDRHOUSE_QUERY_PORT: '0',
      CDRHOUSE_RETENTION_CLICKHOUSE_USER: retention.user,
      CDRHOUSE_RETENTION_CLICKHOUSE_PASSWORD: retention.password,
      CDRHOUSE_INGEST_METRICS_PORT: '0',
      // Says when partitions were assigned.
      CDRHOUSE_INGEST_LOG_LEVEL: 'info',
      // Not left to what is there: a missing addon would measure something else.
      CDRHOUSE_INGEST_READER: 'packed',
      ...environment,
    },
  });
}

/** `ingest` as a service, once it has its partitions. */
export async function startIngest(bench: BenchServers, options: RunOptions): Promise<Program> {
  const ingest = new Program(start(bench, options, ['ingest']));
  await ingest.printed(ASSIGNED);
  return ingest;
}

/** A running `cdrhouse serve`. */
export interface Served {
  readonly url: string;
  readonly pid: number;
  stop(): Promise<void>;
}

/** Starts the API, and resolves when it takes requests. */
export async function serveCdrhouse(bench: BenchServers, options: RunOptions): Promise<Served> {
  const child = start(bench, options, ['serve']);
  child.stdout.resume();
  const url = await listeningUrl(child);
  return {
    url,
    pid: child.pid!,
    stop: async () => {
      const ended = once(child, 'close');
      child.kill('SIGTERM');
      await ended;
    },
  };
}

function listeningUrl(child: Child): Promise<string> {
  return new Promise((resolve, reject) => {
    let stderr = '';
    let found = false;
    child.stderr.on('data', (chunk: Buffer) => {
      if (found) return;
      stderr += chunk.toString();
      const url = LISTENING.exec(stderr)?.[1];
      if (url === undefined) return;
      found = true;
      resolve(url);
    });
    child.once('close', (code) => reject(new Error(`cdrhouse serve ended with ${code}:\n${stderr}`)));
  });
}

/** Runs a command of cdrhouse as an operator does. Rejects where it fails. Runs must not overlap: see `cpuSeconds`. */
export async function runCdrhouse(
  bench: BenchServers,
  options: RunOptions,
  ...commandLine: string[]
): Promise<EndedRun> {
  const cpuBefore = endedChildrenCpuSeconds();
  const began = performance.now();
  const child = start(bench, options, commandLine);
  let stdout = '';
  let stderr = '';
  let peakBytes = 0;
  let assignedAt: number | undefined;
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
    if (stderr.includes(ASSIGNED)) assignedAt ??= performance.now();
  });
  const look = setInterval(() => {
    peakBytes = Math.max(peakBytes, treePeakBytes(child.pid!));
  }, MEMORY_LOOK_MS);
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  clearInterval(look);
  const ended = performance.now();
  const seconds = (ended - began) / 1000;
  const assignedSeconds = assignedAt === undefined ? undefined : (ended - assignedAt) / 1000;
  if (code !== 0) throw new Error(`cdrhouse ${commandLine.join(' ')} ended with ${code}:\n${stderr}`);
  return { stdout, seconds, assignedSeconds, cpuSeconds: endedChildrenCpuSeconds() - cpuBefore, peakBytes };
}
