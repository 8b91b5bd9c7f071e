import tap from 'tap';
import { until } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';
import {
  callLines,
  house,
  judge,
  judgeCalls,
  judgeTables,
  ledgerStored,
  Load,
  readAll,
  startIngest,
  storedLines,
} from './harness.ts';
import { deleteRecordsBefore, Observer, recreateTopic, Sender } from './topic.ts';

/** Where reading goes on when Kafka or the database is not what the ledger remembers. */
const servers = testServers(import.meta.url);
const client = { 'session.timeout.ms': 6000 };

await tap.test("the group's offsets moved from outside have no effect", async (t) => {
  const installation = await house(t, servers, 0, { client, partitions: 2 });
  const load = new Load(2).calls(callLines(51, 1000), 10, 'with bad lines');
  const sender = await Sender.connect(t, servers.kafka);
  await sender.send(installation.database, load.messages);
  await readAll(installation);
  const before = load.messages.length;
  const storedBefore = load.accepted;
  load.calls(callLines(52, 500), 10);
  await sender.send(installation.database, load.since(before));

  const observer = await Observer.connect(t, servers.kafka, installation.database);
  const [, second] = await observer.logs(installation.database);
  // The group is empty once the session of its last member is over.
  await until('the offsets can be moved', () => {
    try {
      // One partition back to its begin, the other over what nobody has read yet.
      observer.reset(installation.database, [0], 0);
      observer.reset(installation.database, [1], second!.high);
      return true;
    } catch {
      return false;
    }
  });
  t.equal((await observer.committed(installation.database, [0])).get(0), 0, 'moved');
  const summary = await readAll(installation);
  t.equal(summary.stored, load.accepted - storedBefore, 'just what is new is read');
  await judge(t, installation, load);
});

await tap.test('an empty database beside an old group: everything is read', async (t) => {
  const installation = await house(t, servers, 1, { partitions: 2 });
  const load = new Load(2).calls(callLines(53, 1000), 10, 'with bad lines');
  await (await Sender.connect(t, servers.kafka)).send(installation.database, load.messages);
  t.match(await readAll(installation), { stored: load.accepted });
  const rebuilt = await house(t, servers, 2, {
    settings: { feeds: [{ name: 'default', topic: installation.database }] },
    environment: { CDRHOUSE_KAFKA_GROUP: installation.database },
  });
  t.match(await readAll(rebuilt), { stored: load.accepted, rejected: load.rejected.length });
  await judge(t, rebuilt, load, { topics: [installation.database] });
});

await tap.test('topics deleted and made again, shorter and longer: they stop, others go on', async (t) => {
  const names = ['steady', 'shorter', 'longer'] as const;
  const topicOf = (name: string): string => `${servers.databases[3]}.${name}`;
  const installation = await house(t, servers, 3, {
    settings: {
      feeds: names.map((name) => ({ name, topic: topicOf(name) })),
      kafka: { topic_partitions: 1 },
    },
  });
  const sender = await Sender.connect(t, servers.kafka);
  // What must be stored, whatever its topic.
  const load = new Load(1);
  for (const [index, name] of names.entries()) {
    const from = load.messages.length;
    load.calls(callLines(54 + index, 200), 10);
    await sender.send(topicOf(name), load.since(from));
  }
  await readAll(installation);
  const ledger = await ledgerStored(installation);
  t.equal(ledger, load.accepted);

  for (const [name, count] of [
    ['shorter', 50],
    ['longer', 400],
  ] as const) {
    await recreateTopic(servers.kafka, topicOf(name), { partitions: 1 });
    await sender.send(topicOf(name), new Load(1).calls(callLines(57 + count, count), 10).messages);
  }
  const from = load.messages.length;
  load.calls(callLines(58, 200), 10);
  await sender.send(topicOf('steady'), load.since(from));
  for (const time of ['first', 'second']) {
    const { code, stderr } = await installation.run('ingest', '--until-idle');
    t.equal(code, 1, `${time} run`);
    t.match(stderr, /PARTITION_GAP: 2 partition\(s\) stand still/);
    for (const name of ['shorter', 'longer'])
      t.match(stderr, new RegExp(`${name}.*the topic was deleted and created again`));
  }
  t.equal(await ledgerStored(installation), load.accepted, 'the steady topic went on, the others did not');
  await judgeCalls(t, installation, load);
  await judgeTables(t, installation);
  const gaps = await installation.rows<{ topic: string; next_offset: string }>(
    "SELECT topic, next_offset FROM {db}.ingest_state FINAL WHERE state = 'gap' ORDER BY topic",
  );
  t.strictSame(
    gaps.map(({ topic, next_offset }) => [topic, Number(next_offset)]),
    [
      [topicOf('longer'), 20],
      [topicOf('shorter'), 20],
    ],
    'the gaps are recorded',
  );
});

