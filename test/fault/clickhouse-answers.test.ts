import tap from 'tap';
import { addMonths } from '../../schemas/retention-term.ts';
import { until, within } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';
import { ClickhouseProxy, insertsInto } from './clickhouse-proxy.ts';
import {
  callLines,
  house,
  judge,
  ledgerStored,
  Load,
  MEMORY_BYTES_MAX,
  readAll,
  startIngest,
  type Summary,
} from './harness.ts';
import { Observer, Sender } from './topic.ts';

/** What ClickHouse may answer, or fail to answer: waited for, refused, never guessed. */
const servers = testServers(import.meta.url);
const PARTITIONS = 2;
const DAY_MS = 86_400_000;

await tap.test(
  'the answer is lost after the server has done the insert: repeated, nothing twice',
  async (t) => {
    const installation = await house(t, servers, 0, { partitions: PARTITIONS });
    const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
    installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
    const load = new Load(PARTITIONS).calls(callLines(1, 2000), 10, 'with bad lines');
    await (await Sender.connect(t, servers.kafka)).send(installation.database, load.messages);
    const rules = ['cdr', 'cdr_by_number', 'dead_letters', 'ingest_ledger'].map((table) =>
      proxy.on(
        insertsInto(table),
        async (exchange) => {
          t.equal((await proxy.forward(exchange)).status, 200);
          exchange.cut();
        },
        2,
      ),
    );
    await readAll(installation);
    for (const rule of rules) t.equal(rule.count(), 2, 'cut twice');
    await judge(t, installation, load);
  },
);

await tap.test('the first of several batches fails for a while: tables and ledger wait for it', async (t) => {
  // One partition: the batch with its first call is the first one, in whatever order requests come here.
  const installation = await house(t, servers, 1, { partitions: 1 });
  const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
  const lines = callLines(2, 2000);
  const firstCallId = lines[0]!.split(',')[6]!;
  const load = new Load(1).calls(lines, 10);
  await (await Sender.connect(t, servers.kafka)).send(installation.database, load.messages);
  let others = 0;
  const TIMES = 6;
  const rule = proxy.on(
    (exchange) => {
      if (!insertsInto('cdr')(exchange)) return false;
      if (exchange.body.includes(firstCallId)) return true;
      others++;
      return false;
    },
    async (exchange) => {
      t.equal(proxy.batches, 0, 'no batch has overtaken it in the ledger');
      t.equal(others, 0, 'nor in the tables');
      exchange.cut();
      return Promise.resolve();
    },
    TIMES,
  );
  await readAll(installation);
  t.equal(rule.count(), TIMES);
  t.ok(proxy.batches >= 4, `${proxy.batches} batches`);
  const ends = new Map<number, number>();
  for (const { partition, from_offset, next_offset } of proxy.ranges) {
    t.equal(from_offset, ends.get(partition) ?? 0, 'ledger rows are written in the order of offsets');
    ends.set(partition, next_offset);
  }
  await judge(t, installation, load);
});

await tap.test('no grant: ingest stops and says so, nothing of the batch counts', async (t) => {
  const installation = await house(t, servers, 2, { partitions: PARTITIONS });
  const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
  const load = new Load(PARTITIONS).calls(callLines(3, 2000), 10);
  await (await Sender.connect(t, servers.kafka)).send(installation.database, load.messages);
  // From the second batch on the inserts come as a user who may not insert.
  const { user, password } = servers.users.query;
  const authorization = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
  const rule = proxy.on(
    (exchange) => proxy.batches >= 1 && insertsInto('cdr_by_number')(exchange),
    async (exchange) => exchange.answer(await proxy.forward(exchange, { headers: { authorization } })),
  );
  const { code, stdout, stderr } = await installation.run('ingest', '--until-idle');
  t.equal(code, 1);
  t.equal(stdout, '', 'no summary');
  t.match(stderr, /CLICKHOUSE_REFUSED: insert into cdr_by_number: code 497/);
  t.ok(rule.count() <= 2, 'no batch of those in flight is tried again');
  const ledger = await ledgerStored(installation);
  t.ok(proxy.batches <= 2);
  t.ok(ledger > 0 && ledger < load.accepted);
  const observer = await Observer.connect(t, servers.kafka, installation.database);
  const committed = await observer.committed(installation.database, [0, 1]);
  const ends = new Map(proxy.ranges.map(({ partition, next_offset }) => [partition, next_offset]));
  for (const [partition, offset] of committed) {
    t.ok(offset <= (ends.get(partition) ?? 0), `nothing beyond the ledger is committed: ${offset}`);
  }

  rule.remove();
  await readAll(installation);
  await judge(t, installation, load);
});

