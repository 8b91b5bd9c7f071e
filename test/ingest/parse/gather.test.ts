import fc from 'fast-check';
import tap from 'tap';
import { BatchMemory, type GatheredColumns, type RowsBy } from '../../../ingest/parse/batch-memory.ts';
import { CALL, TEXT } from '../../../ingest/parse/call-records.ts';
import { lengths } from '../../../ingest/parse/native-block.ts';

interface Call {
  readonly calling: number;
  readonly dialed: number;
  /** NaN: no row of its own. */
  readonly displayed: number;
  readonly start: number;
  readonly high: number;
  readonly low: number;
  readonly talk: number | undefined;
  readonly texts: readonly string[];
}

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
/** Few distinct values, so that ties of every kind occur, and some that use all bits. */
const key = fc.oneof(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }));
/** Lengths around the borders of a copied block (16) and of a length's bytes (128, 16384). */
const length = fc.oneof(
  { weight: 20, arbitrary: fc.integer({ min: 0, max: 20 }) },
  { weight: 1, arbitrary: fc.constantFrom(127, 128, 129, 5000, 16_383, 16_384) },
);
const call: fc.Arbitrary<Call> = fc.record({
  calling: key,
  dialed: key,
  displayed: fc.oneof(fc.constant(Number.NaN), key),
  start: fc.oneof(fc.integer({ min: -2, max: 2 }), fc.integer({ min: 0, max: 2 ** 41 })),
  high: fc.oneof(fc.constant(0), u32),
  low: fc.oneof(fc.constant(0), u32),
  talk: fc.oneof(fc.constant(undefined), u32),
  texts: fc
    .array(length, { minLength: 5, maxLength: 5 })
    .map((sizes) => sizes.map((size, i) => String.fromCharCode(65 + i).repeat(size))),
});

/** Accepts calls as a parser does; call i has offset 2^40 + i, partition -i, line i, feed i, outcome and direction i. */
function accept(memory: BatchMemory, calls: readonly Call[]): void {
  memory.prepare(100_000);
  calls.forEach((one, i) => {
    const texts = one.texts.map((value) => Buffer.from(value));
    let at = memory.load(Buffer.concat(texts));
    const { doubles, words, bytes } = memory;
    doubles[CALL.callingKey >> 3] = one.calling;
    doubles[CALL.dialedKey >> 3] = one.dialed;
    doubles[CALL.displayedKey >> 3] = one.displayed;
    doubles[CALL.startMs >> 3] = one.start;
    doubles[CALL.offset >> 3] = 2 ** 40 + i;
    words[CALL.recordKeyLow >> 2] = one.low;
    words[CALL.recordKeyHigh >> 2] = one.high;
    words[CALL.durationMs >> 2] = 1000 * i;
    words[CALL.talkMs >> 2] = one.talk ?? 0;
    words[CALL.partition >> 2] = -i;
    words[CALL.line >> 2] = i;
    bytes[CALL.feed] = i & 0xff;
    bytes[CALL.feed + 1] = i >> 8;
    bytes[CALL.outcome] = i & 0x7f;
    bytes[CALL.direction] = i & 0x7f;
    bytes[CALL.talkUnknown] = one.talk === undefined ? 1 : 0;
    texts.forEach((value, text) => {
      words[(CALL.texts >> 2) + 2 * text] = at;
      words[(CALL.texts >> 2) + 2 * text + 1] = at += value.length;
    });
    memory.accept();
  });
}

interface Row {
  readonly call: number;
  readonly role: number;
  readonly key: number;
}

/** The rows of a table in the order of its sorting key, as JavaScript sorts them. */
function expectedRows(calls: readonly Call[], by: RowsBy): Row[] {
  const rows = calls.flatMap((one, i): Row[] =>
    by === 'calling'
      ? [{ call: i, role: 0, key: one.calling }]
      : [
          { call: i, role: 0, key: one.dialed },
          ...(Number.isNaN(one.displayed) ? [] : [{ call: i, role: 1, key: one.displayed }]),
        ],
  );
  return rows.sort((a, b) => {
    const [x, y] = [calls[a.call]!, calls[b.call]!];
    return (
      a.key - b.key ||
      x.start - y.start ||
      x.high - y.high ||
      x.low - y.low ||
      a.role - b.role ||
      b.call - a.call
    );
  });
}

