import { VISIBLE_WITHIN_SECONDS } from '../schemas/tables.ts';
import type { LogProgress } from './clickhouse.ts';

/** All of the ledger is read so often: what a database that was restored has no more is told for no longer. */
const ALL_EVERY_MS = 300_000;

interface All {
  readonly readMs: number;
  readonly rows: readonly LogProgress[];
}

/**
 * How far each log is read. A ledger has millions of rows, and newer ones only ever raise what is told: between two readings
 * of all of it, those that were stored since are read alone. Those of a host whose clock is behind come with the next of all.
 */
export class LedgerProgress {
  readonly #ask: (sinceMs: number) => Promise<readonly LogProgress[]>;
  readonly #now: () => number;
  #all: All | undefined;

  /** @param ask gives rows of `logProgressSql` */
  constructor(ask: (sinceMs: number) => Promise<readonly LogProgress[]>, now: () => number = Date.now) {
    this.#ask = ask;
    this.#now = now;
  }

  async read(): Promise<LogProgress[]> {
    const nowMs = this.#now();
    const all = this.#all;
    if (all !== undefined && nowMs - all.readMs < ALL_EVERY_MS) {
      const newer = await this.#ask(all.readMs - VISIBLE_WITHIN_SECONDS * 1000);
      return joined([...all.rows, ...newer]);
    }
    const rows = await this.#ask(0);
    this.#all = { readMs: nowMs, rows };
    return joined(rows);
  }
}

/** Of each log the most that is known, by its messages and by what ingest has caught up with. */
function joined(rows: readonly LogProgress[]): LogProgress[] {
  const logs = new Map<string, LogProgress>();
  for (const row of rows) {
    const name = JSON.stringify([row.feed, row.topic, row.topicId, row.partition]);
    const other = logs.get(name) ?? row;
    const generation = Math.max(row.generation, other.generation);
    logs.set(name, { ...row, generation, readUpToMs: Math.max(row.readUpToMs, other.readUpToMs) });
  }
  return [...logs.values()]
    .filter(({ feed }) => feed !== '')
    .map((log) => {
      const caughtUp = logs.get(JSON.stringify(['', log.topic, log.topicId, log.partition]));
      return { ...log, readUpToMs: Math.max(log.readUpToMs, caughtUp?.readUpToMs ?? 0) };
    });
}
