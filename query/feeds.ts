import type { FeedProgress } from './clickhouse.ts';

/** Feeds by name, and how far each is stored in UTC ms; null: nothing yet. */
export type KnownFeeds = ReadonlyMap<string, number | null>;

const FEEDS_CACHE_MS = 5000;

/**
 * The feeds of the settings and of the ledger, which is read every few seconds only. What is told is at most that old,
 * and never beyond what is stored, because it is read before the calls are.
 */
export class Feeds {
  readonly #configured: readonly string[];
  readonly #read: () => Promise<readonly FeedProgress[]>;
  readonly #now: () => number;
  #cached: { readonly feeds: Promise<KnownFeeds>; readonly untilMs: number } | undefined;

  constructor(
    configured: readonly string[],
    read: () => Promise<readonly FeedProgress[]>,
    now: () => number = Date.now,
  ) {
    this.#configured = configured;
    this.#read = read;
    this.#now = now;
  }

  known(): Promise<KnownFeeds> {
    if (this.#cached !== undefined && this.#cached.untilMs > this.#now()) return this.#cached.feeds;
    const feeds = this.#readKnown();
    const cached = { feeds, untilMs: this.#now() + FEEDS_CACHE_MS };
    this.#cached = cached;
    feeds.catch(() => {
      if (this.#cached === cached) this.#cached = undefined;
    });
    return feeds;
  }

  async #readKnown(): Promise<KnownFeeds> {
    const feeds = new Map<string, number | null>(this.#configured.map((feed) => [feed, null]));
    for (const { feed, readUpToMs } of await this.#read())
      feeds.set(feed, readUpToMs > 0 ? readUpToMs : null);
    return feeds;
  }
}
