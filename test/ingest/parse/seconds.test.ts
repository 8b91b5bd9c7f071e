import fc from 'fast-check';
import { Duration } from 'luxon';
import tap from 'tap';
import {
  readDuration,
  readSeconds,
  SECONDS_OUT_OF_RANGE,
  SECONDS_UNREADABLE,
} from '../../../ingest/parse/seconds.ts';
import { DURATION_UNITS, type DurationUnit } from '../../../schemas/formats/duration-unit.ts';

function read(text: string): number {
  const bytes = Buffer.from(`9${text}9`);
  return readSeconds(bytes, 1, bytes.length - 1);
}

function readAs(unit: DurationUnit, text: string): number {
  // Whatever stands beside a field, reading beyond it shows.
  const results = ['9', ':30', '5.', '.5', 's', ''].map((beside) =>
    readDuration(
      Buffer.from(`${beside}${text}${beside}`),
      beside.length,
      beside.length + Buffer.byteLength(text),
      unit,
    ),
  );
  if (new Set(results).size > 1) throw new Error(`${JSON.stringify(text)}: ${results.join(' ')}`);
  return results[0]!;
}

await tap.test('decimal seconds are exact milliseconds', async (t) => {
  t.equal(read('0'), 0);
  t.equal(read('27'), 27_000);
  t.equal(read('0.5'), 500);
  t.equal(read('12.340'), 12_340);
  t.equal(read('12.3456'), 12_345, 'digits beyond the millisecond are cut');
  t.equal(read('4294967.295'), 4_294_967_295, 'the longest');
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 4_294_967_295 }), (ms) => {
      return read(`${Math.floor(ms / 1000)}.${String(ms % 1000).padStart(3, '0')}`) === ms;
    }),
  );
});

await tap.test('nothing is clamped or guessed', async (t) => {
  t.equal(read('4294967.296'), SECONDS_OUT_OF_RANGE);
  t.equal(read('5000000000'), SECONDS_OUT_OF_RANGE);
  t.equal(read('9'.repeat(400)), SECONDS_OUT_OF_RANGE);
  for (const text of [
    '',
    '-5',
    '+5',
    'abc',
    '1e3',
    '1.',
    '.5',
    '1.2.3',
    ' 1',
    '1 ',
    '0x10',
    '٣',
    '00:01:00',
  ]) {
    t.equal(read(text), SECONDS_UNREADABLE, JSON.stringify(text));
  }
});

await tap.test('a duration in every unit is what was written, in ms; what is smaller is cut', async (t) => {
  const written: Readonly<Record<DurationUnit, (ms: number, below: number) => string>> = {
    s: (ms, below) => `${Math.floor(ms / 1000)}.${String(ms % 1000).padStart(3, '0')}${below}`,
    ms: (ms, below) => `${ms}.${below}`,
    us: (ms, below) => `${ms}${String(below).padStart(3, '0')}`,
    ticks: (ms, below) => `${Math.floor(ms / 10)}.${ms % 10}${below}`,
    'hh:mm:ss': (ms, below) => `${Duration.fromMillis(ms).toFormat('hh:mm:ss.SSS')}${below}`,
    'mm:ss': (ms, below) => `${Duration.fromMillis(ms).toFormat('mm:ss.SSS')}${below}`,
    go: (ms, below) => `${Duration.fromMillis(ms).toFormat("h'h'm'm's.SSS")}${below}s`,
  };
  const milliseconds = fc.oneof(fc.nat(100_000), fc.integer({ min: 0, max: 4_294_967_295 }));
  for (const unit of DURATION_UNITS) {
    fc.assert(
      fc.property(milliseconds, fc.nat(999), (ms, below) => readAs(unit, written[unit](ms, below)) === ms),
    );
    t.equal(readAs(unit, written[unit](4_294_967_296, 0)), SECONDS_OUT_OF_RANGE, unit);
  }
});

await tap.test('durations as switches write them', async (t) => {
  t.equal(readAs('ms', '70960'), 70_960);
  t.equal(readAs('us', '70959914'), 70_959);
  t.equal(readAs('us', '999'), 0);
  t.equal(readAs('ticks', '4711'), 47_110);
  t.equal(readAs('ticks', '0'), 0);
  t.equal(readAs('hh:mm:ss', '00:05:36'), 336_000);
  t.equal(readAs('hh:mm:ss', '0:05:36'), 336_000);
  t.equal(readAs('hh:mm:ss', '00:05:36.9876543'), 336_987);
  t.equal(readAs('hh:mm:ss', '100:00:00'), 360_000_000, 'more than four days');
  t.equal(readAs('mm:ss', '05:36'), 336_000);
  t.equal(readAs('mm:ss', '75:30'), 4_530_000);
  t.equal(readAs('mm:ss', '1:15:30'), 4_530_000, 'behind the hour');
  t.equal(readAs('s', '336'), 336_000);
  t.equal(readAs('go', '10s'), 10_000);
  t.equal(readAs('go', '5m'), 300_000);
  t.equal(readAs('go', '1h5m'), 3_900_000);
  t.equal(readAs('go', '2h'), 7_200_000);
  t.equal(readAs('go', '1h0m3.5s'), 3_603_500);
  t.equal(readAs('go', '300.9ms'), 300);
  t.equal(readAs('go', '1m300ms'), 60_300);
  t.equal(readAs('go', '0s'), 0);
});

await tap.test('nothing else is a duration of that unit', async (t) => {
  const refused: Readonly<Record<DurationUnit, readonly string[]>> = {
    s: ['-1515666415', '5:36', '10s'],
    ms: ['-1', '70,960', '1.', '1.x', '.5', '1e3'],
    us: ['-1', '12.', 'abc'],
    ticks: ['-5', '1:2', '4711 '],
    'hh:mm:ss': [
      '-00:00:01',
      '05:36',
      '336',
      '00:60:00',
      '00:00:60',
      '00:5:36',
      '00:05:3',
      '00:05:36.',
      '00:05:36:00',
    ],
    'mm:ss': [
      '-0:01',
      '336',
      '05:60',
      '1:75:30',
      '05:3',
      '05:36.x',
      ':36',
      '05:',
      '05:36 ',
      '1.02:03:04',
      '05-36',
    ],
    go: [
      '-10s',
      '10',
      '10s5m',
      '5m5m',
      '5m5',
      '1.5h',
      '1.5m',
      '.5s',
      '5.s',
      '1.2.3s',
      '10S',
      '5d',
      's',
      'ms',
      '5m s',
      '5us',
      '5é',
    ],
  };
  for (const unit of DURATION_UNITS) {
    for (const text of ['', ' ', ' 1', '1 ', '+1', ...refused[unit]])
      t.equal(readAs(unit, text), SECONDS_UNREADABLE, `${unit} ${JSON.stringify(text)}`);
  }
});
