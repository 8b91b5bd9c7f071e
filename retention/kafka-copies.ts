import { CdrhouseError } from '../schemas/errors.ts';
import type { Settings } from '../schemas/settings.ts';
import { isoTime } from './subject.ts';

/** What Kafka keeps of a topic by itself; -1: for ever, as where it only compacts. */
export interface KeptTopic {
  readonly topic: string;
  readonly retentionMs: number;
  /** A segment takes new records for so long, and goes only when the last of them is over. */
  readonly segmentMs: number;
}

/** Asks Kafka how long it keeps the feeds' topics, without those that it does not know. */
export type KeptTopics = () => Promise<readonly KeptTopic[]>;

/** Until when a copy may be in Kafka; null: nobody can say, and why, and what to do. */
export type KafkaResidue =
  { readonly kafka_until: string } | { readonly kafka_until: null; readonly kafka_unknown: string };

/** Until when Kafka may hold what the feeds' topics had at a moment: by the topics themselves, not by settings. */
export async function kafkaResidue(
  { feeds }: Settings,
  sinceMs: number,
  ask: KeptTopics,
): Promise<KafkaResidue> {
  let kept: readonly KeptTopic[];
  try {
    kept = await ask();
  } catch (error) {
    // What was erased in the database is worth certifying while Kafka is away.
    if (!(error instanceof CdrhouseError)) throw error;
    return unknown(`Kafka did not tell how long it keeps (${error.code}): have it answer`);
  }
  let longestMs = 0;
  for (const name of new Set(feeds.map(({ topic }) => topic))) {
    const topic = kept.find((each) => each.topic === name);
    if (topic === undefined)
      return unknown(`Kafka shows no topic ${name}: make it, or let retention describe it`);
    const { retentionMs, segmentMs } = topic;
    if (retentionMs < 0 || segmentMs < 0)
      return unknown(
        `topic ${name} is kept for ever: set its retention.ms and segment.ms, and cleanup.policy to delete`,
      );
    longestMs = Math.max(longestMs, retentionMs + segmentMs);
  }
  const untilMs = sinceMs + longestMs;
  // Kafka takes any number of ms, a date does not.
  return Number.isNaN(new Date(untilMs).valueOf())
    ? unknown('a topic is kept for longer than any date: set its retention.ms and segment.ms')
    : { kafka_until: isoTime(untilMs) };
}

function unknown(why: string): KafkaResidue {
  return { kafka_until: null, kafka_unknown: `${why}; then subject verify tells until when` };
}
