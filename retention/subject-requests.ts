import type { ClickHouseClient } from '@clickhouse/client';
import { randomUUID } from 'node:crypto';
import {
  createSigningKey,
  signCertificate,
  signingKeyId,
  type Json,
  type SignedCertificate,
} from '../schemas/certificate.ts';
import { CdrhouseError } from '../schemas/errors.ts';
import { SCHEMA_VERSION } from '../schemas/migrations.ts';
import { hmacKeyId, numberHmacs } from '../schemas/number-hmac.ts';
import { addMonths } from '../schemas/retention-term.ts';
import type { Settings } from '../schemas/settings.ts';
import { sqlTime } from '../schemas/sql-time.ts';
import type { StoredSettings } from '../schemas/stored-settings.ts';
import { select, withRetentionClient } from './clickhouse.ts';
import { storedSettings } from './migrate.ts';
import { isoTime, type Subject, type SubjectOptions } from './subject.ts';

/**
 * Requests of persons (docs/decisions/0017): every one has a row, which says how far it is, and in the end a signed
 * certificate. A command that is called again with the same arguments goes on with what was broken off.
 */
export type SubjectKind = 'export' | 'rectify' | 'erase' | 'restrict' | 'lift' | 'object' | 'withdraw';

/**
 * `begun`: under way or broken off. `deferred`: a part must wait. `refused`: it will not be done; the certificate says
 * why. `done`: all is done.
 */
export type RequestState = 'begun' | 'deferred' | 'refused' | 'done';

/** Months in which a person must be answered: Article 12(3) of the GDPR. */
const MONTHS_TO_ANSWER = 1;

/** What else a request asks, without numbers; decides, with kind and person, whether two requests are one. */
export type RequestDetails = { readonly [name: string]: Json };

export interface SubjectRequest {
  readonly requestId: string;
  readonly kind: SubjectKind;
  readonly state: RequestState;
  readonly reason: string;
  /** In the order of their texts. */
  readonly numberHmacs: readonly string[];
  readonly hmacKeyId: string;
  /** None: of all feeds. */
  readonly feeds: readonly string[];
  /** UTC ms, as all times here. */
  readonly fromMs: number;
  readonly toMs: number;
  readonly askedMs: number;
  readonly dueMs: number;
  readonly begunMs: number;
  readonly finishedMs: number | null;
  readonly details: RequestDetails;
  /** Undefined until it is finished or deferred. */
  readonly certificate: SignedCertificate | undefined;
  readonly version: number;
}

/** What the command of every request says. */
export interface PersonAsked {
  readonly person: SubjectOptions;
  readonly reason: string;
  /** When the person asked, UTC ms; undefined: now. */
  readonly askedMs: number | undefined;
  readonly dryRun: boolean;
}

/** A request as it is looked for and begun. */
export interface NewRequest {
  readonly kind: SubjectKind;
  readonly subject: Subject;
  readonly reason: string;
  /** When the person asked, UTC ms; undefined: now. */
  readonly askedMs: number | undefined;
  readonly details: RequestDetails;
}

/** What commands about persons work with. */
export interface SubjectContext {
  readonly client: ClickHouseClient;
  readonly database: string;
  readonly settings: Settings;
  readonly stored: StoredSettings;
}

/** What a command did or, with `--dry-run`, would do. */
export interface SubjectReport {
  /** Null: nothing was written. */
  readonly request_id: string | null;
  readonly kind: SubjectKind;
  readonly state: RequestState | 'dry_run';
  /** What was done, or would be. */
  readonly result: { readonly [name: string]: Json };
  readonly certificate: SignedCertificate | null;
}

const REASON_LENGTH_MAX = 1000;
const CONTROL = /\p{Cc}/u;

/** Works with the privileged client and the settings of the database. Throws SCHEMA_MISSING, RETENTION_DIFFERS and the like. */
export function withSubjects<T>(
  settings: Settings,
  work: (context: SubjectContext) => Promise<T>,
): Promise<T> {
  const { database } = settings.clickhouse;
  return withRetentionClient(settings, async (client) =>
    work({ client, database, settings, stored: await storedSettings(client, settings) }),
  );
}

/** Throws USAGE_WRONG. */
export function checkReason(reason: string): void {
  if (reason.trim() === '' || reason.length > REASON_LENGTH_MAX || CONTROL.test(reason))
    throw new CdrhouseError(
      'USAGE_WRONG',
      `--reason: 1 to ${REASON_LENGTH_MAX} printable characters, without numbers of persons`,
    );
}

