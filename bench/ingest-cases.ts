import type { BenchServers } from './bench-servers.ts';
import { cdrhouse, type StartCost } from './cdrhouse-competitor.ts';
import { runCdrhouse } from './cdrhouse-run.ts';
import type { Competitor } from './competitor.ts';
import { kafkaEngine, oneTableKafkaEngine } from './peers/kafka-engine.ts';
import { naiveNode, outsideTool, type OutsideTool } from './peers/program-peers.ts';
import { captureBlocks, type CapturedBatch } from './floor.ts';
import {
  sendWorkload,
  Workload,
  type Packing,
  type WorkloadFacts,
  type WorkloadOptions,
} from './workload.ts';

/** One kind of input. */
export interface IngestCase {
  readonly name: 'packed' | 'single' | 'asterisk' | 'dedup';
  readonly packing: Packing;
  readonly workload: WorkloadOptions;
  readonly about: string;
}

export const INGEST_CASES: readonly IngestCase[] = [
  {
    name: 'packed',
    packing: 'packed',
    workload: {},
    about: 'canonical-csv, messages of 64 KiB as ship packs them',
  },
  {
    name: 'single',
    packing: 'single',
    workload: {},
    about: 'canonical-csv, one record a message',
  },
  {
    name: 'asterisk',
    packing: 'packed',
    workload: { format: 'asterisk-csv' },
    about: 'asterisk-csv of 21 columns, packed',
  },
  {
    name: 'dedup',
    packing: 'packed',
    workload: { duplicates: 0.1 },
    about: 'canonical-csv, packed, one record of ten was sent before',
  },
];

/** A competitor in a case. */
export interface Entry {
  readonly competitor: Competitor;
  /** In each round, or in the first one only: what no threshold needs often. */
  readonly rounds: 'all' | 'first';
  /** All records of the case, or a fifth of them: where no threshold needs many. */
  readonly records: 'all' | 'few';
}

const all = (competitor: Competitor): Entry => ({ competitor, rounds: 'all', records: 'all' });
const once = (competitor: Competitor): Entry => ({ competitor, rounds: 'first', records: 'all' });
const briefly = (competitor: Competitor): Entry => ({ competitor, rounds: 'first', records: 'few' });

/** The cases in which all competitors run: the others need a reading of other lines, or keys. */
const FULL_CASES: ReadonlySet<string> = new Set(['packed', 'single']);

/** Who runs in a case, in the order in which they do. The first competitor is cdrhouse with one process. */
export function entriesOf(
  { name }: IngestCase,
  startCost: StartCost,
  outside: OutsideTool | undefined,
  profileFolder: string | undefined,
): readonly Entry[] {
  const ours = (processes: number): Competitor => cdrhouse(processes, startCost, profileFolder);
  if (!FULL_CASES.has(name)) return [once(ours(1)), once(kafkaEngine(1))];
  return [
    all(ours(1)),
    once(ours(2)),
    all(kafkaEngine(1)),
    once(kafkaEngine(2)),
    once(oneTableKafkaEngine(1)),
    once(oneTableKafkaEngine(2)),
    briefly(naiveNode()),
    ...(outside === undefined ? [] : [all(outsideTool(outside))]),
  ];
}

/** A case whose records are in Kafka. */
export interface SentCase {
  readonly of: IngestCase;
  readonly topic: string;
  readonly facts: WorkloadFacts;
  readonly messages: number;
  /** The same records encoded, in files: what the floor inserts. Of the case `packed` only. */
  readonly blocks: readonly CapturedBatch[];
  /** The same kind of records, a fifth as many, in another topic; undefined where nobody needs it. */
  readonly few: SentCase | undefined;
}

const FEW = 5;

/** Workloads by what they are: cases that send the same records in other messages share them. */
export class Workloads {
  readonly #made = new Map<string, Workload>();

  of(records: number, days: number, options: WorkloadOptions): Workload {
    const key = JSON.stringify([records, days, options]);
    const made = this.#made.get(key) ?? new Workload(records, days, options);
    this.#made.set(key, made);
    return made;
  }
}

/** Makes topics as cdrhouse does, and sends the records of a case. */
export async function sendCase(
  bench: BenchServers,
  workloads: Workloads,
  of: IngestCase,
  records: number,
  days: number,
  topic: string = of.name,
): Promise<SentCase> {
  await makeTopic(bench, topic);
  const workload = workloads.of(records, days, of.workload);
  const messages = await sendWorkload(workload, of.packing, bench.servers.kafka, topic);
  const isWhole = topic === of.name;
  return {
    of,
    topic,
    facts: workload.facts(),
    messages,
    blocks: isWhole && of.name === 'packed' ? captureBlocks(bench, workload) : [],
    few:
      isWhole && FULL_CASES.has(of.name)
        ? await sendCase(bench, workloads, of, Math.ceil(records / FEW), days, `${of.name}-few`)
        : undefined,
  };
}

/** A topic with the partitions that `migrate` gives it. */
export async function makeTopic(bench: BenchServers, topic: string): Promise<void> {
  await runCdrhouse(bench, { database: 'bench_topics', topic }, 'migrate');
  await bench.database.statement('DROP DATABASE bench_topics SYNC');
}
