import type { ClickHouseClient } from '@clickhouse/client';
import { CdrhouseError } from '../schemas/errors.ts';
import type { SweepState } from '../schemas/migrations.ts';
import { readSqlTime, sqlTime } from '../schemas/sql-time.ts';
import { select } from './clickhouse.ts';
import { PartChanges } from './replaced-parts.ts';
import { overdueBy } from './sweep-sql.ts';
import { endedRequestsSql, type TableTerm } from './table-terms.ts';

/** What a sweep does with a table beside those of the calls. */
export interface SweptTable {
  readonly table: string;
  /** `due`: of a dry run. */
  readonly state: TableProof['state'] | 'due';
  readonly code: string;
  readonly term_months: number;
  /** Rows that were due, superseded ones included. */
  readonly rows: number;
}

/** A row of `table_proofs`. */
interface TableProof {
  readonly table: string;
  readonly sweep_id: string;
  readonly state: Extract<SweepState, 'begun' | 'done' | 'failed'>;
  readonly code: string;
  readonly term_months: number;
  /** Months of feeds with a shorter term, where rows belong to feeds. */
  readonly feed_terms: Readonly<Record<string, number>>;
  /** As `sqlTime` writes it, like all times here. */
  readonly due_at: string;
  readonly rows_before: number;
  readonly rows_after: number;
  readonly statement: string;
  readonly program_version: string;
  readonly begun_at: string;
}

export interface TableSweepOptions {
  readonly dueMs: number;
  readonly sweepId: string;
  readonly programVersion: string;
  readonly lost: AbortSignal | undefined;
}

/**
 * Takes the rows of tables beside those of the calls whose term is over, with a row in `table_proofs` for each table. What
 * was broken off is finished as it was begun.
 */
export class TableSweep {
  readonly #client: ClickHouseClient;
  readonly #database: string;
  readonly #options: TableSweepOptions;

  constructor(client: ClickHouseClient, database: string, options: TableSweepOptions) {
    this.#client = client;
    this.#database = database;
    this.#options = options;
  }

  async run(terms: readonly TableTerm[]): Promise<SweptTable[]> {
    const done: TableProof[] = [];
    for (const proof of await this.#begun()) {
      const term = terms.find(({ table }) => table === proof.table);
      if (term !== undefined)
        done.push(
          await this.#take(proof, { ...term, months: { all: proof.term_months, feeds: proof.feed_terms } }),
        );
    }
    const { sweepId, dueMs, programVersion } = this.#options;
    for (const term of terms) {
      const condition = await this.#overdue(term, dueMs);
      const rows = condition === undefined ? 0 : await this.#rows(term.table, condition);
      if (rows === 0) continue;
      const proof: TableProof = {
        table: term.table,
        sweep_id: sweepId,
        state: 'begun',
        code: '',
        term_months: term.months.all,
        feed_terms: term.months.feeds,
        due_at: sqlTime(dueMs),
        rows_before: rows,
        rows_after: 0,
        statement: '',
        program_version: programVersion,
        begun_at: sqlTime(Date.now()),
      };
      await this.#write(proof);
      done.push(await this.#take(proof, term));
    }
    return done.map(({ table, state, code, term_months, rows_before: rows }) => ({
      table,
      state,
      code,
      term_months,
      rows,
    }));
  }

  /** What would go. */
  async dryRun(terms: readonly TableTerm[]): Promise<SweptTable[]> {
    const due: SweptTable[] = [];
    for (const term of terms) {
      const condition = await this.#overdue(term, this.#options.dueMs);
      const rows = condition === undefined ? 0 : await this.#rows(term.table, condition);
      if (rows > 0)
        due.push({ table: term.table, state: 'due', code: '', term_months: term.months.all, rows });
    }
    return due;
  }

  /** Condition of the rows that are due; undefined: of no request anything is. */
  async #overdue({ table, months, column, feed }: TableTerm, dueMs: number): Promise<string | undefined> {
    if (column !== undefined) return overdueBy(column, { months, dueMs }, feed);
    // All rows of a request at once: a part that lost the later one would say what held before.
    const ended = await select<{ request_id: string }>(
      this.#client,
      `SELECT request_id FROM ${endedRequestsSql(this.#database, table)}
      WHERE ${overdueBy('ended_at', { months, dueMs })} ORDER BY request_id`,
    );
    if (ended.length === 0) return undefined;
    // Ids are made by us: letters, digits and dashes.
    return `request_id IN (${ended.map(({ request_id: id }) => `'${id}'`).join(', ')})`;
  }

  async #rows(table: string, condition: string): Promise<number> {
    const [row] = await select<{ rows: number }>(
      this.#client,
      `SELECT count() AS rows FROM ${this.#database}.${table} WHERE ${condition}`,
    );
    return row!.rows;
  }

  async #take(begun: TableProof, term: TableTerm): Promise<TableProof> {
    this.#options.lost?.throwIfAborted();
    const condition = await this.#overdue(term, readSqlTime(begun.due_at));
    // Where it was broken off behind the change nothing is left to be taken.
    const statement =
      condition === undefined
        ? ''
        : `ALTER TABLE ${this.#database}.${term.table} DELETE WHERE ${condition} AND '${begun.sweep_id}' != ''`;
    const proof = await this.#changed(term.table, statement, begun.sweep_id).then(
      async () => {
        const rows = condition === undefined ? 0 : await this.#rows(term.table, condition);
        const isDone = rows === 0;
        return {
          ...begun,
          statement,
          rows_after: rows,
          state: isDone ? ('done' as const) : ('failed' as const),
          code: isDone ? '' : 'SWEEP_UNPROVEN',
        };
      },
      (error: unknown) => {
        if (!(error instanceof CdrhouseError) || error.code !== 'SWEEP_UNPROVEN') throw error;
        return { ...begun, statement, state: 'failed' as const, code: error.code };
      },
    );
    await this.#write(proof);
    return proof;
  }

  async #changed(table: string, statement: string, mark: string): Promise<void> {
    const { lost } = this.#options;
    const changes = new PartChanges(this.#client, this.#database, { failure: 'SWEEP_UNPROVEN', lost });
    try {
      if (statement !== '') await changes.change(table, statement, mark);
      await changes.removeReplaced([table]);
    } finally {
      await changes.usualSettings();
    }
  }

  async #begun(): Promise<TableProof[]> {
    return select<TableProof>(
      this.#client,
      `SELECT * EXCEPT (recorded_at), toString(due_at) AS due_at, toString(begun_at) AS begun_at
      FROM ${this.#database}.table_proofs FINAL WHERE state = 'begun' ORDER BY table, sweep_id`,
    );
  }

  async #write(proof: TableProof): Promise<void> {
    await this.#client.insert({
      table: `${this.#database}.table_proofs`,
      values: [{ ...proof, recorded_at: sqlTime(Date.now()) }],
      format: 'JSONEachRow',
    });
  }
}
