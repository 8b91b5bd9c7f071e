import { createClient, type ClickHouseClient, type ClickHouseSettings } from '@clickhouse/client';
import { Readable } from 'node:stream';
import { constantColumns, SENT_COLUMNS, type SentTable } from '../schemas/tables.ts';
import type { Settings } from '../schemas/settings.ts';

/** Insert settings that the guarantees rest on, passed explicitly because a server's profile may differ. */
const INSERT_SETTINGS: ClickHouseSettings = {
  // On by default since 26.3: an acknowledged insert must be on disk.
  async_insert: 0,
  wait_for_async_insert: 1,
  // A block that was deleted and is inserted again would be acknowledged and not stored.
  deduplicate_insert: 'disable',
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
}

/** Tables that take Native blocks. */
export type BlockTable = Exclude<SentTable, 'ingest_ledger'>;

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
}

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
      // Both tables' inserts, a ledger insert and a check at once.
      max_open_connections: 8,
      keep_alive: { enabled: true, idle_socket_ttl: 2000 },
      // Blocks are compact already; compressing them costs more CPU than a local socket.
      compression: { request: false, response: false },
      log: { level: 127 },
    });
  }

  /** Inserts one block in Native format. See `#insert` for the deadline. */
  async insertBlock(table: BlockTable, block: Uint8Array, sending: Sending): Promise<void> {
    await this.#insert(table, 'Native', block, sending);
  }

  async insertLedger(rows: readonly LedgerRow[], sending: Sending): Promise<void> {
    const lines = Buffer.from(rows.map((row) => JSON.stringify(row)).join('\n'));
    await this.#insert('ingest_ledger', 'JSONEachRow', lines, sending);
  }

  /**
   * The statement carries a deadline that the server checks by its own clock, so that a process which was
   * stopped in the middle and wakes up later writes nothing.
   */
  async #insert(
    table: SentTable,
    format: 'Native' | 'JSONEachRow',
    content: Uint8Array,
    { storedAtSeconds, deadlineMs, signal }: Sending,
  ): Promise<void> {
    const constants = constantColumns(table, storedAtSeconds);
    const sent = SENT_COLUMNS[table];
    const names = [...sent, ...constants].map(({ name }) => name).join(', ');
    const values = [...sent.map(({ name }) => name), ...constants.map(({ expression }) => expression)].join(
      ', ',
    );
    const structure = sent.map(({ name, type }) => `${name} ${type}`).join(', ');
    const deadline = Math.floor((deadlineMs + this.#clockOffsetMs) / 1000);
    const result = await this.#client.exec({
      query:
        `INSERT INTO ${this.#database}.${table} (${names}) SELECT ${values} FROM input('${structure.replaceAll("'", "\\'")}') ` +
        `WHERE throwIf(now() > toDateTime(${deadline}), 'deadline of the insert has passed') = 0 FORMAT ${format}`,
      values: Readable.from([content], { objectMode: false }),
      clickhouse_settings: INSERT_SETTINGS,
      abort_signal: signal,
    });
    result.stream.destroy();
  }

  /** Notes how far the server's clock is ahead of this host's, for deadlines. */
  async measureClock(): Promise<void> {
    const sentAtMs = Date.now();
    const result = await this.#client.query({
      query: 'SELECT toUnixTimestamp64Milli(now64(3)) AS now',
      format: 'JSONEachRow',
      clickhouse_settings: { output_format_json_quote_64bit_integers: 0 },
    });
    const [row] = await result.json<{ now: number }>();
    this.#clockOffsetMs = (row?.now ?? sentAtMs) - (sentAtMs + Date.now()) / 2;
  }

  /** The newest generation of each partition of a topic that the ledger knows. */
  async ledgerHeads(topic: string): Promise<LedgerHead[]> {
    const result = await this.#client.query({
      query: `
        SELECT topic, partition, cluster_id AS clusterId, topic_id AS topicId, generation,
          min(from_offset) AS fromOffset, max(next_offset) AS nextOffset, sum(next_offset - from_offset) AS covered
        FROM ${this.#database}.ingest_ledger FINAL
        WHERE topic = {topic: String}
        GROUP BY topic, partition, clusterId, topicId, generation
        ORDER BY partition, generation DESC
        LIMIT 1 BY partition`,
      query_params: { topic },
      format: 'JSONEachRow',
      // Offsets and generations are far below 2^53.
      clickhouse_settings: { output_format_json_quote_64bit_integers: 0 },
    });
    return result.json<LedgerHead>();
  }

  /** All ranges of one generation in offset order, for the rare head that does not tile. */
  async ledgerRanges(head: LedgerHead): Promise<{ fromOffset: number; nextOffset: number }[]> {
    const result = await this.#client.query({
      query: `
        SELECT from_offset AS fromOffset, next_offset AS nextOffset FROM ${this.#database}.ingest_ledger FINAL
        WHERE topic = {topic: String} AND partition = {partition: Int32} AND cluster_id = {clusterId: String}
          AND topic_id = {topicId: String} AND generation = {generation: UInt64}
        ORDER BY fromOffset, nextOffset`,
      query_params: { ...head },
      format: 'JSONEachRow',
      clickhouse_settings: { output_format_json_quote_64bit_integers: 0 },
    });
    return result.json();
  }

  /** With which readings the ranges of a partition from this offset on were stored. */
  async readingsFrom(topic: string, partition: number, offset: number): Promise<string[]> {
    const result = await this.#client.query({
      query: `
        SELECT DISTINCT reading FROM ${this.#database}.ingest_ledger FINAL
        WHERE topic = {topic: String} AND partition = {partition: Int32} AND next_offset > {offset: Int64}
          AND next_offset > from_offset`,
      query_params: { topic, partition, offset },
      format: 'JSONEachRow',
    });
    return (await result.json<{ reading: string }>()).map(({ reading }) => reading);
  }

  async insertState(row: Readonly<Record<string, unknown>>): Promise<void> {
    await this.#client.insert({
      table: `${this.#database}.ingest_state`,
      values: [row],
      format: 'JSONEachRow',
      clickhouse_settings: INSERT_SETTINGS,
    });
  }

  /** The stored settings by name, and the newest schema version. */
  async storedSettings(): Promise<{ settings: Map<string, string>; schemaVersion: number }> {
    const format = 'JSONEachRow';
    const [settings, version] = await Promise.all([
      this.#client.query({ query: `SELECT name, value FROM ${this.#database}.settings FINAL`, format }),
      this.#client.query({
        query: `SELECT max(number) AS number FROM ${this.#database}.schema_migrations`,
        format,
      }),
    ]);
    const rows = await settings.json<{ name: string; value: string }>();
    const [newest] = await version.json<{ number: number }>();
    return {
      settings: new Map(rows.map(({ name, value }) => [name, value])),
      schemaVersion: newest?.number ?? 0,
    };
  }

  async ping(): Promise<boolean> {
    const answer = await this.#client.ping();
    return answer.success;
  }

  async close(): Promise<void> {
    await this.#client.close();
  }
}
