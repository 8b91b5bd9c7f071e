import fc from 'fast-check';
import { DateTime, FixedOffsetZone } from 'luxon';
import tap from 'tap';
import { StartTimeReader } from '../../../ingest/parse/start-time.ts';
import { compileTime } from '../../../schemas/formats/time-pattern.ts';

const reader = new StartTimeReader();

const programs = { 'iso-or-epoch': compileTime('iso-or-epoch'), local: compileTime('local') };

function read(
  text: string,
  notation: keyof typeof programs = 'iso-or-epoch',
): { ms: number; absolute: boolean } {
  // Surrounded by digits, so that reading beyond the field shows.
  const bytes = Buffer.from(`9${text}9`);
  const ms = reader.read(bytes, 1, bytes.length - 1, programs[notation]);
  return { ms, absolute: reader.absolute };
}

await tap.test('ISO 8601 with every kind of offset is what luxon reads', async () => {
  const moment = fc.integer({ min: Date.UTC(1990, 0), max: Date.UTC(2099, 0) });
  const offset = fc.integer({ min: -18 * 4, max: 18 * 4 }).map((quarters) => quarters * 15);
  const notation = fc.constantFrom(
    "yyyy-MM-dd'T'HH:mm:ss.SSSZZ",
    "yyyy-MM-dd'T'HH:mm:ssZZZ",
    'yyyy-MM-dd HH:mm:ssZZ',
    "yyyy-MM-dd'T'HH:mmZZ",
  );
  fc.assert(
    fc.property(moment, offset, notation, (ms, minutes, format) => {
      const text = DateTime.fromMillis(ms).setZone(FixedOffsetZone.instance(minutes)).toFormat(format);
      const result = read(text);
      return result.absolute && result.ms === DateTime.fromFormat(text, format, { setZone: true }).toMillis();
    }),
    { numRuns: 2000 },
  );
});

await tap.test('times without a zone are local, given as if UTC', async (t) => {
  t.strictSame(read('2024-02-29T12:34:56.789'), {
    ms: Date.UTC(2024, 1, 29, 12, 34, 56, 789),
    absolute: false,
  });
  t.strictSame(read('2024-02-29 12:34'), { ms: Date.UTC(2024, 1, 29, 12, 34), absolute: false });
  t.strictSame(read('2024-01-27 15:07:24', 'local'), {
    ms: Date.UTC(2024, 0, 27, 15, 7, 24),
    absolute: false,
  });
});

await tap.test('Z, short offsets, and digits beyond the millisecond, which are cut', async (t) => {
  const ms = Date.UTC(2025, 5, 1, 10);
  t.strictSame(read('2025-06-01T10:00:00Z'), { ms, absolute: true });
  t.strictSame(read('2025-06-01T12:00:00+02'), { ms, absolute: true });
  t.strictSame(read('2025-06-01T10:00:00.123999Z'), { ms: ms + 123, absolute: true });
  t.strictSame(read('2025-06-01T10:00:00.5Z'), { ms: ms + 500, absolute: true });
});

await tap.test('an epoch is seconds, milliseconds or microseconds by its magnitude', async (t) => {
  t.strictSame(read('1706368044'), { ms: 1_706_368_044_000, absolute: true });
  t.strictSame(read('1706368044123'), { ms: 1_706_368_044_123, absolute: true });
  t.strictSame(read('1706368044123456'), { ms: 1_706_368_044_123, absolute: true });
  t.ok(Number.isNaN(read('170636804412345678').ms));
  t.ok(Number.isNaN(read('1706368044', 'local').ms), 'only where the format allows it');
});

await tap.test('what is no time is none', async (t) => {
  for (const text of [
    '',
    'yesterday',
    '2024-02-30 10:00:00',
    '2023-02-29 10:00:00',
    '2024-13-01 10:00:00',
    '2024-00-10 10:00:00',
    '2024-01-00 10:00:00',
    '2024-01-32 10:00:00',
    '2024-01-01 24:00:00',
    '2024-01-01 10:60:00',
    '2024-01-01 10:00:60',
    '2024-1-1 10:00:00',
    '2024/01/01 10:00:00',
    '2024-01-01',
    '2024-01-01T10',
    '2024-01-01 10:00:00 ',
    ' 2024-01-01 10:00:00',
    '2024-01-01T10:00:00+25:00',
    '2024-01-01T10:00:00+1',
    '2024-01-01T10:00:00.',
    '2024-01-01T10:00:00.Z',
    '2024-01-01T10:00:0',
    '2024-01-01T10:00:00x',
    '-1706368044',
    '0000-01-01 00:00:00',
    '20240101T100000Z',
    'é024-01-01 10:00:00',
  ]) {
    t.ok(Number.isNaN(read(text).ms), JSON.stringify(text));
  }
  t.ok(Number.isNaN(read('2024-01-27T15:07:24Z', 'local').ms), 'a zone in a format that has none');
  t.ok(Number.isNaN(read('2024-01-27 15:07', 'local').ms), 'seconds are part of the local notation');
});
