import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import type { TestServers } from './test-servers.ts';

const PROGRAM = fileURLToPath(new URL('../cli.js', import.meta.url));
const DEADLINE_MS = 120_000;
const PAUSE_MS_MIN = 20;
const PAUSE_MS_MAX = 400;
/** How much of what the programs said is shown where a condition did not come true, in characters of each. */
const LAST_WORDS = 6000;

/** What the programs of this file that still run have said. */
const speaking = new Map<ChildProcess, () => string>();

/** How long a member of the group may be silent in tests that wait for it, in ms; the local broker allows 1 s. */
export const SESSION_MS = 3000;
/** Settings of the Kafka client for such tests. */
export const SESSION = { 'session.timeout.ms': SESSION_MS, 'heartbeat.interval.ms': 500 } as const;

export interface Ended {
  /** Exit code; the name of the signal where one ended it. */
  readonly code: number | NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running `cdrhouse` command. */
export interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  stderr(): string;
}

/** A running script. */
export interface RunningScript {
  readonly ended: Promise<Ended>;
  /** kill -9 of the shell and of everything that it started. */
  kill(): void;
}

/**
 * The real programs against the real servers, in a folder and a database of their own: what an operator has
 * in front of them.
 */
export class Installation {
  readonly folder: string;
  readonly database: string;
  readonly environment: Record<string, string>;
  /** Path of the command; a test that changes what is installed has a copy. */
  program = PROGRAM;
  /** Options of node itself for the programs. */
  readonly nodeOptions: string[] = [];
  readonly #servers: TestServers;

  /** @param settings the document of cdrhouse.yaml */
  constructor(
    t: Test,
    servers: TestServers,
    databaseIndex: number,
    settings: object,
    extra: Record<string, string> = {},
  ) {
    this.#servers = servers;
    this.folder = mkdtempSync(join(tmpdir(), 'cdrhouse-installation-'));
    t.teardown(() => rmSync(this.folder, { recursive: true, force: true }));
    this.database = servers.databases[databaseIndex]!;
    const { ingest, query, retention } = servers.users;
    this.environment = {
      CDRHOUSE_CONFIG: this.write('cdrhouse.yaml', JSON.stringify(settings)),
      CDRHOUSE_KAFKA_BROKERS: servers.kafka,
      CDRHOUSE_KAFKA_GROUP: this.database,
      CDRHOUSE_CLICKHOUSE_URL: servers.clickhouse,
      CDRHOUSE_CLICKHOUSE_DATABASE: this.database,
      CDRHOUSE_INGEST_CLICKHOUSE_USER: ingest.user,
      CDRHOUSE_INGEST_CLICKHOUSE_PASSWORD: ingest.password,
      CDRHOUSE_QUERY_CLICKHOUSE_USER: query.user,
      CDRHOUSE_QUERY_CLICKHOUSE_PASSWORD: query.password,
      CDRHOUSE_RETENTION_CLICKHOUSE_USER: retention.user,
      CDRHOUSE_RETENTION_CLICKHOUSE_PASSWORD: retention.password,
      CDRHOUSE_QUERY_PORT: '0',
      CDRHOUSE_INGEST_METRICS_PORT: '0',
      CDRHOUSE_INGEST_READER: servers.reader,
      CDRHOUSE_SHIP_PLACE_FILE: join(this.folder, 'shipped.json'),
      ...extra,
    };
  }

  /** Writes a file into the folder and gives its path. */
  write(name: string, content: string | Uint8Array): string {
    const path = join(this.folder, name);
    writeFileSync(path, content);
    return path;
  }

  /** Starts a command. */
  start(...commandLine: string[]): Running {
    return this.#start([process.execPath, ...this.nodeOptions, this.program, ...commandLine]);
  }

  /** Starts a script as an operator's shell does; in it `npx cdrhouse` is the program under test. */
  startScript(t: Test, script: string): RunningScript {
    const text = `npx() { shift; "${process.execPath}" "${this.program}" "$@"; }\n${script}`;
    const { child, ended } = this.#start(['bash', '-c', text], true);
    const kill = (): void => {
      try {
        process.kill(-child.pid!, 'SIGKILL');
      } catch {
        // It has ended.
      }
    };
    t.teardown(kill);
    return { ended, kill };
  }

