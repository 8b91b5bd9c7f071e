import tap from 'tap';
import { LedgerProgress } from '../../query/ledger-progress.ts';

const row = (feed: string, readUpToMs: number, more: object = {}) => ({
  feed,
  topic: 'cdr',
  topicId: 'first',
  partition: 0,
  generation: 1,
  readUpToMs,
  ...more,
});

/** A reader of what the database has, and how it was asked. */
function reader() {
  const database = { rows: [] as ReturnType<typeof row>[], nowMs: 10_000_000, asked: [] as number[] };
  const progress = new LedgerProgress(
    async (sinceMs) => {
      database.asked.push(sinceMs);
      return database.rows;
    },
    () => database.nowMs,
  );
  return { database, progress };
}

await tap.test('a log is read as far as its newest message, or as ingest has caught up', async (t) => {
  const { database, progress } = reader();
  const second = { partition: 1 };
  database.rows = [
    row('a', 5),
    row('a', 7, second),
    row('old', 2),
    row('', 6, { generation: 0 }),
    row('', 9),
  ];
  t.strictSame(await progress.read(), [row('a', 9), row('a', 7, second), row('old', 9)]);
  const anew = { topicId: 'second', generation: 2 };
  const { database: other, progress: ofAnew } = reader();
  other.rows = [row('a', 5), row('a', 0, anew), row('', 9, { ...anew, generation: 0 })];
  t.strictSame(await ofAnew.read(), [row('a', 5), row('a', 9, anew)], 'of a topic made anew alone');
});

await tap.test('all of the ledger is read every 5 minutes, and what is newer meanwhile', async (t) => {
  const { database, progress } = reader();
  database.rows = [row('a', 5), row('b', 6), row('', 4, { generation: 0 })];
  await progress.read();
  database.nowMs += 60_000;
  database.rows = [row('a', 8, { generation: 2 }), row('c', 1), row('', 4, { generation: 0 })];
  t.strictSame(await progress.read(), [row('a', 8, { generation: 2 }), row('b', 6), row('c', 4)]);
  database.rows = [row('', 7, { generation: 0 })];
  t.strictSame(await progress.read(), [row('a', 7), row('b', 7)], 'nothing newer, but caught up');
  t.strictSame(
    database.asked,
    [0, 9_700_000, 9_700_000],
    'since the reading of all, and what may have come late',
  );
  database.nowMs += 240_000;
  database.rows = [row('a', 3)];
  t.strictSame(await progress.read(), [row('a', 3)], 'what the database has no more is forgotten');
  t.equal(database.asked.at(-1), 0);
});

await tap.test('where all could not be read it is tried again', async (t) => {
  let broken = true;
  const progress = new LedgerProgress(async () => {
    if (broken) throw new Error('down');
    return [row('a', 5)];
  });
  await t.rejects(progress.read(), { message: 'down' });
  broken = false;
  t.strictSame(await progress.read(), [row('a', 5)]);
});
