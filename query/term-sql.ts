import {
  addMonths,
  BORDER_SLACK_MS,
  monthsOf,
  shortestMonths,
  type RetentionMonths,
} from '../schemas/retention-term.ts';
import { moment } from '../schemas/sql-time.ts';
import type { Range } from './cursor.ts';

/** Which starts may be read at all: no read reaches behind the term of a call's feed. */
export interface Term {
  readonly months: RetentionMonths;
  readonly nowMs: number;
}

/** Holds for rows with `start_at` and `feed` that are within their term; values by `termParameters`. */
export function keptCondition({ months: { feeds } }: Term): string {
  const months =
    Object.keys(feeds).length === 0
      ? '{term_months: UInt32}'
      : 'transform(toString(feed), {term_feeds: Array(String)}, {term_of_feeds: Array(UInt32)}, {term_months: UInt32})';
  return `addMonths(start_at, ${months}) > ${moment('now_ms')}`;
}

/** Values for `keptCondition`. */
export function termParameters({ months, nowMs }: Term): Record<string, unknown> {
  const names = Object.keys(months.feeds);
  const ofFeeds = { term_feeds: names, term_of_feeds: names.map((name) => monthsOf(months, name)) };
  return { term_months: months.all, now_ms: nowMs, ...(names.length === 0 ? {} : ofFeeds) };
}

/** The range and the term, for any table with `start_at` and `feed`; values by `rangeParameters`. */
export function rangeConditions(range: Range, term: Term): string[] {
  return [
    `start_at >= ${moment('from_ms')}`,
    `start_at < ${moment('to_ms')}`,
    // Month ends make the border no single moment, so near it the rule itself is asked.
    ...(reachesTerm(range, term) ? [keptCondition(term)] : []),
  ];
}

/** Values for `rangeConditions`. */
export function rangeParameters(range: Range, term: Term): Record<string, unknown> {
  return {
    from_ms: Math.max(range.fromMs, borderOf(term.months.all, term.nowMs) - BORDER_SLACK_MS),
    to_ms: range.toMs,
    ...(reachesTerm(range, term) ? termParameters(term) : {}),
  };
}

/** True where some of the range may be past its term. */
export function reachesTerm(range: Range, { months, nowMs }: Term): boolean {
  return reachesBehind(range, shortestMonths(months), nowMs);
}

/** True where some of the range may be older than these months. */
export function reachesBehind({ fromMs }: Range, months: number, nowMs: number): boolean {
  return fromMs < borderOf(months, nowMs) + BORDER_SLACK_MS;
}

/** About where a term of months ends; month ends make it no single moment. */
export function borderOf(months: number, nowMs: number): number {
  return addMonths(nowMs, -months);
}