await tap.test('a topic that is made again while it is read, longer than before', async (t) => {
  const installation = await house(t, servers, 4, { partitions: 1 });
  const topic = installation.database;
  const sender = await Sender.connect(t, servers.kafka);
  const load = new Load(1).calls(callLines(61, 200), 10);
  await sender.send(topic, load.messages);
  const ingest = startIngest(t, installation);
  await until('the first topic is read', async () => (await ledgerStored(installation)) === load.accepted);
  await recreateTopic(servers.kafka, topic, { partitions: 1 });
  await sender.send(topic, new Load(1).calls(callLines(62, 400), 10).messages);
  // It is longer: at the offset where the old one ended there is a message of the new one.
  await until(
    'it is noticed, or something of the new topic is stored',
    async () => /PARTITION_GAP/.test(ingest.stderr()) || (await ledgerStored(installation)) > load.accepted,
  );
  ingest.child.kill('SIGTERM');
  await ingest.ended;
  t.match(ingest.stderr(), /PARTITION_GAP/, 'the gap is noticed');
  t.equal(await ledgerStored(installation), load.accepted, 'nothing counts beyond the gap');
  t.equal((await storedLines(installation)).length, load.accepted, 'nothing is stored beyond it');
  // At the latest when it starts again.
  t.match(await installation.run('ingest', '--until-idle'), {
    code: 1,
    stderr: /PARTITION_GAP.*deleted and created again/,
  });
});

await tap.test(
  'records gone from Kafka before they were read: that partition stops, others go on',
  async (t) => {
    const installation = await house(t, servers, 5, { client, partitions: 2 });
    const topic = installation.database;
    const sender = await Sender.connect(t, servers.kafka);
    const load = new Load(2).calls(callLines(63, 400), 10, 'with bad lines');
    await sender.send(topic, load.messages);
    await readAll(installation);
    // 10 more messages in each partition, of which the first four of partition 0 go.
    const more = new Load(2).calls(callLines(64, 200), 10).messages;
    await sender.send(topic, more);
    await deleteRecordsBefore(servers.kafka, topic, 0, 24);
    for (const { partition, value } of more) {
      if (partition === 1) load.calls(value!.toString().trimEnd().split('\n'), 10);
    }
    const { code, stderr } = await installation.run('ingest', '--until-idle');
    t.equal(code, 1);
    t.match(stderr, /Kafka no longer holds offsets 20 to 23/);
    t.equal(await ledgerStored(installation), load.accepted, 'the other partition went on');
    await judgeCalls(t, installation, load);
    await judgeTables(t, installation);
    const gaps = await installation.rows<object>(
      "SELECT partition, next_offset FROM {db}.ingest_state FINAL WHERE state = 'gap'",
    );
    t.match(gaps, [{ partition: 0, next_offset: '20' }], 'the gap is recorded');

    await until('the gap can be accepted: the group is idle', async () => {
      const accepted = await installation.run('ingest', 'accept-gap');
      if (accepted.stderr.includes('GROUP_BUSY')) return false;
      t.equal(accepted.code, 0);
      t.match(JSON.parse(accepted.stdout), { partition: 0, from_offset: 20, to_offset: 24 });
      return true;
    });
    const left = more.filter(({ partition }) => partition === 0).slice(4);
    for (const { value } of left) load.calls(value!.toString().trimEnd().split('\n'), 10);
    t.match(await readAll(installation), { stored: 10 * left.length }, 'it goes on behind the gap');
    await judgeCalls(t, installation, load);
    await judgeTables(t, installation);
  },
);
