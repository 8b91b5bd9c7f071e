import { atMost, type RetentionMonths } from '../schemas/retention-term.ts';
import type { Settings } from '../schemas/settings.ts';

/** Tables beside those of the calls whose rows go to the day, and how. */
export interface TableTerm {
  readonly table: string;
  readonly months: RetentionMonths;
  /** Of rows with a time of their own: its column. Undefined: rows belong to requests, and go with them. */
  readonly column: string | undefined;
  /** SQL of the feed of a row, where that is no column of its own. */
  readonly feed?: string;
}

/** How long rejected records are kept: no longer than the calls of their feed. */
export function letterTerms({ retention }: Settings, ofCalls: RetentionMonths): RetentionMonths {
  return atMost(ofCalls, retention.dead_letter_months ?? ofCalls.all);
}

/** What a sweep takes beside the calls, in the order in which it must go: marks after what they speak of. */
export function tableTerms(settings: Settings, ofCalls: RetentionMonths): TableTerm[] {
  const { retention } = settings;
  const ofLetters = letterTerms(settings, ofCalls);
  const ofRequests = ofAll(retention.request_months);
  return [
    { table: 'dead_letters', months: ofLetters, column: 'message_at' },
    { table: 'dead_letter_marks', months: ofAll(ofLetters.all), column: 'message_at' },
    { table: 'lookup_journal', months: ofAll(retention.journal_months ?? ofCalls.all), column: 'at' },
    { table: 'corrections', months: ofCalls, column: 'start_at', feed: "JSONExtractString(row, 'feed')" },
    { table: 'restrictions', months: ofRequests, column: undefined },
    { table: 'objections', months: ofRequests, column: undefined },
    { table: 'subject_requests', months: ofRequests, column: undefined },
  ];
}

/** Of a table whose rows belong to no feed. */
function ofAll(all: number): RetentionMonths {
  return { all, feeds: {} };
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
