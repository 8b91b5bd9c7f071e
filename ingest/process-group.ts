import { fork, type ChildProcess } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { CdrhouseError } from '../schemas/errors.ts';
import type { Settings } from '../schemas/settings.ts';
import { GroupMetrics } from './group-metrics.ts';
import { CHILD_VARIABLE, isStatusAnswer, type StatusAnswer, type StatusRequest } from './process-messages.ts';
import { workerCount } from './parse-pool.ts';
import { worstReadiness, type GroupReadiness } from './reachability.ts';
import { RestartPauses } from './retry.ts';
import { addSummaries, emptySummary, type IngestSummary } from './summary.ts';

const STATUS_MS_MAX = 2000;
const FIRST_PAUSE_MS = 500;
const PAUSE_MS_MAX = 30_000;
/** Beyond the children's own grace time, before they are killed. */
const STOP_EXTRA_MS = 10_000;

export interface ProcessGroupOptions {
  readonly settings: Settings;
  /** Path of the command that children run. */
  readonly program: string;
  readonly untilIdle: boolean;
  readonly stop: AbortSignal;
  readonly log: Logger;
}

/**
 * Several ingest processes of one consumer group under one parent. A child that a signal ends, that ends in order though
 * nobody told it to, or that could not be started, is started again, with pauses that double; one that ends by itself with
 * an error ends all, as a single process would. The parent puts metrics and summaries together and stops the children together. Children stop when the parent is gone.
 */
export class ProcessGroup {
  readonly #options: ProcessGroupOptions;
  readonly #children = new Set<ChildProcess>();
  readonly #metrics = new GroupMetrics<ChildProcess>();
  #nextStatus = 1;

  constructor(options: ProcessGroupOptions) {
    this.#options = options;
  }

  /** Runs until stopped, or until every partition is read to its end. Rejects with what ended a child. */
  async run(): Promise<IngestSummary> {
    const { settings, stop } = this.#options;
    const began = performance.now();
    const halt = new AbortController();
    stop.addEventListener('abort', () => halt.abort(), { once: true });
    if (stop.aborted) halt.abort();
    const slots = Array.from({ length: settings.ingest.processes }, () => this.#keepRunning(halt.signal));
    // The first failure ends the others, which are waited for.
    const guarded = slots.map((slot) =>
      slot.catch((error: unknown) => {
        halt.abort();
        throw error as Error;
      }),
    );
    const ended = await Promise.allSettled(guarded);
    const failure = ended.find((result) => result.status === 'rejected');
    if (failure !== undefined) throw failure.reason as Error;
    const summaries = ended.flatMap((result) =>
      result.status === 'fulfilled' && result.value !== undefined ? [result.value] : [],
    );
    const summary = summaries.reduce(addSummaries, emptySummary());
    summary.seconds = Math.round(performance.now() - began) / 1000;
    return summary;
  }

  /** Ready while every process slot has a child that is. */
  async readiness(): Promise<GroupReadiness> {
    return this.#readinessOf(await this.#statuses());
  }

  /** The metrics of all children put together. */
  async metrics(): Promise<Registry> {
    const answers = await this.#statuses();
    const told = new Map([...answers].map(([child, { metrics }]) => [child, metrics]));
    return this.#metrics.combine(told, this.#readinessOf(answers).ready);
  }

  #readinessOf(answers: ReadonlyMap<ChildProcess, StatusAnswer>): GroupReadiness {
    const told = [...answers.values()].map(({ readiness }) => readiness);
    return worstReadiness(told, this.#options.settings.ingest.processes);
  }

  /** Keeps one slot filled; gives the summary of the child that ended in order. */
  async #keepRunning(halt: AbortSignal): Promise<IngestSummary | undefined> {
    const { log, untilIdle } = this.#options;
    const pauses = new RestartPauses(FIRST_PAUSE_MS, PAUSE_MS_MAX);
    for (;;) {
      const began = performance.now();
      const { code, signal, fault, output } = await this.#runChild(halt);
      if (code === 0 && untilIdle) return output === '' ? undefined : (JSON.parse(output) as IngestSummary);
      if (halt.aborted) return undefined;
      if (code !== 0 && signal === null && fault === undefined)
        throw new CdrhouseError('INGEST_PROCESS_FAILED', `an ingest process ended with exit code ${code}`);
      const pauseMs = pauses.after(performance.now() - began);
      this.#metrics.restarted();
      log.warn(
        { code: 'INGEST_PROCESS_FAILED', signal, reason: fault?.message, pauseMs },
        fault === undefined
          ? 'an ingest process was ended; another takes its place'
          : 'an ingest process could not be started',
      );
      await sleep(pauseMs, undefined, { signal: halt }).catch(() => undefined);
      if (halt.aborted) return undefined;
    }
  }

