import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import tap, { type Test } from 'tap';
import { Traffic } from '../../ingest/generate/traffic.ts';
import { Installation, SESSION, until, type RunningScript } from '../cdrhouse-program.ts';
import { markedBlock, readDocument } from '../documents.ts';
import { startIngest, storedLines } from '../fault/harness.ts';
import { KafkaProxy } from '../fault/kafka-proxy.ts';
import { createTopic, Observer, Sender } from '../fault/topic.ts';
import { testServers } from '../test-servers.ts';

/** docs/backfill.md on a small scale: its commands as they stand there, 36 months in three files, kill -9 of both sides. */
const servers = testServers(import.meta.url);
const FEED = 'paris-pa2';
const LINES_PER_FILE = 8000;
const PARTITIONS = 2;
/** Less than two messages. */
const DROP_BYTES = 20_000;
const [topic, asteriskTopic] = [`${servers.databases[0]}.archive`, `${servers.databases[0]}.asterisk`];

const document = readDocument('docs/backfill.md');
const block = (mark: string): string => markedBlock(document, mark);

const installation = new Installation(
  tap,
  servers,
  0,
  {
    feeds: [
      { name: FEED, topic },
      {
        name: 'asterisk',
        topic: asteriskTopic,
        format: 'asterisk-csv',
        time_zone: 'Europe/Paris',
        country: 'FR',
      },
    ],
    kafka: { topic_partitions: PARTITIONS, client: SESSION },
    ship: { message_bytes_max: 16_384 },
  },
  { CDRHOUSE_INGEST_BATCH_MESSAGES_MAX: '30' },
);

/** The last 36 months but for a day, since those before are not kept. */
function lastMonths(): { from: number; to: number } {
  const now = new Date();
  const from = Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - 36, now.getUTCDate() + 2);
  return { from, to: Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate()) };
}

/** Three files in no order of time: each message holds lines of many months, a batch of all. */
const files = [1, 2, 3].map((seed) => {
  const traffic = new Traffic(seed, LINES_PER_FILE, lastMonths());
  return Array.from({ length: LINES_PER_FILE }, (_, index) => traffic.line((index * 7919) % LINES_PER_FILE));
});

/** A statement of the document, for the database of the test. */
function statementOf(mark: string): string {
  return block(mark).replaceAll('cdrhouse.', '{db}.').replaceAll("'cdrhouse'", "'{db}'");
}

/** Runs a block of the document. */
const runBlock = (t: Test, mark: string, before = ''): RunningScript =>
  installation.startScript(t, `${before}\n${block(mark)}`);

async function messagesIn(observer: Observer): Promise<number> {
  return (await observer.logs(topic)).reduce((sum, { high }) => sum + high, 0);
}

await tap.test('files of all months, shipped and read, with a kill -9 of each side', async (t) => {
  await createTopic(servers.kafka, topic, {
    partitions: PARTITIONS,
    config: { 'message.timestamp.type': 'LogAppendTime' },
  });
  t.match(await installation.run('migrate'), { code: 0 });
  mkdirSync(join(installation.folder, 'archive'));
  files.forEach((lines, index) =>
    writeFileSync(
      join(installation.folder, 'archive', `part-${index + 1}.csv.gz`),
      gzipSync(`${lines.join('\n')}\n`),
    ),
  );
  const noted = (): string => {
    const path = join(installation.folder, 'shipped.json');
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  };
  const observer = await Observer.connect(t, servers.kafka, `${installation.database}-observer`);

  // To Kafka it goes drop by drop, until a part of the second file is there.
  const proxy = await KafkaProxy.start(t, servers.kafka);
  installation.environment['CDRHOUSE_KAFKA_BROKERS'] = proxy.brokers;
  const first = runBlock(t, 'ship');
  installation.environment['CDRHOUSE_KAFKA_BROKERS'] = servers.kafka;
  await until('the first file is sent', () => {
    proxy.allow(DROP_BYTES);
    return noted().includes('part-1.csv.gz');
  });
  const messagesOfFirst = await messagesIn(observer);
  await until('a part of the second one is', async () => {
    proxy.allow(DROP_BYTES);
    return (await messagesIn(observer)) > messagesOfFirst + 2;
  });
  first.kill();
  await first.ended;
  t.notMatch(noted(), 'part-2.csv.gz');

  // The other side, killed when it has stored a part.
  const ingest = startIngest(t, installation);
  await until('something is stored', async () => (await storedLines(installation)).length > 0);
  ingest.child.kill('SIGKILL');
  await ingest.ended;

  const shipped = async (): Promise<unknown> => {
    const { code, stdout, stderr } = await runBlock(t, 'ship').ended;
    t.equal(code, 0, stderr);
    return JSON.parse(stdout);
  };
  t.match(await shipped(), { files: 2, skipped_files: 1, lines: 2 * LINES_PER_FILE });
  t.match(await shipped(), { files: 0, skipped_files: 3, lines: 0 }, 'nothing is left to send');
  const read = await runBlock(t, 'read').ended;
  t.match(read, { code: 0 });
  t.match(JSON.parse(read.stdout), { rejected: 0, skipped: 0 });

  const wanted = files.flat();
  const stored = await storedLines(installation);
  t.equal(new Set(wanted).size, wanted.length);
  t.strictSame([...stored].sort(), [...wanted].sort(), 'each line once');
  const [spans] = await installation.rows<{ months: string; of_a_batch: string }>(
    `SELECT uniqExact(toYYYYMM(start_at)) AS months,
      (SELECT max(length(arrayDistinct(arrayMap(hour -> toYYYYMM(hour), mapKeys(stored_by_hour))))) FROM {db}.ingest_ledger FINAL) AS of_a_batch
     FROM {db}.cdr`,
  );
  t.ok(Number(spans!.months) >= 36);
  t.equal(spans!.of_a_batch, spans!.months, 'a batch holds all months');
});

