import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import tap, { type Test } from 'tap';
import { type Installation, until } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';
import type { Breakage } from './broken-worker.ts';
import { callLines, exitWithin, house, judge, ledgerStored, Load, readAll, startIngest } from './harness.ts';
import { Sender } from './topic.ts';

/** Parse workers that throw, hang and run out of memory. */
const servers = testServers(import.meta.url);
const PARTITIONS = 2;
const RUNAWAY_BYTES_MAX = 700 * 1024 ** 2;

async function brokenHouse(
  t: Test,
  databaseIndex: number,
  breakage: Breakage,
  environment: Record<string, string> = {},
): Promise<Installation> {
  const installation = await house(t, servers, databaseIndex, { partitions: PARTITIONS, environment });
  const once = breakage.once === undefined ? {} : { once: join(installation.folder, breakage.once) };
  installation.environment['BROKEN_WORKER'] = JSON.stringify({ ...breakage, ...once });
  installation.nodeOptions.push('--import', fileURLToPath(new URL('broken-worker.js', import.meta.url)));
  return installation;
}

const CASES = [
  { how: 'throw', reason: 'TypeError' },
  { how: 'hang', reason: 'it took too long' },
  { how: 'memory', reason: 'ERR_WORKER_OUT_OF_MEMORY' },
] as const;

for (const [index, { how, reason }] of CASES.entries()) {
  await tap.test(`${how}: another worker does it, the process goes on`, async (t) => {
    const installation = await brokenHouse(
      t,
      index,
      { how, once: 'broken' },
      { CDRHOUSE_INGEST_PARSE_SECONDS_MAX: how === 'memory' ? '60' : '2' },
    );
    const load = new Load(PARTITIONS).calls(callLines(90 + index, 3000), 10, 'with bad lines');
    await (await Sender.connect(t, servers.kafka)).send(installation.database, load.messages);
    const ingest = startIngest(t, installation, '--until-idle');
    t.equal(await exitWithin(60_000, ingest), 0);
    t.ok(existsSync(join(installation.folder, 'broken')), 'a worker was broken');
    t.match(ingest.stderr(), new RegExp(`PARSE_WORKER_FAILED","reason":"${reason}","messages":[0-9]+`));
    // A thread that runs away may fill its heap; the process lives on.
    await judge(t, installation, load, { memoryBytesMax: RUNAWAY_BYTES_MAX });
  });
}

await tap.test(
  'a message that breaks every worker: it is named, and nothing of it is passed over',
  async (t) => {
    const installation = await brokenHouse(t, 3, { how: 'throw', text: 'the-worst' });
    const load = new Load(PARTITIONS).calls(callLines(93, 2000), 10, 'with bad lines');
    const worst = load.messages.length;
    load.calls(
      [
        '+33199000001,,+33199000002,2025-03-01T10:00:00.000Z,1,1,the-worst,answered,'.replace(
          ',,',
          ',+33199000001,',
        ),
      ],
      1,
    );
    load.calls(callLines(94, 500), 10);
    await (await Sender.connect(t, servers.kafka)).send(installation.database, load.messages);
    const { code, stdout, stderr } = await installation.run('ingest', '--until-idle');
    t.equal(code, 1);
    t.equal(stdout, '');
    const { partition } = load.messages[worst]!;
    const offset = load.messages.slice(0, worst).filter((sent) => sent.partition === partition).length;
    t.match(
      stderr,
      `PARSE_WORKER_FAILED: the message ${installation.database}/${partition} at offset ${offset} broke 3 workers`,
    );
    const stored = await ledgerStored(installation);
    t.ok(stored > 0 && stored < load.accepted, 'what was before it is stored');
    const [row] = await installation.rows<{ next: string }>(
      `SELECT max(next_offset) AS next FROM {db}.ingest_ledger FINAL WHERE partition = ${partition}`,
    );
    t.ok(Number(row!.next) <= offset, 'the ledger ends before it');
    t.match(await installation.run('ingest', '--until-idle'), { code: 1 }, 'again');

    // The defect is mended.
    installation.nodeOptions.length = 0;
    await readAll(installation);
    await judge(t, installation, load);
  },
);

await tap.test('SIGTERM while a worker hangs: it ends after the grace time', async (t) => {
  const installation = await brokenHouse(
    t,
    4,
    { how: 'hang', once: 'broken' },
    { CDRHOUSE_INGEST_PARSE_SECONDS_MAX: '600', CDRHOUSE_INGEST_DRAIN_SECONDS_MAX: '1' },
  );
  const load = new Load(PARTITIONS).calls(callLines(95, 1000), 10);
  await (await Sender.connect(t, servers.kafka)).send(installation.database, load.messages);
  const ingest = startIngest(t, installation);
  await until('a worker hangs', () => existsSync(join(installation.folder, 'broken')));
  ingest.child.kill('SIGTERM');
  t.equal(await exitWithin(20_000, ingest), 0, 'it ends by itself');
  t.equal(await ledgerStored(installation), 0);
  await readAll(installation);
  await judge(t, installation, load);
});

await tap.test('batches that are too much for a worker get through in pieces', async (t) => {
  const installation = await brokenHouse(t, 5, { how: 'throw', messagesMax: 7 });
  const load = new Load(PARTITIONS).calls(callLines(96, 1000), 10, 'with bad lines');
  load.bad(Buffer.from([0x00, 0xff])).empty(null, 'tombstone');
  await (await Sender.connect(t, servers.kafka)).send(installation.database, load.messages);
  const ingest = startIngest(t, installation, '--until-idle');
  t.equal(await exitWithin(60_000, ingest), 0);
  t.match(ingest.stderr(), /PARSE_WORKER_FAILED","reason":"TypeError","messages":40/);
  await judge(t, installation, load);
});
