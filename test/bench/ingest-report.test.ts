import tap from 'tap';
import { ratiosHeld, ratiosOf } from '../../bench/ingest-report.ts';
import { FLOOR, type Measured } from '../../bench/ingest-run.ts';
import { readThresholds } from '../../bench/thresholds.ts';

/** A round of 1,000,000 records: so many us of the program a record, and 1 us for merging it. */
function ran(who: string, of: string, round: number, us: number): Measured {
  return {
    who,
    case: of,
    round,
    records: 1_000_000,
    seconds: us / 2,
    program: us,
    clickhouse: 0,
    merges: 1,
    broker: 0,
    peakBytes: 0,
    parts: 1,
    check: { what: '', who, passed: true, detail: '' },
  };
}

const rounds = (who: string, of: string, ...us: number[]): Measured[] =>
  us.map((each, index) => ran(who, of, index + 1, each));

await tap.test('ratios are those of a round', async (t) => {
  const measured = [
    ...rounds('cdrhouse', 'packed', 5, 3, 3),
    ...rounds('Kafka engine, 1 consumer', 'packed', 10, 6, 6),
    ...rounds('Kafka engine, 2 consumers', 'packed', 8),
    ...rounds('Kafka engine, one table, 1 consumer', 'packed', 1.5),
    ...rounds('naive Node consumer, one table', 'packed', 12),
    ...rounds(FLOOR, 'packed', 1, 1.5, 1.5),
    ...rounds('cdrhouse', 'dedup', 6),
  ];
  const ratios = ratiosOf(measured, ['packed', 'single', 'dedup']);
  t.strictSame(Object.fromEntries(ratios.map(({ name, byCase }) => [name, Object.fromEntries(byCase)])), {
    // The better number of consumers of the round.
    'CPU against the Kafka engine': { packed: [5 / 8, 0.5, 0.5] },
    'CPU against the Kafka engine, merged once': { packed: [6 / 9, 4 / 7, 4 / 7] },
    'CPU against the Kafka engine, one table': { packed: [5 / 1.5] },
    'CPU against the naive Node consumer, one table': { packed: [5 / 12] },
    'CPU with one record of ten sent before, against none': { dedup: [6 / 5] },
    'share of the floor': { packed: [0.2, 0.5, 0.5] },
  });
});

await tap.test('limits are held by ratio and case; a case that did not run holds nothing', (t) => {
  const measured = [
    ...rounds('cdrhouse', 'packed', 3, 3),
    ...rounds('Kafka engine, 1 consumer', 'packed', 6, 6),
    ...rounds(FLOOR, 'packed', 1.5, 1.5),
  ];
  const { ingest } = readThresholds();
  t.strictSame(ratiosHeld(ratiosOf(measured, ['packed', 'single']), readThresholds()), [
    { what: 'CPU against the Kafka engine, packed', value: 0.5, max: ingest.kafka_engine_max['packed'] },
    {
      what: 'CPU against the Kafka engine, merged once, packed',
      value: 4 / 7,
      max: ingest.kafka_engine_merged_max['packed'],
    },
    { what: 'share of the floor, packed', value: 0.5, min: ingest.floor_share_min['packed'] },
  ]);
  t.end();
});
