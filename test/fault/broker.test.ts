import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import tap from 'tap';
import { startClickhouse, startKafka } from '../../deploy/local/local-servers.ts';
import { until } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';
import { ClickhouseProxy, insertsInto } from './clickhouse-proxy.ts';
import { callLines, house, judge, ledgerStored, Load, readAll, startIngest } from './harness.ts';
import { KafkaProxy } from './kafka-proxy.ts';
import { Observer, Sender } from './topic.ts';

/** Servers that die or are out of reach, and come back. */
const servers = testServers(import.meta.url);
const SESSION_MS = 6000;
const PARTITIONS = 2;
/** The shortest that a broker allows. */

await tap.test('ClickHouse is killed in the middle of an insert and comes back', async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'cdrhouse-fault-'));
  t.teardown(() => rm(dataDir, { recursive: true, force: true, maxRetries: 5 }));
  const first = await startClickhouse({ dataDir, port: 0 });
  t.teardown(() => first.stop());
  const own = { ...servers, clickhouse: first.url, users: first.users };
  const installation = await house(t, own, 0, { partitions: PARTITIONS });
  const proxy = await ClickhouseProxy.start(t, first.url);
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
  const load = new Load(PARTITIONS).calls(callLines(11, 4000), 10, 'with bad lines');
  await (await Sender.connect(t, servers.kafka)).send(installation.database, load.messages);

  // Half of one table's block has arrived, the other table's is done.
  const rule = proxy.on(
    (exchange) => proxy.batches >= 2 && insertsInto('cdr')(exchange),
    async (exchange) => {
      await until('the other table has its block', () => proxy.inserted.at(-1) === 'cdr_by_number');
      await exchange.forwardPart(0.5);
      process.kill(first.pid, 'SIGKILL');
      await first.died;
      exchange.cut();
    },
    1,
  );
  const ingest = startIngest(t, installation, '--until-idle');
  await first.died;
  t.equal(rule.count(), 1);
  await until('the absence is noticed', () => /waiting for ClickHouse/.test(ingest.stderr()));
  const second = await startClickhouse({ dataDir, port: first.port });
  t.teardown(() => second.stop());
  t.ok((await ledgerStored(installation)) < load.accepted, 'it had work in hand');
  t.equal((await ingest.ended).code, 0, 'the same process goes on');
  await judge(t, installation, load);
});

await tap.test('the broker is killed while it is read and comes back', async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'cdrhouse-fault-'));
  t.teardown(() => rm(dataDir, { recursive: true, force: true, maxRetries: 5 }));
  const first = await startKafka({ dataDir, port: 0 });
  t.teardown(() => first.stop());
  const installation = await house(t, { ...servers, kafka: first.brokers }, 1, { partitions: PARTITIONS });
  const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
  const load = new Load(PARTITIONS).calls(callLines(12, 10_000), 10, 'with bad lines');
  await (await Sender.connect(t, first.brokers)).send(installation.database, load.messages);

  // The third batch stands still while the broker dies; what is read behind it is not all.
  const hold = proxy.hold('before', (exchange) => proxy.batches >= 2 && insertsInto('cdr')(exchange));
  const ingest = startIngest(t, installation);
  await hold.reached;
  process.kill(first.pid, 'SIGKILL');
  await first.died;
  await hold.release();
  await until('the absence is noticed', () => /KAFKA_UNREACHABLE/.test(ingest.stderr()));
  t.equal(ingest.child.exitCode, null, 'it waits');
  const second = await startKafka({ dataDir, port: first.port });
  t.teardown(() => second.stop());
  // More than it had before.
  const more = load.messages.length;
  load.calls(callLines(13, 500), 10);
  await (await Sender.connect(t, second.brokers)).send(installation.database, load.since(more));
  await until('the same process goes on to the end', async () => {
    if (ingest.child.exitCode !== null) throw new Error(`it ended: ${ingest.stderr()}`);
    return (await ledgerStored(installation)) === load.accepted;
  });
  ingest.child.kill('SIGTERM');
  t.equal((await ingest.ended).code, 0);
  await readAll(installation);
  await judge(t, installation, load);
});

await tap.test('the broker is out of reach for longer than the session timeout', async (t) => {
  const kafka = await KafkaProxy.start(t, servers.kafka);
  const installation = await house(t, servers, 2, {
    partitions: PARTITIONS,
    client: { 'session.timeout.ms': SESSION_MS, 'heartbeat.interval.ms': 1000 },
  });
  const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
  installation.environment['CDRHOUSE_KAFKA_BROKERS'] = kafka.brokers;
  const sender = await Sender.connect(t, servers.kafka);
  const load = new Load(PARTITIONS).calls(callLines(14, 3000), 10);
  await sender.send(installation.database, load.messages);

  const hold = proxy.hold('before', (exchange) => proxy.batches >= 2 && insertsInto('cdr')(exchange));
  const ingest = startIngest(t, installation);
  await hold.reached;
  kafka.cut();
  const cutAt = performance.now();
  // Another process of the group, which reaches the broker, gets the partitions: then the session is over.
  const taker = await (async (): Promise<typeof ingest> => {
    installation.environment['CDRHOUSE_KAFKA_BROKERS'] = servers.kafka;
    return Promise.resolve(startIngest(t, installation));
  })();
  await until('the session is over', () => /partitions assigned/.test(taker.stderr()));
  t.ok(performance.now() - cutAt > SESSION_MS / 2, 'it was cut off');
  await hold.release();
  kafka.heal();
  const more = load.messages.length;
  load.calls(callLines(15, 500), 10);
  await sender.send(installation.database, load.since(more));
  await until('both go on to the end', async () => (await ledgerStored(installation)) === load.accepted);
  for (const running of [ingest, taker]) {
    t.equal(running.child.exitCode, null, 'it still runs');
    running.child.kill('SIGTERM');
  }
  for (const running of [ingest, taker]) t.equal((await running.ended).code, 0);
  await readAll(installation);
  await judge(t, installation, load);
});

await tap.test('a commit that is repeated behind a newer one: lag does not stay', async (t) => {
  // What is not answered within 3 s is sent again.
  const client = { 'socket.timeout.ms': 3000 };
  const installation = await house(t, servers, 7, { partitions: 1, client });
  const proxy = await KafkaProxy.start(t, servers.kafka);
  installation.environment['CDRHOUSE_KAFKA_BROKERS'] = proxy.brokers;
  const load = new Load(1).calls(callLines(19, 20), 10);
  const sender = await Sender.connect(t, servers.kafka);
  await sender.send(installation.database, load.messages);
  const ingest = startIngest(t, installation);
  const isStored = async (): Promise<boolean> => (await ledgerStored(installation)) === load.accepted;
  await until('it reads', isStored);
  await until('that is committed', () => proxy.commits > 0);
  const observer = await Observer.connect(t, servers.kafka, installation.database);
  const committed = async (): Promise<number | undefined> =>
    (await observer.committed(installation.database, [0])).get(0);
  await until('all of it', async () => (await committed()) === load.messages.length);
  proxy.swallowCommit();
  for (const seed of [20, 21]) {
    const from = load.messages.length;
    load.calls(callLines(seed, 10), 10);
    await sender.send(installation.database, load.since(from));
    await until('it is stored', isStored);
  }
  // Until then the first one is sent again.
  await sleep(8000);
  await until('lag returns to 0', async () => (await committed()) === load.messages.length);
  ingest.child.kill('SIGTERM');
  t.equal((await ingest.ended).code, 0);
  await judge(t, installation, load);
});
