import { availableParallelism } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { NO_SUPPRESSIONS, type SuppressionSet } from '../schemas/suppressions.ts';
import type { BlockTable } from '../schemas/tables.ts';
import { BlockStream, PieceMemory, type Piece } from './block-stream.ts';
import type { PackedBatch, ParseContext, ParsedBatch } from './parse/batch.ts';
import {
  BEGUN,
  shareSuppressions,
  type ParseTask,
  type PieceAnswer,
  type PieceRequest,
} from './parse-task.ts';

/** One thread parses faster than one process can read from Kafka; more cores want more processes. */
const WORKERS_MAX = 2;

/**
 * Heap of a thread, in MiB: many times what a batch needs. Beyond, the thread is ended alone; the default would let it
 * take what the process shares with all. Its typed arrays, which lie outside, are bounded by the batch.
 */
const HEAP_MIB_MAX = 256;

/** How long a thread may take to load its code before it is ended all the same, and how often one looks. */
const LOAD_MS_MAX = 10_000;
const LOAD_LOOK_MS = 10;

/** Number of parse threads that a setting of so many asks for; 0: one for each core that is there for them, up to a bound. */
export function workerCount(workers: number, cores = availableParallelism() - 1): number {
  return workers === 0 ? Math.max(1, Math.min(WORKERS_MAX, cores)) : workers;
}

export interface ParsePoolOptions {
  readonly workers: number;
  /** Batches that are parsed or wait for a thread. */
  readonly batchesMax: number;
  /** A thread that owes an answer for longer is ended. */
  readonly secondsMax: number;
}

/** The worker threads that parse batches. */
export class ParsePool {
  readonly #pool: Piscina<ParseTask, undefined>;
  readonly #answerMsMax: number;
  readonly #pieces = new PieceMemory();
  /** Ids of the threads that have loaded their code. */
  readonly #loaded = new Set<number>();
  #suppressions = shareSuppressions(NO_SUPPRESSIONS);

  constructor(context: ParseContext, { workers, batchesMax, secondsMax }: ParsePoolOptions) {
    this.#answerMsMax = secondsMax * 1000;
    this.#pool = new Piscina({
      filename: new URL('./parse-worker.js', import.meta.url).href,
      workerData: context,
      // All threads from the start and for ever: a thread that starts compiles its code anew.
      minThreads: workers,
      maxThreads: workers,
      idleTimeout: Infinity,
      concurrentTasksPerWorker: 1,
      maxQueue: batchesMax,
      recordTiming: true,
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB_MAX },
    });
    this.#pool.on('message', (threadId: number) => this.#loaded.add(threadId));
  }

  /** Begins to parse a batch, as soon as a thread is free. The thread is taken until the parsing is closed. */
  parse(batch: PackedBatch, suppressions: SuppressionSet = NO_SUPPRESSIONS): Parsing {
    if (suppressions.version !== this.#suppressions.version)
      this.#suppressions = shareSuppressions(suppressions);
    const { port1, port2 } = new MessageChannel();
    const overdue = new AbortController();
    const parsing = new Parsing(port1, this.#pieces, this.#answerMsMax, overdue);
    const task = { batch, port: port2, suppressions: this.#suppressions };
    this.#pool.run(task, { transferList: [port2], signal: overdue.signal }).then(
      () => parsing.end(new Error('the parse worker has ended')),
      (error: unknown) => parsing.end(error),
    );
    return parsing;
  }

  /** Share of time in which the threads were busy, 0 to 1. */
  get utilization(): number {
    return this.#pool.utilization;
  }

  /**
   * Ends the threads, and what they do. One that still loads its code is waited for: Node aborts the whole process where
   * a thread is ended while it links its modules.
   */
  async close(): Promise<void> {
    for (let waited = 0; this.#isLoading() && waited < LOAD_MS_MAX; waited += LOAD_LOOK_MS)
      await delay(LOAD_LOOK_MS);
    await this.#pool.destroy();
  }

  #isLoading(): boolean {
    return this.#pool.threads.some(({ threadId }) => !this.#loaded.has(threadId));
  }
}

/** One batch in a worker: what it holds, and its blocks. */
export class Parsing {
  /** Rejects where the worker fails: throws, hangs or runs out of memory. */
  readonly parsed: Promise<ParsedBatch>;
  /** Why the worker ended before it was told to; undefined while it works. */
  failure: unknown;
  /** Rows of `cdr` that have the key of another one of the batch, by feed; known when its block was read. */
  duplicatesByFeed: readonly number[] = [];
  readonly #port: MessagePort;
  readonly #pieces: PieceMemory;
  readonly #answers: { resolve: (answer: never) => void; reject: (error: unknown) => void }[] = [];
  readonly #answerMsMax: number;
  readonly #overdue: AbortController;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** @param overdue aborted where an answer takes longer than `answerMsMax`, waiting for a free thread apart */
  constructor(port: MessagePort, pieces: PieceMemory, answerMsMax: number, overdue: AbortController) {
    this.#port = port;
    this.#pieces = pieces;
    this.#answerMsMax = answerMsMax;
    this.#overdue = overdue;
    this.parsed = this.#answer();
    // A failure is met where the batch is stored; until then it must not count as unhandled.
    this.parsed.catch(() => undefined);
    port.on('message', (answer) => {
      clearTimeout(this.#timer);
      if (answer !== BEGUN) this.#answers.shift()?.resolve(answer as never);
      if (this.#answers.length > 0) this.#expect();
    });
  }

  /** The block of a table in ClickHouse's Native format, which can be stored when `before` is settled. */
  block(table: BlockTable, before?: Promise<void>): BlockStream {
    return new BlockStream(this.#pieces, (into) => this.#piece({ table, into }), before);
  }

  /** Frees the worker, as soon as it has done what it was asked for last. */
  close(): void {
    this.#closed = true;
    this.#port.close();
  }

  /** Told by the pool when the task is over. */
  end(error: unknown): void {
    clearTimeout(this.#timer);
    if (!this.#closed) this.failure = error;
    for (const { reject } of this.#answers.splice(0)) reject(error);
  }

  async #piece(request: PieceRequest): Promise<Piece> {
    if (this.failure !== undefined) throw this.failure as Error;
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port, not a window
    this.#port.postMessage(request);
    if (this.#answers.length === 0) this.#expect();
    const { length, duplicatesByFeed } = await this.#answer<PieceAnswer>();
    if (duplicatesByFeed !== undefined && request.table === 'cdr') this.duplicatesByFeed = duplicatesByFeed;
    return { length, last: duplicatesByFeed !== undefined };
  }

  #expect(): void {
    this.#timer = setTimeout(() => this.#overdue.abort(), this.#answerMsMax).unref();
  }

  #answer<T>(): Promise<T> {
    return new Promise<T>((resolve, reject) => this.#answers.push({ resolve, reject }));
  }
}
