import type { MessagePort } from 'node:worker_threads';
import type { BlockTable } from '../schemas/tables.ts';
import type { PackedBatch } from './parse/batch.ts';
import type { SuppressionSet } from '../schemas/suppressions.ts';

/** What `parse-pool.ts` asks of a thread: parse this batch, and answer at the port until it is closed. */
export interface ParseTask {
  readonly batch: PackedBatch;
  readonly port: MessagePort;
  readonly suppressions: SharedSuppressions;
}

/** Suppressions in memory that threads share: a thread reads them where their version is new to it. */
export interface SharedSuppressions {
  readonly version: number;
  readonly json: Uint8Array;
}

export function shareSuppressions({ version, suppressions }: SuppressionSet): SharedSuppressions {
  const text = Buffer.from(JSON.stringify(suppressions));
  const json = new Uint8Array(new SharedArrayBuffer(text.length));
  json.set(text);
  return { version, json };
}

export function sharedSuppressions({ version, json }: SharedSuppressions): SuppressionSet {
  const suppressions = JSON.parse(Buffer.from(json).toString()) as SuppressionSet['suppressions'];
  return { version, suppressions };
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
