import { createClient, type ClickHouseClient, type ClickHouseSettings } from '@clickhouse/client';
import type { ApiRole } from '../schemas/api-key.ts';
import {
  describeDatabaseError,
  judgeDatabaseError,
  type DatabaseFault,
} from '../schemas/clickhouse-errors.ts';
import type { Settings } from '../schemas/settings.ts';
import type { CallRow, Statement } from './calls-sql.ts';
import type { JournalRow } from './journal.ts';
import type { SumsRow, UsageSumsRow } from './usage-sql.ts';

/** A row of `api_keys`. */
export interface ApiKeyRow {
  readonly keyId: string;
  readonly secretHash: string;
  readonly roles: readonly ApiRole[];
  /** Unix seconds, null: never. */
  readonly expiresAt: number | null;
  readonly revoked: boolean;
}

/** How far a feed is stored. */
export interface FeedProgress {
  readonly feed: string;
  /** Newest Kafka timestamp in the ledger, UTC ms; 0: none. */
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

/** Everything that the API says to ClickHouse. */
export class QueryDatabase {
  readonly #client: ClickHouseClient;
  readonly #database: string;
  readonly #readSettings: ClickHouseSettings;

  constructor({ clickhouse, query }: Settings) {
    this.#database = clickhouse.database;
    this.#readSettings = readSettings(query.seconds_max);
    this.#client = createClient({
      url: clickhouse.url,
      username: query.clickhouse_user ?? clickhouse.user,
      password: query.clickhouse_password ?? clickhouse.password,
      application: 'cdrhouse-query',
      request_timeout: (query.seconds_max + TIMEOUT_GRACE_SECONDS) * 1000,
      max_open_connections: CONNECTIONS_MAX,
      // Sockets that the server closes first (after 10 s by default) would fail a request.
      keep_alive: { enabled: true, idle_socket_ttl: 2000 },
      compression: { request: false, response: false },
      // By default the values go into the URL, which proxies and servers write into their logs.
      use_multipart_params: true,
      // The client's own log would print statements.
      log: { level: 127 },
    });
  }

  get database(): string {
    return this.#database;
  }

  /** Rows of `callsSql`. Aborting the signal ends the query in the server too. */
  async calls(statement: Statement, signal: AbortSignal): Promise<CallRow[]> {
    return this.#rows('calls', statement, signal);
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
  toUnixTimestamp(expires_at) AS expiresAt, revoked
FROM ${this.#database}.api_keys FINAL WHERE key_id = {keyId: String}`;
    const [row] = await this.#rows<Omit<ApiKeyRow, 'revoked'> & { revoked: number }>('api key', {
      text,
      parameters: { keyId },
    });
    return row === undefined ? undefined : { ...row, revoked: row.revoked !== 0 };
  }

  /** Every feed that the ledger knows. */
  async feedProgress(): Promise<FeedProgress[]> {
    const text = `SELECT feed, toUnixTimestamp64Milli(max(message_at_max)) AS readUpToMs
FROM ${this.#database}.ingest_ledger GROUP BY feed ORDER BY feed`;
    const rows = await this.#rows<{ feed: string; readUpToMs: string }>('feeds', { text, parameters: {} });
    return rows.map(({ feed, readUpToMs }) => ({ feed, readUpToMs: Number(readUpToMs) }));
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
        // Acknowledged means on disk; and two equal rows are two look-ups.
        clickhouse_settings: { async_insert: 0, insert_deduplicate: 0, log_queries: 0 },
      }),
    );
  }

  async close(): Promise<void> {
    await this.#client.close();
  }

  async #rows<Row>(what: string, { text, parameters }: Statement, signal?: AbortSignal): Promise<Row[]> {
    return this.#run(what, async () => {
      const result = await this.#client.query({
        query: text,
        query_params: { ...parameters },
        format: 'JSONEachRow',
        clickhouse_settings: this.#readSettings,
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

/** Settings of every read, passed explicitly because a server's profile may differ. */
export function readSettings(secondsMax: number): ClickHouseSettings {
  return {
    // Reads and changes of settings only, whatever the user's grants are.
    readonly: '2',
    // Right, since start_at is in every sorting key, and much cheaper: parts of two months never meet.
    do_not_merge_across_partitions_select_final: 1,
    // Would read rows before it knows which version counts.
    query_plan_optimize_lazy_final: 0,
    // An answer must show what is stored now, and a cache would keep numbers.
    use_query_cache: 0,
    // The log of queries would hold the numbers.
    log_queries: 0,
    max_execution_time: secondsMax,
    timeout_overflow_mode: 'throw',
    cancel_http_readonly_queries_on_client_close: 1,
    // JSON readers round integers above 2^53.
    output_format_json_quote_64bit_integers: 1,
  };
}
