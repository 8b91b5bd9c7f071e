import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tap, { type Test } from 'tap';
import { startKafka } from '../../deploy/local/local-servers.ts';
import type { ListenSummary } from '../../ingest/ship/collector.ts';
import { Installation, until, type Running } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';
import { difference, numbered, text, TopicLines } from './topic-lines.ts';

/** `ship --listen`: what a switch was told is in Kafka must be there. */
const servers = testServers(import.meta.url);
const NOTHING = { missing: [], unwanted: [] };
let used = 0;

interface Listening {
  readonly running: Running;
  readonly address: string;
  readonly topic: TopicLines;
}

async function listening(
  t: Test,
  address: string,
  ship: object = {},
  brokers: string = servers.kafka,
  format: object = {},
): Promise<Listening> {
  const index = used++;
  const name = servers.databases[index]!;
  const installation = new Installation(t, servers, index, {
    feeds: [{ name: 'pushed', topic: name, ...format }],
    ship,
  });
  installation.environment['CDRHOUSE_KAFKA_BROKERS'] = brokers;
  const topic = await TopicLines.create(t, brokers, name);
  const running = installation.start('ship', '--listen', address);
  t.teardown(() => running.child.kill('SIGKILL'));
  await until('it listens', () => {
    if (running.child.exitCode !== null) throw new Error(running.stderr());
    return /listening on/.test(running.stderr());
  });
  return { running, address: /listening on (\S+)/.exec(running.stderr())![1]!, topic };
}

async function stop({ child, ended }: Running): Promise<ListenSummary> {
  child.kill('SIGTERM');
  const { code, stdout, stderr } = await ended;
  if (code !== 0) throw new Error(`it ended with ${code}:\n${stderr}`);
  return JSON.parse(stdout) as ListenSummary;
}

async function untilReady(address: string): Promise<void> {
  const ready = new URL('/readyz', address);
  await until('it is ready', async () => (await fetch(ready)).status === 200);
}

/** A document like those of mod_json_cdr, on many lines, with characters that encodings change. */
function document(id: string): string {
  return JSON.stringify(
    {
      variables: { uuid: id, sip_from_display: 'A "B" + C & D\n%2B é', start_epoch: '1772359200' },
      callflow: [{ caller_profile: { caller_id_number: '+33199000001', destination_number: '33199000002' } }],
    },
    null,
    2,
  );
}

function onOneLine(json: string): string {
  return Buffer.from(json.replaceAll('\n', ' ')).toString('latin1');
}

async function post(
  address: string,
  body: string | Buffer,
  type = 'application/json',
  headers: Record<string, string> = {},
): Promise<{ status: number; retryAfter: string | null }> {
  const answer = await fetch(address, {
    method: 'POST',
    body,
    headers: { 'content-type': type, ...headers },
  });
  await answer.text();
  return { status: answer.status, retryAfter: answer.headers.get('retry-after') };
}

await tap.test('FreeSWITCH posts documents in all its encodings', async (t) => {
  const { running, address, topic } = await listening(t, 'http://127.0.0.1:0/cdr');
  await untilReady(address);
  const plain = document('plain');
  const form = document('form');
  const base64 = document('base64');
  t.match(await post(`${address}?uuid=a_plain`, plain), { status: 200 });
  const encoded = encodeURIComponent(form).replaceAll('%20', '+');
  t.match(await post(address, `cdr=${encoded}`, 'application/x-www-form-urlencoded'), { status: 200 });
  const packed = Buffer.from(base64).toString('base64');
  t.match(await post(address, `cdr=${packed}`, 'application/x-www-form-base64-encoded'), { status: 200 });
  t.match(await post(address, 'line one\nline two', 'text/plain'), { status: 200 });
  t.strictSame(await topic.lines(), [...[plain, form, base64].map(onOneLine), 'line one', 'line two']);
  for (const line of (await topic.lines()).slice(0, 3)) JSON.parse(Buffer.from(line, 'latin1').toString());

  t.match(await post(address, ''), { status: 400 });
  t.match(await post(new URL('/other', address).href, plain), { status: 404 });
  t.equal((await fetch(address)).status, 405);
  t.match(await post(address, Buffer.alloc(1_000_001, 'x')), { status: 413 });
  const metrics = await (await fetch(new URL('/metrics', address))).text();
  t.match(metrics, /cdrhouse_ship_requests_total\{status="200"\} 4/);
  t.match(metrics, /cdrhouse_ship_ready 1/);
  const summary = await stop(running);
  t.match(summary, { lines: 5, requests: { '413': 1 } });
  t.equal((await topic.lines()).length, 5);
});

