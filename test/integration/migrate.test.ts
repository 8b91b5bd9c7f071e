import tap, { type Test } from 'tap';
import { SCHEMA_VERSION } from '../../schemas/migrations.ts';
import { Installation, until, type Ended } from '../cdrhouse-program.ts';
import { ClickhouseProxy, insertsInto } from '../fault/clickhouse-proxy.ts';
import { testServers } from '../test-servers.ts';

const servers = testServers(import.meta.url);

function install(index: number, extra: Record<string, string> = {}): Installation {
  return new Installation(
    tap,
    servers,
    index,
    { feeds: [{ name: 'a', topic: servers.databases[index] }] },
    extra,
  );
}

async function setVersion(installation: Installation, version: number): Promise<void> {
  await installation.statement(
    `INSERT INTO {db}.schema_migrations VALUES (${version}, 'from the future', '9.9.9', now64(3))`,
  );
}

await tap.test('creates tables and topics; again = no change', async (t) => {
  const installation = install(0);
  t.match(await installation.json('migrate', '--json'), {
    schema_version: SCHEMA_VERSION,
    applied: [String],
    topics_created: [installation.database],
  });
  const tables = "SELECT name, create_table_query FROM system.tables WHERE database = '{db}' ORDER BY name";
  const settings = 'SELECT name, value FROM {db}.settings FINAL ORDER BY name';
  const before = [await installation.rows(tables), await installation.rows(settings)];
  t.strictSame(await installation.json('migrate', '--json'), {
    schema_version: SCHEMA_VERSION,
    applied: [],
    topics_created: [],
  });
  t.strictSame(
    [await installation.rows(tables), await installation.rows(settings)],
    before,
    'keys stay the same',
  );
});

await tap.test('ingest without tables says what to do', async (t) => {
  t.match(await install(1).run('ingest', '--until-idle'), {
    code: 1,
    stderr: /SCHEMA_MISSING.*\n.*run cdrhouse migrate/,
  });
});

await tap.test('one schema version ahead still works, two are refused', async (t) => {
  const installation = install(2);
  await installation.run('migrate');
  await setVersion(installation, SCHEMA_VERSION + 1);
  t.match(await installation.json('migrate', '--json'), { applied: [] });
  t.match(await installation.json('ingest', '--until-idle'), { consumed: 0 });
  await setVersion(installation, SCHEMA_VERSION + 2);
  t.match(await installation.run('migrate'), { code: 1, stderr: /SCHEMA_TOO_NEW/ });
  t.match(await installation.run('ingest', '--until-idle'), { code: 1, stderr: /SCHEMA_TOO_NEW/ });
});

await tap.test('a retention term that is not the stored one is refused', async (t) => {
  const installation = install(3);
  await installation.run('migrate');
  installation.environment['CDRHOUSE_RETENTION_MONTHS'] = '12';
  t.match(await installation.run('migrate'), {
    code: 1,
    stderr: /RETENTION_DIFFERS: the settings say 12 months, the database 36/,
  });
  t.match(await installation.run('ingest', '--until-idle'), { code: 1, stderr: /RETENTION_DIFFERS/ });
});

await tap.test('wrong settings and wrong usage exit with 2, an absent server with 1', async (t) => {
  const wrong = install(4, { CDRHOUSE_KAFKA_TOPIC_PARTITIONS: 'many' });
  t.match(await wrong.run('migrate'), { code: 2, stderr: /SETTINGS_INVALID: kafka\.topic_partitions/ });
  t.match(await wrong.run('migrate', '--nonsense'), { code: 2 });
  const absent = install(5, { CDRHOUSE_CLICKHOUSE_URL: 'http://127.0.0.1:1' });
  t.match(await absent.run('migrate'), {
    code: 1,
    stderr: /CLICKHOUSE_UNREACHABLE.*\n.*CDRHOUSE_CLICKHOUSE_URL/,
  });
});

await tap.test('the printed grants are enough, and no more', async (t) => {
  const { code, stdout } = await install(6).run('migrate', '--print-grants');
  t.equal(code, 0);
  t.match(stdout, `GRANT INSERT ON ${servers.databases[6]}.lookup_journal TO cdrhouse_query;`);
  t.notMatch(stdout, /GRANT ALL.* TO cdrhouse_(ingest|query)/);
});

/** Runs `migrate` of each, so that all have seen an empty database before one of them stores a setting. */
async function migrateAtOnce(t: Test, installations: readonly Installation[]): Promise<Ended[]> {
  const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
  for (const { environment } of installations) environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
  const hold = proxy.hold('before', insertsInto('settings'));
  const running = installations.map((installation) => installation.run('migrate', '--json'));
  await until('all of them are about to store', () => hold.count() === installations.length);
  await hold.release();
  return Promise.all(running);
}

await tap.test('four at once on an empty database: one key, which all of them keep', async (t) => {
  const installation = install(7);
  const ended = await migrateAtOnce(
    t,
    Array.from({ length: 4 }, () => installation),
  );
  for (const { code, stderr } of ended) t.equal(code, 0, stderr);
  const rows = await installation.rows<{ name: string }>(
    'SELECT name FROM {db}.settings FINAL ORDER BY name',
  );
  t.strictSame(
    rows.map(({ name }) => name),
    ['identity_key', 'journal_key', 'retention_months'],
  );
  // Of what was inserted nothing is merged away from this list yet.
  const [inserted] = await installation.rows<{ rows: string }>(
    "SELECT sum(rows) AS rows FROM system.parts WHERE database = '{db}' AND table = 'settings' AND min_block_number = max_block_number",
  );
  t.equal(inserted!.rows, '3', 'no other value was ever stored');
  const topics = ended.flatMap(
    ({ stdout }) => (JSON.parse(stdout) as { topics_created: string[] }).topics_created,
  );
  t.strictSame(topics, [installation.database], 'one of them made the topic');
  t.match(await installation.json('ingest', '--until-idle'), { consumed: 0 });
});

await tap.test('two at once with different terms: the tables have the term that is stored', async (t) => {
  const terms = ['12', '24'];
  const ended = await migrateAtOnce(
    t,
    terms.map((months) => install(8, { CDRHOUSE_RETENTION_MONTHS: months })),
  );
  t.strictSame(new Set(ended.map(({ code }) => code)), new Set([0, 1]), 'one of them is refused');
  t.match(ended.find(({ code }) => code === 1)!.stderr, /RETENTION_DIFFERS/);
  const stored = terms[ended.findIndex(({ code }) => code === 0)]!;
  const installation = install(8, { CDRHOUSE_RETENTION_MONTHS: stored });
  const tables = await installation.rows<{ ttl: string }>(
    `SELECT extract(create_table_query, 'toIntervalMonth\\\\(([0-9]+)\\\\)') AS ttl FROM system.tables
     WHERE database = '{db}' AND name IN ('cdr', 'cdr_by_number')`,
  );
  for (const { ttl } of tables) t.equal(ttl, String(Number(stored) + 1));
  t.equal(tables.length, 2);
});
