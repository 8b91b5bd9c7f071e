import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tap from 'tap';
import { startClickhouse } from '../../deploy/local/local-servers.ts';
import { Installation, SESSION } from '../cdrhouse-program.ts';
import { filesWith, writePlainly } from '../erased-traces.ts';
import { readAll } from '../fault/harness.ts';
import type { ToldReport } from '../subject-program.ts';
import { testServers } from '../test-servers.ts';
import { addKey, CallsClient, serve } from './calls-client.ts';

/** A server that logs statements and parts in tables of its own, as an operator's does: numbers must not come there. */
const LOGS = ['query_log', 'query_thread_log', 'query_views_log', 'processors_profile_log', 'part_log'];
const PERSON = '+33199770017';
const DIGITS = '99770017';
const OTHER = '+33199770098';
const YEAR = new Date().getUTCFullYear() - 1;

const servers = testServers(import.meta.url);
const dataDir = mkdtempSync(join(tmpdir(), 'cdrhouse-logging-'));
tap.teardown(() => rmSync(dataDir, { recursive: true, force: true }));

function configure(folder: string, document: string): void {
  const path = join(dataDir, 'clickhouse', folder);
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, 'logs.xml'), `<clickhouse>${document}</clickhouse>`);
}

const logTables = LOGS.map((name) => `<${name}><database>system</database><table>${name}</table></${name}>`);
configure('config.d', logTables.join(''));
const profiles = ['default', 'cdrhouse_query'].map(
  (name) =>
    `<${name}><log_queries>1</log_queries><log_processors_profiles>1</log_processors_profiles></${name}>`,
);
configure('users.d', `<profiles>${profiles.join('')}</profiles>`);

const clickhouse = await startClickhouse({ dataDir, port: 0, databases: [servers.databases[0]!] });
tap.teardown(() => clickhouse.stop());

const installation = new Installation(
  tap,
  { ...servers, clickhouse: clickhouse.url, users: clickhouse.users },
  0,
  { feeds: [{ name: 'pbx', topic: servers.databases[0], country: 'FR' }], kafka: { client: SESSION } },
  { CDRHOUSE_RETENTION_BILLING_MONTHS: '0' },
);

/** Rows of a log in which a text stands, in any column. The question itself is not logged. */
async function rowsWith(log: string, text: string): Promise<number> {
  const [row] = await installation.rows<{ rows: string }>(
    `SELECT count() AS rows FROM system.${log} WHERE position(formatRow('JSONEachRow', *), '${text}') > 0 SETTINGS log_queries = 0`,
  );
  return Number(row!.rows);
}

await tap.test('an erased number stands in no log of the server, though it logs what it can', async (t) => {
  t.equal((await installation.run('migrate')).code, 0);
  await writePlainly(installation);
  const lines = [
    `${PERSON},${PERSON},${OTHER},${YEAR}-03-01T10:00:00Z,60,50,own,answered,`,
    `${OTHER},${OTHER},${PERSON},${YEAR}-03-01T11:00:00Z,60,50,to,answered,`,
    `${OTHER},${OTHER},${OTHER},${YEAR}-03-01T12:00:00Z,60,50,others,answered,`,
    `${PERSON},${PERSON},${OTHER},never,60`,
  ];
  const path = installation.write('calls.csv', `${lines.join('\n')}\n`);
  await installation.json('ship', '--json', path);
  await readAll(installation);

  // What people do with a number before somebody asks for it to be gone.
  const url = await serve(t, installation);
  const range = { from: `${YEAR}-01-01`, to: `${YEAR}-12-31` };
  const agent = new CallsClient(url, await addKey(installation, 'disputes', 'disputes:unmasked'));
  const { body } = await agent.get<{ data: { id: string }[] }>('/v1/calls', { number: PERSON, ...range });
  t.equal(body.data.length, 2);
  t.match(await agent.get(`/v1/calls/${body.data[0]!.id}`), { status: 200 });
  const billing = new CallsClient(url, await addKey(installation, 'billing'));
  t.match(await billing.get('/v1/records', { calling_number: PERSON, ...range }), { status: 200 });
  t.match(await billing.get('/v1/usage', { calling_number: PERSON, ...range }), { status: 200 });
  const person = ['--number', PERSON, '--from', `${YEAR}-01-01T00:00:00Z`, '--reason', 'asked for it'];
  await installation.json(
    'subject',
    'export',
    ...person,
    '--out',
    join(installation.folder, 'out'),
    '--json',
  );
  for (const kind of ['restrict', 'lift', 'erase'])
    t.match(
      await installation.json<ToldReport>('subject', kind, ...person, '--json'),
      { state: 'done' },
      kind,
    );

  await installation.statement(`SELECT 'a text that is logged'`);
  await installation.statement('SYSTEM FLUSH LOGS');
  t.not(await rowsWith('query_log', 'a text that is logged'), 0, 'the server logs, and it would be found');
  for (const log of LOGS) t.equal(await rowsWith(log, DIGITS), 0, log);
  t.strictSame(await filesWith(installation, PERSON, [DIGITS]), [], 'nor in any other file');
});

await tap.test('the proof of a sweep tells what the log of parts says of it', async (t) => {
  await installation.json('retention', 'term', '--months', '3', '--json');
  installation.environment['CDRHOUSE_RETENTION_MONTHS'] = '3';
  await installation.json('retention', 'sweep', '--trust-clock', '--json');
  const proofs = await installation.rows<{ state: string; part_log: string[] }>(
    `SELECT state, part_log FROM {db}.retention_proofs FINAL`,
  );
  t.match(proofs, [{ state: 'done' }]);
  t.match(proofs[0]!.part_log.join('\n'), /RemovePart/);
});
