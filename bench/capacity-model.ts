import { checkSettings } from '../schemas/settings.ts';
import type { Input, Unit } from './capacity-inputs.ts';

/**
 * From what the bench measured to machines, disks and partitions: pure arithmetic, each step with its formula, for
 * `capacity.ts`, which writes it into docs/capacity.md.
 */

/** Calls a day that the document is about. */
export const LOADS: readonly number[] = [1_000_000, 100_000_000, 5_000_000_000];
/** The day that is really stored, to see how far off the arithmetic is. */
export const CHECKED_LOAD = 1_000_000;

const PARTITIONS_MIN = checkSettings({}).kafka.topic_partitions;

export interface Step {
  readonly name: string;
  readonly what: string;
  readonly unit: Unit;
  /** In the names of inputs and steps above; `calls_a_day` is the load. */
  readonly formula: string;
  /** The same, computed. */
  readonly of: (values: Values) => number;
}

type Values = Readonly<Record<string, number>>;

const step = (
  name: string,
  what: string,
  unit: Unit,
  formula: string,
  of: (values: Values) => number,
): Step => ({ name, what, unit, formula, of });

/** What grows with the stored calls, and was measured at `tried` of them at most. Smaller tables are not credited. */
const grown = (stored: number, tried: number, exponent: number): number =>
  Math.max(1, stored / tried) ** Math.max(0, exponent);

export const STEPS: readonly Step[] = [
  step('stored', 'stored calls', 'calls', 'calls_a_day × days', (v) => v['calls_a_day']! * v['days']!),
  step('extrapolation', 'times what was tried', '', 'stored / tried', (v) => v['stored']! / v['tried']!),
  step(
    'data',
    'both call tables on disk',
    'bytes',
    'stored × (cdr_bytes + by_number_bytes)',
    (v) => v['stored']! * (v['cdr_bytes']! + v['by_number_bytes']!),
  ),
  step('disk', 'disk of ClickHouse', 'bytes', 'data / disk_fill', (v) => v['data']! / v['disk_fill']!),
  step(
    'keys',
    'memory for primary keys',
    'bytes',
    'stored × key_bytes',
    (v) => v['stored']! * v['key_bytes']!,
  ),
  step(
    'month_bytes',
    'a month of `cdr_by_number` on disk, the larger table: one partition',
    'bytes',
    'calls_a_day × month_days × by_number_bytes',
    (v) => v['calls_a_day']! * v['month_days']! * v['by_number_bytes']!,
  ),
  step(
    'month_parts',
    'parts that a closed month of it ends in',
    '',
    'month_bytes / merged_part, rounded up',
    (v) => Math.ceil(v['month_bytes']! / v['merged_part']!),
  ),
  step(
    'kafka_disk',
    'disk of Kafka',
    'bytes',
    'calls_a_day × kafka_days × kafka_bytes × kafka_copies',
    (v) => v['calls_a_day']! * v['kafka_days']! * v['kafka_bytes']! * v['kafka_copies']!,
  ),
  step(
    'busy_rate',
    'in the busiest hour',
    'calls/s',
    'calls_a_day × busy_share / 3600',
    (v) => (v['calls_a_day']! * v['busy_share']!) / 3600,
  ),
  step(
    'ingest_cores',
    'cores of ingest',
    'cores',
    'busy_rate × program_us / 1,000,000 / core_load',
    (v) => (v['busy_rate']! * v['program_us']!) / 1e6 / v['core_load']!,
  ),
  step('processes', 'ingest processes, a core each', '', 'ingest_cores, rounded up', (v) =>
    Math.ceil(v['ingest_cores']!),
  ),
  step(
    'partitions',
    'Kafka partitions of all feeds together',
    '',
    `processes × 2, at least ${PARTITIONS_MIN}`,
    (v) => Math.max(PARTITIONS_MIN, v['processes']! * 2),
  ),
  step(
    'broker_cores',
    'cores of brokers, for handing out',
    'cores',
    'busy_rate × broker_us / 1,000,000 / core_load',
    (v) => (v['busy_rate']! * v['broker_us']!) / 1e6 / v['core_load']!,
  ),
  step(
    'clickhouse_cores',
    'cores of ClickHouse, for storing',
    'cores',
    'busy_rate × clickhouse_us × extrapolation ^ store_exponent / 1,000,000 / core_load',
    (v) =>
      (v['busy_rate']! * v['clickhouse_us']! * grown(v['stored']!, v['tried']!, v['store_exponent']!)) /
      1e6 /
      v['core_load']!,
  ),
  step(
    'look_up',
    'a look-up of one number, one month, p50',
    'ms',
    'look_up_ms × extrapolation ^ look_up_exponent',
    (v) => v['look_up_ms']! * grown(v['stored']!, v['tried']!, v['look_up_exponent']!),
  ),
  step(
    'usage',
    'usage of all numbers of a month, on two cores',
    's',
    'usage_ms / 1000 × calls_a_day × month_days / (tried / tried_months)',
    (v) =>
      ((v['usage_ms']! / 1000) * v['calls_a_day']! * v['month_days']!) / (v['tried']! / v['tried_months']!),
  ),
  step(
    'sweep',
    'CPU of the sweep of a month',
    's',
    'calls_a_day × month_days × sweep_us / 1,000,000',
    (v) => (v['calls_a_day']! * v['month_days']! * v['sweep_us']!) / 1e6,
  ),
  step(
    'erasure',
    'CPU of the erasure of one number',
    's',
    'stored × erase_us / 1,000,000',
    (v) => (v['stored']! * v['erase_us']!) / 1e6,
  ),
  step(
    'servers',
    'ClickHouse servers, one copy of the data',
    '',
    'the larger of disk / server_disk and clickhouse_cores / server_cores, rounded up',
    (v) => Math.ceil(Math.max(v['disk']! / v['server_disk']!, v['clickhouse_cores']! / v['server_cores']!)),
  ),
];

