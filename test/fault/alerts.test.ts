import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tap, { type Test } from 'tap';
import { freePort } from '../../deploy/local/ports.ts';
import { IngestMetrics } from '../../ingest/metrics.ts';
import { SESSION, until, type Ended, type Running } from '../cdrhouse-program.ts';
import { addKey, serve } from '../integration/calls-client.ts';
import { alertRules, fasterRules, Prometheus, promtool, serveText, type Alert } from '../prometheus.ts';
import { testServers } from '../test-servers.ts';
import { ClickhouseProxy } from './clickhouse-proxy.ts';
import { badLine, callLines, house, ledgerStored, Load, startIngest } from './harness.ts';
import { KafkaProxy } from './kafka-proxy.ts';
import { recreateTopic, Sender } from './topic.ts';

/**
 * Every alert of deploy/alerts.yml, in a real Prometheus: silent before its fault, firing with it, and silent again
 * after it. One installation meets one fault after the other, so that the whole takes little more than a minute.
 */
const servers = testServers(import.meta.url);
const topicOf = (feed: string): string => `${servers.databases[0]}.${feed}`;
const port = await freePort();
const retentionPort = await freePort();
const queryPort = await freePort();
const shipPort = await freePort();

const folder = mkdtempSync(join(tmpdir(), 'cdrhouse-alerts-'));
tap.teardown(() => rmSync(folder, { recursive: true, force: true }));
/** What node_exporter would read. */
const auditFile = join(folder, 'audit.prom');
const auditTarget = await serveText(tap, () =>
  existsSync(auditFile) ? readFileSync(auditFile, 'utf8') : '',
);
/** Plain consume is chosen where the addon is missing, which no program under test is; its gauge is the real one. */
const slowReader = new IngestMetrics();
const slowTarget = await serveText(tap, () =>
  slowReader.current().getSingleMetricAsString('cdrhouse_ingest_plain_consume'),
);

const kafka = await KafkaProxy.start(tap, servers.kafka);
const clickhouse = await ClickhouseProxy.start(tap, servers.clickhouse);
const installation = await house(tap, servers, 0, {
  partitions: 1,
  settings: {
    feeds: ['steady', 'remade'].map((name) => ({ name, topic: topicOf(name) })),
    kafka: {
      // accept-gap waits for the session's end.
      client: { ...SESSION, 'reconnect.backoff.max.ms': 500 },
      topic_partitions: 1,
    },
  },
  environment: {
    CDRHOUSE_INGEST_METRICS_PORT: String(port),
    CDRHOUSE_RETENTION_METRICS_PORT: String(retentionPort),
    CDRHOUSE_QUERY_PORT: String(queryPort),
  },
});
installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = clickhouse.url;
installation.environment['CDRHOUSE_KAFKA_BROKERS'] = kafka.brokers;
const sender = await Sender.connect(tap, servers.kafka);
const prometheus = await Prometheus.start(tap, fasterRules(), {
  cdrhouse: `127.0.0.1:${port}`,
  node: auditTarget,
  retention: `127.0.0.1:${retentionPort}`,
  query: `127.0.0.1:${queryPort}`,
  // The rules go by this name.
  'cdrhouse-ship': `127.0.0.1:${shipPort}`,
  slow: slowTarget,
});
/** Names of the alerts that have fired. */
const seen = new Set<string>();
let ingest: Running;
let retention: Running;

/** Starts retention, which sweeps at once; past the proxy, which hides from the server that a client is gone. */
async function startRetention(): Promise<void> {
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = servers.clickhouse;
  retention = installation.start('retention', 'run');
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = clickhouse.url;
  tap.teardown(() => retention.child.kill('SIGKILL'));
  await until('the first sweep', () => retention.stderr().includes('swept '));
}

async function endRetention(): Promise<void> {
  retention.child.kill('SIGTERM');
  tap.equal((await retention.ended).code, 0);
}

/** Starts a `ship --listen`, which is ended with the test. */
function startShip(): void {
  const address = `http://127.0.0.1:${shipPort}/cdr`;
  const ship = installation.start('ship', '--feed', 'steady', '--listen', address);
  tap.teardown(() => ship.child.kill('SIGKILL'));
}

/** Asks the API again and again until this test of it is over, whatever it answers. */
async function keepAsking(t: Test): Promise<void> {
  const authorization = `Bearer ${await addKey(installation, 'operations')}`;
  const ask = async (): Promise<void> => {
    await (await fetch(`http://127.0.0.1:${queryPort}/v1/feeds`, { headers: { authorization } })).text();
  };
  const asking = setInterval(() => void ask().catch(() => undefined), 200);
  t.teardown(() => clearInterval(asking));
}

