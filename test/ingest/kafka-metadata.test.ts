import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import tap from 'tap';
import { base64Id, clientOptions, KafkaMetadata } from '../../ingest/kafka-metadata.ts';
import { checkSettings } from '../../schemas/settings.ts';

type Client = Record<string, string | number | boolean>;

function options(client: Client, brokers = '127.0.0.1:9092'): ReturnType<typeof clientOptions> {
  return clientOptions(checkSettings({ kafka: { brokers, client } }).kafka);
}

await tap.test('addresses', async (t) => {
  t.strictSame(options({}, 'a:1, SASL_SSL://b.example:9093,').bootstrapBrokers, ['a:1', 'b.example:9093']);
  t.strictSame(Object.keys(options({})), ['clientId', 'bootstrapBrokers'], 'neither TLS nor SASL');
});

await tap.test('TLS', async (t) => {
  const folder = t.testdir({ 'ca.pem': 'the authority', 'key.pem': 'the key' });
  const client = {
    'security.protocol': 'ssl',
    'ssl.ca.location': join(folder, 'ca.pem'),
    'ssl.certificate.pem': 'the certificate',
    'ssl.key.location': join(folder, 'key.pem'),
    'ssl.key.password': 'open',
  };
  const { tls, tlsServerName, sasl } = options(client, 'broker.example:9093');
  t.strictSame(tls, {
    ca: Buffer.from('the authority'),
    cert: 'the certificate',
    key: Buffer.from('the key'),
    passphrase: 'open',
    rejectUnauthorized: true,
  });
  t.equal(tlsServerName, true);
  t.equal(sasl, undefined);
  t.equal(options(client, '127.0.0.1:9093').tlsServerName, false, 'a number is no server name');
  t.equal(
    options({ ...client, 'enable.ssl.certificate.verification': false }).tls?.rejectUnauthorized,
    false,
  );
  t.equal(typeof options(client).tls?.checkServerIdentity, 'undefined');
  const unnamed = options({ ...client, 'ssl.endpoint.identification.algorithm': 'none' });
  t.equal(typeof unnamed.tls?.checkServerIdentity, 'function');
});

await tap.test('a keystore', async (t) => {
  const path = join(t.testdir(), 'store.p12');
  writeFileSync(path, Buffer.from([0, 255]));
  const { tls } = options({
    'security.protocol': 'SSL',
    'ssl.keystore.location': path,
    'ssl.keystore.password': 'open',
  });
  t.strictSame(tls?.pfx, Buffer.from([0, 255]));
  t.equal(tls?.passphrase, 'open');
});

await tap.test('SASL', async (t) => {
  for (const name of ['sasl.mechanism', 'sasl.mechanisms']) {
    const { sasl, tls } = options({
      'security.protocol': 'sasl_plaintext',
      [name]: 'SCRAM-SHA-512',
      'sasl.username': 'ingest',
      'sasl.password': 'secret',
    });
    t.strictSame(sasl, { mechanism: 'SCRAM-SHA-512', username: 'ingest', password: 'secret' });
    t.equal(tls, undefined);
  }
});

await tap.test('what cannot be said to this client is an error, never left out', async (t) => {
  const wrong: [Client, RegExp][] = [
    [{ 'security.protocol': 'sasl_ssl', 'sasl.mechanisms': 'OAUTHBEARER' }, /sasl\.mechanisms: OAUTHBEARER/],
    // librdkafka's default.
    [{ 'security.protocol': 'sasl_ssl' }, /sasl\.mechanisms: GSSAPI/],
    [{ 'security.protocol': 'ssl', 'ssl.ca.location': '/nowhere/ca.pem' }, /ssl\.ca\.location: no file/],
    [{ 'security.protocol': 'tls' }, /security\.protocol: TLS is unknown/],
    [
      { 'ssl.providers': 'x', 'sasl.kerberos.principal': 'y' },
      /ssl\.providers.*\n.*sasl\.kerberos\.principal/,
    ],
  ];
  for (const [client, message] of wrong)
    t.throws(() => options(client), { code: 'SETTINGS_INVALID', message });
});

await tap.test('topic ids as librdkafka writes them', async (t) => {
  t.equal(base64Id('7b9245f0-2b60-46dc-97f2-ef3560c49095'), 'e5JF8CtgRtyX8u81YMSQlQ');
  t.equal(base64Id('fbffffff-ffff-ffff-ffff-ffffffffff3e'), `+${'/'.repeat(19)}Pg`);
});

await tap.test(
  'who asks a closed client gets an error, and no connection that nobody would end',
  async (t) => {
    const server = createServer((socket) => socket.destroy());
    let connections = 0;
    server.on('connection', () => connections++);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.teardown(() => server.close());
    const brokers = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    const { kafka } = checkSettings({ kafka: { brokers } });
    const asked = new KafkaMetadata(kafka, 2000);
    await t.rejects(asked.clusterId(), { code: 'KAFKA_UNREACHABLE' });
    t.ok(connections > 0, 'it was asked');
    const before = connections;
    for (const metadata of [asked, new KafkaMetadata(kafka, 2000)]) {
      await metadata.close();
      await t.rejects(metadata.topicIds(['cdr']), { code: 'KAFKA_UNREACHABLE' });
    }
    t.equal(connections, before);
  },
);
