import { setTimeout as sleep } from 'node:timers/promises';
import tap, { type Test } from 'tap';
import { KafkaMetadata } from '../../ingest/kafka-metadata.ts';
import { checkSettings } from '../../schemas/settings.ts';
import { SESSION, type Installation, type Running, until, within } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';
import { ClickhouseProxy, insertsInto } from './clickhouse-proxy.ts';
import {
  callLines,
  house,
  judge,
  ledgerStored,
  Load,
  readAll,
  startIngest,
  type HouseOptions,
} from './harness.ts';
import { addPartitions, Sender, takePlace } from './topic.ts';

/** Processes of a group that join, leave, die, or stop for a while and wake up. */
const servers = testServers(import.meta.url);
const client = SESSION;
const assigned = /"partitions":[1-9][0-9]*,"gaps":[0-9]+,"msg":"partitions assigned"/;

/** Starts an ingest whose requests go to `url`. */
function startAt(t: Test, installation: Installation, url: string): Running {
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = url;
  return startIngest(t, installation);
}

/** Waits until a process that was stopped has noticed that the group went on without it. */
async function zombieKnows(zombie: Running): Promise<void> {
  try {
    await within(30_000, 'noticed', () => /partitions revoked|OWNERSHIP_LOST/.test(zombie.stderr()));
  } catch (error) {
    throw new Error(`the zombie does not know that its time is over:\n${zombie.stderr()}`, { cause: error });
  }
}

/** A house whose topic of two partitions has calls, and the proxy that will hold back its third batch, or a later one. */
async function holding(t: Test, databaseIndex: number, seed: number, options: HouseOptions = {}) {
  const installation = await house(t, servers, databaseIndex, { client, partitions: 2, ...options });
  const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
  const load = new Load(2).calls(callLines(seed, 3000), 10, 'with bad lines');
  const sender = await Sender.connect(t, servers.kafka);
  await sender.send(installation.database, load.messages);
  const hold = proxy.hold('before', (exchange) => proxy.batches >= 2 && insertsInto('cdr')(exchange));
  const sendMore = async (more: number): Promise<void> => {
    const from = load.messages.length;
    load.calls(callLines(more, 500), 10);
    await sender.send(installation.database, load.since(from));
  };
  return { installation, proxy, load, hold, sendMore };
}

/** Gives the topic so many partitions, and waits until the group has shared them out, whether or not its member took them. */
async function shareOut(t: Test, { database }: Installation, partitions: number): Promise<void> {
  await addPartitions(servers.kafka, database, partitions);
  const metadata = new KafkaMetadata(checkSettings({ kafka: { brokers: servers.kafka } }).kafka, 10_000);
  t.teardown(() => metadata.close());
  await until(
    `${partitions} partitions are shared out`,
    async () => (await metadata.describeGroup(database)).assigned?.length === partitions,
  );
  // The member hears of it with the answer that the group was described after.
  await sleep(1000);
}

/** Looks for new partitions often. */
const watchful = { ...client, 'topic.metadata.refresh.interval.ms': 500 };

await tap.test('partitions are added while what was taken away is still being stored', async (t) => {
  const { installation, proxy, load, hold, sendMore } = await holding(t, 5, 41, { client: watchful });
  const ingest = startAt(t, installation, proxy.url);
  await hold.reached;
  await addPartitions(servers.kafka, installation.database, 3);
  await until('its partitions are taken away', () => /partitions revoked/.test(ingest.stderr()));
  await shareOut(t, installation, 4);
  t.ok((await ledgerStored(installation)) < load.accepted, 'it has work in hand');
  await hold.release();
  await sendMore(42);
  await until('it reads on', async () => (await ledgerStored(installation)) === load.accepted);
  ingest.child.kill('SIGTERM');
  t.equal((await ingest.ended).code, 0);
  await readAll(installation);
  await judge(t, installation, load);
});

await tap.test('stopped beyond the session timeout while it holds an insert, then woken', async (t) => {
  const environment = { CDRHOUSE_CLICKHOUSE_REQUEST_TIMEOUT_S: '3' };
  const { installation, proxy, load, hold, sendMore } = await holding(t, 0, 21, { environment });
  const zombie = startAt(t, installation, proxy.url);
  await hold.reached;
  zombie.child.kill('SIGSTOP');
  const atStop = await ledgerStored(installation);
  t.ok(atStop > 0 && atStop < load.accepted, 'stopped with work in hand');

  const heir = startAt(t, installation, servers.clickhouse);
  await until(
    'the heir has read everything',
    async () => (await ledgerStored(installation)) === load.accepted,
  );
  t.equal(zombie.child.exitCode, null);
  // What the zombie had sent arrives now: its deadline is over.
  const answers = await hold.release();
  t.ok(answers.length > 0);
  for (const { headers } of answers) {
    t.equal(headers['x-clickhouse-exception-code'], '395', 'the server refuses what comes too late');
  }
  const rangesAtWaking = proxy.ranges.length;
  zombie.child.kill('SIGCONT');
  // It has noticed when it has been given partitions again, or the group went on without it.
  await zombieKnows(zombie);
  await sendMore(22);
  await until('both go on to the end', async () => (await ledgerStored(installation)) === load.accepted);
  t.comment(`ledger ranges that the zombie wrote after waking: ${proxy.ranges.length - rangesAtWaking}`);
  for (const running of [zombie, heir]) {
    t.equal(running.child.exitCode, null, 'it still runs');
    running.child.kill('SIGTERM');
  }
  for (const running of [zombie, heir]) t.equal((await running.ended).code, 0);
  await readAll(installation);
  await judge(t, installation, load);
});

