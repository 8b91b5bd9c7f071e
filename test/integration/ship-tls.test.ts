import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tap from 'tap';
import { startKafka } from '../../deploy/local/local-servers.ts';
import { freePort } from '../../deploy/local/ports.ts';
import { Installation } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';
import { numbered, text } from './topic-lines.ts';

/** `kafka.client` with TLS and SASL, against a broker that demands both. */
const servers = testServers(import.meta.url);
const PASSWORD = 'of-the-key-store';
const USER = 'cdrhouse';
const SECRET = 'of-the-user';

await tap.test('migrate, ship and ingest over SASL_SSL', async (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'cdrhouse-tls-'));
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true, maxRetries: 5 }));
  const [key, certificate, keyStore] = ['key.pem', 'certificate.pem', 'keys.p12'].map((name) =>
    join(dataDir, name),
  ) as [string, string, string];
  const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'];
  const made = ['-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout', key, '-out', certificate];
  execFileSync('openssl', ['req', ...made, ...subject], { stdio: 'pipe' });
  const packed = ['-inkey', key, '-in', certificate, '-out', keyStore, '-passout', `pass:${PASSWORD}`];
  execFileSync('openssl', ['pkcs12', '-export', ...packed], { stdio: 'pipe' });
  const port = await freePort([]);
  const securePort = await freePort([port]);
  const login = 'org.apache.kafka.common.security.plain.PlainLoginModule required';
  const kafka = await startKafka({
    dataDir,
    port,
    moreProperties: ({ controllerPort }) => `
listeners=PLAINTEXT://127.0.0.1:${port},SECURE://127.0.0.1:${securePort},CONTROLLER://127.0.0.1:${controllerPort}
advertised.listeners=PLAINTEXT://127.0.0.1:${port},SECURE://127.0.0.1:${securePort}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL
listener.name.secure.ssl.keystore.location=${keyStore}
listener.name.secure.ssl.keystore.type=PKCS12
listener.name.secure.ssl.keystore.password=${PASSWORD}
listener.name.secure.sasl.enabled.mechanisms=PLAIN
listener.name.secure.plain.sasl.jaas.config=${login} user_${USER}="${SECRET}";
`,
  });
  t.teardown(() => kafka.stop());

  const client = {
    'security.protocol': 'sasl_ssl',
    'ssl.ca.location': certificate,
    'sasl.mechanisms': 'PLAIN',
    'sasl.username': USER,
    'sasl.password': SECRET,
  };
  const feeds = [{ name: 'secure', topic: servers.databases[0] }];
  const installation = new Installation(t, servers, 0, { feeds, kafka: { client } });
  installation.environment['CDRHOUSE_KAFKA_BROKERS'] = `127.0.0.1:${securePort}`;
  await installation.json('migrate', '--json');
  const lines = numbered('secure', 500);
  const file = installation.write('a.csv', text(lines));
  t.match(await installation.json('ship', file), { files: 1, lines: 500 });
  t.match(await installation.json('ingest', '--until-idle'), { consumed: 500, stored: 500 });
  const rows = await installation.rows<{ call_id: string }>('SELECT call_id FROM {db}.cdr FINAL');
  t.strictSame(
    rows.map((row) => row.call_id).toSorted(),
    lines.map((line) => line.split(',')[6]!).toSorted(),
  );

  for (const [what, wrong, reason] of [
    ['a wrong password', { ...client, 'sasl.password': 'wrong' }, /authentication/i],
    [
      'a broker that nobody vouches for',
      { ...client, 'ssl.ca.location': '/etc/ssl/certs' },
      /certificate|ssl/i,
    ],
  ] as const) {
    installation.write('cdrhouse.yaml', JSON.stringify({ feeds, kafka: { client: wrong } }));
    const { code, stderr } = await installation.run('ship', '--again', file);
    t.equal(code, 1, what);
    t.match(stderr, /KAFKA_UNREACHABLE/, what);
    t.match(stderr, reason, what);
    t.notMatch(stderr, SECRET);
  }
});
