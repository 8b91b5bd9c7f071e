import type { Figure, PartResult, SavedResult } from '../../bench/result.ts';

/** Results as the parts of the bench leave them, with values that occur nowhere else. */
export const HOST: SavedResult['host'] = {
  cores: 2,
  cpu: 'Test Processor 1',
  memory_gigabytes: 24,
  system: '6.1.0 x64',
  node: 'v20.20.0',
  clickhouse: '26.7.1',
  kafka: '4.3.1',
  commit: 'abc1234',
  file_system: 'ext4',
  clickhouse_memory_gigabytes: 6,
};

export function saved(part: string, fields: Partial<SavedResult> = {}): SavedResult {
  const empty: PartResult = { part, settings: {}, figures: [], checks: [], held: [], notes: [] };
  return { ...empty, at: '2026-11-28T10:00:00.000Z', host: HOST, others_cores: 0.1, broken: [], ...fields };
}

export function figure(name: string, unit: string, of: string, ...values: number[]): Figure {
  return { name, unit, who: 'cdrhouse', case: of, values };
}

const SIZES = [1_000_000, 5_000_000, 50_000_000];

/** A curve over the sizes, value = at 1 million * size^exponent, and its exponent. */
function curve(name: string, unit: string, of: string, first: number, exponent: number): Figure[] {
  return [
    ...SIZES.map((calls) => ({ ...figure(name, unit, of, first * (calls / 1e6) ** exponent), calls })),
    figure(`exponent of: ${name}`, '', of, exponent),
  ];
}

export const INGEST = saved('ingest', {
  settings: {
    records: 2_000_000,
    fsync: 'after each insert',
    competitors: { 'Kafka engine, 1 consumer': 'views that do equal work' },
    cases: { packed: { about: 'many records a message' } },
  },
  figures: [
    figure('CPU a record', 'us', 'packed', 3.5, 3.25, 4),
    { ...figure('CPU a record', 'us', 'packed', 8.75, 8.5, 9), who: 'Kafka engine, 1 consumer' },
    { ...figure('CPU a record', 'us', 'packed', 1.25), who: 'floor: same blocks from files' },
    figure('CPU a record, program', 'us', 'packed', 1.5),
    figure('CPU a record, ClickHouse', 'us', 'packed', 1.25),
    figure('CPU a record, merges of ClickHouse', 'us', 'packed', 0.75),
    figure('CPU a record, merged once', 'us', 'packed', 4.25),
    figure('CPU a record, broker', 'us', 'packed', 0.125),
    figure('records a second', '1/s', 'packed', 431_234),
    figure('share of the floor', '', 'packed', 0.72),
  ],
  checks: [
    { what: 'every record once', who: 'cdrhouse', passed: true, detail: 'lost 0, twice 0, altered 0' },
  ],
  held: [
    { what: 'CPU ratio, packed', value: 0.4, max: 0.45 },
    { what: 'share of the floor', value: 0.72, min: 0.7 },
  ],
  notes: ['Start and end of each process are not counted.'],
});

export const GROWTH = saved('growth', {
  at: '2026-11-28T10:05:00.000Z',
  settings: { months: 10 },
  figures: [
    ...curve('CPU a record', 'us', 'stored on top of the calls, without merges', 4, 0.1),
    ...curve('answer, p50', 'ms', 'a number, any role, one month', 5, 0),
    ...curve('answer', 'ms', 'usage of all numbers, one month', 40, 1),
    ...curve('bytes a call on disk', 'bytes', 'cdr', 30, 0),
    ...curve('bytes a call on disk', 'bytes', 'cdr_by_number', 40, 0),
    ...curve('bytes a call in memory, primary keys', 'bytes', 'both tables', 0.01, 0),
  ],
});

export const RETENTION = saved('retention', {
  at: '2026-11-28T10:10:00.000Z',
  settings: { months: 10 },
  figures: [
    { ...figure('CPU', 's', 'sweep of one month', 2), calls: 50_000_000 },
    { ...figure('CPU', 's', 'erasure of one number', 50), who: 'plain ALTER … DELETE', calls: 50_000_000 },
    { ...figure('CPU', 's', 'erasure of one number', 100), calls: 50_000_000 },
  ],
});

export const MERGES = saved('merges', {
  at: '2026-11-28T10:12:00.000Z',
  figures: [
    figure('rows merged for each row stored', '', '1000 calls a second', 4),
    figure('batches stored', '', '1000 calls a second', 100),
    {
      ...figure('rows merged for each row stored', '', '1000 calls a second', 40),
      who: 'merge settings of ClickHouse',
    },
  ],
});

export const CAPACITY = saved('capacity', {
  at: '2026-11-28T10:15:00.000Z',
  figures: [figure('bytes a record in Kafka', 'bytes', 'packed', 50)],
});
