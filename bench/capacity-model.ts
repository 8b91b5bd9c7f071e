import { checkSettings } from '../schemas/settings.ts';
import { EXPONENT, FIGURES, OURS, type Figure, type SavedResult } from './result.ts';
import { median } from './table.ts';

/**
 * From what the bench measured to machines, disks and partitions: pure arithmetic, each step with its formula, for
 * `capacity.ts`, which writes it into docs/capacity.md.
 */

/** Calls a day that the document is about. */
export const LOADS: readonly number[] = [1_000_000, 100_000_000, 5_000_000_000];
/** The day that is really stored, to see how far off the arithmetic is. */
export const CHECKED_LOAD = 1_000_000;

const SETTINGS = checkSettings({});
const DAYS_A_YEAR = 365.25;
const DAYS_A_MONTH = DAYS_A_YEAR / 12;

export type Unit = 'calls' | 'calls/s' | 'bytes' | 'us' | 'ms' | 's' | 'cores' | 'share' | 'days' | '';

/** A number that the arithmetic begins with. */
export interface Input {
  readonly name: string;
  readonly what: string;
  readonly unit: Unit;
  readonly value: number;
  /** The command and the key of its JSON; or why it is assumed. */
  readonly from: string;
}

export interface Step {
  readonly name: string;
  readonly what: string;
  readonly unit: Unit;
  /** In the names of inputs and steps above; `calls_a_day` is the load. */
  readonly formula: string;
}

/** What cannot be measured on one machine, and is a choice of who builds. */
const ASSUMED: readonly Input[] = [
  {
    name: 'days',
    what: 'kept',
    unit: 'days',
    value: Math.round((SETTINGS.retention.months / 12) * DAYS_A_YEAR),
    from: `\`retention.months\`, ${SETTINGS.retention.months} by default`,
  },
  {
    name: 'month_days',
    what: 'of a month',
    unit: 'days',
    value: DAYS_A_MONTH,
    from: '365.25 / 12',
  },
  {
    name: 'kafka_days',
    what: 'kept in Kafka',
    unit: 'days',
    value: SETTINGS.kafka.topic_retention_days,
    from: '`kafka.topic_retention_days`, its default',
  },
  {
    name: 'kafka_copies',
    what: 'copies of a topic',
    unit: '',
    value: 3,
    from: 'assumed: the usual replication factor',
  },
  {
    name: 'busy_share',
    what: 'of the calls of a day that end in its busiest hour',
    unit: 'share',
    value: 0.15,
    from: 'assumed; put in what your switches say',
  },
  {
    name: 'core_load',
    what: 'of a core that may be in use in the busiest hour',
    unit: 'share',
    value: 0.5,
    from: 'assumed: the other half is for look-ups, and for catching up after an outage',
  },
  {
    name: 'disk_fill',
    what: 'of a disk that may be full',
    unit: 'share',
    value: 0.7,
    from: 'assumed: a merge, a sweep and an erasure write parts anew beside those that they replace',
  },
  {
    name: 'server_disk',
    what: 'disk of one ClickHouse server',
    unit: 'bytes',
    value: 20e12,
    from: 'assumed',
  },
  { name: 'server_cores', what: 'cores of one ClickHouse server', unit: 'cores', value: 32, from: 'assumed' },
  {
    name: 'merged_part',
    what: 'the largest part that merges make',
    unit: 'bytes',
    value: 150 * 2 ** 30,
    from: "ClickHouse's `max_bytes_to_merge_at_max_space_in_pool`, its default",
  },
];

/** Where a figure is found among the results. */
interface Place {
  readonly part: string;
  readonly figure: string;
  readonly case: string;
}

interface MeasuredInput {
  readonly name: string;
  readonly what: string;
  readonly unit: Unit;
  readonly place: Place;
  /** CPU seconds of all calls become us of one of them: by this many. */
  readonly aCallOf?: 'stored' | 'month';
}

const PACKED = 'packed';
const ON_TOP = 'stored on top of the calls, merges included';
const LOOK_UP = 'a number, any role, one month';
const USAGE_OF_ALL = 'usage of all numbers, one month';

