import type { ClickHouseClient } from '@clickhouse/client';
import { setTimeout as sleep } from 'node:timers/promises';
import { CdrhouseError } from '../schemas/errors.ts';
import { select } from './clickhouse.ts';
import { removeReplacedStatements, syncedMergesSql, usualSettingsSql } from './sweep-sql.ts';
import { untilNone } from './writers.ts';

const POLL_MS = 100;
const MUTATION_MS_MAX = 6 * 3_600_000;

/** Changes rows of tables such that what was there before is gone from the disk. */
export class PartChanges {
  readonly #client: ClickHouseClient;
  readonly #database: string;

  constructor(client: ClickHouseClient, database: string) {
    this.#client = client;
    this.#database = database;
  }

  /**
   * Does an ALTER that changes rows, and waits for it.
   * @param mark a part of the statement by which it is found among those of the table
   * Throws ERASURE_UNPROVEN where it fails.
   */
  async change(table: string, statement: string, mark: string): Promise<void> {
    // What is replaced does not stay for the usual 8 minutes, so that what replaces it must be on disk.
    await this.#command(syncedMergesSql(this.#database, table));
    await this.#command(statement);
    const deadline = Date.now() + MUTATION_MS_MAX;
    for (;;) {
      const [row] = await select<{ running: number; failing: number }>(
        this.#client,
        `SELECT count() AS running, countIf(latest_fail_reason != '') AS failing FROM system.mutations
        WHERE database = {database: String} AND table = {table: String} AND NOT is_done
          AND position(command, {mark: String}) > 0`,
        { database: this.#database, table, mark },
      );
      if (row!.running === 0) return;
      if (row!.failing > 0 || Date.now() > deadline)
        throw new CdrhouseError('ERASURE_UNPROVEN', `a change of ${table} fails (system.mutations)`);
      await sleep(POLL_MS);
    }
  }

  /**
   * Removes all replaced parts of these tables from the disk. Throws ERASURE_WAITS where a query holds one for long.
   */
  async removeReplaced(tables: readonly string[]): Promise<void> {
    const replaced = await this.#replaced(tables);
    await this.#command('SYSTEM SYNC FILE CACHE');
    await untilNone(async () => {
      for (const table of tables)
        for (const statement of removeReplacedStatements(this.#database, table))
          await this.#command(statement);
      const left = new Set(await this.#replaced(tables));
      return replaced.filter((part) => left.has(part)).length;
    }, 'replaced parts, which a query may hold,');
    await this.usualSettings(tables);
  }

  /** Ends what was set above, after a crash too. */
  async usualSettings(tables: readonly string[]): Promise<void> {
    for (const table of tables) await this.#command(usualSettingsSql(this.#database, table));
  }

  async #replaced(tables: readonly string[]): Promise<string[]> {
    const rows = await select<{ part: string }>(
      this.#client,
      `SELECT concat(table, '/', name) AS part FROM system.parts
      WHERE database = {database: String} AND table IN {tables: Array(String)} AND NOT active`,
      { database: this.#database, tables },
    );
    return rows.map(({ part }) => part);
  }

  async #command(query: string): Promise<void> {
    await this.#client.command({ query, clickhouse_settings: { mutations_sync: '0' } });
  }
}
