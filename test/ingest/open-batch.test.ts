import fc from 'fast-check';
import tap from 'tap';
import type { MessageChunk } from '../../ingest/message-chunk.ts';
import { BatchBuffer, OpenBatch, splitBatch, type SealedBatch } from '../../ingest/open-batch.ts';
import { Partitions, type PartitionState } from '../../ingest/partitions.ts';

interface Sent {
  readonly topic?: string;
  readonly partition?: number;
  readonly offset: number;
  readonly value: string | null;
}

function chunk(messages: readonly Sent[]): MessageChunk {
  const topics = [...new Set(messages.map(({ topic }) => topic ?? 'cdr'))];
  let end = 0;
  return {
    count: messages.length,
    bytes: Buffer.from(messages.map(({ value }) => value ?? '').join('')),
    ends: Uint32Array.from(messages, ({ value }) => (end += Buffer.byteLength(value ?? ''))),
    topicOf: Uint16Array.from(messages, ({ topic }) => topics.indexOf(topic ?? 'cdr')),
    partitions: Int32Array.from(messages, ({ partition }) => partition ?? 0),
    offsets: Float64Array.from(messages, ({ offset }) => offset),
    timestamps: Float64Array.from(messages, ({ offset }) => offset * 1000),
    tombstones: Uint8Array.from(messages, ({ value }) => (value === null ? 1 : 0)),
    topics,
    partitionEnds: [],
    errors: [],
  };
}

function assigned(...positions: [string, number, number][]): {
  partitions: Partitions;
  states: PartitionState[];
} {
  const partitions = new Partitions();
  const states = positions.map(([topic, partition, position]) => ({
    source: { feed: 0, topic, topicId: 'id', partition },
    clusterId: 'cluster',
    generation: 1,
    position,
    stored: position,
    end: 0,
  }));
  states.forEach((state) => partitions.set(state));
  return { partitions, states };
}

/** Messages of a sealed batch as [topic/partition, offset, payload]. */
function contents({ packed }: SealedBatch): [string, number, string][] {
  return Array.from({ length: packed.count }, (_, i) => {
    const source = packed.sources[packed.sourceOf[i]!]!;
    const payload = packed.bytes.subarray(i === 0 ? packed.start : packed.ends[i - 1]!, packed.ends[i]);
    return [`${source.topic}/${source.partition}`, packed.offsets[i]!, Buffer.from(payload).toString()];
  });
}

await tap.test('takes the messages of its partitions, with the ranges that they cover', async (t) => {
  const { partitions, states } = assigned(['cdr', 0, 5], ['cdr', 1, 0]);
  const batch = new OpenBatch(new BatchBuffer(4));
  const find = partitions.find.bind(partitions);
  batch.add(
    chunk([
      { offset: 5, value: 'a' },
      { offset: 6, value: 'bb' },
      { partition: 1, offset: 3, value: 'c' },
    ]),
    find,
  );
  batch.add(
    chunk([
      { offset: 9, value: '' },
      { offset: 10, value: null },
    ]),
    find,
  );
  t.equal(batch.messages, 5);
  t.strictSame(
    states.map(({ position }) => position),
    [11, 4],
  );
  const sealed = batch.seal();
  t.strictSame(
    sealed.ranges.map(({ from, next }) => [from, next]),
    [
      [5, 11],
      [0, 4],
    ],
    'holes between offsets are covered',
  );
  t.strictSame(
    sealed.ranges.map(({ oldestAtMs }) => oldestAtMs),
    [5000, 3000],
    'with the oldest timestamps',
  );
  t.ok(sealed.openedAt > 0);
  t.strictSame([...sealed.packed.tombstones], [0, 0, 0, 0, 1]);
  t.strictSame(contents(batch.seal()), [
    ['cdr/0', 5, 'a'],
    ['cdr/0', 6, 'bb'],
    ['cdr/1', 3, 'c'],
    ['cdr/0', 9, ''],
    ['cdr/0', 10, ''],
  ]);
});

await tap.test('leaves messages of others, and those before the position', async (t) => {
  const { partitions } = assigned(['cdr', 0, 7]);
  const batch = new OpenBatch(new BatchBuffer(4));
  batch.add(
    chunk([
      { offset: 6, value: 'old' },
      { topic: 'other', offset: 8, value: 'x' },
      { partition: 3, offset: 9, value: 'y' },
      { offset: 7, value: 'mine' },
    ]),
    partitions.find.bind(partitions),
  );
  t.strictSame(contents(batch.seal()), [['cdr/0', 7, 'mine']]);
  t.equal(batch.bytes, 4);
});

await tap.test('the end of a partition behind control records is covered without a message', async (t) => {
  const { partitions, states } = assigned(['cdr', 0, 7]);
  const batch = new OpenBatch(new BatchBuffer(4));
  t.notOk(batch.pending);
  batch.reach(states[0]!, 7);
  t.notOk(batch.pending, 'no progress');
  batch.reach(partitions.find('cdr', 0)!, 12);
  t.ok(batch.pending);
  const { packed, ranges } = batch.seal();
  t.equal(packed.count, 0);
  t.match(ranges, [{ from: 7, next: 12 }]);
});

await tap.test('halves of a batch tile what it covers, whatever it holds', async () => {
  const message = fc.record({ partition: fc.nat(2), gap: fc.nat(3), value: fc.string({ maxLength: 3 }) });
  fc.assert(
    fc.property(
      fc.array(message, { minLength: 1, maxLength: 30 }),
      fc.nat(35),
      fc.array(fc.nat(3), { minLength: 3, maxLength: 3 }),
      (messages, count, behind) => {
        const { partitions, states } = assigned(['cdr', 0, 5], ['cdr', 1, 0], ['cdr', 2, 9]);
        const next = states.map(({ position }) => position);
        const batch = new OpenBatch(new BatchBuffer(4));
        const sent = messages.map(({ partition, gap, value }) => {
          const offset = next[partition]! + gap;
          next[partition] = offset + 1;
          return { partition, offset, value };
        });
        batch.add(chunk(sent), partitions.find.bind(partitions));
        states.forEach((state, i) => batch.reach(state, state.position + behind[i]!));
        const whole = batch.seal();
        const [first, rest] = splitBatch(whole, count);
        const parts = rest === undefined ? [first] : [first, rest];
        const tiled = whole.ranges.every(({ from, next: end }, source) => {
          const ranges = parts.map((part) => part.ranges[source]!);
          const fits = parts.every((part) =>
            contents(part).every(
              ([name, offset]) =>
                name !== `cdr/${whole.packed.sources[source]!.partition}` ||
                (offset >= part.ranges[source]!.from && offset < part.ranges[source]!.next),
            ),
          );
          return (
            fits &&
            ranges[0]!.from === from &&
            ranges.at(-1)!.next === end &&
            ranges.every((range, i) => i === 0 || range.from === ranges[i - 1]!.next)
          );
        });
        const all = JSON.stringify(parts.flatMap(contents));
        return (
          tiled && all === JSON.stringify(contents(whole)) && contents(first).length <= Math.max(count, 0)
        );
      },
    ),
    { numRuns: 500 },
  );
});
