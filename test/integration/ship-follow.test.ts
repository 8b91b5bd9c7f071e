import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import tap, { type Test } from 'tap';
import { startKafka } from '../../deploy/local/local-servers.ts';
import type { ShipSummary } from '../../ingest/ship/shipment.ts';
import { Installation, until, type Running } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';
import { difference, numbered, text, TopicLines } from './topic-lines.ts';

/** `ship --follow` over files that grow and are rotated, judged by the lines in the topic. */
const servers = testServers(import.meta.url);
const NOTHING = { missing: [], unwanted: [] };
const DEADLINE_MS = 60_000;
let used = 0;

async function following(
  t: Test,
  ship: object = {},
): Promise<{ installation: Installation; topic: TopicLines; path: (name: string) => string }> {
  const index = used++;
  const name = servers.databases[index]!;
  const installation = new Installation(t, servers, index, {
    feeds: [{ name: 'followed', topic: name }],
    ship: { follow_interval_ms: 50, ...ship },
  });
  const topic = await TopicLines.create(t, servers.kafka, name);
  return { installation, topic, path: (file) => join(installation.folder, file) };
}

function start(t: Test, installation: Installation, ...names: string[]): Running {
  const running = installation.start('ship', '--follow', ...names);
  t.teardown(() => running.child.kill('SIGKILL'));
  return running;
}

/** Ends it in order and gives its summary. */
async function stop({ child, ended }: Running): Promise<ShipSummary> {
  child.kill('SIGTERM');
  const { code, stdout, stderr } = await ended;
  if (code !== 0) throw new Error(`it ended with ${code}:\n${stderr}`);
  return JSON.parse(stdout) as ShipSummary;
}

async function kill({ child, ended }: Running): Promise<void> {
  child.kill('SIGKILL');
  await ended;
}

async function untilSent(topic: TopicLines, running: Running, wanted: readonly string[]): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  for (;;) {
    const { missing } = difference(await topic.lines(), wanted);
    if (missing.length === 0) return;
    if (running.child.exitCode !== null || performance.now() > deadline)
      throw new Error(`missing: ${missing.join(' ')}\n${running.stderr()}`);
    await delay(20);
  }
}

await tap.test('what is added, new files, a line in two parts, a gzip file', async (t) => {
  const { installation, topic, path } = await following(t);
  mkdirSync(path('in'));
  writeFileSync(path('in/a.csv'), text(numbered('a', 10)));
  const running = start(t, installation, path('in'), path('later/*.csv'));
  const wanted = numbered('a', 10);
  await untilSent(topic, running, wanted);
  appendFileSync(path('in/a.csv'), 'first half,');
  writeFileSync(path('in/b.csv'), text(numbered('b', 10)));
  mkdirSync(path('later'));
  writeFileSync(path('later/c.csv'), text(numbered('c', 10)));
  writeFileSync(path('in/d.csv.gz'), gzipSync(text(numbered('d', 10))));
  wanted.push(...numbered('b', 10), ...numbered('c', 10), ...numbered('d', 10));
  await untilSent(topic, running, wanted);
  t.strictSame(difference(await topic.lines(), wanted), NOTHING, 'no half of a line');
  appendFileSync(path('in/a.csv'), 'second half\nnext\n');
  // A copy under another name, as a switch writes that sends a file again.
  copyFileSync(path('in/b.csv'), path('in/copy-of-b.csv'));
  wanted.push('first half,second half', 'next');
  await untilSent(topic, running, wanted);
  const summary = await stop(running);
  t.match(summary, { files: 4, failed_files: 0, lines: 42 });
  t.strictSame((await topic.lines()).toSorted(), wanted.toSorted(), 'each once');
  const again = start(t, installation, path('in'), path('later/*.csv'));
  appendFileSync(path('in/a.csv'), 'last\n');
  await untilSent(topic, again, [...wanted, 'last']);
  await stop(again);
  t.strictSame((await topic.lines()).toSorted(), [...wanted, 'last'].toSorted(), 'and goes on');
});

await tap.test('a last line without its newline is sent when nothing comes any more', async (t) => {
  const { installation, topic, path } = await following(t, { line_wait_s: 1 });
  writeFileSync(path('a.csv'), 'one\ntwo');
  const running = start(t, installation, path('a.csv'));
  await untilSent(topic, running, ['one', 'two']);
  t.match(running.stderr(), /last line has no newline/);
  appendFileSync(path('a.csv'), '-and-more\nthree\n');
  await untilSent(topic, running, ['one', 'two', 'two-and-more', 'three']);
  await stop(running);
  t.strictSame(await topic.lines(), ['one', 'two', 'two-and-more', 'three']);
});

