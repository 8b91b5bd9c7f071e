import { availableParallelism } from 'node:os';
import { Piscina } from 'piscina';
import type { PackedBatch, ParseContext, ParsedBatch } from './parse/batch.ts';

/** The worker threads that parse batches. */
export class ParsePool {
  readonly workers: number;
  readonly #pool: Piscina<PackedBatch, ParsedBatch>;

  /** @param workers number of threads; 0: one per core, less one for the main thread, at least one */
  constructor(context: ParseContext, workers: number, batchesMax: number) {
    this.workers = workers === 0 ? Math.max(1, availableParallelism() - 1) : workers;
    this.#pool = new Piscina({
      filename: new URL('./parse-worker.js', import.meta.url).href,
      workerData: context,
      // All threads from the start and for ever: a thread that starts compiles its code anew.
      minThreads: this.workers,
      maxThreads: this.workers,
      idleTimeout: Infinity,
      concurrentTasksPerWorker: 1,
      maxQueue: batchesMax,
      recordTiming: true,
    });
  }

  /** Parses a batch. Rejects where the thread failed; the batch's bytes are shared, so it can be tried again. */
  parse(batch: PackedBatch): Promise<ParsedBatch> {
    return this.#pool.run(batch);
  }

  /** Share of time in which the threads were busy, 0 to 1. */
  get utilization(): number {
    return this.#pool.utilization;
  }

  async close(): Promise<void> {
    await this.#pool.destroy();
  }
}
