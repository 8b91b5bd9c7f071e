import fc from 'fast-check';
import { DateTime } from 'luxon';
import tap from 'tap';
import { addMonths, RetentionTerm } from '../../schemas/retention-term.ts';

const moment = fc.integer({ min: Date.UTC(1995, 0), max: Date.UTC(2090, 0) });

await tap.test('addMonths is that of luxon, in UTC', async () => {
  fc.assert(
    fc.property(moment, fc.integer({ min: -600, max: 600 }), (ms, months) => {
      return addMonths(ms, months) === DateTime.fromMillis(ms, { zone: 'UTC' }).plus({ months }).toMillis();
    }),
    { numRuns: 2000 },
  );
});

await tap.test('29 February clamps to the last day of a shorter month', async (t) => {
  t.equal(addMonths(Date.UTC(2024, 1, 29, 10), 36), Date.UTC(2027, 1, 28, 10));
  t.equal(addMonths(Date.UTC(2024, 1, 29, 10), 48), Date.UTC(2028, 1, 29, 10));
});

await tap.test('a start is expired exactly when addMonths(start, term) has come', async () => {
  const nearBorder = fc.integer({ min: -8 * 86_400_000, max: 8 * 86_400_000 });
  fc.assert(
    fc.property(moment, fc.integer({ min: 1, max: 600 }), nearBorder, (now, months, distance) => {
      const start = addMonths(now, -months) + distance;
      return new RetentionTerm(months, now).isExpired(start) === addMonths(start, months) <= now;
    }),
    { numRuns: 3000 },
  );
});
