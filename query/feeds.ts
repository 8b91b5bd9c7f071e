import type { LogProgress } from './clickhouse.ts';
import type { FaultRow } from './completeness.ts';

/** Feeds by name, and the Kafka time up to which each is stored whole, in UTC ms; null: not known. */
export type KnownFeeds = ReadonlyMap<string, number | null>;

const FEEDS_CACHE_MS = 5000;
const HOUR_MS = 3_600_000;

/** What is read for all requests of some seconds. */
export interface FeedsSource {
  readonly progress: () => Promise<readonly LogProgress[]>;
  /** UTC ms. */
  readonly faultsSince: (fromMs: number) => Promise<readonly FaultRow[]>;
}

interface Read {
  readonly feeds: Promise<KnownFeeds>;
  /** By UTC hour. */
  readonly faults: Map<number, Promise<readonly FaultRow[]>>;
  readonly untilMs: number;
}

/**
 * The feeds of the settings and of the ledger, and what may be missing of them, which is read every few seconds only. What is
 * told is at most that old, and never beyond what is stored, because it is read before the calls are.
 */
export class Feeds {
  /** Topics by feed. */
  readonly #configured: ReadonlyMap<string, string>;
  readonly #source: FeedsSource;
  readonly #now: () => number;
  #read: Read | undefined;

  constructor(configured: ReadonlyMap<string, string>, source: FeedsSource, now: () => number = Date.now) {
    this.#configured = configured;
    this.#source = source;
    this.#now = now;
  }

  known(): Promise<KnownFeeds> {
    return this.#current().feeds;
  }

  /**
   * Faults since the begin of the UTC hour of a moment, so that ranges of one hour share them. They are read after the
   * progress of the feeds: what is said to be read up to a moment is never without the faults until then.
   */
  async faultsSince(fromMs: number): Promise<readonly FaultRow[]> {
    const { feeds, faults } = this.#current();
    await feeds;
    const hourMs = Math.floor(fromMs / HOUR_MS) * HOUR_MS;
    const known = faults.get(hourMs);
    if (known !== undefined) return known;
    const found = this.#source.faultsSince(hourMs);
    faults.set(hourMs, found);
    found.catch(() => faults.delete(hourMs));
    return found;
  }

  #current(): Read {
    if (this.#read !== undefined && this.#read.untilMs > this.#now()) return this.#read;
    const feeds = this.#readKnown();
    const read = { feeds, faults: new Map(), untilMs: this.#now() + FEEDS_CACHE_MS };
    this.#read = read;
    feeds.catch(() => {
      if (this.#read === read) this.#read = undefined;
    });
    return read;
  }

  async #readKnown(): Promise<KnownFeeds> {
    const logs = await this.#source.progress();
    const names = new Set([...this.#configured.keys(), ...logs.map(({ feed }) => feed).sort()]);
    return new Map(
      [...names].map((feed) => [feed, readUpTo(logsOf(logs, feed, this.#configured.get(feed)))]),
    );
  }
}

/** The logs that are read now: those of the topic of the settings, where there are some, and of each partition the newest. */
function logsOf(all: readonly LogProgress[], feed: string, topic: string | undefined): LogProgress[] {
  const own = all.filter((log) => log.feed === feed);
  const ofTopic = own.filter((log) => log.topic === topic);
  const newest = new Map<string, LogProgress>();
  for (const log of ofTopic.length > 0 ? ofTopic : own) {
    const name = `${log.topic}/${log.partition}`;
    const other = newest.get(name);
    if (other === undefined || log.generation > other.generation) newest.set(name, log);
  }
  return [...newest.values()];
}

/** That of the slowest: what the others have beyond it is not all that there is. */
function readUpTo(logs: readonly LogProgress[]): number | null {
  const slowest = logs.length === 0 ? 0 : Math.min(...logs.map(({ readUpToMs }) => readUpToMs));
  return slowest > 0 ? slowest : null;
}