/** What `gather` must give for these rows. */
function expectedColumns(
  calls: readonly Call[],
  rows: readonly Row[],
): Record<keyof GatheredColumns, Buffer> {
  const column = (width: number, write: (bytes: Buffer, at: number, row: Row) => unknown): Buffer => {
    const bytes = Buffer.alloc(rows.length * width);
    rows.forEach((row, i) => write(bytes, i * width, row));
    return bytes;
  };
  const texts = (text: number): Buffer =>
    Buffer.concat(
      rows.flatMap((row) => {
        const value = Buffer.from(calls[row.call]!.texts[text]!);
        return [lengths(value.length), value];
      }),
    );
  return {
    key: column(8, (b, at, row) => b.writeBigUInt64LE(BigInt(row.key), at)),
    start_at: column(8, (b, at, row) => b.writeBigInt64LE(BigInt(calls[row.call]!.start), at)),
    cdr_key: column(8, (b, at, row) => {
      b.writeUInt32LE(calls[row.call]!.low, at);
      b.writeUInt32LE(calls[row.call]!.high, at + 4);
    }),
    source_offset: column(8, (b, at, row) => b.writeBigInt64LE(BigInt(2 ** 40 + row.call), at)),
    duration_ms: column(4, (b, at, row) => b.writeUInt32LE(1000 * row.call, at)),
    talk_ms: column(4, (b, at, row) => b.writeUInt32LE(calls[row.call]!.talk ?? 0, at)),
    source_partition: column(4, (b, at, row) => b.writeInt32LE(-row.call, at)),
    source_line: column(4, (b, at, row) => b.writeUInt32LE(row.call, at)),
    feed: column(2, (b, at, row) => b.writeUInt16LE(row.call, at)),
    outcome: column(1, (b, at, row) => b.writeUInt8(row.call & 0x7f, at)),
    direction: column(1, (b, at, row) => b.writeUInt8(row.call & 0x7f, at)),
    talk_unknown: column(1, (b, at, row) => b.writeUInt8(calls[row.call]!.talk === undefined ? 1 : 0, at)),
    role: column(1, (b, at, row) => b.writeUInt8(row.role, at)),
    calling_number: texts(TEXT.callingNumber),
    displayed_caller_id: texts(TEXT.displayedCallerId),
    dialed_number: texts(TEXT.dialedNumber),
    account: texts(TEXT.account),
    call_id: texts(TEXT.callId),
  };
}

function check(memory: BatchMemory, calls: readonly Call[], by: RowsBy): void {
  accept(memory, calls);
  const { rows, columns } = memory.gather(by);
  const expected = expectedRows(calls, by);
  if (rows !== expected.length) throw new Error(`${rows} rows of ${expected.length}`);
  for (const [name, bytes] of Object.entries(expectedColumns(calls, expected))) {
    if (!bytes.equals(columns[name as keyof GatheredColumns])) throw new Error(`${name} differs`);
  }
}

for (const by of ['calling', 'dialed and displayed'] as const) {
  await tap.test(`rows by ${by} are in the order of the sorting key, with all their columns`, async () => {
    const memory = new BatchMemory();
    fc.assert(
      fc.property(fc.array(call, { maxLength: 300 }), (calls) => check(memory, calls, by)),
      { numRuns: 200 },
    );
  });
}

await tap.test('a number with many calls in no order, on a memory that grows', async () => {
  const texts = ['1', '2', '3', '', ''];
  const calls = Array.from({ length: 20_000 }, (_, i): Call => {
    const start = (i * 7919) % 10_007;
    return { calling: 5, dialed: i % 2, displayed: 5, start, high: i % 3, low: 0, talk: 1, texts };
  });
  const memory = new BatchMemory();
  for (const by of ['calling', 'dialed and displayed'] as const) check(memory, calls, by);
});
