import { setTimeout as sleep } from 'node:timers/promises';
import { cpuSeconds, threadsCpuSeconds } from './process-usage.ts';

const LOOK_MS = 500;
/** For so long in a row there must be no merge and an idle server. */
const QUIET_SECONDS = 2;
const QUIET_LOOKS_MAX = 600;
/** CPU of an idle server with our looks at it, as a share of one core. */
const IDLE_SHARE = 0.08;

/** A list for SQL. */
export const quoted = (names: readonly string[]): string => names.map((name) => `'${name}'`).join(', ');

/** ClickHouse as the bench sees it: the local server's own user, over HTTP. */
export class Database {
  readonly url: string;
  /** Of the server's process, another one after a restart. */
  pid: number;

  constructor(url: string, pid: number) {
    this.url = url;
    this.pid = pid;
  }

  async rows<T>(query: string): Promise<T[]> {
    const text = await this.statement(`${query} FORMAT JSONEachRow`, {
      output_format_json_quote_64bit_integers: '0',
    });
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as T);
  }

  /** Runs a statement; gives what the server answered. */
  async statement(query: string, settings: Readonly<Record<string, string>> = {}): Promise<string> {
    return this.#post(new URLSearchParams(settings), query);
  }

  /** Sends `body` as the data of an INSERT. */
  async insert(query: string, body: Uint8Array, settings: Readonly<Record<string, string>>): Promise<void> {
    await this.#post(new URLSearchParams({ query, ...settings }), body);
  }

  /** CPU seconds that the server has used since its start. */
  get cpuSeconds(): number {
    return cpuSeconds(this.pid);
  }

  /** Of `cpuSeconds`, those of the threads that merge; they live as long as the server. */
  get mergeCpuSeconds(): number {
    return threadsCpuSeconds(this.pid, 'MergeMutate');
  }

  /** From now on ClickHouse merges parts of these tables only where it is told to. Tables that are not there yet are left out. */
  async mergeNothing(name: string, tables: readonly string[]): Promise<void> {
    const existing = await this.rows<{ table: string }>(
      `SELECT name AS table FROM system.tables WHERE database = '${name}' AND name IN (${quoted(tables)})`,
    );
    for (const { table } of existing)
      await this.statement(
        `ALTER TABLE ${name}.${table} MODIFY SETTING max_bytes_to_merge_at_max_space_in_pool = 1, max_bytes_to_merge_at_min_space_in_pool = 1`,
      );
  }

  /** Lets ClickHouse merge by itself again. */
  async mergeAgain(name: string, tables: readonly string[]): Promise<void> {
    for (const table of tables)
      await this.statement(
        `ALTER TABLE ${name}.${table} RESET SETTING max_bytes_to_merge_at_max_space_in_pool, max_bytes_to_merge_at_min_space_in_pool`,
      );
  }

  /** Active parts of these tables. */
  async parts(name: string, tables: readonly string[]): Promise<number> {
    const [row] = await this.rows<{ parts: number }>(
      `SELECT count() AS parts FROM system.parts WHERE active AND database = '${name}' AND table IN (${quoted(tables)})`,
    );
    return row!.parts;
  }

  /** Merges all parts of each month into one; gives the CPU seconds that the server used for it. */
  async mergeAll(name: string, tables: readonly string[]): Promise<number> {
    await this.quiet(0.5);
    const before = this.cpuSeconds;
    await Promise.all(tables.map((table) => this.statement(`OPTIMIZE TABLE ${name}.${table} FINAL`)));
    return this.cpuSeconds - before;
  }

  /** Waits until no merge has run for so long and the server uses no more CPU. Throws after 5 minutes. */
  async quiet(seconds = QUIET_SECONDS): Promise<void> {
    const wanted = (seconds * 1000) / LOOK_MS;
    let quietLooks = 0;
    let before = this.cpuSeconds;
    for (let look = 0; look < QUIET_LOOKS_MAX && quietLooks < wanted; look++) {
      await sleep(LOOK_MS);
      const now = this.cpuSeconds;
      const [merging] = await this.rows<{ merges: number }>('SELECT count() AS merges FROM system.merges');
      const idle = now - before <= (IDLE_SHARE * LOOK_MS) / 1000;
      quietLooks = merging!.merges === 0 && idle ? quietLooks + 1 : 0;
      before = now;
    }
    if (quietLooks < wanted) throw new Error('ClickHouse does not become quiet');
  }

  async #post(parameters: URLSearchParams, body: string | Uint8Array): Promise<string> {
    const answer = await fetch(`${this.url}/?${parameters.toString()}`, {
      method: 'POST',
      body,
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(text.slice(0, 2000));
    return text;
  }
}
