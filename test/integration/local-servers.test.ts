import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ClickHouseLogLevel, createClient } from '@clickhouse/client';
import rdkafka from 'node-rdkafka';
import tap from 'tap';
import { answersMetadata } from '../../deploy/local/kafka-probe.ts';
import {
  type Credentials,
  startClickhouse,
  startKafka,
  type Users,
} from '../../deploy/local/local-servers.ts';

const commandUrl = new URL('../../deploy/local/command.js', import.meta.url).href;
const deadlineMs = 60_000;
const pollMs = 20;

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + deadlineMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await delay(pollMs);
  }
}

async function temporaryFolder(t: { teardown: (undo: () => Promise<void>) => void }): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'cdrhouse-local-'));
  t.teardown(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
  return folder;
}

/** Whether a process runs; one that has ended and waits for its new parent to notice (a zombie) does not. */
function runs(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

interface Up {
  child: ChildProcess;
  output: { stdout: string; stderr: string };
  exited: Promise<unknown>;
}

/** `cdrhouse local up` in a process of its own. */
function localUp(dataDir: string, kafkaPort = 0, clickhousePort = 0): Up {
  const options = JSON.stringify({ dataDir, kafkaPort, clickhousePort });
  const script = `import { localUpCommand } from '${commandUrl}'; process.exitCode = await localUpCommand(${options});`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => (output.stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output.stderr += chunk.toString()));
  return { child, output, exited: once(child, 'close') };
}

interface Addresses {
  kafka: string;
  clickhouse: string;
}

async function untilReady(up: Up): Promise<Addresses> {
  await until('the line with both addresses', () => {
    if (up.child.exitCode !== null) throw new Error(`ended with ${up.child.exitCode}: ${up.output.stderr}`);
    return up.output.stdout.includes('\n');
  });
  return JSON.parse(up.output.stdout);
}

async function serverPid(dataDir: string, name: 'kafka' | 'clickhouse'): Promise<number> {
  const lock: { server: { pid: number } } = JSON.parse(
    await readFile(join(dataDir, name, 'lock.json'), 'utf8'),
  );
  return lock.server.pid;
}

async function serverPids(dataDir: string): Promise<number[]> {
  return [await serverPid(dataDir, 'kafka'), await serverPid(dataDir, 'clickhouse')];
}

async function usersIn(dataDir: string): Promise<Users> {
  return JSON.parse(await readFile(join(dataDir, 'users.json'), 'utf8'));
}

/** Runs one statement as a user and gives the text of the answer; fails with ClickHouse's error. */
async function run(url: string, credentials: Credentials | undefined, statement: string): Promise<string> {
  const client = createClient({
    url,
    ...(credentials === undefined ? {} : { username: credentials.user, password: credentials.password }),
    keep_alive: { enabled: false },
    // Most statements here are meant to fail; the errors are looked at by the tests.
    log: { level: ClickHouseLogLevel.OFF },
  });
  try {
    const { stream } = await client.exec({ query: statement });
    const chunks: Buffer[] = [];
    for await (const chunk of stream) chunks.push(Buffer.from(chunk));
    return Buffer.concat(chunks).toString().trim();
  } finally {
    await client.close();
  }
}

/** What a rejected statement must look like; `types` is a pattern over the names of ClickHouse's error types. */
function databaseError(types: string): { name: string; type: RegExp } {
  return { name: 'Error', type: new RegExp(`^(${types})$`) };
}

async function createTopic(brokers: string, topic: string): Promise<void> {
  const admin = rdkafka.AdminClient.create({ 'metadata.broker.list': brokers });
  try {
    await new Promise<void>((resolve, reject) => {
      admin.createTopic({ topic, num_partitions: 3, replication_factor: 1 }, (error) => {
        if (error) reject(new Error(error.message));
        else resolve();
      });
    });
  } finally {
    admin.disconnect();
  }
}

/** Partition count of each topic, as a real client sees it. */
async function topicsOf(brokers: string): Promise<Map<string, number>> {
  const producer = new rdkafka.HighLevelProducer({ 'metadata.broker.list': brokers });
  try {
    const metadata = await new Promise<rdkafka.Metadata>((resolve, reject) => {
      producer.connect({ timeout: 10_000 }, (error, data) => {
        if (error) reject(new Error(error.message));
        else resolve(data);
      });
    });
    return new Map(metadata.topics.map((topic) => [topic.name, topic.partitions.length]));
  } finally {
    await new Promise((resolve) => producer.disconnect(resolve));
  }
}

