import type { Statement } from './calls-sql.ts';
import { unsearchableSql } from '../schemas/number-hmac.ts';
import { moment } from '../schemas/sql-time.ts';
import type { Range } from './cursor.ts';

/** The entry after which a page begins. */
export interface JournalPlace {
  /** UTC ms. */
  readonly startedMs: number;
  readonly requestId: string;
}

export interface JournalFilter {
  readonly range: Range;
  /** Undefined, as of the others below: any. */
  readonly caseId: string | undefined;
  readonly keyId: string | undefined;
  readonly agent: string | undefined;
  /** HMACs of the texts under which the number can have been looked up. */
  readonly hmacs: readonly string[] | undefined;
  readonly after: JournalPlace | undefined;
  /** Rows to give. */
  readonly rows: number;
}

/** A row of `journalSql` (JSONEachRow, 64-bit integers as text). */
export interface JournalStartRow {
  readonly at_ms: string;
  readonly request_id: string;
  readonly key_id: string;
  readonly agent: string;
  readonly purpose: string;
  readonly case_id: string;
  readonly route: string;
  readonly filter: string;
}

/** A row of `journalEndsSql`. */
export interface JournalEndRow {
  readonly request_id: string;
  readonly at_ms: string;
  readonly given: string;
  readonly whole: number;
}

const DAY_MS = 86_400_000;

/** The look-ups that began in the range, newest first, each once: a look-up has a row for every text that it searched. */
export function journalSql(database: string, filter: JournalFilter): Statement {
  const { range, caseId, keyId, agent, hmacs, after, rows } = filter;
  const conditions = [
    ...startedIn,
    ...(caseId === undefined ? [] : ['case_id = {case_id: String}']),
    ...(keyId === undefined ? [] : ['key_id = {key_id: String}']),
    ...(agent === undefined ? [] : ['agent = {agent: String}']),
    ...(hmacs === undefined ? [] : ['number_hmac IN {hmacs: Array(String)}']),
    // The first comparison is implied by the second; it is there for the index.
    ...(after === undefined
      ? []
      : [
          `at <= ${moment('after_ms')}`,
          `(at, request_id) < (${moment('after_ms')}, {after_request: String})`,
        ]),
  ];
  return {
    text: `SELECT toUnixTimestamp64Milli(at) AS at_ms, request_id, key_id, agent, purpose, case_id, route, filter
FROM ${database}.lookup_journal
WHERE ${conditions.join('\n  AND ')}
ORDER BY at DESC, request_id DESC
LIMIT 1 BY at, request_id
LIMIT {rows: UInt32}`,
    parameters: {
      from_ms: range.fromMs,
      to_ms: range.toMs,
      ...(caseId === undefined ? {} : { case_id: caseId }),
      ...(keyId === undefined ? {} : { key_id: keyId }),
      ...(agent === undefined ? {} : { agent }),
      ...(hmacs === undefined ? {} : { hmacs }),
      ...(after === undefined ? {} : { after_ms: after.startedMs, after_request: after.requestId }),
      rows,
    },
  };
}

const startedIn = [`phase = 'started'`, `at >= ${moment('from_ms')}`, `at < ${moment('to_ms')}`];

/** How look-ups that began in this time ended. No answer takes a day; the bound keeps an old page from reading all later rows. */
export function journalEndsSql(database: string, requestIds: readonly string[], began: Range): Statement {
  return {
    text: `SELECT request_id, toUnixTimestamp64Milli(max(at)) AS at_ms, max(rows) AS given, min(complete) AS whole
FROM ${database}.lookup_journal
WHERE phase = 'finished'
  AND at >= ${moment('from_ms')}
  AND at < ${moment('to_ms')}
  AND request_id IN {request_ids: Array(String)}
GROUP BY request_id`,
    parameters: { from_ms: began.fromMs, to_ms: began.toMs + DAY_MS, request_ids: requestIds },
  };
}

/** How many look-ups of the range no number finds. */
export function unsearchableInSql(
  database: string,
  { fromMs, toMs }: Range,
  keys: readonly Uint8Array[],
): Statement {
  const { text, parameters } = unsearchableSql(database, keys, startedIn);
  return { text, parameters: { ...parameters, from_ms: fromMs, to_ms: toMs } };
}

/** The labels of API keys. */
export function keyLabelsSql(database: string, keyIds: readonly string[]): Statement {
  return {
    text: `SELECT key_id, label FROM ${database}.api_keys FINAL WHERE key_id IN {key_ids: Array(String)}`,
    parameters: { key_ids: keyIds },
  };
}
