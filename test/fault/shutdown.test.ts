import tap, { type Test } from 'tap';
import { type Installation, type Running, until, within } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';
import { ClickhouseProxy, type Hold, insertsInto } from './clickhouse-proxy.ts';
import { callLines, exitWithin, house, judge, ledgerStored, Load, readAll, startIngest } from './harness.ts';
import { Sender } from './topic.ts';

/** Signals while every queue is full. */
const servers = testServers(import.meta.url);
const PARTITIONS = 2;

/** An ingest whose batches all stand still: those in flight are full, and more is to be read. */
interface Standing {
  readonly installation: Installation;
  readonly proxy: ClickhouseProxy;
  readonly load: Load;
  readonly hold: Hold;
  readonly ingest: Running;
}

async function fullQueues(t: Test, databaseIndex: number, drainSeconds: number): Promise<Standing> {
  const installation = await house(t, servers, databaseIndex, {
    partitions: PARTITIONS,
    environment: { CDRHOUSE_INGEST_DRAIN_SECONDS_MAX: String(drainSeconds) },
  });
  const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
  const load = new Load(PARTITIONS).calls(callLines(40 + databaseIndex, 3000), 10, 'with bad lines');
  await (await Sender.connect(t, servers.kafka)).send(installation.database, load.messages);
  const hold = proxy.hold('before', (exchange) => proxy.batches >= 1 && insertsInto('cdr')(exchange));
  const ingest = startIngest(t, installation);
  await hold.reached;
  // With all places taken reading is paused after some seconds.
  await until('reading is paused', () => /reading is paused/.test(ingest.stderr()));
  return { installation, proxy, load, hold, ingest };
}

await tap.test('SIGTERM with full queues: what was read is stored, exit 0', async (t) => {
  const { installation, proxy, load, hold, ingest } = await fullQueues(t, 0, 30);
  const before = proxy.batches;
  ingest.child.kill('SIGTERM');
  await hold.release();
  const { code, stderr } = await ingest.ended;
  t.equal(code, 0);
  t.notMatch(stderr, /INTERNAL/);
  t.ok(proxy.batches >= before + 2, `${proxy.batches} batches: those in flight were stored`);
  const atEnd = await ledgerStored(installation);
  const summary = await readAll(installation);
  t.equal(summary.stored, load.accepted - atEnd, 'nothing of it is read again');
  await judge(t, installation, load);
});

await tap.test('SIGTERM while the database is away: it ends after the grace time', async (t) => {
  const { installation, proxy, load, hold, ingest } = await fullQueues(t, 1, 1);
  const before = proxy.batches;
  ingest.child.kill('SIGTERM');
  t.equal(await exitWithin(5000, ingest), 0, 'it ends by itself');
  t.equal(proxy.batches, before, 'what was not stored is not in the ledger');
  await hold.release();
  await readAll(installation);
  await judge(t, installation, load);
});

await tap.test('a second signal ends it at once', async (t) => {
  const { installation, load, hold, ingest } = await fullQueues(t, 2, 600);
  ingest.child.kill('SIGTERM');
  const answered = await fetch(`${servers.clickhouse}/ping`);
  t.equal(answered.status, 200);
  t.equal(ingest.child.exitCode, null, 'the first is waited out');
  ingest.child.kill('SIGTERM');
  const ms = await within(3000, 'it has ended', () => ingest.child.exitCode !== null);
  t.equal(ingest.child.exitCode, 1);
  t.comment(`ended after ${Math.round(ms)} ms`);
  await hold.release();
  await readAll(installation);
  await judge(t, installation, load);
});
