import type { LedgerHead } from './clickhouse.ts';
import type { Consumer } from './consumer.ts';
import { nameOf, type Partitions } from './partitions.ts';

/** How often the ledger is asked how far other processes of the group are. */
const ASK_MS = 1000;

/** The ends of all partitions at one moment, and whether they have been reached since. */
export class LogEnds {
  /** End by `topic/partition`; partitions that were empty are not in it. */
  readonly #ends = new Map<
    string,
    { readonly topic: string; readonly partition: number; readonly end: number }
  >();
  #askedAt = Number.NEGATIVE_INFINITY;

  /** Reads the ends that the logs of these topics have now. A topic that does not exist counts as empty. */
  static async read(
    consumer: Consumer,
    topics: readonly string[],
    missing: (topic: string) => void,
  ): Promise<LogEnds> {
    const ends = new LogEnds();
    const counts = await consumer.partitionCounts(topics);
    for (const topic of topics) {
      const count = counts.get(topic);
      if (count === undefined) missing(topic);
      for (let partition = 0; partition < (count ?? 0); partition++) {
        const { low, high } = await consumer.watermarks(topic, partition);
        if (high > low) ends.#ends.set(nameOf(topic, partition), { topic, partition, end: high });
      }
    }
    return ends;
  }

  /**
   * True when the ledger covers all ends but those of partitions that stand still, whether by this process or
   * by others of the group, of whom the ledger is asked now and then.
   */
  async areReached(
    partitions: Partitions,
    standsStill: (name: string) => boolean,
    ledgerHeads: (topic: string) => Promise<LedgerHead[]>,
  ): Promise<boolean> {
    const others = new Map<string, number>();
    const topics = new Set<string>();
    for (const [name, { topic, partition, end }] of this.#ends) {
      if (standsStill(name)) continue;
      const state = partitions.find(topic, partition);
      if (state !== undefined && state.stored < end) return false;
      if (state !== undefined) continue;
      others.set(name, end);
      topics.add(topic);
    }
    if (others.size === 0) return true;
    if (performance.now() - this.#askedAt < ASK_MS) return false;
    this.#askedAt = performance.now();
    const heads = (await Promise.all([...topics].map((topic) => ledgerHeads(topic)))).flat();
    const stored = new Map(heads.map((head) => [nameOf(head.topic, head.partition), endIfTiled(head)]));
    return [...others].every(([name, end]) => (stored.get(name) ?? 0) >= end);
  }
}

/** Where a head ends; its begin where its ranges do not tile, since then more is to come. */
function endIfTiled({ fromOffset, nextOffset, covered }: LedgerHead): number {
  return covered === nextOffset - fromOffset ? nextOffset : fromOffset;
}
