import { IANAZone } from 'luxon';
import tap from 'tap';
import { LocalClock } from '../../../ingest/parse/local-clock.ts';

/**
 * Every transition of 30 years, and the minutes around it. A sample of the zones by default, by a seed that changes
 * each day; `CDRHOUSE_TEST_ALL_ZONES=1` takes all of them.
 */
const ALL_ZONES = process.env['CDRHOUSE_TEST_ALL_ZONES'] === '1';
/** They take 36 s of CPU. */
const ALL_ZONES_MS_MAX = 600_000;
const FROM = Date.UTC(1997, 0);
const TO = Date.UTC(2027, 0);
const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
/** Two opposite transitions within one step would be passed over. */
const STEP_MS = 3 * DAY_MS;
const SAMPLE = 16;
/** Half an hour of summer time, Ramadan, a skipped day, quarter hours, negative summer time, the far ends. */
const AWKWARD = [
  'Australia/Lord_Howe',
  'Africa/Casablanca',
  'Pacific/Apia',
  'Asia/Kathmandu',
  'Europe/Dublin',
  'America/St_Johns',
  'Antarctica/Troll',
  'Asia/Pyongyang',
];

interface Transition {
  readonly at: number;
  readonly beforeMs: number;
  readonly afterMs: number;
}

function offsetMs(zone: IANAZone, utc: number): number {
  return Math.round(zone.offset(utc) * MINUTE_MS);
}

function transitionsOf(zone: IANAZone): Transition[] {
  const found: Transition[] = [];
  for (let from = FROM; from < TO; from += STEP_MS) {
    let low = from;
    let high = from + STEP_MS;
    const beforeMs = offsetMs(zone, low);
    const afterMs = offsetMs(zone, high);
    if (beforeMs === afterMs) continue;
    while (high - low > 1000) {
      const middle = low + Math.floor((high - low) / 2000) * 1000;
      if (offsetMs(zone, middle) === beforeMs) low = middle;
      else high = middle;
    }
    found.push({ at: high, beforeMs, afterMs });
  }
  return found;
}

function sampleOf(zones: readonly string[]): readonly string[] {
  if (ALL_ZONES) return zones;
  const seed = Math.floor(Date.now() / DAY_MS);
  const step = Math.ceil(zones.length / SAMPLE);
  const sampled = zones.filter((_, index) => (index + seed) % step === 0);
  return [...new Set([...AWKWARD, ...sampled])];
}

if (ALL_ZONES) tap.setTimeout(ALL_ZONES_MS_MAX);

await tap.test('around every transition a local time is what luxon says', async (t) => {
  if (ALL_ZONES) t.setTimeout(ALL_ZONES_MS_MAX);
  let transitions = 0;
  let gaps = 0;
  let overlaps = 0;
  for (const name of sampleOf(Intl.supportedValuesOf('timeZone'))) {
    const zone = IANAZone.create(name);
    const clock = new LocalClock(name);
    const found = transitionsOf(zone);
    const offsets = [...new Set(found.flatMap(({ beforeMs, afterMs }) => [beforeMs, afterMs]))];
    const wrong: string[] = [];
    for (const { at, beforeMs, afterMs } of found) {
      transitions++;
      const low = at + Math.min(beforeMs, afterMs);
      const high = at + Math.max(beforeMs, afterMs);
      const locals = [low, high, at + beforeMs - DAY_MS, at + afterMs + DAY_MS, (low + high) / 2].flatMap(
        (ms) => [
          ms - 10 * MINUTE_MS,
          ms - MINUTE_MS,
          ms - 1,
          ms,
          ms + 1,
          ms + MINUTE_MS,
          ms + 10 * MINUTE_MS,
        ],
      );
      for (const local of locals) {
        // All moments at which this zone's clocks show that time, the earliest first.
        const moments = offsets
          .map((offset) => local - offset)
          .filter((utc) => utc + offsetMs(zone, utc) === local)
          .sort((a, b) => a - b);
        const before = { gaps: clock.gaps, overlaps: clock.overlaps };
        const utc = clock.toUtc(local);
        const counted = { gaps: clock.gaps - before.gaps, overlaps: clock.overlaps - before.overlaps };
        const expected = moments[0] ?? local - beforeMs;
        if (moments.length === 0) gaps++;
        if (moments.length > 1) overlaps++;
        if (
          utc !== expected ||
          counted.gaps !== (moments.length === 0 ? 1 : 0) ||
          counted.overlaps !== (moments.length > 1 ? 1 : 0) ||
          // A time that does not exist is shown later than it was written.
          (moments.length === 0 && utc + offsetMs(zone, utc) <= local)
        )
          wrong.push(
            `${new Date(local).toISOString()}: ${new Date(utc).toISOString()} ${JSON.stringify(counted)}`,
          );
      }
    }
    t.strictSame(wrong.slice(0, 5), [], name);
  }
  t.ok(transitions > 500, `${transitions} transitions`);
  t.ok(gaps > 500 && overlaps > 500, `${gaps} times in gaps, ${overlaps} in overlaps`);
});
