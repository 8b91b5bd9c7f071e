import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import tap from 'tap';
import { until, type Ended } from '../cdrhouse-program.ts';

/** What `make demo` runs, with servers of its own. */
const PROGRAM = fileURLToPath(new URL('../../cli.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'cdrhouse-demo-'));
tap.teardown(() => rmSync(folder, { recursive: true, force: true }));

interface Demo {
  stdout(): string;
  kill(signal: NodeJS.Signals): void;
  readonly ended: Promise<Ended>;
}

function startDemo(...more: string[]): Demo {
  const child = spawn(
    'env',
    ['-u', 'NODE_OPTIONS', process.execPath, PROGRAM, 'demo', '--data-dir', folder, ...more],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  tap.teardown(() => child.kill('SIGKILL'));
  const ended = new Promise<Ended>((resolve) => {
    child.once('close', (code) => resolve({ code, stdout, stderr }));
  });
  return { stdout: () => stdout, kill: (signal) => child.kill(signal), ended };
}

/** Runs a line that the demo prints, as a person would who pastes it. */
function paste(output: string, path: string): unknown {
  const line = output.split('\n').find((text) => text.includes('curl') && text.includes(path));
  return JSON.parse(execFileSync('sh', ['-c', line!], { encoding: 'utf8' }));
}

/** Processes whose command line names this demo's data. */
function leftovers(): string[] {
  return execFileSync('ps', ['-eo', 'pid,args'], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line.includes(folder) && !line.includes('ps -eo'));
}

await tap.test('prints lines that answer; Ctrl-C ends everything', async (t) => {
  const demo = startDemo('--rate', '500');
  await until('the lines to paste are printed', () => demo.stdout().includes('/v1/usage'));
  const calls = paste(demo.stdout(), '/v1/calls') as { data: object[] };
  t.ok(calls.data.length > 0, 'the look-up finds calls');
  const usage = paste(demo.stdout(), '/v1/usage') as { total: { records: string } };
  t.ok(Number(usage.total.records) > 0, 'the usage has records');
  t.ok(leftovers().length > 0, 'the check sees running processes');
  demo.kill('SIGINT');
  const { code, stdout } = await demo.ended;
  t.equal(code, 0);
  t.match(stdout, /summary: [0-9,]+ calls stored in [0-9.]+ s, lag 0 messages, a look-up found [0-9]+ calls/);
  t.strictSame(leftovers(), []);
});

await tap.test('ends by itself after --seconds, on the data of the last time', async (t) => {
  const demo = startDemo('--seconds', '8', '--rate', '500');
  const { code, stdout } = await demo.ended;
  t.equal(code, 0);
  t.match(stdout, /lag 0 messages/);
  t.strictSame(leftovers(), []);
});
