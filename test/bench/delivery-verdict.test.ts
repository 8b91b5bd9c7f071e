import tap from 'tap';
import { badIdsIn, deliveryRecords } from '../../bench/delivery-records.ts';
import { byKind, judge, type StoredRow } from '../../bench/delivery-verdict.ts';

/** The verdict of the delivery bench goes by ids. */
const expected = {
  good: new Map([
    ['a', 'A'],
    ['b', 'B'],
    ['c', 'C'],
  ]),
  bad: new Map([
    ['x', 'a date'],
    ['y', 'a duration'],
    ['z', 'a duration'],
  ]),
};
const row = (id: string, content = id.toUpperCase()): StoredRow => ({ id, content });
const all = [row('a'), row('b'), row('c')];

await tap.test('all there, and the bad ones aside', (t) => {
  const verdict = judge(expected, [all, [...all].reverse()], new Set(['x', 'y', 'z']));
  const { lost, twice, altered, madeUp, gone, aside } = verdict;
  t.equal(lost.size + twice.size + altered.size + madeUp.size + gone.size, 0);
  t.strictSame([...aside], ['x', 'y', 'z']);
  t.end();
});

await tap.test('one lost and one twice do not make up for each other', (t) => {
  const { lost, twice } = judge(expected, [[row('a'), row('b'), row('b')]], new Set());
  t.strictSame([...lost], ['c']);
  t.strictSame([...twice], ['b']);
  t.end();
});

await tap.test('what one of the tables lacks is lost', (t) => {
  t.strictSame([...judge(expected, [all, [row('a'), row('c')]], new Set()).lost], ['b']);
  t.end();
});

await tap.test('other content, bad records among the good, unknown ids, and what is nowhere', (t) => {
  const stored = [row('a', 'other'), row('b'), row('c'), row('y'), row('nobody')];
  const verdict = judge(expected, [stored], new Set(['x']));
  t.strictSame([...verdict.altered], ['a', 'y']);
  t.strictSame([...verdict.madeUp], ['nobody']);
  t.strictSame([...verdict.gone], ['z']);
  t.strictSame(
    [...byKind(verdict.altered, expected)],
    [
      ['a good record', 1],
      ['a duration', 1],
    ],
  );
  t.end();
});

await tap.test('one record of a hundred is bad, in each way as often, and known by its id', (t) => {
  const { lines, good, bad } = deliveryRecords(7000);
  t.equal(good.size, 6930);
  t.equal(bad.size, 70);
  t.strictSame(new Set(byKind(new Set(bad.keys()), { good, bad }).values()), new Set([10]));
  t.strictSame(new Set(lines.flatMap(badIdsIn)), new Set(bad.keys()));
  t.end();
});
