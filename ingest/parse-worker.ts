import { Piscina } from 'piscina';
import { workerData } from 'node:worker_threads';
import type { PackedBatch, ParseContext, ParsedBatch } from './parse/batch.ts';
import { BatchParser } from './parse/parse-batch.ts';

/** The thread of `parse-pool.ts`: one parser, whose buffers live as long as the thread. */
const parser = new BatchParser(workerData as ParseContext);

/** Parses one batch; the blocks are moved to the main thread, not copied. */
export default function parse(batch: PackedBatch): ParsedBatch {
  return moved(parser.parse(batch));
}

/** Wraps the result as piscina wants it for a value whose buffers are to be moved. */
function moved(parsed: ParsedBatch): ParsedBatch {
  const blocks = [parsed.cdr, parsed.cdrByNumber, parsed.deadLetters].filter((block) => block.length > 0);
  const transferable = {
    [Piscina.transferableSymbol]: blocks.map((block) => block.buffer),
    [Piscina.valueSymbol]: parsed,
  };
  return Piscina.move(transferable as never) as unknown as ParsedBatch;
}
