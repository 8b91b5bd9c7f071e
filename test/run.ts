/**
 * The test runner behind `make test`: unit tests first, side by side, then the fault and the integration tests, a few
 * files at a time, against real servers that are started once. Ends with the line "N passed, N failed" (assertions).
 *
 *   node dist/test/run.js                  everything
 *   node dist/test/run.js --unit           what needs no server
 *   node dist/test/run.js --plain FILE…    these with the plain reader instead of the addon
 *   node dist/test/run.js FILE…            these test files only
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  describeDeath,
  LocalServerError,
  type LocalServers,
  startLocalServers,
} from '../deploy/local/local-servers.ts';
import { readTapResult, type TapResult } from './tap-result.ts';
import {
  databasesOf,
  testEnvironment,
  testReaders,
  testTries,
  type TestReader,
  type TestTry,
} from './test-servers.ts';

const testFolder = dirname(fileURLToPath(import.meta.url));
const root = resolve(testFolder, '..', '..');
const unitTimeoutSeconds = 60;
const serverTimeoutSeconds = 400;
/** How many files at a time: most of them wait for programs and for times to pass. */
const serverJobs = 3;
/**
 * This many files that failed are run once more, alone, with the servers to themselves. What passes then does not fail
 * the run, but is shown with what failed at first: on a busy machine a time may have been too short, or it is a fault
 * that shows itself rarely. More failures than these are no accident.
 */
const secondTriesMax = 2;
/** How long tests that were broken off may take to clean up. */
const endGraceMs = 3000;

/** Paths from the package root, as tap prints them. */
type TestFile = string;

/** Fault tests that the plain reader has to pass too: what is read, where reading goes on, a broker that dies. */
const readWithBoth: readonly TestFile[] = ['records', 'resume', 'broker'].map(
  (name) => `dist/test/fault/${name}.test.js`,
);

/** Test files that need servers, by how their programs read. */
type ServerFiles = Readonly<Record<TestReader, readonly TestFile[]>>;

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function allTestFiles(): Promise<TestFile[]> {
  const names = await readdir(testFolder, { recursive: true });
  const files = names
    .filter((name) => name.endsWith('.test.js'))
    .map((name) => relative(root, join(testFolder, name)));
  return files.sort();
}

function needsServers(file: TestFile): boolean {
  return /\/test\/(integration|fault)\//.test(`/${file}`);
}

/** Our own settings in the caller's environment must not reach the programs under test. */
function cleanEnvironment(): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('CDRHOUSE_')));
}

interface TapRun {
  files: readonly TestFile[];
  jobs: number;
  timeoutSeconds: number;
  environment: Record<string, string>;
  /** Where tap's raw output goes. */
  outputPath: string;
  /** Ends the run early. */
  abort: AbortSignal;
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, signal);
  } catch {
    // The group has ended by itself.
  }
}

function endGroup(child: ChildProcess): void {
  signalGroup(child, 'SIGTERM');
  const timer = setTimeout(() => signalGroup(child, 'SIGKILL'), endGraceMs);
  child.once('close', () => clearTimeout(timer));
}

async function runTap(run: TapRun): Promise<TapResult> {
  if (run.abort.aborted) return failure(`not run: ${run.files.join(' ')}`);
  const programArguments = [
    join(root, 'node_modules', '.bin', 'tap'),
    'run',
    // A counter on a terminal; where lines cannot be rewritten only the failures, and the list of files afterwards.
    `--reporter=${process.stdout.isTTY ? 'terse' : 'min'}`,
    `--jobs=${run.jobs}`,
    `--timeout=${run.timeoutSeconds}`,
    `--output-file=${run.outputPath}`,
    ...run.files,
  ];
  const child = spawn(process.execPath, programArguments, {
    cwd: root,
    env: { ...cleanEnvironment(), ...run.environment },
    stdio: ['ignore', 'inherit', 'inherit'],
    // A process group of its own, which can be ended as a whole: tap alone would wait for the file that is running.
    detached: true,
  });
  const end = (): void => endGroup(child);
  run.abort.addEventListener('abort', end, { once: true });
  await once(child, 'close');
  run.abort.removeEventListener('abort', end);
  const text = await readFile(run.outputPath, 'utf8').catch(() => '');
  const result = readTapResult(text, run.files);
  for (const line of result.files) say(line);
  if (child.exitCode !== 0 && result.failed === 0) {
    result.problems.push(`tap ended with ${child.exitCode ?? child.signalCode}`);
    result.failed++;
  }
  return result;
}

function failure(problem: string): TapResult {
  return { passed: 0, failed: 1, files: [], failedFiles: [], problems: [problem] };
}

