import { sqlTime } from '../schemas/sql-time.ts';
import type { IngestDatabase } from './clickhouse.ts';
import type { Consumer } from './consumer.ts';
import type { PartitionState } from './partitions.ts';

const BEAT_MS = 10_000;
/** Whoever ends while Kafka is away waits for a question that is under way. */
const ASK_MS_MAX = 2000;

/**
 * Tells the table `ingest_heartbeats` how far the partitions of this process are: what the ledger covers, where Kafka's
 * log ends, and the last moment of which it is proven that all that Kafka had then is in the ledger. So a feed that is
 * quiet can be told from one that is not read. A beat that fails is left out; of a partition that does not answer, as
 * one without a leader, its own.
 */
export class Heartbeat {
  readonly #database: IngestDatabase;
  readonly #instance: string;
  readonly #failed: (error: unknown) => undefined;
  readonly #caughtUpAtMs = new WeakMap<PartitionState, number>();
  /** performance.now() at which a partition's log could not be asked for, of those of which that is so. */
  readonly #silentSince = new WeakMap<PartitionState, number>();
  /** performance.now() of the last beat's begin. */
  #begunAt = -Infinity;
  #beating = false;

  constructor(database: IngestDatabase, instance: string, failed: (error: unknown) => undefined) {
    this.#database = database;
    this.#instance = instance;
    this.#failed = failed;
  }

  /** Begins a beat where one is due. */
  beat(consumer: Consumer, partitions: readonly PartitionState[]): void {
    if (this.#beating || partitions.length === 0 || performance.now() - this.#begunAt < BEAT_MS) return;
    this.#begunAt = performance.now();
    this.#beating = true;
    void this.#tell(consumer, partitions)
      .catch(this.#failed)
      .finally(() => {
        this.#beating = false;
      });
  }

  async #tell(consumer: Consumer, partitions: readonly PartitionState[]): Promise<void> {
    const rows: object[] = [];
    const silentSince = (state: PartitionState): number => this.#silentSince.get(state) ?? 0;
    // One at a time: each question holds one of the threads in which messages are waited for.
    for (const state of partitions.toSorted((a, b) => silentSince(a) - silentSince(b))) {
      const { topic, topicId, partition } = state.source;
      const askedAtMs = Date.now();
      const end = await consumer.watermarks(topic, partition, ASK_MS_MAX).catch(this.#failed);
      if (end === undefined) {
        // Where Kafka is away none would answer: the others wait for the next beat, in which this one is asked last.
        this.#silentSince.set(state, performance.now());
        break;
      }
      this.#silentSince.delete(state);
      const { high } = end;
      if (state.stored >= high) this.#caughtUpAtMs.set(state, askedAtMs);
      rows.push({
        topic,
        partition,
        topic_id: topicId,
        instance: this.#instance,
        next_offset: state.stored,
        end_offset: high,
        asked_at: sqlTime(askedAtMs),
        caught_up_at: sqlTime(this.#caughtUpAtMs.get(state) ?? 0),
      });
    }
    await this.#database.insertHeartbeats(rows);
  }
}
