import type { CoveredRange } from './open-batch.ts';
import type { PartitionState } from './partitions.ts';

/** How far the ledger is behind the log of a partition. */
export interface PartitionLag {
  readonly topic: string;
  readonly partition: number;
  /** Offsets between the ledger and the end of the log as last seen. */
  readonly messages: number;
  /** Age of the oldest message that is not in the ledger; see `LagWatch`. */
  readonly seconds: number;
}

/** A batch that is not in the ledger yet: the open one, or one in flight. */
export interface UnstoredBatch {
  /** performance.now() of its first message or range; 0 where it holds nothing. */
  readonly openedAt: number;
  readonly ranges: readonly CoveredRange[];
}

/**
 * Measures lag without asking Kafka. The age in seconds is that of the oldest message which was read and is not
 * in the ledger, by its Kafka timestamp. Where nothing is read yet although the log is known to go on behind the
 * ledger, nobody knows that message's timestamp: then it is the time since this was first seen, which is too
 * little rather than too much. (The timestamp of the message before it would be wrong by the length of any
 * quiet time: a feed that sleeps at night would seem to be hours behind each morning.)
 */
export class LagWatch {
  readonly #behindSinceMs = new WeakMap<PartitionState, number>();

  /** @param nowMs UTC ms */
  measure(
    partitions: readonly PartitionState[],
    unstored: Iterable<UnstoredBatch>,
    nowMs: number,
  ): PartitionLag[] {
    const oldest = oldestByPartition(unstored);
    return partitions.map((state) => {
      const { topic, partition } = state.source;
      const messages = Math.max(0, state.end - state.stored);
      const since = oldest.get(state) ?? this.#behindSince(state, messages, nowMs);
      return { topic, partition, messages, seconds: Math.max(0, nowMs - since) / 1000 };
    });
  }

  #behindSince(state: PartitionState, messages: number, nowMs: number): number {
    if (messages === 0) {
      this.#behindSinceMs.delete(state);
      return nowMs;
    }
    const since = this.#behindSinceMs.get(state) ?? nowMs;
    this.#behindSinceMs.set(state, since);
    return since;
  }
}

/** Seconds since the oldest of these batches got its first message; 0 without one. `now` as performance.now(). */
export function oldestUnflushedSeconds(unstored: Iterable<UnstoredBatch>, now: number): number {
  let oldest = now;
  for (const { openedAt } of unstored) if (openedAt > 0) oldest = Math.min(oldest, openedAt);
  return (now - oldest) / 1000;
}

/** The oldest Kafka timestamp of each partition's messages, UTC ms; without those that have none. */
function oldestByPartition(unstored: Iterable<UnstoredBatch>): Map<PartitionState, number> {
  const oldest = new Map<PartitionState, number>();
  for (const { ranges } of unstored) {
    for (const { partition, oldestAtMs } of ranges) {
      if (oldestAtMs === Infinity) continue;
      oldest.set(partition, Math.min(oldest.get(partition) ?? Infinity, oldestAtMs));
    }
  }
  return oldest;
}
