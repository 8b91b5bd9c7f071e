import tap from 'tap';
import { Installation, until } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';

/** Ingest as a service: what comes later is picked up, and it ends cleanly. */
const servers = testServers(import.meta.url);
const [first, second] = [`${servers.databases[0]}.first`, `${servers.databases[0]}.second`];
const feeds = [
  { name: 'first', topic: first },
  { name: 'second', topic: second },
];
const installation = new Installation(tap, servers, 0, { feeds });

function call(id: string): string {
  return `+33199000001,,+33199000002,2026-03-01T10:00:00Z,1,1,${id}\n`;
}

async function storedIds(): Promise<string[]> {
  const rows = await installation.rows<{ call_id: string }>(
    'SELECT call_id FROM {db}.cdr FINAL ORDER BY call_id',
  );
  return rows.map(({ call_id }) => call_id);
}

await tap.test('a topic that appears later is picked up; SIGTERM drains and exits 0', async (t) => {
  // Only the first topic exists when ingest starts.
  const all = installation.environment['CDRHOUSE_CONFIG']!;
  installation.environment['CDRHOUSE_CONFIG'] = installation.write(
    'first.yaml',
    JSON.stringify({ feeds: feeds.slice(0, 1) }),
  );
  await installation.run('migrate');
  installation.environment['CDRHOUSE_CONFIG'] = all;
  const ingest = installation.start('ingest');
  t.teardown(() => ingest.child.kill('SIGKILL'));
  await installation.json('ship', '--feed', 'first', installation.write('a.csv', call('a')));
  await until('the first feed is stored', async () => (await storedIds()).includes('a'));
  t.match(ingest.stderr(), /TOPIC_MISSING/, 'the missing topic is named');

  t.match(await installation.json('migrate', '--json'), { topics_created: [second] });
  await installation.json('ship', '--feed', 'second', installation.write('b.csv', call('b')));
  await until('the second feed is stored', async () => (await storedIds()).includes('b'));

  // What was read just before the signal is stored.
  await installation.json('ship', '--feed', 'first', installation.write('c.csv', call('c')));
  await until('the third is stored', async () => (await storedIds()).includes('c'));
  ingest.child.kill('SIGTERM');
  t.equal((await ingest.ended).code, 0);
  t.strictSame(await storedIds(), ['a', 'b', 'c']);
  t.match(await installation.json('ingest', '--until-idle'), { consumed: 0 }, 'nothing is left to read');
});

await tap.test('--until-idle with nothing to read ends, also before it was given a partition', async (t) => {
  // Several at once on few cores: most of them are done before the group has assigned them anything.
  const runs = await Promise.all(Array.from({ length: 6 }, () => installation.run('ingest', '--until-idle')));
  for (const { code, stdout } of runs) {
    t.equal(code, 0);
    t.match(JSON.parse(stdout), { consumed: 0, stored: 0 });
  }
});
