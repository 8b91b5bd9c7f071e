/**
 * What the fault tests share: the load whose outcome is known, the programs under test, and the verdict, which
 * compares sets of records. The proxies and the Kafka clients of the tests stand beside.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Test } from 'tap';
import { lastCalendarYear, Traffic } from '../../ingest/generate/traffic.ts';
import { Installation, type Ended, type Running } from '../cdrhouse-program.ts';
import type { TestServers } from '../test-servers.ts';
import { Observer, type Log, type Sent } from './topic.ts';

/** What `ingest --until-idle` prints. */
export interface Summary {
  readonly consumed: number;
  readonly stored: number;
  readonly rejected: number;
  readonly suppressed: number;
  readonly skipped: number;
  readonly skipped_by_reason: Readonly<Record<string, number>>;
}

/** The call lines of a seed, all different. */
export function callLines(seed: number, count: number): string[] {
  const traffic = new Traffic(seed, count, lastCalendarYear(Date.now()));
  return Array.from({ length: count }, (_, index) => traffic.line(index));
}

/** A line that no reading accepts, different for each index. */
export function badLine(index: number): Buffer {
  const kinds = [
    `+33199000001,+33199000001,+33199000002,never-${index},1,1,bad-${index},answered,`,
    `+33199000001,+33199000001,+33199000002,2025-03-01T10:00:00Z,-${index},1,bad-${index},answered,`,
    // Cut off in the middle.
    `+33199000001,+33199000001,+331990000${index}`,
    `+33199000001,"+33199000001,+33199000002,2025-03-01T10:00:00Z,1,1,bad-${index},answered,`,
  ];
  const kind = index % (kinds.length + 1);
  return kind < kinds.length
    ? Buffer.from(kinds[kind]!)
    : Buffer.from([
        0x00,
        0xff,
        0xfe,
        0x80,
        0x2c,
        0x01,
        0x30 + (index % 10),
        0x30 + (Math.floor(index / 10) % 10),
      ]);
}

/** Collects what was sent, and with it what must be found in the end. */
export class Load {
  /** Lines that must be stored, each once. */
  readonly lines = new Set<string>();
  /** Lines that are accepted, duplicates included. */
  accepted = 0;
  /** Digests of the rejected records. */
  readonly rejected: string[] = [];
  readonly skipped: Record<string, number> = {};
  readonly messages: Sent[] = [];
  readonly #partitions: number;

  constructor(partitions: number) {
    this.#partitions = partitions;
  }

  get consumed(): number {
    return this.accepted + this.rejected.length + this.skippedCount;
  }

  get skippedCount(): number {
    return Object.values(this.skipped).reduce((sum, count) => sum + count, 0);
  }

  /** Packs calls into messages of `perMessage` lines, one bad line before each hundredth call if wanted. */
  calls(lines: readonly string[], perMessage: number, bad: 'with bad lines' | 'clean' = 'clean'): this {
    for (let from = 0; from < lines.length; from += perMessage) {
      const parts: Buffer[] = [];
      for (const [index, line] of lines.slice(from, from + perMessage).entries()) {
        if (bad === 'with bad lines' && (from + index) % 100 === 0) {
          const letter = badLine(this.rejected.length);
          this.rejected.push(digest(letter));
          parts.push(letter);
        }
        this.lines.add(line);
        this.accepted++;
        parts.push(Buffer.from(line));
      }
      this.#push(Buffer.concat(parts.flatMap((part) => [part, Buffer.from('\n')])));
    }
    return this;
  }

  /** A message of one record that is rejected. */
  bad(record: Buffer): this {
    this.rejected.push(digest(record));
    this.#push(record);
    return this;
  }

  /** A message without records. */
  empty(value: Buffer | null, reason: string, count = 1): this {
    this.skipped[reason] = (this.skipped[reason] ?? 0) + count;
    this.#push(value);
    return this;
  }

  /** The messages that were added since `from`. */
  since(from: number): Sent[] {
    return this.messages.slice(from);
  }

