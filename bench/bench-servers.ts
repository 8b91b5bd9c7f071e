import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startLocalServers, type LocalServers } from '../deploy/local/local-servers.ts';
import { Database } from './database.ts';

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/** Kafka and ClickHouse of one bench run, in a folder that is removed with them. */
export interface BenchServers {
  readonly servers: LocalServers;
  readonly database: Database;
  readonly folder: string;
  /** Writes a file into the folder and gives its path. */
  write(name: string, content: string | Uint8Array): string;
}

/**
 * Runs `work` beside servers of its own; ends them and removes their data afterwards, also at Ctrl-C.
 * @param databases in which the API's user may write the journal of look-ups
 */
export async function withBenchServers(
  work: (bench: BenchServers) => Promise<void>,
  databases: readonly string[] = [],
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'cdrhouse-bench-'));
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  let servers: LocalServers | undefined;
  const interrupted = (): void => {
    const ending = servers === undefined ? Promise.resolve() : servers.stop();
    void ending.finally(() => {
      remove();
      process.exit(1);
    });
  };
  SIGNALS.forEach((signal) => process.on(signal, interrupted));
  try {
    servers = await startLocalServers({
      dataDir: join(folder, 'servers'),
      kafkaPort: 0,
      clickhousePort: 0,
      databases,
    });
    const write = (name: string, content: string | Uint8Array): string => {
      const path = join(folder, name);
      writeFileSync(path, content);
      return path;
    };
    const database = new Database(servers.clickhouse, servers.pids.clickhouse);
    await work({ servers, database, folder, write });
  } finally {
    await servers?.stop();
    remove();
    SIGNALS.forEach((signal) => process.off(signal, interrupted));
  }
}
