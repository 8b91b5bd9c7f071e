/**
 * The SQL that gives the three services their rights in an operator's own ClickHouse. The users
 * themselves (with their passwords) are the operator's to make.
 */
export function grantStatements(database: string): string[] {
  return [
    `-- Make the users first: CREATE USER cdrhouse_ingest IDENTIFIED BY '...'; and so on.`,
    `GRANT SELECT, INSERT ON ${database}.* TO cdrhouse_ingest;`,
    // Which of its own inserts still run.
    `GRANT SELECT ON system.processes TO cdrhouse_ingest;`,
    `GRANT SELECT ON ${database}.* TO cdrhouse_query;`,
    `ALTER USER cdrhouse_query SETTINGS allow_ddl = 0 CONST, max_concurrent_queries_for_user = 64 CONST, log_queries = 0;`,
    `GRANT INSERT ON ${database}.lookup_journal TO cdrhouse_query;`,
    // Certificates are the privileged user's alone to sign.
    `REVOKE SELECT ON ${database}.signing_keys FROM cdrhouse_ingest, cdrhouse_query;`,
    `GRANT ALL ON ${database}.* TO cdrhouse_retention;`,
    // Of the tables that migrations make: a right of its own, which is of no database.
    ...['MergeTree', 'ReplacingMergeTree', 'Memory'].map(
      (engine) => `GRANT TABLE ENGINE ON ${engine} TO cdrhouse_retention;`,
    ),
    ...['parts', 'detached_parts', 'mutations', 'processes', 'tables', 'part_log'].map(
      (table) => `GRANT SELECT ON system.${table} TO cdrhouse_retention;`,
    ),
    // Replaced parts go at once only after all others are safe on disk; the log of parts is quoted in proofs.
    `GRANT SYSTEM SYNC FILE CACHE, SYSTEM FLUSH LOGS ON *.* TO cdrhouse_retention;`,
  ];
}
