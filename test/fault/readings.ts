/**
 * What the tests of changed readings share: one topic whose records are read differently under each variant of the
 * feed's settings, what reading all of it once under a variant gives, and the verdict.
 */
import type { Test } from 'tap';
import { SESSION, type Installation } from '../cdrhouse-program.ts';
import type { TestServers } from '../test-servers.ts';
import { ClickhouseProxy, type Exchange, type Hold, insertsInto } from './clickhouse-proxy.ts';
import { badLine, house, judgeTables, readAll, startIngest, storedCalls } from './harness.ts';
import { createTopic, Sender, type Sent } from './topic.ts';

/** A feed as cdrhouse.yaml has it, without its topic. */
export type Variant = Readonly<Record<string, string>>;

/** Settings of the feed before a change, and after one of zone, country and what is accepted. */
export const OLD: Variant = {
  name: 'pbx',
  time_zone: 'UTC',
  country: 'FR',
  earliest_start: '2025-03-15',
};
export const NEW: Variant = {
  name: 'pbx',
  time_zone: 'America/New_York',
  country: 'DE',
  earliest_start: '2025-01-01',
};

export const PARTITIONS = 2;
/** Messages of each partition. */
const MESSAGES = 120;
const LINES = 5;
/** As short as the broker allows: it is waited out where settings have changed. */

/** Local times and national numbers, all different; each tenth record is rejected by any reading. */
export function lines(prefix: string, message: number): Buffer {
  const parts: Buffer[] = [];
  for (let line = 0; line < LINES; line++) {
    const index = message * LINES + line;
    const month = 1 + (index % 12);
    const start = `2025-${String(month).padStart(2, '0')}-11T${String(index % 24).padStart(2, '0')}:15:${String(index % 60).padStart(2, '0')}`;
    parts.push(
      index % 10 === 3
        ? badLine(index * 5)
        : Buffer.from(
            `01990000${String(index % 50).padStart(2, '0')},01990001${String(index % 7).padStart(2, '0')},0199000299,${start},${1 + index},${index},${prefix}-${index},answered,`,
          ),
    );
  }
  return Buffer.concat(parts.flatMap((part) => [part, Buffer.from('\n')]));
}

export function messages(prefix: string, count: number): Sent[] {
  return Array.from({ length: PARTITIONS * count }, (_, index) => ({
    partition: index % PARTITIONS,
    value: lines(prefix, index),
  }));
}

/** What the tables hold, as comparable texts. */
export interface Snapshot {
  readonly calls: readonly string[];
  readonly byNumber: readonly string[];
  readonly deadLetters: readonly string[];
}

const SHARED = `start_at, calling_number, displayed_caller_id, dialed_number, duration_ms, talk_ms, outcome, direction,
  account, call_id, feed, source_partition, source_offset, source_line`;

/** All that is read of the tables, but for the keys, which each database makes with a secret of its own. */
export async function snapshot(installation: Installation): Promise<Snapshot> {
  const texts = async (query: string): Promise<string[]> =>
    (await installation.rows<object>(query)).map((row) => JSON.stringify(row)).sort();
  return {
    calls: await texts(`SELECT ${SHARED} FROM {db}.cdr FINAL`),
    byNumber: await texts(`SELECT role, ${SHARED} FROM {db}.cdr_by_number FINAL`),
    deadLetters: await texts(
      `SELECT feed, partition AS source_partition, offset AS source_offset, line, code, field, hex(raw) AS bytes
       FROM (SELECT * FROM {db}.dead_letters FINAL) AS letters
       LEFT JOIN (SELECT topic, topic_id, partition, offset, line, marked_at FROM {db}.dead_letter_marks FINAL) AS marks
       USING (topic, topic_id, partition, offset, line)
       WHERE letters.rejected_at >= marks.marked_at`,
    ),
  };
}

/** Of each partition, the offset at which reading went on under other settings. */
export type Bounds = ReadonlyMap<number, number>;

/** What stands below the bounds in one snapshot, and from there on in the other. */
export function joined(below: Snapshot, above: Snapshot, bounds: Bounds): Snapshot {
  const isBelow = (text: string): boolean => {
    const { source_partition, source_offset } = JSON.parse(text) as {
      source_partition: number;
      source_offset: string;
    };
    return Number(source_offset) < (bounds.get(source_partition) ?? 0);
  };
  const join = (of: keyof Snapshot): string[] =>
    [...below[of].filter((text) => isBelow(text)), ...above[of].filter((text) => !isBelow(text))].sort();
  return { calls: join('calls'), byNumber: join('byNumber'), deadLetters: join('deadLetters') };
}

/** Where the ledger ends in each partition. */
export async function ledgerEnds(installation: Installation): Promise<Map<number, number>> {
  const rows = await installation.rows<{ partition: number; end: string }>(
    `SELECT partition, argMax(next_offset, (generation, next_offset)) AS end FROM {db}.ingest_ledger FINAL GROUP BY partition`,
  );
  return new Map(rows.map(({ partition, end }) => [partition, Number(end)]));
}

/** A topic full of records, and installations that read it. */
export class Readings {
  readonly topic: string;
  readonly #servers: TestServers;
  readonly #references = new Map<string, Promise<Snapshot>>();
  #runs = 0;

