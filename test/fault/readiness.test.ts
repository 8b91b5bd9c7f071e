import tap from 'tap';
import type { Readiness } from '../../ingest/reachability.ts';
import { until } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';
import { ClickhouseProxy } from './clickhouse-proxy.ts';
import { callLines, exitWithin, house, judge, ledgerStored, Load, startIngest } from './harness.ts';
import { KafkaProxy } from './kafka-proxy.ts';
import { Sender } from './topic.ts';

/** What /readyz of ingest says while a server is out of reach. */
const servers = testServers(import.meta.url);
const PORT = 19_465;
const URL_READY = `http://127.0.0.1:${PORT}/readyz`;
const METRICS = { CDRHOUSE_INGEST_METRICS_PORT: String(PORT) };

interface Answer {
  readonly status: number;
  readonly body: Readiness;
}

/** undefined where nothing listens. */
async function ask(): Promise<Answer | undefined> {
  const answer = await fetch(URL_READY).catch(() => undefined);
  return answer === undefined
    ? undefined
    : { status: answer.status, body: (await answer.json()) as Readiness };
}

/** The first answer with this status. */
async function answerWith(status: number): Promise<Readiness> {
  let last: Answer | undefined;
  await until(`/readyz answers ${status}`, async () => {
    last = await ask();
    return last?.status === status;
  });
  return last!.body;
}

await tap.test('each server in turn is out of reach and comes back', async (t) => {
  const kafka = await KafkaProxy.start(t, servers.kafka);
  const clickhouse = await ClickhouseProxy.start(t, servers.clickhouse);
  const installation = await house(t, servers, 0, { environment: METRICS });
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = clickhouse.url;
  installation.environment['CDRHOUSE_KAFKA_BROKERS'] = kafka.brokers;
  const ingest = startIngest(t, installation);
  await answerWith(200);

  // Kafka: connections break, and later ones are refused.
  let beganMs = Date.now();
  kafka.cut();
  let body = await answerWith(503);
  t.match(body, {
    ready: false,
    reading: true,
    kafka: { state: 'unreachable' },
    clickhouse: { state: 'reachable' },
  });
  t.ok(Date.parse(body.kafka.since) >= beganMs - 1000, 'since when');
  kafka.heal();
  t.match(await answerWith(200), { kafka: { state: 'reachable' } });

  // ClickHouse: it takes requests and does not answer them.
  beganMs = Date.now();
  const hold = clickhouse.hold('before', () => true);
  body = await answerWith(503);
  t.match(body, { ready: false, kafka: { state: 'reachable' }, clickhouse: { state: 'unreachable' } });
  t.ok(Date.parse(body.clickhouse.since) >= beganMs - 1000);
  await hold.release();
  await answerWith(200);

  // ClickHouse: it breaks connections.
  const cut = clickhouse.on(
    () => true,
    async (exchange) => exchange.cut(),
  );
  t.match(await answerWith(503), { clickhouse: { state: 'unreachable' } });
  cut.remove();
  await answerWith(200);

  const load = new Load(2).calls(callLines(31, 200), 10);
  await (await Sender.connect(t, servers.kafka)).send(installation.database, load.messages);
  await until('it has gone on', async () => (await ledgerStored(installation)) === load.accepted);
  ingest.child.kill('SIGTERM');
  t.equal((await ingest.ended).code, 0);
  await judge(t, installation, load);
});

await tap.test('while it waits for ClickHouse at its start it answers already', async (t) => {
  const clickhouse = await ClickhouseProxy.start(t, servers.clickhouse);
  const installation = await house(t, servers, 1, { environment: METRICS });
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = clickhouse.url;
  const cut = clickhouse.on(
    () => true,
    async (exchange) => exchange.cut(),
  );
  const ingest = startIngest(t, installation);
  const body = await answerWith(503);
  t.match(body, { ready: false, reading: false, kafka: { state: 'unknown' } });
  await until('it has asked', async () => (await ask())?.body.clickhouse.state === 'unreachable');
  t.equal((await fetch(`http://127.0.0.1:${PORT}/healthz`)).status, 200);
  const text = await (await fetch(`http://127.0.0.1:${PORT}/metrics`)).text();
  t.match(text, /^cdrhouse_ingest_ready 0$/m);
  t.match(text, /^cdrhouse_ingest_reachable\{server="clickhouse"\} 0$/m);
  t.match(text, /^cdrhouse_ingest_process_resident_memory_bytes [1-9]/m);
  await until('it says so', () => /waiting for ClickHouse.*\n/.test(ingest.stderr()));
  const line = ingest
    .stderr()
    .split('\n')
    .find((logged) => logged.includes('waiting for ClickHouse'));
  t.match(JSON.parse(line!), { code: 'CLICKHOUSE_UNREACHABLE', action: /CDRHOUSE_CLICKHOUSE_URL/ });
  cut.remove();
  t.match(await answerWith(200), { ready: true, reading: true });
  ingest.child.kill('SIGTERM');
  t.equal((await ingest.ended).code, 0);
});

await tap.test('the parent of several says what the worst of them says', async (t) => {
  const kafka = await KafkaProxy.start(t, servers.kafka);
  const installation = await house(t, servers, 2, {
    environment: { ...METRICS, CDRHOUSE_INGEST_PROCESSES: '2' },
  });
  installation.environment['CDRHOUSE_KAFKA_BROKERS'] = kafka.brokers;
  const ingest = startIngest(t, installation);
  t.match(await answerWith(200), { processes: { wanted: 2, answering: 2 } });
  kafka.cut();
  t.match(await answerWith(503), { kafka: { state: 'unreachable' }, clickhouse: { state: 'reachable' } });
  const text = await (await fetch(`http://127.0.0.1:${PORT}/metrics`)).text();
  t.match(text, /^cdrhouse_ingest_ready 0$/m);
  t.match(text, /^cdrhouse_ingest_reachable\{server="kafka"\} 0$/m);
  kafka.heal();
  await answerWith(200);
  ingest.child.kill('SIGTERM');
  t.equal(await exitWithin(30_000, ingest), 0);
});
