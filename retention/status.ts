import type { ClickHouseClient } from '@clickhouse/client';
import { CdrhouseError } from '../schemas/errors.ts';
import { TERM_COLUMNS } from '../schemas/migrations.ts';
import { addMonths, monthsSql, shortestMonths } from '../schemas/retention-term.ts';
import type { Settings } from '../schemas/settings.ts';
import { checkClock } from './clock.ts';
import { CALL_TABLES, FINAL_SETTINGS } from '../schemas/tables.ts';
import { select, withRetentionClient } from './clickhouse.ts';
import { readTerms } from './migrate.ts';
import { readProofs } from './proofs.ts';
import { monthDue, type DueTerm } from './sweep-plan.ts';
import { dueCondition } from './sweep-sql.ts';
import { isOpen, isOverdue, type RequestState } from './subject-requests.ts';
import { endedRequestsSql, tableTerms } from './table-terms.ts';

const DAY_MS = 86_400_000;

/** What is kept of a month of starts (UTC, YYYYMM). Times are ISO 8601 in UTC. */
export interface MonthStatus {
  readonly month: number;
  readonly calls: number;
  /** Of both tables on disk. */
  readonly bytes: number;
  readonly parts: number;
  /** Null where no call is left, only delete markers. */
  readonly oldest_start: string | null;
  readonly newest_start: string | null;
  /** When its first moment is due for any feed, and when all of it is. */
  readonly due_from: string;
  readonly due_at: string;
  readonly overdue_calls: number;
  /** Days since the first of its calls was due; 0: none is. */
  readonly overshoot_days: number;
  /** Why overdue calls are still there. */
  readonly delayed_by: readonly string[];
}

/** What is kept in a table beside the calls. */
export interface TableStatus {
  readonly table: string;
  readonly rows: number;
  readonly bytes: number;
  readonly oldest: string | null;
  /** Null: it has none, see docs/retention.md. */
  readonly term_months: number | null;
  readonly overshoot_days: number;
}

export interface RetentionStatus {
  readonly at: string;
  readonly term_months: number;
  /** Months of feeds with a shorter term. */
  readonly feed_terms: Readonly<Record<string, number>>;
  /** What a sweep would say of the clock; null: it is right. */
  readonly clock: string | null;
  readonly overshoot_days: number;
  readonly months: readonly MonthStatus[];
  readonly tables: readonly TableStatus[];
  /** Requests of persons that are begun or deferred; of these, those whose deadline is over and that are not deferred. */
  readonly requests: { readonly open: number; readonly overdue: number };
}

/** What Kafka keeps of a topic by itself. */
export interface TopicStatus {
  readonly topic: string;
  /** -1: for ever. */
  readonly retention_ms: number;
  readonly oldest_record: string | null;
  readonly warning: string | null;
}

/** Tables beside those of the calls: from when a row is there. */
const TABLES = {
  dead_letters: TERM_COLUMNS.dead_letters,
  dead_letter_marks: TERM_COLUMNS.dead_letter_marks,
  lookup_journal: TERM_COLUMNS.lookup_journal,
  ingest_ledger: 'stored_at',
  adjustments: 'at',
  retention_proofs: 'begun_at',
  legal_holds: 'created_at',
  cdr_held: 'start_at',
  corrections: TERM_COLUMNS.corrections,
  suppressions: TERM_COLUMNS.suppressions,
  subject_requests: 'asked_at',
  restrictions: 'changed_at',
  objections: 'changed_at',
  table_proofs: 'begun_at',
} as const;

/** What is kept until when, and what is overdue. Changes nothing. */
export function retentionStatus(settings: Settings): Promise<RetentionStatus> {
  const { database } = settings.clickhouse;
  return withRetentionClient(settings, async (client) => {
    const months = await readTerms(client, database);
    const nowMs = Date.now();
    const clock = await clockOf(client, settings);
    const monthRows = await readMonths(client, database, { months, dueMs: nowMs });
    const tables = await readTables(client, settings, { months, dueMs: nowMs });
    return {
      at: new Date(nowMs).toISOString(),
      term_months: months.all,
      feed_terms: months.feeds,
      clock,
      overshoot_days: Math.max(0, ...monthRows.map(({ overshoot_days }) => overshoot_days)),
      months: clock === null ? monthRows : monthRows.map((row) => delayed(row, 'CLOCK_WRONG')),
      tables,
      requests: await readRequests(client, database, nowMs),
    };
  });
}

