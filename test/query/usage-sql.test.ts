import tap from 'tap';
import { e164Key, FIRST_TEXT_KEY } from '../../schemas/number-key.ts';
import { orderGroups, usageSql, type UsageFilter } from '../../query/usage-sql.ts';

const base: UsageFilter = {
  groups: ['calling_number', 'day'],
  range: { fromMs: Date.UTC(2026, 1, 1), toMs: Date.UTC(2026, 2, 1) },
  term: { months: 36, nowMs: Date.UTC(2026, 2, 15) },
  timeZone: 'Europe/Paris',
  callingNumbers: undefined,
  feed: undefined,
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
  toUnixTimestamp64Milli(max(start_at)) AS last_ms
FROM cdrhouse.cdr FINAL
WHERE start_at >= fromUnixTimestamp64Milli({from_ms: Int64}, 'UTC')
  AND start_at < fromUnixTimestamp64Milli({to_ms: Int64}, 'UTC')
GROUP BY group_calling_number, group_day WITH TOTALS
ORDER BY group_calling_number, group_day
LIMIT {rows: UInt32}`,
  );
});

await tap.test('no groups: one total', async (t) => {
  const { text } = usageSql('cdrhouse', { ...base, groups: [] });
  t.notMatch(text, /GROUP BY|ORDER BY|LIMIT|TOTALS/);
});

await tap.test('filters are bound', async (t) => {
  const { text, parameters } = usageSql('cdrhouse', {
    ...base,
    callingNumbers: { texts: ["x'"], keys: [1] },
    feed: "y'",
  });
  t.match(text, 'calling_key IN {keys: Array(UInt64)}\n  AND calling_number IN {texts: Array(String)}');
  t.match(text, 'AND feed = {feed: String}');
  t.match(parameters, { keys: [1], texts: ["x'"], feed: "y'", time_zone: 'Europe/Paris' });
});

await tap.test('a later page begins after its place, without a total', async (t) => {
  const { text, parameters } = usageSql('cdrhouse', { ...base, after: ['+33639980001', 20260203] });
  t.match(text, '{time_zone: String}))) > ({after_0: String}, {after_1: UInt32})');
  t.notMatch(text, 'TOTALS');
  t.match(parameters, { after_0: '+33639980001', after_1: 20260203 });
});

await tap.test('and begins there in the index too', async (t) => {
  const firstKey = (...after: (string | number)[]): unknown =>
    usageSql('cdrhouse', { ...base, after }).parameters['first_key'];
  t.equal(firstKey('+33639980001', 20260203), e164Key('+33639980001'));
  t.equal(firstKey('anonymous', 20260203), FIRST_TEXT_KEY, 'E.164 numbers sort before it');
  t.equal(firstKey('*72', 20260203), undefined, 'E.164 numbers sort after it');
  t.equal(firstKey('+33 6', 20260203), undefined);
  t.equal(firstKey('', 20260203), undefined);
  const byMonth = usageSql('cdrhouse', { ...base, groups: ['month'], after: [202602] });
  t.equal(byMonth.parameters['first_key'], undefined);
});

await tap.test('groups have one order', async (t) => {
  t.strictSame(orderGroups(['month', 'calling_number', 'month']), ['calling_number', 'month']);
  t.strictSame(orderGroups(['']), []);
});
