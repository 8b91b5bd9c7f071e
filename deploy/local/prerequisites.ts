import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { cachedFolder, contentKey, packageRoot } from './cache-folder.ts';
import { installHint, LocalServerError } from './errors.ts';
import { runProgram } from './program.ts';

/** Takes one line of progress at a time, without a newline. */
export type Report = (line: string) => void;

/** Kafka 4 does not run on an older Java. */
const javaVersionMin = 17;

/**
 * Checks that `java` is on the PATH and new enough, and gives its full version, such as "17.0.15".
 * @throws LocalServerError LOCAL_JAVA_MISSING
 */
export async function requireJava(): Promise<string> {
  const result = await runProgram('java', ['-version']);
  const version = /version "([^"]+)"/.exec(result?.output ?? '')?.[1];
  if (result?.exitCode !== 0 || version === undefined) {
    throw new LocalServerError(
      'LOCAL_JAVA_MISSING',
      `the local Kafka needs Java ${javaVersionMin} or newer and there is no working java on the PATH; ${installHint}`,
    );
  }
  // Java 8 and older call themselves 1.8; their first number is below the minimum all the same.
  if (Number.parseInt(version, 10) < javaVersionMin) {
    throw new LocalServerError(
      'LOCAL_JAVA_MISSING',
      `the local Kafka needs Java ${javaVersionMin} or newer and the java on the PATH is ${version}; ${installHint}`,
    );
  }
  return version;
}

/**
 * The folder of the broker's jars, downloaded by Maven the first time.
 * @throws LocalServerError LOCAL_MAVEN_MISSING, LOCAL_DOWNLOAD_FAILED
 */
export async function kafkaJars(cacheDir: string, report: Report): Promise<string> {
  const pom = join(packageRoot(), 'deploy', 'local', 'pom.xml');
  const name = `kafka-${contentKey(await readFile(pom))}`;
  return cachedFolder(cacheDir, name, async (folder) => {
    report('kafka: downloading the broker (44 MB, once)');
    const result = await runProgram('mvn', [
      '-q',
      '-B',
      '-f',
      pom,
      'dependency:copy-dependencies',
      '-DincludeScope=runtime',
      `-DoutputDirectory=${folder}`,
    ]);
    if (result === undefined) {
      throw new LocalServerError(
        'LOCAL_MAVEN_MISSING',
        `Maven (mvn) brings the local Kafka the first time and is not on the PATH; ${installHint}`,
      );
    }
    if (result.exitCode !== 0) {
      throw new LocalServerError(
        'LOCAL_DOWNLOAD_FAILED',
        `Maven could not bring the local Kafka; it said:\n${result.output.trim().slice(-2000)}`,
      );
    }
  });
}

/**
 * The path of ClickHouse as a shared library, out of the npm package for this platform.
 * @throws LocalServerError LOCAL_CLICKHOUSE_LIBRARY_MISSING
 */
export function clickhouseLibrary(): string {
  const libc = process.platform === 'linux' ? '-gnu' : '';
  const name = `@chdb/lib-${process.platform}-${process.arch}${libc}`;
  const missing = (cause?: unknown): LocalServerError =>
    new LocalServerError(
      'LOCAL_CLICKHOUSE_LIBRARY_MISSING',
      `the local ClickHouse comes from the npm package ${name}, which is not installed: it is for development and ` +
        'tests, on Linux and macOS. Run npm ci without --omit=dev, or use a ClickHouse server of your own ' +
        '(CDRHOUSE_CLICKHOUSE_URL)',
      { cause },
    );
  let folder: string;
  try {
    folder = dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));
  } catch (error) {
    throw missing(error);
  }
  const library = ['libchdb.so', 'libchdb.dylib']
    .map((file) => join(folder, file))
    .find((file) => existsSync(file));
  if (library === undefined) throw missing();
  return library;
}

/**
 * The path of the compiled launcher (deploy/local/launcher.c), compiled the first time.
 * @throws LocalServerError LOCAL_COMPILER_MISSING
 */
export async function compiledLauncher(cacheDir: string, report: Report): Promise<string> {
  const source = join(packageRoot(), 'deploy', 'local', 'launcher.c');
  const program = 'launcher';
  const name = `launcher-${contentKey(await readFile(source), process.platform, process.arch)}`;
  const folder = await cachedFolder(cacheDir, name, async (partial) => {
    report('compiling the launcher (once)');
    const result = await runProgram('cc', ['-O2', '-Wall', '-o', join(partial, program), source, '-ldl']);
    if (result?.exitCode === 0) return;
    const reason =
      result === undefined ? 'there is no cc on the PATH' : `cc said:\n${result.output.trim()}\n`;
    throw new LocalServerError(
      'LOCAL_COMPILER_MISSING',
      `a C compiler builds the launcher of the local servers the first time; ${reason}; ${installHint}`,
    );
  });
  return join(folder, program);
}
