import type { Users } from '../deploy/local/local-servers.ts';

/**
 * The real servers that test/run.ts starts once for all integration tests. A test file has databases and topics of its
 * own, named after the file, so that no test sees another one's rows.
 */
export interface TestServers {
  /** How the programs under test read; never left to what is there, so that a missing addon fails. */
  reader: TestReader;
  /** "127.0.0.1:19092" */
  kafka: string;
  /** "http://127.0.0.1:18123" */
  clickhouse: string;
  users: Users;
  /** Databases for this file alone, not created yet; the query user may write the lookup journal in them only. */
  databases: readonly string[];
}

/** Chosen fault tests run once with each; all others with the first. */
export const testReaders = ['packed', 'plain'] as const;
export type TestReader = (typeof testReaders)[number];

const databasesPerFile = 12;

/** How often a file may run. What the first try left stands in the way of a second: it has names of its own. */
export const testTries = ['first', 'second'] as const;
export type TestTry = (typeof testTries)[number];

/**
 * The databases of a test file: "dist/test/fault/broker.test.js" has cdrhouse_test_fault_broker_0 to …_11, and others
 * when it runs with the plain reader, or again.
 */
export function databasesOf(file: string, reader: TestReader, attempt: TestTry = 'first'): string[] {
  const path = file.slice(file.lastIndexOf('test/') + 'test/'.length).replace(/\.test\.[jt]s$/, '');
  const words = [path.replaceAll(/[^A-Za-z0-9]+/g, '_')];
  if (reader !== 'packed') words.push(reader);
  if (attempt !== 'first') words.push(attempt);
  const stem = words.join('_');
  return Array.from({ length: databasesPerFile }, (_, index) => `cdrhouse_test_${stem}_${index}`);
}

/** How the runner tells the addresses to the test files. */
export function testEnvironment(
  servers: Pick<TestServers, 'kafka' | 'clickhouse' | 'users'>,
  reader: TestReader,
  attempt: TestTry,
): Record<string, string> {
  return {
    CDRHOUSE_TEST_READER: reader,
    CDRHOUSE_TEST_TRY: attempt,
    CDRHOUSE_TEST_KAFKA: servers.kafka,
    CDRHOUSE_TEST_CLICKHOUSE: servers.clickhouse,
    CDRHOUSE_TEST_USERS: JSON.stringify(servers.users),
  };
}

function required(name: string): string {
  const value = process.env[name];
  if (value !== undefined && value !== '') return value;
  throw new Error(
    `${name} is not set: run this test with node dist/test/run.js FILE, which starts the servers`,
  );
}

function isUsers(value: unknown): value is Users {
  return (
    typeof value === 'object' &&
    value !== null &&
    'ingest' in value &&
    'query' in value &&
    'retention' in value
  );
}

/**
 * The servers for the calling test file; never skips: without servers it throws.
 * @param fileUrl import.meta.url of the test file
 */
export function testServers(fileUrl: string): TestServers {
  const users: unknown = JSON.parse(required('CDRHOUSE_TEST_USERS'));
  if (!isUsers(users)) throw new Error('CDRHOUSE_TEST_USERS does not hold the three users');
  const reader = testReaders.find((name) => name === required('CDRHOUSE_TEST_READER'));
  if (reader === undefined) throw new Error('CDRHOUSE_TEST_READER is none of the readers');
  const attempt = testTries.find((name) => name === required('CDRHOUSE_TEST_TRY'));
  if (attempt === undefined) throw new Error('CDRHOUSE_TEST_TRY is none of the tries');
  const clickhouse = required('CDRHOUSE_TEST_CLICKHOUSE');
  const databases = databasesOf(new URL(fileUrl).pathname, reader, attempt);
  process.once('beforeExit', () => void dropAll(clickhouse, databases));
  return { reader, kafka: required('CDRHOUSE_TEST_KAFKA'), clickhouse, users, databases };
}

/** Each table costs the server something for as long as it is there. */
async function dropAll(clickhouse: string, databases: readonly string[]): Promise<void> {
  for (const database of databases)
    await fetch(clickhouse, { method: 'POST', body: `DROP DATABASE IF EXISTS ${database}` });
}