  #push(value: Buffer | null): void {
    this.messages.push({ partition: this.messages.length % this.#partitions, value });
  }
}

function digest(record: Buffer): string {
  return createHash('md5').update(record).digest('hex');
}

export interface HouseOptions {
  readonly settings?: object;
  readonly environment?: Readonly<Record<string, string>>;
  readonly client?: Readonly<Record<string, string | number | boolean>>;
  readonly partitions?: number;
}

/** An installation with one feed whose topic has the database's name, migrated. Small batches, short pauses. */
export async function house(
  t: Test,
  servers: TestServers,
  databaseIndex: number,
  options: HouseOptions = {},
): Promise<Installation> {
  const installation = new Installation(
    t,
    servers,
    databaseIndex,
    {
      feeds: [{ name: 'default', topic: servers.databases[databaseIndex] }],
      kafka: { client: options.client ?? {}, topic_partitions: options.partitions ?? 2 },
      ...options.settings,
    },
    {
      CDRHOUSE_INGEST_BATCH_MESSAGES_MAX: '40',
      CDRHOUSE_INGEST_FLUSH_INTERVAL_MS: '200',
      CDRHOUSE_INGEST_RETRY_SECONDS_MAX: '1',
      ...options.environment,
    },
  );
  const { code, stderr } = await installation.run('migrate');
  if (code !== 0) throw new Error(`migrate ended with ${code}: ${stderr}`);
  return installation;
}

/** Resident memory that an ingest process of the small batches here may take: twice what it does. */
export const MEMORY_BYTES_MAX = 400 * 1024 ** 2;
const MEMORY_POLL_MS = 50;
/** The most that an ingest process of an installation has taken. */
const memoryPeaks = new WeakMap<Installation, number>();

/** Notes the highest resident memory of a process and of its children (Linux), as long as it runs. */
function watchMemory(installation: Installation, { child, ended }: Running): void {
  const look = (): void => {
    try {
      for (const pid of [child.pid!, ...childrenOf(child.pid!)]) {
        const [, kib] = /^VmHWM:\s+([0-9]+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
        memoryPeaks.set(installation, Math.max(memoryPeak(installation), Number(kib ?? 0) * 1024));
      }
    } catch {
      // One of them has just ended.
    }
  };
  const timer = setInterval(look, MEMORY_POLL_MS);
  void ended.finally(() => clearInterval(timer));
}

/** Ids of a process's children; none where it is gone. */
export function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    return text === '' ? [] : text.split(' ').map(Number);
  } catch {
    return [];
  }
}

/** The highest resident memory of an ingest process that this harness started, in bytes; 0 before the first. */
function memoryPeak(installation: Installation): number {
  return memoryPeaks.get(installation) ?? 0;
}

/** Starts an ingest that is ended with the test, whatever happens. */
export function startIngest(t: Test, installation: Installation, ...options: string[]): Running {
  const running = installation.start('ingest', ...options);
  watchMemory(installation, running);
  t.teardown(async () => {
    running.child.kill('SIGKILL');
    await running.ended;
  });
  return running;
}

const READ_MS_MAX = 60_000;

/** Reads everything that is there, and gives the summary of this run. */
export async function readAll(installation: Installation): Promise<Summary> {
  const running = installation.start('ingest', '--until-idle');
  watchMemory(installation, running);
  const code = await exitWithin(READ_MS_MAX, running);
  const { stdout, stderr } = await running.ended;
  if (code !== 0) throw new Error(`ingest --until-idle ended with ${code ?? 'SIGKILL'}:\n${stderr}`);
  return JSON.parse(stdout) as Summary;
}

/** The exit code of a program that ends by itself within a time; undefined where it does not, and is killed. */
export async function exitWithin(ms: number, { child, ended }: Running): Promise<Ended['code'] | undefined> {
  const timer = setTimeout(() => child.kill('SIGKILL'), ms);
  const { code } = await ended;
  clearTimeout(timer);
  return child.signalCode === 'SIGKILL' ? undefined : code;
}

/** Every row of the ledger of what was read. Those of replays are no ranges: their generations are moments. */
export function ledgerRanges(installation: Installation): Promise<LedgerRange[]> {
  return installation.rows<LedgerRange>(LEDGER);
}

/** Number of records that the ledger says are stored. */
export async function ledgerStored(installation: Installation): Promise<number> {
  return countedRanges(await ledgerRanges(installation)).reduce((sum, { stored }) => sum + Number(stored), 0);
}

/** How many calls each table holds. */
export async function storedCalls(
  installation: Installation,
): Promise<{ cdr: number; byNumber: number; deadLetters: number }> {
  const [row] = await installation.rows<Record<string, string>>(
    `SELECT (SELECT count() FROM {db}.cdr FINAL) AS cdr,
       (SELECT count() FROM {db}.cdr_by_number FINAL WHERE role = 'dialed') AS by_number,
       (SELECT count() FROM {db}.dead_letters FINAL) AS dead_letters`,
  );
  return {
    cdr: Number(row!['cdr']),
    byNumber: Number(row!['by_number']),
    deadLetters: Number(row!['dead_letters']),
  };
}

