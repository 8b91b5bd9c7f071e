import { CallIds, type CallKey } from '../schemas/call-id.ts';
import { CdrhouseError } from '../schemas/errors.ts';
import { numberHmac } from '../schemas/number-hmac.ts';
import { NumberKeys } from '../schemas/number-keys.ts';
import { addMonths, monthsOf } from '../schemas/retention-term.ts';
import type { Settings } from '../schemas/settings.ts';
import { moment, readSqlTime, sqlTime } from '../schemas/sql-time.ts';
import { batchMoment, correctionOf, FINAL_SETTINGS, SENT_COLUMNS } from '../schemas/tables.ts';
import { select } from './clickhouse.ts';
import { exclusively } from './exclusive.ts';
import {
  correctedVersion,
  markerVersion,
  RECTIFIABLE,
  rectify,
  rowsByNumber,
  valueOf,
  type Rectifiable,
  type StoredCallRow,
} from './rectified-call.ts';
import { subjectOf } from './subject-calls.ts';
import type { Subject } from './subject.ts';
import {
  beginRequest,
  checkReason,
  dryRun,
  finishRequest,
  openRequest,
  withSubjects,
  type NewRequest,
  type PersonAsked,
  type SubjectContext,
  type SubjectReport,
  type SubjectRequest,
} from './subject-requests.ts';

/**
 * Rectification (Article 16 of the GDPR): one field of one call, as a correction (docs/decisions/0017). What it will write
 * is noted in `corrections` first, so that whoever is called again after a crash writes the same.
 */
export interface RectifyAsked extends PersonAsked {
  /** Id of the call, from any answer of the API or an export. */
  readonly call: string;
  readonly field: string;
  readonly value: string;
}

/** A row of `corrections`. */
interface CorrectionRow {
  readonly cdr_key: string;
  readonly start_at: string;
  readonly request_id: string;
  readonly calling_key: string;
  readonly new_start_at: string;
  readonly new_calling_key: string;
  readonly correction: number;
  readonly field: Rectifiable;
  readonly before: string;
  readonly after: string;
  /** The `StoredCallRow` as it was before, as JSON. */
  readonly row: string;
  readonly reason: string;
  readonly corrected_at: string;
  readonly done: 0 | 1;
  readonly version: string;
}

const ROW_COLUMNS = [...SENT_COLUMNS.cdr.map(({ name }) => name), 'version'].join(', ');
/** 64-bit integers as text: a version is beyond 2^53. */
const EXACT = { ...FINAL_SETTINGS, output_format_json_quote_64bit_integers: 1 } as const;

/**
 * Not beside an erasure or a sweep: what was read before one would be written behind it. Throws USAGE_WRONG,
 * CORRECTION_OPEN, CORRECTION_UNDONE, RETENTION_BUSY.
 */
export function rectifyCall(settings: Settings, asked: RectifyAsked): Promise<SubjectReport> {
  checkReason(asked.reason);
  const field = readField(asked.field);
  const work = async (context: SubjectContext): Promise<SubjectReport> => {
    const subject = await subjectOf(context, asked.person);
    const callIds = new CallIds(context.stored.identityKey);
    const key = callIds.keyOf(asked.call);
    if (key === undefined) throw new CdrhouseError('USAGE_WRONG', '--call: no id of a call of this database');
    const asking = (journalKey: Uint8Array): NewRequest => ({
      ...asked,
      kind: 'rectify',
      subject,
      details: { call: asked.call, field, value_hmac: numberHmac(journalKey, asked.value) },
    });
    const { journalKey, journalKeys } = context.stored;
    // One that was broken off has the value under the journal key of its day.
    const sought = await Promise.all(journalKeys.map((each) => openRequest(context, asking(each))));
    const open = sought.find((each) => each !== undefined);
    const noted = open && (await notedCorrection(context, open, key));
    const before = noted === undefined ? await liveRow(context, key) : readRow(noted);
    if (before === undefined)
      throw new CdrhouseError('USAGE_WRONG', '--call: there is no such call any more');
    requireTheirs(before, subject);
    const after = rectify(before, field, asked.value, keysOf(context));
    requireUseful(context, before, after, field);
    const result = {
      field,
      call: asked.call,
      call_now: callIds.idOf(keyOf(after)),
    };
    if (asked.dryRun) return dryRun('rectify', result);
    const begun = open ?? (await beginRequest(context, asking(journalKey)));
    const note = noted ?? (await noteCorrection(context, begun, before, after, field, asked.reason));
    await writeCorrection(context, note, before, after);
    if (await isReadAgain(context, note, before)) {
      await takeBack(context, note, after);
      await finishRequest(context, begun, 'refused', { field, call: asked.call, why: 'read again' });
      throw new CdrhouseError('CORRECTION_UNDONE', `request ${begun.requestId} is refused`);
    }
    await insert(context, 'corrections', [{ ...note, done: 1, version: '2' }]);
    return finishRequest(context, begun, 'done', { ...result, correction: note.correction });
  };
  return asked.dryRun
    ? withSubjects(settings, work)
    : exclusively(settings, () => withSubjects(settings, work));
}

