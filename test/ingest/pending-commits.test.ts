import tap from 'tap';
import { PendingCommits } from '../../ingest/pending-commits.ts';

function answer(code: number): never {
  return { code, message: 'as librdkafka says' } as never;
}

await tap.test('answers belong to commits in the order in which they were sent', async (t) => {
  const commits = new PendingCommits();
  const sent = [0, 1, 2].map(() => commits.send(() => undefined));
  commits.answered(null);
  commits.answered(answer(25));
  commits.answered(undefined);
  await sent[0];
  await t.rejects(sent[1]!, { code: 'OWNERSHIP_LOST' });
  await sent[2];
});

await tap.test('codes say whether the ownership is gone or Kafka away', async (t) => {
  for (const code of [22, 25, 27, 82]) {
    const commits = new PendingCommits();
    const sent = commits.send(() => undefined);
    commits.answered(answer(code));
    await t.rejects(sent, { code: 'OWNERSHIP_LOST' }, String(code));
  }
  const commits = new PendingCommits();
  const sent = commits.send(() => undefined);
  commits.answered(answer(-195));
  await t.rejects(sent, { code: 'KAFKA_UNREACHABLE', retryable: true });
});

await tap.test('a commit that cannot be sent waits for no answer', async (t) => {
  const commits = new PendingCommits();
  await t.rejects(
    commits.send(() => {
      throw Object.assign(new Error('closing'), { code: -172 });
    }),
    { code: 'OWNERSHIP_LOST' },
  );
  const sent = commits.send(() => undefined);
  commits.answered(null);
  await sent;
});
