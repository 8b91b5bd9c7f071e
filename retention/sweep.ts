import type { ClickHouseClient } from '@clickhouse/client';
import { setTimeout as sleep } from 'node:timers/promises';
import { databaseFailure } from '../schemas/clickhouse-errors.ts';
import { CdrhouseError, type ProgramErrorCode } from '../schemas/errors.ts';
import type { RetentionMonths } from '../schemas/retention-term.ts';
import type { Settings } from '../schemas/settings.ts';
import { readSqlTime, sqlTime } from '../schemas/sql-time.ts';
import { checkClock } from './clock.ts';
import { CALL_TABLES, FINAL_SETTINGS, type CallTable } from '../schemas/tables.ts';
import { select, withRetentionClient } from './clickhouse.ts';
import { exclusively } from './exclusive.ts';
import { coverHeld, dropEndedHolds } from './held-calls.ts';
import { readTerms, storedSettings } from './migrate.ts';
import { untilMutated } from './mutations.ts';
import { readProofs, writeProof, type Proof } from './proofs.ts';
import { planSweep, type DueTerm, type DueMonth } from './sweep-plan.ts';
import {
  adjustSql,
  callSetSql,
  dueCondition,
  monthCondition,
  REPLACED_ON_DISK,
  removeReplacedStatements,
  takenCondition,
  sweepStatements,
  syncedMergesSql,
  usualSettingsSql,
} from './sweep-sql.ts';
import { TableSweep, type SweptTable } from './table-sweep.ts';
import { tableTerms } from './table-terms.ts';

/** A month of many calls is read, or rewritten, within this time. */
const REQUEST_MS_MAX = 3_600_000;
const FILES_MS_MAX = 60_000;
const POLL_MS = 100;
/** The tables differ for a moment while ingest stores a batch in the one and the other. */
const CHECKS_MAX = 3;
const CHECK_PAUSE_MS = 1000;

export interface SweepOptions {
  readonly settings: Settings;
  readonly programVersion: string;
  /** Only says what would go. */
  readonly dryRun: boolean;
  /** Of a dry run: under these terms instead of the stored ones. */
  readonly terms?: (stored: RetentionMonths) => RetentionMonths;
  /** Nothing was sent for long, and an operator knows that the clock is right. */
  readonly trustClock: boolean;
}

/** What a sweep does with a month. */
export interface SweptMonth {
  readonly month: number;
  readonly kind: DueMonth['kind'];
  /** `due`: of a dry run. */
  readonly state: Proof['state'] | 'due';
  readonly code: string;
  readonly calls: number;
  /** On disk in both tables, of the whole month. */
  readonly bytes: number;
  /** Of the calls those that a legal hold keeps a copy of. */
  readonly held: number;
}

export interface SweepReport {
  readonly sweep_id: string;
  readonly dry_run: boolean;
  readonly term_months: number;
  /** Months of feeds with a shorter term. */
  readonly feed_terms: Readonly<Record<string, number>>;
  /** What was due at this moment went. */
  readonly due_at: string;
  readonly months: readonly SweptMonth[];
  /** Calls of the months that are done; of a dry run, those that are due. */
  readonly calls: number;
  /** What went beside the calls. */
  readonly tables: readonly SweptTable[];
  /** Legal holds that have ended, whose copies went. */
  readonly holds_ended: readonly string[];
}

/**
 * Takes all calls away whose term is over, in both tables and from the disk, with a row in `retention_proofs` for each
 * month. Safe to be run at any time, twice at once, beside ingest; after a crash the next one finishes what was begun.
 * A month that may not go is left and reported, the others go. Throws RETENTION_DIFFERS, CLOCK_WRONG, RETENTION_BUSY,
 * SWEEP_UNPROVEN where a statement does not end.
 */