function readField(text: string): Rectifiable {
  const field = RECTIFIABLE.find((each) => each === text);
  if (field === undefined)
    throw new CdrhouseError('USAGE_WRONG', `--field: one of ${RECTIFIABLE.join(', ')}`);
  return field;
}

const keysOf = ({ stored }: SubjectContext): NumberKeys => new NumberKeys(stored.identityKey);

const keyOf = (row: StoredCallRow): CallKey => ({
  callingKey: Number(row.calling_key),
  startMs: readSqlTime(row.start_at),
  cdrKey: row.cdr_key,
});

const readRow = ({ row }: CorrectionRow): StoredCallRow => JSON.parse(row) as StoredCallRow;

/** A person has what is theirs rectified. */
function requireTheirs(row: StoredCallRow, { numbers, feeds, fromMs, toMs }: Subject): void {
  const startMs = readSqlTime(row.start_at);
  const isTheirs =
    [row.calling_number, row.displayed_caller_id, row.dialed_number].some((number) =>
      numbers.includes(number),
    ) &&
    startMs >= fromMs &&
    startMs < toMs &&
    (feeds === undefined || feeds.includes(row.feed));
  if (!isTheirs) throw new CdrhouseError('USAGE_WRONG', '--call: not a call of these numbers in this time');
}

function requireUseful(
  { stored }: SubjectContext,
  before: StoredCallRow,
  after: StoredCallRow,
  field: Rectifiable,
): void {
  if (valueOf(before, field) === valueOf(after, field))
    throw new CdrhouseError('USAGE_WRONG', '--value: the call has this value already');
  const startMs = readSqlTime(after.start_at);
  if (startMs > Date.now() || addMonths(startMs, monthsOf(stored.retentionMonths, after.feed)) <= Date.now())
    throw new CdrhouseError(
      'USAGE_WRONG',
      '--value: a start lies in the retention term, and not in the future',
    );
}

/** Writes down what will be done. Nothing is done yet; from here on the same command does this and nothing else. */
async function noteCorrection(
  context: SubjectContext,
  { requestId }: SubjectRequest,
  before: StoredCallRow,
  after: StoredCallRow,
  field: Rectifiable,
  reason: string,
): Promise<CorrectionRow> {
  const note: CorrectionRow = {
    cdr_key: before.cdr_key,
    start_at: before.start_at,
    request_id: requestId,
    calling_key: before.calling_key,
    new_start_at: after.start_at,
    new_calling_key: after.calling_key,
    correction: await nextNumber(context, before),
    field,
    before: valueOf(before, field),
    after: valueOf(after, field),
    row: JSON.stringify(before),
    reason,
    corrected_at: sqlTime(Date.now()),
    done: 0,
    version: '1',
  };
  await insert(context, 'corrections', [note]);
  // Of two that note at once both see the other one.
  const open = await corrections(context, 'cdr_key = {cdr_key: UInt64} AND done = 0', {
    cdr_key: note.cdr_key,
  });
  const other = open.find(({ request_id: id }) => id !== requestId);
  // One that was finished since the call was read has changed it.
  const row = await liveRow(context, keyOf(before));
  if (other === undefined && row?.version === before.version) return note;
  await forget(context, note);
  const who = other === undefined ? 'it changed meanwhile' : `request ${other.request_id} corrects it`;
  throw new CdrhouseError('CORRECTION_OPEN', `this call cannot be corrected now: ${who}`);
}

