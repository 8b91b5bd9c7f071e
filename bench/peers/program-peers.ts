import { fileURLToPath } from 'node:url';
import { ONE_TABLE } from '../call-store.ts';
import { uncommitted, untilRead, type Competitor, type Place } from '../competitor.ts';
import { Program, spawnGroup } from '../program.ts';

const NAIVE_NODE = fileURLToPath(new URL('./naive-node.js', import.meta.url));
/** What `naive-node.ts` prints when it has its partitions. */
const READY = 'assigned';

/** Its program, once it is ready to read. */
type StartProgram = (place: Place) => Promise<Program>;

/** Reads to the end with a program that does not end by itself; what it used before it was ready does not count. */
function runWith(
  start: StartProgram,
): (competitor: Competitor, place: Place) => ReturnType<Competitor['run']> {
  return async (competitor, place) => {
    const program = await start(place);
    try {
      const began = performance.now();
      const before = program.usage();
      await untilRead(competitor, place);
      const seconds = (performance.now() - began) / 1000;
      const { cpuSeconds, peakBytes } = program.usage();
      return { seconds, cpuSeconds: cpuSeconds - before.cpuSeconds, peakBytes, stop: () => program.stop() };
    } catch (error) {
      await program.stop();
      throw error;
    }
  };
}

/**
 * What people write first (`naive-node.ts`), as a process of its own.
 * @param skips it goes on where ClickHouse refuses a row, and would otherwise end and be started again for ever
 */
export function naiveNode(skips = false): Competitor {
  const start: StartProgram = async ({ bench, topic, database, batchRecords, sessionMs }) => {
    const { kafka, clickhouse } = bench.servers;
    const small = batchRecords === undefined ? [] : ['--batch-records', String(batchRecords)];
    const places = ['--brokers', kafka, '--topic', topic, '--clickhouse', clickhouse, '--database', database];
    const session = sessionMs === undefined ? [] : ['--session-timeout-ms', String(sessionMs)];
    const commandLine = [NAIVE_NODE, ...places, ...small, ...session, ...(skips ? ['--skip-refused'] : [])];
    const program = new Program(spawnGroup(process.execPath, commandLine, { cwd: bench.folder }));
    await program.printed(READY);
    return program;
  };
  const run = runWith(start);
  return {
    name: `naive Node consumer, one table${skips ? ', skips what is refused' : ''}`,
    settings:
      'one table; node-rdkafka, fast-csv on the main thread, one JSONEachRow insert a batch of up to 50,000 records or 1 s, ' +
      `offsets committed after it${skips ? '; input_format_allow_errors_ratio = 1' : ''}`,
    store: ONE_TABLE,
    flushIntervalMs: 1000,
    runsIn: 'program',
    start,
    run(place) {
      return run(this, place);
    },
    left: uncommitted,
  };
}

/** A tool of somebody else. */
export interface OutsideTool {
  readonly name: string;
  /** For the shell, with {brokers}, {topic}, {group}, {clickhouse} and {database} in it. */
  readonly command: string;
  /** Where the calls are in the end, in the database that it is given. */
  readonly table: string;
}

/**
 * A tool of somebody else, in the slot that docs/performance.md describes. It finds a database with the table `cdr` of
 * `ONE_TABLE`, and may make others. It is done when its table has as many rows as there are calls.
 */
export function outsideTool({ name, command, table }: OutsideTool): Competitor {
  const start: StartProgram = ({ bench, topic, database }) => {
    const values: Readonly<Record<string, string>> = {
      brokers: bench.servers.kafka,
      clickhouse: bench.servers.clickhouse,
      group: database,
      topic,
      database,
    };
    const filled = command.replaceAll(/\{([a-z]+)\}/g, (place, value: string) => values[value] ?? place);
    return Promise.resolve(new Program(spawnGroup('sh', ['-c', filled], {})));
  };
  const run = runWith(start);
  return {
    name,
    settings: `outside tool, CPU with its start: ${command}`,
    store: { ...ONE_TABLE, tables: [table], oneRow: { [table]: '1' } },
    keepsSession: true,
    runsIn: 'program',
    start,
    run(place) {
      return run(this, place);
    },
    left: async ({ bench, database, calls }) => {
      const [existing] = await bench.database.rows<{ rows: number | null }>(
        `SELECT total_rows AS rows FROM system.tables WHERE database = '${database}' AND name = '${table}'`,
      );
      return Math.max(0, calls - (existing?.rows ?? 0));
    },
  };
}
