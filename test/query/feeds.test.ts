import { setTimeout as sleep } from 'node:timers/promises';
import tap from 'tap';
import { Feeds } from '../../query/feeds.ts';

/** How far a log is read. */
const log = (feed: string, readUpToMs: number, more: object = {}) => ({
  feed,
  topic: 'cdr',
  topicId: 'id',
  partition: 0,
  generation: 1,
  readUpToMs,
  ...more,
});

await tap.test('feeds of the settings and of the ledger; nothing read is null', async (t) => {
  const configured = new Map([
    ['a', 'a'],
    ['b', 'cdr'],
  ]);
  const feeds = new Feeds(configured, {
    progress: async () => [log('b', 5), log('old', 0)],
    faultsSince: async () => [],
  });
  t.strictSame(
    [...(await feeds.known())],
    [
      ['a', null],
      ['b', 5],
      ['old', null],
    ],
  );
});

await tap.test('a feed is read as far as the slowest of the logs that are read now', async (t) => {
  const readUpTo = async (...logs: ReturnType<typeof log>[]): Promise<number | null | undefined> => {
    const source = { progress: async () => logs, faultsSince: async () => [] };
    return (await new Feeds(new Map([['a', 'cdr']]), source).known()).get('a');
  };
  const second = { partition: 1 };
  t.equal(await readUpTo(log('a', 9), log('a', 5, second), log('b', 1)), 5);
  t.equal(await readUpTo(log('a', 9), log('a', 0, second)), null, 'of one nothing is known');
  const anew = { generation: 2 };
  t.equal(await readUpTo(log('a', 2), log('a', 7, anew)), 7, 'the topic was made anew');
  t.equal(await readUpTo(log('a', 7, anew), log('a', 2)), 7);
  t.equal(await readUpTo(log('a', 9), log('a', 3, { topic: 'before' })), 9, 'it has another topic now');
  t.equal(await readUpTo(log('a', 3, { topic: 'before' })), 3, 'of which nothing is read yet');
});

await tap.test('the ledger is read every few seconds, and again after a failure', async (t) => {
  let [now, asked, broken] = [0, 0, true];
  const feeds = new Feeds(
    new Map([['a', 'cdr']]),
    {
      progress: async () => {
        asked++;
        if (broken) throw new Error('down');
        return [];
      },
      faultsSince: async () => [],
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

await tap.test('faults are read behind the progress, once for an hour and some seconds', async (t) => {
  let [now, broken] = [0, true];
  const asked: string[] = [];
  const feeds = new Feeds(
    new Map(),
    {
      progress: async () => {
        await sleep(1);
        asked.push('progress');
        return [];
      },
      faultsSince: async (ms) => {
        asked.push(String(ms));
        if (broken) throw new Error('down');
        return [{ kind: 'rejected', name: 'a', count: '1' }];
      },
    },
    () => now,
  );
  await t.rejects(feeds.faultsSince(1), { message: 'down' });
  broken = false;
  const found = await Promise.all([0, 1, 3_599_999, 3_600_000].map(async (ms) => feeds.faultsSince(ms)));
  t.equal(found.length, 4);
  t.match(found[0], [{ count: '1' }]);
  t.strictSame(asked, ['progress', '0', '0', '3600000']);
  now = 5000;
  await feeds.faultsSince(2);
  t.strictSame(asked.slice(4), ['progress', '0']);
});
