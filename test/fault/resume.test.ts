import { hostname } from 'node:os';
import Kafka from 'node-rdkafka';
import tap from 'tap';
import { SESSION, until } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';
import { ClickhouseProxy, insertsInto } from './clickhouse-proxy.ts';
import {
  callLines,
  countedRanges,
  house,
  judge,
  judgeAudit,
  judgeCalls,
  judgeTables,
  ledgerRanges,
  ledgerStored,
  Load,
  readAll,
  startIngest,
} from './harness.ts';
import { KafkaProxy } from './kafka-proxy.ts';
import { deleteRecordsBefore, Observer, recreateTopic, Sender } from './topic.ts';

/** Where reading goes on when Kafka or the database is not what the ledger remembers. */
const servers = testServers(import.meta.url);
const client = SESSION;

/** Waits until the broker has answered some fetches; it does ten times a second where nothing is new. */
async function fetchedAgain(kafka: KafkaProxy): Promise<void> {
  const { answers } = kafka;
  await until('it is fetched again', () => kafka.answers > answers + 8);
}

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

for (const [index, [length, count]] of (
  [
    ['longer', 400],
    ['shorter', 50],
  ] as const
).entries()) {
  await tap.test(`a topic that is made again while it is read, ${length} than before`, async (t) => {
    const installation = await house(t, servers, [4, 7][index]!, { partitions: 1 });
    const topic = installation.database;
    const sender = await Sender.connect(t, servers.kafka);
    const load = new Load(1).calls(callLines(61, 200), 10);
    await sender.send(topic, load.messages);
    const ingest = startIngest(t, installation);
    await until('the first topic is read', async () => (await ledgerStored(installation)) === load.accepted);
    await recreateTopic(servers.kafka, topic, { partitions: 1 });
    await sender.send(topic, new Load(1).calls(callLines(62, count), 10).messages);
    // Where it is longer there is a message of the new one at the offset where the old one ended.
    await until(
      'it is noticed, or something of the new topic is stored',
      async () => /PARTITION_GAP/.test(ingest.stderr()) || (await ledgerStored(installation)) > load.accepted,
    );
    // The shorter one grows over that offset.
    await sender.send(topic, new Load(1).calls(callLines(67, 300), 10).messages);
    t.equal(ingest.child.exitCode, null, 'it still runs');
    ingest.child.kill('SIGTERM');
    await ingest.ended;
    t.match(ingest.stderr(), /PARTITION_GAP/, 'the gap is noticed');
    t.equal(await ledgerStored(installation), load.accepted, 'nothing counts beyond the gap');
    await judgeCalls(t, installation, load);
    // At the latest when it starts again.
    t.match(await installation.run('ingest', '--until-idle'), {
      code: 1,
      stderr: /PARTITION_GAP.*deleted and created again/,
    });
    await judgeCalls(t, installation, load);
  });
}

await tap.test('a topic that is made again while batches of it are in hand', async (t) => {
  const installation = await house(t, servers, 8, { partitions: 1 });
  const topic = installation.database;
  const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
  const sender = await Sender.connect(t, servers.kafka);
  const older = callLines(68, 3000);
  await sender.send(topic, new Load(1).calls(older, 10).messages);
  const hold = proxy.hold('before', (exchange) => proxy.batches >= 2 && insertsInto('cdr')(exchange));
  const ingest = startIngest(t, installation);
  await hold.reached;
  await recreateTopic(servers.kafka, topic, { partitions: 1 });
  await sender.send(topic, new Load(1).calls(callLines(69, 4000), 10).messages);
  await hold.release();
  await until('it is noticed', () => /PARTITION_GAP/.test(ingest.stderr()));
  ingest.child.kill('SIGTERM');
  const { code, stderr } = await ingest.ended;
  t.equal(code, 0, stderr.slice(-3000));
  const stored = await ledgerStored(installation);
  t.ok(stored > 0 && stored < older.length, 'it had work in hand');
  // What was stored is a beginning of the older topic, whole.
  const load = new Load(1).calls(older.slice(0, stored), 10);
  await judgeCalls(t, installation, load);
  await judgeTables(t, installation);
  await judgeAudit(t, installation, load);
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
    const audited = await installation.json('audit', '--json');
    t.match(audited, { lost_offsets: 4, differences: [] }, 'what was accepted is known, and no fault');
  },
);

