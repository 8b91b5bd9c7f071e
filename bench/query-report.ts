import type { Rounds, Latency } from './asked.ts';
import { FIGURES, OURS, type Figure } from './result.ts';
import { median, textTable } from './table.ts';
import { readThresholds, type Held } from './thresholds.ts';

/** What `bench-query` says of what it measured: a table, figures for the report, and ratios that are held. */

/** Rounds of one question, on all calls and on a tenth of them; undefined where a tenth was not asked. */
export interface Both {
  readonly whole: Rounds;
  readonly tenth: Rounds | undefined;
}

/** Seconds that usage of all callers of a month took, one value a round; as CSV once. */
export interface UsageOfAll {
  readonly seconds: readonly number[];
  /** Of a plain GROUP BY of the same rows. */
  readonly plainSeconds: readonly number[];
  readonly csvSeconds: number;
}

/** An export, and the same rows as ClickHouse itself writes them. */
export interface Exported {
  readonly rows: number;
  readonly seconds: number;
  readonly plainSeconds: number;
  /** Peaks of the program: behind an export of a tenth of the rows, and behind that of all. */
  readonly megabytesBefore: number;
  readonly megabytes: number;
}

/** All that was measured, and on how much. */
export interface Measured {
  readonly calls: number;
  readonly connections: number;
  /** Calls a second beside which `besideIngest` was asked. */
  readonly liveRate: number;
  readonly number: Both;
  readonly openMonth: Both;
  readonly calling: Both;
  readonly displayed: Both;
  readonly dialed: Both;
  /** On one connection, and on several. */
  readonly prefix: Both;
  readonly prefixes: Both;
  /** Of fewer numbers than a prefix has the tenth answers less. */
  readonly prefixIsFull: boolean;
  readonly usageOfOne: Both;
  readonly besideIngest: Rounds;
  readonly usageOfAll: UsageOfAll;
  readonly csv: Exported;
}

/** Of a month's callers among 50 million calls, and of a million records. */
const USAGE_OF_ALL_WANTED_SECONDS = 2;
const CSV_WANTED_SECONDS = 30;

interface Answered {
  readonly what: string;
  readonly both: Both;
  /** p99, ms. */
  readonly wanted?: number;
}

function answeredOf(measured: Measured): Answered[] {
  const { connections, liveRate, besideIngest } = measured;
  return [
    {
      what: `a number, any role, a closed month, ${connections} connections`,
      both: measured.number,
      wanted: 100,
    },
    {
      what: `a number, any role, the newest month, parts not merged, ${connections} connections`,
      both: measured.openMonth,
      wanted: 100,
    },
    {
      what: `a calling number, a closed month, ${connections} connections`,
      both: measured.calling,
      wanted: 100,
    },
    {
      what: `a displayed number, a closed month, ${connections} connections`,
      both: measured.displayed,
      wanted: 100,
    },
    {
      what: `a dialed number, a closed month, ${connections} connections`,
      both: measured.dialed,
      wanted: 100,
    },
    { what: 'prefix of 10,000 numbers, a closed month, 1 connection', both: measured.prefix, wanted: 300 },
    { what: `prefix of 10,000 numbers, a closed month, ${connections} connections`, both: measured.prefixes },
    { what: 'usage of one calling number, a month, 1 connection', both: measured.usageOfOne, wanted: 100 },
    {
      what: `a number, any role, a closed month, while ingest stores ${liveRate} calls a second`,
      both: { whole: besideIngest, tenth: undefined },
      wanted: 100,
    },
  ];
}

const ms = (value: number): string => value.toFixed(1);

function latencyRow(what: string, latency: Latency, wanted?: number): string[] {
  const { p50, p95, p99, perSecond, databaseMs, serveMs } = latency;
  return [
    what,
    ms(p50),
    ms(p95),
    ms(p99),
    String(wanted ?? ''),
    perSecond.toFixed(0),
    ms(databaseMs),
    ms(serveMs),
  ];
}

/** The table, and what takes seconds. Wanted absolute figures stand beside the measured ones. */
export function queryTable(measured: Measured): string {
  const { usageOfAll, csv } = measured;
  const table = latencyTable(answeredOf(measured));
  return [
    table,
    `usage of all calling numbers of a month: ${median(usageOfAll.seconds).toFixed(2)} s (wanted ${USAGE_OF_ALL_WANTED_SECONDS}); all groups as CSV ${usageOfAll.csvSeconds.toFixed(2)} s; ` +
      `plain GROUP BY ${median(usageOfAll.plainSeconds).toFixed(2)} s`,
    `CSV of ${csv.rows} records: ${csv.seconds.toFixed(1)} s (wanted ${CSV_WANTED_SECONDS}), ClickHouse's own ${csv.plainSeconds.toFixed(1)} s; ` +
      `peak memory of the program ${csv.megabytes.toFixed(0)} MB, ${csv.megabytesBefore.toFixed(0)} MB behind a tenth of the rows`,
  ].join('\n');
}

