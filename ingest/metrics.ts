import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import { REJECT_CODES } from '../schemas/errors.ts';
import type { SentTable } from '../schemas/tables.ts';
import type { PartitionLag } from './lag.ts';
import type { SealedBatch } from './open-batch.ts';
import { payloadBytes, type StoredBatch } from './parse/batch.ts';
import { SERVERS, type Readiness } from './reachability.ts';

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const RESULTS = ['stored', 'rejected', 'suppressed', 'skipped'] as const;

/** How ingest stands at the moment of a scrape. */
export interface IngestState {
  readonly lags: readonly PartitionLag[];
  readonly gaps: readonly { readonly topic: string; readonly partition: number }[];
  readonly oldestUnflushedSeconds: number;
  readonly paused: boolean;
  /** Share of time in which the parse workers were busy, 0 to 1. */
  readonly utilization: number;
}

/**
 * Prometheus metrics of ingest; docs/metrics.md lists them. Labels are feeds, codes, tables and topics, never
 * numbers. `aggregator` says how the parent of several processes puts theirs together; the default is the sum.
 */
export class IngestMetrics {
  readonly #registry = new Registry();
  readonly #records = new Counter({
    name: 'cdrhouse_ingest_records_total',
    help: 'Records read from Kafka by feed and what became of them: stored (accepted, duplicates included), rejected, suppressed, skipped',
    labelNames: ['feed', 'result'] as const,
    registers: [this.#registry],
  });
  readonly #rejected = new Counter({
    name: 'cdrhouse_ingest_rejected_total',
    help: 'Records in dead_letters by feed and code',
    labelNames: ['feed', 'code'] as const,
    registers: [this.#registry],
  });
  readonly #skipped = new Counter({
    name: 'cdrhouse_ingest_skipped_total',
    help: 'Lines and messages that are no records, and expired records, by feed and reason',
    labelNames: ['feed', 'reason'] as const,
    registers: [this.#registry],
  });
  readonly #blanked = new Counter({
    name: 'cdrhouse_ingest_blanked_total',
    help: 'Stored records in which the number of a person who was erased is blanked, by feed',
    labelNames: ['feed'] as const,
    registers: [this.#registry],
  });
  readonly #duplicates = new Counter({
    name: 'cdrhouse_ingest_duplicates_in_batch_total',
    help: 'Accepted records that equal another one of the same batch. Duplicates of other batches collapse in the database unseen by ingest; cdrhouse_audit_elsewhere_records counts those too',
    labelNames: ['feed'] as const,
    registers: [this.#registry],
  });
  readonly #messages = new Counter({
    name: 'cdrhouse_ingest_messages_total',
    help: 'Kafka messages stored',
    registers: [this.#registry],
  });
  readonly #bytes = new Counter({
    name: 'cdrhouse_ingest_bytes_total',
    help: 'Bytes of Kafka messages stored',
    registers: [this.#registry],
  });
  readonly #batches = new Counter({
    name: 'cdrhouse_ingest_batches_total',
    help: 'Batches stored, ledger included',
    registers: [this.#registry],
  });
  readonly #rows = new Histogram({
    name: 'cdrhouse_ingest_batch_rows',
    help: 'Rows of a batch in cdr',
    buckets: [1, 10, 100, 1000, 10_000, 50_000, 100_000, 250_000, 500_000, 1_000_000],
    registers: [this.#registry],
  });
  readonly #parseSeconds = new Histogram({
    name: 'cdrhouse_ingest_parse_seconds',
    help: 'Parsing one batch in a worker',
    buckets: SECONDS,
    registers: [this.#registry],
  });
  readonly #insertSeconds = new Histogram({
    name: 'cdrhouse_ingest_insert_seconds',
    help: 'One insert that succeeded, by table; without the tries before it and the pauses between them',
    labelNames: ['table'] as const,
    buckets: SECONDS,
    registers: [this.#registry],
  });
  readonly #storeSeconds = new Histogram({
    name: 'cdrhouse_ingest_store_seconds',
    help: 'Storing one batch: both tables, dead letters, ledger, with all tries and pauses',
    buckets: SECONDS,
    registers: [this.#registry],
  });
  readonly #commitSeconds = new Histogram({
    name: 'cdrhouse_ingest_commit_seconds',
    help: 'From sending offsets to Kafka to its acceptance',
    buckets: SECONDS,
    registers: [this.#registry],
  });
  readonly #queryableSeconds = new Histogram({
    name: 'cdrhouse_ingest_queryable_seconds',
    help: 'From the oldest Kafka timestamp of a batch to its rows being queryable, once per batch: none of its messages took longer',
    buckets: [...SECONDS, 60, 300, 1800, 7200],
    registers: [this.#registry],
  });
  readonly #retries = new Counter({
    name: 'cdrhouse_ingest_retries_total',
    help: 'Tries of a step that failed and is tried again, by step and reason code',
    labelNames: ['step', 'reason'] as const,
    registers: [this.#registry],
  });
  readonly #paused = new Gauge({
    name: 'cdrhouse_ingest_paused',
    help: '1 while reading is paused because the database does not keep up',
    aggregator: 'max',
    registers: [this.#registry],
  });
  readonly #plainConsume = new Gauge({
    name: 'cdrhouse_ingest_plain_consume',
    help: "1 while messages are read by node-rdkafka's plain consume instead of the packed one: right, for more CPU (PLAIN_CONSUME)",
    aggregator: 'max',
    registers: [this.#registry],
  });
  readonly #ready = new Gauge({
    name: 'cdrhouse_ingest_ready',
    help: '1 while reading, with Kafka and ClickHouse reachable: what /readyz says',
    aggregator: 'min',
    registers: [this.#registry],
  });
  readonly #reachable = new Gauge({
    name: 'cdrhouse_ingest_reachable',
    help: '1 while the server answers, by server (kafka, clickhouse); asked about once a second',
    labelNames: ['server'] as const,
    aggregator: 'min',
    registers: [this.#registry],
  });
  // A partition belongs to one process; while it moves, the larger value is nearer to the truth than the sum.
  readonly #lagMessages = new Gauge({
    name: 'cdrhouse_ingest_lag_messages',
    help: 'Offsets between the ledger and the end of the log as the last fetch told it; it does not grow while reading is paused',
    labelNames: ['topic', 'partition'] as const,
    aggregator: 'max',
    registers: [this.#registry],
  });
  readonly #lagSeconds = new Gauge({
    name: 'cdrhouse_ingest_lag_seconds',
    help: 'Age, by Kafka timestamp, of the oldest message that was read and is not in the ledger; where none is read yet though the log goes on, the time since a scrape first saw that; 0 when nothing is behind',
    labelNames: ['topic', 'partition'] as const,
    aggregator: 'max',
    registers: [this.#registry],
  });
  readonly #gaps = new Gauge({
    name: 'cdrhouse_ingest_partition_gap',
    help: '1 for a partition that stands still because Kafka lost what the ledger expects (PARTITION_GAP); absent for the others',
    labelNames: ['topic', 'partition'] as const,
    aggregator: 'max',
    registers: [this.#registry],
  });
  readonly #oldestUnflushed = new Gauge({
    name: 'cdrhouse_ingest_oldest_unflushed_seconds',
    help: 'Time since the oldest record that is not in the ledger was read from Kafka: the open batch and those in flight; 0 without one',
    aggregator: 'max',
    registers: [this.#registry],
  });
  readonly #utilization = new Gauge({
    name: 'cdrhouse_ingest_worker_utilization',
    help: 'Share of time in which the parse workers were busy, 0 to 1',
    aggregator: 'average',
    registers: [this.#registry],
  });
  #state: () => IngestState | undefined = () => undefined;
  #readiness: () => Readiness | undefined = () => undefined;

  /** @param feedNames feeds whose counters begin at 0, so that rates see the first records too */
  constructor(feedNames: readonly string[] = []) {
    // With the resident memory, CPU seconds, open files and the event loop's delay.
    collectDefaultMetrics({ register: this.#registry, prefix: 'cdrhouse_ingest_' });
    for (const feed of feedNames) {
      for (const result of RESULTS) this.#records.inc({ feed, result }, 0);
      for (const code of REJECT_CODES) this.#rejected.inc({ feed, code }, 0);
      this.#duplicates.inc({ feed }, 0);
      this.#blanked.inc({ feed }, 0);
    }
  }

  /** What is measured when it is asked for. */
  observe(sources: { state?: () => IngestState; readiness?: () => Readiness }): void {
    this.#state = sources.state ?? this.#state;
    this.#readiness = sources.readiness ?? this.#readiness;
  }

  /** The metrics as of now. */
  current(): Registry {
    const state = this.#state();
    if (state !== undefined) this.#setState(state);
    const readiness = this.#readiness();
    if (readiness !== undefined) {
      this.#ready.set(readiness.ready ? 1 : 0);
      for (const server of SERVERS)
        this.#reachable.set({ server }, readiness[server].state === 'reachable' ? 1 : 0);
    }
    return this.#registry;
  }

  batchStored(batch: SealedBatch, parsed: StoredBatch, storeMs: number, feedNames: readonly string[]): void {
    this.#batches.inc();
    this.#messages.inc(batch.packed.count);
    this.#bytes.inc(payloadBytes(batch.packed));
    this.#rows.observe(parsed.calls);
    this.#parseSeconds.observe(parsed.parseMs / 1000);
    this.#storeSeconds.observe(storeMs / 1000);
    batch.packed.sources.forEach((source, index) => {
      const feed = feedNames[source.feed]!;
      const counts = parsed.counts[index]!;
      for (const result of RESULTS) this.#records.inc({ feed, result }, counts[result]);
      this.#blanked.inc({ feed }, counts.blanked);
      for (const [code, count] of Object.entries(counts.rejectedByCode))
        this.#rejected.inc({ feed, code }, count);
      for (const [reason, count] of Object.entries(counts.skippedByReason))
        this.#skipped.inc({ feed, reason }, count);
    });
    parsed.duplicatesByFeed.forEach((count, feed) => this.#duplicates.inc({ feed: feedNames[feed]! }, count));
    const oldest = Math.min(...batch.ranges.map(({ oldestAtMs }) => oldestAtMs));
    if (oldest < Infinity) this.#queryableSeconds.observe(Math.max(0, (Date.now() - oldest) / 1000));
  }

  inserted(table: SentTable, milliseconds: number): void {
    this.#insertSeconds.observe({ table }, milliseconds / 1000);
  }

  committed(milliseconds: number): void {
    this.#commitSeconds.observe(milliseconds / 1000);
  }

  retried(step: string, reason: string): void {
    this.#retries.inc({ step, reason });
  }

  setPlainConsume(plain: boolean): void {
    this.#plainConsume.set(plain ? 1 : 0);
  }

  /** Replaces the values of all partitions, so that one that is gone leaves no stale value. */
  #setState({ lags, gaps, oldestUnflushedSeconds, paused, utilization }: IngestState): void {
    this.#lagMessages.reset();
    this.#lagSeconds.reset();
    for (const { topic, partition, messages, seconds } of lags) {
      this.#lagMessages.set({ topic, partition }, messages);
      this.#lagSeconds.set({ topic, partition }, seconds);
    }
    this.#gaps.reset();
    for (const { topic, partition } of gaps) this.#gaps.set({ topic, partition }, 1);
    this.#oldestUnflushed.set(oldestUnflushedSeconds);
    this.#paused.set(paused ? 1 : 0);
    this.#utilization.set(utilization);
  }
}