  async #runChild(halt: AbortSignal): Promise<ChildEnd> {
    const { settings, program, untilIdle } = this.#options;
    const child = fork(program, ['ingest', ...(untilIdle ? ['--until-idle'] : [])], {
      env: { ...process.env, ...childEnvironment(settings) },
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
      // A group of its own: Ctrl-C in a terminal reaches the children through us, once.
      detached: true,
    });
    this.#children.add(child);
    let output = '';
    child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()));
    const stop = (): void => {
      child.kill('SIGTERM');
      setTimeout(
        () => child.kill('SIGKILL'),
        settings.ingest.drain_seconds_max * 1000 + STOP_EXTRA_MS,
      ).unref();
    };
    if (halt.aborted) stop();
    halt.addEventListener('abort', stop, { once: true });
    let fault: Error | undefined;
    // What a running child is not told reaches it otherwise; without a process there is none to wait for.
    child.on('error', (error) => {
      if (child.pid === undefined) fault = error;
    });
    const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
      child.once('close', (...end) => resolve(end));
    });
    halt.removeEventListener('abort', stop);
    this.#children.delete(child);
    void this.#metrics.ended(child);
    return { code, signal, fault, output };
  }

  /** The answers of the children that answer in time. */
  async #statuses(): Promise<Map<ChildProcess, StatusAnswer>> {
    const answers = await Promise.all(
      [...this.#children].map(async (child) => [child, await this.#statusOf(child)] as const),
    );
    return new Map(answers.filter((entry): entry is [ChildProcess, StatusAnswer] => entry[1] !== undefined));
  }

  /** A child's status; undefined where it does not answer in time. */
  #statusOf(child: ChildProcess): Promise<StatusAnswer | undefined> {
    if (!child.connected) return Promise.resolve(undefined);
    const request: StatusRequest = { kind: 'status', id: this.#nextStatus++ };
    return new Promise((resolve) => {
      const end = (answer: StatusAnswer | undefined): void => {
        clearTimeout(timer);
        child.off('message', listen);
        resolve(answer);
      };
      const listen = (message: unknown): void => {
        if (isStatusAnswer(message) && message.id === request.id) end(message);
      };
      const timer = setTimeout(() => end(undefined), STATUS_MS_MAX);
      child.on('message', listen);
      child.send(request, (error) => {
        if (error !== null) end(undefined);
      });
    });
  }
}

/** How a child ended. */
interface ChildEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Why it could not be started. */
  readonly fault: Error | undefined;
  /** What it wrote on stdout. */
  readonly output: string;
}

/** A child is a single process without a port of its own, and shares the cores with its siblings. */
export function childEnvironment(
  { ingest }: Settings,
  cores = availableParallelism(),
): Record<string, string> {
  return {
    [CHILD_VARIABLE]: String(process.pid),
    CDRHOUSE_INGEST_PROCESSES: '1',
    CDRHOUSE_INGEST_METRICS_PORT: '0',
    CDRHOUSE_INGEST_WORKERS: String(workerCount(ingest.workers, Math.floor(cores / ingest.processes))),
  };
}
