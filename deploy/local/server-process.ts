import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { DataDirLock } from './data-dir-lock.ts';
import { LocalServerError } from './errors.ts';

export type ServerName = 'kafka' | 'clickhouse';

/** How a server ended that nobody had asked to stop. */
export interface Death {
  name: ServerName;
  code: number | null;
  signal: NodeJS.Signals | null;
  /** The end of what it printed and logged. */
  lastWords: string;
}

/** A running local server. */
export interface LocalServer {
  name: ServerName;
  pid: number;
  /** Port on 127.0.0.1. */
  port: number;
  /** Resolves when the server ends without having been asked to; stays pending otherwise. */
  died: Promise<Death>;
  /** SIGTERM, then SIGKILL after a while; gives back the data folder. Again = nothing happens. */
  stop(): Promise<void>;
}

export interface ServerProcessOptions {
  name: ServerName;
  program: string;
  programArguments: string[];
  folder: string;
  port: number;
  lock: DataDirLock;
  /** Takes what the process prints; overwritten at each start. */
  consolePath: string;
  /** The server's own log, shown with the console when it ends unexpectedly. */
  logPath: string;
  /** Whether the server answers requests; asked again and again until it does. */
  answers: () => Promise<boolean>;
  /** Called once the process has ended, whatever the reason. */
  afterExit?: (death: Death) => Promise<void>;
}

const startTimeoutMs = 90_000;
const stopTimeoutMs = 30_000;
const pollMs = 20;
const tailLines = 12;

async function lastWords(options: ServerProcessOptions): Promise<string> {
  return [...(await lastLines(options.consolePath)), ...(await lastLines(options.logPath))].join('\n');
}

async function lastLines(path: string): Promise<string[]> {
  try {
    const text = await readFile(path, 'utf8');
    return text.trimEnd().split('\n').slice(-tailLines);
  } catch {
    // A server that died at once may not have written this file.
    return [];
  }
}

async function start(options: ServerProcessOptions): Promise<ChildProcess> {
  const console = await open(options.consolePath, 'w', 0o600);
  try {
    const child = spawn(options.program, options.programArguments, {
      cwd: options.folder,
      // ClickHouse ends when its standard input does, Kafka does not look at it.
      stdio: ['pipe', console.fd, console.fd],
      // A process group of its own: Ctrl-C in a terminal must reach us, and through us the servers in the right order.
      detached: true,
    });
    // Writing nothing, we still must not fall over a pipe that the server closed.
    child.stdin?.on('error', () => undefined);
    await once(child, 'spawn');
    return child;
  } finally {
    await console.close();
  }
}

/** Waits until the server answers; throws when it ends first or takes too long. */
async function untilAnswering(options: ServerProcessOptions, exited: Promise<Death>): Promise<void> {
  let death: Death | undefined;
  void exited.then((value) => (death = value));
  const deadline = Date.now() + startTimeoutMs;
  while (!(await options.answers())) {
    if (death !== undefined) {
      throw new LocalServerError(
        'LOCAL_SERVER_DIED',
        `${describeDeath(death)} before it answered; its last words (${options.logPath}):\n${death.lastWords}`,
      );
    }
    if (Date.now() > deadline) {
      throw new LocalServerError(
        'LOCAL_SERVER_TIMEOUT',
        `${options.name} did not answer on port ${options.port} within ${startTimeoutMs / 1000} s; see ${options.logPath}`,
      );
    }
    await delay(pollMs);
  }
}

/** "kafka ended (signal SIGKILL)" */
export function describeDeath(death: Death): string {
  return `${death.name} ended (${death.signal === null ? `exit code ${death.code}` : `signal ${death.signal}`})`;
}

/**
 * Starts a server process and resolves once it answers. The lock of its data folder is given back when it ends.
 * Call it from the main thread: on Linux the server follows the thread that started it.
 * @throws LocalServerError LOCAL_SERVER_DIED, LOCAL_SERVER_TIMEOUT
 */
export async function startServerProcess(options: ServerProcessOptions): Promise<LocalServer> {
  const child = await start(options);
  const pid = child.pid!;
  let stopping: Promise<void> | undefined;
  const ended = new Promise<Pick<Death, 'code' | 'signal'>>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
  const exited = (async (): Promise<Death> => {
    const death = { name: options.name, ...(await ended), lastWords: await lastWords(options) };
    await options.afterExit?.(death);
    await options.lock.release();
    return death;
  })();
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), stopTimeoutMs);
    await exited;
    clearTimeout(timer);
  };
  const stopOnce = (): Promise<void> => (stopping ??= stop());
  const died = (async (): Promise<Death> => {
    const death = await exited;
    return stopping === undefined ? death : new Promise<Death>(() => undefined);
  })();
  try {
    await options.lock.noteServer(pid);
    await untilAnswering(options, exited);
  } catch (error) {
    await stopOnce();
    throw error;
  }
  return { name: options.name, pid, port: options.port, died, stop: stopOnce };
}
