import { createClient, type ClickHouseClient, type ClickHouseSettings } from '@clickhouse/client';
import type { ApiRole } from '../schemas/api-key.ts';
import {
  describeDatabaseError,
  judgeDatabaseError,
  type DatabaseFault,
} from '../schemas/clickhouse-errors.ts';
import type { Settings } from '../schemas/settings.ts';
import { FINAL_SETTINGS, VISIBLE_WITHIN_SECONDS } from '../schemas/tables.ts';
import type { CallOfManyRow, CallRow, Statement } from './calls-sql.ts';
import type { JournalRow } from './journal.ts';
import { logProgressSql } from './ledger-sql.ts';
import type { SumsRow, UsageSumsRow } from './usage-sql.ts';

/** A row of `api_keys`. */
export interface ApiKeyRow {
  readonly keyId: string;
  readonly secretHash: string;
  readonly roles: readonly ApiRole[];
  /** Unix seconds, null: never. */
  readonly expiresAt: number | null;
  readonly revoked: boolean;
  /** A team uses it. */
  readonly shared: boolean;
  /** 0: the limit of the settings. */
  readonly requestsPerMinute: number;
  /** Networks from which it may be used, none: any. */
  readonly addresses: readonly string[];
}

/** How far a log of a feed is read: a partition of a topic, which may have been made anew since. */
export interface LogProgress {
  readonly feed: string;
  readonly topic: string;
  readonly topicId: string;
  readonly partition: number;
  /** Of two logs of one partition the greater is the newer one. */
  readonly generation: number;
  /** UTC ms of Kafka time; 0: not known. */
  readonly readUpToMs: number;
}

/** A failed statement. `message` holds the code only: the server's text may repeat values of the statement. */
export class DatabaseError extends Error {
  override readonly name = 'DatabaseError';
  readonly fault: DatabaseFault;

  constructor(what: string, cause: unknown) {
    super(`${what}: ${describeDatabaseError(cause)}`, { cause });
    this.fault = judgeDatabaseError(cause);
  }
}

/** A second statement of the same request waits no longer for a connection than the first. */
const CONNECTIONS_MAX = 32;
/** The server ends a query by itself; the client's own timeout is for a server that is gone. */
const TIMEOUT_GRACE_SECONDS = 5;

/** Answers that are streamed at one time: each holds a connection and a query for as long as its client reads. */
const STREAMS_MAX = 16;
/** Beyond this a sort goes to the server's disk: exports take their time, and others need the memory. */
const SORT_BYTES_MAX = 268_435_456;

/** What searches in one statement may read and take, before each asks for itself: one with a long history must not hold up the others. */
const ROWS_OF_MANY_MAX = 2_000_000;
const SECONDS_OF_MANY_MAX = 3;

/** Everything that the API says to ClickHouse. */
export class QueryDatabase {
  readonly #client: ClickHouseClient;
  readonly #database: string;
  readonly #readSettings: ClickHouseSettings;
  /** Connections of their own: exports must not keep look-ups waiting. */
  readonly #streamClient: ClickHouseClient;
  readonly #streamSeconds: number;
  readonly #rowsOfManyMax: number;
  readonly #secondsMax: number;
  #streams = 0;

