import {
  JournalAnswer,
  JobHeaders,
  journalQuery,
  problemAnswers,
  type JournalEntry,
  type JournalQuery,
} from '../../schemas/api.ts';
import { readNumber, type NumberReading } from '../number-reading.ts';
import { requireRole, type Caller } from '../auth.ts';
import { goneSignal, pageRows, rangeDaysMax, zoneOf, type ApiServer, type QueryContext } from '../context.ts';
import type { Range } from '../cursor.ts';
import { hmacKeyId, numberHmacs } from '../../schemas/number-hmac.ts';
import { prefixSearches } from '../../schemas/number-key.ts';
import { askedBy, rangeAsked, type Lookup } from '../journal.ts';
import {
  journalEndsSql,
  journalSql,
  keyLabelsSql,
  unsearchableInSql,
  type JournalEndRow,
  type JournalPlace,
  type JournalStartRow,
} from '../journal-sql.ts';
import { Problem } from '../problem.ts';
import { readRange, writeTime } from '../times.ts';

const ROUTE = '/v1/journal';

/** What is asked of the journal, as it was understood. */
interface Question {
  readonly query: JournalQuery;
  readonly reading: NumberReading | undefined;
  readonly zone: string;
  readonly range: Range;
  readonly after: JournalPlace | undefined;
  /** Rows of a page. */
  readonly limit: number;
  /** All that decides which entries the listing has, but the range. */
  readonly identity: readonly unknown[];
}

interface Found {
  readonly starts: readonly JournalStartRow[];
  readonly ends: ReadonlyMap<string, JournalEndRow>;
  readonly labels: ReadonlyMap<string, string>;
  readonly unsearchable: number;
}

/**
 * `GET /v1/journal`, and the same as a JSON body, so that a number need not stand in a URL: who looked what up. Each
 * look into the journal is written there too, before anything is given.
 */
export function journalRoutes(app: ApiServer, context: QueryContext): void {
  const { limit_max: limitMax } = context.settings.query;
  const answers = {
    200: JournalAnswer,
    ...problemAnswers([
      'HEADER_INVALID',
      'BODY_INVALID',
      'BODY_TOO_LARGE',
      'RANGE_INVALID',
      'CURSOR_INVALID',
      'JOURNAL_UNAVAILABLE',
    ]),
  };
  const common = {
    summary: 'Who looked what up, when, why and for which case; newest first',
    tags: ['journal'],
    security: [{ key: [] }],
    headers: JobHeaders,
    response: answers,
  };
  const config = { role: 'privacy' as const };
  app.get(ROUTE, { config, schema: { ...common, querystring: journalQuery(limitMax) } }, (request, reply) =>
    answer(context, request.query, request, goneSignal(reply)),
  );
  app.post(
    `${ROUTE}/search`,
    { config, schema: { ...common, body: journalQuery(limitMax) } },
    (request, reply) => answer(context, request.body, request, goneSignal(reply)),
  );
}

interface Asking {
  readonly id: string;
  readonly caller: Caller | null;
  readonly headers: JobHeaders;
}

async function answer(
  context: QueryContext,
  query: JournalQuery,
  request: Asking,
  gone: AbortSignal,
): Promise<JournalAnswer> {
  const caller = requireRole(request.caller, 'privacy');
  const question = readQuestion(context, query);
  const lookup = lookupOf(request, caller, question);
  return context.journal.around(
    lookup,
    gone,
    async (ended) => {
      // How look-ups ended that were answered just now.
      await context.journal.writeRest();
      return answerOf(context, question, await read(context, question, ended));
    },
    ({ data }) => data.length,
  );
}

function readQuestion(context: QueryContext, query: JournalQuery): Question {
  const zone = zoneOf(context, query.time_zone);
  const reading =
    query.number === undefined
      ? undefined
      : wholeNumber(query.number, context.settings.query.default_country);
  const { case_id: caseId, key_id: keyId, agent, cursor } = query;
  const limit = pageRows(context, query.limit);
  const identity = [reading?.searched ?? null, caseId ?? null, keyId ?? null, agent ?? null, zone];
  if (cursor === undefined) {
    const range = readRange(query.from, query.to, {
      zone,
      daysMax: rangeDaysMax(context),
      nowMs: Date.now(),
    });
    return { query, reading, zone, range, after: undefined, limit, identity };
  }
  const { range, place } = context.journalCursors.open(cursor, identity, query, zone);
  return { query, reading, zone, range, after: place, limit, identity };
}

function wholeNumber(typed: string, country: string | undefined): NumberReading {
  const reading = readNumber('number', typed, country);
  if (reading.kind === 'exact') return reading;
  throw new Problem('PARAMETER_INVALID', 'number: must be a whole number, not a prefix');
}

