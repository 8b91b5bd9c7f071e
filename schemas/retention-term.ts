import { CdrhouseError } from './errors.ts';

const DAY_MS = 86_400_000;
/** Farther than this from `addMonths(now, -months)` clamped month ends make no difference. */
export const BORDER_SLACK_MS = 4 * DAY_MS;
/** Names as the settings allow them, which need no escaping in SQL. */
const FEED_NAME = /^[A-Za-z0-9_.-]+$/;

/** How long calls are kept, months: those of all feeds, and those of the feeds that have a shorter term of their own. */
export interface RetentionMonths {
  readonly all: number;
  readonly feeds: Readonly<Record<string, number>>;
}

/** The term of a feed's calls, months. */
export function monthsOf({ all, feeds }: RetentionMonths, feed: string): number {
  return Math.min(all, Object.hasOwn(feeds, feed) ? feeds[feed]! : all);
}

/** The shortest term of any feed, months. */
export function shortestMonths({ all, feeds }: RetentionMonths): number {
  return Math.min(all, ...Object.values(feeds));
}

/** The same terms, none above `months`. */
export function atMost({ all, feeds }: RetentionMonths, months: number): RetentionMonths {
  return { all: Math.min(all, months), feeds };
}

/** SQL of the term of a row, months, by an expression of its feed. Its values are the operator's own, not a request's. */
export function monthsSql({ all, feeds }: RetentionMonths, feed = 'feed'): string {
  const shorter = Object.entries(feeds).filter(([, months]) => months < all);
  if (shorter.length === 0) return String(all);
  const names = shorter.map(([name]) => {
    if (!FEED_NAME.test(name)) throw new CdrhouseError('SETTINGS_INVALID', `"${name}" is no name of a feed`);
    return `'${name}'`;
  });
  const months = shorter.map(([, each]) => String(each));
  return `transform(toString(${feed}), [${names.join(', ')}], [${months.join(', ')}], ${all})`;
}

/**
 * `ms` plus whole months in UTC, clamped to the last day of the month: 29 February 2024 plus 36 months is
 * 28 February 2027. The same as ClickHouse's addMonths.
 */
export function addMonths(ms: number, months: number): number {
  const date = new Date(ms);
  const month = date.getUTCMonth() + months;
  const lastDay = new Date(Date.UTC(date.getUTCFullYear(), month + 1, 0)).getUTCDate();
  return (
    Date.UTC(date.getUTCFullYear(), month, Math.min(date.getUTCDate(), lastDay)) +
    (((ms % DAY_MS) + DAY_MS) % DAY_MS)
  );
}

/**
 * Which starts are past a term of `months` at the moment `nowMs`: those with addMonths(start, months) <= now.
 * Cheap for the many records far from the border; exact for those near it, where clamped month ends make
 * the border no single moment.
 */
export class RetentionTerm {
  readonly #months: number;
  readonly #nowMs: number;
  readonly #surelyExpiredBefore: number;
  readonly #surelyKeptFrom: number;

  constructor(months: number, nowMs: number) {
    this.#months = months;
    this.#nowMs = nowMs;
    const border = addMonths(nowMs, -months);
    this.#surelyExpiredBefore = border - BORDER_SLACK_MS;
    this.#surelyKeptFrom = border + BORDER_SLACK_MS;
  }

  isExpired(startMs: number): boolean {
    if (startMs >= this.#surelyKeptFrom) return false;
    return startMs < this.#surelyExpiredBefore || addMonths(startMs, this.#months) <= this.#nowMs;
  }
}