function latencyTable(answered: readonly Answered[]): string {
  return textTable(
    ['ms', 'p50', 'p95', 'p99', 'wanted p99', 'answers/s', 'CPU an answer: database', 'serve'],
    answered.flatMap(({ what, both, wanted }) => [
      latencyRow(what, both.whole.latency(), wanted),
      ...(both.tenth === undefined
        ? []
        : [latencyRow('  the same at a tenth of the calls', both.tenth.latency())]),
    ]),
  );
}

function latencyFigures({ what, both, wanted }: Answered, calls: number): Figure[] {
  const sizes = [
    { rounds: both.whole, calls },
    { rounds: both.tenth, calls: Math.round(calls / 10) },
  ];
  return sizes.flatMap(({ rounds, calls: of }) =>
    rounds === undefined
      ? []
      : [50, 95, 99].map((percent) => ({
          name: `answer, p${percent}`,
          unit: 'ms',
          who: OURS,
          case: what,
          values: rounds.percentiles(percent / 100),
          calls: of,
          ...(percent === 99 && of === calls && wanted !== undefined ? { wanted } : {}),
        })),
  );
}

export function queryFigures(measured: Measured): Figure[] {
  const { calls, usageOfAll, csv } = measured;
  const seconds = (who: string, what: string, took: readonly number[], wanted?: number): Figure => {
    return {
      name: 'answer',
      unit: 's',
      who,
      case: what,
      values: took,
      calls,
      ...(wanted === undefined ? {} : { wanted }),
    };
  };
  const grouped = 'usage of all calling numbers, a month';
  const exported = `CSV of ${csv.rows} records`;
  return [
    ...answeredOf(measured).flatMap((answered) => latencyFigures(answered, calls)),
    seconds(OURS, grouped, usageOfAll.seconds, USAGE_OF_ALL_WANTED_SECONDS),
    seconds('plain GROUP BY of ClickHouse', grouped, usageOfAll.plainSeconds),
    seconds(OURS, exported, [csv.seconds], CSV_WANTED_SECONDS),
    seconds("ClickHouse's own CSV", exported, [csv.plainSeconds]),
    { name: FIGURES.peakMemory, unit: 'MB', who: OURS, case: exported, values: [csv.megabytes], calls },
  ];
}

/** How far a p99 can be trusted. */
export function answersNote(measured: Measured, seconds: number): string {
  const answers = answeredOf(measured).map(({ what, both }) => ({
    what,
    count: Math.round(both.whole.latency().perSecond * seconds),
  }));
  const fewest = answers.reduce((least, one) => (one.count < least.count ? one : least));
  return (
    `A round has ${fewest.count} answers (${fewest.what}) to ${Math.max(...answers.map(({ count }) => count))}; ` +
    'of fewer than 100 the p99 is the slowest one.'
  );
}

/** p99 against that of a tenth of the calls, where a tenth was asked. */
function growth(what: string, { whole, tenth }: Both, max: number): Held[] {
  if (tenth === undefined) return [];
  const value = whole.latency().p99 / tenth.latency().p99;
  return [{ what: `${what}: p99 against a tenth of the calls`, value, max }];
}

export function queryHeld(measured: Measured): Held[] {
  const { number, usageOfOne, usageOfAll, csv } = measured;
  const limits = readThresholds().query;
  const p50 = number.whole.latency().p50;
  return [
    ...growth('a number', number, limits.number_growth_max),
    ...growth('the newest month', measured.openMonth, limits.number_growth_max),
    ...(measured.prefixIsFull ? growth('a prefix', measured.prefix, limits.prefix_growth_max) : []),
    {
      what: `a number while ingest stores ${measured.liveRate} calls a second, against without: p50`,
      value: measured.besideIngest.latency().p50 / p50,
      max: limits.beside_ingest_ratio_max,
    },
    {
      what: 'usage of one number against a look-up, p50',
      value: usageOfOne.whole.latency().p50 / p50,
      max: limits.usage_of_one_ratio_max,
    },
    {
      what: 'usage of all numbers against plain GROUP BY',
      value: median(usageOfAll.seconds) / median(usageOfAll.plainSeconds),
      max: limits.usage_of_all_ratio_max,
    },
    {
      what: 'CSV against that of ClickHouse',
      value: csv.seconds / csv.plainSeconds,
      max: limits.csv_ratio_max,
    },
    {
      what: 'memory behind all rows against a tenth of them',
      value: csv.megabytes / csv.megabytesBefore,
      max: limits.csv_memory_growth_max,
    },
  ];
}
