import fc from 'fast-check';
import { DateTime, FixedOffsetZone } from 'luxon';
import tap from 'tap';
import { NO_TIME, StartTimeReader } from '../../../ingest/parse/start-time.ts';
import { compileTime, type TimeOptions, type TimeProgram } from '../../../schemas/formats/time-pattern.ts';

const reader = new StartTimeReader();
const ZONES = { PST: '-08:00', PDT: '-07:00', IST: '+05:30' };
const ALL_ZONES: Readonly<Record<string, string>> = { ...ZONES, UTC: '+00:00', GMT: '+00:00', Z: '+00:00' };
/** How often each property is tried per notation. */
const RUNS = Number(process.env['CDRHOUSE_TEST_RUNS'] ?? 500);

/** What may stand beside a field; reading beyond it shows. */
const BESIDE = ['9', ':30', '.5', ' 0', '+05:00', 'PM', ''];

/** The one result for a field, whatever stands beside it. */
function within(text: string, use: (bytes: Uint8Array, start: number, end: number) => number): number {
  const results = BESIDE.map((beside) => {
    const field = Buffer.from(text);
    const start = Buffer.byteLength(beside);
    return use(Buffer.concat([Buffer.from(beside), field, Buffer.from(beside)]), start, start + field.length);
  });
  const different = results.findIndex((result) => !Object.is(result, results[0]));
  if (different >= 0)
    throw new Error(`${JSON.stringify(text)} is read otherwise beside "${BESIDE[different]}"`);
  return results[0]!;
}

function readerOf(notation: string, options: TimeOptions = {}): (text: string) => number {
  const program = compileTime(notation, { zones: ZONES, ...options });
  return (text) => within(text, (bytes, start, end) => reader.read(bytes, start, end, program));
}

function readOrNone(text: string, program: TimeProgram): number {
  return within(text, (bytes, start, end) => reader.readOrNone(bytes, start, end, program));
}

interface Case {
  readonly notation: string;
  /** The same in luxon's own tokens, one for each way of what may be missing. */
  readonly luxon: readonly string[];
  readonly offsetMinutes?: number;
  /** Between luxon's text and the switch's. */
  readonly write?: (text: string) => string;
  readonly unwrite?: (text: string) => string;
}

const CASES: readonly Case[] = [
  ...[
    'yyyy-MM-dd HH:mm:ss',
    'yyyy-MM-dd HH:mm',
    'yyyy/MM/dd HH:mm:ss',
    'yyyy/M/d H:mm',
    'dd.MM.yyyy HH:mm:ss',
    'd.M.yyyy H:mm:s',
    'yyyyMMddHHmmss.SSS',
    'yyyyMMddHHmmss',
    'yyyyMMdd HHmm',
    'MM/dd/yy hh:mm:ss a',
    'M/d/yyyy h:m a',
    'EEE MMM d HH:mm:ss yyyy',
    'dd MMM yyyy HH:mm:ss.u',
    "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'",
  ].map((notation) => ({ notation, luxon: [notation] })),
  { notation: 'MM/dd/yyyy HH:mm:ss.S', luxon: ['MM/dd/yyyy HH:mm:ss.uuu'] },
  { notation: 'yyyy/M/d H:mm[:ss]', luxon: ['yyyy/M/d H:mm', 'yyyy/M/d H:mm:ss'] },
  {
    notation: 'dd.MM.yyyy HH:mm[:ss[.u]]',
    luxon: ['dd.MM.yyyy HH:mm', 'dd.MM.yyyy HH:mm:ss', 'dd.MM.yyyy HH:mm:ss.u'],
  },
  {
    notation: "yyyy-MM-dd HH:mm:ss ZZZ 'UTC'",
    luxon: ["yyyy-MM-dd HH:mm:ss ZZZ 'UTC'"],
    offsetMinutes: -210,
  },
  {
    notation: 'yyyy-MM-dd HH:mm:ss[.SSS][ ZZ]',
    luxon: [
      'yyyy-MM-dd HH:mm:ss',
      'yyyy-MM-dd HH:mm:ss.SSS',
      'yyyy-MM-dd HH:mm:ss ZZ',
      'yyyy-MM-dd HH:mm:ss.SSS ZZ',
    ],
    offsetMinutes: 345,
  },
  ...Object.entries(ALL_ZONES).map(([zone, offset]) => ({
    notation: 'HH:mm:ss.SSS zzz MMM dd yyyy',
    luxon: ['HH:mm:ss.SSS ZZ MMM dd yyyy'],
    offsetMinutes: DateTime.fromISO(`2020-01-01T00:00:00${offset}`, { setZone: true }).offset,
    write: (text: string) => text.replace(offset, zone).toUpperCase(),
    // An offset in the switch's text is none of this notation.
    unwrite: (text: string) =>
      text
        .replaceAll(/[+-]/g, '!')
        .replace(/ ([A-Z]+) /, (word, name: string) => (name in ALL_ZONES ? ` ${ALL_ZONES[name]} ` : word)),
  })),
];

