import {
  LookupHeaders,
  problemAnswers,
  RecordsAnswer,
  recordsQuery,
  streamable,
  type AnswerFormat,
  type CallRecord,
  type RecordsQuery,
} from '../../schemas/api.ts';
import { requireRole } from '../auth.ts';
import { answerWith, CALL_ANSWER_COLUMNS, maskRestricted } from '../call-answer.ts';
import { goneSignal, pageRows, rangeDaysMax, zoneOf, type ApiServer, type QueryContext } from '../context.ts';
import type { CsvColumn } from '../../schemas/csv.ts';
import type { Range } from '../cursor.ts';
import { askedBy, rangeAsked, type Lookup } from '../journal.ts';
import { readNumberList } from '../number-list.ts';
import { writeReading, type NumberReading } from '../number-reading.ts';
import { Problem } from '../problem.ts';
import { refuseObjected, rightsOf, type Restrictions } from '../privacy.ts';
import {
  recordsSql,
  withheldRecordsSql,
  type RecordPlace,
  type RecordRow,
  type RecordsFilter,
} from '../records-sql.ts';
import type { Term } from '../term-sql.ts';
import { completenessOf } from '../completeness.ts';
import { formatOf, mapRows, refusePaging, streamAnswer } from '../streaming.ts';
import { readRange, readTime, writeTime } from '../times.ts';
import { ZoneClock } from '../zone-clock.ts';

const ROUTE = '/v1/records';
/** Bounds that no record lies beyond: where only what changed is asked for, a range need not be given. */
const NO_BOUND: Range = { fromMs: 0, toMs: Date.UTC(2290, 0, 1) };

const COLUMNS: readonly CsvColumn<CallRecord>[] = [
  ...CALL_ANSWER_COLUMNS,
  { name: 'stored_at', isText: false },
  { name: 'removed', isText: false },
];

/** A question for records as it was understood. */
interface Question {
  readonly zone: string;
  readonly range: Range;
  /** Undefined: all numbers. */
  readonly readings: readonly NumberReading[] | undefined;
  readonly account: string | undefined;
  /** Unix seconds; undefined: whatever is there. */
  readonly storedSince: number | undefined;
  readonly after: RecordPlace | undefined;
  /** Unix seconds, of the first page; undefined on that one. */
  readonly storedUntil: number | undefined;
  /** Records that are not shown; undefined on the first page. */
  readonly withheld: number | undefined;
  /** Rows of a page. */
  readonly limit: number;
  /** All that decides which records the listing has, but the range. */
  readonly identity: readonly unknown[];
}

/** `GET /v1/records`: records for a rating job. */
export function recordsRoutes(app: ApiServer, context: QueryContext): void {
  const { database, journal, metrics, settings } = context;
  app.get(
    ROUTE,
    {
      config: { role: 'billing' },
      schema: {
        summary: 'Records in the order of their start, and what changed since a moment',
        tags: ['records'],
        security: [{ key: [] }],
        querystring: recordsQuery(settings.query.limit_max),
        headers: LookupHeaders,
        response: {
          200: streamable(RecordsAnswer),
          ...problemAnswers([
            'PARAMETER_MISSING',
            'HEADER_INVALID',
            'RANGE_INVALID',
            'CURSOR_INVALID',
            'JOURNAL_UNAVAILABLE',
            'PURPOSE_REFUSED',
          ]),
        },
      },
    },
    async (request, reply) => {
      const caller = requireRole(request.caller, 'billing');
      const format = formatOf(request.query.format, request.headers.accept);
      if (format !== 'json') refusePaging(request.query);
      const question = readQuestion(context, request.query);
      const gone = goneSignal(reply);
      const { purpose } = request.headers;
      // Before the records are read: the answer must not claim more than it can hold.
      const feeds = await context.feeds.known();
      const storedUntil = question.storedUntil ?? (await storedUntilOf(context, question, gone));
      const faults = await context.feeds.faultsSince(question.range.fromMs);
      const lookup = { ...askedBy(request.id, caller, request.headers), ...lookupOf(question, format) };
      const term = { months: context.retentionMonths, nowMs: Date.now() };
      const asked = { feeds: undefined, range: question.range, zone: question.zone, term };
      const restricting = { purpose: undefined };
      const rights = await rightsOf(context, caller, restricting, objectable(question, purpose), gone);
      const { restrictions } = rights;
      const filter = filterOf(context, question, term, [...feeds.keys()], storedUntil, format, restrictions);
      const statement = recordsSql(database.database, filter);
      const toRecord = recordWriter(context, question.zone);
      const complete = completenessOf(asked, feeds, faults, context.topics);
      const withheld = question.withheld ?? (await countWithheld(context, filter, restrictions, gone));
      const about = { ...aboutOf(question, storedUntil, complete), withheld };
      if (format !== 'json') {
        await journal.started(lookup);
        await journal.unlessFailed(lookup, async () => refuseObjected(rights, purpose));
        const rows = mapRows(database.stream<RecordRow>('records', statement, gone), toRecord);
        reply.header('stored-until', about.stored_until);
        const finished = (count: number, isWhole: boolean): Promise<void> =>
          journal.finished(lookup, count, isWhole);
        return streamAnswer(reply, metrics, { format, rows, columns: COLUMNS, closing: about, finished });
      }
      const rows = await journal.around(
        lookup,
        gone,
        async (ended) => {
          refuseObjected(rights, purpose);
          return database.select<RecordRow>('records', statement, ended);
        },
        (found) => Math.min(found.length, question.limit),
      );
      return {
        data: rows.slice(0, question.limit).map(toRecord),
        next_cursor: nextCursor(context, question, rows, storedUntil, withheld),
        ...about,
      };
    },
  );
}

