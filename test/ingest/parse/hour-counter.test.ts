import fc from 'fast-check';
import tap from 'tap';
import { HourCounter } from '../../../ingest/parse/hour-counter.ts';

function sorted(maps: readonly Map<number, number>[]): unknown {
  return maps.map((map) => [...map].sort(([a], [b]) => a - b));
}

await tap.test('counts as a map that is asked for each call does', async () => {
  const start = fc.oneof(
    fc.integer({ min: -3 * 3_600_000, max: 3 * 3_600_000 }),
    fc.constantFrom(-1, 0, 3_599_999, 3_600_000),
  );
  fc.assert(
    fc.property(fc.array(fc.record({ map: fc.nat(1), start })), (calls) => {
      const counter = new HourCounter();
      const [counted, expected] = [0, 1].map(() => [new Map<number, number>(), new Map<number, number>()]);
      for (const { map, start: ms } of calls) {
        counter.add(counted![map]!, ms);
        const hour = Math.floor(ms / 3_600_000);
        expected![map]!.set(hour, (expected![map]!.get(hour) ?? 0) + 1);
      }
      counter.flush();
      counter.flush();
      return JSON.stringify(sorted(counted!)) === JSON.stringify(sorted(expected!));
    }),
  );
});
