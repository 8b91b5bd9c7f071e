import { setTimeout as sleep } from 'node:timers/promises';
import { errorCode, judgeDatabaseError } from '../schemas/clickhouse-errors.ts';
import { CdrhouseError } from '../schemas/errors.ts';
import type { Feed } from '../schemas/feed.ts';
import { BLOCK_TABLES, type BlockTable, type SentTable, type StoredSource } from '../schemas/tables.ts';
import type { BlockStream } from './block-stream.ts';
import type { IngestDatabase } from './clickhouse.ts';
import type { Lease } from './lease.ts';
import { ledgerRow } from './ledger-row.ts';
import { splitBatch, type SealedBatch } from './open-batch.ts';
import type { ParsePool, Parsing } from './parse-pool.ts';
import type { PackedBatch, ParsedBatch, StoredBatch } from './parse/batch.ts';
import { pauseBefore, untilDone, type RetryReport } from './retry.ts';
import type { SuppressionsUse, SuppressionsWatch } from './suppressions.ts';

/** For a single message; a batch of several is cut in two instead. */
const PARSE_TRIES = 3;

export interface WriterOptions {
  readonly database: IngestDatabase;
  readonly pool: ParsePool;
  readonly feeds: readonly Feed[];
  readonly suppressions: SuppressionsWatch;
  /** Name of this process in the ledger. */
  readonly instance: string;
  readonly pauseMsMax: number;
  readonly report: RetryReport;
  /** Told how long each insert that succeeded took, without the tries before it. */
  readonly inserted: (table: SentTable, milliseconds: number) => void;
  /** Told of each parse worker that failed: what happened, and how many messages it had. */
  readonly workerFailed: (reason: string, messages: number) => void;
}

/** By what right a batch is written. */
export interface Ownership {
  /** Aborted when the assignment has ended. */
  readonly signal: AbortSignal;
  readonly lease: Lease;
}

export interface WriteOrder extends Ownership {
  /** Rejects where what was read is no longer what was assigned; asked after reading, before anything is written. */
  readonly verifySource: () => Promise<void>;
  /** Settled when the batches before this one are in the ledger, or given up: rows and ledger rows are stored in order. */
  readonly before: Promise<void>;
  /** Told of each part of the batch that is in the ledger. */
  readonly stored: (part: SealedBatch, stored: StoredBatch, storeMs: number) => void;
}

/**
 * Stores batches: has them parsed, and streams both call tables' blocks and the dead letters from the worker into
 * ClickHouse, then the ledger. Each step waits for the one before it, so that a crash at any place repeats work and loses
 * nothing; the same record has the same key, so a repeat changes nothing that is read. What fails is parsed and inserted
 * again as a whole, from the batch's bytes.
 */
export class Writer {
  readonly #options: WriterOptions;

  constructor(options: WriterOptions) {
    this.#options = options;
  }

  /**
   * Stores one batch, in parts where it is too large for a worker or for an insert. Waits for a failing database;
   * rejects with CLICKHOUSE_REFUSED where waiting does not help, with PARSE_WORKER_FAILED, or with the signal's reason.
   */
  async write(batch: SealedBatch, order: WriteOrder): Promise<void> {
    await this.#retried('verify the topics', order, () => order.verifySource());
    let messagesMax = Infinity;
    for (let rest: SealedBatch | undefined = batch; rest !== undefined;) {
      const began = performance.now();
      const [part] = splitBatch(rest, messagesMax);
      const parsed = await this.#insertRows(part, order);
      if (parsed === undefined) {
        messagesMax = Math.ceil(part.packed.count / 2);
        continue;
      }
      const [done, behind] = splitBatch(rest, parsed.messages);
      await order.before;
      order.signal.throwIfAborted();
      await this.#insertLedger(done, parsed, order);
      order.stored(done, parsed, performance.now() - began);
      rest = behind;
    }
  }

