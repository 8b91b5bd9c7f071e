/** A row of the ledger as far as ranges go. */
export interface LedgerRange {
  readonly generation: number;
  readonly from: number;
  readonly next: number;
}

/** A range that counts, perhaps cut short by a newer generation. */
export interface CountingRange<T extends LedgerRange> {
  readonly row: T;
  readonly from: number;
  /** `row.next`, or where a newer generation began. */
  readonly next: number;
}

/**
 * The ranges of a partition that count, in offset order: a generation begins where its first range does, and
 * rows of older ones beyond that place do not count.
 */
export function countingRanges<T extends LedgerRange>(rows: readonly T[]): CountingRange<T>[] {
  const newestFirst = [...rows].sort((a, b) => b.generation - a.generation || a.from - b.from);
  const counting: CountingRange<T>[] = [];
  let border = Infinity;
  for (let i = 0; i < newestFirst.length;) {
    const { generation } = newestFirst[i]!;
    const begin = newestFirst[i]!.from;
    for (; i < newestFirst.length && newestFirst[i]!.generation === generation; i++) {
      const row = newestFirst[i]!;
      const next = Math.min(row.next, border);
      if (row.from < next) counting.push({ row, from: row.from, next });
    }
    border = Math.min(border, begin);
  }
  return counting.sort((a, b) => a.from - b.from);
}

/** Stretches between ranges that no range covers. The ranges are in offset order. */
export function holesBetween(
  ranges: readonly { readonly from: number; readonly next: number }[],
): { from: number; next: number }[] {
  const holes: { from: number; next: number }[] = [];
  let end = ranges[0]?.from ?? 0;
  for (const { from, next } of ranges) {
    if (from > end) holes.push({ from: end, next: from });
    end = Math.max(end, next);
  }
  return holes;
}
