import { existsSync } from 'node:fs';
import { join } from 'node:path';
import tap from 'tap';
import { REPLACED_ON_DISK, removeReplacedStatements } from '../../retention/sweep-sql.ts';
import { Installation } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';

/** So many files of a part that removing them takes longer than asking for them. */
const COLUMNS = 400;
const ROUNDS = 5;
const LOOKS_MAX = 10_000;

const servers = testServers(import.meta.url);
const installation = new Installation(tap, servers, 0, {});

await tap.test(
  'a replaced part counts until its files are gone, also while the server removes them',
  async (t) => {
    const { database } = installation;
    const columns = Array.from({ length: COLUMNS }, (_, index) => `c${index} String`).join(', ');
    await installation.statement('CREATE DATABASE IF NOT EXISTS {db}');
    await installation.statement(
      `CREATE TABLE {db}.wide (k UInt64, ${columns}) ENGINE = MergeTree ORDER BY k
     SETTINGS min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0`,
    );
    for (let round = 1; round <= ROUNDS; round++) {
      await installation.statement('INSERT INTO {db}.wide (k) SELECT number FROM numbers(100)');
      const [part] = await installation.rows<{ name: string; path: string }>(
        "SELECT name, path FROM system.parts WHERE database = '{db}' AND table = 'wide' AND active ORDER BY min_block_number DESC LIMIT 1",
      );
      await installation.statement(
        `ALTER TABLE {db}.wide DELETE WHERE k >= ${round} SETTINGS mutations_sync = 1`,
      );
      const file = join(part!.path, 'columns.txt');
      t.ok(existsSync(file), 'it stays until it is told to go');
      const removing = (async () => {
        for (const statement of removeReplacedStatements(database, 'wide'))
          await installation.statement(statement);
      })();
      for (let look = 0, counts = true; counts; look++) {
        if (look > LOOKS_MAX) throw new Error('it is never removed');
        const [row] = await installation.rows<{ parts: string }>(
          `SELECT count() AS parts FROM system.parts
         WHERE database = '{db}' AND table = 'wide' AND name = '${part!.name}' AND ${REPLACED_ON_DISK}`,
        );
        counts = row!.parts !== '0';
      }
      t.notOk(existsSync(part!.path), `round ${round}: nothing of it is left once it does not count`);
      await removing;
      await installation.statement('ALTER TABLE {db}.wide RESET SETTING old_parts_lifetime');
    }
  },
);