export interface LedgerRange {
  readonly topic: string;
  readonly partition: number;
  readonly generation: string;
  readonly from_offset: string;
  readonly next_offset: string;
  readonly messages: string;
  readonly records: string;
  readonly stored: string;
  readonly rejected: string;
  readonly skipped: string;
}

const LEDGER = `SELECT topic, partition, generation, from_offset, next_offset, messages, records, stored, rejected, skipped
  FROM {db}.ingest_ledger FINAL WHERE kind = 'read' ORDER BY topic, partition, generation, from_offset`;

/**
 * The ledger rows that count: those of a generation that begin before the place where a newer one begins. Claims
 * and ranges without length are left out.
 */
export function countedRanges(rows: readonly LedgerRange[]): LedgerRange[] {
  const begins = new Map<string, { generation: number; from: number }[]>();
  for (const row of rows) {
    const key = `${row.topic}/${row.partition}`;
    const list = begins.get(key) ?? [];
    begins.set(key, list);
    const generation = Number(row.generation);
    const from = Number(row.from_offset);
    const known = list.find((begin) => begin.generation === generation);
    if (known === undefined) list.push({ generation, from });
    else known.from = Math.min(known.from, from);
  }
  return rows.filter((row) => {
    const newer = begins
      .get(`${row.topic}/${row.partition}`)!
      .filter(({ generation }) => generation > Number(row.generation));
    const bound = Math.min(Infinity, ...newer.map(({ from }) => from));
    const from = Number(row.from_offset);
    return Number(row.next_offset) > from && from < bound;
  });
}

/** SQL that writes a column of milliseconds as the generator writes seconds. */
const seconds = (column: string): string =>
  `if(${column} % 1000 = 0, toString(intDiv(${column}, 1000)), concat(toString(intDiv(${column}, 1000)), '.', leftPad(toString(${column} % 1000), 3, '0')))`;

/** The stored calls, each written again as the line that it came from. */
export async function storedLines(installation: Installation): Promise<string[]> {
  const rows = await installation.rows<{ line: string }>(
    `SELECT concat(calling_number, ',', displayed_caller_id, ',', dialed_number, ',',
       formatDateTime(start_at, '%Y-%m-%dT%H:%i:%S'), '.', leftPad(toString(toUnixTimestamp64Milli(start_at) % 1000), 3, '0'), 'Z,',
       ${seconds('duration_ms')}, ',', ${seconds('assumeNotNull(talk_ms)')}, ',', call_id, ',', toString(outcome), ',', account) AS line
     FROM {db}.cdr FINAL`,
  );
  return rows.map(({ line }) => line);
}

function missing(wanted: ReadonlySet<string>, found: ReadonlySet<string>): string[] {
  return [...wanted].filter((line) => !found.has(line)).slice(0, 5);
}

export interface JudgeOptions {
  /** Topics of the group. @default the one of the database's name */
  readonly topics?: readonly string[];
  /** Where the log of a partition began when it was first read. @default 0 */
  readonly logStart?: (topic: string, partition: number) => number;
  /** Resident memory that an ingest process may have taken. @default MEMORY_BYTES_MAX */
  readonly memoryBytesMax?: number;
}

/**
 * The verdict. Everything that was sent is in the tables, among the dead letters or was skipped; nothing is twice;
 * both tables agree; sums equal those of the lines; the ledger covers each log without a hole; no lag is left;
 * cdrhouse's own audit finds no difference; no process took more memory than it may.
 */
export async function judge(
  t: Test,
  installation: Installation,
  load: Load,
  options: JudgeOptions = {},
): Promise<void> {
  await judgeCalls(t, installation, load);
  await judgeTables(t, installation);
  await judgeDeadLetters(t, installation, load);
  await judgeLedger(t, installation, load, options);
  await judgeAudit(t, installation, load);
  judgeMemory(t, installation, options.memoryBytesMax);
}

/** The command `audit` agrees, strictly where nothing was sent twice. */
export async function judgeAudit(t: Test, installation: Installation, load: Load): Promise<void> {
  const strict = load.accepted === load.lines.size ? ['--strict'] : [];
  const { code, stdout, stderr } = await installation.run('audit', ...strict);
  t.equal(code, 0, `cdrhouse audit: ${stdout}${stderr}`);
}

/** No ingest process took more memory than it may. */
function judgeMemory(t: Test, installation: Installation, bytesMax = MEMORY_BYTES_MAX): void {
  const peak = memoryPeak(installation);
  t.ok(peak > 0 && peak < bytesMax, `at most ${Math.round(peak / 1024 ** 2)} MiB of memory`);
}

