import { readSqlTime } from '../schemas/sql-time.ts';
import { hasRecordIds, readFeed } from '../schemas/feed.ts';
import type { FeedSettings } from '../schemas/settings.ts';
import { batchMoment, correctionOf } from '../schemas/tables.ts';
import { addMonths, monthsOf, type RetentionMonths } from '../schemas/retention-term.ts';
import type { CallKey } from '../schemas/call-id.ts';
import type { Caller } from './auth.ts';
import type { Statement } from './calls-sql.ts';
import type { QueryContext } from './context.ts';
import {
  heldRowSql,
  keyOf,
  lettersSql,
  liveRowSql,
  readingSql,
  relatedRowsSql,
  rowsOfPlaceSql,
  sourceRangesSql,
  rectifiedSql,
  storedRowsSql,
  type LetterRow,
  type RectifiedRow,
  type SourceRangeRow,
  type StoredRow,
} from './evidence-sql.ts';

/** How far from its start other rows of a call are looked for: zones and calendars are mistaken by less. */
export const NEAR_MS = 35 * 86_400_000;
/** Keys of which it is asked which row counts. */
const KEYS_MAX = 20;

/** A call as it is stored, with all that speaks of it. */
export interface FoundCall {
  readonly row: StoredRow;
  /** Where it came from, undefined where the ledger does not say (yet). */
  readonly source: SourceRangeRow | undefined;
  /** The settings of its feed when it was read, undefined where nobody noted them. */
  readonly settings: FeedSettings | undefined;
  /** Numbers (Unix seconds) of the corrections in which its place was read again. */
  readonly corrections: readonly number[];
  /** Rows that a correction took away, which this call was. */
  readonly replaced: readonly StoredRow[];
  /** Corrections of this call alone, with the row before. */
  readonly rectified: readonly Rectified[];
  /** Records with the same id and other content that do not count. */
  readonly otherContents: readonly StoredRow[];
  /** Other calls with the same id, which count as well. */
  readonly otherCalls: readonly StoredRow[];
  /** Whether ids of the switch make records of this feed one, so that there can be conflicts. */
  readonly hasIds: boolean;
  readonly letters: readonly LetterRow[];
  /** Only a legal hold keeps it; of what speaks of it there is its source alone. */
  readonly isHeld: boolean;
}

/** A correction of one call. */
export interface Rectified extends RectifiedRow {
  readonly before: StoredRow;
}

type Select = <Row>(what: string, statement: Statement) => Promise<Row[]>;

/**
 * The call that a key of an id names, also where a correction gave it another key since. Undefined where there is none,
 * or none any more.
 */
export async function findCall(
  context: QueryContext,
  key: CallKey,
  { roles }: Caller,
  gone: AbortSignal,
): Promise<FoundCall | undefined> {
  const { database, retentionMonths } = context;
  const name = database.database;
  const select: Select = (what, statement) => database.select(what, statement, gone);
  const row = (await liveRow(select, name, key)) ?? (await successor(select, name, key));
  if (row === undefined || !isKept(row, retentionMonths))
    return roles.has('legal') ? heldCall(context, key, select) : undefined;
  const [ranges, sameKey, rectified] = await Promise.all([
    select<SourceRangeRow>('ledger', sourceRangesSql(name, row)),
    select<StoredRow>('stored rows', storedRowsSql(name, keyOf(row))),
    select<RectifiedRow>('corrections', rectifiedSql(name, row)),
  ]);
  const alone = new Set(rectified.map(({ correction }) => String(correction)));
  const source = sourceOf(row, ranges);
  const feed = context.settings.feeds.find(({ name: each }) => each === row.feed);
  // Of a feed that does not stand in the settings nobody knows.
  const hasIds = feed === undefined || hasRecordIds(feed);
  const corrections = correctionsOf(row, source, ranges);
  const isMoved = !isSameKey(row, key);
  const near =
    hasIds || isMoved || corrections.length > 0
      ? await select<StoredRow>('related rows', relatedRowsSql(name, row, NEAR_MS))
      : [];
  // Not swept yet, and behind its term nothing is shown.
  const related = near.filter((each) => isKept(each, retentionMonths));
  const others = related.filter((each) => each.cdr_key === row.cdr_key && each.is_deleted === 0);
  return {
    row,
    source,
    settings: await settingsOf(context, source, select),
    corrections,
    replaced: [...sameKey, ...related].filter(
      ({ is_deleted: deleted, correction }) => deleted === 1 && !alone.has(correction),
    ),
    rectified: rectified
      .map((each) => ({ ...each, before: rowBefore(each) }))
      .filter(({ before }) => isKept(before, retentionMonths)),
    otherContents: sameKey.filter((each) => isOtherContent(row, each)),
    otherCalls: await liveOf(select, name, others),
    hasIds,
    letters:
      source === undefined ? [] : await select<LetterRow>('dead letters', lettersSql(name, source, row)),
    isHeld: false,
  };
}

function isKept({ start_ms: startMs, feed }: StoredRow, months: RetentionMonths): boolean {
  return addMonths(Number(startMs), monthsOf(months, feed)) > Date.now();
}

/** The copy of a call whose term is over, where a legal hold keeps one. */
async function heldCall(context: QueryContext, key: CallKey, select: Select): Promise<FoundCall | undefined> {
  const {
    database: { database },
    retentionMonths,
  } = context;
  const term = { months: retentionMonths, nowMs: Date.now() };
  const [row] = await select<StoredRow>('held call', heldRowSql(database, key, term));
  if (row === undefined) return undefined;
  const source = sourceOf(row, await select<SourceRangeRow>('ledger', sourceRangesSql(database, row)));
  return {
    row,
    source,
    settings: await settingsOf(context, source, select),
    corrections: [],
    replaced: [],
    rectified: [],
    otherContents: [],
    otherCalls: [],
    hasIds: false,
    letters: [],
    isHeld: true,
  };
}