const MEASURED: readonly MeasuredInput[] = [
  {
    name: 'program_us',
    what: 'CPU of ingest a call',
    unit: 'us',
    place: { part: 'ingest', figure: FIGURES.programCpu, case: PACKED },
  },
  {
    name: 'clickhouse_us',
    what: 'CPU of ClickHouse to store a call, merges included',
    unit: 'us',
    place: { part: 'ingest', figure: FIGURES.clickhouseCpu, case: PACKED },
  },
  {
    name: 'broker_us',
    what: 'CPU of the broker to hand a call out',
    unit: 'us',
    place: { part: 'ingest', figure: FIGURES.brokerCpu, case: PACKED },
  },
  {
    name: 'store_exponent',
    what: 'with which storing a call grows',
    unit: '',
    place: { part: 'growth', figure: `${EXPONENT}${FIGURES.cpu}`, case: ON_TOP },
  },
  {
    name: 'cdr_bytes',
    what: 'on disk of a call in `cdr`',
    unit: 'bytes',
    place: { part: 'growth', figure: FIGURES.bytesACall, case: 'cdr' },
  },
  {
    name: 'by_number_bytes',
    what: 'on disk of a call in `cdr_by_number`',
    unit: 'bytes',
    place: { part: 'growth', figure: FIGURES.bytesACall, case: 'cdr_by_number' },
  },
  {
    name: 'key_bytes',
    what: 'in memory of a call, primary keys of both tables',
    unit: 'bytes',
    place: { part: 'growth', figure: FIGURES.keyBytesACall, case: 'both tables' },
  },
  {
    name: 'look_up_ms',
    what: 'a look-up, p50',
    unit: 'ms',
    place: { part: 'growth', figure: 'answer, p50', case: LOOK_UP },
  },
  {
    name: 'look_up_exponent',
    what: 'with which it grows',
    unit: '',
    place: { part: 'growth', figure: `${EXPONENT}answer, p50`, case: LOOK_UP },
  },
  {
    name: 'usage_ms',
    what: 'usage of all numbers of a month',
    unit: 'ms',
    place: { part: 'growth', figure: 'answer', case: USAGE_OF_ALL },
  },
  {
    name: 'sweep_us',
    what: 'CPU of a sweep, a call of the month',
    unit: 'us',
    place: { part: 'retention', figure: 'CPU', case: 'sweep of one month' },
    aCallOf: 'month',
  },
  {
    name: 'erase_us',
    what: 'CPU of an erasure, a stored call',
    unit: 'us',
    place: { part: 'retention', figure: 'CPU', case: 'erasure of one number' },
    aCallOf: 'stored',
  },
  {
    name: 'kafka_bytes',
    what: 'a call in Kafka, as `ship` packs and compresses it',
    unit: 'bytes',
    place: { part: 'capacity', figure: FIGURES.kafkaBytes, case: PACKED },
  },
];

/** Commands by the part that they write. */
const COMMANDS: Readonly<Record<string, string>> = {
  ingest: 'make bench-ingest',
  growth: 'make bench-growth',
  retention: 'make bench-retention',
  capacity: 'make bench-capacity',
};

/** Commands that must have run before; those of which there is a result are left out. */
export function missingCommands(results: readonly SavedResult[]): string[] {
  return Object.entries(COMMANDS)
    .filter(([part]) => part !== 'capacity' && results.every((result) => result.part !== part))
    .map(([, command]) => command);
}

/**
 * The inputs out of the results of the parts. Throws where one is missing, and says which command brings it.
 * @param results one of each part
 */
export function readInputs(results: readonly SavedResult[]): Input[] {
  const of = (part: string): SavedResult => {
    const result = results.find((one) => one.part === part);
    if (result === undefined) throw new Error(`there is no result of ${part} yet: ${COMMANDS[part]}`);
    return result;
  };
  const measured = MEASURED.map((input): Input => {
    const { name, what, unit, place, aCallOf } = input;
    const result = of(place.part);
    const figure = largest(result, place);
    const at = figure.calls === undefined ? '' : `, calls ${figure.calls}`;
    const from = `\`${COMMANDS[place.part]}\`: "${place.figure}", case "${place.case}"${at}`;
    const value = median(figure.values);
    if (aCallOf === undefined) return { name, what, unit, value, from };
    const months = aCallOf === 'month' ? Number(result.settings['months']) : 1;
    return { name, what, unit, value: (value * 1e6 * months) / figure.calls!, from };
  });
  const growth = of('growth');
  const sizes = growth.figures.flatMap(({ calls }) => (calls === undefined ? [] : [calls]));
  const from = '`make bench-growth`: the largest "calls", and its "months"';
  return [
    ...measured,
    {
      name: 'tried',
      what: 'stored calls at the largest size',
      unit: 'calls',
      value: Math.max(...sizes),
      from,
    },
    {
      name: 'tried_months',
      what: 'over which they are spread',
      unit: '',
      value: Number(growth.settings['months']),
      from,
    },
    ...ASSUMED,
  ];
}

