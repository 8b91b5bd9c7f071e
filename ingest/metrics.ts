import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import type { SealedBatch } from './open-batch.ts';
import type { ParsedBatch } from './parse/batch.ts';
import type { PartitionState } from './partitions.ts';

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** Prometheus metrics of ingest. Labels are feeds, codes and topics, never numbers. */
export class IngestMetrics {
  readonly registry = new Registry();
  readonly #records = new Counter({
    name: 'cdrhouse_ingest_records_total',
    help: 'Records read from Kafka by feed and what became of them: stored, rejected, suppressed, skipped',
    labelNames: ['feed', 'result'] as const,
    registers: [this.registry],
  });
  readonly #rejected = new Counter({
    name: 'cdrhouse_ingest_rejected_total',
    help: 'Records in dead_letters by feed and code',
    labelNames: ['feed', 'code'] as const,
    registers: [this.registry],
  });
  readonly #skipped = new Counter({
    name: 'cdrhouse_ingest_skipped_total',
    help: 'Lines and messages that are no records, and expired records, by feed and reason',
    labelNames: ['feed', 'reason'] as const,
    registers: [this.registry],
  });
  readonly #messages = new Counter({
    name: 'cdrhouse_ingest_messages_total',
    help: 'Kafka messages stored',
    registers: [this.registry],
  });
  readonly #bytes = new Counter({
    name: 'cdrhouse_ingest_bytes_total',
    help: 'Bytes of Kafka messages stored',
    registers: [this.registry],
  });
  readonly #rows = new Histogram({
    name: 'cdrhouse_ingest_batch_rows',
    help: 'Rows of a batch in cdr',
    buckets: [1, 10, 100, 1000, 10_000, 50_000, 100_000, 250_000, 500_000, 1_000_000],
    registers: [this.registry],
  });
  readonly #parseSeconds = new Histogram({
    name: 'cdrhouse_ingest_parse_seconds',
    help: 'Parsing one batch in a worker',
    buckets: SECONDS,
    registers: [this.registry],
  });
  readonly #storeSeconds = new Histogram({
    name: 'cdrhouse_ingest_store_seconds',
    help: 'Storing one batch: both tables, dead letters, ledger',
    buckets: SECONDS,
    registers: [this.registry],
  });
  readonly #queryableSeconds = new Histogram({
    name: 'cdrhouse_ingest_queryable_seconds',
    help: 'From the newest Kafka timestamp of a batch to its rows being queryable',
    buckets: SECONDS,
    registers: [this.registry],
  });
  readonly #retries = new Counter({
    name: 'cdrhouse_ingest_retries_total',
    help: 'Tries of a step that failed and is tried again, by step and reason code',
    labelNames: ['step', 'reason'] as const,
    registers: [this.registry],
  });
  readonly #paused = new Gauge({
    name: 'cdrhouse_ingest_paused',
    help: '1 while reading is paused because the database does not keep up',
    registers: [this.registry],
  });
  readonly #lag = new Gauge({
    name: 'cdrhouse_ingest_lag_messages',
    help: 'Messages between the ledger and the end of the log',
    labelNames: ['topic', 'partition'] as const,
    registers: [this.registry],
  });
  readonly #gaps = new Gauge({
    name: 'cdrhouse_ingest_gapped_partitions',
    help: 'Partitions that stand still because Kafka lost what the ledger expects',
    registers: [this.registry],
  });
  readonly #utilization = new Gauge({
    name: 'cdrhouse_ingest_worker_utilization',
    help: 'Share of time in which the parse workers were busy',
    registers: [this.registry],
  });

  constructor() {
    collectDefaultMetrics({ register: this.registry, prefix: 'cdrhouse_ingest_' });
  }

  batchStored(batch: SealedBatch, parsed: ParsedBatch, storeMs: number, feedNames: readonly string[]): void {
    this.#messages.inc(batch.packed.count);
    this.#bytes.inc(batch.packed.bytes.length);
    this.#rows.observe(parsed.cdrRows);
    this.#parseSeconds.observe(parsed.parseMs / 1000);
    this.#storeSeconds.observe(storeMs / 1000);
    let newest = 0;
    batch.packed.sources.forEach((source, index) => {
      const feed = feedNames[source.feed]!;
      const counts = parsed.counts[index]!;
      for (const result of ['stored', 'rejected', 'suppressed', 'skipped'] as const) {
        this.#records.inc({ feed, result }, counts[result]);
      }
      for (const [code, count] of Object.entries(counts.rejectedByCode))
        this.#rejected.inc({ feed, code }, count);
      for (const [reason, count] of Object.entries(counts.skippedByReason))
        this.#skipped.inc({ feed, reason }, count);
      newest = Math.max(newest, counts.messageAtMax);
    });
    if (newest > 0) this.#queryableSeconds.observe(Math.max(0, (Date.now() - newest) / 1000));
  }

  retried(step: string, reason: string): void {
    this.#retries.inc({ step, reason });
  }

  setPaused(paused: boolean): void {
    this.#paused.set(paused ? 1 : 0);
  }

  setGaps(count: number): void {
    this.#gaps.set(count);
  }

  setUtilization(share: number): void {
    this.#utilization.set(share);
  }

  /** Replaces the lag of all partitions, so that a partition that is gone leaves no stale value. */
  setLag(partitions: readonly PartitionState[]): void {
    this.#lag.reset();
    for (const { source, end, stored } of partitions) {
      this.#lag.set({ topic: source.topic, partition: source.partition }, Math.max(0, end - stored));
    }
  }
}
