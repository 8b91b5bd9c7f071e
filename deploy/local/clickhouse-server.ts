import { mkdir, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { join, resolve } from 'node:path';
import { defaultCacheDir } from './cache-folder.ts';
import { serverConfigXml, usersConfigXml } from './clickhouse-config.ts';
import { DataDirLock } from './data-dir-lock.ts';
import { loopback, requirePort } from './ports.ts';
import { clickhouseLibrary, compiledLauncher, type Report } from './prerequisites.ts';
import { type LocalServer, startServerProcess } from './server-process.ts';
import { type Users, usersOf } from './users.ts';

export interface ClickhouseOptions {
  /** Kept in `<dataDir>/clickhouse`, the users in `<dataDir>/users.json`. */
  dataDir: string;
  /** HTTP port on 127.0.0.1; 0 picks a free one. */
  port: number;
  /**
   * Databases in which the query user may write the lookup journal; everything else is allowed in any database.
   * @default ['cdrhouse']
   */
  databases?: readonly string[] | undefined;
  /** Give the users what `migrate --print-grants` prints for these databases. @default all of any database */
  printedGrants?: boolean | undefined;
  /** Memory of the whole server, in bytes. @default 6 GiB */
  memoryBytesMax?: number | undefined;
  /** Threads of a statement. @default as many as there are cores */
  threadsMax?: number | undefined;
  /** Where the compiled launcher is kept. @default `.cache` beside package.json */
  cacheDir?: string | undefined;
  report?: Report | undefined;
}

export interface ClickhouseServer extends LocalServer {
  /** "http://127.0.0.1:8123" */
  url: string;
  users: Users;
}

const memoryBytesDefault = 6 * 1024 ** 3;
const pingTimeoutMs = 2000;

/** One query to open the listener, one that lasts as long as our end of the pipe: it keeps the server alive. */
const serverQuery = "SYSTEM START LISTEN HTTP; SELECT * FROM file('stdin', 'LineAsString')";

async function answersPing(port: number): Promise<boolean> {
  return new Promise((settle) => {
    const request = get(
      { host: loopback, port, path: '/ping', agent: false, timeout: pingTimeoutMs },
      (response) => {
        response.resume();
        settle(response.statusCode === 200);
      },
    );
    request.once('timeout', () => request.destroy());
    request.once('error', () => settle(false));
  });
}

/**
 * A ClickHouse server on 127.0.0.1 as a process of its own; the same data folder and port may be started again after
 * `stop()` or a crash.
 * @throws LocalServerError any of its codes but those of Java and Maven
 */
export async function startClickhouse(options: ClickhouseOptions): Promise<ClickhouseServer> {
  const library = clickhouseLibrary();
  const launcher = await compiledLauncher(
    options.cacheDir ?? defaultCacheDir(),
    options.report ?? (() => undefined),
  );
  const folder = resolve(options.dataDir, 'clickhouse');
  const lock = await DataDirLock.take(folder);
  try {
    const port = await requirePort('clickhouse', options.port);
    const users = await usersOf(options.dataDir);
    const logPath = join(folder, 'server.log');
    await writeConfig(folder, logPath, users, options);
    const server = await startServerProcess({
      name: 'clickhouse',
      program: launcher,
      programArguments: ['clickhouse', String(process.pid), library, ...serverArguments(folder, port)],
      folder,
      port,
      lock,
      consolePath: join(folder, 'console.log'),
      logPath,
      answers: () => answersPing(port),
    });
    return { ...server, url: `http://${loopback}:${port}`, users };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

function serverArguments(folder: string, port: number): string[] {
  return [
    `--path=${join(folder, 'data')}`,
    `--config-file=${join(folder, 'config.xml')}`,
    // clickhouse-local ignores the level in the file.
    '--log-level=warning',
    `--listen_host=${loopback}`,
    `--http_port=${port}`,
    `--query=${serverQuery}`,
  ];
}

/** Written at each start, so that a new version or other options take effect on old data. */
async function writeConfig(
  folder: string,
  logPath: string,
  users: Users,
  options: ClickhouseOptions,
): Promise<void> {
  const memoryBytesMax = options.memoryBytesMax ?? memoryBytesDefault;
  const usersPath = join(folder, 'users.xml');
  const backupsPath = join(folder, 'backups');
  for (const path of [join(folder, 'data'), backupsPath]) await mkdir(path, { recursive: true });
  const { databases = ['cdrhouse'], printedGrants, threadsMax } = options;
  const usersXml = usersConfigXml({ users, databases, printedGrants, memoryBytesMax, threadsMax });
  await writeFile(usersPath, usersXml, { mode: 0o600 });
  const configXml = serverConfigXml({ usersPath, logPath, backupsPath, memoryBytesMax });
  await writeFile(join(folder, 'config.xml'), configXml, { mode: 0o600 });
}
