import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import tap, { type Test } from 'tap';
import { childEnvironment, ProcessGroup } from '../../ingest/process-group.ts';
import { RestartPauses } from '../../ingest/retry.ts';
import { checkSettings } from '../../schemas/settings.ts';
import { until } from '../cdrhouse-program.ts';

/** A group whose children only note that they run, until they are told to end. */
function groupOf(t: Test, processes: number) {
  const folder = mkdtempSync(join(tmpdir(), 'cdrhouse-group-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const program = join(folder, 'child.cjs');
  const noted = join(folder, 'pids');
  writeFileSync(noted, '');
  writeFileSync(
    program,
    `process.on('SIGTERM', () => process.exit(0));
     process.once('disconnect', () => process.exit(0));
     require('node:fs').appendFileSync(${JSON.stringify(noted)}, process.pid + '\\n');
     setInterval(() => undefined, 1000);`,
  );
  const stop = new AbortController();
  const settings = checkSettings({ ingest: { processes } });
  const log = pino({ level: 'silent' });
  const group = new ProcessGroup({ settings, program, untilIdle: false, stop: stop.signal, log });
  const pids = (): number[] => readFileSync(noted, 'utf8').trim().split('\n').filter(Boolean).map(Number);
  return { group, stop, pids };
}

await tap.test('a child that ends in order though nobody told it to is replaced', async (t) => {
  const { group, stop, pids } = groupOf(t, 2);
  const ended = group.run();
  await until('both run', () => pids().length === 2);
  process.kill(pids()[0]!, 'SIGTERM');
  await until('another runs', () => pids().length === 3);
  stop.abort();
  t.match(await ended, { consumed: 0 });
});

await tap.test('a child that cannot be started is tried again', async (t) => {
  const { group, stop, pids } = groupOf(t, 1);
  const node = process.execPath;
  process.execPath = '/nowhere/node';
  t.teardown(() => (process.execPath = node));
  const ended = group.run();
  t.match(await group.readiness(), { ready: false });
  process.execPath = node;
  await until('it runs', () => pids().length === 1);
  stop.abort();
  await ended;
});

function threads(ingest: object, cores: number): string {
  return childEnvironment(checkSettings({ ingest }), cores)['CDRHOUSE_INGEST_WORKERS']!;
}

await tap.test('children share the cores, and have no more threads than a process by itself', (t) => {
  t.equal(threads({ processes: 2 }, 16), '2');
  t.equal(threads({ processes: 4 }, 4), '1');
  t.equal(threads({ processes: 8 }, 4), '1');
  t.equal(threads({ processes: 2, workers: 5 }, 4), '5');
  t.end();
});

await tap.test('pauses before a restart double, and begin anew after a while of health', (t) => {
  const pauses = new RestartPauses(500, 3000);
  t.strictSame(
    [10, 10, 10, 10, 61_000, 10].map((livedMs) => pauses.after(livedMs)),
    [500, 1000, 2000, 3000, 500, 1000],
  );
  t.end();
});
