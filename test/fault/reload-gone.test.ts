import tap, { type Test } from 'tap';
import type { ReloadReport } from '../../ingest/reload.ts';
import type { ControlRow, UsageAnswer } from '../../schemas/api.ts';
import { addKey, CallsClient, serve } from '../integration/calls-client.ts';
import { SESSION, whenIdle, type Installation } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';
import { house, judgeTables, ledgerStored, readAll } from './harness.ts';
import {
  change,
  joined,
  messages,
  NEW,
  OLD,
  PARTITIONS,
  snapshot,
  verdict,
  type Snapshot,
} from './readings.ts';
import { feedOf, hoursAgo, LONG_AGO, referenceOf, reload, reloading, sentAgo } from './reloading.ts';
import { createTopic, deleteRecordsBefore, Sender } from './topic.ts';

/** `feeds reload` where Kafka has lost records, and where a feed's name was wrong. */
const servers = testServers(import.meta.url);

/** Stored calls without their places. */
async function contents(installation: Installation): Promise<string[]> {
  const rows = await installation.rows<object>(
    `SELECT start_at, calling_number, displayed_caller_id, dialed_number, duration_ms, talk_ms, outcome, account, call_id, feed
     FROM {db}.cdr FINAL`,
  );
  return rows.map((row) => JSON.stringify(row)).sort();
}

/** Calls of a snapshot without their places. */
function contentsOf({ calls }: Snapshot): string[] {
  return calls
    .map((text) => {
      const {
        direction: _direction,
        source_partition: _partition,
        source_offset: _offset,
        source_line: _line,
        ...call
      } = JSON.parse(text) as Record<string, unknown>;
      return JSON.stringify(call);
    })
    .sort();
}

/** The control totals of usage explain every call that was accepted. */
async function judgeControlTotals(
  t: Test,
  installation: Installation,
  billing: CallsClient,
  { corrected, removed }: { readonly corrected: number; readonly removed: number },
): Promise<void> {
  const period = { from: '2025-01-01', to: '2026-01-02' };
  const { body } = await billing.get<UsageAnswer>('/v1/usage', period);
  const live = (await contents(installation)).length;
  const accepted = await ledgerStored(installation);
  const expected: Partial<ControlRow> = {
    accepted: String(accepted),
    live: String(live),
    duplicates: String(accepted - live - removed),
    corrected: String(corrected),
    removed: String(removed),
    swept: '0',
    erased: '0',
    not_in_ledger: '0',
  };
  t.match({ records: body.total.records, ...body.control!.feeds[0] }, { records: String(live), ...expected });
}

await tap.test('what Kafka no longer has: listed, deleted when asked for, shipped again', async (t) => {
  const topic = `${servers.databases[6]}.expired`;
  const installation = await house(t, servers, 6, { settings: feedOf(topic, OLD) });
  const sender = await Sender.connect(t, servers.kafka);
  const sent = sentAgo(messages('expired', 60), 5);
  // A range of the ledger ends below what Kafka will have lost.
  for (const part of [sent.slice(0, 40), sent.slice(40)]) {
    await sender.send(topic, part);
    await readAll(installation);
  }
  const old = await snapshot(installation);
  const now = await referenceOf(t, servers, 7, topic, NEW);
  const low = 25;
  await deleteRecordsBefore(servers.kafka, topic, 0, low);
  change(installation, topic, NEW);

  const bounds = new Map([[0, low]]);
  const kept = joined(old, { calls: [], byNumber: [], deadLetters: [] }, bounds).calls;
  const dry = await whenIdle(installation, ...reloading('pbx', '--from', hoursAgo(6), '--dry-run'));
  const report = JSON.parse(dry.stdout) as ReloadReport;
  t.match(report, {
    again: [
      { partition: 0, from_offset: low },
      { partition: 1, from_offset: 0 },
    ],
    gone: [
      { reason: 'expired', topic, partition: 0, from_offset: 0, next_offset: low, still_stored: kept.length },
    ],
  });
  t.match(dry.stderr, /counted twice.*ship --feed pbx --again/s);
  const days = new Set(kept.map((call) => (JSON.parse(call) as { start_at: string }).start_at.slice(0, 10)));
  for (const day of days) t.ok(day in report.gone[0]!.days, `the calls of ${day} are named`);
  const [found] = await installation.rows<{ rows: string }>(
    `SELECT count() AS rows FROM {db}.cdr FINAL WHERE ${report.gone[0]!.rows_where}`,
  );
  t.equal(Number(found!.rows), kept.length, 'how to find them');

  await reload(installation, 'pbx', '--from', hoursAgo(6));
  await readAll(installation);
  await verdict(t, installation, joined(old, now, bounds));

  const removed = await reload(installation, 'pbx', '--from', hoursAgo(6), '--remove-gone');
  t.match(removed, { again: [], removed: kept.length });
  const above = joined({ calls: [], byNumber: [], deadLetters: [] }, now, bounds);
  const left = await snapshot(installation);
  t.strictSame(left, above, 'only they are gone');
  const billing = new CallsClient(await serve(t, installation), await addKey(installation, 'billing'));
  const corrected = old.calls.length - kept.length;
  await judgeControlTotals(t, installation, billing, { corrected, removed: kept.length });
  await judgeTables(t, installation);
  await sender.send(topic, sent.filter(({ partition }) => partition === 0).slice(0, low));
  await readAll(installation);
  await judgeTables(t, installation);
  t.strictSame(await contents(installation), contentsOf(now), 'each once, as it is read now');
  const audited = await installation.run('audit');
  t.equal(audited.code, 0, `${audited.stdout}${audited.stderr}`);

  // A change that leaves the keys as they are: what is shipped again must be seen above the markers.
  const lost = 10;
  await deleteRecordsBefore(servers.kafka, topic, 1, lost);
  change(installation, topic, { ...NEW, earliest_start: '2024-12-01' });
  const again = await reload(installation, 'pbx', '--from', hoursAgo(6), '--remove-gone');
  t.ok(again.removed > 0);
  await readAll(installation);
  // What was read again under the same keys stands above its markers: it is not corrected.
  const all = kept.length + again.removed;
  await judgeControlTotals(t, installation, billing, { corrected, removed: all });
  t.not((await contents(installation)).length, now.calls.length);
  await sender.send(topic, sent.filter(({ partition }) => partition === 1).slice(0, lost));
  await readAll(installation);
  await judgeTables(t, installation);
  t.strictSame(await contents(installation), contentsOf(now));
  // Accepted a second time, and live again: a duplicate, no longer removed.
  await judgeControlTotals(t, installation, billing, { corrected, removed: kept.length });
});

