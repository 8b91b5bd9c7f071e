import { parentPort, threadId, workerData } from 'node:worker_threads';
import type { BlockTable } from '../schemas/tables.ts';
import {
  BEGUN,
  sharedSuppressions,
  type ParseTask,
  type PieceAnswer,
  type PieceRequest,
} from './parse-task.ts';
import type { ParseContext } from './parse/batch.ts';
import type { TableBlock } from './parse/blocks.ts';
import { BatchParser } from './parse/parse-batch.ts';

/** The thread of `parse-pool.ts`: one parser, whose buffers live as long as the thread. */
const parser = new BatchParser(workerData as ParseContext);

// Heard by the pool, which ends no thread before: said when who loads this module is done with it too.
// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port, not a window
queueMicrotask(() => parentPort?.postMessage(threadId));

/**
 * Parses one batch and tells what it holds. Then each message names a table, and is answered when the next piece of its
 * block is written: so no more of a block is in memory than the network takes.
 */
export default function parse({ batch, port, suppressions }: ParseTask): Promise<void> {
  port.postMessage(BEGUN);
  if (suppressions.version !== parser.suppressionsVersion) parser.suppress(sharedSuppressions(suppressions));
  port.postMessage(parser.parse(batch));
  const blocks = new Map<BlockTable, TableBlock>();
  return new Promise((resolve, reject) => {
    port.on('message', ({ table, into }: PieceRequest) => {
      try {
        const block = blocks.get(table) ?? parser.block(table);
        blocks.set(table, block);
        const { native, duplicatesByFeed } = block;
        const length = native.read(into);
        const answer: PieceAnswer = native.bytesLeft > 0 ? { length } : { length, duplicatesByFeed };
        port.postMessage(answer);
      } catch (error) {
        reject(error);
      }
    });
    port.once('close', resolve);
  });
}
