import tap from 'tap';
import type { Installation } from '../cdrhouse-program.ts';
import { whenIdle } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';
import { callLines, house, judgeCalls, judgeTables, ledgerStored, Load, readAll } from './harness.ts';
import { recreateTopic, Sender } from './topic.ts';

/** A gap that was noted holds until a person says how to go on, also where the log has grown over it since. */
const servers = testServers(import.meta.url);

/** The row of the ledger for messages whose records the broker lost after they were read. */
async function addLostTail(installation: Installation, from: number, next: number): Promise<void> {
  await installation.statement(
    `INSERT INTO {db}.ingest_ledger SELECT * REPLACE (${from} AS from_offset, ${next} AS next_offset, 0 AS messages,
       0 AS records, 0 AS stored, map() AS stored_by_hour)
     FROM (SELECT * FROM {db}.ingest_ledger WHERE next_offset = ${from} AND next_offset > from_offset ORDER BY generation DESC LIMIT 1)`,
  );
}

/** A call of that part of the log. */
async function addLostCall(installation: Installation, offset: number): Promise<void> {
  for (const table of ['cdr', 'cdr_by_number'])
    await installation.statement(
      `INSERT INTO {db}.${table} SELECT * REPLACE (${offset} AS source_offset, cdr_key + 1 AS cdr_key, 'of-the-lost-part' AS call_id)
       FROM (SELECT * FROM {db}.${table} WHERE (source_offset, source_line) = (SELECT min((source_offset, source_line)) FROM {db}.cdr))`,
    );
}

function marks(installation: Installation): Promise<{ state: string; next_offset: string }[]> {
  return installation.rows('SELECT state, next_offset, end_offset FROM {db}.ingest_state FINAL');
}

await tap.test("the broker loses its log's end, and the log grows over it", async (t) => {
  const installation = await house(t, servers, 0, { partitions: 1 });
  const topic = installation.database;
  const load = new Load(1).calls(callLines(71, 200), 10);
  const sender = await Sender.connect(t, servers.kafka);
  await sender.send(topic, load.messages);
  await readAll(installation);
  await addLostTail(installation, 20, 25);
  await addLostCall(installation, 22);

  const first = await installation.run('ingest', '--until-idle');
  t.match(first, { code: 1, stderr: /PARTITION_GAP.*the log ends at 20/ });
  t.strictSame(await marks(installation), [{ state: 'gap', next_offset: '25', end_offset: '20' }]);

  const accepted = load.accepted;
  load.calls(callLines(72, 100), 10);
  await sender.send(topic, load.since(20));
  const second = await installation.run('ingest', '--until-idle');
  t.match(second, { code: 1, stderr: /PARTITION_GAP.*the log ends at 20/ }, 'it still stands');
  t.equal(await ledgerStored(installation), accepted, 'nothing was read');
  t.match(await marks(installation), [{ state: 'gap', end_offset: '20' }], 'the lowest end is kept');
  t.match(await whenIdle(installation, 'ingest', 'rewind', '--topic', topic, '--to-offset', '23'), {
    code: 2,
    stderr: /allowed are offsets 0 .* to 20 \(it stands still, since the log ends at 20/,
  });

  // Another reading: what is read again is replaced, but nothing is read again of what the broker lost.
  installation.write(
    'cdrhouse.yaml',
    JSON.stringify({
      feeds: [{ name: 'default', topic, time_zone: 'Europe/Paris' }],
      kafka: { topic_partitions: 1 },
    }),
  );
  const going = await whenIdle(installation, 'ingest', 'accept-gap');
  t.match(JSON.parse(going.stdout), { from_offset: 25, to_offset: 20 });
  t.match(await marks(installation), [{ state: 'gap_accepted', next_offset: '20' }]);
  t.match(await readAll(installation), { stored: 100 }, 'all that nobody had read');
  const lost = await installation.rows<object>(
    "SELECT call_id FROM {db}.cdr FINAL WHERE call_id = 'of-the-lost-part'",
  );
  t.equal(lost.length, 1, 'what was stored of the lost part stays');
  t.match(
    await installation.run('audit', '--json'),
    { code: 1, stdout: /"from_offset":20,.*"fault":"too_many"/ },
    'which the ledger no longer counts',
  );
  for (const table of ['cdr', 'cdr_by_number'])
    await installation.statement(
      `DELETE FROM {db}.${table} WHERE call_id = 'of-the-lost-part' SETTINGS mutations_sync = 1`,
    );
  await judgeCalls(t, installation, load);
  await judgeTables(t, installation);
  t.match(await readAll(installation), { consumed: 0 }, 'and so on');
});

await tap.test('a topic that was made again goes on by a rewind too, which closes the gap', async (t) => {
  const installation = await house(t, servers, 1, { partitions: 1 });
  const topic = installation.database;
  const load = new Load(1).calls(callLines(73, 100), 10);
  const sender = await Sender.connect(t, servers.kafka);
  await sender.send(topic, load.messages);
  await readAll(installation);
  await recreateTopic(servers.kafka, topic, { partitions: 1 });
  load.calls(callLines(74, 300), 10);
  await sender.send(topic, load.since(10));
  t.match(await installation.run('ingest', '--until-idle'), { code: 1, stderr: /PARTITION_GAP/ });
  t.match(
    await whenIdle(installation, 'ingest', 'rewind', '--topic', topic, '--to-offset', '10'),
    { code: 2, stderr: /allowed are offsets 0 .* to 0 / },
    'nothing is passed over',
  );
  t.match(await whenIdle(installation, 'ingest', 'rewind', '--topic', topic, '--to-offset', '0'), {
    code: 0,
  });
  t.match(await marks(installation), [{ state: 'rewound', next_offset: '0' }]);
  t.match(await readAll(installation), { stored: 300 });
  t.match(await installation.run('ingest', 'accept-gap'), { code: 0, stderr: /no partition stands still/ });
  await judgeCalls(t, installation, load);
  await judgeTables(t, installation);
});