export async function sweep(options: SweepOptions): Promise<SweepReport> {
  const { settings, dryRun } = options;
  return withRetentionClient(
    settings,
    (client) =>
      dryRun
        ? new Sweep(client, options, undefined).dryRun()
        : exclusively(settings, (lost) => new Sweep(client, options, lost).run()),
    REQUEST_MS_MAX,
  );
}

/** The error with which a sweep ends that left months or tables: the first one's. */
export function sweepFailure({ months, tables }: SweepReport): CdrhouseError | undefined {
  const left = [
    ...months.map(({ month, state, code }) => ({ name: String(month), state, code })),
    ...tables.map(({ table, state, code }) => ({ name: table, state, code })),
  ].filter(({ state }) => state === 'refused' || state === 'failed');
  if (left.length === 0) return undefined;
  return new CdrhouseError(
    left[0]!.code as ProgramErrorCode,
    `left: ${left.map(({ name, code }) => `${name} (${code})`).join(', ')}`,
  );
}

interface CallSet {
  readonly calls: number;
  readonly compared: number;
  readonly digest: string;
}

interface PartRow {
  readonly part: string;
  readonly bytes: number;
}

class Sweep {
  readonly #client: ClickHouseClient;
  readonly #database: string;
  readonly #options: SweepOptions;
  readonly #lost: AbortSignal | undefined;
  #sweepId = '';

  constructor(client: ClickHouseClient, options: SweepOptions, lost: AbortSignal | undefined) {
    this.#client = client;
    this.#database = options.settings.clickhouse.database;
    this.#options = options;
    this.#lost = lost;
  }