/** The figure of ours at the largest number of calls. */
function largest(result: SavedResult, { figure: name, case: of }: Place): Figure {
  const found = result.figures
    .filter((figure) => figure.name === name && figure.case === of && figure.who === OURS)
    .sort((a, b) => (b.calls ?? 0) - (a.calls ?? 0))[0];
  if (found === undefined)
    throw new Error(
      `"${name}" of "${of}" is not in the result of ${result.part}: ${COMMANDS[result.part]} writes it`,
    );
  return found;
}

type Values = Readonly<Record<string, number>>;

/** A step with what it computes; the formula is the same thing in words. */
interface ComputedStep extends Step {
  readonly of: (values: Values) => number;
}

const step = (
  name: string,
  what: string,
  unit: Unit,
  formula: string,
  of: (values: Values) => number,
): ComputedStep => ({ name, what, unit, formula, of });

/** What grows with the stored calls, and was measured at `tried` of them at most. Smaller tables are not credited. */
const grown = (stored: number, tried: number, exponent: number): number =>
  Math.max(1, stored / tried) ** Math.max(0, exponent);

const STEPS: readonly ComputedStep[] = [
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
    `processes × 2, at least ${SETTINGS.kafka.topic_partitions}`,
    (v) => Math.max(SETTINGS.kafka.topic_partitions, v['processes']! * 2),
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
  measured: { readonly bytes: number; readonly program: number; readonly clickhouse: number },
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
      what: 'CPU of ClickHouse, merges included',
      unit: 's',
      formula: 'calls × clickhouse_us / 1,000,000',
      predicted: cpu(value('clickhouse_us')),
      measured: measured.clickhouse,
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

/** The tables of docs/capacity.md, by their names. */
export function capacityTables(
  inputs: readonly Input[],
  day: readonly Prediction[],
  live: readonly LiveUse[],
): Readonly<Record<'inputs' | 'steps' | 'day' | 'live', string>> {
  const loads = LOADS.map((load) => capacityOf(inputs, load));
  return {
    inputs: markdown(
      ['input', 'what', 'value', 'from'],
      inputs.map(({ name, what, unit, value, from }) => [`\`${name}\``, what, shown(value, unit), from]),
    ),
    steps: markdown(
      ['step', 'what', 'arithmetic', ...LOADS.map((load) => `${shown(load, '')} calls a day`)],
      STEPS.map(({ name, what, unit, formula }) => [
        `\`${name}\``,
        what,
        formula,
        ...loads.map(({ values }) => shown(values[name]!, unit)),
      ]),
    ),
    day: markdown(
      [`one day of ${shown(CHECKED_LOAD, '')} calls`, 'arithmetic', 'predicted', 'measured', 'agreement'],
      day.map((prediction) => [
        prediction.what,
        prediction.formula,
        shown(prediction.predicted, prediction.unit),
        shown(prediction.measured, prediction.unit),
        agreement(prediction).toFixed(2),
      ]),
    ),
    live: markdown(
      [`while ${digits(LIVE_RATE)} calls a second come`, 'used', 'of it by the arithmetic', 'which is'],
      live.map(({ what, cores, input: name }) => [
        what,
        shown(cores, 'cores'),
        shown((LIVE_RATE * inputs.find((input) => input.name === name)!.value) / 1e6, 'cores'),
        `${digits(LIVE_RATE)} × ${name} / 1,000,000`,
      ]),
    ),
  };
}

const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;

function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

const BYTE_UNITS = ['bytes', 'KB', 'MB', 'GB', 'TB', 'PB'];
const SECONDS_A_UNIT = [
  { unit: 'days', seconds: 86_400 },
  { unit: 'h', seconds: 3600 },
  { unit: 'min', seconds: 60 },
];

/** A value for a reader: three digits that count, and a unit of fitting size (1 KB is 1000 bytes). */
export function shown(value: number, unit: Unit): string {
  if (unit === 'bytes') {
    const power = value < 1000 ? 0 : Math.min(BYTE_UNITS.length - 1, Math.floor(Math.log10(value) / 3));
    return `${digits(value / 1000 ** power)} ${BYTE_UNITS[power]!}`;
  }
  if (unit === 's') {
    const larger = SECONDS_A_UNIT.find(({ seconds }) => value >= 2 * seconds);
    return larger === undefined ? `${digits(value)} s` : `${digits(value / larger.seconds)} ${larger.unit}`;
  }
  return unit === '' || unit === 'share' ? digits(value) : `${digits(value)} ${unit}`;
}

function digits(value: number): string {
  if (Number.isInteger(value)) return value.toLocaleString('en');
  return value.toLocaleString('en', { maximumSignificantDigits: 3 });
}
