import fc from 'fast-check';
import { DateTime } from 'luxon';
import tap from 'tap';
import { LocalClock } from '../../../ingest/parse/local-clock.ts';

const ZONES = [
  'Europe/Paris',
  'America/New_York',
  'Asia/Kolkata',
  'Australia/Lord_Howe',
  'Africa/Casablanca',
  'America/Sao_Paulo',
  'Asia/Tehran',
  'Pacific/Apia',
  'UTC',
];

await tap.test('a local time that exists is the one that luxon means', async (t) => {
  for (const zone of ZONES) {
    const clock = new LocalClock(zone);
    fc.assert(
      fc.property(fc.integer({ min: Date.UTC(1996, 0), max: Date.UTC(2036, 0) }), (utc) => {
        const local = utc + DateTime.fromMillis(utc, { zone }).offset * 60_000;
        const read = clock.toUtc(local);
        const shown = read + DateTime.fromMillis(read, { zone }).offset * 60_000;
        // The same wall clock, and never later than another moment that shows it.
        return shown === local && read <= utc;
      }),
      { numRuns: 500 },
    );
    t.pass(zone);
  }
});

await tap.test('a local time that occurs twice is the earlier one, and is counted', async (t) => {
  const clock = new LocalClock('Europe/Paris');
  t.equal(clock.toUtc(Date.UTC(2024, 9, 27, 2, 30)), Date.UTC(2024, 9, 27, 0, 30));
  t.equal(clock.overlaps, 1);
  t.equal(clock.toUtc(Date.UTC(2024, 9, 27, 3, 0)), Date.UTC(2024, 9, 27, 2, 0), 'behind the overlap');
  t.equal(clock.toUtc(Date.UTC(2024, 9, 27, 1, 59, 59)), Date.UTC(2024, 9, 26, 23, 59, 59), 'before it');
  t.equal(clock.overlaps, 1);
  t.equal(clock.gaps, 0);
});

await tap.test('a local time that does not exist moves forward, and is counted', async (t) => {
  const clock = new LocalClock('Europe/Paris');
  t.equal(clock.toUtc(Date.UTC(2024, 2, 31, 2, 30)), Date.UTC(2024, 2, 31, 1, 30), '02:30 is shown as 03:30');
  t.equal(clock.gaps, 1);
  t.equal(clock.toUtc(Date.UTC(2024, 2, 31, 3, 0)), Date.UTC(2024, 2, 31, 1, 0));
  t.equal(clock.toUtc(Date.UTC(2024, 2, 31, 1, 59, 59)), Date.UTC(2024, 2, 31, 0, 59, 59));
  t.equal(clock.gaps, 1);
  t.equal(clock.overlaps, 0);
});

await tap.test('a whole day that a zone skipped', async (t) => {
  // Samoa went from 29 to 31 December 2011.
  const clock = new LocalClock('Pacific/Apia');
  t.equal(clock.toUtc(Date.UTC(2011, 11, 30, 12)), Date.UTC(2011, 11, 30, 22));
  t.equal(clock.gaps, 1);
});
