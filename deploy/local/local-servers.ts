import { type ClickhouseServer, startClickhouse } from './clickhouse-server.ts';
import { type KafkaServer, startKafka } from './kafka-server.ts';
import { freePort } from './ports.ts';
import type { Report } from './prerequisites.ts';
import type { Death } from './server-process.ts';
import type { Users } from './users.ts';

export { type ClickhouseServer, startClickhouse } from './clickhouse-server.ts';
export { LocalServerError } from './errors.ts';
export { type KafkaServer, startKafka } from './kafka-server.ts';
export { describeDeath, type LocalServer } from './server-process.ts';
export type { Credentials, Users } from './users.ts';

export interface LocalServersOptions {
  /** Made if missing; holds all data, logs and passwords of both servers. */
  dataDir: string;
  /** 0 picks a free port. */
  kafkaPort: number;
  /** 0 picks a free port. */
  clickhousePort: number;
  /**
   * Databases in which the query user may write the lookup journal.
   * @default ['cdrhouse']
   */
  databases?: readonly string[] | undefined;
  /** Give the users what `migrate --print-grants` prints for these databases. @default all of any database */
  printedGrants?: boolean | undefined;
  /** Memory of ClickHouse, in bytes. @default 6 GiB */
  clickhouseMemoryBytesMax?: number | undefined;
  /** Threads of a statement of ClickHouse. @default as many as there are cores */
  clickhouseThreadsMax?: number | undefined;
  /** Where what is compiled or downloaded once is kept. @default `.cache` beside package.json */
  cacheDir?: string | undefined;
  /** Takes lines of progress; only a first start has any. */
  report?: Report | undefined;
}

export interface LocalServers {
  /** "127.0.0.1:9092" */
  kafka: string;
  /** "http://127.0.0.1:8123" */
  clickhouse: string;
  users: Users;
  pids: { kafka: number; clickhouse: number };
  /** Resolves when one of them ends without having been asked to; the other one goes on. */
  died: Promise<Death>;
  /** Ends both; again = nothing happens. */
  stop(): Promise<void>;
}

/**
 * Kafka and ClickHouse on 127.0.0.1, both answering when this resolves. They end with this process, even when it is
 * killed (Linux). Call it from the main thread.
 * @throws LocalServerError with a code that says what is missing or in the way; nothing is left running then
 */
export async function startLocalServers(options: LocalServersOptions): Promise<LocalServers> {
  const { dataDir, cacheDir, report } = options;
  // Both are drawn here: drawn apart they might be the same.
  const kafkaPort = options.kafkaPort === 0 ? await freePort([options.clickhousePort]) : options.kafkaPort;
  const clickhousePort = options.clickhousePort === 0 ? await freePort([kafkaPort]) : options.clickhousePort;
  const [kafka, clickhouse] = await bothOrNone(
    startKafka({ dataDir, port: kafkaPort, cacheDir, report }),
    startClickhouse({
      dataDir,
      port: clickhousePort,
      databases: options.databases,
      printedGrants: options.printedGrants,
      memoryBytesMax: options.clickhouseMemoryBytesMax,
      threadsMax: options.clickhouseThreadsMax,
      cacheDir,
      report,
    }),
  );
  return {
    kafka: kafka.brokers,
    clickhouse: clickhouse.url,
    users: clickhouse.users,
    pids: { kafka: kafka.pid, clickhouse: clickhouse.pid },
    died: Promise.race([kafka.died, clickhouse.died]),
    stop: async () => {
      await Promise.all([kafka.stop(), clickhouse.stop()]);
    },
  };
}

async function bothOrNone(
  kafkaStart: Promise<KafkaServer>,
  clickhouseStart: Promise<ClickhouseServer>,
): Promise<[KafkaServer, ClickhouseServer]> {
  const started = await Promise.allSettled([kafkaStart, clickhouseStart]);
  const failure = started.find((start) => start.status === 'rejected');
  if (failure === undefined) return Promise.all([kafkaStart, clickhouseStart]);
  for (const start of started) if (start.status === 'fulfilled') await start.value.stop();
  throw failure.reason;
}