  constructor(settings: Settings) {
    const { clickhouse, query } = settings;
    this.#database = clickhouse.database;
    this.#readSettings = settingsOfReads(query.seconds_max, {
      max_rows_to_read: String(query.rows_read_max),
      read_overflow_mode: 'throw',
      max_memory_usage: String(query.memory_bytes_max),
    });
    this.#secondsMax = query.seconds_max;
    this.#rowsOfManyMax = Math.min(ROWS_OF_MANY_MAX, query.rows_read_max);
    this.#client = connect(settings, query.seconds_max, CONNECTIONS_MAX);
    this.#streamSeconds = query.export_seconds_max;
    this.#streamClient = connect(settings, query.export_seconds_max, STREAMS_MAX);
  }

  get database(): string {
    return this.#database;
  }

  /**
   * Rows of a page of `callsSql`. Aborting the signal ends the query in the server too.
   * @param isNarrow it reads few rows beyond those that it gives: those of whole numbers
   */
  async calls(statement: Statement, isNarrow: boolean, signal: AbortSignal): Promise<CallRow[]> {
    return this.#rows('calls', statement, signal, isNarrow ? NARROW_SETTINGS : {});
  }

  /** Rows of `callsOfManySql`. Rejects at once where the searches would read more than a few pages' worth. */
  async callsOfMany(statement: Statement, signal: AbortSignal): Promise<CallOfManyRow[]> {
    return this.#rows('calls of many', statement, signal, {
      ...NARROW_SETTINGS,
      max_rows_to_read: String(this.#rowsOfManyMax),
      max_execution_time: Math.min(SECONDS_OF_MANY_MAX, this.#secondsMax),
    });
  }

  /**
   * Rows of any other statement. Aborting the signal ends the query in the server too.
   * @param what names it in errors
   */
  async select<Row>(what: string, statement: Statement, signal: AbortSignal): Promise<Row[]> {
    return this.#rows<Row>(what, statement, signal);
  }

  /**
   * Rows of a statement as the server finds them, in batches. It waits while they are not read, as long as the
   * `http_send_timeout` of its default profile says (30 s; that of a query has no effect). Ending the iteration or
   * aborting the signal ends the query in the server too. Rejects with a DatabaseError.
   */
  async *stream<Row>(
    what: string,
    { text, parameters }: Statement,
    signal: AbortSignal,
  ): AsyncGenerator<Row[]> {
    if (this.#streams >= STREAMS_MAX) throw new DatabaseError(what, { code: 'TOO_MANY_EXPORTS' });
    this.#streams++;
    const ended = AbortSignal.any([signal, AbortSignal.timeout(this.#streamSeconds * 1000)]);
    try {
      ended.throwIfAborted();
      const result = await this.#streamClient.query({
        query: text,
        query_params: { ...parameters },
        format: 'JSONEachRow',
        clickhouse_settings: {
          ...this.#readSettings,
          max_execution_time: this.#streamSeconds,
          // An error in mid-stream must not look like a row.
          http_write_exception_in_output_format: 0,
          max_bytes_before_external_sort: String(SORT_BYTES_MAX),
        },
        abort_signal: ended,
      });
      const batches = result.stream<Row>();
      // The client itself takes no notice of the signal once the answer has begun.
      const close = (): void => void batches.destroy();
      ended.addEventListener('abort', close, { once: true });
      if (ended.aborted) close();
      for await (const rows of batches) yield rows.map((row) => row.json<Row>());
    } catch (error) {
      throw new DatabaseError(what, error);
    } finally {
      this.#streams--;
    }
  }

  /** Unix seconds before which all that changed in the call tables is visible, by the server's clock. */
  async visibleUntil(signal: AbortSignal): Promise<number> {
    const text = `SELECT toUnixTimestamp(now()) - ${VISIBLE_WITHIN_SECONDS} AS until`;
    const [row] = await this.#rows<{ until: string }>('clock', { text, parameters: {} }, signal);
    return Number(row!.until);
  }

  /** Groups of `usageSql`, with the total of all groups where the statement asks for it. */
  async usage(
    { text, parameters }: Statement,
    signal: AbortSignal,
  ): Promise<{ rows: UsageSumsRow[]; totals: SumsRow | undefined }> {
    return this.#run('usage', async () => {
      const result = await this.#client.query({
        query: text,
        query_params: { ...parameters },
        format: 'JSON',
        clickhouse_settings: this.#readSettings,
        abort_signal: signal,
      });
      const answer = await result.json<UsageSumsRow>();
      return { rows: answer.data, totals: answer.totals };
    });
  }

  async apiKey(keyId: string): Promise<ApiKeyRow | undefined> {
    const text = `SELECT key_id AS keyId, secret_hash AS secretHash, roles,
  toUnixTimestamp(expires_at) AS expiresAt, revoked, shared, requests_per_minute AS requestsPerMinute, addresses
FROM ${this.#database}.api_keys FINAL WHERE key_id = {keyId: String}`;
    const [row] = await this.#rows<
      Omit<ApiKeyRow, 'revoked' | 'shared'> & { revoked: number; shared: number }
    >('api key', { text, parameters: { keyId } });
    return row === undefined ? undefined : { ...row, revoked: row.revoked !== 0, shared: row.shared !== 0 };
  }

  /** Rows of `logProgressSql`. */
  async logProgress(sinceMs: number): Promise<LogProgress[]> {
    const rows = await this.#rows<
      Omit<LogProgress, 'generation' | 'readUpToMs'> & { generation: string; readUpToMs: string }
    >('feeds', logProgressSql(this.#database, sinceMs));
    return rows.map(({ generation, readUpToMs, ...log }) => ({
      ...log,
      generation: Number(generation),
      readUpToMs: Number(readUpToMs),
    }));
  }

  /** Names of the zones with which the server can reckon days. */
  async timeZones(): Promise<Set<string>> {
    const text = 'SELECT time_zone AS name FROM system.time_zones';
    const rows = await this.#rows<{ name: string }>('time zones', { text, parameters: {} });
    return new Set(rows.map(({ name }) => name));
  }

  /** The stored settings by name, and the newest schema version. */
  async storedSettings(): Promise<{ settings: Map<string, string>; schemaVersion: number }> {
    const database = this.#database;
    const [settings, [newest]] = await Promise.all([
      this.#rows<{ name: string; value: string }>('stored settings', {
        text: `SELECT name, value FROM ${database}.settings FINAL`,
        parameters: {},
      }),
      this.#rows<{ number: number }>('schema version', {
        text: `SELECT max(number) AS number FROM ${database}.schema_migrations`,
        parameters: {},
      }),
    ]);
    return {
      settings: new Map(settings.map(({ name, value }) => [name, value])),
      schemaVersion: newest?.number ?? 0,
    };
  }

  async insertJournal(rows: readonly JournalRow[]): Promise<void> {
    await this.#run('journal', async () =>
      this.#client.insert({
        table: `${this.#database}.lookup_journal`,
        values: rows,
        format: 'JSONEachRow',
        clickhouse_settings: JOURNAL_SETTINGS,
      }),
    );
  }

  async close(): Promise<void> {
    await this.#client.close();
    await this.#streamClient.close();
  }

  async #rows<Row>(
    what: string,
    { text, parameters }: Statement,
    signal?: AbortSignal,
    more: ClickHouseSettings = {},
  ): Promise<Row[]> {
    return this.#run(what, async () => {
      // The client takes no notice of a signal that was aborted before.
      signal?.throwIfAborted();
      const result = await this.#client.query({
        query: text,
        query_params: { ...parameters },
        format: 'JSONEachRow',
        clickhouse_settings: { ...this.#readSettings, ...more },
        ...(signal === undefined ? {} : { abort_signal: signal }),
      });
      return result.json<Row>();
    });
  }

  async #run<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw new DatabaseError(what, error);
    }
  }
}

