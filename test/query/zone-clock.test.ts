import fc from 'fast-check';
import tap from 'tap';
import { writeTime } from '../../query/times.ts';
import { ZoneClock } from '../../query/zone-clock.ts';

const ZONES = [
  'UTC',
  'Europe/Paris',
  'Europe/London',
  'America/New_York',
  'America/St_Johns',
  'Asia/Kathmandu',
  'Australia/Lord_Howe',
  'Africa/Casablanca',
];

await tap.test('writes every time as writeTime does', (t) => {
  for (const zone of ZONES) {
    const clock = new ZoneClock(zone);
    const time = fc.integer({ min: Date.UTC(1990, 0, 1), max: Date.UTC(2090, 0, 1) });
    fc.assert(fc.property(time, (ms) => clock.write(ms) === writeTime(ms, zone)));
  }
  t.end();
});

await tap.test('around changes of the offset, in order', (t) => {
  for (const zone of ZONES) {
    const clock = new ZoneClock(zone);
    for (let ms = Date.UTC(2025, 0, 1); ms < Date.UTC(2026, 0, 1); ms += 2_399_999)
      if (clock.write(ms) !== writeTime(ms, zone)) t.fail(`${zone} ${ms}`);
    t.pass(zone);
  }
  t.end();
});
