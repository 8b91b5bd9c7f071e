import { createClient, type ClickHouseClient } from '@clickhouse/client';
import type { Settings } from '../schemas/settings.ts';

/** The client of the only privileged database user. */
export function retentionClient(settings: Settings): ClickHouseClient {
  return createClient({
    url: settings.clickhouse.url,
    username: settings.retention.clickhouse_user ?? settings.clickhouse.user,
    password: settings.retention.clickhouse_password ?? settings.clickhouse.password,
    application: 'cdrhouse-retention',
    request_timeout: settings.clickhouse.request_timeout_s * 1000,
    clickhouse_settings: { log_queries: 0, async_insert: 0 },
    log: { level: 127 },
  });
}