async function forget({ client, database }: SubjectContext, note: CorrectionRow): Promise<void> {
  await client.command({
    query: `DELETE FROM ${database}.corrections WHERE request_id = {request_id: String}`,
    query_params: { request_id: note.request_id },
  });
}

/**
 * The number of a correction of one call: above all that the call and its feed had. Numbers of corrections that read again
 * are Unix seconds, so that the next one of these is above it, whenever it comes.
 */
async function nextNumber(context: SubjectContext, row: StoredCallRow): Promise<number> {
  return Math.max(await newestReading(context, row.feed), correctionOf(BigInt(row.version))) + 1;
}

/** The newest correction that read again something of a topic of this feed; 0: there was none. */
async function newestReading({ client, database }: SubjectContext, feed: string): Promise<number> {
  const [newest] = await select<{ correction: number }>(
    client,
    `SELECT max(correction) AS correction FROM ${database}.ingest_ledger
    WHERE topic IN (SELECT DISTINCT topic FROM ${database}.ingest_ledger WHERE feed = {feed: String})`,
    { feed },
  );
  return newest?.correction ?? 0;
}

/** Markers over the rows as they were and the rows as they are now, in both tables. Repeating changes nothing. */
async function writeCorrection(
  context: SubjectContext,
  note: CorrectionRow,
  before: StoredCallRow,
  after: StoredCallRow,
): Promise<void> {
  const keys = keysOf(context);
  // What changed is found by when it was written, so by the server's clock (`CHANGED_AT`).
  const [clock] = await select<{ now: number }>(context.client, 'SELECT toUnixTimestamp(now()) AS now');
  const marker = { version: markerVersion(note.correction), stored_at: clock!.now, is_deleted: 1 };
  const version = correctedVersion(before.version, note.correction);
  const row = { version, stored_at: clock!.now, is_deleted: 0 };
  const written = (rows: (of: StoredCallRow) => object[]): object[] => [
    ...rows(before).map((each) => ({ ...each, ...marker })),
    ...rows(after).map((each) => ({ ...each, ...row })),
  ];
  await insert(
    context,
    'cdr',
    written((of) => [of]),
  );
  await insert(
    context,
    'cdr_by_number',
    written((of) => rowsByNumber(of, keys)),
  );
}

/**
 * Whether the call is read as this correction has it. Not where it was read again since, under other settings of its
 * feed: that stands above, and what came of it may have another key.
 */
async function stands(context: SubjectContext, note: CorrectionRow): Promise<boolean> {
  const { cdr_key: cdrKey, correction } = note;
  const old = { callingKey: Number(note.calling_key), startMs: readSqlTime(note.start_at), cdrKey };
  const now = { callingKey: Number(note.new_calling_key), startMs: readSqlTime(note.new_start_at), cdrKey };
  const row = await liveRow(context, now);
  if (row === undefined || correctionOf(BigInt(row.version)) !== correction) return false;
  const isSame = old.callingKey === now.callingKey && old.startMs === now.startMs;
  return isSame || (await liveRow(context, old)) === undefined;
}

/**
 * Whether the place of a call is read again above this correction. What that has marked may be older than the rows just
 * written, so they would stand beside the call as it is read again. By the claims of the ledger, which come before the
 * markers; of those topics only that were there when the call was stored.
 */
