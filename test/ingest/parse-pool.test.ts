import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { Writable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import type { Worker } from 'node:worker_threads';
import tap from 'tap';
import { packedBatch, parseContext } from '../../bench/packed-batches.ts';
import { ParsePool } from '../../ingest/parse-pool.ts';
import { BatchParser } from '../../ingest/parse/parse-batch.ts';
import { insertBlocks } from '../../ingest/writer.ts';
import { BLOCK_TABLES } from '../../schemas/tables.ts';
import { badLine, callLines } from '../fault/harness.ts';

const LINES_PER_MESSAGE = 500;

/** A batch of calls, and of a bad line for each thousandth of them. */
function batchOf(seed: number, calls: number): ReturnType<typeof packedBatch> {
  const lines = callLines(seed, calls).map((line) => Buffer.from(`${line}\n`));
  const messages: Buffer[] = [];
  for (let from = 0; from < calls; from += LINES_PER_MESSAGE) {
    const bad = from % 1000 === 0 ? [badLine(from), Buffer.from('\n')] : [];
    messages.push(Buffer.concat([...bad, ...lines.slice(from, from + LINES_PER_MESSAGE)]));
  }
  return packedBatch(messages);
}

/** The blocks as one thread makes them. */
function expected(batch: ReturnType<typeof packedBatch>): Record<string, string> {
  const parser = new BatchParser(parseContext());
  parser.parse(batch);
  return Object.fromEntries(BLOCK_TABLES.map((table) => [table, digest(parser.wholeBlock(table))]));
}

function digest(bytes: Uint8Array): string {
  return createHash('md5').update(bytes).digest('hex');
}

async function withPool(work: (pool: ParsePool) => Promise<void>): Promise<void> {
  const pool = new ParsePool(parseContext(), { workers: 1, batchesMax: 4, secondsMax: 60 });
  try {
    await work(pool);
  } finally {
    await pool.close();
  }
}

await tap.test('an insert that is done before the next block is read does not cut that one short', (t) =>
  withPool(async (pool) => {
    const batch = batchOf(1, 20_000);
    const parsing = pool.parse(batch);
    const found: Record<string, string> = {};
    await insertBlocks(parsing, await parsing.parsed, async (table, block) => {
      if (table === 'cdr') {
        found[table] = digest(await buffer(block));
        return;
      }
      // Slower than the insert before it.
      const chunks: Buffer[] = [];
      for await (const chunk of block as AsyncIterable<Buffer>) {
        chunks.push(Buffer.from(chunk));
        await delay(5);
      }
      found[table] = digest(Buffer.concat(chunks));
    });
    t.strictSame(found, expected(batch));
  }),
);

await tap.test('pieces stay as they are until the network has taken them', (t) =>
  withPool(async (pool) => {
    const batches = [batchOf(2, 120_000), batchOf(3, 60_000)];
    // The second batch is parsed while the blocks of the first one are still on their way.
    const found = await Promise.all(
      batches.map(async (batch) => {
        const digests: Record<string, string> = {};
        const parsing = pool.parse(batch);
        await insertBlocks(parsing, await parsing.parsed, async (table, block) => {
          const hash = createHash('md5');
          const slow = new Writable({
            highWaterMark: 16_384,
            write(chunk: Buffer, _, done) {
              // Looked at as late as a socket may do it.
              setTimeout(() => {
                hash.update(chunk);
                done();
              }, 3);
            },
          });
          await pipeline(block, slow);
          digests[table] = hash.digest('hex');
          block.release();
        });
        return digests;
      }),
    );
    t.strictSame(found, batches.map(expected));
  }),
);

await tap.test('a failed insert breaks off the others, and its memory is not used again', (t) =>
  withPool(async (pool) => {
    const batch = batchOf(4, 20_000);
    const parsing = pool.parse(batch);
    const brokenOff: string[] = [];
    const memory = new Set<unknown>();
    const failing = insertBlocks(parsing, await parsing.parsed, async (table, block) => {
      if (table === 'cdr') {
        for await (const chunk of block as AsyncIterable<Buffer>) {
          memory.add(chunk.buffer);
          throw new Error('refused');
        }
      }
      // Never reads: it waits for the others.
      await once(block, 'close');
      brokenOff.push(table);
      throw new Error('broken off');
    });
    await t.rejects(failing, { message: 'refused' });
    t.strictSame(brokenOff, ['cdr_by_number', 'dead_letters']);
    const again = pool.parse(batch);
    const found: Record<string, string> = {};
    await insertBlocks(again, await again.parsed, async (table, block) => {
      const chunks: Buffer[] = [];
      for await (const chunk of block as AsyncIterable<Buffer>) {
        t.notOk(memory.has(chunk.buffer));
        chunks.push(Buffer.from(chunk));
      }
      found[table] = digest(Buffer.concat(chunks));
      block.release();
    });
    t.strictSame(found, expected(batch));
  }),
);

await tap.test('a block ends when those before it are stored; its worker is free before that', (t) =>
  withPool(async (pool) => {
    const batch = batchOf(5, 20_000);
    const before = new AbortController();
    const settled = once(before.signal, 'abort').then(() => undefined);
    const parsing = pool.parse(batch);
    const found: Record<string, string> = {};
    const inserts = insertBlocks(
      parsing,
      await parsing.parsed,
      async (table, block) => {
        found[table] = digest(await buffer(block));
      },
      settled,
    );
    // The only worker.
    const next = pool.parse(batch);
    t.equal((await next.parsed).calls, 20_000);
    next.close();
    t.strictSame(found, {}, 'no block has ended');
    before.abort();
    await inserts;
    t.strictSame(found, expected(batch));
  }),
);

await tap.test('a thread that still loads its code is not ended: Node would abort the process', async (t) => {
  const beginning = once(process, 'worker') as Promise<[Worker]>;
  const pool = new ParsePool(parseContext(), { workers: 1, batchesMax: 1, secondsMax: 60 });
  const closing = pool.close();
  const [thread] = await beginning;
  const { threadId } = thread;
  t.strictSame(await Promise.race([once(thread, 'message'), once(thread, 'exit')]), [threadId]);
  await closing;
});
