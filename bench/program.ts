import { spawn, type ChildProcessByStdio, type SpawnOptions } from 'node:child_process';
import type { Readable } from 'node:stream';
import type { Reading } from './competitor.ts';
import { groupCpuSeconds, groupPeakBytes } from './process-usage.ts';

const LAST_WORDS_BYTES = 4000;

export type Child = ChildProcessByStdio<null, Readable, Readable>;

/** Leaders of process groups that are to end with this process. */
const groups = new Set<number>();
process.once('exit', () => groups.forEach((group) => signalGroup(group, 'SIGKILL')));

/** Starts a program in a process group of its own, which ends with this process: its children count and end with it. */
export function spawnGroup(
  program: string,
  commandLine: readonly string[],
  options: Pick<SpawnOptions, 'cwd' | 'env'>,
): Child {
  const child = spawn(program, commandLine, {
    ...options,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  if (child.pid !== undefined) groups.add(child.pid);
  child.once('close', () => groups.delete(child.pid!));
  return child;
}

function signalGroup(group: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-group, signal);
  } catch {
    // It has ended.
  }
}

/** A program of a competitor that reads until it is stopped. */
export class Program implements Reading {
  readonly #child: Child;
  readonly #closed: Promise<void>;
  #running = true;
  #words = '';
  readonly #wordsListeners = new Set<() => void>();

  /** @param child as `spawnGroup` gives it */
  constructor(child: Child) {
    this.#child = child;
    this.#closed = new Promise((resolve) => {
      child.once('close', () => {
        this.#running = false;
        this.#tell();
        resolve();
      });
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        this.#words = (this.#words + chunk.toString()).slice(-LAST_WORDS_BYTES);
        this.#tell();
      });
    }
  }

  /** The end of what it printed. */
  lastWords(): Promise<string> {
    return Promise.resolve(this.#words.trim());
  }

  /** Waits until it prints this. Rejects where it ends before. */
  async printed(words: string): Promise<void> {
    while (!this.#words.includes(words)) {
      if (!this.#running) throw new Error(`${this.#child.spawnfile} has ended:\n${this.#words}`);
      await new Promise<void>((resolve) => this.#wordsListeners.add(resolve));
    }
  }

  /** CPU seconds and peak memory of the whole group so far. */
  usage(): { readonly cpuSeconds: number; readonly peakBytes: number } {
    const group = this.#child.pid!;
    return { cpuSeconds: groupCpuSeconds(group), peakBytes: groupPeakBytes(group) };
  }

  isRunning(): boolean {
    return this.#running;
  }

  kill(): Promise<void> {
    return this.#end('SIGKILL');
  }

  stop(): Promise<void> {
    return this.#end('SIGTERM');
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    signalGroup(this.#child.pid!, signal);
    await this.#closed;
  }

  #tell(): void {
    for (const told of this.#wordsListeners) told();
    this.#wordsListeners.clear();
  }
}