await tap.test('stopped while reading is paused, then woken', async (t) => {
  const { installation, proxy, load, hold, sendMore } = await holding(t, 4, 26);
  const zombie = startAt(t, installation, proxy.url);
  await hold.reached;
  await until('reading is paused', () => /reading is paused/.test(zombie.stderr()));
  zombie.child.kill('SIGSTOP');
  const heir = startAt(t, installation, servers.clickhouse);
  await until(
    'the heir has read everything',
    async () => (await ledgerStored(installation)) === load.accepted,
  );
  zombie.child.kill('SIGCONT');
  await zombieKnows(zombie);
  await hold.release();
  await until(
    'it has partitions again',
    () => zombie.stderr().match(new RegExp(assigned, 'g'))?.length === 2,
  );
  await sendMore(27);
  await until('both go on to the end', async () => (await ledgerStored(installation)) === load.accepted);
  for (const running of [zombie, heir]) running.child.kill('SIGTERM');
  for (const running of [zombie, heir]) t.equal((await running.ended).code, 0);
  await readAll(installation);
  await judge(t, installation, load);
});

await tap.test('stopped before its claim of the partitions arrives, then woken', async (t) => {
  const installation = await house(t, servers, 1, { client, partitions: 1 });
  const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
  const load = new Load(1).calls(callLines(23, 2000), 10);
  const sender = await Sender.connect(t, servers.kafka);
  await sender.send(installation.database, load.messages);

  const claim = proxy.hold('before', ({ table }) => table === 'ingest_ledger');
  const zombie = startAt(t, installation, proxy.url);
  await claim.reached;
  zombie.child.kill('SIGSTOP');
  // The heir reads a part and stands still.
  const heirProxy = await ClickhouseProxy.start(t, servers.clickhouse);
  const hold = heirProxy.hold('before', (exchange) => heirProxy.batches >= 2 && insertsInto('cdr')(exchange));
  const heir = startAt(t, installation, heirProxy.url);
  await hold.reached;
  const atWaking = await ledgerStored(installation);
  t.ok(atWaking > 0 && atWaking < load.accepted);
  await claim.release();
  zombie.child.kill('SIGCONT');
  await zombieKnows(zombie);
  await hold.release();
  await until(
    'one of them reads to the end',
    async () => (await ledgerStored(installation)) >= load.accepted,
  );
  await until(
    'the zombie is in the group again, or has ended',
    () => assigned.test(zombie.stderr()) || zombie.child.exitCode !== null,
  );
  t.equal(zombie.child.exitCode, null, 'it finds back into the group');
  zombie.child.kill('SIGTERM');
  await zombie.ended;
  heir.child.kill('SIGTERM');
  t.equal((await heir.ended).code, 0);
  await readAll(installation);
  await judge(t, installation, load);
});

await tap.test('three processes join, leave and die during flushes', async (t) => {
  const installation = await house(t, servers, 2, { client, partitions: 6 });
  const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
  const load = new Load(6);
  const sender = await Sender.connect(t, servers.kafka);
  let seed = 30;
  const sendMore = async (): Promise<void> => {
    const from = load.messages.length;
    load.calls(callLines(seed++, 1500), 10, 'with bad lines');
    await sender.send(installation.database, load.since(from));
  };
  const everything = async (): Promise<boolean> => (await ledgerStored(installation)) === load.accepted;

  await sendMore();
  const flush = proxy.hold(
    'before',
    (exchange) => proxy.batches >= 1 && insertsInto('ingest_ledger')(exchange),
  );
  const first = startAt(t, installation, proxy.url);
  await flush.reached;
  const second = startAt(t, installation, proxy.url);
  await until('the first must give up partitions', () => /partitions revoked/.test(first.stderr()));
  await flush.release();
  await until('the second has partitions', () => assigned.test(second.stderr()));
  await sendMore();

  const third = startAt(t, installation, proxy.url);
  await until('the third has partitions', () => assigned.test(third.stderr()));
  await sendMore();
  const insert = proxy.hold('before', insertsInto('cdr', 'cdr_by_number'));
  await insert.reached;
  // One leaves in an orderly way, one dies, both with inserts on their way.
  first.child.kill('SIGTERM');
  second.child.kill('SIGKILL');
  await insert.release();
  t.equal((await first.ended).code, 0);
  await second.ended;
  t.notOk(await everything(), 'with work in hand');

  const fourth = startAt(t, installation, proxy.url);
  await sendMore();
  await until('those that are left read everything', everything);
  await until('the fourth has partitions', () => assigned.test(fourth.stderr()));
  for (const running of [third, fourth]) running.child.kill('SIGTERM');
  for (const running of [third, fourth]) t.equal((await running.ended).code, 0);
  await readAll(installation);
  await judge(t, installation, load);
});

await tap.test('its place in the group is taken by another with its name: it joins again', async (t) => {
  const { installation, proxy, load, hold } = await holding(t, 3, 25);
  const ingest = startAt(t, installation, proxy.url);
  await hold.reached;
  const [, instanceId] = /"instanceId":"([^"]+)"/.exec(ingest.stderr())!;
  await takePlace(servers.kafka, installation.database, instanceId!, installation.database);
  await until('it notices', () => /OWNERSHIP_LOST.*waiting to join the group again/.test(ingest.stderr()));
  t.ok((await ledgerStored(installation)) < load.accepted, 'it had work in hand');
  await hold.release();
  await until('the same process reads on', async () => (await ledgerStored(installation)) === load.accepted);
  t.equal(ingest.child.exitCode, null);
  ingest.child.kill('SIGTERM');
  t.equal((await ingest.ended).code, 0);
  await readAll(installation);
  await judge(t, installation, load);
});