  #start(words: readonly string[], detached = false): Running {
    // What the runner sets for the test files is not for the programs under test; its loader, which it puts into
    // NODE_OPTIONS of every child, is taken out by env(1).
    const environment = Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !/^(CDRHOUSE_|TAP|_TAPJS)/.test(name)),
    );
    const child = spawn('env', ['-u', 'NODE_OPTIONS', ...words], {
      cwd: this.folder,
      env: { ...environment, ...this.environment },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached,
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    speaking.set(child, () => stderr);
    const ended = new Promise<Ended>((resolve) => {
      child.once('close', (code, signal) => {
        speaking.delete(child);
        // A program that a signal ended has no code.
        resolve({ code: code ?? signal, stdout, stderr });
      });
    });
    return { child, ended, stderr: () => stderr };
  }

  /** Runs a command to its end. */
  run(...commandLine: string[]): Promise<Ended> {
    return this.start(...commandLine).ended;
  }

  /** Runs a command that must succeed and gives its stdout as JSON. */
  async json<T>(...commandLine: string[]): Promise<T> {
    const { code, stdout, stderr } = await this.run(...commandLine);
    if (code !== 0) throw new Error(`cdrhouse ${commandLine.join(' ')} ended with ${code}:\n${stderr}`);
    return JSON.parse(stdout) as T;
  }

  /** Rows of a query as the server's own user sees them. `{db}` stands for the database. */
  async rows<T>(query: string): Promise<T[]> {
    const ask = (): Promise<Response> =>
      fetch(`${this.#servers.clickhouse}/?output_format_json_quote_64bit_integers=1`, {
        method: 'POST',
        body: `${query.replaceAll('{db}', this.database)} FORMAT JSONEachRow`,
      });
    // The server may close a connection that was kept just when it is used again.
    const answer = await ask().catch(ask);
    const text = await answer.text();
    if (!answer.ok) throw new Error(text);
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as T);
  }

  /** Runs a statement as the server's own user. */
  async statement(query: string): Promise<void> {
    const answer = await fetch(this.#servers.clickhouse, {
      method: 'POST',
      body: query.replaceAll('{db}', this.database),
    });
    if (!answer.ok) throw new Error(await answer.text());
    await answer.text();
  }
}

/** Waits for a condition, with a deadline. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  await within(DEADLINE_MS, what, holds);
}

/**
 * Waits until all look-ups have their last entry in the journal, which is written behind the answer.
 * @param rows asks the database
 */
export async function untilEnded(
  rows: (query: string) => Promise<readonly unknown[]>,
  database: string,
): Promise<void> {
  const open = `SELECT request_id FROM ${database}.lookup_journal GROUP BY request_id HAVING max(phase = 'finished') = 0`;
  await until('all look-ups have their last entry', async () => (await rows(open)).length === 0);
}

/**
 * Waits for a condition, with a deadline of the caller's, and gives the ms that it took. Asks again after a pause of ten
 * times what asking took: tests that wait would otherwise keep the database busy, and the others waiting.
 */
export async function within(
  ms: number,
  what: string,
  holds: () => boolean | Promise<boolean>,
): Promise<number> {
  const began = performance.now();
  for (;;) {
    const asked = performance.now();
    if (await holds()) return performance.now() - began;
    if (performance.now() - began > ms)
      throw new Error(`not within ${ms} ms: ${what}`, { cause: lastWords() });
    const took = performance.now() - asked;
    await delay(Math.min(PAUSE_MS_MAX, Math.max(PAUSE_MS_MIN, 10 * took)));
  }
}

function lastWords(): string {
  return [...speaking].map(([{ pid }, said]) => `pid ${pid}:\n${said().slice(-LAST_WORDS)}`).join('\n');
}

/** Path of a file in test/fixtures. */
export function fixture(name: string): string {
  return fileURLToPath(new URL(`../../test/fixtures/${name}`, import.meta.url));
}

/** Runs a command until the group is idle. */
export async function whenIdle(installation: Installation, ...commandLine: string[]): Promise<Ended> {
  let ended = await installation.run(...commandLine);
  await until('the group is idle', async () => {
    if (!ended.stderr.includes('GROUP_BUSY')) return true;
    ended = await installation.run(...commandLine);
    return !ended.stderr.includes('GROUP_BUSY');
  });
  return ended;
}