  private constructor(servers: TestServers, topic: string) {
    this.#servers = servers;
    this.topic = topic;
  }

  static async fill(t: Test, servers: TestServers): Promise<Readings> {
    const readings = new Readings(servers, `${servers.databases[0]}.shared`);
    await createTopic(servers.kafka, readings.topic, { partitions: PARTITIONS });
    const sender = await Sender.connect(t, servers.kafka);
    await sender.send(readings.topic, messages('shared', MESSAGES));
    return readings;
  }

  /** An installation with a database and a group that nobody had before. */
  async installation(t: Test, databaseIndex: number, variant: Variant): Promise<Installation> {
    const servers = this.#servers;
    const database = servers.databases[databaseIndex]!;
    await fetch(servers.clickhouse, { method: 'POST', body: `DROP DATABASE IF EXISTS ${database} SYNC` });
    return house(t, servers, databaseIndex, {
      settings: { feeds: [{ ...variant, topic: this.topic }], kafka: { client: SESSION } },
      environment: { CDRHOUSE_KAFKA_GROUP: `${database}-${this.#runs++}` },
    });
  }

  /** What reading the whole topic once under this variant gives. */
  reference(t: Test, variant: Variant): Promise<Snapshot> {
    const name = JSON.stringify(variant);
    const known = this.#references.get(name) ?? this.#read(t, variant);
    this.#references.set(name, known);
    return known;
  }

  async #read(t: Test, variant: Variant): Promise<Snapshot> {
    const installation = await this.installation(t, 1, variant);
    await readAll(installation);
    return snapshot(installation);
  }
}

/** Gives the feed other settings, for the programs that start from now on. */
export function change(installation: Installation, topic: string, variant: Variant): void {
  installation.environment['CDRHOUSE_CONFIG'] = installation.write(
    `${Object.values(variant).join('-').replaceAll('/', '-')}.json`,
    JSON.stringify({ feeds: [{ ...variant, topic }], kafka: { client: SESSION } }),
  );
}

/** Markers of a correction in a table. */
export function markersInto(table: string): (exchange: Exchange) => boolean {
  return (exchange) => exchange.table === table && / FINAL /.test(exchange.statement);
}

/** Starts ingest behind a proxy, kills it where it stands at a point, and gives what it left unfinished. */
export async function killedAt(
  t: Test,
  servers: TestServers,
  installation: Installation,
  hold: (proxy: ClickhouseProxy) => Hold,
): Promise<Bounds> {
  const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
  const held = hold(proxy);
  const ingest = startIngest(t, installation);
  const ended = ingest.ended.then(({ stderr }) => {
    throw new Error(`ingest ended by itself:\n${stderr}`);
  });
  await Promise.race([held.reached, ended]);
  ended.catch(() => undefined);
  ingest.child.kill('SIGKILL');
  await ingest.ended;
  await held.release();
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = servers.clickhouse;
  return ledgerEnds(installation);
}

/** A point between the inserts of a batch and its ledger row, when `batches` are in the ledger. */
export const beforeLedger =
  (batches: number) =>
  (proxy: ClickhouseProxy): Hold =>
    proxy.hold('before', (exchange) => proxy.batches >= batches && insertsInto('ingest_ledger')(exchange));

/** The tables hold this and nothing else, they agree, and the audit has nothing to say. */
export async function verdict(t: Test, installation: Installation, expected: Snapshot): Promise<void> {
  const found = await snapshot(installation);
  for (const of of ['calls', 'byNumber', 'deadLetters'] as const) {
    t.equal(new Set(found[of]).size, found[of].length, `${of}: nothing twice`);
    const [wanted, there] = [new Set(expected[of]), new Set(found[of])];
    t.strictSame([...wanted].filter((text) => !there.has(text)).slice(0, 3), [], `${of}: nothing is lost`);
    t.strictSame([...there].filter((text) => !wanted.has(text)).slice(0, 3), [], `${of}: nothing of the old`);
  }
  await judgeTables(t, installation);
  const audit = await installation.run('audit', '--strict', '--json');
  t.match(audit, { code: 0 }, `the audit is clean: ${audit.code === 0 ? '' : audit.stdout}`);
}

/** Killed with rows of the old reading beyond the ledger, started again under another one: judged by both. */
export async function changedAfterCrash(
  t: Test,
  servers: TestServers,
  readings: Readings,
  before: Variant,
  after: Variant,
): Promise<void> {
  const [old, now] = [await readings.reference(t, before), await readings.reference(t, after)];
  const installation = await readings.installation(t, 2, before);
  const bounds = await killedAt(t, servers, installation, beforeLedger(1));
  t.ok(
    [...bounds.values()].some((end) => end > 0),
    'something is in the ledger',
  );
  const covered = joined(old, { calls: [], byNumber: [], deadLetters: [] }, bounds).calls.length;
  t.ok((await storedCalls(installation)).cdr > covered, 'more stands in the tables than in the ledger');
  change(installation, readings.topic, after);
  await readAll(installation);
  await verdict(t, installation, joined(old, now, bounds));
}
