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
const SCRAM = ['SCRAM-SHA-256', 'SCRAM-SHA-512'];

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
  const scramLogin = 'org.apache.kafka.common.security.scram.ScramLoginModule required;';
  const kafka = await startKafka({
    dataDir,
    port,
    formatArguments: SCRAM.flatMap((mechanism) => [
      '--add-scram',
      `${mechanism}=[name=${USER},password=${SECRET}]`,
    ]),
    moreProperties: ({ controllerPort }) => `
listeners=PLAINTEXT://127.0.0.1:${port},SECURE://127.0.0.1:${securePort},CONTROLLER://127.0.0.1:${controllerPort}
advertised.listeners=PLAINTEXT://127.0.0.1:${port},SECURE://127.0.0.1:${securePort}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL
listener.name.secure.ssl.keystore.location=${keyStore}
listener.name.secure.ssl.keystore.type=PKCS12
listener.name.secure.ssl.keystore.password=${PASSWORD}
listener.name.secure.sasl.enabled.mechanisms=${['PLAIN', ...SCRAM].join(',')}
listener.name.secure.plain.sasl.jaas.config=${login} user_${USER}="${SECRET}";
${SCRAM.map((mechanism) => `listener.name.secure.${mechanism.toLowerCase()}.sasl.jaas.config=${scramLogin}`).join('\n')}
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
  const configure = (of: object): void => {
    installation.write('cdrhouse.yaml', JSON.stringify({ feeds, kafka: { client: of } }));
  };
  await installation.json('migrate', '--json');
  const wanted: string[] = [];
  let file = '';
  for (const mechanism of ['PLAIN', ...SCRAM]) {
    configure({ ...client, 'sasl.mechanisms': mechanism });
    const lines = numbered(mechanism, 500);
    file = installation.write(`${mechanism}.csv`, text(lines));
    t.match(await installation.json('ship', file), { files: 1, lines: 500 }, mechanism);
    // The plain reader asks for ids by a client of its own, in JavaScript.
    if (mechanism === 'SCRAM-SHA-512') installation.environment['CDRHOUSE_INGEST_READER'] = 'plain';
    t.match(await installation.json('ingest', '--until-idle'), { consumed: 500, stored: 500 }, mechanism);
    wanted.push(...lines.map((line) => line.split(',')[6]!));
  }
  const rows = await installation.rows<{ call_id: string }>('SELECT call_id FROM {db}.cdr FINAL');
  t.strictSame(rows.map((row) => row.call_id).toSorted(), wanted.toSorted());

  for (const [what, wrong, reason] of [
    ['a wrong password', { ...client, 'sasl.password': 'wrong' }, /authentication/i],
    [
      'a wrong password of SCRAM',
      { ...client, 'sasl.mechanisms': 'SCRAM-SHA-512', 'sasl.password': 'wrong' },
      /authentication/i,
    ],
    [
      'a broker that nobody vouches for',
      { ...client, 'ssl.ca.location': '/etc/ssl/certs' },
      /certificate|ssl/i,
    ],
  ] as const) {
    configure(wrong);
    const { code, stderr } = await installation.run('ship', '--again', file);
    t.equal(code, 1, what);
    t.match(stderr, /KAFKA_UNREACHABLE/, what);
    t.match(stderr, reason, what);
    t.notMatch(stderr, SECRET);
  }
});
