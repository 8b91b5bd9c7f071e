import tap from 'tap';
import { ratiosOf } from '../../bench/ingest-report.ts';
import { FLOOR, type Measured } from '../../bench/ingest-run.ts';

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

await tap.test('ratios are those of a round; what ran once is held against the median', async (t) => {
  const measured = [
    // The first round found the servers cold.
    ...rounds('cdrhouse', 'packed', 5, 3, 3),
    ...rounds('Kafka engine, 1 consumer', 'packed', 10, 6, 6),
    ...rounds('Kafka engine, 2 consumers', 'packed', 8),
    ...rounds('Kafka engine, minimum, 1 consumer', 'packed', 1.5),
    ...rounds('naive Node consumer', 'packed', 12),
    ...rounds(FLOOR, 'packed', 1, 1.5, 1.5),
    ...rounds('cdrhouse', 'dedup', 6),
  ];
  const ratios = ratiosOf(measured, ['packed', 'single', 'dedup']);
  t.strictSame(
    ratios.equalWork,
    { packed: [5 / 8, 0.5, 0.5] },
    'the better number of consumers of the round',
  );
  t.strictSame(ratios.equalWorkMerged, { packed: [6 / 9, 4 / 7, 4 / 7] });
  t.strictSame(ratios.minimum, { packed: [2] });
  t.strictSame(ratios.naive, { packed: [0.25] });
  t.strictSame(ratios.dedup, [2]);
  t.strictSame(ratios.floorShare, [0.2, 0.5, 0.5]);
});
