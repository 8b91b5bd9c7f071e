import { createClient, type ClickHouseClient, type ClickHouseSettings } from '@clickhouse/client';
import { Readable } from 'node:stream';
import {
  constantColumns,
  FINAL_SETTINGS,
  SENT_COLUMNS,
  type BlockTable,
  type SentTable,
  type StoredSource,
} from '../schemas/tables.ts';
import type { ReadingRow } from '../schemas/feed.ts';
import { sqlTime } from '../schemas/sql-time.ts';
import { BATCHES_IN_FLIGHT_MAX } from '../schemas/settings-limits.ts';
import type { Settings } from '../schemas/settings.ts';
import type { Suppression, SuppressionSet } from '../schemas/suppressions.ts';
import { readSuppressions } from './suppressions.ts';

/** Insert settings that the guarantees rest on, passed explicitly because a server's profile may differ. */
export const INSERT_SETTINGS: ClickHouseSettings = {
  // On by default since 26.3: an acknowledged insert must be on disk.
  async_insert: 0,
  wait_for_async_insert: 1,
  // A block that was deleted and is inserted again would be acknowledged and not stored.
  deduplicate_insert: 'disable',
  // Rows of one key in one block stay until a merge, and FINAL passes them over: half of what an insert costs.
  optimize_on_insert: 0,
  // A batch of an archive spans 36 months and more.
  max_partitions_per_insert_block: '0',
  // The block is sorted and is to be one part: no splitting, no second thread.
  max_insert_threads: '1',
  max_insert_block_size: '10000000',
  min_insert_block_size_rows: '10000000',
  min_insert_block_size_bytes: '1000000000',
  // Values of a query would otherwise stand in the server's log of queries.
  log_queries: 0,
};

/** What an insert carries beside its rows. */
export interface Sending {
  /** The moment at which the rows count as stored, Unix seconds. */
  readonly storedAtSeconds: number;
  /** UTC ms by this host's clock; the server refuses the insert after it. */
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
  /** All that calls are sent of. */
  readonly sources?: readonly StoredSource[];
}

/** A row of `ingest_ledger` as it is written (64-bit integers as text). */
export interface LedgerRow {
  readonly cluster_id: string;
  readonly topic: string;
  readonly topic_id: string;
  readonly partition: number;
  readonly generation: number;
  readonly from_offset: number;
  readonly next_offset: number;
  readonly feed: string;
  readonly messages: number;
  readonly records: number;
  readonly stored: number;
  readonly rejected: number;
  readonly suppressed: number;
  readonly skipped: number;
  readonly blanked: number;
  readonly rejected_by_code: Readonly<Record<string, number>>;
  readonly skipped_by_reason: Readonly<Record<string, number>>;
  /** Unix seconds of the hour's begin as key. */
  readonly stored_by_hour: Readonly<Record<string, number>>;
  readonly zone_overlaps: number;
  readonly zone_gaps: number;
  readonly reading: string;
  readonly suppressions_version: number;
  /** As `sqlTime` writes it, like `stored_at`. */
  readonly message_at_max: string;
  readonly instance: string;
  readonly stored_at: string;
  readonly kind: 'read' | 'replay';
  readonly correction: number;
  readonly corrected_until: number;
}

/** A row of `dead_letter_marks` as it is written. */
export interface DeadLetterMark {
  readonly topic: string;
  readonly topic_id: string;
  readonly partition: number;
  readonly offset: number;
  readonly line: number;
  readonly state: 'replayed' | 'superseded' | 'replaying';
  readonly message_at: string;
  readonly marked_at: string;
  readonly generation: number;
  readonly reading: string;
}

/** How far the newest generation of a partition got, from the ledger. */
export interface LedgerHead {
  readonly topic: string;
  readonly partition: number;
  readonly clusterId: string;
  readonly topicId: string;
  readonly generation: number;
  readonly fromOffset: number;
  readonly nextOffset: number;
  /** Sum of all ranges: equals nextOffset - fromOffset where they tile without a gap. */
  readonly covered: number;
  /** The feed's readings under which it was claimed and read. */
  readonly readings: readonly string[];
  /** The claim's; 0: none. */
  readonly correction: number;
  readonly correctedUntil: number;
}

