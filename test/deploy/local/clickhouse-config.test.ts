import tap from 'tap';
import { serverConfigXml, usersConfigXml } from '../../../deploy/local/clickhouse-config.ts';
import { grantStatements } from '../../../schemas/grants.ts';

const users = {
  ingest: { user: 'cdrhouse_ingest', password: 'one' },
  query: { user: 'cdrhouse_query', password: 'two' },
  retention: { user: 'cdrhouse_retention', password: 'three' },
};

await tap.test('the journal grant names each database and nothing wider', async (t) => {
  const xml = usersConfigXml({
    users,
    databases: ['cdrhouse', 'cdrhouse_test_a_0'],
    memoryBytesMax: 2 ** 30,
  });
  const inserts = [...xml.matchAll(/GRANT [^<]*INSERT[^<]*/g)].map((match) => match[0]);
  t.strictSame(inserts, [
    'GRANT SELECT, INSERT ON *.*',
    'GRANT INSERT ON `cdrhouse`.lookup_journal',
    'GRANT INSERT ON `cdrhouse_test_a_0`.lookup_journal',
  ]);
});

await tap.test('with the printed grants each has what an operator gives, and no more', async (t) => {
  const xml = usersConfigXml({
    users,
    databases: ['cdrhouse'],
    printedGrants: true,
    memoryBytesMax: 2 ** 30,
  });
  const grants = [...xml.matchAll(/<query>([^<]*)</g)].map(([, grant]) => grant!);
  const printed = grantStatements('cdrhouse').filter((statement) => statement.startsWith('GRANT '));
  t.strictSame(new Set(grants), new Set(printed.map((statement) => statement.replace(/ TO \w+;$/, ''))));
  t.ok(grants.every((grant) => !grant.includes('*.*') || grant.startsWith('GRANT SYSTEM ')));
});

await tap.test('threads of a statement are those of the server, or as many as asked for', async (t) => {
  const config = { users, databases: [], memoryBytesMax: 2 ** 30 };
  t.notMatch(usersConfigXml(config), 'max_threads');
  t.equal(usersConfigXml({ ...config, threadsMax: 3 }).split('<max_threads>3</max_threads>').length, 3);
});

await tap.test('passwords are stored as hashes', async (t) => {
  const xml = usersConfigXml({ users, databases: [], memoryBytesMax: 2 ** 30 });
  t.notMatch(xml, />(one|two|three)</);
  t.match(xml, '<password_sha256_hex>7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed<');
});

await tap.test('a name that could end the grant and begin another is refused', async (t) => {
  for (const database of ['a`.x', 'a b', '', '1a', '*']) {
    t.throws(() => usersConfigXml({ users, databases: [database], memoryBytesMax: 1 }), RangeError);
  }
});

await tap.test('the server keeps no query log and escapes paths', async (t) => {
  const xml = serverConfigXml({
    usersPath: '/tmp/a&b/users.xml',
    logPath: '/tmp/a&b/server.log',
    backupsPath: '/tmp/a&b/backups',
    memoryBytesMax: 2 ** 33,
  });
  t.match(xml, '<users_config>/tmp/a&amp;b/users.xml</users_config>');
  t.notMatch(xml, /_log>/);
  t.notMatch(xml, /tcp_port/);
});
