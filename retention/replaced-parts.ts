import type { ClickHouseClient } from '@clickhouse/client';
import type { ProgramErrorCode } from '../schemas/errors.ts';
import { select } from './clickhouse.ts';
import { untilMutated } from './mutations.ts';
import {
  REPLACED_ON_DISK,
  removeReplacedStatements,
  syncedMergesSql,
  usualSettingsSql,
} from './sweep-sql.ts';
import { untilNone } from './writers.ts';

export interface PartChangesOptions {
  /** The code that is thrown where a change fails. */
  readonly failure: ProgramErrorCode;
  /** Aborted where a change must not be waited for any more; undefined: never. */
  readonly lost: AbortSignal | undefined;
}

/** Changes rows of tables such that what was there before is gone from the disk. `usualSettings` is called in the end. */
export class PartChanges {
  readonly #client: ClickHouseClient;
  readonly #database: string;
  readonly #options: PartChangesOptions;
  /** Tables whose settings are not the usual ones. */
  readonly #set = new Set<string>();

  constructor(client: ClickHouseClient, database: string, options: PartChangesOptions) {
    this.#client = client;
    this.#database = database;
    this.#options = options;
  }

  /**
   * Does an ALTER that changes rows, and waits for it.
   * @param mark a part of the statement by which it is found among those of the table
   * Throws where it fails.
   */
  async change(table: string, statement: string, mark: string): Promise<void> {
    // What is replaced does not stay for the usual 8 minutes, so that what replaces it must be on disk.
    this.#set.add(table);
    await this.#command(syncedMergesSql(this.#database, table));
    await this.#command(statement);
    await untilMutated(this.#client, { database: this.#database, table, mark, ...this.#options });
  }

  /**
   * Removes all replaced parts of these tables from the disk. Throws ERASURE_WAITS where a query holds one for long.
   */
  async removeReplaced(tables: readonly string[]): Promise<void> {
    // A command that was killed may have left those of any of them.
    for (const table of tables) this.#set.add(table);
    const replaced = await this.#replaced(tables);
    await this.#command('SYSTEM SYNC FILE CACHE');
    await untilNone(async () => {
      for (const table of tables)
        for (const statement of removeReplacedStatements(this.#database, table))
          await this.#command(statement);
      const left = new Set(await this.#replaced(tables));
      return replaced.filter((part) => left.has(part)).length;
    }, 'replaced parts, which a query may hold,');
  }

  /** Ends what was set above. */
  async usualSettings(): Promise<void> {
    for (const table of this.#set) await this.#command(usualSettingsSql(this.#database, table));
  }

  async #replaced(tables: readonly string[]): Promise<string[]> {
    const rows = await select<{ part: string }>(
      this.#client,
      `SELECT concat(table, '/', name) AS part FROM system.parts
      WHERE database = {database: String} AND table IN {tables: Array(String)} AND ${REPLACED_ON_DISK}`,
      { database: this.#database, tables },
    );
    return rows.map(({ part }) => part);
  }

  async #command(query: string): Promise<void> {
    await this.#client.command({ query, clickhouse_settings: { mutations_sync: '0' } });
  }
}