/** The set of stored calls is the set of lines. */
export async function judgeCalls(t: Test, installation: Installation, load: Load): Promise<void> {
  const lines = await storedLines(installation);
  const stored = new Set(lines);
  t.equal(lines.length, stored.size, 'nothing is stored twice');
  t.strictSame(missing(load.lines, stored), [], 'nothing is lost or changed');
  t.strictSame(missing(stored, load.lines), [], 'nothing is made up');
  const [sums] = await installation.rows<{ duration: string; talk: string }>(
    'SELECT sum(duration_ms) AS duration, sum(talk_ms) AS talk FROM {db}.cdr FINAL',
  );
  const sum = (column: number): number =>
    [...load.lines].reduce((total, line) => total + Math.round(Number(line.split(',')[column]) * 1000), 0);
  t.strictSame(
    { duration: Number(sums!.duration), talk: Number(sums!.talk ?? 0) },
    { duration: sum(4), talk: sum(5) },
    'durations add up',
  );
}

const SHARED = `cdr_key, start_at, calling_number, displayed_caller_id, dialed_number, duration_ms, talk_ms, outcome,
  account, call_id, feed`;

/** Both tables hold the same calls. */
export async function judgeTables(t: Test, installation: Installation): Promise<void> {
  const wanted = `SELECT 'dialed' AS role, ${SHARED} FROM {db}.cdr FINAL UNION ALL
    SELECT 'displayed' AS role, ${SHARED} FROM {db}.cdr FINAL
    WHERE displayed_caller_id != '' AND displayed_caller_id != calling_number`;
  const found = `SELECT toString(role) AS role, ${SHARED} FROM {db}.cdr_by_number FINAL`;
  const [counts] = await installation.rows<Record<string, string>>(
    `SELECT (SELECT count() FROM (${wanted})) AS wanted, (SELECT count() FROM (${found})) AS found,
       (SELECT count() FROM ((${wanted}) EXCEPT (${found}))) AS missing,
       (SELECT count() FROM ((${found}) EXCEPT (${wanted}))) AS beyond`,
  );
  t.match(counts, { found: counts!['wanted']!, missing: '0', beyond: '0' }, 'both tables agree');
}

async function judgeDeadLetters(t: Test, installation: Installation, load: Load): Promise<void> {
  const dead = await installation.rows<{ digest: string }>(
    'SELECT lower(hex(MD5(raw))) AS digest FROM {db}.dead_letters FINAL ORDER BY digest',
  );
  t.strictSame(
    dead.map((row) => row.digest),
    [...load.rejected].sort(),
    'the dead letters are the bad records',
  );
}

/** The ledger tiles each log, its counts are those of the load, and the group's offsets stand at the ends. */
async function judgeLedger(
  t: Test,
  installation: Installation,
  load: Load,
  options: JudgeOptions = {},
): Promise<void> {
  const topics = options.topics ?? [installation.database];
  const counted = countedRanges(await ledgerRanges(installation));
  const observer = await Observer.connect(
    t,
    installation.environment['CDRHOUSE_KAFKA_BROKERS']!,
    installation.environment['CDRHOUSE_KAFKA_GROUP']!,
  );
  for (const topic of topics) {
    const logs = await observer.logs(topic);
    const committed = await observer.committed(
      topic,
      logs.map(({ partition }) => partition),
    );
    for (const log of logs) {
      const start = options.logStart?.(topic, log.partition) ?? 0;
      t.equal(tiledTo(counted, topic, log, start), log.high, `the ledger tiles ${topic}/${log.partition}`);
      if (log.high > 0)
        t.equal(committed.get(log.partition), log.high, `no lag in ${topic}/${log.partition}`);
    }
  }
  const sum = (of: 'records' | 'stored' | 'rejected' | 'skipped'): number =>
    counted.reduce((total, range) => total + Number(range[of]), 0);
  t.strictSame(
    { records: sum('records'), stored: sum('stored'), rejected: sum('rejected'), skipped: sum('skipped') },
    {
      records: load.consumed,
      stored: load.accepted,
      rejected: load.rejected.length,
      skipped: load.skippedCount,
    },
    'the ledger accounts for every record',
  );
}

/** Where the ranges that begin at `start` and follow each other exactly end; -1 at a hole or an overlap. */
function tiledTo(ranges: readonly LedgerRange[], topic: string, log: Log, start: number): number {
  const own = ranges
    .filter((range) => range.topic === topic && range.partition === log.partition)
    .sort((a, b) => Number(a.from_offset) - Number(b.from_offset));
  let end = start;
  for (const range of own) {
    if (Number(range.from_offset) !== end) return -1;
    end = Number(range.next_offset);
  }
  return end;
}
