import { addMonths, shortestMonths, type RetentionMonths } from '../schemas/retention-term.ts';
import type { SweepKind } from '../schemas/migrations.ts';

/** How long calls are kept, and the moment (UTC ms) at which they are judged. */
export interface DueTerm {
  readonly months: RetentionMonths;
  readonly dueMs: number;
}

/** What a sweep takes from a month of starts. */
export interface DueMonth {
  /** YYYYMM in UTC, the name of the partition. */
  readonly month: number;
  readonly kind: SweepKind;
}

/** `[from, to)` of a month YYYYMM, UTC ms. */
export function monthRange(month: number): { fromMs: number; toMs: number } {
  const year = Math.floor(month / 100);
  const index = (month % 100) - 1;
  return { fromMs: Date.UTC(year, index, 1), toMs: Date.UTC(year, index + 1, 1) };
}

/** When the first and the last moment of a month are due, UTC ms. */
export function monthDue(month: number, months: number): { firstMs: number; lastMs: number } {
  const { fromMs, toMs } = monthRange(month);
  return { firstMs: addMonths(fromMs, months), lastMs: addMonths(toMs - 1, months) };
}

/**
 * What is overdue of the months that there are, the oldest first: a month whose last moment is due goes as a whole, of one
 * that has begun to be due for any feed what is.
 */
export function planSweep(months: readonly number[], { months: term, dueMs }: DueTerm): DueMonth[] {
  const shortest = shortestMonths(term);
  return [...months]
    .sort((a, b) => a - b)
    .flatMap((month): DueMonth[] => {
      if (monthDue(month, term.all).lastMs <= dueMs) return [{ month, kind: 'drop' }];
      return monthDue(month, shortest).firstMs <= dueMs ? [{ month, kind: 'delete' }] : [];
    });
}
