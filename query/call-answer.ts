import type { Call } from '../schemas/api.ts';
import type { CallRow, MatchedRow } from './calls-sql.ts';
import type { QueryContext } from './context.ts';
import type { CsvColumn } from '../schemas/csv.ts';
import { maskInside, maskNumber } from '../schemas/masking.ts';
import { writeTime } from './times.ts';

/** A call as answers show it, without what depends on the search. */
export type CallAnswer = Omit<Call, 'matched_roles' | 'held'>;

/** Its columns in CSV. */
export const CALL_ANSWER_COLUMNS: readonly CsvColumn<CallAnswer>[] = [
  { name: 'id', isText: true },
  { name: 'calling_number', isText: true },
  { name: 'displayed_caller_id', isText: true },
  { name: 'dialed_number', isText: true },
  { name: 'start', isText: false },
  { name: 'duration_s', isText: false },
  { name: 'talk_s', isText: false },
  { name: 'outcome', isText: false },
  { name: 'direction', isText: false },
  { name: 'account', isText: true },
  { name: 'feed', isText: true },
  { name: 'call_id', isText: true },
];

/** @param zone of its start */
export function callAnswer({ numberKeys, callIds }: QueryContext, row: CallRow, zone: string): CallAnswer {
  const startMs = Number(row.start_ms);
  const callingKey = numberKeys.keyOf(row.feed, row.calling_number);
  const id = callIds.idOf({ callingKey, startMs, cdrKey: row.cdr_key });
  return answerWith(row, id, writeTime(startMs, zone));
}

/** A call with an id and a start that are written already. */
export function answerWith(row: CallRow, id: string, start: string): CallAnswer {
  return {
    id,
    calling_number: row.calling_number,
    displayed_caller_id: row.displayed_caller_id,
    dialed_number: row.dialed_number,
    start,
    duration_s: row.duration_ms / 1000,
    talk_s: row.talk_ms === null ? null : row.talk_ms / 1000,
    outcome: row.outcome,
    direction: row.direction,
    account: row.account,
    feed: row.feed,
    call_id: row.call_id,
  };
}

/** Hides the numbers of a call that are hidden, also where another of its fields repeats them. */
export function maskCall<T extends CallAnswer>(call: T, isHidden: (number: string) => boolean): T {
  const hidden = [call.calling_number, call.displayed_caller_id, call.dialed_number].filter(isHidden);
  const mask = (number: string): string => (hidden.includes(number) ? maskNumber(number) : number);
  const inside = (text: string): string => hidden.reduce(maskInside, text);
  return {
    ...call,
    calling_number: mask(call.calling_number),
    displayed_caller_id: mask(call.displayed_caller_id),
    dialed_number: mask(call.dialed_number),
    account: inside(call.account),
    call_id: inside(call.call_id),
  };
}

/** Hides the dialed number where its holder asked for it. */
export function maskRestricted<T extends CallAnswer>(call: T, row: CallRow): T {
  return row.dialed_restricted === 1 ? maskCall(call, (number) => number === row.dialed_number) : call;
}

/** How many calls a search has, and their sums. */
export function matchedOf(row: MatchedRow) {
  return { calls: row.calls, ...durationSums(row) };
}

/** Sums of calls, exact as text. */
export function durationSums(row: Omit<MatchedRow, 'calls'>) {
  return {
    duration_ms: row.sum_duration_ms,
    talk_ms: row.sum_talk_ms,
    missing_talk: row.missing_talk,
    duration_s: Number(row.sum_duration_ms) / 1000,
    talk_s: Number(row.sum_talk_ms) / 1000,
  };
}

/** The same, of a search whose calls are all at hand. */
export function matchedAmong(rows: readonly CallRow[]): MatchedRow {
  // Each below 2^32, and no more of them than a page has.
  const durationMs = rows.reduce((sum, row) => sum + row.duration_ms, 0);
  const talkMs = rows.reduce((sum, row) => sum + (row.talk_ms ?? 0), 0);
  return {
    calls: String(rows.length),
    sum_duration_ms: String(durationMs),
    sum_talk_ms: String(talkMs),
    missing_talk: String(rows.filter(({ talk_ms: talk }) => talk === null).length),
  };
}
