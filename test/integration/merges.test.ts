import { setTimeout as sleep } from 'node:timers/promises';
import tap from 'tap';
import { CALL_TABLES } from '../../schemas/tables.ts';
import { Installation } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';

/** Small parts that come one after the other, as live traffic brings them. */
const SMALL_PARTS = 30;
/** Some MB, which is not much more to ClickHouse than a part of a few rows. */
const GROWN_ROWS = 200_000;
/** Merges begin within a second of the insert that makes them possible. */
const MERGED_MS = 3000;
const PAUSE_MS = 100;

const servers = testServers(import.meta.url);
const installation = new Installation(tap, servers, 0, {
  feeds: [{ name: 'pbx', topic: servers.databases[0] }],
});

interface Part {
  readonly table: string;
  readonly name: string;
  readonly level: string;
  readonly rows: string;
}

function activeParts(): Promise<Part[]> {
  return installation.rows<Part>(
    `SELECT table, name, level, rows FROM system.parts
     WHERE active AND database = '{db}' AND table IN ('cdr', 'cdr_by_number') ORDER BY table, min_block_number`,
  );
}

/** Random keys, which do not compress. */
function insert(table: string, rows: number): Promise<void> {
  const key = table === 'cdr' ? 'calling_key' : 'number_key';
  return installation.statement(
    `INSERT INTO {db}.${table} (${key}, start_at, cdr_key, version)
     SELECT rand64(), toDateTime64('2026-03-01 10:00:00', 3, 'UTC'), rand64(2), 1 FROM numbers(${rows})`,
  );
}

await tap.test('a part that has grown is not written anew for the sake of small ones', async (t) => {
  t.equal((await installation.run('migrate')).code, 0);
  for (const table of CALL_TABLES) await insert(table, GROWN_ROWS);
  const grown = await activeParts();
  for (let part = 0; part < SMALL_PARTS; part++) {
    for (const table of CALL_TABLES) await insert(table, 1);
    // Merges keep up, as they do with a batch a second.
    await sleep(PAUSE_MS);
  }
  await sleep(MERGED_MS);
  const parts = await activeParts();
  for (const table of CALL_TABLES) {
    const before = grown.find((part) => part.table === table);
    const [first, ...others] = parts.filter((part) => part.table === table);
    t.equal(first!.name, before!.name, `${table}: the grown part is the same`);
    t.ok(
      others.some(({ level }) => Number(level) > 0),
      `${table}: small ones were merged with each other`,
    );
    t.ok(others.length < SMALL_PARTS / 2, `${table}: ${others.length} parts are left`);
    t.equal(
      others.reduce((sum, { rows }) => sum + Number(rows), 0),
      SMALL_PARTS,
    );
  }
});