await tap.test('too many parts: waited for until the merges have caught up', async (t) => {
  const installation = await house(t, servers, 3, { partitions: PARTITIONS });
  const load = new Load(PARTITIONS).calls(callLines(4, 1500), 10);
  await (await Sender.connect(t, servers.kafka)).send(installation.database, load.messages);
  const limits = ['parts_to_throw_insert', 'parts_to_delay_insert'];
  await installation.statement('SYSTEM STOP MERGES {db}.cdr');
  await installation.statement(
    `ALTER TABLE {db}.cdr MODIFY SETTING ${limits.map((limit) => `${limit} = 2`).join(', ')}`,
  );
  const ingest = startIngest(t, installation, '--until-idle');
  await within(30_000, 'the insert was refused twice', () =>
    /"reason":"252","nextTry":3/.test(ingest.stderr()),
  );
  t.match(ingest.stderr(), /insert into cdr"/);
  t.ok((await ledgerStored(installation)) < load.accepted, 'it has work in hand');
  t.equal(ingest.child.exitCode, null, 'it waits');
  await installation.statement(`ALTER TABLE {db}.cdr RESET SETTING ${limits.join(', ')}`);
  await installation.statement('SYSTEM START MERGES {db}.cdr');
  const { code, stdout } = await ingest.ended;
  t.equal(code, 0);
  t.equal((JSON.parse(stdout) as Summary).stored, load.accepted);
  await judge(t, installation, load);
});

await tap.test('memory limit: waited for', async (t) => {
  const installation = await house(t, servers, 4, { partitions: PARTITIONS });
  const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
  const load = new Load(PARTITIONS).calls(callLines(5, 1500), 10);
  await (await Sender.connect(t, servers.kafka)).send(installation.database, load.messages);
  const rule = proxy.on(
    insertsInto('cdr', 'cdr_by_number'),
    async (exchange) => {
      const answer = await proxy.forward(exchange, { parameters: { max_memory_usage: '100000' } });
      t.equal(answer.headers['x-clickhouse-exception-code'], '241');
      exchange.answer(answer);
    },
    6,
  );
  const summary = await readAll(installation);
  t.equal(rule.count(), 6);
  t.equal(summary.stored, load.accepted);
  await judge(t, installation, load);
});

await tap.test('a batch that never fits into memory is cut into smaller ones', async (t) => {
  const installation = await house(t, servers, 5, {
    partitions: 1,
    environment: { CDRHOUSE_INGEST_BATCH_MESSAGES_MAX: '1000', CDRHOUSE_INGEST_FLUSH_INTERVAL_MS: '1000' },
  });
  const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
  const load = new Load(1).calls(callLines(6, 4000), 10);
  await (await Sender.connect(t, servers.kafka)).send(installation.database, load.messages);
  const BYTES_MAX = 150_000;
  let refused = 0;
  proxy.on(
    (exchange) => insertsInto('cdr', 'cdr_by_number')(exchange) && exchange.body.length > BYTES_MAX,
    (exchange) => {
      refused++;
      exchange.refuse(241, 'MEMORY_LIMIT_EXCEEDED');
      return Promise.resolve();
    },
  );
  const { code, stderr } = await startIngest(t, installation, '--until-idle').ended;
  t.equal(code, 0);
  t.ok(refused > 0, 'the first block was too large');
  t.match(stderr, /"step":"insert into cdr(_by_number)?, then in halves","reason":"241"/);
  await judge(t, installation, load);
});

await tap.test('starts of 110 months in one batch, one insert a table', async (t) => {
  const installation = await house(t, servers, 6, {
    partitions: 1,
    environment: { CDRHOUSE_RETENTION_MONTHS: '120', CDRHOUSE_INGEST_FLUSH_INTERVAL_MS: '1000' },
  });
  const MONTHS = 110;
  const now = Date.now();
  const lines = Array.from({ length: MONTHS * 5 }, (_, index) => {
    const start = new Date(addMonths(now, -(index % MONTHS) - 1) + Math.floor(index / MONTHS) * DAY_MS);
    return `+33199000001,+33199009001,+33199000002,${start.toISOString()},5,4.500,month-${index},answered,`;
  });
  const load = new Load(1).calls(lines, lines.length);
  await (await Sender.connect(t, servers.kafka)).send(installation.database, load.messages);
  t.match(await readAll(installation), { stored: lines.length, skipped: 0 });
  const [row] = await installation.rows<{ months: string; batches: string }>(
    `SELECT (SELECT uniqExact(toYYYYMM(start_at)) FROM {db}.cdr FINAL) AS months,
       (SELECT count() FROM {db}.ingest_ledger FINAL WHERE next_offset > from_offset) AS batches`,
  );
  t.ok(Number(row!.months) >= MONTHS, `${row!.months} months`);
  t.equal(row!.batches, '1', 'one batch');
  await judge(t, installation, load);
});

await tap.test('the database is away for long, with much behind it: memory stays flat', async (t) => {
  const installation = await house(t, servers, 7, {
    partitions: PARTITIONS,
    environment: { CDRHOUSE_INGEST_BATCH_BYTES_MAX: '1048576', CDRHOUSE_INGEST_WORKERS: '1' },
  });
  const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
  const [MESSAGES, BYTES] = [400, 900_000];
  t.ok(MESSAGES * BYTES > 0.8 * MEMORY_BYTES_MAX);
  const sender = await Sender.connect(t, servers.kafka);
  const load = new Load(PARTITIONS).calls(callLines(7, 1000), 10, 'with bad lines');
  for (let index = 0; index < MESSAGES; index++) {
    load.bad(Buffer.alloc(BYTES, `${index},`));
    if (index % 20 === 19) {
      await sender.send(installation.database, load.messages.splice(0));
    }
  }
  let cuts = 0;
  const absence = proxy.on(
    (exchange) => proxy.batches >= 2 && insertsInto('cdr', 'dead_letters')(exchange),
    (exchange) => {
      cuts++;
      exchange.cut();
      return Promise.resolve();
    },
  );
  const ingest = startIngest(t, installation, '--until-idle');
  await until('reading is paused', () => /reading is paused/.test(ingest.stderr()));
  const atPause = cuts;
  await until('it was tried again and again', () => cuts > atPause + 8);
  t.ok((await ledgerStored(installation)) < load.accepted, 'it has work in hand');
  absence.remove();
  t.equal((await ingest.ended).code, 0, 'the same process goes on');
  await judge(t, installation, load);
});
