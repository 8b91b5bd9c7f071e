import tap from 'tap';
import { isTimeZone, readRange, readTime, writeTime } from '../../query/times.ts';

const PARIS = 'Europe/Paris';
const read = (text: string, zone = PARIS): string | undefined => {
  const ms = readTime(text, zone);
  return ms === undefined ? undefined : new Date(ms).toISOString();
};

await tap.test('a bare time or date is a local one', async (t) => {
  t.equal(read('2026-03-01'), '2026-02-28T23:00:00.000Z');
  t.equal(read('2026-07-01'), '2026-06-30T22:00:00.000Z');
  t.equal(read('2026-03-01T08:30'), '2026-03-01T07:30:00.000Z');
  t.equal(read('2026-03-01 08:30:15.25'), '2026-03-01T07:30:15.250Z');
});

await tap.test('an offset counts, also where its plus sign was not encoded', async (t) => {
  t.equal(read('2026-03-01T08:30:00Z'), '2026-03-01T08:30:00.000Z');
  t.equal(read('2026-03-01T08:30:00+02:00'), '2026-03-01T06:30:00.000Z');
  t.equal(read('2026-03-01T08:30:00 02:00'), '2026-03-01T06:30:00.000Z');
  t.equal(read('2026-03-01T08:30:00-0500'), '2026-03-01T13:30:00.000Z');
});

await tap.test('summer time: twice is the earlier, a gap moves forward', async (t) => {
  t.equal(read('2025-10-26T02:30'), '2025-10-26T00:30:00.000Z');
  t.equal(read('2025-03-30T02:30'), '2025-03-30T01:30:00.000Z');
  t.equal(read('2018-11-04', 'America/Sao_Paulo'), '2018-11-04T03:00:00.000Z', 'a day that begins at 01:00');
});

await tap.test('other texts are refused', async (t) => {
  for (const text of [
    '',
    'yesterday',
    '2026',
    '2026-W10',
    '2026-02-30',
    '2026-03-01T25:00',
    '1700000000',
    '1800-01-01',
    '9999-01-01',
    '2026-03-01T08:00Zulu',
  ]) {
    t.equal(read(text), undefined, text);
  }
});

await tap.test('times are written in the zone, with its offset', async (t) => {
  t.equal(writeTime(Date.UTC(2026, 0, 1, 12), PARIS), '2026-01-01T13:00:00.000+01:00');
  t.equal(writeTime(Date.UTC(2026, 6, 1, 12, 0, 0, 7), PARIS), '2026-07-01T14:00:00.007+02:00');
  t.equal(writeTime(0, 'UTC'), '1970-01-01T00:00:00.000Z');
});

await tap.test('the default range is the last 30 days; limits', async (t) => {
  const nowMs = Date.UTC(2026, 2, 31);
  const limits = { zone: 'UTC', daysMax: 31, nowMs };
  t.strictSame(readRange(undefined, undefined, limits), { fromMs: Date.UTC(2026, 2, 1), toMs: nowMs });
  t.strictSame(readRange(undefined, '2026-01-31', limits), {
    fromMs: Date.UTC(2026, 0, 1),
    toMs: Date.UTC(2026, 0, 31),
  });
  t.throws(() => readRange('2026-03-01', '2026-03-01', limits), { code: 'RANGE_INVALID' });
  t.throws(() => readRange('2026-03-02', '2026-03-01', limits), { code: 'RANGE_INVALID' });
  t.throws(() => readRange('2025-01-01', '2026-03-01', limits), { code: 'RANGE_INVALID' });
  t.throws(() => readRange('soon', '2026-03-01', limits), { code: 'PARAMETER_INVALID', message: /^from: / });
  t.doesNotThrow(() => readRange('2025-10-01', '2025-11-01', { zone: PARIS, daysMax: 31, nowMs }));
});

await tap.test('a zone must be known to both sides', async (t) => {
  const known = new Set(['UTC', PARIS, 'Not/Known']);
  t.ok(isTimeZone(PARIS, known));
  t.notOk(isTimeZone('europe/paris', known));
  t.notOk(isTimeZone('Europe/Berlin', known));
  t.notOk(isTimeZone('Not/Known', known));
});
