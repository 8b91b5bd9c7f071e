import { fork, type ChildProcess } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { CdrhouseError } from '../schemas/errors.ts';
import type { Settings } from '../schemas/settings.ts';
import { GroupMetrics } from './group-metrics.ts';
import { CHILD_VARIABLE, isStatusAnswer, type StatusAnswer, type StatusRequest } from './process-messages.ts';
import { worstReadiness, type GroupReadiness } from './reachability.ts';
import { addSummaries, emptySummary, type IngestSummary } from './summary.ts';

const STATUS_MS_MAX = 2000;
const FIRST_PAUSE_MS = 500;
const PAUSE_MS_MAX = 30_000;
/** A child that lived this long did not die of its start: the next pause is the first again. */
const HEALTHY_MS = 60_000;
/** Beyond the children's own grace time, before they are killed. */
const STOP_EXTRA_MS = 10_000;

export interface ProcessGroupOptions {
  readonly settings: Settings;
  readonly untilIdle: boolean;
  readonly stop: AbortSignal;
  readonly log: Logger;
}

/**
 * Several ingest processes of one consumer group under one parent. A child that a signal ends is started again,
 * with pauses that double; one that ends by itself with an error ends all, as a single process would. The parent
 * puts metrics and summaries together and stops the children together. Children stop when the parent is gone.
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
    for (let pauseMs = FIRST_PAUSE_MS; ;) {
      const began = performance.now();
      const { code, signal, output } = await this.#runChild(halt);
      if (code === 0) return untilIdle && output !== '' ? (JSON.parse(output) as IngestSummary) : undefined;
      if (halt.aborted) return undefined;
      if (signal === null)
        throw new CdrhouseError('INGEST_PROCESS_FAILED', `an ingest process ended with exit code ${code}`);
      if (performance.now() - began > HEALTHY_MS) pauseMs = FIRST_PAUSE_MS;
      this.#metrics.restarted();
      log.warn(
        { code: 'INGEST_PROCESS_FAILED', signal, pauseMs },
        'an ingest process was killed; another takes its place',
      );
      await sleep(pauseMs, undefined, { signal: halt }).catch(() => undefined);
      if (halt.aborted) return undefined;
      pauseMs = Math.min(PAUSE_MS_MAX, pauseMs * 2);
    }
  }

  #runChild(
    halt: AbortSignal,
  ): Promise<{ code: number | null; signal: NodeJS.Signals | null; output: string }> {
    const { settings, untilIdle } = this.#options;
    const child = fork(process.argv[1]!, ['ingest', ...(untilIdle ? ['--until-idle'] : [])], {
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
    return new Promise((resolve) => {
      child.once('close', (code, signal) => {
        halt.removeEventListener('abort', stop);
        this.#children.delete(child);
        void this.#metrics.ended(child);
        resolve({ code, signal, output });
      });
    });
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

/** A child is a single process without a port of its own, and shares the cores with its siblings. */
function childEnvironment({ ingest }: Settings): Record<string, string> {
  const shared = Math.max(1, Math.floor(availableParallelism() / ingest.processes));
  return {
    [CHILD_VARIABLE]: String(process.pid),
    CDRHOUSE_INGEST_PROCESSES: '1',
    CDRHOUSE_INGEST_METRICS_PORT: '0',
    CDRHOUSE_INGEST_WORKERS: String(ingest.workers === 0 ? shared : ingest.workers),
  };
}