const parsers = new Map<string, ReturnType<typeof DateTime.buildFormatParser>>();

/** luxon's strict reading by any of the patterns, in ms; NaN where none fits. A bare time is UTC. */
function luxonReads(text: string, patterns: readonly string[]): number {
  for (const pattern of patterns) {
    let parser = parsers.get(pattern);
    if (parser === undefined) {
      parser = DateTime.buildFormatParser(pattern, { locale: 'en-US' });
      parsers.set(pattern, parser);
    }
    const read = DateTime.fromFormatParser(text, parser, { zone: 'utc', locale: 'en-US' });
    if (read.isValid) return read.toMillis();
  }
  return Number.NaN;
}

const moment = fc.integer({ min: Date.UTC(1961, 0), max: Date.UTC(2060, 11, 31) });

/** Texts that were written by luxon, and then changed in one to three places. */
const mutation = fc.record({
  place: fc.nat(40),
  kind: fc.constantFrom('replace', 'insert', 'delete', 'swap', 'append'),
  text: fc.constantFrom(
    ...Array.from('0123456789'),
    ...Array.from(' -/:.,+TZzAPM[]\0'),
    'é',
    '٣',
    'Feb',
    'MAY',
    '29',
    '30',
    '31',
    '24',
    '60',
    '00',
    '13',
    '-08:00',
    'CST',
    'GMT',
    'AM',
    '1899',
  ),
});

function mutate(
  text: string,
  { place, kind, text: inserted }: typeof mutation extends fc.Arbitrary<infer M> ? M : never,
): string {
  const at = place % (text.length + 1);
  switch (kind) {
    case 'replace':
      return text.slice(0, at) + inserted + text.slice(at + inserted.length);
    case 'insert':
      return text.slice(0, at) + inserted + text.slice(at);
    case 'delete':
      return text.slice(0, at) + text.slice(at + 1);
    case 'swap':
      return (
        text.slice(0, at) +
        text
          .slice(at, at + 2)
          .split('')
          .reverse()
          .join('') +
        text.slice(at + 2)
      );
    default:
      return text + inserted;
  }
}

