import Kafka, { type LibrdKafkaError } from 'node-rdkafka';
import tap from 'tap';
import { SESSION, Installation, until, whenIdle } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';

/** Deliberate changes of where a partition goes on: rewind, and accept-gap after a topic was re-created. */
const servers = testServers(import.meta.url);
const [lost, kept] = [`${servers.databases[0]}.lost`, `${servers.databases[0]}.kept`];
const installation = new Installation(tap, servers, 0, {
  feeds: [
    { name: 'lost', topic: lost },
    { name: 'kept', topic: kept },
  ],
  // Short, so that a group is idle soon after its last member ended.
  kafka: { topic_partitions: 2, client: SESSION },
});

function calls(prefix: string, count: number): string {
  return Array.from(
    { length: count },
    (_, i) => `+33199000001,,+33199000002,2026-03-01T10:00:00Z,${i},,${prefix}-${i}\n`,
  ).join('');
}

async function ship(feed: string, name: string, count: number): Promise<void> {
  await installation.json('ship', '--feed', feed, installation.write(`${name}.csv`, calls(name, count)));
}

async function storedIds(): Promise<string[]> {
  const rows = await installation.rows<{ call_id: string }>(
    'SELECT call_id FROM {db}.cdr FINAL ORDER BY call_id',
  );
  return rows.map(({ call_id }) => call_id);
}

function ids(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix}-${i}`);
}

function admin(
  work: (client: Kafka.IAdminClient, done: (error?: LibrdKafkaError) => void) => void,
): Promise<void> {
  const client = Kafka.AdminClient.create({ 'metadata.broker.list': servers.kafka });
  return new Promise<void>((resolve, reject) => {
    work(client, (error) => {
      client.disconnect();
      if (error) reject(new Error(error.message));
      else resolve();
    });
  });
}

await tap.test('rewind reads again, and changes nothing that is read', async (t) => {
  await installation.run('migrate');
  await ship('kept', 'a', 20);
  t.match(await installation.json('ingest', '--until-idle'), { consumed: 20 });
  const busy = installation.start('ingest');
  t.teardown(() => busy.child.kill('SIGKILL'));
  await until('ingest is in the group', () => busy.stderr().includes('partitions assigned'));
  t.match(await installation.run('ingest', 'rewind', '--topic', kept, '--to-offset', '0'), {
    code: 1,
    stderr: /GROUP_BUSY/,
  });
  busy.child.kill('SIGTERM');
  await busy.ended;

  const before = await storedIds();
  t.strictSame(before, ids('a', 20).sort());
  const dry = await whenIdle(
    installation,
    'ingest',
    'rewind',
    '--topic',
    kept,
    '--to-time',
    '2020-01-01T00:00:00Z',
    '--dry-run',
  );
  t.match(dry, { code: 0, stdout: /"to_offset":0/, stderr: /1 offsets would be read again/ });
  t.match(await installation.json('ingest', '--until-idle'), { consumed: 0 }, 'a dry run changes nothing');
  t.match(await whenIdle(installation, 'ingest', 'rewind', '--topic', kept, '--to-offset', '0'), { code: 0 });
  t.match(await installation.json('ingest', '--until-idle'), { consumed: 20, stored: 20 });
  t.strictSame(await storedIds(), before);
});

await tap.test('a place that Kafka does not hold, or that lies ahead, is refused', async (t) => {
  t.match(await installation.run('ingest', 'rewind', '--topic', kept, '--to-offset', '99'), {
    code: 2,
    stderr: /allowed are offsets 0/,
  });
  t.match(await installation.run('ingest', 'rewind', '--topic', 'unknown', '--to-offset', '0'), {
    code: 2,
    stderr: /no feed reads unknown/,
  });
  t.match(await installation.run('ingest', 'rewind', '--topic', kept), {
    code: 2,
    stderr: /either --to-offset or --to-time/,
  });
  t.match(await installation.run('ingest', 'rewind', '--topic', kept, '--to-time', 'yesterday'), { code: 2 });
});

await tap.test('what the database does not do is told as its fault', async (t) => {
  const { CDRHOUSE_CLICKHOUSE_URL: url } = installation.environment;
  t.teardown(() => (installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = url!));
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = 'http://127.0.0.1:1';
  for (const words of [['accept-gap'], ['rewind', '--topic', kept, '--to-offset', '0']])
    t.match(await installation.run('ingest', ...words), { code: 1, stderr: /CLICKHOUSE_UNREACHABLE/ });
});

await tap.test(
  'a topic that was re-created stands still, the others go on, accept-gap continues',
  async (t) => {
    await ship('lost', 'b', 10);
    t.match(await installation.json('ingest', '--until-idle'), { consumed: 10 });
    await admin((client, done) => client.deleteTopic(lost, 10_000, done));
    await until('the topic can be created again', async () => {
      const { stdout } = await installation.run('migrate', '--json');
      return stdout.includes(lost);
    });
    await ship('lost', 'c', 7);
    await ship('kept', 'd', 5);
    const stopped = await installation.run('ingest', '--until-idle');
    t.match(stopped, { code: 1, stdout: '', stderr: /PARTITION_GAP.*created again/ });
    t.strictSame(
      await storedIds(),
      [...ids('a', 20), ...ids('b', 10), ...ids('d', 5)].sort(),
      'the other feed went on',
    );
    const states = await installation.rows<{ topic: string; state: string }>(
      'SELECT topic, state FROM {db}.ingest_state FINAL ORDER BY topic, partition',
    );
    t.ok(
      states.length > 0 && states.every(({ topic, state }) => topic === lost && state === 'gap'),
      'the gap is recorded',
    );

    const service = installation.start('ingest');
    t.teardown(() => service.child.kill('SIGKILL'));
    await until('ingest has its partitions', () => service.stderr().includes('partitions assigned'));
    t.match(
      await installation.run('ingest', 'accept-gap', '--dry-run'),
      { code: 0, stdout: /created again/ },
      'one may look while ingest runs',
    );
    t.match(await installation.run('ingest', 'accept-gap'), { code: 1, stdout: '', stderr: /GROUP_BUSY/ });
    service.child.kill('SIGTERM');
    await service.ended;
    t.match(await whenIdle(installation, 'ingest', 'accept-gap'), { code: 0, stderr: /gap\(s\) accepted/ });
    t.match(await installation.json('ingest', '--until-idle'), { consumed: 7, stored: 7 });
    t.strictSame(
      await storedIds(),
      [...ids('a', 20), ...ids('b', 10), ...ids('c', 7), ...ids('d', 5)].sort(),
    );
    t.match(await installation.run('ingest', 'accept-gap'), {
      code: 0,
      stdout: '',
      stderr: /no partition stands still/,
    });
  },
);
