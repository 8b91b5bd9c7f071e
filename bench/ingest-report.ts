import { FLOOR, cpuToMerged, cpuToStored, microseconds, type Measured } from './ingest-run.ts';
import { FIGURES, OURS, type Figure } from './result.ts';
import { groupBy, median, medianAndRange, textTable } from './table.ts';

/** Figures of a record beside those that every part has. */
const PARTS = 'parts inserted';

export function costTable(measured: readonly Measured[]): string {
  return textTable(
    [
      'us CPU a record, median (range)',
      'program',
      'ClickHouse',
      'both',
      'merged once',
      'all',
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
/** Names of peers begin so, with the number of consumers behind. */
const EQUAL_PEER = /^Kafka engine, [0-9]/;
const MINIMUM_PEER = /^Kafka engine, minimum/;
const NAIVE_PEER = /^naive Node/;

/**
 * CPU a record of cdrhouse and ClickHouse against that of the best of these peers, of the same round; where they ran less often
 * than cdrhouse, the median of its rounds counts: one round of two alone is good for nothing.
 */
function against(
  measured: readonly Measured[],
  caseName: string,
  peers: RegExp,
  used: (one: Measured) => number = cpuToStored,
): number[] {
  const ours = perRound(measured, caseName, isOurProcess, used);
  const theirs = perRound(measured, caseName, (who) => peers.test(who), used);
  return quotients(ours, theirs);
}

/** The ratios of an ingest bench, with a value for each round in which both sides ran. */
export interface Ratios {
  /** Against the Kafka engine that does equal work, by case, the better number of consumers. */
  readonly equalWork: Readonly<Record<string, readonly number[]>>;
  /** With what it costs to merge each month to one part. */
  readonly equalWorkMerged: Readonly<Record<string, readonly number[]>>;
  /** Against the Kafka engine that fills one table only, and against the naive consumer; packed and single. */
  readonly minimum: Readonly<Record<string, readonly number[]>>;
  readonly naive: Readonly<Record<string, readonly number[]>>;
  /** CPU a record with duplicates against that without, both packed and of the same round. */
  readonly dedup: readonly number[];
  /** Rate on the packed topic against the floor's. */
  readonly floorShare: readonly number[];
}

export function ratiosOf(measured: readonly Measured[], cases: readonly string[]): Ratios {
  const byCase = (ratio: (caseName: string) => number[]): Record<string, number[]> =>
    Object.fromEntries(
      cases.map((name) => [name, ratio(name)] as const).filter(([, list]) => list.length > 0),
    );
  const ours = perRound(measured, 'packed', isOurProcess, ({ seconds }) => seconds);
  const floor = perRound(
    measured,
    'packed',
    (who) => who === FLOOR,
    ({ seconds }) => seconds,
  );
  const packed = perRound(measured, 'packed', isOurProcess, cpuToStored);
  const dedup = perRound(measured, 'dedup', isOurProcess, cpuToStored);
  return {
    equalWork: byCase((name) => against(measured, name, EQUAL_PEER)),
    equalWorkMerged: byCase((name) => against(measured, name, EQUAL_PEER, cpuToMerged)),
    minimum: byCase((name) => against(measured, name, MINIMUM_PEER)),
    naive: byCase((name) => against(measured, name, NAIVE_PEER)),
    dedup: quotients(dedup, packed),
    floorShare: quotients(floor, ours),
  };
}

/** Of each round in which both ran; the one that ran in more of them counts with its median. */
function quotients(above: ReadonlyMap<number, number>, below: ReadonlyMap<number, number>): number[] {
  const both = [...above.keys()].filter((round) => below.has(round));
  return both.map((round) => valueOf(above, round, below.size) / valueOf(below, round, above.size));
}

function valueOf(rounds: ReadonlyMap<number, number>, round: number, roundsOfOther: number): number {
  return rounds.size > roundsOfOther ? median([...rounds.values()]) : rounds.get(round)!;
}
