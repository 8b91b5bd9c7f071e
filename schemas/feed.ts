import { createHash } from 'node:crypto';
import { CdrhouseError } from './errors.ts';
import { numberRulesOf, type FeedNumberRules } from './dial-plan.ts';
import { formatOf } from './formats/feed-format.ts';
import type { Encoding } from './formats/encoding.ts';
import { findFormat } from './formats/index.ts';
import type { Format } from './formats/format.ts';
import type { FeedSettings } from './settings.ts';

/** A feed with everything that decides how its records are read. Plain data: it goes to the workers as it is. */
export interface Feed {
  readonly name: string;
  readonly topic: string;
  readonly format: Format;
  readonly timeZone: string;
  /** What abbreviations of zones mean, as `±hh:mm`. */
  readonly zones: Readonly<Record<string, string>>;
  /** Of its texts; undefined: as the format's head says, else UTF-8. */
  readonly encoding: Encoding | undefined;
  /** What becomes of the numbers of each role. */
  readonly numbers: FeedNumberRules;
  readonly identity: FeedSettings['identity'];
  /** UTC ms; an earlier start is implausible. */
  readonly earliestStartMs: number;
  /** Hash of all of the above: two records read under the same `reading` get the same columns and keys. */
  readonly reading: string;
}

/** The feed of this name; without one the only feed. Throws FEED_UNKNOWN. */
export function findFeed(feeds: readonly FeedSettings[], name: string | undefined): FeedSettings {
  const known = feeds.map((feed) => feed.name).join(', ');
  if (name === undefined) {
    if (feeds.length === 1) return feeds[0]!;
    throw new CdrhouseError('FEED_UNKNOWN', `say --feed; there are ${known}`);
  }
  const found = feeds.find((feed) => feed.name === name);
  if (found === undefined)
    throw new CdrhouseError('FEED_UNKNOWN', `there is no feed "${name}"; there are ${known}`);
  return found;
}

/** Throws FEED_UNKNOWN where a feed is none of these: a misspelt one would look like a feed without calls. */
export function requireKnownFeed(feed: string, known: readonly string[]): void {
  if (!known.includes(feed))
    throw new CdrhouseError(
      'FEED_UNKNOWN',
      `there is no feed "${feed}"; there are ${[...new Set(known)].sort().join(', ')}`,
    );
}

/** Whether ids of the switch make records of a feed one, so that two records can have one id. */
export function hasRecordIds({ identity, format }: FeedSettings): boolean {
  return (
    (identity === 'auto' || identity === 'record') &&
    findFormat(format)?.records.some(({ recordId }) => recordId !== undefined) === true
  );
}

/** A row of `readings`: what a hash in the ledger stands for. */
export interface ReadingRow {
  readonly feed: string;
  readonly reading: string;
  /** The `FeedSettings` as JSON. */
  readonly settings: string;
}

export function readingRow(settings: FeedSettings): ReadingRow {
  const { name: feed, reading } = readFeed(settings);
  return { feed, reading, settings: JSON.stringify(settings) };
}

/** The feed that these settings describe. The settings must have been checked. */
export function readFeed(settings: FeedSettings): Feed {
  const format = formatOf(settings);
  const described = {
    name: settings.name,
    topic: settings.topic,
    format,
    timeZone: settings.time_zone,
    zones: settings.zone_abbreviations ?? {},
    encoding: settings.encoding,
    numbers: numberRulesOf(settings.country, settings.numbers),
    identity: settings.identity,
    earliestStartMs: Date.parse(settings.earliest_start),
  };
  // The topic is where records come from, not how they are read; texts about a format are for people.
  const {
    topic: _topic,
    format: { summary: _summary, about: _about, ...formatReads },
    ...rest
  } = described;
  const reading = createHash('sha256')
    .update(JSON.stringify({ format: formatReads, ...rest }))
    .digest('hex')
    .slice(0, 16);
  return { ...described, reading };
}
