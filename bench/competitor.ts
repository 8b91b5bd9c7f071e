import { setTimeout as sleep } from 'node:timers/promises';
import type { BenchServers } from './bench-servers.ts';
import type { CallStore } from './call-store.ts';
import type { LineFormat } from './workload.ts';

/** Each look costs the broker a little, which is counted with what the competitor has it do. */
const LOOK_MS = 100;
const STALLED_MS = 120_000;

/** What a competitor reads, and where it stores it. */
export interface Place {
  readonly bench: BenchServers;
  readonly topic: string;
  readonly format: LineFormat;
  /** The ClickHouse database, which has the tables of the competitor's store; also the consumer group. */
  readonly database: string;
  /** Rows that `cdr` must have in the end, at least. */
  readonly calls: number;
  /** A batch that holds no more records than this, where batches are to be small. @default what is best for speed */
  readonly batchRecords?: number;
  /** After which Kafka gives up its consumer that says nothing, where its program can be told. @default 45 s, Kafka's own */
  readonly sessionMs?: number;
}

/** A competitor at work. */
export interface Reading {
  /** False once its program has ended by itself; where the database reads, it is always true. */
  isRunning(): boolean;
  /** Ends its program with `kill -9`. Does nothing where the database reads: `BenchServers.killClickhouse` ends that. */
  kill(): Promise<void>;
  stop(): Promise<void>;
  /** What it said last, for whoever wonders why it does not go on; empty: nothing. */
  lastWords(): Promise<string>;
}

/** What reading a whole topic took. */
export interface Finished {
  /** Wall, from the moment on at which it had its partitions until it had committed all of them. */
  readonly seconds: number;
  /** Of its programs beside the database, without what starting and ending them costs. */
  readonly cpuSeconds: number;
  readonly peakBytes: number;
  /** Ends what is still waiting for more. */
  stop(): Promise<void>;
}

/** One way from a topic into a database, as the benches run and judge it. */
export interface Competitor {
  /** As results name it: `cdrhouse, 2 processes`. */
  readonly name: string;
  /** What decides its cost and what it guarantees, in one line for the reader of the report. */
  readonly settings: string;
  readonly store: CallStore;
  /** For so long, at most, it waits for more before it stores what it has; undefined: only whoever wrote it knows. */
  readonly flushIntervalMs?: number;
  /** Its session timeout is its own, whatever `Place.sessionMs` says: Kafka's default. */
  readonly keepsSession?: boolean;
  /** What is killed where it is killed: its own program, or ClickHouse, which reads Kafka itself. */
  readonly runsIn: 'program' | 'ClickHouse';
  /** Begins to read, and goes on until it is stopped. Resolves when it is ready. */
  start(place: Place): Promise<Reading>;
  /** Reads the topic to its end. Throws where it does not get there. */
  run(place: Place): Promise<Finished>;
  /** What is not stored yet: messages that its group has not committed, or calls where it has no group that can be asked. */
  left(place: Place): Promise<number>;
}

/** Messages of the topic that the group with the database's name has not committed. */
export function uncommitted({ bench, database, topic }: Place): Promise<number> {
  return bench.offsets.left(database, topic);
}

/** Waits until nothing is left. Throws where nothing changes for two minutes. */
export async function untilRead(competitor: Competitor, place: Place): Promise<void> {
  let before = Infinity;
  let changedAt = performance.now();
  for (;;) {
    const left = await competitor.left(place);
    if (left === 0) return;
    if (left !== before) changedAt = performance.now();
    before = left;
    if (performance.now() - changedAt > STALLED_MS)
      throw new Error(`${competitor.name} does not get through ${place.topic}: ${left} are left`);
    await sleep(LOOK_MS);
  }
}