async function readRequests(
  client: ClickHouseClient,
  database: string,
  nowMs: number,
): Promise<RetentionStatus['requests']> {
  const rows = await select<{ state: RequestState; dueMs: number }>(
    client,
    `SELECT state, toUnixTimestamp64Milli(due_at) AS dueMs FROM ${database}.subject_requests FINAL`,
  );
  return {
    open: rows.filter(isOpen).length,
    overdue: rows.filter((row) => isOverdue(row, nowMs)).length,
  };
}

/** What is to be said of Kafka's copies: it must not keep longer than the calls are promised to be kept. */
export function topicStatus(
  copy: { readonly topic: string; readonly retentionMs: number; readonly oldestMs: number | undefined },
  {
    months,
    nowMs,
    topicDays,
  }: { readonly months: number; readonly nowMs: number; readonly topicDays: number },
): TopicStatus {
  const { topic, retentionMs, oldestMs } = copy;
  return {
    topic,
    retention_ms: retentionMs,
    oldest_record: isoOf(oldestMs),
    warning: topicWarning(),
  };

  function topicWarning(): string | null {
    if (oldestMs !== undefined && addMonths(oldestMs, months) <= nowMs)
      return 'holds records whose term is over';
    if (retentionMs < 0 || retentionMs > nowMs - addMonths(nowMs, -months))
      return `keeps records longer than ${months} months: lower its retention.ms`;
    return retentionMs > topicDays * DAY_MS
      ? `keeps records longer than kafka.topic_retention_days (${topicDays}) says`
      : null;
  }
}

async function clockOf(
  client: ClickHouseClient,
  { clickhouse, retention }: Settings,
): Promise<string | null> {
  try {
    await checkClock(client, clickhouse.database, retention.silence_days_max);
    return null;
  } catch (error) {
    if (error instanceof CdrhouseError && error.code === 'CLOCK_WRONG') return error.message;
    throw error;
  }
}

interface CallsOfMonth {
  readonly month: number;
  readonly calls: number;
  readonly oldest: number;
  readonly newest: number;
  readonly overdue: number;
  /** When the first of these was due. */
  readonly first_due: number;
}

async function readMonths(client: ClickHouseClient, database: string, term: DueTerm): Promise<MonthStatus[]> {
  const parts = await select<{ month: number; bytes: number; parts: number }>(
    client,
    `SELECT toUInt32(partition) AS month, sum(bytes_on_disk) AS bytes, count() AS parts FROM system.parts
     WHERE database = {database: String} AND table IN {tables: Array(String)} AND active GROUP BY month ORDER BY month`,
    { database, tables: CALL_TABLES },
  );
  const calls = await select<CallsOfMonth>(
    client,
    `SELECT toYYYYMM(start_at) AS month, count() AS calls, toUnixTimestamp64Milli(min(start_at)) AS oldest,
       toUnixTimestamp64Milli(max(start_at)) AS newest, countIf(${dueCondition(term)}) AS overdue,
       toUnixTimestamp64Milli(min(addMonths(start_at, ${monthsSql(term.months)}))) AS first_due
     FROM ${database}.cdr FINAL GROUP BY month`,
    {},
    FINAL_SETTINGS,
  );
  const detached = await select<{ month: string; parts: number }>(
    client,
    `SELECT assumeNotNull(partition_id) AS month, count() AS parts FROM system.detached_parts
     WHERE database = {database: String} AND table IN {tables: Array(String)} AND partition_id IS NOT NULL GROUP BY month`,
    { database, tables: CALL_TABLES },
  );
  const proofs = await readProofs(client, database, ['begun', 'counted', 'refused', 'failed', 'done']);
  return parts.map(({ month, bytes, parts: count }) => {
    const of = calls.find((row) => row.month === month);
    const last = proofs.findLast((proof) => proof.month === month);
    const left = detached.find((row) => row.month === String(month))?.parts ?? 0;
    const overdue = of?.overdue ?? 0;
    const firstDueMs = monthDue(month, shortestMonths(term.months)).firstMs;
    return {
      month,
      calls: of?.calls ?? 0,
      bytes,
      parts: count,
      oldest_start: isoOf(of?.oldest),
      newest_start: isoOf(of?.newest),
      due_from: new Date(firstDueMs).toISOString(),
      due_at: new Date(monthDue(month, term.months.all).lastMs).toISOString(),
      overdue_calls: overdue,
      overshoot_days: overdue === 0 ? 0 : daysSince(of!.first_due, term.dueMs),
      delayed_by:
        firstDueMs > term.dueMs
          ? []
          : [
              ...(overdue > 0 ? [delayOf(last)] : []),
              ...(left > 0 ? [`${left} detached part(s) are on disk`] : []),
            ],
    };
  });
}