for (const how of ['by renaming', 'by copying and cutting off'] as const) {
  await tap.test(`rotation ${how}, while a writer writes and ship is killed again and again`, async (t) => {
    const { installation, topic, path } = await following(t);
    const written: string[] = [];
    let running = start(t, installation, path('Master.csv'));
    for (let round = 0; round < 12; round++) {
      const lines = numbered(`r${round}`, 50);
      // What was written last before a rotation is still unread, mostly.
      for (const line of lines) {
        appendFileSync(path('Master.csv'), `${line}\n`);
        written.push(line);
        if (line === lines[25] && round % 3 === 1) {
          await kill(running);
          if (round % 2 === 0) running = start(t, installation, path('Master.csv'));
        }
      }
      // The first one is known before it is rotated; what was rotated before the first start is not meant.
      if (round % 4 === 0) await untilSent(topic, running, written);
      const place = installation.environment['CDRHOUSE_SHIP_PLACE_FILE']!;
      if (round === 0) await until('it is noted', () => existsSync(place));
      if (how === 'by renaming') renameSync(path('Master.csv'), path(`Master.csv.${round}`));
      else {
        // Nobody writes between copying and cutting off: what is lost there no reader could get.
        copyFileSync(path('Master.csv'), path(`Master.csv.${round}`));
        truncateSync(path('Master.csv'));
      }
      if (running.child.exitCode !== null || running.child.signalCode !== null)
        running = start(t, installation, path('Master.csv'));
    }
    appendFileSync(path('Master.csv'), 'the last one\n');
    written.push('the last one');
    await untilSent(topic, running, written);
    await stop(running);
    t.strictSame(difference(await topic.lines(), written), NOTHING);
  });
}

await tap.test('a file that is renamed away and deleted at once is read to its end', async (t) => {
  const { installation, topic, path } = await following(t, { follow_interval_ms: 400 });
  const elsewhere = mkdtempSync(join(tmpdir(), 'cdrhouse-rotated-'));
  t.teardown(() => rmSync(elsewhere, { recursive: true, force: true }));
  writeFileSync(path('a.csv'), 'one\n');
  const running = start(t, installation, path('a.csv'));
  await untilSent(topic, running, ['one']);
  appendFileSync(path('a.csv'), 'two\n');
  unlinkSync(path('a.csv'));
  writeFileSync(path('a.csv'), 'three\n');
  await untilSent(topic, running, ['one', 'two', 'three']);
  await stop(running);
});

await tap.test('the broker is away, and ship is killed while it waits', async (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'cdrhouse-ship-'));
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true, maxRetries: 5 }));
  const first = await startKafka({ dataDir, port: 0 });
  t.teardown(() => first.stop());
  const index = used++;
  const name = servers.databases[index]!;
  const installation = new Installation(t, servers, index, {
    feeds: [{ name: 'followed', topic: name }],
    ship: { follow_interval_ms: 50 },
  });
  installation.environment['CDRHOUSE_KAFKA_BROKERS'] = first.brokers;
  await TopicLines.create(t, first.brokers, name);
  const file = installation.write('a.csv', text(numbered('before', 1000)));
  let running = start(t, installation, file);
  await until('it has begun', () => existsSync(installation.environment['CDRHOUSE_SHIP_PLACE_FILE']!));
  await first.stop();
  appendFileSync(file, text(numbered('away', 1000)));
  await until('the absence is noticed', () => /waiting for Kafka/.test(running.stderr()));
  await kill(running);
  running = start(t, installation, file);
  await until('it waits for Kafka at its start', () => /waiting for Kafka/.test(running.stderr()));
  appendFileSync(file, text(numbered('still', 1000)));
  await delay(200);
  const second = await startKafka({ dataDir, port: first.port });
  t.teardown(() => second.stop());
  const wanted = ['before', 'away', 'still'].flatMap((part) => numbered(part, 1000));
  const topic = await TopicLines.of(t, second.brokers, name);
  await untilSent(topic, running, wanted);
  t.match(await stop(running), { failed_files: 0 });
  t.strictSame(difference(await topic.lines(), wanted), NOTHING);
});
