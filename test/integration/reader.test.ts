import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import tap, { type Test } from 'tap';
import { Installation, until } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';

/** Reading with the native addon and without it: the same records, and nobody is left in the dark. */
const servers = testServers(import.meta.url);
const METRICS = 'http://127.0.0.1:19465';
const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
const ADDON = 'ingest/native/build/Release/cdrhouse_native.node';

/** An installation that has call a in its topic. */
async function house(t: Test, index: number): Promise<Installation> {
  const installation = new Installation(t, servers, index, {
    feeds: [{ name: 'default', topic: servers.databases[index] }],
    kafka: { topic_partitions: 2 },
  });
  await installation.json('migrate', '--json');
  await ship(installation, 'a');
  return installation;
}

function ship(installation: Installation, id: string): Promise<unknown> {
  const line = `+33199000001,,+33199000002,2026-03-01T10:00:00Z,1,1,${id}\n`;
  return installation.json('ship', '--feed', 'default', installation.write(`${id}.csv`, line));
}

/** Copies what is installed, without the addon. Gives the folder. */
function withoutAddon(installation: Installation): string {
  const folder = join(installation.folder, 'installed');
  const compiled = join(root, 'dist');
  cpSync(compiled, join(folder, 'dist'), {
    recursive: true,
    filter: (path) => !path.startsWith(join(compiled, 'test')) && !path.endsWith('.map'),
  });
  cpSync(join(root, 'package.json'), join(folder, 'package.json'));
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  installation.program = join(folder, 'dist', 'cli.js');
  installation.environment['CDRHOUSE_INGEST_READER'] = 'auto';
  return folder;
}

await tap.test('the addon is there: auto reads with it and says nothing', async (t) => {
  const installation = await house(t, 0);
  installation.environment['CDRHOUSE_INGEST_READER'] = 'auto';
  const { code, stdout, stderr } = await installation.run('ingest', '--until-idle');
  t.equal(code, 0);
  t.match(JSON.parse(stdout), { stored: 1, reader: 'packed' });
  t.notMatch(stderr, /PLAIN_CONSUME/);
});

await tap.test(
  'the addon is missing: plain reads all the same, and log, metric and summary say so',
  async (t) => {
    const installation = await house(t, 1);
    withoutAddon(installation);
    installation.environment['CDRHOUSE_INGEST_METRICS_PORT'] = '19465';
    const ingest = installation.start('ingest');
    t.teardown(() => ingest.child.kill('SIGKILL'));
    await until('it is stored', async () => {
      const [row] = await installation.rows<{ count: string }>('SELECT count() AS count FROM {db}.cdr FINAL');
      return row!.count === '1';
    });
    const metrics = await (await fetch(`${METRICS}/metrics`)).text();
    t.match(metrics, /^cdrhouse_ingest_plain_consume 1$/m);
    ingest.child.kill('SIGTERM');
    t.equal((await ingest.ended).code, 0);
    const warnings = ingest
      .stderr()
      .split('\n')
      .filter((line) => line.includes('PLAIN_CONSUME'));
    t.equal(warnings.length, 1, 'it is said once');
    t.match(JSON.parse(warnings[0]!), {
      level: 40,
      why: 'the native addon cannot be loaded',
      cause: /Cannot find module/,
      action: /make build/,
    });
    await ship(installation, 'b');
    t.match(await installation.json('ingest', '--until-idle'), { stored: 1, reader: 'plain' });

    installation.environment['CDRHOUSE_INGEST_PROCESSES'] = '2';
    t.match(
      await installation.json('ingest', '--until-idle'),
      { stored: 0, reader: 'plain' },
      'of a group too',
    );
  },
);

await tap.test('an addon that does not fit is not used; where it must be, ingest stops', async (t) => {
  const installation = await house(t, 2);
  const folder = withoutAddon(installation);
  mkdirSync(dirname(join(folder, ADDON)), { recursive: true });
  writeFileSync(join(folder, ADDON), 'of another machine');
  installation.environment['CDRHOUSE_INGEST_READER'] = 'packed';
  t.match(await installation.run('ingest', '--until-idle'), { code: 1, stderr: /NATIVE_ADDON_MISSING/ });
  installation.environment['CDRHOUSE_INGEST_READER'] = 'auto';
  t.match(await installation.json('ingest', '--until-idle'), { stored: 1, reader: 'plain' });
});

await tap.test('one ledger, both readers by turns: the same cluster, topic and place', async (t) => {
  const installation = await house(t, 3);
  for (const [id, reader] of [
    ['b', 'packed'],
    ['c', 'plain'],
    ['d', 'packed'],
  ] as const) {
    await ship(installation, id);
    installation.environment['CDRHOUSE_INGEST_READER'] = reader;
    t.match(await installation.json('ingest', '--until-idle'), { stored: id === 'b' ? 2 : 1, reader });
  }
  const [row] = await installation.rows<Record<string, string>>(
    `SELECT uniqExact(cluster_id) AS clusters, uniqExact(topic_id) AS topics, (SELECT count() FROM {db}.cdr FINAL) AS calls
     FROM {db}.ingest_ledger`,
  );
  t.match(row, { clusters: '1', topics: '1', calls: '4' });

  // The members of the group are told alike.
  const running = installation.start('ingest');
  t.teardown(() => running.child.kill('SIGKILL'));
  await until('it is in the group', () => /partitions assigned/.test(running.stderr()));
  for (const reader of ['packed', 'plain']) {
    installation.environment['CDRHOUSE_INGEST_READER'] = reader;
    t.match(
      await installation.run('ingest', 'rewind', '--topic', installation.database, '--to-offset', '0'),
      { code: 1, stderr: /GROUP_BUSY.* 1 member/ },
      reader,
    );
  }
  running.child.kill('SIGTERM');
  t.equal((await running.ended).code, 0);
});

await tap.test('a property that only librdkafka knows', async (t) => {
  const installation = await house(t, 4);
  installation.environment['CDRHOUSE_INGEST_READER'] = 'plain';
  installation.environment['CDRHOUSE_KAFKA_CLIENT'] = JSON.stringify({ 'ssl.engine.id': 'dynamic' });
  t.match(await installation.run('ingest', '--until-idle'), {
    code: 2,
    stderr: /SETTINGS_INVALID.*kafka\.client\.ssl\.engine\.id: cannot be used without the native addon/,
  });
});
