import { setTimeout as delay } from 'node:timers/promises';
import tap from 'tap';
import { BatchQueue } from '../../ingest/batch-queue.ts';
import type { MessageChunk } from '../../ingest/message-chunk.ts';
import type { SealedBatch } from '../../ingest/open-batch.ts';
import type { PartitionState } from '../../ingest/partitions.ts';

function queue(flushIntervalMs: number): BatchQueue {
  return new BatchQueue({ batchesMax: 2, bytesMax: 32, messagesMax: 100, flushIntervalMs });
}

function partition(): PartitionState {
  return {
    source: { feed: 0, topic: 'cdr', topicId: 'id', partition: 0 },
    clusterId: 'cluster',
    generation: 1,
    position: 0,
    stored: 0,
    end: 0,
  };
}

/** Fills the open batch with one message. */
function add(batches: BatchQueue, state: PartitionState, text: string, timestamp = Date.now()): void {
  const bytes = Buffer.from(text);
  const chunk: MessageChunk = {
    count: 1,
    bytes,
    ends: Uint32Array.of(bytes.length),
    topicOf: Uint16Array.of(0),
    partitions: Int32Array.of(0),
    offsets: Float64Array.of(state.position),
    timestamps: Float64Array.of(timestamp),
    tombstones: new Uint8Array(1),
    topics: ['cdr'],
    partitionEnds: [],
    errors: [],
  };
  batches.open.add(chunk, () => state);
}

function textOf({ packed }: SealedBatch): string {
  return Buffer.from(packed.bytes.subarray(packed.start, packed.ends[packed.count - 1])).toString();
}

await tap.test('a batch is due when it is full, or has waited', async (t) => {
  const batches = queue(30);
  const state = partition();
  t.notOk(batches.isDue(true), 'there is nothing');
  add(batches, state, 'ab');
  t.notOk(batches.isDue(true));
  add(batches, state, '0'.repeat(30));
  t.ok(batches.isFull && batches.isDue(true));
  batches.drop();
  t.equal(batches.open.messages, 0);
  add(batches, state, 'x');
  await delay(40);
  t.ok(batches.isDue(false), 'a flush interval is over');
});

await tap.test('after a pause batches begin small, and double', async (t) => {
  const batches = queue(200);
  const state = partition();
  const sizes = (): number[] =>
    Array.from({ length: 5 }, () => {
      do add(batches, state, '01');
      while (!batches.isDue(true));
      const { bytes } = batches.open;
      batches.submit(async () => Promise.resolve());
      return bytes;
    });
  t.strictSame(sizes(), [4, 8, 16, 32, 32]);
  await delay(450);
  t.strictSame(sizes(), [4, 8, 16, 32, 32]);
});

await tap.test('in a backlog it waits for more, while more comes, but not for ever', async (t) => {
  const batches = queue(30);
  add(batches, partition(), 'ol', Date.now() - 3_600_000);
  await delay(40);
  t.notOk(batches.isDue(true), 'there is more at hand');
  t.ok(batches.isDue(false), 'nothing came');
  await delay(140);
  t.ok(batches.isDue(true), 'five intervals are over');
});

await tap.test(
  'each batch knows the ones before it; buffers are not used before they are free',
  async (t) => {
    const batches = queue(1000);
    const state = partition();
    const stored: string[] = [];
    const releases: (() => void)[] = [];
    const submit = (text: string): void => {
      add(batches, state, text);
      batches.submit(async (batch, before) => {
        await new Promise<void>((resolve) => releases.push(resolve));
        await before;
        stored.push(textOf(batch));
      });
    };
    submit('first');
    submit('second');
    t.notOk(batches.hasPlace);
    add(batches, state, 'third');
    t.equal(batches.unstored.length, 3);
    const place = batches.placeOrTimeout(10_000);
    releases[1]!();
    await delay(5);
    t.strictSame(stored, [], 'the second waits for the first');
    releases[0]!();
    await place;
    await delay(5);
    t.strictSame(stored, ['first', 'second']);
    t.ok(batches.hasPlace);
    batches.submit(async (batch) => Promise.resolve(void stored.push(textOf(batch))));
    await batches.drained();
    t.strictSame(stored, ['first', 'second', 'third']);
    t.equal(batches.unstored.length, 1);
  },
);
