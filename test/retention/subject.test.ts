import tap from 'tap';
import { numbersByFeed, OPEN_END_MS, readSubject, type Subject } from '../../retention/subject.ts';
import { checkSettings } from '../../schemas/settings.ts';

const one = checkSettings({ feeds: [{ name: 'a' }], query: { default_country: 'FR' } });
const two = checkSettings({
  feeds: [
    { name: 'a', topic: 'a' },
    { name: 'b', topic: 'b' },
  ],
  query: { default_country: 'FR' },
});
const at = { fromMs: 0, toMs: undefined };
const subject = (settings: typeof one, typed: string, feeds?: string[]): Subject =>
  readSubject(
    settings,
    { ...at, numbers: [typed], feeds },
    settings.feeds.map(({ name }) => name),
  );
const numbers = (...asked: Parameters<typeof subject>): readonly string[] => subject(...asked).numbers;

await tap.test('a number in any notation is its E.164 number', async (t) => {
  for (const typed of ['+33199000001', '01 99 00 00 01', '0033 1 99 00 00 01', '+33 (1) 99-00-00-01'])
    t.strictSame(numbers(two, typed), ['+33199000001'], typed);
  const { feeds, fromMs, toMs } = subject(two, '+33199000001');
  t.strictSame({ feeds, fromMs, toMs }, { feeds: undefined, fromMs: 0, toMs: OPEN_END_MS });
});

await tap.test(
  'with one feed, or where feeds are named, its digits as they were typed are meant too',
  async (t) => {
    t.strictSame(numbers(one, '0199000001'), ['+33199000001', '0199000001']);
    t.strictSame(
      numbersByFeed(subject(one, '0199000001')),
      [
        { number: '+33199000001', feed: '' },
        { number: '0199000001', feed: 'a' },
      ],
      'the digits are those of another person in a feed that is added later',
    );
    t.strictSame(numbers(two, '01 99 00 00 01', ['b']), ['+33199000001', '0199000001']);
  },
);

await tap.test('an extension is another person on another switch', async (t) => {
  t.throws(() => numbers(two, '1002'), { code: 'USAGE_WRONG', message: /--feed/ });
  t.strictSame(numbers(two, '1002', ['a']), ['1002']);
  t.strictSame(numbers(one, '1002'), ['1002']);
  t.strictSame([subject(one, '1002').feeds, subject(one, '+33199000001').feeds], [['a'], undefined]);
  t.throws(() => readSubject(one, { ...at, numbers: ['1002'], feeds: undefined }, []), { message: /--feed/ });
});

await tap.test('a feed that nobody knows is refused', async (t) => {
  t.throws(() => numbers(two, '1002', ['b', 'c']), { code: 'FEED_UNKNOWN', message: /"c"; there are a, b/ });
});

await tap.test('what names nobody is refused, and not repeated', async (t) => {
  for (const typed of ['', 'Anonymous', 'unknown', '+33\n', '1'.repeat(65)]) {
    t.throws(() => numbers(one, typed), { code: 'USAGE_WRONG' });
  }
  t.throws(() => readSubject(one, { numbers: ['1'], feeds: undefined, fromMs: 2, toMs: 2 }, ['a']), /--from/);
});
