import tap from 'tap';
import { freePort } from '../../deploy/local/ports.ts';
import { until } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';
import { ClickhouseProxy, insertsInto } from './clickhouse-proxy.ts';
import { badLine, callLines, house, ledgerStored, Load, startIngest } from './harness.ts';
import { Sender } from './topic.ts';

/** What /metrics says of a load that is known, and of batches that stand still on their way. */
const servers = testServers(import.meta.url);

await tap.test('counts of a known load; lag and age while the ledger does not take a batch', async (t) => {
  const port = await freePort();
  const clickhouse = await ClickhouseProxy.start(t, servers.clickhouse);
  const installation = await house(t, servers, 0, {
    partitions: 1,
    environment: { CDRHOUSE_INGEST_METRICS_PORT: String(port) },
  });
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = clickhouse.url;
  const sender = await Sender.connect(t, servers.kafka);
  const topic = installation.database;
  const scrape = async (): Promise<(series: string) => number | undefined> => {
    const answer = await fetch(`http://127.0.0.1:${port}/metrics`).catch(() => undefined);
    const lines = ((await answer?.text()) ?? '').split('\n');
    return (series) => {
      const line = lines.find((candidate) => candidate.startsWith(`${series} `));
      return line === undefined ? undefined : Number(line.slice(series.length + 1));
    };
  };
  const partition = `{topic="${topic}",partition="0"}`;

  const ingest = startIngest(t, installation);
  await until(
    'it has its partition',
    async () => (await scrape())(`cdrhouse_ingest_lag_messages${partition}`) === 0,
  );
  await until('it is ready', async () => (await scrape())('cdrhouse_ingest_ready') === 1);
  let value = await scrape();
  t.equal(
    value('cdrhouse_ingest_records_total{feed="default",result="rejected"}'),
    0,
    'there from the start',
  );
  t.equal(value(`cdrhouse_ingest_lag_seconds${partition}`), 0);

  // A message with a record twice, one with a bad record.
  const [line] = callLines(81, 1);
  const load = new Load(1).calls(callLines(82, 50), 10).calls([line!, line!], 2).bad(badLine(0));
  await sender.send(topic, load.messages);
  await until('all is stored', async () => (await ledgerStored(installation)) === 52);
  await until(
    'and counted',
    async () => (await scrape())('cdrhouse_ingest_messages_total') === load.messages.length,
  );
  value = await scrape();
  const batches = value('cdrhouse_ingest_batches_total')!;
  t.ok(batches > 0);
  for (const [series, wanted] of Object.entries({
    'records_total{feed="default",result="stored"}': 52,
    'records_total{feed="default",result="rejected"}': 1,
    'duplicates_in_batch_total{feed="default"}': 1,
    bytes_total: load.messages.reduce((sum, message) => sum + message.value!.length, 0),
    batch_rows_sum: 52,
    batch_rows_count: batches,
    parse_seconds_count: batches,
    store_seconds_count: batches,
    queryable_seconds_count: batches,
    'insert_seconds_count{table="ingest_ledger"}': batches,
    'insert_seconds_count{table="dead_letters"}': 1,
    [`lag_messages${partition}`]: 0,
    [`lag_seconds${partition}`]: 0,
    oldest_unflushed_seconds: 0,
    paused: 0,
    plain_consume: 0,
  }))
    t.equal(value(`cdrhouse_ingest_${series}`), wanted, series);
  t.equal(
    value('cdrhouse_ingest_insert_seconds_count{table="cdr"}'),
    value('cdrhouse_ingest_insert_seconds_count{table="cdr_by_number"}'),
  );
  await until(
    'a commit is accepted',
    async () => (await scrape())('cdrhouse_ingest_commit_seconds_count')! > 0,
  );

  const hold = clickhouse.hold('before', insertsInto('ingest_ledger'));
  await sender.send(
    topic,
    new Load(1)
      .calls(callLines(83, 20), 10)
      .messages.map((message, index) => ({ ...message, timestampMs: Date.now() - (60 - index) * 1000 })),
  );
  await hold.reached;
  await until('it ages', async () => (await scrape())('cdrhouse_ingest_oldest_unflushed_seconds')! > 0.5);
  value = await scrape();
  t.equal(value(`cdrhouse_ingest_lag_messages${partition}`), 2);
  const age = value(`cdrhouse_ingest_lag_seconds${partition}`)!;
  t.ok(age >= 60 && age < 3600, 'the age of the older one, in seconds');
  t.equal(value('cdrhouse_ingest_batches_total'), batches, 'not stored yet');
  await hold.release();
  await until('nothing is behind', async () => {
    value = await scrape();
    return value(`cdrhouse_ingest_lag_messages${partition}`) === 0;
  });
  t.equal(value(`cdrhouse_ingest_lag_seconds${partition}`), 0);
  ingest.child.kill('SIGTERM');
  t.equal((await ingest.ended).code, 0);
});
