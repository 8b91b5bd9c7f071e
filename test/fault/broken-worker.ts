/**
 * Loaded into the programs under test with `--import`, which their worker threads inherit: breaks a parse worker at
 * the batches that BROKEN_WORKER names. Production code knows nothing of it.
 */
import { closeSync, openSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import type { PackedBatch, ParsedBatch } from '../../ingest/parse/batch.ts';
import { BatchParser } from '../../ingest/parse/parse-batch.ts';

export interface Breakage {
  readonly how: 'throw' | 'hang' | 'memory';
  /** Only batches that contain this text. @default all */
  readonly text?: string;
  /** Only batches of more messages than this. @default 0 */
  readonly messagesMax?: number;
  /** A file that is made by the first thread that breaks; while it is there, none does. @default always */
  readonly once?: string;
}

const { BROKEN_WORKER } = process.env;
if (!isMainThread && BROKEN_WORKER !== undefined) breakParser(JSON.parse(BROKEN_WORKER) as Breakage);

function breakParser(breakage: Breakage): void {
  // The method is called with the parser that it was taken from.
  // oxlint-disable-next-line typescript/unbound-method
  const { parse } = BatchParser.prototype;
  BatchParser.prototype.parse = function parseOrBreak(this: BatchParser, batch: PackedBatch): ParsedBatch {
    if (isMeant(batch, breakage)) breakNow(breakage.how);
    return parse.call(this, batch);
  };
}

function isMeant(batch: PackedBatch, { text, once, messagesMax = 0 }: Breakage): boolean {
  if (batch.count <= messagesMax) return false;
  const payload = batch.bytes.subarray(batch.start, batch.ends[batch.count - 1]);
  if (text !== undefined && !Buffer.from(payload).includes(text)) return false;
  if (once === undefined) return true;
  try {
    closeSync(openSync(once, 'wx'));
    return true;
  } catch {
    return false;
  }
}

function breakNow(how: Breakage['how']): void {
  if (how === 'throw') throw new TypeError('a defect');
  const kept: object[] = [];
  for (;;) if (how === 'memory') kept.push({ kept });
}
