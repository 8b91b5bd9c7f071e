import type { Feed } from '../schemas/feed.ts';
import type { BlockTable, IngestDatabase } from './clickhouse.ts';
import type { Lease } from './lease.ts';
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

/** By what right a batch is written. */
export interface Ownership {
  /** Aborted when the assignment has ended. */
  readonly signal: AbortSignal;
  readonly lease: Lease;
}

export interface WriteOwnership extends Ownership {
  /** Rejects where what was read is no longer what was assigned; asked after reading, before anything is written. */
  readonly verifySource: () => Promise<void>;
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
  async write(batch: SealedBatch, parsed: ParsedBatch, ownership: WriteOwnership): Promise<void> {
    await this.#retried('verify the topics', ownership, () => ownership.verifySource());
    const storedAtSeconds = Math.floor(batch.packed.nowMs / 1000);
    await Promise.all([
      this.#insert('cdr', parsed.cdr, storedAtSeconds, ownership),
      this.#insert('cdr_by_number', parsed.cdrByNumber, storedAtSeconds, ownership),
      this.#insert('dead_letters', parsed.deadLetters, storedAtSeconds, ownership),
    ]);
    const { feeds, instance } = this.#options;
    const rows = batch.ranges.map(({ partition, from, next }, index) =>
      ledgerRow(partition, feeds[partition.source.feed]!, { from, next }, parsed.counts[index]!, {
        instance,
        nowMs: batch.packed.nowMs,
      }),
    );
    const { signal } = ownership;
    await this.#retried('insert into ingest_ledger', ownership, (deadlineMs) =>
      this.#options.database.insertLedger(rows, { storedAtSeconds, deadlineMs, signal }),
    );
    for (const { partition, next } of batch.ranges) partition.stored = next;
  }

  #insert(
    table: BlockTable,
    block: Uint8Array,
    storedAtSeconds: number,
    ownership: Ownership,
  ): Promise<void> {
    if (block.length === 0) return Promise.resolve();
    const { signal } = ownership;
    return this.#retried(`insert into ${table}`, ownership, (deadlineMs) =>
      this.#options.database.insertBlock(table, block, { storedAtSeconds, deadlineMs, signal }),
    );
  }

  /** Each try asks for a deadline of its own: the database may have been away for longer than the last one. */
  #retried(
    what: string,
    { lease, signal }: Ownership,
    work: (deadlineMs: number) => Promise<void>,
  ): Promise<void> {
    const { pauseMsMax, report } = this.#options;
    return untilDone(async () => work(await lease.deadline()), { what, pauseMsMax, signal, report });
  }
}