await tap.test('what the document says to look at', async (t) => {
  const check = await runBlock(t, 'check').ended;
  t.match(check, { code: 0, stdout: new RegExp(`^${3 * LINES_PER_FILE}\n`) });
  const [disk] = await installation.rows<{ bytes_per_call: number }>(statementOf('disk'));
  t.ok(disk!.bytes_per_call > 20 && disk!.bytes_per_call < 1000, `${disk!.bytes_per_call} bytes a call`);
  const months = await installation.rows<{ month: number; calls: string }>(statementOf('months'));
  t.ok(months.length >= 36);
  t.equal(
    months.reduce((sum, { calls }) => sum + Number(calls), 0),
    3 * LINES_PER_FILE,
  );
});

await tap.test('a producer that sets the times of the calls', async (t) => {
  const sender = await Sender.connect(t, servers.kafka);
  const month = 30 * 86_400_000;
  const old = Date.now() - 20 * month;
  // A month later than its timestamp: with timestamps of the producer it would be rejected.
  const line = `+33199000001,,+33199000002,${new Date(old + month).toISOString()},5,5,connector-1,answered,`;
  await sender.send(topic, [{ partition: 0, value: Buffer.from(line), timestampMs: old }]);
  t.match(await installation.json('ingest', '--until-idle'), { stored: 1, rejected: 0 });
  const [row] = await installation.rows<{ age: string }>(
    `SELECT dateDiff('hour', max(message_at_max), now()) AS age FROM {db}.ingest_ledger WHERE kind = 'read' AND messages = 1`,
  );
  t.equal(Number(row!.age), 0, 'Kafka has its own time, and keeps it as long as any other');
});

await tap.test('the cdr table of an Asterisk', async (t) => {
  // The table as MySQL has it; ClickHouse knows the functions of the statement.
  await installation.statement(
    `CREATE TABLE {db}.asterisk_cdr (calldate DateTime, clid String, src String, dst String, dcontext String, channel String,
      dstchannel Nullable(String), lastapp String, lastdata String, duration Int32, billsec Int32, disposition String,
      amaflags Int32, accountcode Nullable(String), uniqueid String, userfield Nullable(String)) ENGINE = Memory`,
  );
  await installation.statement(
    `INSERT INTO {db}.asterisk_cdr VALUES
      ('2026-03-01 09:00:00', '"Doe, ""J""" <0199000001>', '0199000001', '0199000002', 'internal', 'SIP/1001-1', 'SIP/1002-2',
       'Dial', 'SIP/1002,30,"tT"', 42, 30, 'ANSWERED', 3, 'sales', '1772352000.1', NULL),
      ('2026-03-01 09:05:00', '', '1001', '*72', 'internal', 'SIP/1001-3', NULL, 'Hangup', '', 0, 0, 'NO ANSWER', 3, NULL, '1772352300.2', 'x,y'),
      ('2026-04-01 09:05:00', '', '1001', '1002', 'internal', 'SIP/1001-3', NULL, 'Hangup', '', 0, 0, 'BUSY', 3, NULL, '1775030700.3', NULL)`,
  );
  const statement = block('asterisk').replace('FROM cdr ', 'FROM {db}.asterisk_cdr ');
  const lines = await installation.rows<{ line: string }>(statement);
  const file = installation.write('2026-03.csv', `${lines.map(({ line }) => line).join('\n')}\n`);
  t.match(await installation.json('ship', '--feed', 'asterisk', file), { lines: 2 });
  t.match(await installation.json('ingest', '--until-idle'), { stored: 2, rejected: 0 });
  const calls = await installation.rows<object>(
    `SELECT calling_number, displayed_caller_id, dialed_number, toString(start_at) AS start, duration_ms, talk_ms, outcome, account, call_id
     FROM {db}.cdr FINAL WHERE feed = 'asterisk' ORDER BY start_at`,
  );
  t.strictSame(calls, [
    {
      calling_number: '+33199000001',
      displayed_caller_id: '+33199000001',
      dialed_number: '+33199000002',
      start: '2026-03-01 08:00:00.000',
      duration_ms: 42_000,
      talk_ms: 30_000,
      outcome: 'answered',
      account: 'sales',
      call_id: '1772352000.1',
    },
    {
      calling_number: '1001',
      displayed_caller_id: '',
      dialed_number: '*72',
      start: '2026-03-01 08:05:00.000',
      duration_ms: 0,
      talk_ms: 0,
      outcome: 'no_answer',
      account: '',
      call_id: '1772352300.2',
    },
  ]);
});
