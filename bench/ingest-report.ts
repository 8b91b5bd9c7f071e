import { FLOOR, cpuToMerged, cpuToStored, microseconds, type Measured } from './ingest-run.ts';
import { FIGURES, OURS, type Figure } from './result.ts';
import { groupBy, median, medianAndRange, textTable } from './table.ts';
import type { Held, Thresholds } from './thresholds.ts';

/** Figures of a record beside those that every part has. */
const PARTS = 'parts inserted';

export function costTable(measured: readonly Measured[]): string {
  return textTable(
    [
      'us CPU a record, median (range)',
      'program',
      'ClickHouse',
      'both',
      'merging once',
      'merged once',
      'broker',
      'records/s',
      'parts',
      'peak MB',
      'records',
      'rounds',
    ],
    [...groupBy(measured, (one) => `${one.case}: ${one.who}`)].map(([name, list]) => [
      name,
      shown(list, (one) => one.program),
      shown(list, (one) => one.clickhouse),
      shown(list, cpuToStored),
      shown(list, (one) => one.merges),
      shown(list, cpuToMerged),
      shown(list, (one) => one.broker),
      medianAndRange(list.map(rate), 0),
      medianAndRange(
        list.map(({ parts }) => parts),
        0,
      ),
      list[0]!.peakBytes === 0
        ? '-'
        : medianAndRange(
            list.map(({ peakBytes }) => peakBytes / 2 ** 20),
            0,
          ),
      String(list[0]!.records),
      String(list.length),
    ]),
  );
}

function shown(list: readonly Measured[], seconds: (one: Measured) => number): string {
  return medianAndRange(list.map((one) => microseconds(one, seconds(one))));
}

function rate({ records, seconds }: Measured): number {
  return records / seconds;
}

/** One figure a competitor and case, with a value a round. */
export function figuresOf(measured: readonly Measured[]): Figure[] {
  const figures: Figure[] = [];
  for (const list of groupBy(measured, (one) => `${one.case}: ${one.who}`).values()) {
    const { who } = list[0]!;
    const add = (name: string, unit: string, value: (one: Measured) => number): void => {
      const values = list.map(value);
      if (values.some((found) => found !== 0)) figures.push({ name, unit, who, case: list[0]!.case, values });
    };
    add(FIGURES.cpu, 'us', (one) => microseconds(one, cpuToStored(one)));
    add(FIGURES.programCpu, 'us', (one) => microseconds(one, one.program));
    add(FIGURES.clickhouseCpu, 'us', (one) => microseconds(one, one.clickhouse));
    add(FIGURES.mergesCpu, 'us', (one) => microseconds(one, one.merges));
    add(FIGURES.mergedCpu, 'us', (one) => microseconds(one, cpuToMerged(one)));
    add(FIGURES.brokerCpu, 'us', (one) => microseconds(one, one.broker));
    add(FIGURES.rate, '1/s', rate);
    add(FIGURES.peakMemory, 'MB', (one) => one.peakBytes / 2 ** 20);
    add(PARTS, '', (one) => one.parts);
  }
  return figures;
}

/** What the best of those that are meant uses a record, in each round of a case in which one of them ran. */
function perRound(
  measured: readonly Measured[],
  caseName: string,
  isMeant: (who: string) => boolean,
  used: (one: Measured) => number,
): Map<number, number> {
  const rounds = new Map<number, number>();
  for (const one of measured) {
    if (one.case !== caseName || !isMeant(one.who)) continue;
    rounds.set(one.round, Math.min(rounds.get(one.round) ?? Infinity, microseconds(one, used(one))));
  }
  return rounds;
}

const isOurProcess = (who: string): boolean => who === OURS;

type RatioOf = (measured: readonly Measured[], caseName: string) => number[];

/**
 * CPU a record of cdrhouse and ClickHouse against that of the best of these peers, of each round in which both ran: a machine gets
 * faster and slower, and what ran once is held against what ran beside it.
 * @param peers names of peers begin so, with the number of consumers behind
 */
