import { USAGE_GROUPS, type UsageGroup } from '../schemas/api.ts';
import { billedParameters, billedSql, type BillingTerms } from './billing.ts';
import { limitOf, limitParameters, type Statement } from './calls-sql.ts';
import type { Range } from './cursor.ts';
import type { NumberList } from '../schemas/number-keys.ts';
import { rangeConditions, rangeParameters, type Term } from './term-sql.ts';
import { dialedPrefixParameters, dialedPrefixSql, type PrefixesByLength } from './dialed-prefixes.ts';

/** The group after which a page begins: the values of the groups in the order of `USAGE_GROUPS`. */
export type UsagePlace = readonly (string | number)[];

/** What calls must be to count; undefined: anything. */
export interface UsageConditions {
  readonly callingNumbers?: NumberList | undefined;
  readonly displayedNumbers?: NumberList | undefined;
  readonly dialedNumbers?: NumberList | undefined;
  readonly accounts?: readonly string[] | undefined;
  readonly feeds?: readonly string[] | undefined;
  readonly outcomes?: readonly string[] | undefined;
  readonly directions?: readonly string[] | undefined;
  /** Both inclusive. */
  readonly minDurationMs?: number | undefined;
  readonly maxDurationMs?: number | undefined;
}

export interface UsageFilter {
  /** In the order of `USAGE_GROUPS`. */
  readonly groups: readonly UsageGroup[];
  readonly range: Range;
  readonly term: Term;
  /** Zone of hours, days, weeks and months, known to the database. */
  readonly timeZone: string;
  readonly conditions: UsageConditions;
  readonly prefixes: PrefixesByLength;
  /** Undefined: nothing is billed. */
  readonly billing: BillingTerms | undefined;
  /** Undefined on the first page. */
  readonly after: UsagePlace | undefined;
  /** Groups to give; undefined: all, and before them a row with their total (`is_total`). */
  readonly rows: number | undefined;
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
  /** With billing terms. */
  readonly billed_seconds?: string;
  /** Of the set of rows: another one where a call was added, corrected or removed. */
  readonly digest: string;
}

export type UsageSumsRow = SumsRow & { readonly is_total?: number } & {
  readonly [Group in `group_${UsageGroup}`]?: string | number;
};

const LOCAL_START = 'toTimeZone(start_at, {time_zone: String})';
const OFFSET_SECONDS = `timezoneOffset(${LOCAL_START})`;

/**
 * What each group is. Day, week and month are integers from which a date is written: it has no zone any more. An hour is
 * the Unix second at which the hour of the local clock began, so that an hour which comes twice is two groups.
 */
const EXPRESSIONS: Readonly<
  Record<Exclude<UsageGroup, 'dialed_prefix'>, { sql: string; type: 'String' | 'UInt32' | 'Int64' }>
> = {
  calling_number: { sql: 'calling_number', type: 'String' },
  displayed_caller_id: { sql: 'displayed_caller_id', type: 'String' },
  dialed_number: { sql: 'dialed_number', type: 'String' },
  account: { sql: 'toString(account)', type: 'String' },
  outcome: { sql: 'toString(outcome)', type: 'String' },
  direction: { sql: 'toString(direction)', type: 'String' },
  feed: { sql: 'toString(feed)', type: 'String' },
  hour: {
    sql: `toInt64(intDiv(intDiv(toUnixTimestamp64Milli(start_at), 1000) + ${OFFSET_SECONDS}, 3600) * 3600 - ${OFFSET_SECONDS})`,
    type: 'Int64',
  },
  day: { sql: `toYYYYMMDD(${LOCAL_START})`, type: 'UInt32' },
  week: { sql: `toUInt32(toYearWeek(${LOCAL_START}, 3))`, type: 'UInt32' },
  month: { sql: `toYYYYMM(${LOCAL_START})`, type: 'UInt32' },
};

/** The groups in their one order, each once. */
export function orderGroups(groups: readonly string[]): UsageGroup[] {
  return USAGE_GROUPS.filter((group) => groups.includes(group));
}

/**
 * Sums per group in the order of the groups; integers of 64 bits, so exact. The total of all groups comes from the same
 * scan: of a page beside its rows (WITH TOTALS), on later pages too, where its digest says whether the calls are still those of
 * the first page; of all groups as the first row, since who reads them one by one must know it before.
 * No alias is the name of a column: the server would read the alias wherever the column is meant.
 */
export function usageSql(database: string, filter: UsageFilter): Statement {
  const { groups, range, term } = filter;
  const { table, key, conditions } = source(filter.conditions);
  const selected = [
    ...(isWhole(filter) ? [`grouping(group_${groups[0]}) AS is_total`] : []),
    ...groups.map((group) => `${expressionOf(group, filter)} AS group_${group}`),
  ];
  const text = `SELECT ${[...selected, ...sums(filter, key)].join(',\n  ')}
FROM ${database}.${table} FINAL
WHERE ${[...conditions, ...rangeConditions(range, term), ...otherConditions(filter.conditions)].join('\n  AND ')}${grouping(filter)}`;
  return { text, parameters: parametersOf(filter) };
}