for (const { notation, luxon, offsetMinutes = 0, write = String, unwrite = String } of CASES) {
  const read = readerOf(notation);
  const written = fc.tuple(moment, fc.constantFrom(...luxon)).map(([ms, pattern]) => {
    const at = DateTime.fromMillis(ms).setZone(FixedOffsetZone.instance(offsetMinutes)).setLocale('en-US');
    return { text: write(at.toFormat(pattern)), pattern };
  });

  await tap.test(
    `${write === String ? notation : write(notation)}: what luxon wrote is read back`,
    async () => {
      fc.assert(
        fc.property(written, ({ text, pattern }) => {
          const ms = read(text);
          const absolute = /Z/.test(pattern.replaceAll(/'[^']*'/g, ''));
          return ms === luxonReads(unwrite(text), [pattern]) && reader.absolute === absolute;
        }),
        { numRuns: RUNS },
      );
    },
  );

  await tap.test(`${notation}: a changed text is read as luxon reads it, or not at all`, async (t) => {
    let readable = 0;
    fc.assert(
      fc.property(written, fc.array(mutation, { minLength: 1, maxLength: 3 }), ({ text }, mutations) => {
        const mutated = mutations.reduce(mutate, text);
        const ms = read(mutated);
        if (Number.isNaN(ms)) return true;
        readable++;
        // luxon reads nine digits of a fraction at most.
        return ms === luxonReads(unwrite(mutated).replace(/(\.\d{9})\d+/, '$1'), luxon);
      }),
      { numRuns: 2 * RUNS },
    );
    t.ok(readable > RUNS / 50, `${readable} changed texts were still times`);
  });
}

await tap.test('iso: a changed text is read as luxon reads it, or not at all', async (t) => {
  const read = readerOf('iso');
  let readable = 0;
  fc.assert(
    fc.property(
      moment,
      fc.constantFrom("yyyy-MM-dd'T'HH:mm:ss.SSSZZ", 'yyyy-MM-dd HH:mm:ssZZZ', "yyyy-MM-dd HH:mm'Z'"),
      fc.array(mutation, { minLength: 1, maxLength: 3 }),
      (ms, pattern, mutations) => {
        const text = mutations.reduce(
          mutate,
          DateTime.fromMillis(ms).setZone(FixedOffsetZone.instance(90)).toFormat(pattern),
        );
        const got = read(text);
        if (Number.isNaN(got)) return true;
        readable++;
        const iso = text.replace(' ', 'T').replace(/z$/, 'Z');
        return got === DateTime.fromISO(iso, { zone: 'utc' }).toMillis();
      },
    ),
    { numRuns: 4 * RUNS },
  );
  t.ok(readable > RUNS / 25);
});

await tap.test('days are those of the calendar, from 1900 on', async (t) => {
  const read = readerOf('yyyy-MM-dd HH:mm:ss');
  const day = 86_400_000;
  for (let ms = Date.UTC(1900, 0); ms < Date.UTC(2110, 0); ms += day) {
    const text = `${new Date(ms).toISOString().slice(0, 10)} 00:00:00`;
    if (read(text) !== ms) t.fail(text);
  }
  for (let year = 1900; year < 2110; year++) {
    const leap = new Date(Date.UTC(year, 1, 29)).getUTCMonth() === 1;
    if (Number.isNaN(read(`${year}-02-29 00:00:00`)) === leap) t.fail(`29 February ${year}`);
    for (const date of ['02-30', '04-31', '06-31', '09-31', '11-31', '01-32', '00-01', '13-01', '01-00'])
      if (!Number.isNaN(read(`${year}-${date} 00:00:00`))) t.fail(`${year}-${date}`);
  }
});

await tap.test('a plain pattern is exact: no T, no fraction, no seconds left out', async (t) => {
  const read = readerOf('yyyy-MM-dd HH:mm:ss');
  t.equal(read('2024-01-27 15:07:24'), Date.UTC(2024, 0, 27, 15, 7, 24));
  for (const text of [
    '2024-01-27T15:07:24',
    '2024-01-27 15:07:24.5',
    '2024-01-27 15:07',
    '2024-01-27 15:07:24Z',
  ])
    t.ok(Number.isNaN(read(text)), text);
});

await tap.test('an abbreviation that the table does not have is never guessed', async (t) => {
  const read = readerOf('HH:mm:ss.SSS zzz MMM dd yyyy');
  const utc = Date.UTC(2017, 11, 18, 15, 54, 56, 868);
  t.equal(read('15:54:56.868 PST DEC 18 2017'), utc + 8 * 3_600_000);
  for (const zone of ['UTC', 'GMT', 'Z']) t.equal(read(`15:54:56.868 ${zone} DEC 18 2017`), utc, zone);
  for (const zone of ['CST', 'pst', 'PS', 'PSTX', 'PST8PDT', '', '+0800', 'UTC '.repeat(9)])
    t.ok(Number.isNaN(read(`15:54:56.868 ${zone} DEC 18 2017`)), zone);
  const bare = compileTime('HH:mm:ss.SSS zzz MMM dd yyyy');
  t.ok(
    Number.isNaN(
      within('15:54:56.868 PST DEC 18 2017', (bytes, start, end) => reader.read(bytes, start, end, bare)),
    ),
    'without a table',
  );
});

await tap.test('a bare time is UTC only where the notation says so', async (t) => {
  const utc = readerOf('yyyyMMddHHmmss.SSS', { bare: 'utc' });
  t.equal(utc('20071230152055.123'), Date.UTC(2007, 11, 30, 15, 20, 55, 123));
  t.equal(reader.absolute, true);
  const feed = readerOf('yyyyMMddHHmmss.SSS');
  t.equal(feed('20071230152055.123'), Date.UTC(2007, 11, 30, 15, 20, 55, 123));
  t.equal(reader.absolute, false);
  const iso = readerOf('iso', { bare: 'utc' });
  t.equal(iso('2007-12-30T15:20'), Date.UTC(2007, 11, 30, 15, 20));
  t.equal(reader.absolute, true);
});

await tap.test('a date and a time in two columns add up', async (t) => {
  const date = readerOf('MM/dd/yyyy', { parts: 'date' });
  const time = readerOf('HH:mm:ss.S', { parts: 'time' });
  t.equal(date('02/29/2024') + time('23:59:59.9'), Date.UTC(2024, 1, 29, 23, 59, 59, 900));
  t.ok(Number.isNaN(date('02/29/2023')));
  t.ok(Number.isNaN(time('24:00:00.0')));
  t.ok(Number.isNaN(time('23:59:60.0')));
});

await tap.test('an epoch in the unit that the notation says', async (t) => {
  const ms = 1_515_666_344_123;
  t.equal(readerOf('epoch-s')('1515666344'), 1_515_666_344_000);
  t.equal(readerOf('epoch-s')('1515666344.123'), ms);
  t.equal(readerOf('epoch-s')('1515666344.123999'), ms, 'cut, not rounded');
  t.equal(readerOf('epoch-s')('1515666344.1'), 1_515_666_344_100);
  t.equal(readerOf('epoch-ms')('1515666344123'), ms);
  t.equal(readerOf('epoch-ms')('1515666344123.9'), ms);
  t.equal(readerOf('epoch-ms')('1515666344'), 1_515_666_344, 'ms are ms, however few');
  t.equal(readerOf('epoch-us')('1515666344123999'), ms);
  t.equal(readerOf('epoch-us')('1515666344123999.5'), ms);
  t.equal(readerOf('epoch-us')('99999999999999999'), 99_999_999_999_999, 'exact beyond 2^53');
  t.equal(readerOf('epoch-us')('12'), 0);
  for (const text of ['1515666344', '1515666344123', '1515666344123999', '1515666344.123', '1515666344123.5'])
    t.equal(Math.floor(readerOf('epoch')(text) / 1000), 1_515_666_344, text);
  t.equal(readerOf('epoch')('99999999999'), 99_999_999_999_000, 'eleven digits are seconds');
  t.equal(readerOf('epoch')('100000000000'), 100_000_000_000, 'twelve are milliseconds');
  t.equal(readerOf('epoch')('100000000000000'), 100_000_000_000, 'fifteen are microseconds');
  t.equal(reader.absolute, true);
  const refused: Readonly<Record<string, readonly string[]>> = {
    'epoch-s': [
      '1515666344123',
      '-1515666344',
      '+1515666344',
      '1515666344.',
      '.5',
      '1515666344,1',
      '1e9',
      '',
      ' 1',
      '1.2.3',
    ],
    'epoch-ms': ['1515666344123999', '1515666344123.', '1515666344123.x'],
    'epoch-us': ['151566634412399900', '-1'],
    epoch: ['151566634412399900', '2018-01-11 10:25:44', '1515666344.1x'],
    iso: ['1515666344'],
    local: ['1515666344'],
    'iso-or-epoch': ['1515666344.123'],
  };
  for (const [notation, texts] of Object.entries(refused))
    for (const text of texts)
      t.ok(Number.isNaN(readerOf(notation)(text)), `${notation} ${JSON.stringify(text)}`);
});

await tap.test('second 60, 24:00 and years before 1900 are unreadable in every pattern', async (t) => {
  const read = readerOf('dd.MM.yyyy HH:mm[:ss[.u]]');
  t.equal(read('31.12.2016 23:59:59.999'), Date.UTC(2016, 11, 31, 23, 59, 59, 999));
  for (const text of [
    '31.12.2016 23:59:60',
    '31.12.2016 24:00:00',
    '31.12.2016 24:00',
    '31.12.2016 23:60:00',
    '31.12.1899 23:59:59',
    '31.12.2016 23:59:59 ',
    ' 31.12.2016 23:59:59',
    '31.12.2016 23:59:59.',
    '31.12.2016 23:59:5',
    '31.12.2016 23:59:',
    '31/12/2016 23:59:59',
    '31.12.2016  23:59:59',
    '31.12.2016 23:59:59.x',
    '3a.12.2016 23:59:59',
    '',
  ])
    t.ok(Number.isNaN(read(text)), JSON.stringify(text));
});

await tap.test('the answer of a call that nobody answered is no time', async (t) => {
  const acme = compileTime('HH:mm:ss.SSS zzz MMM dd yyyy');
  const local = compileTime('local');
  for (const text of ['', '0', '00:00:00.000 UTC JAN 01 1970'])
    t.equal(readOrNone(text, acme), NO_TIME, text);
  t.equal(readOrNone('1970-01-01 01:00:00', local), NO_TIME, 'epoch 0 as a local stamp');
  t.equal(readOrNone('1969-12-31 19:00:00', local), NO_TIME);
  t.equal(readOrNone('0000-00-00 00:00:00', local), NO_TIME);
  t.equal(readOrNone('0', compileTime('epoch-s')), NO_TIME);
  t.equal(readOrNone('1515666344', compileTime('epoch-s')), 1_515_666_344_000);
  t.equal(readOrNone('2024-01-27 15:07:24', local), Date.UTC(2024, 0, 27, 15, 7, 24));
  for (const text of [' ', '-', 'never', '0x0', '1970', '0000-00-00 00:00:01'])
    t.ok(Number.isNaN(readOrNone(text, local)), JSON.stringify(text));
});
