import { execFileSync, spawn } from 'node:child_process';
import { join } from 'node:path';
import tap from 'tap';
import { Installation } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';

const servers = testServers(import.meta.url);
const installation = new Installation(tap, servers, 0, {
  feeds: [{ name: 'shipped', topic: servers.databases[0] }],
});
const LINES = Array.from(
  { length: 10 },
  (_, i) => `+33199000001,,+33199000002,2026-03-01T10:00:00Z,${i}\n`,
).join('');

await tap.test('a pipe is sent whole, and does not count as the file that it came from', async (t) => {
  await installation.run('migrate');
  const file = installation.write('a.csv', LINES);
  const pipe = join(installation.folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const writing = spawn('sh', ['-c', 'cat "$0" > "$1"', file, pipe]);
  t.teardown(() => writing.kill('SIGKILL'));
  t.match(await installation.json('ship', pipe), { files: 1, lines: 10 });
  t.match(await installation.json('ship', file), { files: 1, skipped_files: 0, lines: 10 });
  t.match(await installation.json('ship', file), { files: 0, skipped_files: 1, lines: 0 });
  t.match(await installation.json('ingest', '--until-idle'), { consumed: 20, stored: 20 });
  const rows = await installation.rows('SELECT DISTINCT cdr_key FROM {db}.cdr FINAL');
  t.equal(rows.length, 10);
});

await tap.test('what cannot be read or reached is said with what to do', async (t) => {
  t.match(await installation.run('ship', 'missing.csv'), {
    code: 1,
    stderr: /FILE_UNREADABLE: missing\.csv/,
  });
  t.match(await installation.run('ship', '--feed', 'unknown', 'x.csv'), {
    code: 2,
    stderr: /FEED_UNKNOWN.*shipped/,
  });
  const file = installation.write('b.csv', LINES.replaceAll('10:00', '11:00'));
  installation.environment['CDRHOUSE_KAFKA_BROKERS'] = '127.0.0.1:1';
  t.match(await installation.run('ship', file), {
    code: 1,
    stderr: /KAFKA_UNREACHABLE.*\n.*CDRHOUSE_KAFKA_BROKERS/,
  });
});
