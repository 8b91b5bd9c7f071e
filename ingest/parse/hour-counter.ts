const HOUR_MS = 3_600_000;

/**
 * Counts calls by UTC hour of start (hours since 1970). Calls come nearly in the order of time, so the map is asked only
 * when the hour, or the map, is another one than before.
 */
export class HourCounter {
  #counts: Map<number, number> | undefined;
  #hour = 0;
  #fromMs = 0;
  #calls = 0;

  /** Counts one into `counts`, at the latest with `flush`. */
  add(counts: Map<number, number>, startMs: number): void {
    const sinceMs = startMs - this.#fromMs;
    if (counts !== this.#counts || sinceMs < 0 || sinceMs >= HOUR_MS) {
      this.flush();
      this.#counts = counts;
      this.#hour = Math.floor(startMs / HOUR_MS);
      this.#fromMs = this.#hour * HOUR_MS;
    }
    this.#calls++;
  }

  flush(): void {
    if (this.#counts !== undefined && this.#calls > 0)
      this.#counts.set(this.#hour, (this.#counts.get(this.#hour) ?? 0) + this.#calls);
    this.#counts = undefined;
    this.#calls = 0;
  }
}
