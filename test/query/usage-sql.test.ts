import tap from 'tap';
import { dialedPrefixes, dialedPrefixSql } from '../../query/dialed-prefixes.ts';
import { orderGroups, usageSql, type UsageFilter } from '../../query/usage-sql.ts';

const base: UsageFilter = {
  groups: ['calling_number', 'day'],
  range: { fromMs: Date.UTC(2026, 1, 1), toMs: Date.UTC(2026, 2, 1) },
  term: { months: { all: 36, feeds: {} }, nowMs: Date.UTC(2026, 2, 15) },
  timeZone: 'Europe/Paris',
  conditions: {},
  prefixes: [],
  billing: undefined,
  after: undefined,
  rows: 101,
};

await tap.test('groups and their total come from one scan', async (t) => {
  t.equal(
    usageSql('cdrhouse', base).text,
    `SELECT calling_number AS group_calling_number,
  toYYYYMMDD(toTimeZone(start_at, {time_zone: String})) AS group_day,
  count() AS records,
  countIf(outcome = 'answered') AS answered,
  sum(duration_ms) AS sum_duration_ms,
  sum(ifNull(talk_ms, 0)) AS sum_talk_ms,
  countIf(isNull(talk_ms)) AS missing_talk,
  toUnixTimestamp64Milli(min(start_at)) AS first_ms,
  toUnixTimestamp64Milli(max(start_at)) AS last_ms,
  groupBitXor(cityHash64(calling_key, start_at, cdr_key, version)) AS digest
FROM cdrhouse.cdr FINAL
WHERE start_at >= fromUnixTimestamp64Milli({from_ms: Int64}, 'UTC')
  AND start_at < fromUnixTimestamp64Milli({to_ms: Int64}, 'UTC')
GROUP BY group_calling_number, group_day WITH TOTALS
ORDER BY group_calling_number, group_day
LIMIT {rows: UInt32}
SETTINGS totals_mode = 'before_having'`,
  );
});

await tap.test('all groups: their total before them, from the same scan', async (t) => {
  const { text, parameters } = usageSql('cdrhouse', { ...base, rows: undefined });
  t.match(text, /^SELECT grouping\(group_calling_number\) AS is_total,\n/);
  t.ok(
    text.endsWith(
      `GROUP BY GROUPING SETS ((group_calling_number, group_day), ())
ORDER BY is_total DESC, group_calling_number, group_day`,
    ),
  );
  t.notOk('rows' in parameters);
});

await tap.test('no groups: one total', async (t) => {
  const { text } = usageSql('cdrhouse', { ...base, groups: [] });
  t.notMatch(text, /GROUP BY|ORDER BY|LIMIT|TOTALS/);
});

await tap.test('filters are bound', async (t) => {
  const numbers = { texts: ["x'"], keys: [1] };
  const { text, parameters } = usageSql('cdrhouse', {
    ...base,
    conditions: {
      callingNumbers: numbers,
      dialedNumbers: numbers,
      feeds: ["y'"],
      accounts: ["z'"],
      minDurationMs: 5,
    },
  });
  t.match(text, 'FROM cdrhouse.cdr FINAL\nWHERE calling_key IN {calling_keys: Array(UInt64)}');
  t.match(text, 'AND calling_number IN {calling_texts: Array(String)}');
  t.match(text, 'AND dialed_number IN {dialed_texts: Array(String)}');
  t.match(text, 'AND feed IN {feeds: Array(String)}');
  t.notMatch(text, /[xyz]'/);
  t.match(parameters, {
    calling_keys: [1],
    dialed_texts: ["x'"],
    feeds: ["y'"],
    accounts: ["z'"],
    min_duration_ms: 5,
    time_zone: 'Europe/Paris',
  });
  t.notOk('max_duration_ms' in parameters);
});

await tap.test('dialed numbers alone are found by the other table', async (t) => {
  const { text } = usageSql('cdrhouse', {
    ...base,
    conditions: { dialedNumbers: { texts: ['x'], keys: [1] } },
  });
  t.match(
    text,
    "FROM cdrhouse.cdr_by_number FINAL\nWHERE role = 'dialed'\n  AND number_key IN {dialed_keys: Array(UInt64)}",
  );
  t.match(text, 'cityHash64(number_key, ');
});

await tap.test('a later page begins after its place, with the total of all', async (t) => {
  const { text, parameters } = usageSql('cdrhouse', { ...base, after: ['+33639980001', 20260203] });
  t.match(
    text,
    'WITH TOTALS\nHAVING tuple(group_calling_number, group_day) > tuple({after_0: String}, {after_1: UInt32})',
  );
  t.match(parameters, { after_0: '+33639980001', after_1: 20260203 });
});

await tap.test('prefixes: those of the settings and all calling codes, the longest first', async (t) => {
  const prefixes = dialedPrefixes(['+33639', '+3363998', '+33']);
  t.strictSame(
    prefixes.map(([length]) => length),
    [8, 6, 4, 3, 2],
  );
  const of = new Map(prefixes);
  t.strictSame(of.get(8), ['+3363998']);
  t.strictSame(of.get(2), ['+1', '+7']);
  t.ok(['+211', '+212', '+213', '+216', '+218', '+351', '+850'].every((code) => of.get(4)?.includes(code)));
  t.notOk(of.get(4)?.includes('+214'), 'no country has it');
  t.equal(of.get(3)?.filter((code) => code === '+33').length, 1);
  t.match(
    dialedPrefixSql(prefixes),
    /^multiIf\(substring\(dialed_number, 1, 8\) IN \{prefixes_0: Array\(String\)\}, /,
  );
  t.equal(dialedPrefixSql([]), "''");
  const many = dialedPrefixes(Array.from({ length: 5001 }, (_, index) => `+33${10_000 + index}`));
  t.strictSame(
    many.slice(0, 2).map(([length, prefixesOf]) => [length, prefixesOf.length]),
    [
      [8, 5000],
      [8, 1],
    ],
  );
});

await tap.test('groups have one order', async (t) => {
  t.strictSame(orderGroups(['month', 'calling_number', 'month']), ['calling_number', 'month']);
  t.strictSame(orderGroups(['']), []);
});