/** What a run gave, the files that failed having been run again. */
async function secondTry(
  first: TapResult,
  again: (files: readonly TestFile[]) => Promise<TapResult>,
): Promise<TapResult> {
  const files = first.failedFiles;
  if (files.length === 0 || files.length > secondTriesMax) return first;
  say(`once more, alone: ${files.join(' ')}`);
  const second = await again(files);
  if (second.failed > 0) return { ...first, problems: [...first.problems, ...second.problems] };
  say(`UNSTEADY: failed among others and passed alone: ${files.join(' ')}`);
  for (const problem of first.problems) say(problem);
  return { ...first, failed: 0, passed: first.passed + second.passed, problems: [] };
}

async function runUnitTests(files: TestFile[], folder: string, abort: AbortSignal): Promise<TapResult> {
  return runTap({
    files,
    jobs: availableParallelism(),
    timeoutSeconds: unitTimeoutSeconds,
    environment: {},
    outputPath: join(folder, 'unit.tap'),
    abort,
  });
}

async function runServerTests(
  files: ServerFiles,
  folder: string,
  abort: AbortController,
): Promise<TapResult[]> {
  const readers = testReaders.filter((reader) => files[reader].length > 0);
  let servers: LocalServers;
  try {
    servers = await startLocalServers({
      dataDir: join(folder, 'servers'),
      kafkaPort: 0,
      clickhousePort: 0,
      // Few rows: threads cost more than they share.
      clickhouseThreadsMax: 1,
      databases: readers.flatMap((reader) =>
        files[reader].flatMap((file) => testTries.flatMap((attempt) => databasesOf(file, reader, attempt))),
      ),
      report: say,
    });
  } catch (error) {
    if (!(error instanceof LocalServerError)) throw error;
    return [failure(`the servers cannot be started: ${error.code}: ${error.message}`)];
  }
  const deaths: TapResult[] = [];
  const watch = async (): Promise<void> => {
    const death = await servers.died;
    deaths.push(failure(`${describeDeath(death)} during the tests; its last words:\n${death.lastWords}`));
    abort.abort();
  };
  void watch();
  const results: TapResult[] = [];
  for (const reader of readers) {
    if (reader !== 'packed') say(`with the ${reader} reader:`);
    const attempt = (name: TestTry, tried: readonly TestFile[], jobs: number): Promise<TapResult> =>
      runTap({
        files: tried,
        jobs,
        timeoutSeconds: serverTimeoutSeconds,
        environment: testEnvironment(servers, reader, name),
        outputPath: join(folder, `${reader}-${name}.tap`),
        abort: abort.signal,
      });
    const first = await attempt('first', files[reader], serverJobs);
    results.push(await secondTry(first, (tried) => attempt('second', tried, 1)));
  }
  await servers.stop();
  return [...results, ...deaths];
}

function byReader(files: readonly TestFile[], commandArguments: readonly string[]): ServerFiles {
  if (commandArguments.includes('--plain')) return { packed: [], plain: files };
  const named = commandArguments.some((argument) => !argument.startsWith('--'));
  return { packed: files, plain: named ? [] : readWithBoth };
}

/** Sources may be named too: "test/a.test.ts" means "dist/test/a.test.js". */
function compiledPath(file: string): string {
  return file.endsWith('.ts')
    ? join(root, 'dist', relative(root, resolve(file))).replace(/\.ts$/, '.js')
    : file;
}

async function chosenFiles(commandArguments: string[]): Promise<TestFile[]> {
  const named = commandArguments.filter((argument) => !argument.startsWith('--'));
  if (named.length > 0) return named.map((file) => relative(root, resolve(compiledPath(file))));
  const files = await allTestFiles();
  return commandArguments.includes('--unit') ? files.filter((file) => !needsServers(file)) : files;
}

async function main(commandArguments: string[]): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'cdrhouse-test-'));
  const abort = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => abort.abort());
  const results: TapResult[] = [];
  try {
    const files = await chosenFiles(commandArguments);
    const unitFiles = files.filter((file) => !needsServers(file));
    const serverFiles = files.filter((file) => needsServers(file));
    if (unitFiles.length > 0) results.push(await runUnitTests(unitFiles, folder, abort.signal));
    if (serverFiles.length > 0 && !abort.signal.aborted) {
      results.push(...(await runServerTests(byReader(serverFiles, commandArguments), folder, abort)));
    }
    if (files.length === 0) results.push(failure('there is no test file'));
    if (abort.signal.aborted) results.push(failure('broken off'));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  for (const problem of results.flatMap((result) => result.problems)) say(problem);
  const passed = results.reduce((sum, result) => sum + result.passed, 0);
  const failed = results.reduce((sum, result) => sum + result.failed, 0);
  say(`${passed} passed, ${failed} failed`);
  return failed === 0 && passed > 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
