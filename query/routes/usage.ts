import {
  NUMBERS_MAX,
  problemAnswers,
  UsageAnswer,
  usageQuery,
  type UsageGroup,
  type UsageQuery,
  type UsageRow,
  type UsageTotal,
} from '../../schemas/api.ts';
import {
  goneSignal,
  rangeDaysMax,
  zoneOf,
  type ApiServer,
  type QueryContext,
  type UsageCursorPlace,
} from '../context.ts';
import type { Range } from '../cursor.ts';
import { readNumber, writeReading, type NumberReading } from '../number-reading.ts';
import { Problem } from '../problem.ts';
import { readRange, writeTime } from '../times.ts';
import { orderGroups, usageSql, type SumsRow, type UsagePlace, type UsageSumsRow } from '../usage-sql.ts';

/** A question for usage as it was understood. */
interface Question {
  readonly groups: readonly UsageGroup[];
  readonly zone: string;
  readonly range: Range;
  /** Undefined: all numbers. */
  readonly readings: readonly NumberReading[] | undefined;
  readonly feed: string | undefined;
  readonly after: UsageCursorPlace | undefined;
  readonly limit: number;
  /** All that decides which groups the listing has, but the range. */
  readonly identity: readonly unknown[];
}

/** `GET /v1/usage`: sums per group. */
export function usageRoutes(app: ApiServer, context: QueryContext): void {
  app.get(
    '/v1/usage',
    {
      config: { role: 'billing' },
      schema: {
        summary: 'Calls, durations and talk per calling number, day and month',
        tags: ['usage'],
        security: [{ key: [] }],
        querystring: usageQuery(context.settings.query.limit_max),
        response: {
          200: UsageAnswer,
          ...problemAnswers([
            'PARAMETER_UNKNOWN',
            'PARAMETER_INVALID',
            'PARAMETER_MISSING',
            'RANGE_INVALID',
            'CURSOR_INVALID',
            'KEY_MISSING',
            'KEY_INVALID',
            'ROLE_MISSING',
            'QUERY_TOO_LARGE',
            'DATABASE_UNAVAILABLE',
            'INTERNAL',
          ]),
        },
      },
    },
    async (request, reply) => {
      const question = readQuestion(context, request.query);
      const feeds = [...(await context.feeds.known()).keys()];
      // A misspelt feed would otherwise look like a feed without calls.
      if (question.feed !== undefined && !feeds.includes(question.feed)) {
        throw new Problem('PARAMETER_INVALID', 'feed: there is no feed of this name');
      }
      const { rows, totals } = await readGroups(context, question, feeds, goneSignal(reply));
      return answerOf(context, question, rows, totals);
    },
  );
}

function readQuestion(context: QueryContext, query: UsageQuery): Question {
  const { default_country: country } = context.settings.query;
  const daysMax = rangeDaysMax(context);
  const zone = zoneOf(context, query.time_zone);
  const range = readRange(query.from, query.to, { zone, daysMax, nowMs: Date.now() });
  const groups = orderGroups(query.group_by.split(','));
  const readings = readNumbers(query.calling_number, country);
  const { feed, limit, cursor } = query;
  const identity = [groups, zone, range, readings?.map(({ searched }) => searched) ?? null, feed ?? null];
  const content = cursor === undefined ? undefined : context.usageCursors.read(cursor, identity);
  if (cursor !== undefined && content === undefined) throw new Problem('CURSOR_INVALID', '');
  return { groups, zone, range, readings, feed, after: content?.place, limit, identity };
}

function readNumbers(
  typed: string | string[] | undefined,
  country: string | undefined,
): NumberReading[] | undefined {
  if (typed === undefined) return undefined;
  const numbers = (typeof typed === 'string' ? [typed] : typed).flatMap((text) => text.split(','));
  if (numbers.length > NUMBERS_MAX) {
    throw new Problem('PARAMETER_INVALID', `calling_number: at most ${NUMBERS_MAX} numbers`);
  }
  const readings = numbers.map((number) => readNumber('calling_number', number, country));
  if (readings.some(({ kind }) => kind === 'prefix')) {
    throw new Problem('PARAMETER_INVALID', 'calling_number: must be whole numbers, not a prefix');
  }
  return readings;
}

async function readGroups(
  context: QueryContext,
  { groups, range, zone, readings, feed, after, limit }: Question,
  feeds: readonly string[],
  gone: AbortSignal,
): Promise<{ rows: UsageSumsRow[]; totals: SumsRow | undefined }> {
  const { database, numberKeys, retentionMonths } = context;
  const texts = [...new Set(readings?.flatMap(({ searched }) => searched))];
  const statement = usageSql(database.database, {
    groups,
    range,
    term: { months: retentionMonths, nowMs: Date.now() },
    timeZone: zone,
    callingNumbers: readings === undefined ? undefined : { texts, keys: numberKeys.keysOf(feeds, texts) },
    feed,
    after: after?.after,
    rows: limit + 1,
  });
  return database.usage(statement, gone);
}

function answerOf(
  { usageCursors }: QueryContext,
  question: Question,
  rows: readonly UsageSumsRow[],
  totals: SumsRow | undefined,
): UsageAnswer {
  const { zone, range, readings, after, limit, identity } = question;
  // Without groups the one row is the total.
  const total = after?.total ?? sumsOf(totals ?? rows[0]!, zone);
  const page = rows.slice(0, limit);
  const last = page.at(-1);
  const hasMore = rows.length > limit && last !== undefined;
  return {
    data: page.map((row) => Object.assign(groupOf(row), sumsOf(row, zone))),
    total,
    next_cursor: hasMore
      ? usageCursors.write({ range, place: { after: placeOf(question.groups, last), total } }, identity)
      : null,
    ...(readings === undefined ? {} : { numbers: readings.map(writeReading) }),
    from: writeTime(range.fromMs, zone),
    to: writeTime(range.toMs, zone),
    time_zone: zone,
  };
}

function placeOf(groups: readonly UsageGroup[], row: UsageSumsRow): UsagePlace {
  return groups.map((group) => row[`group_${group}`]!);
}

function groupOf({
  group_calling_number: number,
  group_day: day,
  group_month: month,
}: UsageSumsRow): Partial<UsageRow> {
  return {
    ...(number === undefined ? {} : { calling_number: number }),
    ...(day === undefined ? {} : { day: String(day).replace(/^(\d{4})(\d\d)(\d\d)$/, '$1-$2-$3') }),
    ...(month === undefined ? {} : { month: String(month).replace(/^(\d{4})(\d\d)$/, '$1-$2') }),
  };
}

function sumsOf(row: SumsRow, zone: string): UsageTotal {
  const isEmpty = row.records === '0';
  return {
    records: row.records,
    answered: row.answered,
    duration_ms: row.sum_duration_ms,
    talk_ms: row.sum_talk_ms,
    missing_talk: row.missing_talk,
    duration_s: Number(row.sum_duration_ms) / 1000,
    talk_s: Number(row.sum_talk_ms) / 1000,
    first_call: isEmpty ? null : writeTime(Number(row.first_ms), zone),
    last_call: isEmpty ? null : writeTime(Number(row.last_ms), zone),
  };
}
