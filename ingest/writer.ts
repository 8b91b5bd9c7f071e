import type { Feed } from '../schemas/feed.ts';
import type { IngestDatabase } from './clickhouse.ts';
import { ledgerRow } from './ledger-row.ts';
import type { SealedBatch } from './open-batch.ts';
import type { ParsedBatch } from './parse/batch.ts';
import { untilDone, type RetryReport } from './retry.ts';

export interface WriterOptions {
  readonly database: IngestDatabase;
  readonly feeds: readonly Feed[];
  /** Name of this process in the ledger. */
  readonly instance: string;
  readonly pauseMsMax: number;
  readonly report: RetryReport;
}

/**
 * Stores parsed batches: both call tables and the dead letters, then the ledger. Each step waits for the one
 * before it, so that a crash at any place repeats work and loses nothing; the same record has the same key,
 * so a repeat changes nothing that is read.
 */
export class Writer {
  readonly #options: WriterOptions;

  constructor(options: WriterOptions) {
    this.#options = options;
  }

  /**
   * Stores one batch. Waits for a failing database; rejects with CLICKHOUSE_REFUSED where waiting does not
   * help, or with the signal's reason.
   */
  async write(batch: SealedBatch, parsed: ParsedBatch, signal: AbortSignal): Promise<void> {
    await Promise.all([
      this.#insert('cdr', parsed.cdr, signal),
      this.#insert('cdr_by_number', parsed.cdrByNumber, signal),
      this.#insert('dead_letters', parsed.deadLetters, signal),
    ]);
    const { feeds, instance } = this.#options;
    const rows = batch.ranges.map(({ partition, from, next }, index) =>
      ledgerRow(partition, feeds[partition.source.feed]!, { from, next }, parsed.counts[index]!, {
        instance,
        nowMs: batch.packed.nowMs,
      }),
    );
    await this.#retried(
      'insert into ingest_ledger',
      () => this.#options.database.insertLedger(rows, signal),
      signal,
    );
    for (const { partition, next } of batch.ranges) partition.stored = next;
  }

  #insert(
    table: 'cdr' | 'cdr_by_number' | 'dead_letters',
    block: Uint8Array,
    signal: AbortSignal,
  ): Promise<void> {
    if (block.length === 0) return Promise.resolve();
    return this.#retried(
      `insert into ${table}`,
      () => this.#options.database.insertBlock(table, block, signal),
      signal,
    );
  }

  #retried(what: string, work: () => Promise<void>, signal: AbortSignal): Promise<void> {
    const { pauseMsMax, report } = this.#options;
    return untilDone(work, { what, pauseMsMax, signal, report });
  }
}