/** The same request, begun and not finished, if there is one. */
export async function openRequest(
  context: SubjectContext,
  asked: NewRequest,
): Promise<SubjectRequest | undefined> {
  const wanted = identityOf(freshRequest(context, asked));
  const open = await readRequests(context, "state IN ('begun', 'deferred') AND kind = {kind: String}", {
    kind: asked.kind,
  });
  return open.find((each) => identityOf(each) === wanted && isAbout(context, each, asked.subject.numbers));
}

/**
 * The row of a request: a new one, or that of the same request which was begun and not finished (after a crash, or
 * deferred).
 */
export async function beginRequest(context: SubjectContext, asked: NewRequest): Promise<SubjectRequest> {
  checkReason(asked.reason);
  return (await openRequest(context, asked)) ?? writeRequest(context, freshRequest(context, asked));
}

function freshRequest(
  { stored }: SubjectContext,
  { kind, subject, reason, askedMs = Date.now(), details }: NewRequest,
): SubjectRequest {
  return {
    requestId: randomUUID(),
    kind,
    state: 'begun',
    reason,
    numberHmacs: numberHmacs([stored.journalKey], subject.numbers),
    hmacKeyId: hmacKeyId(stored.journalKey),
    feeds: subject.feeds ?? [],
    fromMs: subject.fromMs,
    toMs: subject.toMs,
    askedMs,
    dueMs: addMonths(askedMs, MONTHS_TO_ANSWER),
    begunMs: Date.now(),
    finishedMs: null,
    details,
    certificate: undefined,
    version: 1,
  };
}

/** Two requests that ask the same of the same numbers have the same. */
function identityOf({ kind, feeds, fromMs, toMs, details }: SubjectRequest): string {
  return JSON.stringify([kind, feeds, fromMs, toMs, details]);
}

/**
 * Whether a request is about these numbers, in the order of their texts. Its hashes are under the journal key of its day,
 * which may have been replaced since.
 */
export function isAbout(
  { stored }: SubjectContext,
  { numberHmacs: hmacs, hmacKeyId: keyId }: SubjectRequest,
  numbers: readonly string[],
): boolean {
  const key = stored.journalKeys.find((each) => hmacKeyId(each) === keyId);
  return key !== undefined && numberHmacs([key], numbers).join() === hmacs.join();
}

/** Stores what became of it, over what was known before. */
export async function writeRequest(
  context: SubjectContext,
  request: SubjectRequest,
): Promise<SubjectRequest> {
  await context.client.insert({
    table: `${context.database}.subject_requests`,
    values: [rowOf(request)],
    format: 'JSONEachRow',
  });
  return request;
}

/**
 * Ends a request, for good or (`deferred`) for now, with a signed certificate about what was done.
 * @param result what was done, without numbers
 */
export async function finishRequest(
  context: SubjectContext,
  request: SubjectRequest,
  state: Exclude<RequestState, 'begun'>,
  result: SubjectReport['result'],
): Promise<SubjectReport> {
  const nowMs = Date.now();
  const certificate = signCertificate(await signingKey(context), {
    request_id: request.requestId,
    kind: request.kind,
    state,
    reason: request.reason,
    number_hmacs: request.numberHmacs,
    hmac_key_id: request.hmacKeyId,
    feeds: request.feeds,
    held_from: isoTime(request.fromMs),
    held_to: isoTime(request.toMs),
    asked_at: isoTime(request.askedMs),
    due_at: isoTime(request.dueMs),
    begun_at: isoTime(request.begunMs),
    signed_at: isoTime(nowMs),
    database: context.database,
    schema_version: SCHEMA_VERSION,
    details: request.details,
    result,
  });
  const finished = {
    ...request,
    state,
    certificate,
    finishedMs: state === 'deferred' ? null : nowMs,
    version: request.version + 1,
  };
  await writeRequest(context, finished);
  return { request_id: request.requestId, kind: request.kind, state, result, certificate };
}

/** The report of a command that would do this and wrote nothing. */
export function dryRun(kind: SubjectKind, result: SubjectReport['result']): SubjectReport {
  return { request_id: null, kind, state: 'dry_run', result, certificate: null };
}