function readQuestion(context: QueryContext, query: RecordsQuery): Question {
  const { default_country: country } = context.settings.query;
  const zone = zoneOf(context, query.time_zone);
  const readings = readNumberList('calling_number', query.calling_number, country);
  const storedSince = query.stored_since === undefined ? undefined : secondOf(query.stored_since, zone);
  if (storedSince !== undefined && query.account !== undefined) {
    // The job of its old account would never hear of a record that a correction gave another one.
    throw new Problem(
      'PARAMETER_INVALID',
      'account: not with stored_since, which gives the changes of all accounts',
    );
  }
  const { account, cursor } = query;
  const limit = pageRows(context, query.limit);
  const identity = [
    zone,
    readings?.map(({ searched }) => searched) ?? null,
    account ?? null,
    storedSince ?? null,
  ];
  const common = { zone, readings, account, storedSince, limit, identity };
  if (cursor === undefined) {
    const range = readBounds(context, query, zone);
    return { ...common, range, after: undefined, storedUntil: undefined, withheld: undefined };
  }
  const { range, place } = context.recordsCursors.open(cursor, identity, query, zone);
  return { ...common, range, ...place };
}

/** What changed is asked for without bounds, all else with both: a job that forgot one would bill too much or too little. */
function readBounds(
  context: QueryContext,
  { from, to, stored_since: since }: RecordsQuery,
  zone: string,
): Range {
  if (since === undefined && (from === undefined || to === undefined)) {
    const missing = from === undefined ? 'from' : 'to';
    throw new Problem('PARAMETER_MISSING', `${missing} is required without stored_since`);
  }
  const open = from === undefined || to === undefined;
  const limits = { zone, daysMax: open ? Infinity : rangeDaysMax(context), nowMs: Date.now() };
  const range = readRange(from ?? '1970-01-01T00:00Z', to ?? '2289-12-31T23:59:59.999Z', limits);
  return {
    fromMs: from === undefined ? NO_BOUND.fromMs : range.fromMs,
    toMs: to === undefined ? NO_BOUND.toMs : range.toMs,
  };
}

/** The database keeps whole seconds: the one that has begun counts. */
function secondOf(text: string, zone: string): number {
  const ms = readTime(text, zone);
  if (ms !== undefined && ms >= 0) return Math.floor(ms / 1000);
  throw new Problem(
    'PARAMETER_INVALID',
    'stored_since: must be a date (2026-03-01) or an ISO 8601 time (2026-03-01T08:00:00Z) from 1970 on',
  );
}

/** Never before `stored_since`: the next question would give again what this job has. */
async function storedUntilOf(
  { database }: QueryContext,
  { storedSince = 0 }: Question,
  gone: AbortSignal,
): Promise<number> {
  return Math.max(storedSince, await database.visibleUntil(gone));
}

