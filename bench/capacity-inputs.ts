import { checkSettings } from '../schemas/settings.ts';
import { EXPONENT, FIGURES, OURS, type Figure, type SavedResult } from './result.ts';
import { dataOf } from './saved-results.ts';
import { median } from './table.ts';

/** What the arithmetic of docs/capacity.md begins with: figures of the bench, and what is assumed. */
const SETTINGS = checkSettings({});
const DAYS_A_YEAR = 365.25;
const DAYS_A_MONTH = DAYS_A_YEAR / 12;
/** One a second, the flush interval by default. */
const INSERTS_A_MONTH = DAYS_A_MONTH * 86_400;

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
/** A merge that falls into one round of it says nothing about growth. */
const ON_TOP = 'stored on top of the calls, without merges';
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
    name: 'broker_us',
    what: 'CPU of the broker to hand a call out',
    unit: 'us',
    place: { part: 'ingest', figure: FIGURES.brokerCpu, case: PACKED },
  },
  {
    name: 'store_exponent',
    what: 'with which storing a call grows, but for merges',
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
  merges: 'make bench-merges',
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
    const at = figure.calls === undefined ? dataOf(result).text : `calls ${figure.calls}`;
    const from = `\`${COMMANDS[place.part]}\`: "${place.figure}", case "${place.case}", ${at}`;
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
    ...storingInputs(of('ingest'), of('merges')),
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

/** What ClickHouse uses to store a call, and to merge it until its month is one part. */
function storingInputs(ingest: SavedResult, merges: SavedResult): Input[] {
  const on = `case "${PACKED}", ${dataOf(ingest).text}`;
  const of = (figure: string): Pick<Input, 'value' | 'from'> => ({
    value: median(largest(ingest, { part: 'ingest', figure, case: PACKED }).values),
    from: `\`${COMMANDS[ingest.part]}\`: "${figure}", ${on}`,
  });
  const insert = of(FIGURES.clickhouseCpu);
  const merge = of(FIGURES.mergesCpu);
  const whileTheyCome = (figure: string): number =>
    median(merges.figures.find(({ name, who }) => name === figure && who === OURS)!.values);
  const inserts = whileTheyCome(FIGURES.insertsMerged);
  // Each merge joins so many parts that how often a row is merged grows with the logarithm of the inserts.
  const times = (whileTheyCome(FIGURES.timesMerged) * Math.log(INSERTS_A_MONTH)) / Math.log(inserts);
  return [
    { name: 'insert_us', what: 'CPU of ClickHouse to insert a call into both tables', unit: 'us', ...insert },
    { name: 'merge_us', what: 'CPU of ClickHouse to merge it once, both tables', unit: 'us', ...merge },
    {
      name: 'merge_times',
      what: 'how often it is merged until its month is one part',
      unit: '',
      value: times,
      from: `\`${COMMANDS[merges.part]}\`: "${FIGURES.timesMerged}" after ${inserts} inserts × log(inserts of a month, one a second) / log(${inserts})`,
    },
    {
      name: 'clickhouse_us',
      what: 'CPU of ClickHouse to store a call, merges included',
      unit: 'us',
      value: insert.value + times * merge.value,
      from: 'insert_us + merge_times × merge_us',
    },
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
