import type { MessagePort } from 'node:worker_threads';
import type { BlockTable } from '../schemas/tables.ts';
import type { PackedBatch } from './parse/batch.ts';

/** What `parse-pool.ts` asks of a thread: parse this batch, and answer at the port until it is closed. */
export interface ParseTask {
  readonly batch: PackedBatch;
  readonly port: MessagePort;
}

/** The first answer: a thread has begun with the task. Then comes what the batch holds. */
export const BEGUN = 'begun';

/** Asks for the next piece of a table's block; answered in the order in which they are asked. */
export interface PieceRequest {
  readonly table: BlockTable;
  /** Shared memory to which the piece is written. */
  readonly into: Uint8Array;
}

/** The answer to it: a piece was written. */
export interface PieceAnswer {
  readonly length: number;
  /** Behind the last piece: rows of `cdr` that have the key of another one of the batch, by feed. */
  readonly duplicatesByFeed?: readonly number[];
}