function lookupOf(
  { range, zone, readings, account, storedSince, after, limit }: Question,
  format: AnswerFormat,
): Pick<Lookup, 'route' | 'numbers' | 'filter'> {
  return {
    route: ROUTE,
    // One entry for the job, whatever its numbers.
    numbers: [],
    filter: {
      // Account codes may be numbers, so they are not told either.
      by: readings !== undefined ? 'calling_number' : account !== undefined ? 'account' : 'all',
      ...(readings === undefined ? {} : { calling_numbers: readings.length }),
      ...rangeAsked(range, zone),
      ...(storedSince === undefined ? {} : { stored_since: new Date(storedSince * 1000).toISOString() }),
      format,
      ...(format === 'json' ? { limit, first_page: after === undefined } : {}),
    },
  };
}

/** What persons can have objected to; a job over all records names nobody. */
function objectable({ range, readings }: Question, purpose: string) {
  const numbers = (readings ?? []).flatMap(({ searched }) => searched);
  return { purpose, numbers, feeds: undefined, range };
}

/** Records that match and are not shown. */
async function countWithheld(
  { database }: QueryContext,
  filter: RecordsFilter,
  restrictions: Restrictions | undefined,
  gone: AbortSignal,
): Promise<number> {
  if (restrictions === undefined) return 0;
  const visibility = { ...restrictions, calls: 'withheld' as const };
  const statement = withheldRecordsSql(database.database, filter, visibility);
  const [row] = await database.select<{ withheld: string }>('withheld records', statement, gone);
  return Number(row?.withheld ?? 0);
}

function filterOf(
  { numberKeys }: QueryContext,
  { range, readings, account, storedSince, after, limit }: Question,
  term: Term,
  feeds: readonly string[],
  storedUntil: number,
  format: AnswerFormat,
  restrictions: Restrictions | undefined,
): RecordsFilter {
  return {
    range,
    term,
    callingNumbers:
      readings &&
      numberKeys.listOf(
        feeds,
        readings.flatMap(({ searched }) => searched),
      ),
    account,
    changed: storedSince === undefined ? undefined : { since: storedSince, until: storedUntil },
    after,
    // One more than the page, to know whether another follows.
    rows: format === 'json' ? limit + 1 : undefined,
    visibility: restrictions && { ...restrictions, calls: 'shown' },
  };
}

function recordWriter({ callIds }: QueryContext, zone: string): (row: RecordRow) => CallRecord {
  const starts = new ZoneClock(zone);
  const changes = new ZoneClock(zone);
  return (row) => {
    const startMs = Number(row.start_ms);
    const id = callIds.idOf({ callingKey: Number(row.calling_key), startMs, cdrKey: row.cdr_key });
    return {
      ...maskRestricted(answerWith(row, id, starts.write(startMs)), row),
      stored_at: changes.write(Number(row.changed_at) * 1000),
      removed: row.removed === 1,
    };
  };
}

/** What the answer says beside its records. */
function aboutOf(
  { zone, range: { fromMs, toMs }, readings }: Question,
  storedUntil: number,
  complete: RecordsAnswer['complete'],
): Omit<RecordsAnswer, 'data' | 'next_cursor' | 'withheld'> {
  return {
    stored_until: writeTime(storedUntil * 1000, zone),
    ...(readings === undefined ? {} : { numbers: readings.map(writeReading) }),
    from: fromMs === NO_BOUND.fromMs ? null : writeTime(fromMs, zone),
    to: toMs === NO_BOUND.toMs ? null : writeTime(toMs, zone),
    time_zone: zone,
    complete,
  };
}

function nextCursor(
  { recordsCursors }: QueryContext,
  { limit, range, identity }: Question,
  rows: readonly RecordRow[],
  storedUntil: number,
  withheld: number,
): string | null {
  const last = rows[limit - 1];
  if (rows.length <= limit || last === undefined) return null;
  const after = {
    startMs: Number(last.start_ms),
    cdrKey: last.cdr_key,
    callingKey: Number(last.calling_key),
  };
  return recordsCursors.write({ range, place: { after, storedUntil, withheld } }, identity);
}