/** The alert of this name once it fires. */
async function fires(name: string): Promise<Alert> {
  let alert: Alert | undefined;
  await until(`${name} fires`, async () => {
    alert = (await prometheus.firing()).find(({ labels }) => labels.alertname === name);
    return alert !== undefined;
  });
  seen.add(name);
  return alert!;
}

/** Names of the alerts that fire now. */
async function firing(): Promise<string[]> {
  return (await prometheus.firing()).map(({ labels }) => labels.alertname);
}

/** Waits until none fires, but for those that are to last. */
async function calm(...lasting: string[]): Promise<void> {
  await until(`none fires but ${lasting.join(', ') || 'none'}`, async () =>
    (await firing()).every((name) => lasting.includes(name)),
  );
}

/** Ends ingest and gives its exit code. */
async function ended(): Promise<Ended['code']> {
  ingest.child.kill('SIGTERM');
  return (await ingest.ended).code;
}

async function audit(): Promise<Ended['code']> {
  return (await installation.run('audit', '--metrics-file', auditFile)).code;
}

await tap.test('the rules are valid', async (t) => {
  const path = join(folder, 'alerts.yml');
  writeFileSync(path, alertRules());
  t.match(await promtool('check', 'rules', path), /SUCCESS: 20 rules found/);
});

await tap.test('no ingest, no audit, no retention, no API, no ship', async (t) => {
  await fires('CdrhouseIngestAbsent');
  await fires('CdrhouseAuditMissing');
  await fires('CdrhouseRetentionMissing');
  await fires('CdrhouseQueryAbsent');
  await fires('CdrhouseShipDown');
  await startRetention();
  await serve(tap, installation);
  startShip();
  ingest = startIngest(tap, installation);
  t.equal(await audit(), 0);
  await calm();
});

await tap.test('bad records', async (t) => {
  const load = new Load(1).calls(callLines(71, 100), 10);
  await sender.send(topicOf('steady'), load.messages);
  await until('the good ones are stored', async () => (await ledgerStored(installation)) === 100);
  t.strictSame(await firing(), []);
  for (let i = 0; i < 10; i++) load.bad(badLine(i));
  await sender.send(topicOf('steady'), load.since(10));
  t.equal((await fires('CdrhouseIngestRejects')).labels['feed'], 'steady');
  t.strictSame(await firing(), ['CdrhouseIngestRejects'], 'and no other');
});

await tap.test('a call that is overdue, and may not go', async (t) => {
  await endRetention();
  await installation.statement(
    `INSERT INTO {db}.cdr (start_at, cdr_key, version) VALUES (now64(3) - INTERVAL 36 MONTH - INTERVAL 5 DAY, 1, 1)`,
  );
  await startRetention();
  t.equal((await fires('CdrhouseRetentionUnproven')).labels['code'], 'SWEEP_TABLES_DIFFER');
  t.match((await fires('CdrhouseRetentionOverdue')).annotations, { summary: /kept [4-6] days/ });
  await endRetention();
  await installation.statement('ALTER TABLE {db}.cdr DELETE WHERE cdr_key = 1 SETTINGS mutations_sync = 1');
  await startRetention();
  await calm();
});

await tap.test('a request of a person that is not answered in time', async (t) => {
  await endRetention();
  await installation.statement(
    `INSERT INTO {db}.subject_requests (request_id, kind, state, details, asked_at, due_at, version) VALUES
     ('late', 'export', 'begun', '{}', now64(3), now64(3) - INTERVAL 2 DAY, 1),
     ('told so', 'erase', 'deferred', '{}', now64(3), now64(3) - INTERVAL 2 DAY, 1),
     ('in time', 'export', 'begun', '{}', now64(3), now64(3) + INTERVAL 2 DAY, 1)`,
  );
  await startRetention();
  t.match((await fires('CdrhouseRetentionRequestOverdue')).annotations, { summary: /^1 request/ });
  t.strictSame(await firing(), ['CdrhouseRetentionRequestOverdue'], 'and no other');
  const metrics = await fetch(`http://127.0.0.1:${retentionPort}/metrics`);
  t.match(await metrics.text(), /^cdrhouse_retention_open_requests 3$/m);
  await endRetention();
  await installation.statement(
    "INSERT INTO {db}.subject_requests (request_id, kind, state, details, version) VALUES ('late', 'export', 'done', '{}', 2)",
  );
  await startRetention();
  await calm();
});

