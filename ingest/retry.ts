import { setTimeout as sleep } from 'node:timers/promises';
import { describeDatabaseError, errorCode, judgeDatabaseError } from '../schemas/clickhouse-errors.ts';
import { CdrhouseError } from '../schemas/errors.ts';

/**
 * Told before each pause: what failed, the code of the reason, which try comes next and after how long; and the reason in
 * words, where it is an error of our own.
 */
export type RetryReport = (
  what: string,
  reason: string,
  nextTry: number,
  pauseMs: number,
  detail?: string,
) => void;

export interface RetryOptions {
  /** What is tried, for the log: `insert into cdr`; a function where that is known only when it has failed. */
  readonly what: string | (() => string);
  readonly pauseMsMax: number;
  readonly signal: AbortSignal;
  readonly report: RetryReport;
}

const FIRST_PAUSE_MS = 100;

/**
 * Does `work` until it succeeds, with pauses that double up to a bound, and jitter so that processes do not
 * come back in step. A permanent fault throws CLICKHOUSE_REFUSED; an aborted signal throws its reason.
 */
export async function untilDone<T>(work: (attempt: number) => Promise<T>, options: RetryOptions): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    options.signal.throwIfAborted();
    try {
      return await work(attempt);
    } catch (error) {
      options.signal.throwIfAborted();
      if (error instanceof CdrhouseError && !error.retryable) throw error;
      const what = typeof options.what === 'string' ? options.what : options.what();
      if (judgeDatabaseError(error) === 'permanent') {
        throw new CdrhouseError('CLICKHOUSE_REFUSED', `${what}: ${describeDatabaseError(error)}`, error);
      }
      const pauseMs = pauseBefore(attempt, options.pauseMsMax);
      if (error instanceof CdrhouseError)
        options.report(what, error.code, attempt + 1, pauseMs, error.message);
      else options.report(what, errorCode(error), attempt + 1, pauseMs);
      await sleep(pauseMs, undefined, { signal: options.signal });
    }
  }
}

/** What lived this long did not die of its start. */
const HEALTHY_MS = 60_000;

/** Pauses before what has ended is begun again: they double, and are the first again where it has lived for a while. */
export class RestartPauses {
  readonly #firstMs: number;
  readonly #msMax: number;
  #nextMs: number;

  constructor(firstMs: number, msMax: number) {
    this.#firstMs = firstMs;
    this.#msMax = msMax;
    this.#nextMs = firstMs;
  }

  /** @param livedMs how long it lived */
  after(livedMs: number): number {
    const pauseMs = livedMs > HEALTHY_MS ? this.#firstMs : this.#nextMs;
    this.#nextMs = Math.min(this.#msMax, 2 * pauseMs);
    return pauseMs;
  }
}

/** Pause before the try after this one, in ms: doubling, with jitter. */
export function pauseBefore(attempt: number, pauseMsMax: number): number {
  const full = Math.min(pauseMsMax, FIRST_PAUSE_MS * 2 ** Math.min(attempt - 1, 20));
  return Math.round(full * (0.5 + Math.random() / 2));
}
