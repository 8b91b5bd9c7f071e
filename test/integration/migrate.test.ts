import tap from 'tap';
import { SCHEMA_VERSION } from '../../schemas/migrations.ts';
import { Installation } from '../cdrhouse-program.ts';
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