await tap.test('ClickHouse is out of reach, while an ingest elsewhere reads slowly', async (t) => {
  slowReader.setPlainConsume(true);
  await keepAsking(t);
  const cut = clickhouse.on(
    () => true,
    async (exchange) => exchange.cut(),
  );
  // More than may be in flight, sent by the switch ten minutes ago.
  const old = Date.now() - 600_000;
  const load = new Load(1).calls(callLines(72, 3000), 10);
  await sender.send(
    topicOf('steady'),
    load.messages.map((message) => ({ ...message, timestampMs: old })),
  );
  t.match((await fires('CdrhouseIngestNotReady')).annotations, {
    summary: /out of reach: clickhouse *$/,
  });
  t.match(await fires('CdrhouseIngestLag'), {
    labels: { topic: topicOf('steady'), partition: '0' },
    annotations: { summary: /0 is 10m [0-9.]+s behind/ },
  });
  await fires('CdrhouseIngestPlainConsume');
  slowReader.setPlainConsume(false);
  await fires('CdrhouseIngestPaused');
  t.match((await fires('CdrhouseIngestRetrying')).labels, { step: /^insert into / });
  t.match((await fires('CdrhouseQueryFailing')).annotations, { summary: /fails \d+(\.\d+)?% of/ });
  await fires('CdrhouseIngestUnflushed');
  cut.remove();
  await until('it has gone on', async () => (await ledgerStored(installation)) === 3100);
  await calm();
});

await tap.test('Kafka is out of reach', async (t) => {
  kafka.cut();
  t.match((await fires('CdrhouseIngestNotReady')).annotations, { summary: /out of reach: kafka *$/ });
  // Which of the two is told first is chance.
  const others = (await firing()).filter((name) => name !== 'CdrhouseShipNotReady');
  t.strictSame(others, ['CdrhouseIngestNotReady'], 'and no other');
  await fires('CdrhouseShipNotReady');
  kafka.heal();
  await calm();
});

await tap.test('a topic is made again while it is read, and the gap is accepted', async (t) => {
  const messages = new Load(1).calls(callLines(73, 20), 10).messages;
  await sender.send(topicOf('remade'), messages);
  await until('the first topic is read', async () => (await ledgerStored(installation)) === 3120);
  await recreateTopic(servers.kafka, topicOf('remade'), { partitions: 1 });
  await sender.send(topicOf('remade'), new Load(1).calls(callLines(74, 40), 10).messages);
  t.equal((await fires('CdrhouseIngestGap')).labels['topic'], topicOf('remade'));
  t.strictSame(await firing(), ['CdrhouseIngestGap'], 'and no other');
  t.equal(await ended(), 0);
});

await tap.test('a detached part, and an audit that does not run any more', async (t) => {
  const [part] = await installation.rows<{ name: string }>(
    `SELECT name FROM system.parts WHERE database = '{db}' AND table = 'cdr' AND active ORDER BY name LIMIT 1`,
  );
  await installation.statement(`ALTER TABLE {db}.cdr DETACH PART '${part!.name}'`);
  t.equal(await audit(), 1);
  t.equal((await fires('CdrhouseAuditDifferences')).labels['fault'], 'tables_differ');
  await installation.statement(`ALTER TABLE {db}.cdr ATTACH PART '${part!.name}'`);
  t.equal(await audit(), 0);
  await calm('CdrhouseIngestAbsent');

  const ranAt = /^(cdrhouse_audit_last_run_timestamp_seconds) (.*)$/m;
  const daysAgo = Date.now() / 1000 - 37 * 3600;
  writeFileSync(auditFile, readFileSync(auditFile, 'utf8').replace(ranAt, `$1 ${daysAgo}`));
  await fires('CdrhouseAuditMissing');
  t.equal(await audit(), 0);
});

await tap.test('processes are killed again and again', async (t) => {
  await until('the session is over and the gap accepted', async () => {
    const { code } = await installation.run('ingest', 'accept-gap');
    return code === 0;
  });
  installation.environment['CDRHOUSE_INGEST_PROCESSES'] = '2';
  ingest = startIngest(tap, installation);
  const children = (): number[] =>
    // It fails where there is none.
    (spawnSync('ps', ['-o', 'pid=', '--ppid', String(ingest.child.pid)], { encoding: 'utf8' }).stdout ?? '')
      .trim()
      .split('\n')
      .filter((line) => line !== '')
      .map(Number);
  await calm();
  const killed = new Set<number>();
  for (let i = 0; i < 3; i++) {
    let victim: number | undefined;
    await until('there is another one', () => {
      victim = children().find((pid) => !killed.has(pid));
      return victim !== undefined;
    });
    killed.add(victim!);
    process.kill(victim!, 'SIGKILL');
  }
  await fires('CdrhouseIngestRestarts');
  t.equal(await ended(), 0);
});

await tap.test('every alert has fired', async (t) => {
  t.strictSame([...seen].sort(), (await prometheus.alertNames()).sort());
});
