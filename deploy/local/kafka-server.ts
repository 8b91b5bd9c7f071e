import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { contentKey, defaultCacheDir } from './cache-folder.ts';
import { DataDirLock } from './data-dir-lock.ts';
import { LocalServerError } from './errors.ts';
import { brokerProperties, loggingProperties, type BrokerConfig } from './kafka-config.ts';
import { answersMetadata } from './kafka-probe.ts';
import { freePort, loopback, requirePort } from './ports.ts';
import { compiledLauncher, kafkaJars, type Report, requireJava } from './prerequisites.ts';
import { runProgram } from './program.ts';
import { type Death, type LocalServer, startServerProcess } from './server-process.ts';

export interface KafkaOptions {
  /** Kept in `<dataDir>/kafka`. */
  dataDir: string;
  /** Port of the broker on 127.0.0.1; 0 picks a free one. */
  port: number;
  /** Where the downloaded jars are kept. @default `.cache` beside package.json */
  cacheDir?: string | undefined;
  report?: Report | undefined;
  /** More lines of server.properties, which win over ours: other listeners, for tests. */
  moreProperties?: ((config: BrokerConfig) => string) | undefined;
  /** More arguments of `kafka-storage format`, which gives an empty data folder its users, for tests. */
  formatArguments?: readonly string[] | undefined;
}

export interface KafkaServer extends LocalServer {
  /** "127.0.0.1:9092" */
  brokers: string;
}

/** The programs and files out of which a broker is started. */
interface KafkaInstallation {
  launcher: string;
  jars: string;
  /** See `archiveArguments`. */
  archive: string;
}

const heap = ['-Xms256m', '-Xmx1g', '-XX:+UseG1GC'];

/**
 * A Kafka broker (KRaft, one node) on 127.0.0.1 as a process of its own; the same data folder and port may be started
 * again after `stop()` or a crash.
 * @throws LocalServerError any of its codes but that of the ClickHouse library
 */
export async function startKafka(options: KafkaOptions): Promise<KafkaServer> {
  const installation = await install(
    options.cacheDir ?? defaultCacheDir(),
    options.report ?? (() => undefined),
  );
  const folder = resolve(options.dataDir, 'kafka');
  const lock = await DataDirLock.take(folder);
  try {
    const port = await requirePort('kafka', options.port);
    const logPath = join(folder, 'server.log');
    await writeConfig(folder, logPath, port, options.moreProperties);
    await format(folder, installation, options.formatArguments ?? []);
    const archiving = archiveArguments(installation.archive, folder);
    const server = await startServerProcess({
      name: 'kafka',
      program: installation.launcher,
      programArguments: javaArguments(installation, folder, [
        ...heap,
        ...archiving.javaArguments,
        'kafka.Kafka',
        join(folder, 'server.properties'),
      ]),
      folder,
      port,
      lock,
      consolePath: join(folder, 'console.log'),
      logPath,
      answers: () => answersMetadata(port),
      afterExit: archiving.afterExit,
    });
    return { ...server, brokers: `${loopback}:${port}` };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** The launcher's arguments for a Java process; `more` is JVM options, the main class and its arguments. */
function javaArguments(installation: KafkaInstallation, folder: string, more: string[]): string[] {
  const logging = `-Dlog4j2.configurationFile=${join(folder, 'log4j2.properties')}`;
  return ['run', String(process.pid), 'java', '-cp', join(installation.jars, '*'), logging, ...more];
}

async function install(cacheDir: string, report: Report): Promise<KafkaInstallation> {
  const javaVersion = await requireJava();
  const jars = await kafkaJars(cacheDir, report);
  const launcher = await compiledLauncher(cacheDir, report);
  return { launcher, jars, archive: `${jars}-java-${contentKey(javaVersion, jars)}.jsa` };
}

async function writeConfig(
  folder: string,
  logPath: string,
  port: number,
  moreProperties: KafkaOptions['moreProperties'],
): Promise<void> {
  const dataPath = join(folder, 'data');
  await mkdir(dataPath, { recursive: true });
  const controllerPort = await freePort([port]);
  const config = { port, controllerPort, dataPath };
  const properties = brokerProperties(config) + (moreProperties?.(config) ?? '');
  await writeFile(join(folder, 'server.properties'), properties);
  await writeFile(join(folder, 'log4j2.properties'), loggingProperties(logPath));
}

/** 16 random bytes as Kafka writes them; an id that starts with a dash would be taken for an option. */
function newClusterId(): string {
  const id = Buffer.from(randomUUID().replaceAll('-', ''), 'hex').toString('base64url');
  return id.startsWith('-') ? newClusterId() : id;
}

/** Gives an empty data folder its cluster id; one that has it keeps it. */
async function format(
  folder: string,
  installation: KafkaInstallation,
  more: readonly string[],
): Promise<void> {
  if (existsSync(join(folder, 'data', 'meta.properties'))) return;
  const shared = existsSync(installation.archive) ? [`-XX:SharedArchiveFile=${installation.archive}`] : [];
  const properties = join(folder, 'server.properties');
  const formatting = ['format', '--ignore-formatted', '-t', newClusterId(), '-c', properties, ...more];
  const result = await runProgram(
    installation.launcher,
    javaArguments(installation, folder, ['-Xmx256m', ...shared, 'kafka.tools.StorageTool', ...formatting]),
  );
  if (result?.exitCode === 0) return;
  throw new LocalServerError(
    'LOCAL_SERVER_DIED',
    `the data folder of kafka cannot be formatted:\n${result?.output.trim().slice(-2000) ?? ''}`,
  );
}

/**
 * The classes of a broker, loaded and verified once, as an archive that later Java processes map into memory: it halves
 * the time and the CPU of a start (2.4 s and 4.2 CPU seconds become 1.1 and 2.1 on two cores), which tests that start
 * brokers again and again feel. The first broker that ends cleanly writes it, three seconds long. An archive that does
 * not fit the Java in use is ignored by it.
 */
function archiveArguments(
  archive: string,
  folder: string,
): {
  javaArguments: string[];
  afterExit: (death: Death) => Promise<void>;
} {
  if (existsSync(archive)) {
    return {
      javaArguments: [`-XX:SharedArchiveFile=${archive}`, '-Xshare:auto'],
      afterExit: () => Promise.resolve(),
    };
  }
  // In the data folder, where what a broken-off ending left is overwritten and does not pile up.
  const written = join(folder, 'classes.jsa');
  return {
    javaArguments: [`-XX:ArchiveClassesAtExit=${written}`, '-Xlog:cds=off', '-Xlog:cds+dynamic=off'],
    afterExit: async (death) => {
      // 143: ended by SIGTERM in an orderly way. A broker that was killed may have written half an archive.
      if (death.code === 143 && existsSync(written)) {
        const partial = `${archive}.partial-${randomUUID()}`;
        await copyFile(written, partial);
        await rename(partial, archive);
      }
      await rm(written, { force: true });
    },
  };
}