function against(peers: RegExp, used: (one: Measured) => number = cpuToStored): RatioOf {
  return (measured, caseName) => {
    const ours = perRound(measured, caseName, isOurProcess, used);
    const theirs = perRound(measured, caseName, (who) => peers.test(who), used);
    return quotients(ours, theirs);
  };
}

const EQUAL_PEER = /^Kafka engine, [0-9]/;

/** The ratios of an ingest bench, and where their limits stand in `bench/thresholds.json`. */
const RATIOS: readonly {
  readonly name: string;
  readonly limits: keyof Thresholds['ingest'];
  readonly of: RatioOf;
}[] = [
  { name: 'CPU against the Kafka engine', limits: 'kafka_engine_max', of: against(EQUAL_PEER) },
  {
    name: 'CPU against the Kafka engine, merged once',
    limits: 'kafka_engine_merged_max',
    of: against(EQUAL_PEER, cpuToMerged),
  },
  {
    name: 'CPU against the Kafka engine, one table',
    limits: 'kafka_engine_one_table_max',
    of: against(/^Kafka engine, one table/),
  },
  {
    name: 'CPU against the naive Node consumer, one table',
    limits: 'naive_one_table_max',
    of: against(/^naive Node/),
  },
  {
    name: 'CPU with one record of ten sent before, against none',
    limits: 'duplicates_max',
    of: (measured, caseName) => {
      if (caseName !== 'dedup') return [];
      const used = (name: string): Map<number, number> => perRound(measured, name, isOurProcess, cpuToStored);
      return quotients(used(caseName), used('packed'));
    },
  },
  {
    name: FIGURES.floorShare,
    limits: 'floor_share_min',
    of: (measured, caseName) => {
      const seconds = (who: string): Map<number, number> =>
        perRound(
          measured,
          caseName,
          (one) => one === who,
          (one) => one.seconds,
        );
      return quotients(seconds(FLOOR), seconds(OURS));
    },
  },
];

/** A ratio by case, with a value for each round in which both sides ran. */
export interface Ratio {
  readonly name: string;
  readonly limits: keyof Thresholds['ingest'];
  readonly byCase: ReadonlyMap<string, readonly number[]>;
}

export function ratiosOf(measured: readonly Measured[], cases: readonly string[]): Ratio[] {
  return RATIOS.map(({ name, limits, of }) => {
    const byCase = cases.map((caseName) => [caseName, of(measured, caseName)] as const);
    return { name, limits, byCase: new Map(byCase.filter(([, list]) => list.length > 0)) };
  });
}

/** As lines for the terminal. */
export function ratioLines(ratios: readonly Ratio[]): string[] {
  return ratios.flatMap(({ name, byCase }) =>
    [...byCase].map(([caseName, list]) => `${name}, ${caseName}: ${medianAndRange(list)}`),
  );
}

export function ratioFigures(ratios: readonly Ratio[]): Figure[] {
  return ratios.flatMap(({ name, byCase }) =>
    [...byCase].map(([caseName, values]) => ({ name, unit: '', who: OURS, case: caseName, values })),
  );
}

/** The limits of what was measured; a case that was left out holds nothing. */
export function ratiosHeld(ratios: readonly Ratio[], { ingest }: Thresholds): Held[] {
  return ratios.flatMap(({ name, limits, byCase }) =>
    [...byCase].flatMap(([caseName, list]) => {
      const limit = ingest[limits][caseName];
      if (limit === undefined) return [];
      const bound = limits.endsWith('_min') ? { min: limit } : { max: limit };
      return [{ what: `${name}, ${caseName}`, value: median(list), ...bound }];
    }),
  );
}

/** Of each round in which both ran. */
function quotients(above: ReadonlyMap<number, number>, below: ReadonlyMap<number, number>): number[] {
  return [...above].flatMap(([round, value]) => (below.has(round) ? [value / below.get(round)!] : []));
}
