import fc from 'fast-check';
import tap from 'tap';
import { cutAt, markersSql, placeCondition, type ReplacedRange } from '../../ingest/corrections-sql.ts';
import { BATCH_MOMENT } from '../../schemas/tables.ts';

const range: ReplacedRange = {
  topic: 'cdr',
  topicId: 'id',
  partition: 3,
  from: 10,
  until: 50,
  spans: [
    { feed: 'old', since: 100, before: 200 },
    { feed: "it's", since: 200, before: undefined },
  ],
};

await tap.test('rows of a range are told by place and time', async (t) => {
  t.equal(
    placeCondition(range),
    'source_partition = 3 AND source_offset >= 10 AND source_offset < 50 AND is_deleted = 0 AND ' +
      `(feed = 'old' AND ${BATCH_MOMENT} >= 100 AND ${BATCH_MOMENT} < 200 OR ` +
      `feed = 'it\\'s' AND ${BATCH_MOMENT} >= 200)`,
  );
  t.match(placeCondition({ ...range, spans: [] }), /AND \(0\)$/, 'without a span none');
});

await tap.test('markers keep all columns of the row but its version', async (t) => {
  const sql = markersSql('db', 'cdr', range, 7);
  t.match(
    sql,
    /toDateTime\(now\(\), 'UTC'\), bitShiftLeft\(toUInt64\(7\), 32\), toUInt8\(1\) FROM db\.cdr FINAL/,
  );
  t.match(sql, / AND version < bitShiftLeft\(toUInt64\(7\), 32\)$/, 'rows of the correction itself are left');
});

await tap.test('shares cover the range, each offset once', async () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: -10, max: 70, noNaN: true }), { maxLength: 12 }), (ends) => {
      const shares = cutAt(range, ends);
      let at = range.from;
      for (const { from, until } of shares) {
        if (from !== at || until <= from) return false;
        at = until;
      }
      return at === range.until;
    }),
  );
});
