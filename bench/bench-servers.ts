import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  startClickhouse,
  startLocalServers,
  type LocalServers,
  type LocalServer,
} from '../deploy/local/local-servers.ts';
import { Database } from './database.ts';
import { GroupOffsets } from './group-offsets.ts';

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/** Kafka and ClickHouse of one bench run, in a folder that is removed with them. */
export interface BenchServers {
  readonly servers: LocalServers;
  readonly database: Database;
  readonly offsets: GroupOffsets;
  readonly folder: string;
  /** Writes a file into the folder and gives its path. */
  write(name: string, content: string | Uint8Array): string;
  /** Ends ClickHouse with `kill -9`, and starts it again on the same data and the same port. */
  killClickhouse(): Promise<void>;
}

export interface BenchServersOptions {
  /** In which the API's user may write the journal of look-ups. */
  readonly databases?: readonly string[];
  /** What ClickHouse is to have beside its own configuration: elements of its file. */
  readonly configuration?: string;
}

function configure(dataDir: string, elements: string): void {
  const folder = join(dataDir, 'clickhouse', 'config.d');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'bench.xml'), `<clickhouse>${elements}</clickhouse>`);
}

/** Runs `work` beside servers of its own; ends them and removes their data afterwards, also at Ctrl-C. */
export async function withBenchServers(
  work: (bench: BenchServers) => Promise<void>,
  { databases = [], configuration }: BenchServersOptions = {},
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'cdrhouse-bench-'));
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  const dataDir = join(folder, 'servers');
  if (configuration !== undefined) configure(dataDir, configuration);
  let servers: LocalServers | undefined;
  let restarted: LocalServer | undefined;
  let offsets: GroupOffsets | undefined;
  const stop = async (): Promise<void> => {
    await offsets?.close();
    await Promise.all([servers?.stop(), restarted?.stop()]);
  };
  const interrupted = (): void => {
    void stop().finally(() => {
      remove();
      process.exit(1);
    });
  };
  SIGNALS.forEach((signal) => process.on(signal, interrupted));
  try {
    servers = await startLocalServers({ dataDir, kafkaPort: 0, clickhousePort: 0, databases });
    const { died } = servers;
    const write = (name: string, content: string | Uint8Array): string => {
      const path = join(folder, name);
      writeFileSync(path, content);
      return path;
    };
    const database = new Database(servers.clickhouse, servers.pids.clickhouse);
    offsets = new GroupOffsets(servers.kafka);
    const killClickhouse = async (): Promise<void> => {
      process.kill(database.pid, 'SIGKILL');
      await (restarted?.died ?? died);
      restarted = await startClickhouse({ dataDir, port: Number(new URL(database.url).port), databases });
      database.pid = restarted.pid;
    };
    await work({ servers, database, offsets, folder, write, killClickhouse });
  } finally {
    await stop();
    remove();
    SIGNALS.forEach((signal) => process.off(signal, interrupted));
  }
}
