import tap, { type Test } from 'tap';
import { type Installation, type Running, until, within } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';
import { callLines, house, judge, ledgerStored, Load, readAll, startIngest } from './harness.ts';
import { addPartitions, createTopic, Sender } from './topic.ts';

/**
 * Ingest that starts again with other feeds within the session timeout: the broker gives a static member that returns
 * what it had, whatever it subscribes to now.
 */
const servers = testServers(import.meta.url);
/** So that the others of a group notice soon that it shares out anew. The session is the default one, 45 s. */
const client = { 'heartbeat.interval.ms': 500 };
const signals = ['SIGTERM', 'SIGKILL'] as const;

/** Well below the session timeout: nothing may wait for its end. */
const READ_MS = 30_000;

/** How many partitions a process was given last; 0 before the first. */
const assigned = (running: Running): number =>
  Number(
    [...running.stderr().matchAll(/"partitions":([0-9]+),"gaps":0,"msg":"partitions assigned"/g)].at(
      -1,
    )?.[1] ?? 0,
  );

const topicOf = (installation: Installation, feed: string): string => `${installation.database}.${feed}`;

/** Writes cdrhouse.yaml anew, with these feeds. */
function setFeeds(installation: Installation, feeds: readonly string[]): void {
  const settings = {
    feeds: feeds.map((name) => ({ name, topic: topicOf(installation, name) })),
    kafka: { client },
  };
  installation.write('cdrhouse.yaml', JSON.stringify(settings));
}

/** An installation that reads feed `a` of the two that have calls. */
async function twoFeeds(
  t: Test,
  databaseIndex: number,
): Promise<{ installation: Installation; a: Load; both: Load }> {
  const installation = await house(t, servers, databaseIndex, { client });
  setFeeds(installation, ['a']);
  const sender = await Sender.connect(t, servers.kafka);
  const a = new Load(2).calls(callLines(81, 400), 10, 'with bad lines');
  const both = new Load(2).calls(callLines(81, 400), 10, 'with bad lines');
  const from = both.messages.length;
  both.calls(callLines(82, 400), 10);
  for (const [feed, messages] of [
    ['a', a.messages],
    ['b', both.since(from)],
  ] as const) {
    await createTopic(servers.kafka, topicOf(installation, feed), { partitions: 2 });
    await sender.send(topicOf(installation, feed), messages);
  }
  return { installation, a, both };
}

async function end({ child, ended }: Running, signal: (typeof signals)[number]): Promise<void> {
  child.kill(signal);
  await ended;
}

async function judgeBoth(t: Test, installation: Installation, load: Load): Promise<void> {
  setFeeds(installation, ['a', 'b']);
  await readAll(installation);
  await judge(t, installation, load, { topics: ['a', 'b'].map((feed) => topicOf(installation, feed)) });
}

for (const [index, signal] of signals.entries()) {
  for (const [which, feeds] of [['a', 'b'], ['b']].entries()) {
    await tap.test(`a service of feed a, ${signal}, then of ${feeds.join(' and ')}`, async (t) => {
      const { installation, a, both } = await twoFeeds(t, 2 * index + which);
      const first = startIngest(t, installation);
      await until('a is read', async () => (await ledgerStored(installation)) === a.accepted);
      await end(first, signal);
      setFeeds(installation, feeds);
      const second = startIngest(t, installation);
      await within(READ_MS, 'b is read', async () => (await ledgerStored(installation)) === both.accepted);
      await until('it says what it has', () => assigned(second) === 2 * feeds.length);
      await end(second, 'SIGTERM');
      await judgeBoth(t, installation, both);
    });
  }
}

await tap.test('--until-idle after --until-idle with other feeds', async (t) => {
  const { installation, a, both } = await twoFeeds(t, 4);
  t.match(await readAll(installation), { stored: a.accepted, rejected: a.rejected.length });
  setFeeds(installation, ['b']);
  t.match(await readAll(installation), { stored: both.accepted - a.accepted, rejected: 0 });
  await judgeBoth(t, installation, both);
});

await tap.test('two services that start again one after the other: they share the new feed', async (t) => {
  const { installation, a, both } = await twoFeeds(t, 5);
  const running = [startIngest(t, installation), startIngest(t, installation)];
  await until('both have a share', () => running.every((each) => assigned(each) === 1));
  await until('a is read', async () => (await ledgerStored(installation)) === a.accepted);
  setFeeds(installation, ['a', 'b']);
  for (const [index, old] of running.entries()) {
    await end(old, 'SIGKILL');
    running[index] = startIngest(t, installation);
    await until('it has partitions', () => assigned(running[index]!) > 0);
    if (index === 0)
      await within(READ_MS, 'b is read', async () => (await ledgerStored(installation)) === both.accepted);
  }
  await within(READ_MS, 'each has one of a and one of b', () =>
    running.every((each) => assigned(each) === 2),
  );
  for (const each of running) await end(each, 'SIGTERM');
  await judgeBoth(t, installation, both);
});

await tap.test('a partition more while the service is away: it is read', async (t) => {
  const { installation, both } = await twoFeeds(t, 6);
  setFeeds(installation, ['a', 'b']);
  const first = startIngest(t, installation);
  await until('all is read', async () => (await ledgerStored(installation)) === both.accepted);
  await end(first, 'SIGKILL');
  await addPartitions(servers.kafka, topicOf(installation, 'a'), 3);
  const more = new Load(1).calls(callLines(83, 100), 10);
  both.calls(callLines(83, 100), 10);
  // A producer that knew the topic before would not know the partition.
  const sender = await Sender.connect(t, servers.kafka);
  await sender.send(
    topicOf(installation, 'a'),
    more.messages.map((message) => ({ ...message, partition: 2 })),
  );
  const second = startIngest(t, installation);
  await within(READ_MS, 'it is read', async () => (await ledgerStored(installation)) === both.accepted);
  await end(second, 'SIGTERM');
  await judgeBoth(t, installation, both);
});