await tap.test('records gone while they are read: noted, others go on to their ends', async (t) => {
  const kafka = await KafkaProxy.start(t, servers.kafka);
  const clickhouse = await ClickhouseProxy.start(t, servers.clickhouse);
  const installation = await house(t, servers, 6, {
    partitions: 2,
    // So that one batch on its way is enough for reading to stop.
    environment: { CDRHOUSE_INGEST_BATCHES_IN_FLIGHT_MAX: '1' },
  });
  const topic = installation.database;
  const sender = await Sender.connect(t, servers.kafka, `${topic}-sender`);
  const load = new Load(2).calls(callLines(65, 400), 10);
  const last = load.messages.length;
  load.calls(callLines(68, 10), 10);
  await sender.transaction(topic, load.messages.slice(0, last), 'commit');
  installation.environment['CDRHOUSE_KAFKA_BROKERS'] = kafka.brokers;
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = clickhouse.url;
  const ingest = startIngest(t, installation);
  await until('it is read', async () => (await ledgerStored(installation)) === load.accepted - 10);
  const hold = clickhouse.hold('before', insertsInto('cdr'));
  await sender.transaction(topic, load.since(last), 'commit');
  await hold.reached;

  // Reading stands still, what is fetched waits. In partition 1 there is nothing new but an aborted transaction, so
  // that only its end tells that it was read; while ingest is cut off, what is new in partition 0 goes.
  const more = new Load(1).calls(callLines(66, 100), 10).messages;
  const toSecond = more.map((message) => ({ ...message, partition: 1 }));
  await sender.transaction(topic, toSecond, 'abort');
  await fetchedAgain(kafka);
  kafka.cut();
  await sender.transaction(topic, more, 'commit');
  const observer = await Observer.connect(t, servers.kafka, `${topic}-observer`);
  const [first, second] = await observer.logs(topic);
  await deleteRecordsBefore(servers.kafka, topic, 0, first!.high - 2);
  kafka.heal();
  await fetchedAgain(kafka);
  await hold.release();
  await until('the gap is noted', async () => {
    const gaps = await installation.rows<{ partition: number; next_offset: string }>(
      "SELECT partition, next_offset FROM {db}.ingest_state FINAL WHERE state = 'gap'",
    );
    if (gaps.length === 0) return false;
    t.match(gaps, [{ partition: 0 }]);
    // Behind its last message, or behind the mark of the transaction too.
    t.ok([first!.high - 12, first!.high - 11].includes(Number(gaps[0]!.next_offset)));
    return true;
  });
  await until('the other partition is read to its end', async () => {
    const ranges = countedRanges(await ledgerRanges(installation)).filter(({ partition }) => partition === 1);
    return Math.max(...ranges.map(({ next_offset }) => Number(next_offset))) === second!.high;
  });
  ingest.child.kill('SIGTERM');
  await ingest.ended;
  t.match(ingest.stderr(), /"code":"PARTITION_GAP","topic":"[^"]*","partition":0/);
  await judgeCalls(t, installation, load);
  await judgeTables(t, installation);
});

await tap.test(
  'another member takes its name in the group: it says why, and tries to join again',
  async (t) => {
    const installation = await house(t, servers, 10, { partitions: 1 });
    const topic = installation.database;
    const load = new Load(1).calls(callLines(67, 100), 10);
    await (await Sender.connect(t, servers.kafka)).send(topic, load.messages);
    const ingest = startIngest(t, installation);
    await until('it reads', async () => (await ledgerStored(installation)) === load.accepted);
    const namesake = new Kafka.KafkaConsumer(
      {
        'metadata.broker.list': servers.kafka,
        'group.id': topic,
        'group.instance.id': `cdrhouse-${hostname()}-0`,
        'partition.assignment.strategy': 'range,roundrobin',
      },
      {},
    );
    await new Promise<void>((resolve, reject) => {
      namesake.connect({}, (error) => (error ? reject(new Error(error.message)) : resolve()));
    });
    t.teardown(() => new Promise((resolve) => namesake.disconnect(resolve)));
    namesake.subscribe([topic]);
    namesake.consume(() => undefined);
    await until('it says so', () => /OWNERSHIP_LOST.*waiting to join the group again/.test(ingest.stderr()));
  },
);

await tap.test('--until-idle beside a process whose partition stands still: it says so', async (t) => {
  const installation = await house(t, servers, 9, { partitions: 1 });
  const topic = installation.database;
  const sender = await Sender.connect(t, servers.kafka);
  const load = new Load(1).calls(callLines(65, 400), 10);
  await sender.send(topic, load.messages);
  await readAll(installation);
  // Shorter: what the ledger holds of the older topic lies beyond the end of the newer one.
  await recreateTopic(servers.kafka, topic, { partitions: 1 });
  await sender.send(topic, new Load(1).calls(callLines(66, 100), 10).messages);
  const owner = startIngest(t, installation);
  await until('the partition stands still', () => /"partitions":0,"gaps":1/.test(owner.stderr()));
  const { code, stdout, stderr } = await installation.run('ingest', '--until-idle');
  t.match(stderr, /"partitions":0,"gaps":0,"msg":"partitions assigned"/, 'it has no partition itself');
  t.equal(code, 1);
  t.equal(stdout, '');
  t.match(stderr, /PARTITION_GAP: 1 partition\(s\) stand still.*deleted and created again/);
  t.equal(await ledgerStored(installation), load.accepted);
});
