import fc from 'fast-check';
import tap from 'tap';
import { countingRanges, holesBetween, type LedgerRange } from '../../schemas/ledger-ranges.ts';

function range(generation: number, from: number, next: number): LedgerRange {
  return { generation, from, next };
}

function bounds(rows: readonly LedgerRange[]): [number, number, number][] {
  return countingRanges(rows).map(({ row, from, next }) => [row.generation, from, next]);
}

await tap.test('generations follow one another; claims have no length', async (t) => {
  t.strictSame(bounds([range(1, 0, 5), range(1, 5, 9), range(2, 9, 9), range(2, 9, 12)]), [
    [1, 0, 5],
    [1, 5, 9],
    [2, 9, 12],
  ]);
});

await tap.test(
  'rows of an older generation beyond the newer one do not count; one that straddles is cut',
  async (t) => {
    t.strictSame(bounds([range(1, 0, 5), range(1, 5, 9), range(2, 5, 7)]), [
      [1, 0, 5],
      [2, 5, 7],
    ]);
    t.strictSame(bounds([range(1, 0, 9), range(2, 4, 4), range(2, 4, 6)]), [
      [1, 0, 4],
      [2, 4, 6],
    ]);
    t.strictSame(
      bounds([range(1, 0, 9), range(2, 9, 12), range(3, 0, 3)]),
      [[3, 0, 3]],
      'a rewind to the start',
    );
  },
);

await tap.test('holes', async (t) => {
  t.strictSame(holesBetween([]), []);
  t.strictSame(
    holesBetween([
      { from: 3, next: 5 },
      { from: 5, next: 6 },
    ]),
    [],
  );
  t.strictSame(
    holesBetween([
      { from: 0, next: 5 },
      { from: 7, next: 9 },
      { from: 12, next: 13 },
    ]),
    [
      { from: 5, next: 7 },
      { from: 9, next: 12 },
    ],
  );
});

await tap.test('each offset counts at most once, under the newest generation that may have it', async () => {
  const row = fc.tuple(
    fc.integer({ min: 1, max: 4 }),
    fc.integer({ min: 0, max: 20 }),
    fc.integer({ min: 0, max: 6 }),
  );
  fc.assert(
    fc.property(fc.uniqueArray(row, { maxLength: 10, selector: ([g, from]) => `${g}/${from}` }), (list) => {
      // Within a generation ranges tile: each begins where the one before ended.
      const rows: LedgerRange[] = [];
      for (const generation of [1, 2, 3, 4]) {
        let at = list.find(([g]) => g === generation)?.[1];
        for (const [, , length] of list.filter(([g]) => g === generation)) {
          rows.push(range(generation, at!, at! + length));
          at = at! + length;
        }
      }
      const begins = new Map(
        rows.map(({ generation }) => [
          generation,
          Math.min(...rows.filter((r) => r.generation === generation).map((r) => r.from)),
        ]),
      );
      const counting = countingRanges(rows);
      for (let offset = 0; offset < 60; offset++) {
        const owners = rows.filter(
          (r) =>
            r.from <= offset &&
            offset < r.next &&
            ![...begins].some(([g, begin]) => g > r.generation && begin <= offset),
        );
        const found = counting.filter((r) => r.from <= offset && offset < r.next).map(({ row: r }) => r);
        if (JSON.stringify(found) !== JSON.stringify(owners)) return false;
      }
      return true;
    }),
    { numRuns: 500 },
  );
});
