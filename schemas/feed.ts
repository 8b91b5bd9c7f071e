import { createHash } from 'node:crypto';
import { dialPlanOf, type DialPlan } from './dial-plan.ts';
import { findFormat } from './formats/index.ts';
import type { DelimitedFormat } from './formats/format.ts';
import type { FeedSettings } from './settings.ts';

/** A feed with everything that decides how its records are read. Plain data: it goes to the workers as it is. */
export interface Feed {
  readonly name: string;
  readonly topic: string;
  readonly format: DelimitedFormat;
  readonly timeZone: string;
  /** Undefined: numbers stay as sent. */
  readonly dialPlan: DialPlan | undefined;
  readonly identity: FeedSettings['identity'];
  /** UTC ms; an earlier start is implausible. */
  readonly earliestStartMs: number;
  /** Hash of all of the above: two records read under the same `reading` get the same columns and keys. */
  readonly reading: string;
}

/** The feed that these settings describe. The settings must have been checked. */
export function readFeed(settings: FeedSettings): Feed {
  const format = findFormat(settings.format);
  if (format === undefined) throw new RangeError(`unknown format ${settings.format}`);
  const described = {
    name: settings.name,
    topic: settings.topic,
    format,
    timeZone: settings.time_zone,
    dialPlan: settings.country === undefined ? undefined : dialPlanOf(settings.country),
    identity: settings.identity,
    earliestStartMs: Date.parse(settings.earliest_start),
  };
  // The topic is where records come from, not how they are read.
  const { topic: _, ...reads } = described;
  const reading = createHash('sha256').update(JSON.stringify(reads)).digest('hex').slice(0, 16);
  return { ...described, reading };
}