await tap.test(
  'a body without a length is cut off at the bound, one of many connections refused',
  async (t) => {
    const { running, address } = await listening(t, 'http://127.0.0.1:0/', {
      listen_body_bytes_max: 10_000,
      listen_connections_max: 3,
    });
    await untilReady(address);
    const status = await new Promise<number>((resolve, reject) => {
      const sending = request(address, { method: 'POST', agent: false }, (answer) => {
        clearInterval(timer);
        resolve(answer.statusCode!);
        answer.resume();
      });
      // What is cut off by the other side is not the failure that is looked for.
      sending.on('error', (error) => setTimeout(() => reject(error), 1000));
      const timer = setInterval(() => sending.write(Buffer.alloc(4000, 'x')), 5);
      t.teardown(() => clearInterval(timer));
    });
    t.equal(status, 413);
    const { port } = new URL(address);
    const idle = Array.from({ length: 10 }, () => connect(Number(port), '127.0.0.1'));
    t.teardown(() => idle.forEach((socket) => socket.destroy()));
    let closed = 0;
    for (const socket of idle) {
      socket.on('error', () => undefined);
      socket.on('close', () => closed++);
      socket.resume();
    }
    await until('those that are too many are closed', () => closed >= 7);
    idle.forEach((socket) => socket.destroy());
    await stop(running);
  },
);

function basic(pair: string): Record<string, string> {
  return { authorization: `Basic ${Buffer.from(pair).toString('base64')}` };
}

await tap.test('credentials', async (t) => {
  const token = 'a-token-of-some-length';
  const { running, address, topic } = await listening(t, 'http://127.0.0.1:0/', {
    listen_token: token,
    listen_user: 'switch',
    listen_password: 'secret',
  });
  await untilReady(address);
  const type = 'text/plain';
  t.match(await post(address, 'none', type), { status: 401 });
  t.match(await post(address, 'wrong', type, basic('switch:wrong')), { status: 401 });
  t.match(await post(address, 'wrong', type, { authorization: 'Bearer x' }), { status: 401 });
  t.match(await post(address, 'right', type, basic('switch:secret')), { status: 200 });
  t.match(await post(address, 'token', type, { authorization: `Bearer ${token}` }), { status: 200 });
  await stop(running);
  t.strictSame(await topic.lines(), ['right', 'token']);
});

await tap.test('the broker goes and comes back: what was answered 200 is there, the rest 503', async (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'cdrhouse-listen-'));
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true, maxRetries: 5 }));
  const first = await startKafka({ dataDir, port: 0 });
  t.teardown(() => first.stop());
  const http = await listening(t, 'http://127.0.0.1:0/', { listen_ack_s: 2 }, first.brokers);
  const tcp = await listening(t, 'tcp://127.0.0.1:0', {}, first.brokers);
  await untilReady(http.address);
  const taken: string[] = [];
  const refused: string[] = [];
  const sendOne = async (id: string): Promise<void> => {
    const { status, retryAfter } = await post(http.address, document(id));
    if (status === 200) taken.push(onOneLine(document(id)));
    else {
      t.equal(status, 503);
      t.ok(Number(retryAfter) > 0, 'it says when to try again');
      refused.push(id);
    }
  };
  const socket = connect(Number(new URL(tcp.address).port), '127.0.0.1');
  t.teardown(() => socket.destroy());
  await once(socket, 'connect');
  const lines = numbered('tcp', 300);
  socket.write(text(lines.slice(0, 100)));
  for (let i = 0; i < 20; i++) await sendOne(`before-${i}`);
  t.equal(taken.length, 20);

  process.kill(first.pid, 'SIGKILL');
  await first.died;
  socket.write(text(lines.slice(100, 200)));
  for (let i = 0; i < 20; i++) await sendOne(`away-${i}`);
  t.equal(refused.length, 20);
  t.equal((await fetch(new URL('/readyz', http.address))).status, 503);
  t.equal((await fetch(new URL('/healthz', http.address))).status, 200);

  const second = await startKafka({ dataDir, port: first.port });
  t.teardown(() => second.stop());
  await untilReady(http.address);
  // As a switch does that was told so.
  for (const id of refused.splice(0)) await sendOne(id);
  t.equal(taken.length, 40);
  socket.end(text(lines.slice(200)).trimEnd());
  const sent = async (): Promise<string[]> => tcp.topic.lines();
  await until(
    'all lines of the connection are there',
    async () => difference(await sent(), lines).missing.length === 0,
  );
  t.match(await stop(http.running), { requests: { '200': 40 } });
  t.match(await stop(tcp.running), { connections: 1, lines: 300, cut_lines: 0 });
  t.strictSame(difference(await http.topic.lines(), taken), NOTHING);
  t.strictSame(difference(await sent(), lines), NOTHING);
});

