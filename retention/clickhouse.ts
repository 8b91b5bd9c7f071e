import { createClient, type ClickHouseClient, type ClickHouseSettings } from '@clickhouse/client';
import { databaseFailure } from '../schemas/clickhouse-errors.ts';
import type { Settings } from '../schemas/settings.ts';

/**
 * Works with the client of the only privileged database user. What fails in the database is thrown as
 * CLICKHOUSE_UNREACHABLE, CLICKHOUSE_BUSY, CLICKHOUSE_REFUSED or SCHEMA_MISSING.
 */
export async function withRetentionClient<T>(
  settings: Settings,
  work: (client: ClickHouseClient) => Promise<T>,
  requestTimeoutMs = settings.clickhouse.request_timeout_s * 1000,
): Promise<T> {
  const client = createClient({
    url: settings.clickhouse.url,
    username: settings.retention.clickhouse_user ?? settings.clickhouse.user,
    password: settings.retention.clickhouse_password ?? settings.clickhouse.password,
    application: 'cdrhouse-retention',
    request_timeout: requestTimeoutMs,
    clickhouse_settings: { log_queries: 0, async_insert: 0 },
    // By default bound numbers of persons go into the URL, which proxies and servers write into their logs. Of queries alone:
    // what a command binds goes there still.
    use_multipart_params: true,
    log: { level: 127 },
  });
  try {
    return await work(client);
  } catch (error) {
    throw databaseFailure(error);
  } finally {
    await client.close();
  }
}

/** Rows of a query. 64-bit integers must be below 2^53. */
export async function select<T>(
  client: ClickHouseClient,
  query: string,
  parameters: Readonly<Record<string, unknown>> = {},
  settings: ClickHouseSettings = {},
): Promise<T[]> {
  const result = await client.query({
    query,
    query_params: { ...parameters },
    format: 'JSONEachRow',
    clickhouse_settings: { output_format_json_quote_64bit_integers: 0, ...settings },
  });
  return result.json<T>();
}