  /** Parses a batch and inserts its blocks, again and again until it is done; undefined where its halves may fit. */
  async #insertRows(
    batch: SealedBatch,
    { lease, signal, before }: WriteOrder,
  ): Promise<StoredBatch | undefined> {
    const { database, pool, pauseMsMax, report, suppressions, workerFailed } = this.#options;
    const { packed } = batch;
    const sources = this.#sources(batch);
    const storedAtSeconds = Math.floor(packed.nowMs / 1000);
    let failedWorkers = 0;
    let step = 'parse a batch';
    const insert = async (use: SuppressionsUse, table: BlockTable, block: BlockStream): Promise<void> => {
      try {
        const deadlineMs = Math.min(await lease.deadline(), use.deadlineMs);
        await this.#timed(table, () =>
          database.insertBlock(table, block, { storedAtSeconds, sources, deadlineMs, signal }),
        );
        block.release();
      } catch (error) {
        step = `insert into ${table}`;
        throw error;
      }
    };
    const attempt = async (tried: number): Promise<StoredBatch | undefined> => {
      // Parsing again is worth it only when there is a database to write to.
      if (tried > 1) await database.reach();
      const use = suppressions.use();
      const parsing = pool.parse(packed, use.set);
      try {
        const parsed = await untilAborted(parsing.parsed, signal);
        await insertBlocks(parsing, parsed, (table, block) => insert(use, table, block), before);
        return {
          ...parsed,
          duplicatesByFeed: parsing.duplicatesByFeed,
          suppressionsVersion: use.set.version,
        };
      } catch (error) {
        if (parsing.failure !== undefined) {
          signal.throwIfAborted();
          workerFailed(failureOf(parsing.failure), packed.count);
          if (packed.count > 1) return undefined;
          if (++failedWorkers === PARSE_TRIES) throw brokenBy(packed, parsing.failure);
          step = 'parse a message';
          throw parsing.failure;
        }
        if (!mayBeTooLarge(error, packed)) throw error;
        const pauseMs = pauseBefore(tried, pauseMsMax);
        report(`${step}, then in halves`, errorCode(error), tried + 1, pauseMs);
        await sleep(pauseMs, undefined, { signal });
        return undefined;
      } finally {
        parsing.close();
        use.done();
      }
    };
    return untilDone(attempt, { what: () => step, pauseMsMax, signal, report });
  }

  #sources({ ranges }: SealedBatch): StoredSource[] {
    return ranges.map(({ partition: { source, correction } }) => ({
      feed: this.#options.feeds[source.feed]!.name,
      partition: source.partition,
      correction: correction?.number ?? 0,
    }));
  }

  async #insertLedger({ ranges, packed }: SealedBatch, parsed: StoredBatch, order: Ownership): Promise<void> {
    const { database, feeds, instance } = this.#options;
    const written = { instance, nowMs: packed.nowMs, suppressionsVersion: parsed.suppressionsVersion };
    const rows = ranges.flatMap(({ partition, from, next }, index) =>
      from === next
        ? []
        : ledgerRow(partition, feeds[partition.source.feed]!, { from, next }, parsed.counts[index]!, written),
    );
    const storedAtSeconds = Math.floor(packed.nowMs / 1000);
    const { signal } = order;
    await this.#retried('insert into ingest_ledger', order, (deadlineMs) =>
      this.#timed('ingest_ledger', () =>
        database.insertLedger(rows, { storedAtSeconds, deadlineMs, signal }),
      ),
    );
    for (const { partition, next } of ranges) partition.stored = next;
  }

  async #timed(table: SentTable, insert: () => Promise<void>): Promise<void> {
    const began = performance.now();
    await insert();
    this.#options.inserted(table, performance.now() - began);
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

/** The outcome of `work`, or the signal's reason where it comes first; `work` then goes on by itself. */
function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason as Error);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    void work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

function failureOf(error: unknown): string {
  const { name, code } = error as NodeJS.ErrnoException;
  return name === 'AbortError' ? 'it took too long' : (code ?? name);
}

function brokenBy(batch: PackedBatch, cause: unknown): CdrhouseError {
  const { topic, partition } = batch.sources[batch.sourceOf[0] ?? 0]!;
  return new CdrhouseError(
    'PARSE_WORKER_FAILED',
    `the message ${topic}/${partition} at offset ${batch.offsets[0] ?? 'none'} broke ${PARSE_TRIES} workers: ${failureOf(cause)}`,
    cause,
  );
}

/** A batch of one message cannot be halved: it waits until the server has more memory. */
function mayBeTooLarge(error: unknown, { count }: PackedBatch): boolean {
  return count > 1 && judgeDatabaseError(error) === 'limit';
}

/**
 * Streams the blocks that have rows into their tables, side by side. Rejects when all have ended, with the first fault;
 * one that fails breaks off the others. None is stored before `before` is settled: of two rows with one key and one
 * version, the one that was inserted last counts, which must be the same one in both tables.
 */
export async function insertBlocks(
  parsing: Parsing,
  { calls, rejects }: ParsedBatch,
  insert: (table: BlockTable, block: BlockStream) => Promise<void>,
  before?: Promise<void>,
): Promise<void> {
  const blocks = BLOCK_TABLES.filter((table) => (table === 'dead_letters' ? rejects : calls) > 0).map(
    (table) => ({ table, block: parsing.block(table, before) }),
  );
  let fault: unknown;
  const inserts = blocks.map(async ({ table, block }) => {
    try {
      await insert(table, block);
    } catch (error) {
      fault ??= error;
      for (const other of blocks) other.block.destroy();
    }
  });
  // The next batch is parsed while the database stores this one.
  void Promise.all(blocks.map(({ block }) => block.taken)).then(() => parsing.close());
  await Promise.all(inserts);
  if (fault !== undefined) throw fault as Error;
}
