import tap from 'tap';
import { Feeds } from '../../query/feeds.ts';

await tap.test('feeds of the settings and of the ledger; nothing read is null', async (t) => {
  const feeds = new Feeds(['a', 'b'], async () => [
    { feed: 'b', readUpToMs: 5 },
    { feed: 'old', readUpToMs: 0 },
  ]);
  t.strictSame(
    [...(await feeds.known())],
    [
      ['a', null],
      ['b', 5],
      ['old', null],
    ],
  );
});

await tap.test('the ledger is read every few seconds, and again after a failure', async (t) => {
  let [now, asked, broken] = [0, 0, true];
  const feeds = new Feeds(
    ['a'],
    async () => {
      asked++;
      if (broken) throw new Error('down');
      return [];
    },
    () => now,
  );
  await t.rejects(feeds.known(), { message: 'down' });
  broken = false;
  await feeds.known();
  await feeds.known();
  t.equal(asked, 2);
  now = 5001;
  await feeds.known();
  t.equal(asked, 3);
});