function delayOf(last: { readonly state: string; readonly code: string } | undefined): string {
  if (last === undefined || last.state === 'done') return 'not swept yet';
  return last.code === '' ? 'a sweep was broken off' : last.code;
}

function delayed(row: MonthStatus, by: string): MonthStatus {
  return row.overdue_calls === 0 ? row : { ...row, delayed_by: [...row.delayed_by, by] };
}

async function readTables(
  client: ClickHouseClient,
  settings: Settings,
  term: DueTerm,
): Promise<TableStatus[]> {
  const { database } = settings.clickhouse;
  const terms = tableTerms(settings, term.months);
  const sizes = await select<{ table: string; bytes: number }>(
    client,
    `SELECT table, sum(bytes_on_disk) AS bytes FROM system.parts
     WHERE database = {database: String} AND table IN {tables: Array(String)} AND active GROUP BY table`,
    { database, tables: Object.keys(TABLES) },
  );
  const status: TableStatus[] = [];
  for (const [table, column] of Object.entries(TABLES)) {
    const swept = terms.find((each) => each.table === table);
    const months = swept?.months ?? (table in TERM_COLUMNS ? { all: term.months.all, feeds: {} } : null);
    const due = months === null ? column : `addMonths(${column}, ${monthsSql(months, swept?.feed)})`;
    const [row] = await select<{ rows: number; oldest: number; first_due: number }>(
      client,
      `SELECT count() AS rows, ${earliest(column)} AS oldest, ${earliest(due)} AS first_due FROM ${database}.${table}`,
    );
    const { rows, oldest, first_due: firstDue } = row!;
    status.push({
      table,
      rows,
      bytes: sizes.find((size) => size.table === table)?.bytes ?? 0,
      oldest: rows === 0 ? null : isoOf(oldest),
      term_months: months?.all ?? null,
      overshoot_days:
        months === null || rows === 0
          ? 0
          : daysSince(
              swept !== undefined && swept.column === undefined
                ? addMonths(await oldestEnded(client, database, table, term.dueMs), months.all)
                : firstDue,
              term.dueMs,
            ),
    });
  }
  return status;
}

/** SQL of the earliest of some times, UTC ms in whole seconds. */
function earliest(time: string): string {
  return `toInt64(toUnixTimestamp(toDateTime(min(${time}), 'UTC'))) * 1000`;
}

/** When the first request was done with of which rows are there, UTC ms; now, where none is. */
async function oldestEnded(
  client: ClickHouseClient,
  database: string,
  table: string,
  nowMs: number,
): Promise<number> {
  const [row] = await select<{ requests: number; oldest: number }>(
    client,
    `SELECT count() AS requests, toUnixTimestamp64Milli(min(ended_at)) AS oldest FROM ${endedRequestsSql(database, table)}`,
  );
  return row!.requests === 0 ? nowMs : row!.oldest;
}

/** Whole days for which something has been due. */
function daysSince(firstDueMs: number, nowMs: number): number {
  return Math.max(0, Math.floor((nowMs - firstDueMs) / DAY_MS));
}

function isoOf(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString();
}