/** A gap at which a partition stands still, as it is noted. */
export interface NotedGap {
  readonly topic: string;
  readonly partition: number;
  readonly reason: string;
  /** The lowest end that the log was seen to have; 0 where an older version noted it. */
  readonly logEnd: number;
}

/** A row of `ingest_state` as it is written. */
export interface StateRow {
  readonly instance: string;
  readonly topic: string;
  readonly partition: number;
  /** `gap`: it stands still; else how a person had it go on. */
  readonly state: 'gap' | 'gap_accepted' | 'rewound';
  readonly detail: string;
  readonly next_offset: number;
  /** End of Kafka's log. */
  readonly end_offset: number;
}

/** What an INSERT that selects is sent with. */
export type SelectSending = Omit<Sending, 'storedAtSeconds' | 'sources'>;

/** Everything that ingest says to ClickHouse. Retrying is the caller's. */
export class IngestDatabase {
  readonly #client: ClickHouseClient;
  readonly #database: string;
  #clockOffsetMs = 0;

  constructor(settings: Settings) {
    this.#database = settings.clickhouse.database;
    this.#client = createClient({
      url: settings.clickhouse.url,
      username: settings.ingest.clickhouse_user ?? settings.clickhouse.user,
      password: settings.ingest.clickhouse_password ?? settings.clickhouse.password,
      application: 'cdrhouse-ingest',
      request_timeout: settings.clickhouse.request_timeout_s * 1000,
      // Three inserts of each batch in flight, which may hold their connections until those before them are stored, a ledger
      // insert and checks: with fewer the first batch could wait for a connection that another one holds.
      max_open_connections: 3 * BATCHES_IN_FLIGHT_MAX + 8,
      keep_alive: { enabled: true, idle_socket_ttl: 2000 },
      // Blocks are compact already; compressing them costs more CPU than a local socket.
      compression: { request: false, response: false },
      log: { level: 127 },
    });
  }

  /** Inserts one block in Native format. See `#insert` for the deadline. */
  async insertBlock(table: BlockTable, block: Readable, sending: Sending): Promise<void> {
    await this.#insert(table, 'Native', block, sending);
  }

  async insertLedger(rows: readonly LedgerRow[], sending: Sending): Promise<void> {
    await this.#insert('ingest_ledger', 'JSONEachRow', jsonLines(rows), sending);
  }

  async insertMarks(rows: readonly DeadLetterMark[], sending: Sending): Promise<void> {
    await this.#insert('dead_letter_marks', 'JSONEachRow', jsonLines(rows), sending);
  }

  /**
   * The statement carries a deadline that the server checks by its own clock, so that a process which was
   * stopped in the middle and wakes up later writes nothing.
   */
  async #insert(
    table: SentTable,
    format: 'Native' | 'JSONEachRow',
    content: Readable,
    { storedAtSeconds, deadlineMs, signal, sources }: Sending,
  ): Promise<void> {
    const constants = constantColumns(table, storedAtSeconds, sources);
    const sent = SENT_COLUMNS[table];
    const names = [...sent, ...constants].map(({ name }) => name).join(', ');
    const values = [...sent.map(({ name }) => name), ...constants.map(({ expression }) => expression)].join(
      ', ',
    );
    const structure = sent.map(({ name, type }) => `${name} ${type}`).join(', ');
    // The client takes no notice of a signal that is aborted already.
    signal.throwIfAborted();
    const result = await this.#client.exec({
      query:
        `INSERT INTO ${this.#database}.${table} (${names}) SELECT ${values} FROM input('${structure.replaceAll("'", "\\'")}') ` +
        `WHERE ${this.#before(deadlineMs)} FORMAT ${format}`,
      values: content,
      clickhouse_settings: INSERT_SETTINGS,
      abort_signal: signal,
    });
    result.stream.destroy();
  }

  /** The condition that holds until a deadline, by the server's clock. */
  #before(deadlineMs: number): string {
    const deadline = Math.floor((deadlineMs + this.#clockOffsetMs) / 1000);
    return `throwIf(now() > toDateTime(${deadline}), 'deadline of the insert has passed') = 0`;
  }

  get database(): string {
    return this.#database;
  }

  /** Rows of a query. 64-bit integers must be below 2^53. */
  async rows<T>(
    query: string,
    parameters: Readonly<Record<string, unknown>> = {},
    settings: ClickHouseSettings = {},
  ): Promise<T[]> {
    const result = await this.#client.query({
      query,
      query_params: { ...parameters },
      format: 'JSONEachRow',
      clickhouse_settings: { output_format_json_quote_64bit_integers: 0, ...settings },
    });
    return result.json<T>();
  }

  /** Does an `INSERT … SELECT … WHERE …`, to which it adds the deadline. */
  async insertSelect(
    query: string,
    parameters: Readonly<Record<string, unknown>>,
    { deadlineMs, signal }: SelectSending,
  ): Promise<void> {
    await this.#client.command({
      query: `${query} AND ${this.#before(deadlineMs)}`,
      query_params: { ...parameters },
      clickhouse_settings: {
        ...INSERT_SETTINGS,
        ...FINAL_SETTINGS,
      },
      abort_signal: signal,
    });
  }

  /** Notes how far the server's clock is ahead of this host's, for deadlines. */
  async measureClock(): Promise<void> {
    const sentAtMs = Date.now();
    const [row] = await this.rows<{ now: number }>('SELECT toUnixTimestamp64Milli(now64(3)) AS now');
    this.#clockOffsetMs = (row?.now ?? sentAtMs) - (sentAtMs + Date.now()) / 2;
  }

  /** The newest generation of each partition of a topic that the ledger knows. */
  ledgerHeads(topic: string): Promise<LedgerHead[]> {
    return this.rows(
      `SELECT topic, partition, cluster_id AS clusterId, topic_id AS topicId, generation,
        min(from_offset) AS fromOffset, max(next_offset) AS nextOffset, sum(next_offset - from_offset) AS covered,
        groupUniqArray(reading) AS readings, max(ingest_ledger.correction) AS correction, max(corrected_until) AS correctedUntil
      FROM ${this.#database}.ingest_ledger FINAL
      WHERE topic = {topic: String} AND kind = 'read'
      GROUP BY topic, partition, clusterId, topicId, generation
      ORDER BY partition, generation DESC
      LIMIT 1 BY partition`,
      { topic },
    );
  }

  /** All ranges of one generation in offset order, for the rare head that does not tile. */
  ledgerRanges(head: LedgerHead): Promise<{ fromOffset: number; nextOffset: number }[]> {
    return this.rows(
      `SELECT from_offset AS fromOffset, next_offset AS nextOffset FROM ${this.#database}.ingest_ledger FINAL
      WHERE topic = {topic: String} AND partition = {partition: Int32} AND cluster_id = {clusterId: String}
        AND topic_id = {topicId: String} AND generation = {generation: UInt64} AND kind = 'read'
      ORDER BY fromOffset, nextOffset`,
      { ...head },
    );
  }

  /** The gaps of these topics that nobody has accepted. */
  openGaps(topics: readonly string[]): Promise<NotedGap[]> {
    return this.rows(
      `SELECT topic, partition, detail AS reason, end_offset AS logEnd FROM ${this.#database}.ingest_state FINAL
      WHERE state = 'gap' AND topic IN {topics: Array(String)}`,
      { topics },
    );
  }

  /** Notes how a partition stands: the newest row counts, so its time is by the server's clock (`measureClock`). */
  insertState(row: StateRow): Promise<void> {
    const updated_at = sqlTime(Math.round(Date.now() + this.#clockOffsetMs));
    return this.#insertRows('ingest_state', [{ ...row, updated_at }]);
  }

  insertAcceptedGaps(rows: readonly object[]): Promise<void> {
    return this.#insertRows('accepted_gaps', rows);
  }

  /** Notes what the hashes of these readings stand for, where it is not noted yet. */
  async recordReadings(readings: readonly ReadingRow[]): Promise<void> {
    const known = await this.rows<{ feed: string; reading: string }>(
      `SELECT DISTINCT feed, reading FROM ${this.#database}.readings`,
    );
    const isKnown = ({ feed, reading }: ReadingRow): boolean =>
      known.some((each) => each.feed === feed && each.reading === reading);
    await this.#insertRows(
      'readings',
      readings.filter((each) => !isKnown(each)),
    );
  }

  insertHeartbeats(rows: readonly object[]): Promise<void> {
    return this.#insertRows('ingest_heartbeats', rows);
  }

  async #insertRows(table: string, rows: readonly object[]): Promise<void> {
    if (rows.length === 0) return;
    await this.#client.insert({
      table: `${this.#database}.${table}`,
      values: [...rows],
      format: 'JSONEachRow',
      clickhouse_settings: INSERT_SETTINGS,
    });
  }

  /** The newest version of the suppressions; 0: there are none. */
  async suppressionsVersion(): Promise<number> {
    const [row] = await this.rows<{ version: number }>(
      `SELECT max(version) AS version FROM ${this.#database}.suppressions`,
    );
    return row?.version ?? 0;
  }

  /** All suppressions. Rejects with SUPPRESSIONS_UNREADABLE where some were made with other keys. */
  async suppressions(keyId: string): Promise<SuppressionSet> {
    const rows = await this.rows<Suppression & { keyId: string; version: number }>(
      `SELECT kind, number_hash AS numberHash, key_id AS keyId, feed, version,
        toUnixTimestamp64Milli(from_at) AS fromMs, toUnixTimestamp64Milli(to_at) AS toMs
      FROM ${this.#database}.suppressions FINAL`,
    );
    return readSuppressions(rows, keyId);
  }

  /** Notes, by the server's clock, with which suppressions this writer works, or that it has ended. */
  async reportWriter(instance: string, version: number, ended: boolean): Promise<void> {
    await this.#client.command({
      query: `INSERT INTO ${this.#database}.ingest_writers (instance, suppressions_version, reported_at, ended)
        SELECT {instance: String}, {version: UInt64}, now64(3), {ended: UInt8}`,
      query_params: { instance, version, ended: ended ? 1 : 0 },
      clickhouse_settings: INSERT_SETTINGS,
    });
  }

  /** The stored settings by name, and the newest schema version. */
  async storedSettings(): Promise<{ settings: Map<string, string>; schemaVersion: number }> {
    const [settings, [newest]] = await Promise.all([
      this.rows<{ name: string; value: string }>(`SELECT name, value FROM ${this.#database}.settings FINAL`),
      this.rows<{ number: number }>(`SELECT max(number) AS number FROM ${this.#database}.schema_migrations`),
    ]);
    return {
      settings: new Map(settings.map(({ name, value }) => [name, value])),
      schemaVersion: newest?.number ?? 0,
    };
  }

  /** Rejects where the server does not answer. */
  async reach(): Promise<void> {
    const answer = await this.#client.ping();
    if (!answer.success) throw answer.error;
  }

  /** True when ClickHouse answers within this time. */
  async answers(timeoutMs: number): Promise<boolean> {
    const answer = await this.#client.ping({ select: false, abort_signal: AbortSignal.timeout(timeoutMs) });
    return answer.success;
  }

  async close(): Promise<void> {
    await this.#client.close();
  }
}

function jsonLines(rows: readonly object[]): Readable {
  const lines = rows.map((row) => JSON.stringify(row)).join('\n');
  return Readable.from([Buffer.from(lines)], { objectMode: false });
}
