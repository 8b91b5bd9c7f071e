const DAY_MS = 86_400_000;

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
    this.#surelyExpiredBefore = border - 4 * DAY_MS;
    this.#surelyKeptFrom = border + 4 * DAY_MS;
  }

  isExpired(startMs: number): boolean {
    if (startMs >= this.#surelyKeptFrom) return false;
    return startMs < this.#surelyExpiredBefore || addMonths(startMs, this.#months) <= this.#nowMs;
  }
}
