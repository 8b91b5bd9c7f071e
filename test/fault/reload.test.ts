import tap from 'tap';
import { until, whenIdle } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';
import { house, readAll, startIngest } from './harness.ts';
import {
  beforeLedger,
  change,
  joined,
  killedAt,
  messages,
  NEW,
  OLD,
  Readings,
  snapshot,
  verdict,
} from './readings.ts';
import { feedOf, hoursAgo, LONG_AGO, referenceOf, reload, reloading, sentAgo } from './reloading.ts';
import { Sender } from './topic.ts';

/** `feeds reload`: what was stored under wrong settings is replaced. */
const servers = testServers(import.meta.url);
const readings = await Readings.fill(tap, servers);

await tap.test(
  'wrong settings, mended: reload, killed while it is read again, read to the end',
  async (t) => {
    const installation = await readings.installation(t, 2, OLD);
    const busy = startIngest(t, installation);
    await until('ingest is in the group', () => busy.stderr().includes('partitions assigned'));
    t.match(await installation.run(...reloading('pbx', '--from', LONG_AGO)), { code: 0 }, 'same settings');
    change(installation, readings.topic, NEW);
    await until('something is stored', async () => (await snapshot(installation)).calls.length > 0);
    t.match(await installation.run(...reloading('pbx', '--from', LONG_AGO)), {
      code: 1,
      stderr: /GROUP_BUSY/,
    });
    busy.child.kill('SIGTERM');
    await busy.ended;
    change(installation, readings.topic, OLD);
    await readAll(installation);

    t.match(await reload(installation, 'pbx', '--from', LONG_AGO), { again: [], gone: [], waiting: [] });
    change(installation, readings.topic, NEW);
    const before = await snapshot(installation);
    const dry = await reload(installation, 'pbx', '--from', LONG_AGO, '--dry-run');
    t.equal(
      dry.again.reduce((sum, { replaced }) => sum + replaced, 0),
      before.calls.length,
      'it says how many are replaced',
    );
    const { again: unchanged } = await reload(installation, 'pbx', '--from', LONG_AGO, '--dry-run');
    t.strictSame(unchanged, dry.again, 'a dry run changes nothing');
    const done = await reload(installation, 'pbx', '--from', LONG_AGO);
    t.strictSame(done.again, dry.again);
    t.strictSame(await snapshot(installation), before, 'nothing is gone before it is read again');
    t.match(await reload(installation, 'pbx', '--from', LONG_AGO), { again: [], waiting: [0, 1] });

    await killedAt(t, servers, installation, beforeLedger(1));
    await readAll(installation);
    await verdict(t, installation, await readings.reference(t, NEW));
    const again = await whenIdle(installation, ...reloading('pbx', '--from', LONG_AGO));
    t.match(again, { code: 0, stderr: /nothing .* other settings/ });
    t.match(JSON.parse(again.stdout), { again: [], waiting: [], gone: [] });
  },
);

await tap.test('wrong usage', async (t) => {
  const installation = await readings.installation(t, 2, OLD);
  t.match(await installation.run(...reloading('nobody', '--from', LONG_AGO)), {
    code: 2,
    stderr: /FEED_UNKNOWN.*pbx/,
  });
  t.match(await installation.run(...reloading('pbx', '--from', LONG_AGO, '--to', LONG_AGO)), {
    code: 2,
    stderr: /USAGE_WRONG/,
  });
});

await tap.test('--from and --to: what was sent in a time', async (t) => {
  const topic = `${servers.databases[3]}.times`;
  const installation = await house(t, servers, 3, { settings: feedOf(topic, OLD) });
  const sender = await Sender.connect(t, servers.kafka);
  const all = messages('times', 60);
  const third = all.length / 3;
  await sender.send(topic, sentAgo(all.slice(0, third), 9));
  await sender.send(topic, sentAgo(all.slice(third, 2 * third), 6));
  await readAll(installation);
  const old = await referenceOf(t, servers, 4, topic, OLD);

  // Mended, and read on: the last third is right.
  change(installation, topic, NEW);
  await sender.send(topic, sentAgo(all.slice(2 * third), 3));
  await readAll(installation);
  const mixed = await snapshot(installation);
  const now = await referenceOf(t, servers, 5, topic, NEW);
  const bounds = new Map([
    [0, third],
    [1, third],
  ]);
  t.strictSame(mixed, joined(old, now, bounds));

  const half = await whenIdle(installation, ...reloading('pbx', '--from', hoursAgo(10), '--to', hoursAgo(8)));
  t.match(half, { code: 2, stderr: /USAGE_WRONG.*behind --to/ }, 'behind it was wrong too');
  t.strictSame(await snapshot(installation), mixed);

  const report = await reload(installation, 'pbx', '--from', hoursAgo(7), '--to', hoursAgo(4));
  t.match(report.again, [
    { partition: 0, from_offset: third / 2, replaced_until: third, next_offset: 1.5 * third },
    { partition: 1, from_offset: third / 2, replaced_until: third, next_offset: 1.5 * third },
  ]);
  await readAll(installation);
  const since = new Map([
    [0, third / 2],
    [1, third / 2],
  ]);
  await verdict(t, installation, joined(old, now, since));
  const untils = await installation.rows<{ until: string }>(
    'SELECT DISTINCT corrected_until AS until FROM {db}.ingest_ledger WHERE corrected_until > 0',
  );
  t.strictSame(untils, [{ until: String(third) }], 'what was right is not marked');

  // The rest, of which the command was not told before.
  await reload(installation, 'pbx', '--from', hoursAgo(10));
  await readAll(installation);
  await verdict(t, installation, now);
});
