import fc from 'fast-check';
import tap from 'tap';
import { readSeconds, SECONDS_OUT_OF_RANGE, SECONDS_UNREADABLE } from '../../../ingest/parse/seconds.ts';

function read(text: string): number {
  const bytes = Buffer.from(`9${text}9`);
  return readSeconds(bytes, 1, bytes.length - 1);
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