await tap.test('local up: one line, both answer, SIGTERM ends everything', async (t) => {
  const dataDir = await temporaryFolder(t);
  const up = localUp(dataDir);
  t.teardown(() => void up.child.kill('SIGKILL'));
  const addresses = await untilReady(up);
  t.strictSame(Object.keys(addresses), ['kafka', 'clickhouse']);
  t.match(addresses, { kafka: /^127\.0\.0\.1:\d+$/, clickhouse: /^http:\/\/127\.0\.0\.1:\d+$/ });
  t.ok(await answersMetadata(Number(addresses.kafka.split(':')[1])));
  await createTopic(addresses.kafka, 'cdr');
  t.equal((await topicsOf(addresses.kafka)).get('cdr'), 3);
  t.equal(
    await run(addresses.clickhouse, undefined, 'SELECT timezone()'),
    'UTC',
    'default needs no password',
  );
  t.equal((await stat(join(dataDir, 'users.json'))).mode & 0o777, 0o600);

  const second = localUp(dataDir);
  await second.exited;
  t.equal(second.child.exitCode, 1);
  t.match(second.output, { stdout: '', stderr: /LOCAL_DATA_DIR_IN_USE/ });

  const pids = await serverPids(dataDir);
  up.child.kill('SIGTERM');
  await up.exited;
  t.equal(up.child.exitCode, 0);
  t.equal(up.output.stdout.split('\n').length, 2, 'nothing but the one line');
  t.strictSame(pids.filter(runs), [], 'no process is left');
});

await tap.test(
  'a parent that is killed leaves no server behind, and its data can be used at once',
  async (t) => {
    const dataDir = await temporaryFolder(t);
    const first = localUp(dataDir);
    const addresses = await untilReady(first);
    const { retention } = await usersIn(dataDir);
    await run(addresses.clickhouse, retention, 'CREATE DATABASE kept');
    const pids = await serverPids(dataDir);
    first.child.kill('SIGKILL');
    await first.exited;
    const again = localUp(dataDir);
    t.teardown(() => void again.child.kill('SIGKILL'));
    const { clickhouse } = await untilReady(again);
    t.strictSame(pids.filter(runs), [], 'no process of the first start is left');
    t.equal(
      await run(clickhouse, retention, "SELECT count() FROM system.databases WHERE name = 'kept'"),
      '1',
    );
    again.child.kill('SIGINT');
    await again.exited;
    t.equal(again.child.exitCode, 0);
  },
);

await tap.test('local up ends with 1 when a server dies', async (t) => {
  const dataDir = await temporaryFolder(t);
  const up = localUp(dataDir);
  t.teardown(() => void up.child.kill('SIGKILL'));
  await untilReady(up);
  const pids = await serverPids(dataDir);
  process.kill(await serverPid(dataDir, 'clickhouse'), 'SIGKILL');
  await up.exited;
  t.equal(up.child.exitCode, 1);
  t.match(up.output.stderr, /LOCAL_SERVER_DIED: clickhouse ended \(signal SIGKILL\)/);
  t.strictSame(pids.filter(runs), []);
});

