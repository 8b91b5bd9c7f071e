import { setTimeout as sleep } from 'node:timers/promises';
import { STORED_SETTINGS } from '../../schemas/migrations.ts';
import { BOTH_TABLES, ONE_TABLE } from '../call-store.ts';
import { uncommitted, untilRead, type Competitor, type Place, type Reading } from '../competitor.ts';
import { equalWorkStatements, oneTableStatements, type EngineTable } from './kafka-engine-sql.ts';

/** Rows of a block; larger than the default of 65,505, which makes more and smaller parts. */
const BLOCK_ROWS = 262_144;

/** Default of `stream_flush_interval_ms`, which decides where `kafka_flush_interval_ms` is not set. */
const FLUSH_INTERVAL_MS = 7500;

/**
 * Where a topic is read to its end and no more: after ten polls that bring nothing a block is flushed, by default after 5 s. Waiting
 * for it would make the engine slower than it is.
 */
const POLL_MS_TO_END = 25;

const ASSIGNED_LOOK_MS = 20;
const ASSIGNED_LOOKS_MAX = 3000;

/** How the engine reads. */
type Reads = Pick<EngineTable, 'consumers' | 'flushIntervalMs' | 'pollMs'>;

function tableOf({ bench, database, topic, batchRecords }: Place, reads: Reads): EngineTable {
  return {
    ...reads,
    database,
    topic,
    brokers: bench.servers.kafka,
    blockRows: batchRecords ?? BLOCK_ROWS,
  };
}

/** Waits until Kafka has given its first consumer partitions: what all are timed from. Throws after a minute. */
async function untilAssigned({ bench, database }: Place): Promise<void> {
  for (let look = 0; look < ASSIGNED_LOOKS_MAX; look++) {
    const [found] = await bench.database.rows<{ assigned: number }>(
      `SELECT countIf(notEmpty(assignments.partition_id)) AS assigned FROM system.kafka_consumers WHERE database = '${database}'`,
    );
    if (found!.assigned > 0) return;
    await sleep(ASSIGNED_LOOK_MS);
  }
  throw new Error(`the Kafka engine of ${database} gets no partitions`);
}

/** A competitor whose work ClickHouse does by itself, once these statements have made its tables and views. */
function engine(
  about: Pick<Competitor, 'name' | 'settings' | 'store'>,
  reads: Reads,
  statementsOf: (place: Place, table: EngineTable) => Promise<readonly string[]>,
): Competitor {
  const start = async (place: Place, pollMs?: number): Promise<Reading> => {
    const { bench, database } = place;
    const table = tableOf(place, pollMs === undefined ? reads : { ...reads, pollMs });
    for (const statement of await statementsOf(place, table)) await bench.database.statement(statement);
    await untilAssigned(place);
    return {
      isRunning: () => true,
      kill: () => Promise.resolve(),
      lastWords: async () => {
        const [last] = await bench.database.rows<{ text: string }>(
          `SELECT exceptions.text[-1] AS text FROM system.kafka_consumers
           WHERE database = '${database}' ORDER BY exceptions.time[-1] DESC LIMIT 1`,
        );
        return last?.text ?? '';
      },
      // Outside of what is counted: dropping a view that has just read spins for seconds. Until then an idle Kafka table
      // uses about 1 % of a core.
      stop: async () => {
        await bench.database.statement(`DROP VIEW ${database}.peer_reader SYNC`);
        await bench.database.statement(`DROP TABLE ${database}.peer_kafka SYNC`);
      },
    };
  };
  return {
    ...about,
    flushIntervalMs: reads.flushIntervalMs,
    runsIn: 'ClickHouse',
    start: (place) => start(place),
    async run(place) {
      const reading = await start(place, POLL_MS_TO_END);
      const began = performance.now();
      await untilRead(this, place);
      const seconds = (performance.now() - began) / 1000;
      return { seconds, cpuSeconds: 0, peakBytes: 0, stop: () => reading.stop() };
    },
    left: uncommitted,
  };
}

/**
 * The peer: ClickHouse's own Kafka table engine with materialized views, which do the work that cdrhouse does for this
 * feed: both call tables with the same columns and engine settings, ordered number keys, a keyed hash as record key,
 * unreadable messages aside into the dead letters. Less than cdrhouse it keeps no ledger and judges no times.
 * @param consumers `kafka_num_consumers`
 * @param flushIntervalMs `kafka_flush_interval_ms`
 */
export function kafkaEngine(consumers: number, flushIntervalMs: number = FLUSH_INTERVAL_MS): Competitor {
  return engine(
    {
      name: `Kafka engine, ${consumers} consumer${consumers === 1 ? '' : 's'}`,
      settings:
        `views into both tables with number keys and record keys, rejects aside; no ledger, no time sanity; blocks of up to ` +
        `${BLOCK_ROWS} rows, flushed after ${flushIntervalMs} ms, and sooner at the end of a topic where one is read to its end`,
      store: BOTH_TABLES,
    },
    { consumers, flushIntervalMs },
    async (place, table) => {
      const [identity] = await place.bench.database.rows<{ value: string }>(
        `SELECT value FROM ${place.database}.settings FINAL WHERE name = '${STORED_SETTINGS.identityKey}'`,
      );
      const identityKey = Buffer.from(identity!.value, 'hex');
      return equalWorkStatements(table, place.format, identityKey);
    },
  );
}

/**
 * The engine as its manual shows it, the least that stores calls: typed columns, one view into one table; no keys, nothing aside.
 * @param skips `kafka_skip_broken_messages`, with which it goes on where it would stand still
 */
export function oneTableKafkaEngine(consumers: number, skips = false): Competitor {
  return engine(
    {
      name: `Kafka engine, one table, ${consumers} consumer${consumers === 1 ? '' : 's'}${skips ? ', skips what it cannot read' : ''}`,
      settings:
        `typed columns, one view into one table; no keys, nothing aside, ${skips ? 'kafka_skip_broken_messages' : 'errors as by default'}; blocks of up to ` +
        `${BLOCK_ROWS} rows, flushed after ${FLUSH_INTERVAL_MS} ms, and sooner at the end of a topic where one is read to its end`,
      store: ONE_TABLE,
    },
    { consumers, flushIntervalMs: FLUSH_INTERVAL_MS },
    (_place, table) => Promise.resolve(oneTableStatements(table, skips)),
  );
}
