import { execFileSync } from 'node:child_process';
import tap from 'tap';
import { lastCalendarYear, Traffic } from '../../ingest/generate/traffic.ts';
import { Installation, until } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';

/** Several ingest processes under one parent. */
const servers = testServers(import.meta.url);
const METRICS = 'http://127.0.0.1:19464';
const COUNT = 200_000;
const installation = new Installation(
  tap,
  servers,
  0,
  { feeds: [{ name: 'default', topic: servers.databases[0] }] },
  {
    CDRHOUSE_INGEST_PROCESSES: '2',
    CDRHOUSE_INGEST_BATCH_BYTES_MAX: '1048576',
    CDRHOUSE_INGEST_METRICS_PORT: '19464',
  },
);

function childrenOf(pid: number): number[] {
  const lines = execFileSync('ps', ['-o', 'pid=', '--ppid', String(pid)], { encoding: 'utf8' }).trim();
  return lines === '' ? [] : lines.split('\n').map(Number);
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function isReady(): Promise<boolean> {
  const answer = await fetch(`${METRICS}/readyz`).catch(() => undefined);
  return answer?.status === 200;
}

async function storedByMetrics(): Promise<number> {
  const text = await (await fetch(`${METRICS}/metrics`)).text();
  return [...text.matchAll(/^cdrhouse_ingest_records_total\{.*result="stored".*\} ([0-9]+)/gm)].reduce(
    (sum, [, value]) => sum + Number(value),
    0,
  );
}

async function storedIds(): Promise<Set<string>> {
  const rows = await installation.rows<{ call_id: string }>('SELECT call_id FROM {db}.cdr FINAL');
  const ids = new Set(rows.map(({ call_id }) => call_id));
  if (ids.size !== rows.length) throw new Error(`${rows.length - ids.size} calls are stored twice`);
  return ids;
}

/** The call id of a canonical-csv line. */
function idOf(line: string): string {
  return line.split(',')[6]!;
}

/** How many processes own the newest generations of the partitions. */
async function owners(): Promise<number> {
  const [row] = await installation.rows<{ owners: string }>(
    `SELECT uniqExact(instance) AS owners FROM
       (SELECT partition, argMax(instance, generation) AS instance FROM {db}.ingest_ledger FINAL GROUP BY partition)`,
  );
  return Number(row!.owners);
}

await tap.test('they share the work, sum their metrics, and stop together', async (t) => {
  await installation.run('migrate');
  const parent = installation.start('ingest');
  t.teardown(() => parent.child.kill('SIGKILL'));
  await until('both are ready', isReady);
  const children = childrenOf(parent.child.pid!);
  t.equal(children.length, 2);
  await until('both own partitions', async () => (await owners()) === 2);
  await installation.run('generate', '--count', '20000', '--seed', '1', '--topic', installation.database);
  await until('the metrics count all', async () => (await storedByMetrics()) === 20_000);
  parent.child.kill('SIGTERM');
  t.equal((await parent.ended).code, 0);
  t.notOk(children.some(isRunning));
  const readers = await installation.rows(
    'SELECT DISTINCT instance FROM {db}.ingest_ledger FINAL WHERE messages > 0',
  );
  t.equal(readers.length, 2, 'both have stored something');
});

await tap.test('a killed one is replaced, and nothing is lost or doubled', async (t) => {
  const parent = installation.start('ingest');
  t.teardown(() => parent.child.kill('SIGKILL'));
  await until('both are ready', isReady);
  const before = childrenOf(parent.child.pid!);
  const producing = installation.run(
    'generate',
    '--count',
    String(COUNT),
    '--seed',
    '2',
    '--topic',
    installation.database,
  );
  await until('there is work in hand', async () => (await storedByMetrics()) > 0);
  process.kill(before[0]!, 'SIGKILL');
  await until('another took its place', () =>
    childrenOf(parent.child.pid!).some((pid) => !before.includes(pid)),
  );
  t.equal((await producing).code, 0);
  const first = new Traffic(1, 20_000, lastCalendarYear(Date.now()));
  const second = new Traffic(2, COUNT, lastCalendarYear(Date.now()));
  const wanted = new Set([
    ...Array.from({ length: 20_000 }, (_, i) => idOf(first.line(i))),
    ...Array.from({ length: COUNT }, (_, i) => idOf(second.line(i))),
  ]);
  await until('all are stored', async () => (await storedIds()).size === wanted.size);
  t.strictSame(
    [...(await storedIds())].filter((id) => !wanted.has(id)),
    [],
  );
  parent.child.kill('SIGTERM');
  t.equal((await parent.ended).code, 0);
});

await tap.test('--until-idle sums the summaries', async (t) => {
  await installation.run('generate', '--count', '5000', '--seed', '3', '--topic', installation.database);
  t.match(await installation.json('ingest', '--until-idle'), { consumed: 5000, stored: 5000, rejected: 0 });
});

await tap.test('children end when the parent is killed', async (t) => {
  const parent = installation.start('ingest');
  await until('both are ready', isReady);
  const children = childrenOf(parent.child.pid!);
  parent.child.kill('SIGKILL');
  await until('they are gone', () => !children.some(isRunning));
  t.pass();
});

await tap.test('a child that starts as its parent dies ends by itself', async (t) => {
  // As the parent sets it; there is no channel to it any more.
  installation.environment['INGEST_CHILD_OF'] = '1';
  installation.environment['CDRHOUSE_INGEST_PROCESSES'] = '1';
  const child = installation.start('ingest');
  t.teardown(() => child.child.kill('SIGKILL'));
  await until('it has ended', () => child.child.exitCode !== null);
  t.equal(child.child.exitCode, 0);
});
