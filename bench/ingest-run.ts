import type { BenchServers } from './bench-servers.ts';
import { BOTH_TABLES, type CallStore } from './call-store.ts';
import type { StartCost } from './cdrhouse-competitor.ts';
import { runCdrhouse } from './cdrhouse-run.ts';
import type { Competitor, Finished, Place } from './competitor.ts';
import type { EndStates } from './end-state.ts';
import { insertBatches } from './floor.ts';
import { makeTopic, type SentCase } from './ingest-cases.ts';
import { cpuSeconds } from './process-usage.ts';
import type { Check } from './result.ts';

export const FLOOR = 'floor: same blocks from files';
/** Nothing is merged, so that what is left to do behind an insert is little. */
const INSERTED_QUIET_SECONDS = 1;

/** What one competitor used in one round of a case; CPU and wall in seconds. */
export interface Measured {
  readonly who: string;
  readonly case: string;
  /** From 1. */
  readonly round: number;
  readonly records: number;
  /** Wall, as `Finished` has it. */
  readonly seconds: number;
  /** CPU of its own programs, without what starting and ending them costs. */
  readonly program: number;
  /** Until it was idle again, while nothing was merged. */
  readonly clickhouse: number;
  /** Of ClickHouse, for writing every record anew once: all parts of a month into one. */
  readonly merges: number;
  readonly broker: number;
  readonly peakBytes: number;
  /** Parts of its tables as they were inserted. */
  readonly parts: number;
  readonly check: Check;
}

/**
 * Counts what work costs in databases of its own, beside a quiet server. Which parts ClickHouse merges by itself within
 * minutes is luck and would decide everything (decision 0026): it merges nothing meanwhile, and then all.
 */
export class IngestRuns {
  readonly #bench: BenchServers;
  readonly #states: EndStates;
  #databases = 0;

  constructor(bench: BenchServers, states: EndStates) {
    this.#bench = bench;
    this.#states = states;
  }

  competitor(sent: SentCase, round: number, competitor: Competitor): Promise<Measured> {
    return this.#measure(sent, round, competitor.name, competitor.store, (place) => competitor.run(place));
  }

  /** The blocks that cdrhouse makes of the same records, inserted from files. */
  floor(sent: SentCase, round: number): Promise<Measured> {
    return this.#measure(sent, round, FLOOR, BOTH_TABLES, async ({ bench, database }) => ({
      seconds: await insertBatches(bench.database, database, sent.blocks),
      cpuSeconds: 0,
      peakBytes: 0,
      stop: () => Promise.resolve(),
    }));
  }

  async #measure(
    { of, topic, facts }: SentCase,
    round: number,
    who: string,
    store: CallStore,
    work: (place: Place) => Promise<Finished>,
  ): Promise<Measured> {
    const { database, servers } = this.#bench;
    const name = `bench_${++this.#databases}`;
    const format = of.workload.format ?? 'canonical-csv';
    const place: Place = { bench: this.#bench, topic, format, database: name, calls: facts.rows.cdr };
    await store.prepare(place);
    await database.mergeNothing(name, store.tables);
    try {
      // The run before has ended quietly.
      await database.quiet(0.5);
      const brokerBefore = cpuSeconds(servers.pids.kafka);
      const before = database.cpuSeconds;
      const finished = await work(place);
      const broker = cpuSeconds(servers.pids.kafka) - brokerBefore;
      await database.quiet(INSERTED_QUIET_SECONDS);
      const clickhouse = database.cpuSeconds - before;
      await finished.stop();
      const parts = await database.parts(name, store.tables);
      const merges = await database.mergeAll(name, store.tables);
      return {
        who,
        case: of.name,
        round,
        records: facts.records,
        seconds: finished.seconds,
        program: finished.cpuSeconds,
        clickhouse,
        merges,
        broker,
        peakBytes: finished.peakBytes,
        parts,
        check: await this.#states.check({ name: of.name, topic }, who, store, place, facts.rows),
      };
    } finally {
      await database.statement(`DROP DATABASE ${name} SYNC`);
    }
  }
}

/** A run with nothing to read. */
export async function measureStart(bench: BenchServers): Promise<StartCost> {
  const place = { database: 'bench_start', topic: 'empty' };
  await makeTopic(bench, place.topic);
  await runCdrhouse(bench, place, 'migrate');
  const { seconds, cpuSeconds: used } = await runCdrhouse(bench, place, 'ingest', '--until-idle');
  await bench.database.statement(`DROP DATABASE ${place.database} SYNC`);
  return { seconds, cpuSeconds: used };
}

/** Rates and CPU are those of one record. */
export function microseconds({ records }: Measured, seconds: number): number {
  return (seconds / records) * 1e6;
}

/** CPU of program and database until all is stored, seconds. */
export function cpuToStored({ program, clickhouse }: Measured): number {
  return program + clickhouse;
}

/** The same until it is stored as it stays: each month merged to one part. */
export function cpuToMerged(one: Measured): number {
  return cpuToStored(one) + one.merges;
}
