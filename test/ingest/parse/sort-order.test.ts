import fc from 'fast-check';
import tap from 'tap';
import { CallColumns } from '../../../ingest/parse/call-columns.ts';
import { sortOrder } from '../../../ingest/parse/sort-order.ts';

interface Row {
  readonly key: number;
  readonly start: number;
  readonly high: number;
  readonly low: number;
}

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
/** Few distinct values, so that ties of every kind occur, and some that use all bits. */
const row: fc.Arbitrary<Row> = fc.record({
  key: fc.oneof(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER })),
  start: fc.oneof(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 0, max: 2 ** 41 })),
  high: fc.oneof(fc.constant(0), u32),
  low: fc.oneof(fc.constant(0), u32),
});

await tap.test('rows are in the order of the sorting key, later sources first among equals', async () => {
  fc.assert(
    fc.property(fc.array(row, { maxLength: 400 }), (rows) => {
      const calls = new CallColumns();
      for (const { start, high, low } of rows) {
        calls.reserveOne();
        calls.startMs[calls.length] = start;
        calls.recordKeyHigh[calls.length] = high;
        calls.recordKeyLow[calls.length] = low;
        calls.length++;
      }
      const keys = Float64Array.from(rows, ({ key }) => key);
      const identity = Uint32Array.from(rows.keys());
      const expected = [...rows.keys()].sort((a, b) => {
        const [x, y] = [rows[a]!, rows[b]!];
        return x.key - y.key || x.start - y.start || x.high - y.high || x.low - y.low || b - a;
      });
      return JSON.stringify([...sortOrder(calls, keys, identity, rows.length)]) === JSON.stringify(expected);
    }),
    { numRuns: 300 },
  );
});
