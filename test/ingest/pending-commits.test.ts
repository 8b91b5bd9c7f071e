import tap, { type Test } from 'tap';
import type { PartitionOffset } from '../../ingest/message-chunk.ts';
import { PendingCommits } from '../../ingest/pending-commits.ts';

function answer(code: number): never {
  return { code, message: 'as librdkafka says' } as never;
}

/** What is committed: the offsets of two partitions. */
function at(first: number, second = 7): PartitionOffset[] {
  return [
    { topic: 'cdr.a', partition: 0, offset: first },
    { topic: 'cdr.a', partition: 1, offset: second },
  ];
}

/** A clock and timers that the test moves. */
function playedTime(t: Test): { now: number; readonly timers: (() => void)[] } {
  const { setTimeout: realTimeout } = globalThis;
  const { now: realNow } = Date;
  t.teardown(() => {
    globalThis.setTimeout = realTimeout;
    Date.now = realNow;
  });
  const time = { now: 1000, timers: [] as (() => void)[] };
  globalThis.setTimeout = ((work: () => void) => {
    time.timers.push(work);
    return { unref: () => undefined };
  }) as never;
  Date.now = () => time.now;
  return time;
}

await tap.test('answers belong to commits of the same offsets, in any order', async (t) => {
  const commits = new PendingCommits();
  const sent = [1, 2, 3].map((offset) => commits.send(at(offset), () => undefined));
  commits.answered(null, at(3));
  await sent[2];
  commits.answered(answer(25), at(2).reverse());
  await t.rejects(sent[1]!, { code: 'OWNERSHIP_LOST' });
  commits.answered(undefined, at(1));
  await sent[0];
  commits.answered(null, at(4));
});

await tap.test('codes say whether the ownership is gone or Kafka away', async (t) => {
  for (const code of [22, 25, 27, 82]) {
    const commits = new PendingCommits();
    const sent = commits.send(at(1), () => undefined);
    commits.answered(answer(code), at(1));
    await t.rejects(sent, { code: 'OWNERSHIP_LOST' }, String(code));
  }
  const commits = new PendingCommits();
  const sent = commits.send(at(1), () => undefined);
  commits.answered(answer(-195), at(1));
  await t.rejects(sent, { code: 'KAFKA_UNREACHABLE', retryable: true });
});

await tap.test('a commit that cannot be sent waits for no answer', async (t) => {
  const commits = new PendingCommits();
  await t.rejects(
    commits.send(at(1), () => {
      throw Object.assign(new Error('closing'), { code: -172 });
    }),
    { code: 'OWNERSHIP_LOST' },
  );
  const time = playedTime(t);
  time.now = 5000;
  const sent = commits.send(at(1), () => undefined);
  commits.answered(null, at(1));
  t.equal(await sent, 5000);
});

await tap.test('a commit that is never answered: others are not taken for it', async (t) => {
  const time = playedTime(t);
  const commits = new PendingCommits();
  const lost = commits.send(at(1), () => undefined);
  time.timers[0]!();
  await t.rejects(lost, { code: 'KAFKA_UNREACHABLE' });
  time.now = 20_000;
  const other = commits.send(at(2), () => undefined);
  commits.answered(null, at(2));
  t.equal(await other, 20_000, 'an answer for other offsets');
});

await tap.test(
  'of several commits of the same offsets the answer proves the time of the first',
  async (t) => {
    const time = playedTime(t);
    const commits = new PendingCommits();
    const late = commits.send(at(1), () => undefined);
    time.timers[0]!();
    await t.rejects(late, { code: 'KAFKA_UNREACHABLE' });
    time.now = 30_000;
    const again = commits.send(at(1), () => undefined);
    // It may be the late one's, which was sent at 1000.
    commits.answered(null, at(1));
    t.equal(await again, 1000);
    time.now = 31_000;
    const third = commits.send(at(1), () => undefined);
    commits.answered(null, at(1));
    t.equal(await third, 31_000, 'nothing is outstanding any more');
  },
);

await tap.test('an answer that can no longer come is not waited for', async (t) => {
  const time = playedTime(t);
  const commits = new PendingCommits();
  const lost = commits.send(at(1), () => undefined);
  time.timers[0]!();
  await t.rejects(lost, { code: 'KAFKA_UNREACHABLE' });
  time.timers[1]!();
  time.now = 200_000;
  const sent = commits.send(at(1), () => undefined);
  commits.answered(null, at(1));
  t.equal(await sent, 200_000);
});
