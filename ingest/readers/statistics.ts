import { nameOf } from '../partitions.ts';

/** What the plain reader takes from librdkafka's statistics. */
export interface Statistics {
  /** When they were taken, UTC ms, rounded down to a second. */
  readonly atMs: number;
  /** Why the client is of no use any more; undefined while it is. */
  readonly fatal: string | undefined;
  /** Names (`topic/partition`) of the partitions that librdkafka knows and does not fetch. */
  readonly notFetched: ReadonlySet<string>;
}

interface Document {
  /** UTC seconds. */
  readonly time: number;
  readonly topics?: Readonly<
    Record<string, { readonly partitions?: Readonly<Record<string, { readonly fetch_state?: string }>> }>
  >;
}

/** Reads statistics as librdkafka writes them: JSON, but for the reason of a fatal error, whose quotes it leaves as they are. */
export function readStatistics(text: string): Statistics {
  const fatal = /"fatal": \{ "error": "[^"]*", "reason": "(.*)", "cnt": \d+ \}/.exec(text)?.[1];
  const notFetched = new Set<string>();
  if (fatal !== undefined) return { atMs: 0, fatal, notFetched };
  const { time, topics = {} } = JSON.parse(text) as Document;
  for (const [topic, { partitions = {} }] of Object.entries(topics)) {
    for (const [partition, { fetch_state }] of Object.entries(partitions))
      if (fetch_state === 'none') notFetched.add(nameOf(topic, Number(partition)));
  }
  return { atMs: time * 1000, fatal, notFetched };
}