/** The request of this id. Throws REQUEST_UNKNOWN. */
export async function findRequest(context: SubjectContext, requestId: string): Promise<SubjectRequest> {
  const [request] = await readRequests(context, 'request_id = {request_id: String}', {
    request_id: requestId,
  });
  if (request === undefined) throw new CdrhouseError('REQUEST_UNKNOWN', `there is no request ${requestId}`);
  return request;
}

/** Whether something of it is still to be done. */
export function isOpen({ state }: { readonly state: string }): boolean {
  return state !== 'done' && state !== 'refused';
}

/** Whether it must have been answered. What was deferred was answered: its certificate says why and until when. */
export function isOverdue({ state, dueMs }: Pick<SubjectRequest, 'state' | 'dueMs'>, nowMs: number): boolean {
  return state === 'begun' && dueMs <= nowMs;
}

/** Requests, those first that must be answered first. */
export function listRequests(context: SubjectContext): Promise<SubjectRequest[]> {
  return readRequests(context, '1', {});
}

/**
 * The key that signs. Made when it is first needed; of two that were made at once the first counts, and what the other
 * signed stays good, since a certificate names its key.
 */
async function signingKey({ client, database }: SubjectContext): Promise<string> {
  const read = async (): Promise<string | undefined> => {
    const [row] = await select<{ private_key: string }>(
      client,
      `SELECT private_key FROM ${database}.signing_keys FINAL ORDER BY made_at, key_id LIMIT 1`,
    );
    return row?.private_key;
  };
  const known = await read();
  if (known !== undefined) return known;
  const made = createSigningKey();
  const values = [{ key_id: signingKeyId(made), private_key: made, made_at: sqlTime(Date.now()) }];
  await client.insert({ table: `${database}.signing_keys`, values, format: 'JSONEachRow' });
  return (await read()) ?? made;
}

interface RequestRow {
  readonly request_id: string;
  readonly kind: SubjectKind;
  readonly state: RequestState;
  readonly reason: string;
  readonly number_hmacs: readonly string[];
  readonly hmac_key_id: string;
  readonly feeds: readonly string[];
  readonly held_from: number;
  readonly held_to: number;
  readonly asked_at: number;
  readonly due_at: number;
  readonly begun_at: number;
  readonly finished_at: number | null;
  readonly details: string;
  readonly certificate: string;
  readonly version: number;
}

const TIMES = ['held_from', 'held_to', 'asked_at', 'due_at', 'begun_at', 'finished_at'];

async function readRequests(
  { client, database }: SubjectContext,
  condition: string,
  parameters: Readonly<Record<string, unknown>>,
): Promise<SubjectRequest[]> {
  const rows = await select<RequestRow>(
    client,
    `SELECT request_id, kind, state, reason, number_hmacs, hmac_key_id, feeds, details, certificate, version,
      ${TIMES.map((name) => `toUnixTimestamp64Milli(requests.${name}) AS ${name}`).join(', ')}
    FROM ${database}.subject_requests AS requests FINAL WHERE ${condition}
    ORDER BY requests.due_at, requests.begun_at, request_id`,
    parameters,
  );
  return rows.map((row) => ({
    requestId: row.request_id,
    kind: row.kind,
    state: row.state,
    reason: row.reason,
    numberHmacs: row.number_hmacs,
    hmacKeyId: row.hmac_key_id,
    feeds: row.feeds,
    fromMs: row.held_from,
    toMs: row.held_to,
    askedMs: row.asked_at,
    dueMs: row.due_at,
    begunMs: row.begun_at,
    finishedMs: row.finished_at,
    details: JSON.parse(row.details) as RequestDetails,
    certificate: row.certificate === '' ? undefined : (JSON.parse(row.certificate) as SignedCertificate),
    version: row.version,
  }));
}

function rowOf(request: SubjectRequest): object {
  return {
    request_id: request.requestId,
    kind: request.kind,
    state: request.state,
    reason: request.reason,
    number_hmacs: request.numberHmacs,
    hmac_key_id: request.hmacKeyId,
    feeds: request.feeds,
    held_from: sqlTime(request.fromMs),
    held_to: sqlTime(request.toMs),
    asked_at: sqlTime(request.askedMs),
    due_at: sqlTime(request.dueMs),
    begun_at: sqlTime(request.begunMs),
    finished_at: request.finishedMs === null ? null : sqlTime(request.finishedMs),
    details: JSON.stringify(request.details),
    certificate: request.certificate === undefined ? '' : JSON.stringify(request.certificate),
    version: request.version,
  };
}
