import * as fc from 'fast-check';
import tap from 'tap';
import { callsSql, matchedSql, type CallsFilter, type CallsPage } from '../../query/calls-sql.ts';

const nowMs = Date.UTC(2026, 2, 15);
const base: CallsFilter = {
  number: { kind: 'exact', texts: ['+33639980001'], keys: [1, 2] },
  roles: ['calling', 'displayed', 'dialed'],
  range: { fromMs: Date.UTC(2026, 1, 1), toMs: Date.UTC(2026, 2, 1) },
  term: { months: { all: 36, feeds: {} }, nowMs },
  otherNumbers: undefined,
  durationMsMin: undefined,
  durationMsMax: undefined,
  outcomes: undefined,
  feeds: undefined,
  visibility: undefined,
  withHeld: false,
};
const first: CallsPage = { after: undefined, rows: 101 };

await tap.test('any role: both tables, each branch limited, each call in one of them', async (t) => {
  const { text, parameters } = callsSql('cdrhouse', base, first);
  t.equal(
    text,
    `SELECT toUnixTimestamp64Milli(start_at) AS start_ms, cdr_key, calling_number, displayed_caller_id, dialed_number, duration_ms, talk_ms, outcome, direction, account, feed, call_id
FROM (
  SELECT start_at, cdr_key, calling_number, displayed_caller_id, dialed_number, duration_ms, talk_ms, outcome, direction, account, feed, call_id
  FROM cdrhouse.cdr FINAL
  PREWHERE calling_key IN {keys: Array(UInt64)}
  WHERE calling_number IN {texts: Array(String)}
    AND start_at >= fromUnixTimestamp64Milli({from_ms: Int64}, 'UTC')
    AND start_at < fromUnixTimestamp64Milli({to_ms: Int64}, 'UTC')
  ORDER BY start_at DESC, cdr_key DESC, calling_number DESC
  LIMIT {rows: UInt32}
UNION ALL
  SELECT start_at, cdr_key, calling_number, displayed_caller_id, dialed_number, duration_ms, talk_ms, outcome, direction, account, feed, call_id
  FROM cdrhouse.cdr_by_number FINAL
  PREWHERE number_key IN {keys: Array(UInt64)}
  WHERE ((role = 'dialed' AND dialed_number IN {texts: Array(String)} AND NOT (calling_number IN {texts: Array(String)})) OR (role = 'displayed' AND displayed_caller_id IN {texts: Array(String)} AND NOT (calling_number IN {texts: Array(String)}) AND NOT (dialed_number IN {texts: Array(String)})))
    AND start_at >= fromUnixTimestamp64Milli({from_ms: Int64}, 'UTC')
    AND start_at < fromUnixTimestamp64Milli({to_ms: Int64}, 'UTC')
  ORDER BY start_at DESC, cdr_key DESC, calling_number DESC
  LIMIT {rows: UInt32}
)
ORDER BY start_at DESC, cdr_key DESC, calling_number DESC
LIMIT {rows: UInt32}`,
  );
  t.strictSame(parameters, {
    keys: [1, 2],
    texts: ['+33639980001'],
    from_ms: base.range.fromMs,
    to_ms: base.range.toMs,
    rows: 101,
  });
});

await tap.test('a role reads only the table that it needs', async (t) => {
  const calling = callsSql('cdrhouse', { ...base, roles: ['calling'] }, first).text;
  t.notMatch(calling, /cdr_by_number|displayed_caller_id = calling_number/);
  const dialed = callsSql('cdrhouse', { ...base, roles: ['dialed'] }, first).text;
  t.notMatch(dialed, /cdrhouse\.cdr FINAL/);
  t.match(dialed, "(role = 'dialed' AND dialed_number IN");
  const displayed = callsSql('cdrhouse', { ...base, roles: ['displayed'] }, first).text;
  t.match(
    displayed,
    'AND displayed_caller_id = calling_number',
    'an equal displayed number stands in cdr only',
  );
  t.match(displayed, 'cdrhouse.cdr_by_number FINAL');
});

await tap.test('a prefix is one range of keys', async (t) => {
  const { text, parameters } = callsSql(
    'cdrhouse',
    { ...base, number: { kind: 'prefix', prefix: '+3363' } },
    first,
  );
  t.match(text, 'calling_key >= {key_from: UInt64} AND calling_key < {key_to: UInt64}');
  t.match(text, 'number_key >= {key_from: UInt64} AND number_key < {key_to: UInt64}');
  t.notMatch(text, 'texts');
  t.match(parameters, { key_from: Number, key_to: Number, prefix_pattern: '^\\+3363[0-9]{0,11}$' });
});

await tap.test('a later page begins after its place', async (t) => {
  const { text, parameters } = callsSql('cdrhouse', base, {
    after: { startMs: 5, cdrKey: '18446744073709551615', callingNumber: '1002' },
    rows: 9,
  });
  t.equal(text.split('(start_at, cdr_key, calling_number) < (').length - 1, 2, 'in both branches');
  t.match(parameters, { after_ms: 5, after_key: '18446744073709551615', after_number: '1002', rows: 9 });
});

await tap.test('no read reaches behind the retention term', async (t) => {
  const { text, parameters } = callsSql(
    'cdrhouse',
    { ...base, range: { fromMs: Date.UTC(1990, 0, 1), toMs: nowMs } },
    first,
  );
  t.match(text, 'addMonths(start_at, {term_months: UInt32}) > fromUnixTimestamp64Milli({now_ms: Int64}');
  t.match(parameters, { from_ms: Date.UTC(2023, 2, 11), term_months: 36, now_ms: nowMs });
});

await tap.test('nor behind that of a feed, where the range reaches it', async (t) => {
  const months = { all: 36, feeds: { lab: 3, other: 48 } };
  const of = (fromMs: number) =>
    callsSql('cdrhouse', { ...base, range: { fromMs, toMs: nowMs }, term: { months, nowMs } }, first);
  const { text, parameters } = of(Date.UTC(2025, 11, 10));
  t.equal(text.split('addMonths(start_at, transform(toString(feed), ').length - 1, 2, 'in both branches');
  t.match(parameters, {
    from_ms: Date.UTC(2025, 11, 10),
    term_months: 36,
    term_feeds: ['lab', 'other'],
    term_of_feeds: [3, 36],
  });
  t.notMatch(of(Date.UTC(2025, 11, 20)).text, 'addMonths');
});

await tap.test('the sums are of the same conditions, without the page', async (t) => {
  const { text, parameters } = matchedSql('cdrhouse', base);
  const page = callsSql('cdrhouse', base, first);
  t.strictSame(text.match(/WHERE[^O]*\n {4}AND/g), page.text.match(/WHERE[^O]*\n {4}AND/g));
  t.notMatch(text, 'LIMIT');
  t.strictSame({ ...parameters, rows: 101 }, page.parameters);
});

await tap.test('no value stands in the statement', async (t) => {
  fc.assert(
    fc.property(fc.string({ minLength: 1, maxLength: 30 }), (value) => {
      const marked = `§${value}`;
      const filter: CallsFilter = {
        ...base,
        number: { kind: 'exact', texts: [marked], keys: [7] },
        otherNumbers: [marked],
        outcomes: [marked],
        feeds: [marked],
      };
      const after = { startMs: 1, cdrKey: '1', callingNumber: marked };
      t.notOk(callsSql('cdrhouse', filter, { after, rows: 1 }).text.includes('§'));
      t.notOk(matchedSql('cdrhouse', filter).text.includes('§'));
    }),
    { numRuns: 20 },
  );
});
