import { execFileSync } from 'node:child_process';
import { appendFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tap, { type Test } from 'tap';
import { startClickhouse } from '../../deploy/local/local-servers.ts';
import { until, within } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';
import { ClickhouseProxy, insertsInto } from './clickhouse-proxy.ts';
import { callLines, house, judge, ledgerStored, Load, startIngest } from './harness.ts';
import { Sender } from './topic.ts';

/** A database without space: waited for. */
const servers = testServers(import.meta.url);
const PARTITIONS = 2;
const MIB = 1024 ** 2;
/** What ClickHouse says where it cannot reserve space for a part. */
const refusedTwice = /insert into [a-z_]+","reason":"243","nextTry":3/;

for (const [index, table] of ['cdr', 'cdr_by_number', 'dead_letters', 'ingest_ledger'].entries()) {
  await tap.test(`no space for ${table}: waited for, and gone on with when there is`, async (t) => {
    const installation = await house(t, servers, index, {
      partitions: PARTITIONS,
      environment: { CDRHOUSE_INGEST_BATCHES_IN_FLIGHT_MAX: '1' },
    });
    const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
    installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
    const load = new Load(PARTITIONS).calls(callLines(110 + index, 2000), 10, 'with bad lines');
    await (await Sender.connect(t, servers.kafka)).send(installation.database, load.messages);
    // A quota that no disk satisfies, from the third batch on.
    const rule = proxy.on(
      (exchange) => proxy.batches >= 2 && insertsInto(table)(exchange),
      async (exchange) => {
        await setFreeBytesMin(10 ** 18);
        exchange.answer(await proxy.forward(exchange));
      },
      1,
    );
    const setFreeBytesMin = (bytes: number): Promise<void> =>
      installation.statement(
        `ALTER TABLE {db}.${table} MODIFY SETTING min_free_disk_bytes_to_perform_insert = ${bytes}`,
      );
    const ingest = startIngest(t, installation, '--until-idle');
    await within(60_000, 'the insert was refused twice', () => refusedTwice.test(ingest.stderr()));
    t.equal(rule.count(), 1);
    t.match(ingest.stderr(), `insert into ${table}","reason":"243"`);
    t.ok((await ledgerStored(installation)) < load.accepted, 'it has work in hand');
    t.equal(ingest.child.exitCode, null, 'it waits');
    await setFreeBytesMin(0);
    t.equal((await ingest.ended).code, 0);
    await judge(t, installation, load);
  });
}

/** A file system of some size in memory; undefined where this user may not mount one. */
async function smallFilesystem(t: Test, bytes: number): Promise<string | undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'cdrhouse-fault-'));
  t.teardown(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=700`, 'cdrhouse-fault', folder], {
      stdio: 'ignore',
    });
  } catch {
    return undefined;
  }
  t.teardown(() => execFileSync('umount', [folder]));
  return folder;
}

/** Takes all space that is left, and gives what frees it. */
async function fill(folder: string): Promise<() => Promise<void>> {
  const path = join(folder, 'filling');
  for (let chunk = Buffer.alloc(MIB); chunk.length > 0;) {
    try {
      await appendFile(path, chunk);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      chunk = chunk.subarray(0, Math.floor(chunk.length / 2));
    }
  }
  return () => rm(path);
}

await tap.test("the database's disk is full to the last byte, then has space again", async (t) => {
  const dataDir = await smallFilesystem(t, 128 * MIB);
  if (dataDir === undefined) {
    t.comment('this user may not mount a file system: the tests before this one have a quota instead');
    return;
  }
  const server = await startClickhouse({ dataDir, port: 0 });
  t.teardown(() => server.stop());
  const own = { ...servers, clickhouse: server.url, users: server.users };
  const installation = await house(t, own, 4, { partitions: PARTITIONS });
  const proxy = await ClickhouseProxy.start(t, server.url);
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
  const load = new Load(PARTITIONS).calls(callLines(114, 3000), 10, 'with bad lines');
  await (await Sender.connect(t, servers.kafka)).send(installation.database, load.messages);
  let free: (() => Promise<void>) | undefined;
  proxy.on(
    (exchange) => proxy.batches >= 2 && insertsInto('cdr')(exchange),
    async (exchange) => {
      free = await fill(dataDir);
      exchange.answer(await proxy.forward(exchange));
    },
    1,
  );
  const ingest = startIngest(t, installation, '--until-idle');
  await within(60_000, 'the insert was refused twice', () => refusedTwice.test(ingest.stderr()));
  t.ok((await ledgerStored(installation)) < load.accepted, 'it has work in hand');
  await free!();
  await until('it has ended', () => ingest.child.exitCode !== null);
  t.equal(ingest.child.exitCode, 0);
  await judge(t, installation, load);
});