await tap.test('TCP: pieces of lines, a broken connection, a switch that is faster than Kafka', async (t) => {
  const { running, address, topic } = await listening(t, 'tcp://127.0.0.1:0');
  const open = async (): Promise<Socket> => {
    const socket = connect(Number(new URL(address).port), '127.0.0.1');
    t.teardown(() => socket.destroy());
    await once(socket, 'connect');
    return socket;
  };
  const lines = numbered('piece', 200);
  const bytes = Buffer.from(text(lines));
  const slow = await open();
  for (let at = 0; at < bytes.length; at += 777) {
    slow.write(bytes.subarray(at, at + 777));
    if (at % 5 === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await until('lines do not wait for the end', async () => (await topic.lines()).length === 200);
  const broken = await open();
  broken.write('whole\npart of a li');
  await until('the whole line is there', async () => (await topic.lines()).includes('whole'));
  broken.resetAndDestroy();
  await until('the break is noticed', () => /the connection is broken/.test(running.stderr()));
  const fast = await open();
  const many = numbered('many', 100_000);
  fast.end(text(many));
  const wanted = [...lines, 'whole', ...many];
  await until('all are there', async () => difference(await topic.lines(), wanted).missing.length === 0);
  slow.write('the last');
  await until('it has arrived', async () => {
    slow.write(' one\n');
    await new Promise((resolve) => setTimeout(resolve, 500));
    return true;
  });
  const summary = await stop(running);
  t.match(summary, { connections: 3, lines: 100_202, cut_lines: 1 });
  t.strictSame(difference(await topic.lines(), [...wanted, 'the last one']), NOTHING);
});

await tap.test('what a format needs from the head is repeated in each message', async (t) => {
  const format = {
    format: 'delimited',
    delimited: {
      header: true,
      columns: { calling_number: 'from', dialed_number: 'to', start: 'at', duration: 'seconds' },
    },
  };
  const head = 'from,to,at,seconds';
  const lines = numbered('call', 400).map(
    (name, index) => `+33199000001,+33199000002,2026-03-01T10:00:00Z,${index},${name}`,
  );
  const whole = Buffer.from(text([head, ...lines]));
  const small = { message_bytes_max: 4096 };
  const http = await listening(t, 'http://127.0.0.1:0/cdr', small, servers.kafka, format);
  await untilReady(http.address);
  t.match(await post(http.address, whole, 'text/plain'), { status: 200 });
  await stop(http.running);
  const tcp = await listening(t, 'tcp://127.0.0.1:0', small, servers.kafka, format);
  const socket = connect(Number(new URL(tcp.address).port), '127.0.0.1');
  await once(socket, 'connect');
  socket.write(whole.subarray(0, 1000));
  await until('the first lines are there', async () => (await tcp.topic.lines()).length > 1);
  socket.end(whole.subarray(1000));
  for (const { topic } of [http, tcp]) {
    await until('all are there', async () => {
      const there = (await topic.lines()).filter((line) => line !== head);
      return difference(there, lines).missing.length === 0;
    });
    const messages = await topic.messages();
    t.ok(messages.length > 4);
    t.strictSame(
      messages.filter((message) => !message.startsWith(`${head}\n`)),
      [],
      'each can be read alone',
    );
  }
  await stop(tcp.running);
});