/** As ingest noted them; what was read before it did has those of today, where their hash is the same. */
async function settingsOf(
  { database: { database }, settings: { feeds } }: QueryContext,
  source: SourceRangeRow | undefined,
  select: Select,
): Promise<FeedSettings | undefined> {
  if (source === undefined) return undefined;
  const [noted] = await select<{ settings: string }>('readings', readingSql(database, source));
  if (noted !== undefined) return JSON.parse(noted.settings) as FeedSettings;
  const today = feeds.find(({ name }) => name === source.feed);
  return today !== undefined && readFeed(today).reading === source.reading ? today : undefined;
}

/** What was noted of a row is what the database gave, with other names for times. */
function rowBefore({ row }: RectifiedRow): StoredRow {
  const noted = JSON.parse(row) as StoredRow & { readonly start_at: string; readonly version: string };
  const version = BigInt(noted.version);
  const batch = batchMoment(version);
  return {
    ...noted,
    start_ms: String(readSqlTime(noted.start_at)),
    stored_s: batch,
    batch_s: batch,
    correction: String(correctionOf(version)),
    is_deleted: 1,
  };
}

async function liveRow(select: Select, database: string, key: CallKey): Promise<StoredRow | undefined> {
  return (await select<StoredRow>('call', liveRowSql(database, key)))[0];
}

/** The call that stands for one which a correction took away. */
async function successor(select: Select, database: string, key: CallKey): Promise<StoredRow | undefined> {
  const rows = await select<StoredRow>('stored rows', storedRowsSql(database, key));
  const marker = rows.find(({ is_deleted: deleted }) => deleted === 1);
  if (marker === undefined) return undefined;
  for (const statement of [relatedRowsSql(database, marker, NEAR_MS), rowsOfPlaceSql(database, marker)]) {
    const related = await select<StoredRow>('related rows', statement);
    const later = related.filter((row) => row.is_deleted === 0 && isLater(row, marker));
    const live = await liveOf(select, database, later);
    const found = await bestOf(select, database, marker, live);
    if (found !== undefined) return found;
  }
  return undefined;
}

/**
 * Of several the one from the same place, if its key or its topic is the same: offsets of a topic that was made anew
 * begin at 0 again. Else one with the same id.
 */
async function bestOf(
  select: Select,
  database: string,
  marker: StoredRow,
  live: readonly StoredRow[],
): Promise<StoredRow | undefined> {
  const samePlace = live.filter((row) => isSamePlace(row, marker));
  const sameId = live.filter((row) => row.cdr_key === marker.cdr_key);
  const both = samePlace.find((row) => sameId.includes(row));
  if (both !== undefined) return both;
  const topicOf = async (row: StoredRow): Promise<string | undefined> =>
    sourceOf(row, await select<SourceRangeRow>('ledger', sourceRangesSql(database, row)))?.topic_id;
  const topic = samePlace.length === 0 ? undefined : await topicOf(marker);
  for (const row of samePlace) if (topic !== undefined && (await topicOf(row)) === topic) return row;
  return sameId[0];
}

/** Those rows that count. */
async function liveOf(select: Select, database: string, rows: readonly StoredRow[]): Promise<StoredRow[]> {
  const keys = new Map(rows.map((row) => [JSON.stringify(keyOf(row)), keyOf(row)]));
  const live = [...keys.values()].slice(0, KEYS_MAX).map((key) => liveRow(select, database, key));
  return (await Promise.all(live)).filter((row) => row !== undefined);
}

function isSameKey(row: StoredRow, key: CallKey): boolean {
  const { callingKey, startMs, cdrKey } = keyOf(row);
  return callingKey === key.callingKey && startMs === key.startMs && cdrKey === key.cdrKey;
}

function isSamePlace(a: StoredRow, b: StoredRow): boolean {
  return (
    a.feed === b.feed &&
    a.source_partition === b.source_partition &&
    a.source_offset === b.source_offset &&
    a.source_line === b.source_line
  );
}

function isLater(row: StoredRow, marker: StoredRow): boolean {
  return BigInt(row.correction) >= BigInt(marker.correction);
}

/** The first range that was written for the row's batch, or after it: a crash may have come between the two. */
function sourceOf(row: StoredRow, ranges: readonly SourceRangeRow[]): SourceRangeRow | undefined {
  return ranges.find(
    (range) =>
      range.feed === row.feed &&
      BigInt(range.next_offset) > BigInt(row.source_offset) &&
      range.stored_s >= row.batch_s,
  );
}

function correctionsOf(
  row: StoredRow,
  source: SourceRangeRow | undefined,
  ranges: readonly SourceRangeRow[],
): number[] {
  const claims = ranges.filter(
    ({ correction, corrected_until: until, topic_id: topic }) =>
      correction > 0 && topic === source?.topic_id && BigInt(until) > BigInt(row.source_offset),
  );
  // A correction after which the row was stored, not one that has just begun.
  const done = claims
    .map(({ correction }) => correction)
    .filter((number) => BigInt(number) <= BigInt(row.correction));
  return [...new Set(done)].sort((a, b) => a - b);
}

function isOtherContent(row: StoredRow, other: StoredRow): boolean {
  return other.is_deleted === 0 && other.correction === row.correction && contentOf(other) !== contentOf(row);
}

/** All that the switch said, but what is part of the key. */
function contentOf(row: StoredRow): string {
  return JSON.stringify([
    row.displayed_caller_id,
    row.dialed_number,
    row.duration_ms,
    row.talk_ms,
    row.outcome,
    row.direction,
    row.account,
  ]);
}