await tap.test('clickhouse: grants, a busy port, a crash', async (t) => {
  const dataDir = await temporaryFolder(t);
  const options = { dataDir, port: 0, databases: ['cdrhouse', 'other'] };
  const server = await startClickhouse(options);
  t.teardown(() => server.stop());
  const { url, users } = server;
  const asRetention = (statement: string): Promise<string> => run(url, users.retention, statement);
  const asIngest = (statement: string): Promise<string> => run(url, users.ingest, statement);
  const asQuery = (statement: string): Promise<string> => run(url, users.query, statement);
  for (const database of ['cdrhouse', 'other', 'third']) {
    await asRetention(`CREATE DATABASE ${database}`);
    await asRetention(`CREATE TABLE ${database}.cdr (a UInt32) ENGINE = MergeTree ORDER BY a`);
    await asRetention(`CREATE TABLE ${database}.lookup_journal (a UInt32) ENGINE = MergeTree ORDER BY a`);
  }

  await t.test('ingest reads and inserts, and does nothing else', async (step) => {
    await asIngest(
      "INSERT INTO cdrhouse.cdr SELECT * FROM input('a UInt32') WHERE throwIf(now() > '2100-01-01') = 0 FORMAT TSV 7",
    );
    step.equal(await asIngest('SELECT a FROM cdrhouse.cdr'), '7');
    step.equal(
      await asIngest("SELECT sum(rows) FROM system.parts WHERE database = 'cdrhouse' AND active"),
      '1',
    );
    for (const statement of [
      'DROP TABLE cdrhouse.cdr',
      'TRUNCATE TABLE cdrhouse.cdr',
      'ALTER TABLE cdrhouse.cdr DELETE WHERE 1',
      'CREATE TABLE cdrhouse.more (a UInt8) ENGINE = Null',
      'DROP DATABASE cdrhouse',
    ]) {
      await step.rejects(asIngest(statement), databaseError('ACCESS_DENIED'), statement);
    }
  });

  await t.test('query reads, writes its journal, and does nothing else', async (step) => {
    step.equal(await asQuery('SELECT a FROM cdrhouse.cdr'), '7');
    await asQuery('INSERT INTO cdrhouse.lookup_journal VALUES (1)');
    await asQuery('INSERT INTO other.lookup_journal VALUES (1)');
    for (const statement of [
      'INSERT INTO cdrhouse.cdr VALUES (1)',
      'INSERT INTO third.lookup_journal VALUES (1)',
      "SELECT * FROM url('http://127.0.0.1:1/', LineAsString)",
      "SELECT * FROM file('users.json', LineAsString)",
    ]) {
      await step.rejects(asQuery(statement), databaseError('ACCESS_DENIED'), statement);
    }
    for (const statement of [
      'DROP TABLE cdrhouse.lookup_journal',
      'TRUNCATE TABLE cdrhouse.cdr',
      'ALTER TABLE cdrhouse.cdr DELETE WHERE 1',
      'CREATE TEMPORARY TABLE x (a UInt8)',
    ]) {
      await step.rejects(asQuery(statement), databaseError('QUERY_IS_PROHIBITED|ACCESS_DENIED'), statement);
    }
    await step.rejects(asQuery('SELECT 1 SETTINGS allow_ddl = 1'), databaseError('QUERY_IS_PROHIBITED'));
    await step.rejects(
      asQuery('SELECT 1 SETTINGS max_execution_time = 0'),
      databaseError('SETTING_CONSTRAINT_VIOLATION'),
    );
  });

  await t.test('a wrong password is refused, no log table keeps queries', async (step) => {
    await step.rejects(
      run(url, { ...users.query, password: 'guess' }, 'SELECT 1'),
      databaseError('AUTHENTICATION_FAILED'),
    );
    step.equal(
      await asRetention(
        "SELECT count() FROM system.tables WHERE database = 'system' AND name LIKE '%\\_log'",
      ),
      '0',
    );
    await step.rejects(asQuery("SELECT throwIf(a = 7, 'the 33612345678') FROM cdrhouse.cdr"));
    step.notMatch(await readFile(join(dataDir, 'clickhouse', 'server.log'), 'utf8'), '33612345678');
  });

  await t.test('another one on the same port is refused', async (step) => {
    const refused = startClickhouse({ dataDir: await temporaryFolder(step), port: server.port });
    await step.rejects(refused, {
      code: 'LOCAL_PORT_BUSY',
      message: new RegExp(`port ${server.port}.*--clickhouse-port`),
    });
  });

  await t.test('rows survive a kill and a restart on the same port', async (step) => {
    process.kill(server.pid, 'SIGKILL');
    step.match(await server.died, { name: 'clickhouse', code: null, signal: 'SIGKILL' });
    const restarted = await startClickhouse({ ...options, port: server.port });
    step.teardown(() => restarted.stop());
    step.equal(restarted.url, url);
    step.strictSame(restarted.users, users);
    step.equal(await asQuery('SELECT a FROM cdrhouse.cdr'), '7');
    await restarted.stop();
    step.notOk(runs(restarted.pid));
  });
});

await tap.test('kafka: topics survive a kill and a restart on the same port', async (t) => {
  const dataDir = await temporaryFolder(t);
  const server = await startKafka({ dataDir, port: 0 });
  t.teardown(() => server.stop());
  await createTopic(server.brokers, 'cdr.kept');
  process.kill(server.pid, 'SIGKILL');
  t.match(await server.died, { name: 'kafka', signal: 'SIGKILL' });
  const restarted = await startKafka({ dataDir, port: server.port });
  t.teardown(() => restarted.stop());
  t.equal(restarted.brokers, server.brokers);
  t.equal((await topicsOf(restarted.brokers)).get('cdr.kept'), 3);
});