function lookupOf(
  { id, headers }: Asking,
  caller: Caller,
  { query, reading, zone, range, after, limit }: Question,
): Lookup {
  const { case_id: caseId, key_id: keyId, agent } = query;
  return {
    ...askedBy(id, caller, { 'case-id': '', purpose: 'privacy', ...headers }),
    route: ROUTE,
    numbers: reading?.searched ?? [],
    filter: {
      ...(caseId === undefined ? {} : { case_id: caseId }),
      ...(keyId === undefined ? {} : { key_id: keyId }),
      ...(agent === undefined ? {} : { agent }),
      ...rangeAsked(range, zone),
      limit,
      first_page: after === undefined,
    },
  };
}

/**
 * The texts under which a number can have been looked up: its own, and every prefix that covers it, as look-ups by
 * prefix are written.
 */
function lookedUpAs({ searched, e164 }: NumberReading): string[] {
  if (e164 === null) return [...searched];
  return [...searched, ...prefixSearches(e164)];
}

async function read(
  { database, journalKeys }: QueryContext,
  { query, reading, range, after, limit }: Question,
  gone: AbortSignal,
): Promise<Found> {
  const name = database.database;
  const texts = reading === undefined ? [] : lookedUpAs(reading);
  const starts = await database.select<JournalStartRow>(
    'journal',
    journalSql(name, {
      range,
      caseId: query.case_id,
      keyId: query.key_id,
      agent: query.agent,
      hmacs: reading && numberHmacs(journalKeys, texts),
      after,
      // One more than the page, to know whether another follows.
      rows: limit + 1,
    }),
    gone,
  );
  const page = starts.slice(0, limit);
  const [ends, labels, unsearchable] = await Promise.all([
    endsOf(database, page, gone),
    labelsOf(database, page, gone),
    reading === undefined
      ? []
      : database.select<{ lookups: string }>('journal', unsearchableInSql(name, range, journalKeys), gone),
  ]);
  return { starts, ends, labels, unsearchable: Number(unsearchable[0]?.lookups ?? 0) };
}

async function endsOf(
  database: QueryContext['database'],
  page: readonly JournalStartRow[],
  gone: AbortSignal,
): Promise<Map<string, JournalEndRow>> {
  const [newest, oldest] = [page[0], page.at(-1)];
  if (newest === undefined || oldest === undefined) return new Map();
  const requestIds = page.map(({ request_id: id }) => id);
  const began = { fromMs: Number(oldest.at_ms), toMs: Number(newest.at_ms) };
  const rows = await database.select<JournalEndRow>(
    'journal',
    journalEndsSql(database.database, requestIds, began),
    gone,
  );
  return new Map(rows.map((row) => [row.request_id, row]));
}

async function labelsOf(
  database: QueryContext['database'],
  page: readonly JournalStartRow[],
  gone: AbortSignal,
): Promise<Map<string, string>> {
  const keyIds = [...new Set(page.map(({ key_id: keyId }) => keyId))];
  if (keyIds.length === 0) return new Map();
  const rows = await database.select<{ key_id: string; label: string }>(
    'journal',
    keyLabelsSql(database.database, keyIds),
    gone,
  );
  return new Map(rows.map(({ key_id: keyId, label }) => [keyId, label]));
}

function answerOf(
  { journalCursors, journalKeys }: QueryContext,
  { reading, zone, range, limit, identity }: Question,
  found: Found,
): JournalAnswer {
  const page = found.starts.slice(0, limit);
  const last = page.at(-1);
  const hasMore = found.starts.length > limit && last !== undefined;
  const place = last && { startedMs: Number(last.at_ms), requestId: last.request_id };
  return {
    data: page.map((row) => entryOf(row, found, zone)),
    next_cursor: hasMore ? journalCursors.write({ range, place: place! }, identity) : null,
    ...(reading === undefined
      ? {}
      : {
          // Without the number itself: it stands in the request.
          number: {
            read_as: reading.readAs,
            country: reading.country,
            hmac_key_ids: journalKeys.map(hmacKeyId),
          },
          unsearchable: found.unsearchable,
        }),
    from: writeTime(range.fromMs, zone),
    to: writeTime(range.toMs, zone),
    time_zone: zone,
  };
}

function entryOf(row: JournalStartRow, { ends, labels }: Found, zone: string): JournalEntry {
  const end = ends.get(row.request_id);
  const filter: Record<string, unknown> = JSON.parse(row.filter);
  return {
    request_id: row.request_id,
    started: writeTime(Number(row.at_ms), zone),
    finished: end === undefined ? null : writeTime(Number(end.at_ms), zone),
    key_id: row.key_id,
    key_label: labels.get(row.key_id) ?? null,
    agent: row.agent,
    purpose: row.purpose,
    case_id: row.case_id,
    route: row.route,
    filter,
    rows: end === undefined ? null : Number(end.given),
    complete: end?.whole === 1,
  };
}
