import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const FILE = fileURLToPath(new URL('../../bench/thresholds.json', import.meta.url));

type LimitByCase = Readonly<Record<string, number>>;

/** `bench/thresholds.json`: ratios within one run and sizes, never absolute times. */
export interface Thresholds {
  /** By case of `bench-ingest`. CPU of cdrhouse and ClickHouse until a record is stored, against that of others. */
  readonly ingest: {
    /** The Kafka engine that does equal work; the same with what it costs to merge each month to one part. */
    readonly kafka_engine_max: LimitByCase;
    readonly kafka_engine_merged_max: LimitByCase;
    /** Those that fill one table where cdrhouse fills two. */
    readonly kafka_engine_one_table_max: LimitByCase;
    readonly naive_one_table_max: LimitByCase;
    /** One record of ten was sent before: cdrhouse against itself without. */
    readonly duplicates_max: LimitByCase;
    /** End-to-end rate against that of inserting the same blocks from files. */
    readonly floor_share_min: LimitByCase;
  };
  readonly ingest_peak_memory_megabytes_max: number;
  /** Kafka timestamp to queryable, p99, against that of the Kafka engine with the same flush interval. */
  readonly latency_p99_ratio_max: number;
  /** By format, CPU a record of parsing alone against that of canonical-csv. */
  readonly parse_ratio_max: Readonly<Record<string, number>>;
  /** Of the HTTP API. */
  readonly query: {
    /** p99 against that at a tenth of the calls: of look-ups by number, and by prefix. */
    readonly number_growth_max: number;
    readonly prefix_growth_max: number;
    /** A look-up by number while ingest stores calls at a steady rate, against without; p50. */
    readonly beside_ingest_ratio_max: number;
    /** Usage of one number on one connection against a look-up among others, p50. */
    readonly usage_of_one_ratio_max: number;
    /** Usage of all numbers of a month against a plain GROUP BY without FINAL. */
    readonly usage_of_all_ratio_max: number;
    /** An export against that of ClickHouse itself; peak memory behind it against that behind one of a tenth of the rows. */
    readonly csv_ratio_max: number;
    readonly csv_memory_growth_max: number;
  };
  /** Exponents with which a figure grows with the number of stored calls: 0 is flat, 1 as they do. */
  readonly growth: {
    readonly ingest_without_merges_exponent_max: number;
    readonly look_up_exponent_max: number;
    readonly usage_of_one_exponent_max: number;
    readonly usage_of_all_exponent_max: number;
    /** Peak of the program, ingest and the API each. */
    readonly memory_exponent_max: number;
  };
  /** CPU of ClickHouse. */
  readonly retention: {
    /** A sweep of one month against reading that month once in both tables and dropping it. */
    readonly sweep_ratio_max: number;
    /** An erasure against a plain ALTER … DELETE of the same calls in both tables. */
    readonly erase_ratio_max: number;
  };
  /** CPU of merging what comes, with the settings of the call tables against those of ClickHouse. */
  readonly merges_ratio_max: number;
  /** What docs/capacity.md says of one day against that day: smaller by the larger of both. */
  readonly capacity: {
    readonly prediction_ratio_min: number;
  };
}

export function readThresholds(): Thresholds {
  return JSON.parse(readFileSync(FILE, 'utf8')) as Thresholds;
}

/** What a threshold is held against. */
export interface Held {
  readonly what: string;
  readonly value: number;
  readonly min?: number;
  readonly max?: number;
}

/** Says of each whether it holds; gives those that do not. */
export function brokenThresholds(held: readonly Held[]): Held[] {
  // A value that is no number holds nothing.
  return held.filter(({ value, min = -Infinity, max = Infinity }) => !(value >= min && value <= max));
}
