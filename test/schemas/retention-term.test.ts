import fc from 'fast-check';
import { DateTime } from 'luxon';
import tap from 'tap';
import {
  addMonths,
  atMost,
  monthsOf,
  monthsSql,
  RetentionTerm,
  shortestMonths,
} from '../../schemas/retention-term.ts';

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

await tap.test('a feed has its own term, or that of all where that is shorter', async (t) => {
  const terms = { all: 36, feeds: { short: 12, long: 48 } };
  t.strictSame(
    ['short', 'long', 'other', 'toString'].map((feed) => monthsOf(terms, feed)),
    [12, 36, 36, 36],
  );
  t.equal(shortestMonths(terms), 12);
  t.equal(shortestMonths({ all: 36, feeds: {} }), 36);
  t.strictSame(
    ['short', 'other'].map((feed) => monthsOf(atMost(terms, 24), feed)),
    [12, 24],
  );
});

await tap.test('the SQL of a term names the feeds that have a shorter one, and nothing else', async (t) => {
  t.equal(monthsSql({ all: 36, feeds: { long: 48 } }), '36');
  t.equal(
    monthsSql({ all: 36, feeds: { 'a.b-c': 12, long: 48, d_1: 6 } }, 'x'),
    "transform(toString(x), ['a.b-c', 'd_1'], [12, 6], 36)",
  );
  t.throws(() => monthsSql({ all: 36, feeds: { "a' OR 1": 12 } }), { code: 'SETTINGS_INVALID' });
});
