import { chmod, cp, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import tap from 'tap';
import { cachedFolder } from '../../../deploy/local/cache-folder.ts';
import { freePort, requirePort } from '../../../deploy/local/ports.ts';
import { compiledLauncher, kafkaJars, requireJava } from '../../../deploy/local/prerequisites.ts';
import { runProgram } from '../../../deploy/local/program.ts';

/** Lets the programs of `folder` be the only ones that are found until the test ends. */
function onlyPath(t: { teardown: (undo: () => void) => void }, folder: string): void {
  const before = process.env['PATH'];
  process.env['PATH'] = folder;
  t.teardown(() => {
    process.env['PATH'] = before;
  });
}

async function fakeProgram(folder: string, name: string, script: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, name), `#!/bin/sh\n${script}\n`);
  await chmod(join(folder, name), 0o755);
}

function silent(): void {
  // Progress is of no interest here.
}

await tap.test('no java', async (t) => {
  onlyPath(t, t.testdir());
  await t.rejects(requireJava(), {
    code: 'LOCAL_JAVA_MISSING',
    message: /apt-get install .*default-jre-headless/,
  });
});

await tap.test('a java that is too old is named', async (t) => {
  const folder = t.testdir();
  await fakeProgram(folder, 'java', `echo 'openjdk version "11.0.2" 2019-01-15' >&2`);
  onlyPath(t, folder);
  await t.rejects(requireJava(), { code: 'LOCAL_JAVA_MISSING', message: /17 or newer .* is 11\.0\.2/ });
  await fakeProgram(folder, 'java', `echo 'java version "1.8.0_202"' >&2`);
  await t.rejects(requireJava(), { code: 'LOCAL_JAVA_MISSING' });
});

await tap.test('a new java is taken', async (t) => {
  const folder = t.testdir();
  await fakeProgram(folder, 'java', `echo 'openjdk version "21" 2023-09-19' >&2`);
  onlyPath(t, folder);
  t.equal(await requireJava(), '21');
});

await tap.test('no maven, and nothing in the cache', async (t) => {
  onlyPath(t, t.testdir());
  await t.rejects(kafkaJars(t.testdir(), silent), {
    code: 'LOCAL_MAVEN_MISSING',
    message: /apt-get install .*maven/,
  });
});

await tap.test('a download that fails leaves nothing that looks complete', async (t) => {
  const folder = t.testdir();
  await fakeProgram(folder, 'mvn', 'echo "no route to host"; exit 1');
  onlyPath(t, folder);
  const cacheDir = join(folder, 'cache');
  const expected = { code: 'LOCAL_DOWNLOAD_FAILED', message: /no route to host/ };
  await t.rejects(kafkaJars(cacheDir, silent), expected);
  await t.rejects(kafkaJars(cacheDir, silent), expected);
});

await tap.test('no compiler', async (t) => {
  onlyPath(t, t.testdir());
  await t.rejects(compiledLauncher(t.testdir(), silent), { code: 'LOCAL_COMPILER_MISSING', message: /gcc/ });
});

await tap.test('the launcher compiles without a warning and is compiled once', async (t) => {
  const cacheDir = t.testdir();
  const lines: string[] = [];
  const report = (line: string): void => void lines.push(line);
  const first = await compiledLauncher(cacheDir, report);
  t.equal(await compiledLauncher(cacheDir, report), first);
  t.strictSame(lines, ['compiling the launcher (once)']);
});

await tap.test('what two make at the same time is whole', async (t) => {
  const cacheDir = t.testdir();
  let second: Promise<string> | undefined;
  const first: Promise<string> = cachedFolder(cacheDir, 'made', async (folder) => {
    await writeFile(join(folder, 'file'), '');
    await new Promise<void>((began) => {
      second = cachedFolder(cacheDir, 'made', async (other) => {
        began();
        await first;
        await writeFile(join(other, 'file'), '');
      });
    });
  });
  t.strictSame(await readdir(await first), ['file']);
  t.equal(await second, await first);
  t.strictSame(await readdir(cacheDir), ['made']);
});

await tap.test('a production install has no ClickHouse library', async (t) => {
  // Outside of the package, so that no node_modules folder is found on the way up.
  const folder = await mkdtemp(join(tmpdir(), 'cdrhouse-production-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }');
  const compiled = fileURLToPath(new URL('../../../deploy/local', import.meta.url));
  await cp(compiled, join(folder, 'deploy', 'local'), { recursive: true });
  const copy = pathToFileURL(join(folder, 'deploy', 'local', 'prerequisites.js')).href;
  const script = `import { clickhouseLibrary } from '${copy}'; try { clickhouseLibrary() } catch (error) { console.log(error.code, error.message) }`;
  const result = await runProgram(process.execPath, ['--input-type=module', '--eval', script], {
    cwd: folder,
  });
  t.match(result?.output, /^LOCAL_CLICKHOUSE_LIBRARY_MISSING .*@chdb\/lib-.*CDRHOUSE_CLICKHOUSE_URL/);
});

await tap.test('a busy port is refused, 0 picks one outside the range of outgoing connections', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  await t.rejects(requirePort('kafka', port), { code: 'LOCAL_PORT_BUSY', message: /kafka.*--kafka-port/ });
  server.close();
  const free = await freePort();
  t.ok(free < 32_768);
  t.equal(await requirePort('kafka', free), free);
});