/** Where planning costs more than reading. */
const NARROW_SETTINGS: ClickHouseSettings = {
  query_plan_optimize_lazy_materialization: 0,
  compile_expressions: 0,
  compile_sort_description: 0,
  // Few rows of few parts: threads cost more than they share.
  max_threads: 1,
};

const JOURNAL_SETTINGS: ClickHouseSettings = {
  // Acknowledged means on disk; and two equal rows are two look-ups.
  async_insert: 0,
  insert_deduplicate: 0,
  log_queries: 0,
  // Few rows: threads cost more than they share.
  max_threads: 1,
  max_insert_threads: '1',
  input_format_parallel_parsing: 0,
  // Four files less to bring on disk; a merge makes them, and what is not merged yet is read in a moment.
  materialize_skip_indexes_on_insert: 0,
};

/** Where statements are asked, of this database. */
export type SelectSource = Pick<QueryDatabase, 'database' | 'select'>;

function connect(
  { clickhouse, query }: Settings,
  secondsMax: number,
  connectionsMax: number,
): ClickHouseClient {
  return createClient({
    url: clickhouse.url,
    username: query.clickhouse_user ?? clickhouse.user,
    password: query.clickhouse_password ?? clickhouse.password,
    application: 'cdrhouse-query',
    request_timeout: (secondsMax + TIMEOUT_GRACE_SECONDS) * 1000,
    max_open_connections: connectionsMax,
    // Sockets that the server closes first (after 10 s by default) would fail a request.
    keep_alive: { enabled: true, idle_socket_ttl: 2000 },
    compression: { request: false, response: false },
    // By default the values go into the URL, which proxies and servers write into their logs.
    use_multipart_params: true,
    // The client's own log would print statements.
    log: { level: 127 },
  });
}

/**
 * Settings of every read, passed explicitly because a server's profile may differ.
 * @param limits on rows and memory
 */
export function settingsOfReads(secondsMax: number, limits: ClickHouseSettings = {}): ClickHouseSettings {
  return {
    // Reads and changes of settings only, whatever the user's grants are.
    readonly: '2',
    ...FINAL_SETTINGS,
    // An answer must show what is stored now, and a cache would keep numbers.
    use_query_cache: 0,
    // The log of queries would hold the numbers.
    log_queries: 0,
    max_execution_time: secondsMax,
    timeout_overflow_mode: 'throw',
    cancel_http_readonly_queries_on_client_close: 1,
    // JSON readers round integers above 2^53.
    output_format_json_quote_64bit_integers: 1,
    ...limits,
  };
}