  async run(): Promise<SweepReport> {
    const term = await this.#term();
    const done: Proof[] = [];
    try {
      for (const proof of await readProofs(this.#client, this.#database, ['begun', 'counted']))
        done.push(await this.#sweepMonth(proof));
      for (const due of await this.#plan(term)) {
        if (!(await this.#hasRows(due, term))) continue;
        done.push(await this.#sweepMonth(await this.#begin(due, term)));
      }
    } finally {
      for (const table of CALL_TABLES) await this.#command(usualSettingsSql(this.#database, table));
    }
    const holdsEnded = await dropEndedHolds(this.#client, this.#database, term.dueMs);
    const tables = await this.#tables(term).run(tableTerms(this.#options.settings, term.months));
    return this.#report(term, done.map(monthOf), tables, holdsEnded);
  }

  /** What a sweep at this moment would do. */
  async dryRun(): Promise<SweepReport> {
    const term = await this.#term();
    const begun = await readProofs(this.#client, this.#database, ['begun', 'counted']);
    const months = begun.map(monthOf);
    for (const due of await this.#plan(term)) {
      const proof = await this.#newProof(due, term);
      if (!(await this.#hasRows(due, term))) continue;
      const { own, isEqual } = await this.#compare(due, term, await this.#newlyDue(due.month));
      months.push({
        ...monthOf(proof),
        state: isEqual ? 'due' : 'refused',
        code: isEqual ? '' : 'SWEEP_TABLES_DIFFER',
        calls: own.calls,
      });
    }
    const tables = await this.#tables(term).dryRun(tableTerms(this.#options.settings, term.months));
    return this.#report(term, months, tables, []);
  }

  #tables({ dueMs }: DueTerm): TableSweep {
    const { programVersion } = this.#options;
    const options = { dueMs, sweepId: this.#sweepId, programVersion, lost: this.#lost };
    return new TableSweep(this.#client, this.#database, options);
  }

  #report(
    term: DueTerm,
    months: readonly SweptMonth[],
    tables: readonly SweptTable[],
    holdsEnded: readonly string[],
  ): SweepReport {
    const gone = months.filter(({ state }) => state === 'done' || state === 'due');
    return {
      sweep_id: this.#sweepId,
      dry_run: this.#options.dryRun,
      term_months: term.months.all,
      feed_terms: term.months.feeds,
      due_at: new Date(term.dueMs).toISOString(),
      months,
      calls: gone.reduce((sum, { calls }) => sum + calls, 0),
      tables,
      holds_ended: holdsEnded,
    };
  }

  async #term(): Promise<DueTerm> {
    const { settings, trustClock, terms } = this.#options;
    const months =
      terms === undefined
        ? (await storedSettings(this.#client, settings)).retentionMonths
        : terms(await readTerms(this.#client, this.#database));
    const silenceDaysMax = trustClock ? Infinity : settings.retention.silence_days_max;
    const dueMs = await checkClock(this.#client, this.#database, silenceDaysMax);
    this.#sweepId = String(dueMs);
    return { months, dueMs };
  }

  async #plan(term: DueTerm): Promise<DueMonth[]> {
    const rows = await select<{ month: number }>(
      this.#client,
      `SELECT DISTINCT toUInt32(partition) AS month FROM system.parts
       WHERE database = {database: String} AND table IN {tables: Array(String)} AND active`,
      { database: this.#database, tables: CALL_TABLES },
    );
    return planSweep(
      rows.map(({ month }) => month),
      term,
    );
  }

  /** A month that goes as a whole goes even where only markers are left. */
  async #hasRows(due: DueMonth, term: DueTerm): Promise<boolean> {
    return due.kind === 'drop' || (await this.#rowsOf(takenCondition(due, term))) > 0;
  }

  /** Rows of both tables, delete markers and what is not merged away yet included. */
  async #rowsOf(condition: string): Promise<number> {
    const counts = CALL_TABLES.map(
      (table) => `(SELECT count() FROM ${this.#database}.${table} WHERE ${condition})`,
    );
    const [row] = await select<{ rows: number }>(this.#client, `SELECT ${counts.join(' + ')} AS rows`);
    return row!.rows;
  }

  async #newProof({ month, kind }: DueMonth, { months, dueMs }: DueTerm): Promise<Proof> {
    const parts = await this.#parts(month);
    return {
      month,
      sweep_id: this.#sweepId,
      kind,
      state: 'begun',
      code: '',
      term_months: months.all,
      feed_terms: months.feeds,
      due_at: sqlTime(dueMs),
      calls_before: 0,
      calls_by_number_before: 0,
      digest_before: '',
      rows_after: 0,
      kept_before: 0,
      kept_after: 0,
      held: 0,
      bytes_before: parts.reduce((sum, { bytes }) => sum + bytes, 0),
      parts: parts.map(({ part }) => part),
      parts_after: [],
      statements: [],
      part_log: [],
      program_version: this.#options.programVersion,
      begun_at: sqlTime(Date.now()),
    };
  }

  async #begin(due: DueMonth, term: DueTerm): Promise<Proof> {
    const proof = await this.#newProof(due, term);
    await writeProof(this.#client, this.#database, proof);
    return proof;
  }

  /** All parts of a month that are on disk, replaced ones too. */
  #parts(month: number): Promise<PartRow[]> {
    return select<PartRow>(
      this.#client,
      `SELECT concat(table, '/', name) AS part, if(active, bytes_on_disk, 0) AS bytes FROM system.parts
       WHERE database = {database: String} AND table IN {tables: Array(String)} AND partition = {month: String}
         AND (active OR ${REPLACED_ON_DISK})
       ORDER BY part`,
      { database: this.#database, tables: CALL_TABLES, month: String(month) },
    );
  }

  /** Goes on where a proof stands, and gives it as it is in the end. */
  async #sweepMonth(proof: Proof): Promise<Proof> {
    const { month, kind } = proof;
    const due = { month, kind };
    const term = termOf(proof);
    const counted = proof.state === 'begun' ? await this.#count(proof, due, term) : proof;
    if (counted.state === 'refused') return counted;
    const statements = await this.#take(due, term, counted.parts);
    return this.#verify({ ...counted, statements }, due, term);
  }

  /** Copies what is held, compares the tables, and notes what is about to go. Nothing is gone yet. */
  async #count(begun: Proof, due: DueMonth, term: DueTerm): Promise<Proof> {
    const { month } = due;
    const goes = takenCondition(due, term);
    const { held, failure } = await this.#cover(goes, term);
    const { own, other, isEqual } = await this.#compare(due, term, await this.#newlyDue(month));
    const before = {
      ...begun,
      held,
      calls_before: own.calls,
      calls_by_number_before: other.calls,
      digest_before: own.digest,
      kept_before: await this.#kept(due, term),
    };
    const code = failure ?? (isEqual ? '' : 'SWEEP_TABLES_DIFFER');
    if (code === '') await this.#command(adjustSql(this.#database, goes, begun.sweep_id), FINAL_SETTINGS);
    const proof: Proof = { ...before, state: code === '' ? 'counted' : 'refused', code };
    await writeProof(this.#client, this.#database, proof);
    return proof;
  }

  /** How many calls have copies for a hold; the error code where they cannot be made, so that their month must stay. */
  async #cover(condition: string, { dueMs }: DueTerm): Promise<{ held: number; failure?: string }> {
    try {
      return { held: await coverHeld(this.#client, this.#database, { nowMs: dueMs, condition }) };
    } catch (error) {
      const failure = databaseFailure(error);
      if (!(failure instanceof CdrhouseError)) throw error;
      return { held: 0, failure: failure.code };
    }
  }

  /**
   * Condition of what no sweep of the month has taken before. What comes behind one (a batch that waited for the database
   * since before it) may have come into one of the tables only, and has no one to be compared with.
   */
  async #newlyDue(month: number): Promise<string> {
    const all = await readProofs(this.#client, this.#database, ['done']);
    const former = all.filter((proof) => proof.month === month);
    if (former.some(({ kind }) => kind === 'drop')) return '0';
    const last = former.at(-1);
    return last === undefined ? '1' : `NOT (${dueCondition(termOf(last))})`;
  }

  async #compare(
    due: DueMonth,
    term: DueTerm,
    compared: string,
  ): Promise<{ own: CallSet; other: CallSet; isEqual: boolean }> {
    const goes = takenCondition(due, term);
    for (let check = 1; ; check++) {
      const own = await this.#set('cdr', goes, compared);
      const other = await this.#set('cdr_by_number', `${goes} AND role = 'dialed'`, compared);
      const isEqual = own.compared === other.compared && own.digest === other.digest;
      if (isEqual || check === CHECKS_MAX) return { own, other, isEqual };
      await sleep(CHECK_PAUSE_MS);
    }
  }

  async #set(table: CallTable, condition: string, compared: string): Promise<CallSet> {
    const [set] = await select<CallSet>(
      this.#client,
      callSetSql(this.#database, table, condition, compared),
      {},
      { ...FINAL_SETTINGS, max_bytes_before_external_group_by: '1000000000' },
    );
    return set!;
  }

  /** Calls of a month that are not due. */
  async #kept({ month, kind }: DueMonth, term: DueTerm): Promise<number> {
    if (kind === 'drop') return 0;
    const [row] = await select<{ calls: number }>(
      this.#client,
      `SELECT count() AS calls FROM ${this.#database}.cdr FINAL
       WHERE ${monthCondition(month)} AND NOT (${dueCondition(term)})`,
      {},
      FINAL_SETTINGS,
    );
    return row!.calls;
  }

  /** Takes the calls out of both tables and off the disk; gives the statements. */
  async #take(due: DueMonth, term: DueTerm, parts: readonly string[]): Promise<string[]> {
    const done: string[] = [];
    const run = async (statement: string): Promise<void> => {
      await this.#command(statement, { mutations_sync: '0' });
      done.push(statement);
    };
    const isDelete = due.kind === 'delete';
    for (const table of CALL_TABLES) {
      if (isDelete) await this.#command(syncedMergesSql(this.#database, table));
      for (const statement of sweepStatements(this.#database, table, due, term)) await run(statement);
      if (isDelete)
        await untilMutated(this.#client, {
          database: this.#database,
          table,
          mark: `DELETE IN PARTITION ${due.month} `,
          failure: 'SWEEP_UNPROVEN',
          lost: this.#lost,
        });
    }
    if (isDelete) {
      await this.#command('SYSTEM SYNC FILE CACHE');
      for (const table of CALL_TABLES)
        for (const statement of removeReplacedStatements(this.#database, table))
          await this.#command(statement);
    }
    await this.#gone(due.month, parts);
    return done;
  }

  /** Waits until none of these parts is on disk; a query that reads one may hold it. */
  async #gone(month: number, parts: readonly string[]): Promise<void> {
    const deadline = Date.now() + FILES_MS_MAX;
    while ((await this.#left(month, parts)).length > 0 && Date.now() < deadline) {
      this.#lost?.throwIfAborted();
      await sleep(POLL_MS);
    }
  }

  async #left(month: number, before: readonly string[]): Promise<string[]> {
    const now = await this.#parts(month);
    return now.map(({ part }) => part).filter((part) => before.includes(part));
  }

  async #verify(taken: Proof, due: DueMonth, term: DueTerm): Promise<Proof> {
    // What was stored since is swept next time.
    const before = `stored_at < toDateTime(${Math.floor(readSqlTime(taken.begun_at) / 1000)}, 'UTC')`;
    const found = {
      rows_after: await this.#rowsOf(`${takenCondition(due, term)} AND ${before}`),
      kept_after: await this.#kept(due, term),
      parts_after: await this.#left(due.month, taken.parts),
      part_log: await this.#partLog(taken),
    };
    const proven =
      found.rows_after === 0 && found.kept_after >= taken.kept_before && found.parts_after.length === 0;
    const proof: Proof = {
      ...taken,
      ...found,
      state: proven ? 'done' : 'failed',
      code: proven ? '' : 'SWEEP_UNPROVEN',
    };
    await writeProof(this.#client, this.#database, proof);
    return proof;
  }

  /** What the server itself noted of the parts of a month since the sweep began. */
  async #partLog({ month, begun_at }: Proof): Promise<string[]> {
    const [log] = await select<{ there: number }>(
      this.#client,
      "SELECT count() AS there FROM system.tables WHERE database = 'system' AND name = 'part_log'",
    );
    if (log!.there === 0) return [];
    await this.#command('SYSTEM FLUSH LOGS part_log');
    const events = await select<{ event: string }>(
      this.#client,
      `SELECT concat(toString(event_time_microseconds), ' ', toString(event_type), ' ', table, '/', part_name) AS event
       FROM system.part_log
       WHERE database = {database: String} AND table IN {tables: Array(String)} AND partition_id = {month: String}
         AND event_date >= toDate({begun: String}) - 1 AND event_time_microseconds >= parseDateTime64BestEffort({begun: String}, 3, 'UTC')
       ORDER BY event_time_microseconds`,
      { database: this.#database, tables: CALL_TABLES, month: String(month), begun: begun_at },
    );
    return events.map(({ event }) => event);
  }

  async #command(query: string, settings: Readonly<Record<string, string | number>> = {}): Promise<void> {
    this.#lost?.throwIfAborted();
    await this.#client.command({ query, clickhouse_settings: settings });
  }
}

/** The term under which a proof was begun. */
function termOf({ term_months: all, feed_terms: feeds, due_at: dueAt }: Proof): DueTerm {
  return { months: { all, feeds }, dueMs: readSqlTime(dueAt) };
}

function monthOf({ month, kind, state, code, calls_before, bytes_before, held }: Proof): SweptMonth {
  return { month, kind, state, code, calls: calls_before, bytes: bytes_before, held };
}
