import { PURPOSES } from '../schemas/api.ts';
import { CdrhouseError } from '../schemas/errors.ts';
import type { Settings } from '../schemas/settings.ts';
import { moment, sqlTime } from '../schemas/sql-time.ts';
import { select } from './clickhouse.ts';
import { countCalls, subjectOf } from './subject-calls.ts';
import { createHold, releaseHolds } from './holds.ts';
import { numbersByFeed, OPEN_END_MS, type Subject } from './subject.ts';
import {
  beginRequest,
  checkReason,
  dryRun,
  finishRequest,
  openRequest,
  withSubjects,
  type NewRequest,
  type PersonAsked,
  type RequestDetails,
  type SubjectContext,
  type SubjectReport,
  type SubjectRequest,
} from './subject-requests.ts';

/**
 * Restriction of processing (Article 18 of the GDPR), objection (21) and withdrawal of consent (7): what the API may not
 * show, or not for a purpose. The calls stay as they are; query/ reads these tables with every look-up.
 */

export interface RestrictAsked extends PersonAsked {
  /** The calls are kept until it is lifted, past their term too. */
  readonly keepPastTerm: boolean;
}

export interface ObjectAsked extends PersonAsked {
  readonly kind: 'object' | 'withdraw';
  readonly purposes: readonly string[];
}

export interface LiftAsked extends PersonAsked {
  /** Objections to these purposes are lifted; none: restrictions. */
  readonly purposes: readonly string[];
}

/**
 * Look-ups hide the person's calls from now on. What must be kept past its term is kept by a legal hold that has the
 * request's id. Throws USAGE_WRONG, RETENTION_BUSY.
 */
export function restrict(settings: Settings, asked: RestrictAsked): Promise<SubjectReport> {
  const { keepPastTerm, reason } = asked;
  const details = { keep_past_term: keepPastTerm };
  const rows = [{ keep_past_term: keepPastTerm ? 1 : 0 }];
  const hold = async (request: SubjectRequest, { numbers, feeds, fromMs, toMs }: Subject) => {
    const { requestId: holdId } = request;
    const made = { holdId, numbers, feeds, fromMs, toMs, reason, untilMs: OPEN_END_MS };
    return { calls_held: (await createHold(settings, made)).calls };
  };
  return record(
    settings,
    { ...asked, kind: 'restrict', details, rows },
    'restrictions',
    keepPastTerm ? hold : undefined,
  );
}

/** The API refuses look-ups of the person for these purposes from now on. Throws USAGE_WRONG. */
export function object(settings: Settings, asked: ObjectAsked): Promise<SubjectReport> {
  const purposes = readPurposes(asked.purposes);
  const { kind } = asked;
  const rows = purposes.map((purpose) => ({ purpose, kind }));
  return record(settings, { ...asked, details: { purposes }, rows }, 'objections');
}

/** Ends restrictions, or objections, of these numbers whose time lies within the one that is named. Throws USAGE_WRONG. */
export function lift(settings: Settings, asked: LiftAsked): Promise<SubjectReport> {
  checkReason(asked.reason);
  const purposes = readPurposes(asked.purposes, 0);
  const table = purposes.length === 0 ? 'restrictions' : 'objections';
  return withSubjects(settings, async (context) => {
    const subject = await subjectOf(context, asked.person);
    const request: NewRequest = { ...asked, kind: 'lift', subject, details: { purposes } };
    const open = await openRequest(context, request);
    const holding = await heldRows(context, table, subject, purposes, '');
    if (holding.length === 0 && open === undefined)
      throw new CdrhouseError('USAGE_WRONG', `none of the ${table} of these numbers lies within this time`);
    if (asked.dryRun) return dryRun('lift', { lifted: holding.length, of: table });
    const begun = await beginRequest(context, request);
    const changed = { lifted_by: begun.requestId, changed_at: sqlTime(Date.now()) };
    await context.client.insert({
      table: `${context.database}.${table}`,
      values: holding.map((row) => ({ ...row, ...changed, version: row.version + 1 })),
      format: 'JSONEachRow',
    });
    await releaseLifted(context, begun);
    // Also those that were lifted before it was broken off.
    const lifted = await heldRows(context, table, subject, purposes, begun.requestId);
    return finishRequest(context, begun, 'done', { lifted: lifted.length, of: table });
  });
}

