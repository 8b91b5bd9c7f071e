import { NumberKeys, type NumberList } from '../schemas/number-keys.ts';
import { moment } from '../schemas/sql-time.ts';
import { FINAL_SETTINGS } from '../schemas/tables.ts';
import { select } from './clickhouse.ts';
import { knownFeeds } from './known-feeds.ts';
import { readSubject, type Subject, type SubjectOptions } from './subject.ts';
import type { SubjectContext } from './subject-requests.ts';

/** Conditions of the rows of a person in the call tables, and the values that are bound to them. */
export interface PersonSql {
  readonly cdr: string;
  readonly cdr_by_number: string;
  readonly cdr_held: string;
  readonly parameters: Readonly<Record<string, unknown>>;
}

/** Reads who is meant. Throws USAGE_WRONG and FEED_UNKNOWN. */
export async function subjectOf(
  { client, settings }: SubjectContext,
  options: SubjectOptions,
): Promise<Subject> {
  return readSubject(settings, options, await knownFeeds(client, settings));
}

/** The numbers of a person with all keys under which calls can stand. */
export async function personNumbers(context: SubjectContext, subject: Subject): Promise<NumberList> {
  const feeds = subject.feeds ?? (await knownFeeds(context.client, context.settings));
  return new NumberKeys(context.stored.identityKey).listOf(feeds, subject.numbers);
}

/** Rows of calls that began while the person held the number: ranges of the tables' sorting keys. */
export function personSql(numbers: NumberList, { feeds, fromMs, toMs }: Subject): PersonSql {
  const inTime =
    `start_at >= ${moment('from_ms')} AND start_at < ${moment('to_ms')}` +
    (feeds === undefined ? '' : ' AND feed IN {feeds: Array(String)}');
  return {
    cdr: `calling_key IN {keys: Array(UInt64)} AND calling_number IN {texts: Array(String)} AND ${inTime}`,
    cdr_by_number: `number_key IN {keys: Array(UInt64)} AND if(role = 'dialed', dialed_number, displayed_caller_id) IN {texts: Array(String)} AND ${inTime}`,
    cdr_held: `(calling_number IN {texts: Array(String)} OR displayed_caller_id IN {texts: Array(String)} OR dialed_number IN {texts: Array(String)}) AND ${inTime}`,
    parameters: {
      keys: numbers.keys,
      texts: numbers.texts,
      from_ms: fromMs,
      to_ms: toMs,
      ...(feeds === undefined ? {} : { feeds }),
    },
  };
}

/** How many calls there are of the person by role; a call can be in several of them. */
export async function countCalls(
  context: SubjectContext,
  subject: Subject,
): Promise<{ readonly calling: number; readonly dialed: number; readonly displayed: number }> {
  const { client, database } = context;
  const {
    cdr,
    cdr_by_number: byNumber,
    parameters,
  } = personSql(await personNumbers(context, subject), subject);
  const rows = await select<{ role: string; calls: number }>(
    client,
    `SELECT 'calling' AS role, count() AS calls FROM ${database}.cdr FINAL WHERE ${cdr}
    UNION ALL SELECT toString(role) AS role, count() AS calls FROM ${database}.cdr_by_number FINAL WHERE ${byNumber} GROUP BY role`,
    parameters,
    FINAL_SETTINGS,
  );
  const of = (role: string): number => rows.find((row) => row.role === role)?.calls ?? 0;
  return { calling: of('calling'), dialed: of('dialed'), displayed: of('displayed') };
}
