import { createHash } from 'node:crypto';
import { grantStatements } from '../../schemas/grants.ts';
import { type Users, userNames } from './users.ts';

export interface ServerConfig {
  /** Absolute path of the users file. */
  usersPath: string;
  /** Absolute path of the server's log. */
  logPath: string;
  /** Absolute path of the folder of the disk `backups`, to which BACKUP may write. */
  backupsPath: string;
  memoryBytesMax: number;
}

export interface UsersConfig {
  users: Users;
  /** Databases in which the query user may write its journal. */
  databases: readonly string[];
  /** Give the users what `migrate --print-grants` prints for these databases, instead of any database. */
  printedGrants?: boolean | undefined;
  memoryBytesMax: number;
  /** Threads of a statement. @default ClickHouse's: as many as there are cores */
  threadsMax?: number | undefined;
}

/** The only table into which the HTTP API writes: who looked what up. */
const journalTable = 'lookup_journal';

const databaseName = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/;

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/**
 * The server's own settings. No listener but HTTP, no query_log and no other log table: they would keep the literals
 * of queries, which are telephone numbers. For the same reason the two loggers that print failed queries are silent:
 * who sent the query gets the error anyway.
 */
export function serverConfigXml(config: ServerConfig): string {
  return `<clickhouse>
  <logger>
    <level>warning</level>
    <log>${escapeXml(config.logPath)}</log>
    <size>10M</size>
    <count>2</count>
    <levels>
      <logger><name>executeQuery</name><level>none</level></logger>
      <logger><name>DynamicQueryHandler</name><level>none</level></logger>
      <!-- Says at every start that two threads serve many tables, which is what was asked for. -->
      <logger><name>BackgroundSchedulePool/BgSchPool</name><level>error</level></logger>
    </levels>
  </logger>
  <timezone>UTC</timezone>
  <!-- As the server's own configuration file has it. -->
  <access_control_improvements>
    <select_from_system_db_requires_grant>true</select_from_system_db_requires_grant>
    <table_engines_require_grant>true</table_engines_require_grant>
  </access_control_improvements>
  <users_config>${escapeXml(config.usersPath)}</users_config>
  <storage_configuration>
    <disks><backups><type>local</type><path>${escapeXml(config.backupsPath)}/</path></backups></disks>
  </storage_configuration>
  <backups><allowed_disk>backups</allowed_disk></backups>
  <max_server_memory_usage>${config.memoryBytesMax}</max_server_memory_usage>
  <!-- Caches take their share of the same memory; the defaults are meant for a machine of its own. -->
  <mark_cache_size>${Math.floor(config.memoryBytesMax / 8)}</mark_cache_size>
  <primary_index_cache_size>${Math.floor(config.memoryBytesMax / 8)}</primary_index_cache_size>
  <!-- clickhouse-local would take 2 and 1: a long merge would hold up mutations and the dropping of expired parts. -->
  <background_pool_size>4</background_pool_size>
  <background_common_pool_size>4</background_common_pool_size>
  <background_schedule_pool_size>8</background_schedule_pool_size>
  <keep_alive_timeout>30</keep_alive_timeout>
</clickhouse>
`;
}

/** Grants in the form that a users file takes, which knows no REVOKE. */
function printedGrants(user: string, databases: readonly string[]): string[] {
  const suffix = ` TO ${user};`;
  return databases
    .flatMap(grantStatements)
    .filter((statement) => statement.startsWith('GRANT ') && statement.endsWith(suffix))
    .map((statement) => statement.slice(0, -suffix.length));
}

function userXml(name: string, password: string, profile: string, grants: string[]): string {
  const hash = createHash('sha256').update(password).digest('hex');
  const queries = grants.map((grant) => `        <query>${escapeXml(grant)}</query>\n`).join('');
  return `    <${name}>
      <password_sha256_hex>${hash}</password_sha256_hex>
      <networks><ip>127.0.0.1</ip><ip>::1</ip></networks>
      <profile>${profile}</profile>
      <quota>default</quota>
      <grants>
${queries}      </grants>
    </${name}>
`;
}

/**
 * Users, profiles and grants. ClickHouse takes a wildcard at the end of a grant only (\`db*.*\`, \`db.t*\`), so "one table
 * of every database" cannot be said: the journal grant of the query user is written out for each database named. What
 * each service reads is left open to every database, because tests make databases of their own.
 * - ingest: SELECT and INSERT; \`INSERT … SELECT … FROM input(…)\` and system.parts need nothing more (tried on 26.7).
 * - query: SELECT, and INSERT into the journal. \`readonly\` would forbid that insert; \`allow_ddl\` held at 0 and the
 *   grants do the same for everything else.
 * - retention: everything, it is the privileged one.
 * With `printedGrants` each has in these databases what an operator is told to give, and no more.
 * \`default\` has no password and all rights: the local session that keeps the server alive runs as this user.
 */
export function usersConfigXml(config: UsersConfig): string {
  for (const database of config.databases) {
    if (!databaseName.test(database))
      throw new RangeError(`"${database}" cannot be the name of a database here`);
  }
  const { users, databases } = config;
  const journals = databases.map((database) => `GRANT INSERT ON \`${database}\`.${journalTable}`);
  const grants = (user: string, ofAnyDatabase: string[]): string[] =>
    config.printedGrants === true ? printedGrants(user, databases) : ofAnyDatabase;
  const [ingest, query, retention] = [
    grants(userNames.ingest, ['GRANT SELECT, INSERT ON *.*']),
    grants(userNames.query, ['GRANT SELECT ON *.*', ...journals]),
    grants(userNames.retention, ['GRANT ALL ON *.*']),
  ];
  const threads =
    config.threadsMax === undefined ? '' : `\n      <max_threads>${config.threadsMax}</max_threads>`;
  return `<clickhouse>
  <profiles>
    <default>
      <log_queries>0</log_queries>${threads}
    </default>
    <cdrhouse_query>
      <log_queries>0</log_queries>${threads}
      <allow_ddl>0</allow_ddl>
      <max_execution_time>60</max_execution_time>
      <max_memory_usage>${Math.floor(config.memoryBytesMax / 2)}</max_memory_usage>
      <max_concurrent_queries_for_user>64</max_concurrent_queries_for_user>
      <constraints>
        <allow_ddl><readonly/></allow_ddl>
        <max_execution_time><min>1</min><max>3600</max></max_execution_time>
        <max_memory_usage><min>1</min><max>${Math.floor(config.memoryBytesMax / 2)}</max></max_memory_usage>
        <max_concurrent_queries_for_user><readonly/></max_concurrent_queries_for_user>
      </constraints>
    </cdrhouse_query>
  </profiles>
  <quotas><default/></quotas>
  <users>
    <default>
      <password></password>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
    </default>
${userXml(userNames.ingest, users.ingest.password, 'default', ingest)}${userXml(userNames.query, users.query.password, 'cdrhouse_query', query)}${userXml(userNames.retention, users.retention.password, 'default', retention)}  </users>
</clickhouse>
`;
}