/** Ends the holds of restrictions that this request lifted, where nothing of the restriction is left. */
async function releaseLifted(
  { client, database, settings }: SubjectContext,
  { requestId, reason }: SubjectRequest,
): Promise<void> {
  const rows = await select<{ request_id: string }>(
    client,
    `SELECT DISTINCT request_id FROM ${database}.restrictions FINAL
    WHERE lifted_by = {lifted_by: String} AND keep_past_term
      AND request_id NOT IN (SELECT request_id FROM ${database}.restrictions FINAL WHERE lifted_by = '')`,
    { lifted_by: requestId },
  );
  if (rows.length > 0)
    await releaseHolds(
      settings,
      rows.map((row) => row.request_id),
      reason,
    );
}

interface Recorded extends PersonAsked {
  readonly kind: 'restrict' | 'object' | 'withdraw';
  readonly details: NewRequest['details'];
  /** What the table has beside number, feed and time. */
  readonly rows: readonly object[];
}

/** @param more what else is done; gives what the certificate says of it */
async function record(
  settings: Settings,
  { kind, details, rows, ...asked }: Recorded,
  table: 'restrictions' | 'objections',
  more?: (request: SubjectRequest, subject: Subject) => Promise<RequestDetails>,
): Promise<SubjectReport> {
  checkReason(asked.reason);
  return withSubjects(settings, async (context) => {
    const subject = await subjectOf(context, asked.person);
    const calls = await countCalls(context, subject);
    const result = { ...details, numbers: subject.numbers.length, calls };
    if (asked.dryRun) return dryRun(kind, result);
    const request = await beginRequest(context, { ...asked, kind, subject, details });
    // The same rows again where it was broken off behind them.
    await insertRights(context, table, subject, request.requestId, request.begunMs, rows);
    return finishRequest(context, request, 'done', { ...result, ...(await more?.(request, subject)) });
  });
}

/**
 * Writes what holds of a person from now on.
 * @param rows what the table has beside number, feed and time; each is written for each number
 */
export async function insertRights(
  { client, database }: SubjectContext,
  table: 'restrictions' | 'objections',
  subject: Subject,
  requestId: string,
  changedMs: number,
  rows: readonly object[],
): Promise<void> {
  const common = {
    held_from: sqlTime(subject.fromMs),
    held_to: sqlTime(subject.toMs),
    request_id: requestId,
    lifted_by: '',
    changed_at: sqlTime(changedMs),
    version: 1,
  };
  await client.insert({
    table: `${database}.${table}`,
    values: numbersByFeed(subject).flatMap((held) => rows.map((row) => ({ ...held, ...common, ...row }))),
    format: 'JSONEachRow',
  });
}

interface HeldRow {
  readonly version: number;
}

/** Rows of a person's time that this request lifted; an empty id: that hold. */
function heldRows(
  { client, database }: SubjectContext,
  table: 'restrictions' | 'objections',
  { numbers, feeds, fromMs, toMs }: Subject,
  purposes: readonly string[],
  liftedBy: string,
): Promise<HeldRow[]> {
  return select<HeldRow>(
    client,
    `SELECT * FROM ${database}.${table} FINAL
    WHERE number IN {numbers: Array(String)} AND lifted_by = {lifted_by: String}
      AND held_from >= ${moment('from_ms')}
      AND held_to <= ${moment('to_ms')}
      ${feeds === undefined ? '' : 'AND feed IN {feeds: Array(String)}'}
      ${purposes.length === 0 ? '' : 'AND purpose IN {purposes: Array(String)}'}`,
    {
      numbers,
      lifted_by: liftedBy,
      from_ms: fromMs,
      to_ms: toMs,
      ...(feeds === undefined ? {} : { feeds }),
      ...(purposes.length === 0 ? {} : { purposes }),
    },
  );
}

function readPurposes(purposes: readonly string[], fewest = 1): string[] {
  const known: readonly string[] = PURPOSES;
  if (purposes.length < fewest || purposes.some((purpose) => !known.includes(purpose)))
    throw new CdrhouseError('USAGE_WRONG', `--purpose: some of ${known.join(', ')}`);
  return [...new Set(purposes)].sort();
}
