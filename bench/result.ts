import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { arch, cpus, release, tmpdir, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { BenchServers } from './bench-servers.ts';
import { machineCpuSeconds, treeCpuSeconds } from './process-usage.ts';
import { say } from './say.ts';
import { brokenThresholds, type Held } from './thresholds.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Where each part of the bench leaves what it found, and `report.ts` its page. */
export const RESULTS = fileURLToPath(new URL('../../bench/results/', import.meta.url));

/** Names of figures that the report's summary looks for; a part may have others. */
export const FIGURES = {
  /** us, program and ClickHouse together, until the record is stored. */
  cpu: 'CPU a record',
  /** us, what ClickHouse uses to merge each month to one part; and both together. */
  mergesCpu: 'CPU a record, merges of ClickHouse',
  mergedCpu: 'CPU a record, merged once',
  /** us, each alone, until the record is stored. */
  programCpu: 'CPU a record, program',
  clickhouseCpu: 'CPU a record, ClickHouse',
  brokerCpu: 'CPU a record, broker',
  /** How often a stored row is merged while batches come, and after how many of them. */
  timesMerged: 'rows merged for each row stored',
  insertsMerged: 'batches stored',
  /** Wall, with all on one machine. */
  rate: 'records a second',
  peakMemory: 'peak memory',
  /** Rate against that of inserting the same blocks from files, of the same round. */
  floorShare: 'share of the floor',
  /** ms from the Kafka timestamp of a record to the first query that finds it. */
  latencyP50: 'timestamp to queryable, p50',
  latencyP95: 'timestamp to queryable, p95',
  latencyP99: 'timestamp to queryable, p99',
  /** On disk, of one table. */
  bytesACall: 'bytes a call on disk',
  /** What the primary keys of both tables hold in the memory of ClickHouse. */
  keyBytesACall: 'bytes a call in memory, primary keys',
  /** In the broker's log, one copy. */
  kafkaBytes: 'bytes a record in Kafka',
} as const;

/** Before the name of a figure: the exponent with which it grows with the number of stored calls. */
export const EXPONENT = 'exponent of: ';

/** `who` of what is this project's: `cdrhouse`, `cdrhouse, 2 processes`. */
export const OURS = 'cdrhouse';

export function isOurs(who: string): boolean {
  return who === OURS || who.startsWith(`${OURS},`);
}

/** What was measured of one competitor in one case. */
export interface Figure {
  /** One of FIGURES where the summary is to have it. */
  readonly name: string;
  /** `us`, `ms`, `s`, `MB`, `bytes`, `1/s`; empty for ratios. */
  readonly unit: string;
  /** `cdrhouse`, `Kafka engine, 1 consumer`, `floor: same blocks from files`. */
  readonly who: string;
  /** `packed`, `single`; a format; a question to the API. */
  readonly case: string;
  /** One a round. */
  readonly values: readonly number[];
  /** Where a figure was taken at several sizes: calls in the tables. */
  readonly calls?: number;
  /** What it is wanted to be at most. Absolute, so that it depends on the machine and no threshold holds it. */
  readonly wanted?: number;
}

/** Something that had to be so in the end. Where it was not, that breaks the bench if it is ours, and is a finding if it is a peer's. */
export interface Check {
  /** `every record once, as sent`, `after kill -9`, `1 % bad input`. */
  readonly what: string;
  readonly who: string;
  readonly passed: boolean;
  /** `lost 0, twice 0, altered 0`. */
  readonly detail: string;
}

/** What one part of the bench found. */
export interface PartResult {
  /** Name of its file: `ingest`, `growth`. */
  readonly part: string;
  /** What was asked for, and what decides the figures: records, rounds, fsync, flush interval, merges. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly figures: readonly Figure[];
  readonly checks: readonly Check[];
  readonly held: readonly Held[];
  /** Sentences for the reader of the report: what the figures do not say themselves. */
  readonly notes: readonly string[];
}

/** The machine and the versions; those of servers only where the part has any. */
export interface Host {
  readonly cores: number;
  readonly cpu: string;
  readonly memory_gigabytes: number;
  readonly system: string;
  readonly node: string;
  readonly clickhouse?: string;
  readonly kafka?: string;
  /** Of the folder in which the servers keep their data. */
  readonly file_system: string;
  /** `max_server_memory_usage`, GiB. */
  readonly clickhouse_memory_gigabytes?: number;
  readonly commit: string;
}

/** What a file of results holds. */
export interface SavedResult extends PartResult {
  /** ISO 8601, UTC: the end of the part. */
  readonly at: string;
  readonly host: Host;
  /** Cores that all other programs used meanwhile, on average. */
  readonly others_cores: number;
  readonly broken: readonly Held[];
}

/** Of a part without servers. */
export function localHost(): Host {
  return {
    cores: cpus().length,
    cpu: cpus()[0]?.model ?? 'unknown',
    memory_gigabytes: Math.round(totalmem() / 2 ** 30),
    system: `${release()} ${arch()}`,
    node: process.version,
    file_system: fileSystemOf(tmpdir()),
    commit: commit(),
  };
}

export async function benchHost({ database }: BenchServers): Promise<Host> {
  const host = localHost();
  const [clickhouse] = await database.rows<{ version: string }>('SELECT version() AS version');
  const [memory] = await database.rows<{ bytes: number }>(
    `SELECT toUInt64(value) AS bytes FROM system.server_settings WHERE name = 'max_server_memory_usage'`,
  );
  return {
    ...host,
    clickhouse: clickhouse!.version,
    clickhouse_memory_gigabytes: memory!.bytes / 2 ** 30,
    kafka: kafkaVersion(),
  };
}

/** When this process began, and what the machine had used by then. */
const BEGAN = { at: performance.now(), machine: machineCpuSeconds() };

/** Cores that programs other than this one and its children have used since it began, on average. */
function othersCores(): number {
  const used = machineCpuSeconds() - BEGAN.machine - treeCpuSeconds(process.pid);
  return Math.max(0, used / ((performance.now() - BEGAN.at) / 1000));
}

/**
 * Ends a part: writes bench/results/<part>-<time>.json, says what is broken, and sets the exit code 1 where a
 * threshold or a check of ours is.
 */
export function finishPart(host: Host, result: PartResult): void {
  const at = new Date().toISOString();
  const broken = brokenThresholds(result.held);
  mkdirSync(RESULTS, { recursive: true });
  const path = `${RESULTS}${result.part}-${at.replaceAll(/[:.]/g, '-')}.json`;
  const saved: SavedResult = { at, host, others_cores: othersCores(), ...result, broken };
  writeFileSync(path, `${JSON.stringify(saved, null, 2)}\n`);
  say(`written to ${path}`);
  for (const held of broken)
    say(`BROKEN: ${held.what} is ${held.value.toFixed(2)}, allowed is ${allowed(held)}`);
  const failed = result.checks.filter(({ who, passed }) => !passed && isOurs(who));
  for (const { what, who, detail } of failed) say(`FAILED: ${who}, ${what}: ${detail}`);
  if (broken.length + failed.length > 0) process.exitCode = 1;
}

/** `at most 0.45`, `at least 0.7`. */
export function allowed({ min, max }: Held): string {
  const bounds = [min === undefined ? [] : [`at least ${min}`], max === undefined ? [] : [`at most ${max}`]];
  return bounds.flat().join(', ');
}

/** Type of the file system that a folder is on. */
function fileSystemOf(folder: string): string {
  // The one nearest to the folder, and of several at one place the last.
  const nearest = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, at]) => at === '/' || folder === at || folder.startsWith(`${at}/`))
    .sort(([, a], [, b]) => a!.length - b!.length)
    .at(-1);
  return nearest?.[2] ?? 'unknown';
}

function commit(): string {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty'], {
      cwd: ROOT,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return 'unknown';
  }
}

/** Of the local broker, as its packages are pinned; it does not tell itself. */
function kafkaVersion(): string {
  const pom = readFileSync(`${ROOT}deploy/local/pom.xml`, 'utf8');
  return /<artifactId>kafka_[0-9.]+<\/artifactId>\s*<version>([^<]+)</.exec(pom)?.[1] ?? 'unknown';
}