async function isReadAgain(
  { client, database }: SubjectContext,
  { correction }: CorrectionRow,
  row: StoredCallRow,
): Promise<boolean> {
  const ledger = `${database}.ingest_ledger`;
  const [found] = await select<{ claims: number }>(
    client,
    `SELECT count() AS claims FROM ${ledger}
    WHERE partition = {partition: Int32} AND correction > {correction: UInt32}
      AND from_offset <= {offset: Int64} AND corrected_until > {offset: Int64}
      AND (topic, topic_id) IN (SELECT topic, topic_id FROM ${ledger} WHERE feed = {feed: String}
        GROUP BY topic, topic_id HAVING toUnixTimestamp(toDateTime(min(stored_at), 'UTC')) <= {stored: UInt32})`,
    {
      partition: row.source_partition,
      correction,
      offset: row.source_offset,
      feed: row.feed,
      stored: batchMoment(BigInt(row.version)),
    },
  );
  return (found?.claims ?? 0) > 0;
}

/** Where the call is being read again at the same time, it must not stand there twice. */
async function takeBack(context: SubjectContext, note: CorrectionRow, after: StoredCallRow): Promise<void> {
  const [clock] = await select<{ now: number }>(context.client, 'SELECT toUnixTimestamp(now()) AS now');
  // Above the rows of this correction, below all that reads again.
  const marker = { version: markerVersion(note.correction + 1), stored_at: clock!.now, is_deleted: 1 };
  await insert(context, 'cdr', [{ ...after, ...marker }]);
  await insert(
    context,
    'cdr_by_number',
    rowsByNumber(after, keysOf(context)).map((row) => ({ ...row, ...marker })),
  );
  await forget(context, note);
}

/** Requests whose corrections do not stand any more, since their calls were read again or sent again after that. */
export async function undoneRequests(context: SubjectContext): Promise<Set<string>> {
  const undone = new Set<string>();
  const byCall = new Map<string, CorrectionRow[]>();
  for (const note of await corrections(context, 'done = 1'))
    byCall.set(note.cdr_key, [...(byCall.get(note.cdr_key) ?? []), note]);
  for (const notes of byCall.values()) {
    const last = notes.reduce((a, b) => (b.correction > a.correction ? b : a));
    if (!(await stands(context, last))) for (const { request_id: id } of notes) undone.add(id);
  }
  return undone;
}

async function insert(
  { client, database }: SubjectContext,
  table: string,
  values: readonly object[],
): Promise<void> {
  await client.insert({
    table: `${database}.${table}`,
    values,
    format: 'JSONEachRow',
    // The same block once more must be stored, and acknowledged means on disk.
    clickhouse_settings: { async_insert: 0, deduplicate_insert: 'disable' },
  });
}

async function liveRow(
  { client, database }: SubjectContext,
  { callingKey, startMs, cdrKey }: CallKey,
): Promise<StoredCallRow | undefined> {
  const [row] = await select<StoredCallRow>(
    client,
    `SELECT ${ROW_COLUMNS} FROM ${database}.cdr FINAL
    WHERE calling_key = {calling_key: UInt64} AND start_at = ${moment('start_ms')}
      AND cdr_key = {cdr_key: UInt64}`,
    { calling_key: callingKey, start_ms: startMs, cdr_key: cdrKey },
    EXACT,
  );
  return row;
}

async function notedCorrection(
  context: SubjectContext,
  { requestId }: SubjectRequest,
  { cdrKey }: CallKey,
): Promise<CorrectionRow | undefined> {
  const condition = 'cdr_key = {cdr_key: UInt64} AND request_id = {request_id: String}';
  return (await corrections(context, condition, { cdr_key: cdrKey, request_id: requestId }))[0];
}

function corrections(
  { client, database }: SubjectContext,
  condition: string,
  parameters: Readonly<Record<string, unknown>> = {},
): Promise<CorrectionRow[]> {
  return select<CorrectionRow>(
    client,
    `SELECT * FROM ${database}.corrections FINAL WHERE ${condition} ORDER BY corrected_at, request_id`,
    parameters,
    EXACT,
  );
}
