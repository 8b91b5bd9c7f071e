import type { PartitionOffset } from './message-chunk.ts';
import type { BatchSource } from './parse/batch.ts';

/** The correction under which a partition's records are stored (docs/decisions/0008). */
export interface Correction {
  /** Unix seconds of its begin; above its markers stands what is stored under it. 0: not begun yet. */
  readonly number: number;
  /** Of the range that is read again under another reading, from the claim on; 0: there is none. */
  readonly until: number;
}

/** A partition that this process reads. */
export interface PartitionState {
  readonly source: BatchSource;
  readonly clusterId: string;
  /** Grows with each assignment; part of every ledger row. */
  readonly generation: number;
  /** Next offset to take into a batch. */
  position: number;
  /** Next offset behind what the ledger covers. */
  stored: number;
  /** End of the log as last seen, for the lag. */
  end: number;
  /** Undefined: the topic never had one. */
  correction?: Correction;
}

/** The partitions of the current assignment, by topic and number. */
export class Partitions {
  readonly #states = new Map<string, PartitionState>();

  set(state: PartitionState): void {
    this.#states.set(nameOf(state.source.topic, state.source.partition), state);
  }

  find(topic: string, partition: number): PartitionState | undefined {
    return this.#states.get(nameOf(topic, partition));
  }

  clear(): void {
    this.#states.clear();
  }

  get all(): PartitionState[] {
    return [...this.#states.values()];
  }
}

/** Places in Kafka, as the consumer takes them. */
export function offsetsOf(
  places: readonly { readonly partition: PartitionState; readonly offset: number }[],
): PartitionOffset[] {
  return places.map(({ partition: { source }, offset }) => ({
    topic: source.topic,
    partition: source.partition,
    offset,
  }));
}

export function nameOf(topic: string, partition: number): string {
  return `${topic}/${partition}`;
}
