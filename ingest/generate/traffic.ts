import { Random } from './random.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** Relative traffic per hour of a working day and of a weekend day. */
const WORKDAY = [2, 1, 1, 1, 1, 3, 8, 20, 55, 90, 100, 95, 70, 65, 85, 92, 90, 85, 70, 50, 35, 22, 12, 5];
const WEEKEND = [4, 3, 2, 1, 1, 2, 4, 8, 15, 25, 35, 40, 38, 30, 30, 32, 35, 38, 40, 36, 30, 22, 14, 8];

/** Blocks of numbers that the French regulator keeps free for fiction: no real person has one. */
const FICTIONAL_BLOCKS = ['+3363998', '+3319900', '+3326191', '+3335301', '+3346571', '+3353649'];
const SUBSCRIBERS = FICTIONAL_BLOCKS.length * 10_000;
const SWITCHBOARDS = 40;
const SERVICES = ['*72', '3900', '118000', '112', '1002'];
const FAILED = ['no_answer', 'no_answer', 'no_answer', 'busy', 'cancelled', 'failed'];

/** UTC ms `[from, to)` over which calls are spread. */
export interface TrafficPeriod {
  readonly from: number;
  readonly to: number;
}

/** The whole calendar year before the one of `nowMs`: complete months that no usual term has expired. */
export function lastCalendarYear(nowMs: number): TrafficPeriod {
  const year = new Date(nowMs).getUTCFullYear();
  return { from: Date.UTC(year - 1, 0), to: Date.UTC(year, 0) };
}

/**
 * Synthetic calls as canonical-csv lines that look like traffic: a daily and weekly curve, few heavy
 * callers and many light ones, attempts of 0 seconds, calls over midnight and month ends, a displayed
 * number that differs in about one call of five. Records come in the order in which calls end.
 *
 * Line i depends on the seed, the period, the count and i alone; the call id makes every line unique.
 */
export class Traffic {
  readonly #seed: number;
  readonly #count: number;
  readonly #from: number;
  readonly #curve: Curve;

  constructor(seed: number, count: number, period: TrafficPeriod) {
    this.#from = period.from;
    this.#seed = seed;
    this.#count = count;
    this.#curve = new Curve(period);
  }

  /** Line `index` of `[0, count)`, without a newline. */
  line(index: number): string {
    const random = new Random(this.#seed, index);
    const endMs = this.#curve.timeAt((index + random.unit()) / this.#count);
    const callId = `${this.#seed}-${index}`;
    // Calls over a month's end are rare by nature and matter most: one in 2000 is moved there.
    const monthMs = startOfMonth(endMs);
    if (!random.chance(1 / 2000) || monthMs <= this.#from) return callLine(random, callId, endMs);
    return callLine(random, callId, monthMs + 60_000, 120_000);
  }
}

/** A call of live traffic that ends at `endMs`. */
export function liveLine(seed: number, index: number, endMs: number): string {
  return callLine(new Random(seed, index), `${seed}-${index}`, endMs);
}

/** @param talkMsMin at least so long; above 0 the call is an answered one */
function callLine(random: Random, callId: string, endMs: number, talkMsMin = 0): string {
  const answered = random.chance(0.72) || talkMsMin > 0;
  const ringMs = Math.round(random.exponential(8000));
  // One call of a thousand lasts hours, over midnight or a month's end.
  const talkMs = answered
    ? Math.max(talkMsMin, Math.round(random.exponential(random.chance(0.001) ? 4 * HOUR_MS : 150_000)))
    : 0;
  const outcome = answered ? 'answered' : FAILED[random.integer(FAILED.length)]!;
  const durationMs = answered ? ringMs + talkMs : random.chance(0.5) ? 0 : ringMs;
  const calling = random.chance(0.02) ? 'anonymous' : subscriber(heavyCaller(random));
  const displayed = random.chance(0.2) ? switchboard(random.integer(SWITCHBOARDS)) : calling;
  const start = new Date(endMs - durationMs).toISOString();
  return [
    calling,
    displayed,
    dialed(random),
    start,
    seconds(durationMs),
    seconds(talkMs),
    callId,
    outcome,
    random.chance(0.3) ? `account-${random.integer(200)}` : '',
  ].join(',');
}

/** A caller in [0, SUBSCRIBERS): the first hundredth makes about a fifth of all calls. */
function heavyCaller(random: Random): number {
  return Math.floor(SUBSCRIBERS * random.unit() ** 3);
}

function dialed(random: Random): string {
  const kind = random.unit();
  if (kind < 0.9) return subscriber(random.integer(SUBSCRIBERS));
  if (kind < 0.95) return `+447700900${String(random.integer(1000)).padStart(3, '0')}`;
  if (kind < 0.97) return `+120255501${String(random.integer(100)).padStart(2, '0')}`;
  return SERVICES[random.integer(SERVICES.length)]!;
}

function subscriber(index: number): string {
  // Spreads heavy callers over the number range, so that keys of neighbours in rank are no neighbours.
  const spread = (index * 7919) % SUBSCRIBERS;
  return FICTIONAL_BLOCKS[Math.floor(spread / 10_000)]! + String(spread % 10_000).padStart(4, '0');
}

function switchboard(index: number): string {
  return `+3319900${String(9000 + index)}`;
}

function startOfMonth(ms: number): number {
  const date = new Date(ms);
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth());
}

function seconds(ms: number): string {
  return ms % 1000 === 0 ? String(ms / 1000) : (ms / 1000).toFixed(3);
}

/** Maps a share of all calls to a moment of the period, by the hours' weights. */
class Curve {
  readonly #from: number;
  readonly #to: number;
  /** Sum of weights before each hour of the period, and of all at the end. */
  readonly #sums: Float64Array;

  constructor({ from, to }: TrafficPeriod) {
    this.#from = from;
    this.#to = to;
    const hours = Math.max(1, Math.ceil((to - from) / HOUR_MS));
    this.#sums = new Float64Array(hours + 1);
    for (let hour = 0; hour < hours; hour++) {
      const at = from + hour * HOUR_MS;
      // 1 January 1970 was a Thursday.
      const weekday = (Math.floor(at / DAY_MS) + 4) % 7;
      const weights = weekday === 0 || weekday === 6 ? WEEKEND : WORKDAY;
      this.#sums[hour + 1] = this.#sums[hour]! + weights[Math.floor((at % DAY_MS) / HOUR_MS)]!;
    }
  }

  /** UTC ms at which `share` (0 to 1) of the period's calls have ended. */
  timeAt(share: number): number {
    const wanted = share * this.#sums[this.#sums.length - 1]!;
    let low = 0;
    let high = this.#sums.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (this.#sums[middle]! <= wanted) low = middle;
      else high = middle;
    }
    const within = (wanted - this.#sums[low]!) / (this.#sums[high]! - this.#sums[low]!);
    return Math.min(this.#to - 1, Math.floor(this.#from + (low + within) * HOUR_MS));
  }
}
