import { USAGE_GROUPS, type UsageGroup } from '../schemas/api.ts';
import { e164Key, FIRST_TEXT_KEY, isE164 } from '../schemas/number-key.ts';
import { rangeConditions, rangeParameters, type Statement, type Term } from './calls-sql.ts';
import type { Range } from './cursor.ts';

/** The group after which a page begins: the values of the groups in the order of `USAGE_GROUPS`. */
export type UsagePlace = readonly (string | number)[];

export interface UsageFilter {
  /** In the order of `USAGE_GROUPS`. */
  readonly groups: readonly UsageGroup[];
  readonly range: Range;
  readonly term: Term;
  /** Zone of days and months, known to the database. */
  readonly timeZone: string;
  /** Undefined: all numbers. */
  readonly callingNumbers:
    { readonly texts: readonly string[]; readonly keys: readonly number[] } | undefined;
  readonly feed: string | undefined;
  /** Undefined on the first page, which also has the total of all groups. */
  readonly after: UsagePlace | undefined;
  readonly rows: number;
}

/** Sums of a row of the answer of `usageSql` (JSON, 64-bit integers as text). */
export interface SumsRow {
  readonly records: string;
  readonly answered: string;
  readonly sum_duration_ms: string;
  readonly sum_talk_ms: string;
  readonly missing_talk: string;
  /** UTC ms. */
  readonly first_ms: string;
  readonly last_ms: string;
}

export interface UsageSumsRow extends SumsRow {
  readonly group_calling_number?: string;
  /** 20260301 */
  readonly group_day?: number;
  /** 202603 */
  readonly group_month?: number;
}

/** Integers from which day and month are written: a calendar date has no zone any more. */
const EXPRESSIONS: Readonly<Record<UsageGroup, { sql: string; type: string }>> = {
  calling_number: { sql: 'calling_number', type: 'String' },
  day: { sql: 'toYYYYMMDD(toTimeZone(start_at, {time_zone: String}))', type: 'UInt32' },
  month: { sql: 'toYYYYMM(toTimeZone(start_at, {time_zone: String}))', type: 'UInt32' },
};

const SUMS = `count() AS records,
  countIf(outcome = 'answered') AS answered,
  sum(duration_ms) AS sum_duration_ms,
  sum(ifNull(talk_ms, 0)) AS sum_talk_ms,
  countIf(isNull(talk_ms)) AS missing_talk,
  toUnixTimestamp64Milli(min(start_at)) AS first_ms,
  toUnixTimestamp64Milli(max(start_at)) AS last_ms`;

/** The groups in their one order, each once. */
export function orderGroups(groups: readonly string[]): UsageGroup[] {
  return USAGE_GROUPS.filter((group) => groups.includes(group));
}

/**
 * Sums per group in the order of the groups; integers of 64 bits, so exact. On the first page the total of all groups
 * comes from the same scan (WITH TOTALS), so that groups and total cannot differ by what is stored between two queries.
 * No alias is the name of a column: the server would read the alias wherever the column is meant.
 */
export function usageSql(database: string, filter: UsageFilter): Statement {
  const { groups, after } = filter;
  const expressions = groups.map((group) => EXPRESSIONS[group].sql);
  const keys = groups.map((group) => `group_${group}`);
  const selected = groups.map((group, index) => `${expressions[index]} AS group_${group}`);
  const conditions = [
    ...(filter.callingNumbers === undefined
      ? []
      : ['calling_key IN {keys: Array(UInt64)}', 'calling_number IN {texts: Array(String)}']),
    ...rangeConditions(filter.range, filter.term),
    ...(filter.feed === undefined ? [] : ['feed = {feed: String}']),
    ...(after === undefined ? [] : [`(${expressions.join(', ')}) > (${placeOf(groups)})`]),
    ...(firstKey(filter) === undefined ? [] : ['calling_key >= {first_key: UInt64}']),
  ];
  const grouping =
    groups.length === 0
      ? ''
      : `
GROUP BY ${keys.join(', ')}${after === undefined ? ' WITH TOTALS' : ''}
ORDER BY ${keys.join(', ')}
LIMIT {rows: UInt32}`;
  const text = `SELECT ${[...selected, SUMS].join(',\n  ')}
FROM ${database}.cdr FINAL
WHERE ${conditions.join('\n  AND ')}${grouping}`;
  return { text, parameters: parametersOf(filter) };
}

/**
 * The smallest number key that can follow the place, undefined where all can. Implied by the comparison of the groups;
 * it lets a later page begin where it stands in the index, since E.164 numbers have the order of their keys and all
 * other texts lie above them.
 */
function firstKey({ groups, after }: UsageFilter): number | undefined {
  const [number] = after ?? [];
  if (groups[0] !== 'calling_number' || typeof number !== 'string') return undefined;
  if (isE164(number)) return e164Key(number);
  return number.charAt(0) > '+' ? FIRST_TEXT_KEY : undefined;
}

function placeOf(groups: readonly UsageGroup[]): string {
  return groups.map((group, index) => `{after_${index}: ${EXPRESSIONS[group].type}}`).join(', ');
}

function parametersOf(filter: UsageFilter): Record<string, unknown> {
  const { range, term, callingNumbers, feed, after, timeZone, rows } = filter;
  return {
    ...rangeParameters(range, term),
    time_zone: timeZone,
    ...(callingNumbers === undefined ? {} : { keys: callingNumbers.keys, texts: callingNumbers.texts }),
    ...(feed === undefined ? {} : { feed }),
    ...Object.fromEntries((after ?? []).map((value, index) => [`after_${index}`, value])),
    ...(firstKey(filter) === undefined ? {} : { first_key: firstKey(filter) }),
    rows,
  };
}
