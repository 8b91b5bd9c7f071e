import { randomBytes } from 'node:crypto';
import { mkdirSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import tap, { type Test } from 'tap';
import type { ShipSummary } from '../../ingest/ship/shipment.ts';
import { Installation, type Ended } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';
import { difference, numbered, text, TopicLines } from './topic-lines.ts';

/** Files, folders and patterns that are sent once, judged by the lines in the topic. */
const servers = testServers(import.meta.url);
const NOTHING = { missing: [], unwanted: [] };
let used = 0;

async function shipping(
  t: Test,
  config: Record<string, string> = {},
): Promise<{ installation: Installation; topic: TopicLines; path: (name: string) => string }> {
  const index = used++;
  const name = servers.databases[index]!;
  const installation = new Installation(t, servers, index, { feeds: [{ name: 'files', topic: name }] });
  const topic = await TopicLines.create(t, servers.kafka, name, config);
  return { installation, topic, path: (file) => join(installation.folder, file) };
}

async function ship(
  installation: Installation,
  ...commandLine: string[]
): Promise<{ code: Ended['code']; summary: ShipSummary; stderr: string }> {
  const { code, stdout, stderr } = await installation.run('ship', ...commandLine);
  if (stdout === '') throw new Error(`no summary:\n${stderr}`);
  return { code, summary: JSON.parse(stdout) as ShipSummary, stderr };
}

await tap.test('folders, patterns, gzip, links: everything once, in order of the names', async (t) => {
  const { installation, topic, path } = await shipping(t);
  const lines = ['a', 'b', 'c', 'd', 'e'].map((name) => numbered(name, 40));
  mkdirSync(path('in/below'), { recursive: true });
  writeFileSync(path('in/1.csv'), text(lines[0]!));
  // The name does not say that it is packed; and the last line lacks its newline.
  writeFileSync(path('in/2.csv'), gzipSync(text(lines[1]!).trimEnd()));
  // Two members, as `cat a.gz b.gz` makes them.
  writeFileSync(
    path('in/3.gz'),
    Buffer.concat([gzipSync(text(lines[2]!).slice(0, 777)), gzipSync(text(lines[2]!).slice(777))]),
  );
  writeFileSync(path('in/.hidden'), 'hidden\n');
  writeFileSync(path('in/below/4.csv'), text(lines[3]!));
  writeFileSync(path('elsewhere.csv'), text(lines[4]!));
  symlinkSync(path('elsewhere.csv'), path('in/link.csv'));
  symlinkSync(path('in'), path('link-to-in'));

  const first = await ship(installation, path('link-to-in'));
  t.match(first, { code: 0, summary: { files: 3, failed_files: 0, lines: 120 } });
  t.match(first.stderr, /not taken, symbolic link: .*link\.csv/);
  t.match(first.stderr, /not taken, folder in a folder: .*below/);
  t.match(first.stderr, /not taken, hidden file/);
  t.strictSame(await topic.lines(), lines.slice(0, 3).flat(), 'in order');

  const again = await ship(installation, path('in/**'), path('in/link.csv'), path('*.nothing'));
  t.match(again, { code: 1, summary: { files: 2, skipped_files: 3, failed_files: 1, lines: 80 } });
  t.match(again.stderr, /FILE_UNREADABLE: .*no file matches/);
  t.strictSame((await topic.lines()).toSorted(), lines.flat().toSorted());
});

await tap.test('the order of the last change', async (t) => {
  const { installation, topic, path } = await shipping(t);
  ['b', 'c', 'a'].forEach((name, i) => {
    writeFileSync(path(`${name}.csv`), text(numbered(name, 2)));
    utimesSync(path(`${name}.csv`), 1_700_000_000 + i, 1_700_000_000 + i);
  });
  t.match(await ship(installation, '--sort', 'mtime', path('*.csv')), { code: 0 });
  t.strictSame(await topic.lines(), [...numbered('b', 2), ...numbered('c', 2), ...numbered('a', 2)]);
});

await tap.test('what was sent is known by its content', async (t) => {
  const { installation, topic, path } = await shipping(t);
  const lines = numbered('known', 3000);
  writeFileSync(path('a.csv'), text(lines));
  t.match(await ship(installation, path('a.csv')), { code: 0, summary: { files: 1, lines: 3000 } });
  writeFileSync(path('b.csv'), text(lines));
  writeFileSync(path('c.csv.gz'), gzipSync(text(lines)));
  t.match(await ship(installation, path('b.csv'), path('c.csv.gz')), {
    code: 0,
    summary: { files: 0, skipped_files: 2, lines: 0 },
  });
  const more = numbered('more', 10);
  writeFileSync(path('a.csv'), text([...lines, ...more]));
  t.match(
    await ship(installation, path('a.csv')),
    { summary: { files: 1, lines: 10 } },
    'only what was added',
  );
  const most = numbered('most', 5);
  writeFileSync(path('c.csv.gz'), gzipSync(text([...lines, ...more, ...most])));
  t.match(await ship(installation, path('c.csv.gz')), { summary: { files: 1, lines: 5 } }, 'packed, too');
  t.strictSame(await topic.lines(), [...lines, ...more, ...most]);

  // The same length, the same head and end: one record was put right in between.
  const corrected = lines.with(1500, numbered('fixed', 1, 1500)[0]!);
  writeFileSync(path('d.csv'), text(corrected));
  t.match(await ship(installation, path('d.csv')), { summary: { files: 1, lines: 3000 } });
  t.match(await ship(installation, '--again', path('b.csv')), { summary: { files: 1, lines: 3000 } });
  const counts = await topic.counts();
  t.equal(counts.get(lines[0]!), 3);
  t.equal(counts.get(corrected[1500]!), 1);
});

await tap.test('a last line without its newline is sent, and whole when it grew', async (t) => {
  const { installation, topic, path } = await shipping(t);
  writeFileSync(path('a.csv'), 'one\ntwo\nthr');
  t.match(await ship(installation, path('a.csv')), { code: 0, summary: { lines: 3 } });
  t.match(await ship(installation, path('a.csv')), { summary: { skipped_files: 1, lines: 0 } });
  writeFileSync(path('a.csv'), 'one\ntwo\nthree\nfour');
  t.match(await ship(installation, path('a.csv')), { code: 0, summary: { lines: 2 } });
  t.strictSame(await topic.lines(), ['one', 'two', 'thr', 'three', 'four']);
});

await tap.test('a gzip file that is cut off: what can be read, an error, and nothing noted', async (t) => {
  const { installation, topic, path } = await shipping(t);
  const lines = numbered('cut', 20_000);
  const whole = gzipSync(text(lines));
  writeFileSync(path('a.gz'), whole.subarray(0, Math.floor(whole.length / 2)));
  writeFileSync(path('b.csv'), text(numbered('other', 3)));
  const cut = await ship(installation, path('a.gz'), path('b.csv'));
  t.match(cut, { code: 1, summary: { files: 1, failed_files: 1 } });
  t.match(cut.stderr, /FILE_DAMAGED: .*a\.gz/);
  const sent = await topic.lines();
  t.ok(sent.length > 5000, 'what can be read');
  t.strictSame(difference(sent, [...lines, ...numbered('other', 3)]).unwanted, [], 'no part of a line');
  writeFileSync(path('a.gz'), whole);
  t.match(await ship(installation, path('a.gz')), { code: 0, summary: { files: 1, lines: 20_000 } });
  t.strictSame(difference(await topic.lines(), [...lines, ...numbered('other', 3)]), NOTHING);
});

await tap.test('lines that no message holds are named, and block nothing', async (t) => {
  const { installation, topic, path } = await shipping(t);
  // One between others, one of 40 MB at the end without a newline: more than the heap below could hold twice.
  mkdirSync(path('in'));
  writeFileSync(path('in/a.csv'), `one\n${'x'.repeat(1_000_001)}\n\nfour\n${'y'.repeat(999_990)}\n`);
  writeFileSync(path('in/b.csv'), Buffer.alloc(40_000_000, 'z'));
  writeFileSync(path('in/c.csv.gz'), gzipSync(`five\n${'x'.repeat(3_000_000)}\nseven`));
  const { code, summary, stderr } = await ship(installation, path('in/*'));
  t.equal(code, 1);
  t.match(summary, { files: 3, failed_files: 0, lines: 5, too_long: 3 });
  t.strictSame(summary.too_long_lines, [
    { file: path('in/a.csv'), line: 2, bytes: 1_000_001 },
    { file: path('in/b.csv'), line: 1, bytes: 40_000_000 },
    { file: path('in/c.csv.gz'), line: 2, bytes: 3_000_000 },
  ]);
  t.match(stderr, /RECORD_TOO_LONG: .*a\.csv: line 2 has 1000001 bytes and was not sent/);
  const sent = (await topic.lines()).map((line) => (line.length > 10 ? line.length : line));
  t.strictSame(sent, ['one', '', 'four', 999_990, 'five', 'seven']);
  t.match(await ship(installation, path('in/*')), { code: 0, summary: { skipped_files: 3 } }, 'noted');
});

await tap.test('a topic that takes less than Kafka does by default', async (t) => {
  const { installation, topic, path } = await shipping(t, { 'max.message.bytes': '100000' });
  // What is random is not made smaller by compression.
  const long = randomBytes(150_000).toString('base64');
  writeFileSync(path('a.csv'), `one\n${long}\nthree\n`);
  const { code, summary, stderr } = await ship(installation, path('a.csv'));
  t.match({ code, summary }, { code: 1, summary: { too_long_lines: [{ line: 2, bytes: 200_000 }] } });
  t.match(stderr, /RECORD_TOO_LONG/);
  t.strictSame(await topic.lines(), ['one', 'three']);
});

await tap.test('a file that cannot be read among others, and a topic that is not there', async (t) => {
  const { installation, topic, path } = await shipping(t);
  writeFileSync(path('a.csv'), text(numbered('a', 3)));
  symlinkSync(path('gone'), path('b.csv'));
  writeFileSync(path('c.csv'), text(numbered('c', 3)));
  const { code, summary, stderr } = await ship(installation, path('a.csv'), path('b.csv'), path('c.csv'));
  t.match({ code, summary }, { code: 1, summary: { files: 2, failed_files: 1, lines: 6 } });
  t.match(stderr, /FILE_UNREADABLE: .*b\.csv/);
  t.strictSame(await topic.lines(), [...numbered('a', 3), ...numbered('c', 3)]);
  installation.write('cdrhouse.yaml', JSON.stringify({ feeds: [{ name: 'files', topic: 'not-there' }] }));
  t.match(await installation.run('ship', '--again', path('a.csv')), {
    code: 1,
    stderr: /TOPIC_MISSING: .*not-there.*\n.*migrate/,
  });
});

await tap.test('wrong usage', async (t) => {
  const { installation } = await shipping(t);
  for (const commandLine of [
    [],
    ['--follow', '-'],
    ['--follow', '--again', 'x'],
    ['--listen', 'http://127.0.0.1:0', 'x'],
    ['--listen', 'udp://127.0.0.1:1'],
    ['--listen', 'tcp://127.0.0.1'],
    ['--sort', 'size', 'x'],
  ])
    t.match(await installation.run('ship', ...commandLine), { code: 2 }, commandLine.join(' '));
});