export interface LoadSteps {
  readonly callsADay: number;
  readonly values: Readonly<Record<string, number>>;
}

/** All steps for one load. */
export function capacityOf(inputs: readonly Input[], callsADay: number): LoadSteps {
  const values: Record<string, number> = { calls_a_day: callsADay };
  for (const { name, value } of inputs) values[name] = value;
  for (const { name, of } of STEPS) values[name] = of(values);
  return { callsADay, values };
}

/** What was foretold of one day, and what that day took; of one kind each. */
export interface Prediction {
  readonly what: string;
  readonly unit: Unit;
  readonly formula: string;
  readonly predicted: number;
  readonly measured: number;
}

/** What one day of so many calls is to take, by the same inputs. */
export function predictDay(
  inputs: readonly Input[],
  calls: number,
  measured: {
    readonly bytes: number;
    readonly program: number;
    readonly clickhouse: number;
    readonly merges: number;
  },
): Prediction[] {
  const value = (name: string): number => inputs.find((input) => input.name === name)!.value;
  const cpu = (us: number): number => (calls * us) / 1e6;
  return [
    {
      what: 'both call tables on disk, merged',
      unit: 'bytes',
      formula: 'calls × (cdr_bytes + by_number_bytes)',
      predicted: calls * (value('cdr_bytes') + value('by_number_bytes')),
      measured: measured.bytes,
    },
    {
      what: 'CPU of ingest',
      unit: 's',
      formula: 'calls × program_us / 1,000,000',
      predicted: cpu(value('program_us')),
      measured: measured.program,
    },
    {
      what: 'CPU of ClickHouse, until stored',
      unit: 's',
      formula: 'calls × insert_us / 1,000,000',
      predicted: cpu(value('insert_us')),
      measured: measured.clickhouse,
    },
    {
      what: 'CPU of ClickHouse, merged once',
      unit: 's',
      formula: 'calls × merge_us / 1,000,000',
      predicted: cpu(value('merge_us')),
      measured: measured.merges,
    },
  ];
}

/** Cores that one kind of program used while calls came at the rate of `CHECKED_LOAD`, and what the calls alone explain. */
export interface LiveUse {
  readonly what: string;
  readonly cores: number;
  /** The input that says what a call costs. */
  readonly input: 'program_us' | 'clickhouse_us' | 'broker_us';
}

/** Calls a second of that load, spread evenly. */
export const LIVE_RATE = CHECKED_LOAD / 86_400;

/** The smaller by the larger of what was foretold and what came: 1 is a hit. */
export function agreement({ predicted, measured }: Prediction): number {
  return Math.min(predicted, measured) / Math.max(predicted, measured);
}
