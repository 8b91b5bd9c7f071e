import { IANAZone } from 'luxon';

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
/** Offsets reach from -12 to +14 hours; a day's transitions are looked for this far around it. */
const MARGIN_MS = 27 * HOUR_MS;
/** Days that are remembered: decades of real calls, and a bound for a switch that sends any date. */
const DAYS_MAX = 20_000;

/** A stretch of time with one offset: UTC ms `[from, to)`. */
interface Stretch {
  readonly from: number;
  readonly to: number;
  readonly offsetMs: number;
}

/**
 * Local times of one zone as UTC. luxon is asked once per day that occurs; records then cost a comparison.
 *
 * A local time that occurs twice is the earlier one, one that does not exist moves forward by the gap;
 * both are counted.
 */
export class LocalClock {
  overlaps = 0;
  gaps = 0;
  readonly #zone: IANAZone;
  readonly #days = new Map<number, readonly Stretch[]>();
  #day = Number.NaN;
  #stretches: readonly Stretch[] = [];

  constructor(zone: string) {
    this.#zone = IANAZone.create(zone);
  }

  /** UTC ms of a local time given as if it were UTC, in ms. */
  toUtc(localMs: number): number {
    const day = Math.floor(localMs / DAY_MS);
    if (day !== this.#day) this.#enter(day);
    const stretches = this.#stretches;
    if (stretches.length === 1) return localMs - stretches[0]!.offsetMs;
    return this.#resolve(localMs);
  }

  #enter(day: number): void {
    let stretches = this.#days.get(day);
    if (stretches === undefined) {
      stretches = this.#stretchesAround(day * DAY_MS - MARGIN_MS, (day + 1) * DAY_MS + MARGIN_MS);
      if (this.#days.size >= DAYS_MAX) this.#days.clear();
      this.#days.set(day, stretches);
    }
    this.#day = day;
    this.#stretches = stretches;
  }

  #resolve(localMs: number): number {
    let found = Number.NaN;
    let before = this.#stretches[0]!.offsetMs;
    for (const { from, to, offsetMs } of this.#stretches) {
      const utc = localMs - offsetMs;
      if (utc >= from && utc < to) {
        if (Number.isNaN(found)) found = utc;
        else this.overlaps++;
      }
      // The stretch that ended before this local time: its offset carries a missing time over the gap.
      if (localMs - offsetMs >= to) before = offsetMs;
    }
    if (!Number.isNaN(found)) return found;
    this.gaps++;
    return localMs - before;
  }

  #stretchesAround(from: number, to: number): Stretch[] {
    const stretches: Stretch[] = [];
    let start = from;
    let offsetMs = this.#offsetAt(from);
    for (let at = from + HOUR_MS; at <= to; at += HOUR_MS) {
      const next = this.#offsetAt(at);
      if (next === offsetMs) continue;
      const change = this.#changeBetween(at - HOUR_MS, at, offsetMs);
      stretches.push({ from: start, to: change, offsetMs });
      start = change;
      offsetMs = next;
    }
    stretches.push({ from: start, to: Infinity, offsetMs });
    return stretches;
  }

  /** The first second at which the offset is no longer `offsetMs`. */
  #changeBetween(low: number, high: number, offsetMs: number): number {
    while (high - low > 1000) {
      const middle = low + Math.floor((high - low) / 2000) * 1000;
      if (this.#offsetAt(middle) === offsetMs) low = middle;
      else high = middle;
    }
    return high;
  }

  #offsetAt(utcMs: number): number {
    return Math.round(this.#zone.offset(utcMs) * 60_000);
  }
}
