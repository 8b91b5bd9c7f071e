import type { Settings } from '../schemas/settings.ts';
import type { DueTerm } from './sweep-plan.ts';

/** Tables beside those of the calls whose rows go to the day, and how. */
export interface TableTerm {
  readonly table: string;
  readonly months: number;
  /** Of rows with a time of their own: its column. Undefined: rows belong to requests, and go with them. */
  readonly column: string | undefined;
}

/** What a sweep takes beside the calls, in the order in which it must go: marks after what they speak of. */
export function tableTerms({ retention }: Settings, callMonths: number): TableTerm[] {
  const letters = retention.dead_letter_months ?? callMonths;
  const ofRequests = retention.request_months;
  return [
    { table: 'dead_letters', months: letters, column: 'message_at' },
    { table: 'dead_letter_marks', months: letters, column: 'message_at' },
    { table: 'lookup_journal', months: retention.journal_months ?? callMonths, column: 'at' },
    { table: 'corrections', months: callMonths, column: 'start_at' },
    { table: 'restrictions', months: ofRequests, column: undefined },
    { table: 'objections', months: ofRequests, column: undefined },
    { table: 'subject_requests', months: ofRequests, column: undefined },
  ];
}

/**
 * A table expression of requests of which nothing more is to be done: `request_id`, and `ended_at`, from which their term
 * runs. What still restricts keeps its request.
 */
export function endedRequestsSql(database: string, table: string): string {
  if (table !== 'subject_requests')
    return `(SELECT request_id, max(changed_at) AS ended_at FROM ${database}.${table} FINAL
  GROUP BY request_id HAVING countIf(lifted_by = '') = 0)`;
  const holding = ['restrictions', 'objections'].map(
    (each) => `SELECT request_id FROM ${database}.${each} FINAL WHERE lifted_by = ''`,
  );
  return `(SELECT request_id, assumeNotNull(finished_at) AS ended_at FROM ${database}.subject_requests FINAL
  WHERE state IN ('done', 'refused') AND finished_at IS NOT NULL AND request_id NOT IN (${holding.join(' UNION ALL ')}))`;
}

/** Condition of what is due by a column of time; values are numbers of our own. */
export function overdueBy(column: string, { months, dueMs }: DueTerm): string {
  return `addMonths(${column}, ${months}) <= fromUnixTimestamp64Milli(toInt64(${dueMs}), 'UTC')`;
}