await tap.test('two feeds whose names were mixed up', async (t) => {
  const topics = ['one', 'two'].map((name) => `${servers.databases[8]}.${name}`);
  const settings = (names: readonly [string, string]): object => ({
    feeds: topics.map((topic, index) => ({ ...OLD, name: names[index], topic })),
    kafka: { client: SESSION, topic_partitions: PARTITIONS },
  });
  const installation = await house(t, servers, 8, { settings: settings(['paris', 'lyon']) });
  const sender = await Sender.connect(t, servers.kafka);
  // A range of its own, which Kafka will lose.
  const lost = 10;
  await sender.send(topics[0]!, messages('zero', lost));
  await readAll(installation);
  await sender.send(topics[0]!, messages('one', 20));
  // Other records than those of the other topic at each place.
  await sender.send(topics[1]!, messages('two', 45).slice(30));
  await readAll(installation);
  installation.environment['CDRHOUSE_CONFIG'] = installation.write(
    'mended.json',
    JSON.stringify(settings(['lyon', 'paris'])),
  );
  // What is sent meanwhile is read right.
  await sender.send(topics[0]!, messages('three', 10));
  await readAll(installation);
  const reference = await house(t, servers, 9, {
    settings: settings(['lyon', 'paris']),
    environment: { CDRHOUSE_KAFKA_GROUP: `${servers.databases[9]!}-reference` },
  });
  await readAll(reference);
  const now = await snapshot(reference);

  await deleteRecordsBefore(servers.kafka, topics[0]!, 0, lost);
  const lyon = await reload(installation, 'lyon', '--from', LONG_AGO);
  t.match(lyon, {
    again: [
      { partition: 0, from_offset: lost },
      { partition: 1, from_offset: 0 },
    ],
    gone: [{ partition: 0, from_offset: 0, next_offset: lost, feed: 'paris' }],
  });
  const paris = await reload(installation, 'paris', '--from', LONG_AGO);
  t.match(paris.again, [{ partition: 0 }, { partition: 1 }]);
  await readAll(installation);
  // What is lost keeps the name, and the audit knows it from what the other feed stored under the same.
  const named = (texts: readonly string[]): string[] =>
    texts
      .map((text) => {
        const row = JSON.parse(text) as Record<string, unknown>;
        const isLost =
          row['feed'] === 'lyon' && row['source_partition'] === 0 && Number(row['source_offset']) < lost;
        return isLost ? JSON.stringify({ ...row, feed: 'paris' }) : text;
      })
      .sort();
  await verdict(t, installation, {
    calls: named(now.calls),
    byNumber: named(now.byNumber),
    deadLetters: named(now.deadLetters),
  });
});

await tap.test('a feed that was renamed and lost its topic', async (t) => {
  const topic = `${servers.databases[10]}.first`;
  await createTopic(servers.kafka, topic, { partitions: PARTITIONS });
  const installation = await house(t, servers, 10, { settings: feedOf(topic, OLD) });
  const sender = await Sender.connect(t, servers.kafka);
  await sender.send(topic, messages('renamed', 10));
  await readAll(installation);
  change(installation, `${topic}-other`, { ...OLD, name: 'renamed' });
  await installation.run('migrate');
  const lost = await whenIdle(installation, ...reloading('renamed', '--from', LONG_AGO));
  t.match(lost, { code: 0, stderr: new RegExp(`topic: ${topic.replaceAll('.', '\\.')}`) });
  change(installation, topic, { ...OLD, name: 'renamed' });
  await reload(installation, 'renamed', '--from', LONG_AGO);
  await readAll(installation);
  await verdict(t, installation, await referenceOf(t, servers, 11, topic, { ...OLD, name: 'renamed' }));
});