function isWhole({ groups, rows }: UsageFilter): boolean {
  return groups.length > 0 && rows === undefined;
}

function grouping(filter: UsageFilter): string {
  const { groups, after, rows } = filter;
  if (groups.length === 0) return '';
  const keys = groups.map((group) => `group_${group}`).join(', ');
  if (isWhole(filter)) return `\nGROUP BY GROUPING SETS ((${keys}), ())\nORDER BY is_total DESC, ${keys}`;
  const place = groups.map((group, index) => `{after_${index}: ${typeOf(group)}}`).join(', ');
  return `
GROUP BY ${keys} WITH TOTALS${after === undefined ? '' : `\nHAVING tuple(${keys}) > tuple(${place})`}
ORDER BY ${keys}${limitOf(rows)}
SETTINGS totals_mode = 'before_having'`;
}

function sums({ billing }: UsageFilter, key: string): string[] {
  return [
    'count() AS records',
    "countIf(outcome = 'answered') AS answered",
    'sum(duration_ms) AS sum_duration_ms',
    'sum(ifNull(talk_ms, 0)) AS sum_talk_ms',
    'countIf(isNull(talk_ms)) AS missing_talk',
    'toUnixTimestamp64Milli(min(start_at)) AS first_ms',
    'toUnixTimestamp64Milli(max(start_at)) AS last_ms',
    ...(billing === undefined ? [] : [`sum(${billedSql(billing)}) AS billed_seconds`]),
    `groupBitXor(cityHash64(${key}, start_at, cdr_key, version)) AS digest`,
  ];
}

/** The table whose sorting key finds the numbers asked for, and the conditions on that key. */
function source({ callingNumbers, dialedNumbers }: UsageConditions): {
  table: string;
  key: string;
  conditions: string[];
} {
  if (callingNumbers === undefined && dialedNumbers !== undefined) {
    // Each call stands there once as dialed.
    const conditions = ["role = 'dialed'", 'number_key IN {dialed_keys: Array(UInt64)}'];
    return { table: 'cdr_by_number', key: 'number_key', conditions };
  }
  const conditions = callingNumbers === undefined ? [] : ['calling_key IN {calling_keys: Array(UInt64)}'];
  return { table: 'cdr', key: 'calling_key', conditions };
}

function otherConditions(conditions: UsageConditions): string[] {
  const given: [unknown, string][] = [
    [conditions.callingNumbers, 'calling_number IN {calling_texts: Array(String)}'],
    [conditions.displayedNumbers, 'displayed_caller_id IN {displayed_texts: Array(String)}'],
    [conditions.dialedNumbers, 'dialed_number IN {dialed_texts: Array(String)}'],
    [conditions.accounts, 'account IN {accounts: Array(String)}'],
    [conditions.feeds, 'feed IN {feeds: Array(String)}'],
    [conditions.outcomes, 'toString(outcome) IN {outcomes: Array(String)}'],
    [conditions.directions, 'toString(direction) IN {directions: Array(String)}'],
    [conditions.minDurationMs, 'duration_ms >= {min_duration_ms: UInt64}'],
    [conditions.maxDurationMs, 'duration_ms <= {max_duration_ms: UInt64}'],
  ];
  return given.filter(([value]) => value !== undefined).map(([, text]) => text);
}

function expressionOf(group: UsageGroup, { prefixes }: UsageFilter): string {
  return group === 'dialed_prefix' ? dialedPrefixSql(prefixes) : EXPRESSIONS[group].sql;
}

function typeOf(group: UsageGroup): string {
  return group === 'dialed_prefix' ? 'String' : EXPRESSIONS[group].type;
}

function parametersOf(filter: UsageFilter): Record<string, unknown> {
  const { groups, range, term, conditions, billing, prefixes, after, timeZone, rows } = filter;
  const values = {
    calling_keys: conditions.callingNumbers?.keys,
    calling_texts: conditions.callingNumbers?.texts,
    displayed_texts: conditions.displayedNumbers?.texts,
    dialed_keys: conditions.dialedNumbers?.keys,
    dialed_texts: conditions.dialedNumbers?.texts,
    accounts: conditions.accounts,
    feeds: conditions.feeds,
    outcomes: conditions.outcomes,
    directions: conditions.directions,
    min_duration_ms: conditions.minDurationMs,
    max_duration_ms: conditions.maxDurationMs,
  };
  return {
    ...rangeParameters(range, term),
    time_zone: timeZone,
    ...Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)),
    ...(groups.includes('dialed_prefix') ? dialedPrefixParameters(prefixes) : {}),
    ...(billing === undefined ? {} : billedParameters(billing)),
    ...Object.fromEntries((after ?? []).map((value, index) => [`after_${index}`, value])),
    ...limitParameters(rows),
  };
}
