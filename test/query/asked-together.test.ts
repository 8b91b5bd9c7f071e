import { setImmediate as nextTurn } from 'node:timers/promises';
import tap from 'tap';
import { AskedTogether } from '../../query/asked-together.ts';

/** A question that is answered, or fails, when the test says so; the answer is how many were asked. */
function asked() {
  const open: { answer: () => void; fail: () => void }[] = [];
  let count = 0;
  const question = new AskedTogether(
    () =>
      new Promise<number>((resolve, reject) => {
        const number = ++count;
        open.push({ answer: () => resolve(number), fail: () => reject(new Error('away')) });
      }),
  );
  return { question, open, count: () => count };
}

await tap.test('who comes in one turn of the event loop shares a question', async (t) => {
  const { question, open, count } = asked();
  const both = [question.ask()];
  // What one insert lets go on goes on in one turn, though not at once.
  for (let step = 0; step < 5; step++) await Promise.resolve();
  both.push(question.ask());
  await nextTurn();
  t.equal(count(), 1);
  open[0]!.answer();
  t.strictSame(await Promise.all(both), [1, 1]);
});

await tap.test('who comes while a question is under way shares the next one', async (t) => {
  const { question, open, count } = asked();
  const first = question.ask();
  await nextTurn();
  const second = question.ask();
  await nextTurn();
  const third = question.ask();
  await nextTurn();
  t.equal(count(), 1);
  open[0]!.answer();
  t.equal(await first, 1);
  await nextTurn();
  t.equal(count(), 2);
  const fourth = question.ask();
  open[1]!.answer();
  t.strictSame(await Promise.all([second, third]), [2, 2]);
  await nextTurn();
  open[2]!.answer();
  t.equal(await fourth, 3);
  t.equal(count(), 3);
  const later = question.ask();
  await nextTurn();
  t.equal(count(), 4, 'nobody is given an answer from before');
  open[3]!.answer();
  t.equal(await later, 4);
});

await tap.test('a question that fails fails for those who share it, and for nobody else', async (t) => {
  const { question, open } = asked();
  const first = question.ask();
  await nextTurn();
  const second = question.ask();
  open[0]!.fail();
  await t.rejects(first, { message: 'away' });
  await nextTurn();
  open[1]!.answer();
  t.equal(await second, 2);
  const third = question.ask();
  await nextTurn();
  open[2]!.fail();
  await t.rejects(third, { message: 'away' });
});
