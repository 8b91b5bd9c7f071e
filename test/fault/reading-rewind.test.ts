import tap from 'tap';
import { SESSION, whenIdle, type Installation } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';
import { house, judgeTables, readAll } from './harness.ts';
import {
  beforeLedger,
  change,
  killedAt,
  messages,
  NEW,
  OLD,
  PARTITIONS,
  Readings,
  snapshot,
  verdict,
  type Variant,
} from './readings.ts';
import { recreateTopic, Sender } from './topic.ts';

/** Changed settings: deliberate re-reading, records that are sent again, topics that are created again. */
const servers = testServers(import.meta.url);
const readings = await Readings.fill(tap, servers);

async function callIds(installation: Installation): Promise<string[]> {
  const rows = await installation.rows<{ call_id: string }>(
    'SELECT DISTINCT call_id FROM {db}.cdr FINAL ORDER BY call_id',
  );
  return rows.map(({ call_id }) => call_id);
}

/** What a command prints, which must succeed once the group is idle. */
async function printed(installation: Installation, ...commandLine: string[]): Promise<string> {
  const { code, stdout, stderr } = await whenIdle(installation, ...commandLine);
  if (code !== 0) throw new Error(stderr);
  return stdout;
}

await tap.test('rewind after a change reads everything as it is read now, there and back', async (t) => {
  const installation = await readings.installation(t, 2, OLD);
  await readAll(installation);
  for (const variant of [NEW, OLD]) {
    change(installation, readings.topic, variant);
    const rewind = ['ingest', 'rewind', '--topic', readings.topic, '--to-offset', '0'];
    const before = await snapshot(installation);
    const dry = await printed(installation, ...rewind, '--dry-run');
    t.match(JSON.parse(dry.split('\n')[0]!), { reading_changed: true, replaced_max: Number });
    await printed(installation, ...rewind);
    t.strictSame(await snapshot(installation), before, 'nothing is gone before it is read again');
    await readAll(installation);
    await verdict(t, installation, await readings.reference(t, variant));
  }
  // With the settings as they were last, rewinding changes nothing and replaces nothing.
  const line = await printed(installation, 'ingest', 'rewind', '--topic', readings.topic, '--to-offset', '0');
  t.notMatch(line, /reading_changed/);
  await readAll(installation);
  await verdict(t, installation, await readings.reference(t, OLD));
});

await tap.test('rejected after a change, changed back and sent again: it is stored', async (t) => {
  const topic = `${servers.databases[5]}.again`;
  const strict: Variant = { ...OLD, earliest_start: '2025-09-01' };
  const installation = await house(t, servers, 5, {
    settings: { feeds: [{ ...OLD, topic }], kafka: { client: SESSION, topic_partitions: PARTITIONS } },
  });
  const sender = await Sender.connect(t, servers.kafka);
  const sent = messages('again', 20);
  await sender.send(topic, sent);
  await killedAt(t, servers, installation, beforeLedger(0));
  const accepted = await callIds(installation);
  change(installation, topic, strict);
  await readAll(installation);
  t.ok((await callIds(installation)).length < accepted.length, 'less is accepted now');
  change(installation, topic, OLD);
  // The old reading's keys have delete markers now.
  await sender.send(topic, sent);
  await readAll(installation);
  t.strictSame(await callIds(installation), accepted);
  const found = await snapshot(installation);
  t.equal(new Set(found.calls).size, found.calls.length);
  await judgeTables(t, installation);
});

await tap.test('a feed whose settings have not changed, in the same batches', async (t) => {
  const topics = ['changed', 'steady'].map((name) => `${servers.databases[6]}.${name}`);
  const settings = (variant: Variant): object => ({
    feeds: [
      { ...variant, topic: topics[0] },
      { ...OLD, name: 'steady', topic: topics[1] },
    ],
    kafka: { client: SESSION, topic_partitions: PARTITIONS },
  });
  const installation = await house(t, servers, 6, {
    settings: settings(OLD),
    environment: {
      // The first batch stands before its ledger row, and there is no other.
      CDRHOUSE_INGEST_BATCHES_IN_FLIGHT_MAX: '1',
      // Large enough, and long enough, for both topics to come.
      CDRHOUSE_INGEST_BATCH_MESSAGES_MAX: '1000',
      CDRHOUSE_INGEST_FLUSH_INTERVAL_MS: '5000',
    },
  });
  const sender = await Sender.connect(t, servers.kafka);
  for (const topic of topics) await sender.send(topic, messages(topic, 20));
  await killedAt(t, servers, installation, beforeLedger(0));
  const [row] = await installation.rows<{ feeds: string }>('SELECT uniqExact(feed) AS feeds FROM {db}.cdr');
  t.equal(row!.feeds, '2', 'the batch, which is the only one, holds both');
  installation.environment['CDRHOUSE_CONFIG'] = installation.write('new.json', JSON.stringify(settings(NEW)));
  await readAll(installation);
  const reference = await house(t, servers, 7, {
    settings: settings(NEW),
    environment: { CDRHOUSE_KAFKA_GROUP: `${servers.databases[7]!}-reference` },
  });
  await readAll(reference);
  await verdict(t, installation, await snapshot(reference));
  const plain = await installation.rows<{ feed: string; plain: string }>(
    'SELECT feed, countIf(version < 4294967296) AS plain FROM {db}.cdr FINAL GROUP BY feed ORDER BY feed',
  );
  t.equal(plain[0]!.plain, '0', 'what was read again stands above the markers');
  t.not(plain[1]!.plain, '0');
});

await tap.test('rows of a topic that was created again keep the offsets that they had', async (t) => {
  const topic = `${servers.databases[3]}.recreated`;
  const feed = (variant: Variant): object => ({
    feeds: [{ ...variant, topic }],
    kafka: { client: SESSION, topic_partitions: PARTITIONS },
  });
  const installation = await house(t, servers, 3, { settings: feed(OLD) });
  const sender = await Sender.connect(t, servers.kafka);
  await sender.send(topic, messages('first', 20));
  await readAll(installation);
  const first = await snapshot(installation);
  await recreateTopic(servers.kafka, topic, { partitions: 2 });
  await sender.send(topic, messages('second', 60));
  t.match(await installation.run('ingest', '--until-idle'), { code: 1, stderr: /PARTITION_GAP/ });
  await printed(installation, 'ingest', 'accept-gap');
  await killedAt(t, servers, installation, beforeLedger(0));
  change(installation, topic, NEW);
  await readAll(installation);
  const found = await snapshot(installation);
  const reference = await house(t, servers, 4, {
    settings: feed(NEW),
    environment: { CDRHOUSE_KAFKA_GROUP: `${servers.databases[4]!}-reference` },
  });
  await readAll(reference);
  const second = await snapshot(reference);
  t.strictSame(found.calls, [...first.calls, ...second.calls].sort());
  t.strictSame(found.byNumber, [...first.byNumber, ...second.byNumber].sort());
});
