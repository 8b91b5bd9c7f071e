import { CallIds } from '../schemas/call-id.ts';
import type { CsvColumn } from '../schemas/csv.ts';
import { maskInside, maskNumber } from '../schemas/masking.ts';
import { numberHmacs } from '../schemas/number-hmac.ts';
import { isE164, prefixSearches } from '../schemas/number-key.ts';
import { NumberKeys } from '../schemas/number-keys.ts';
import { SEPARATOR_CLASS, spellingPattern } from '../schemas/number-spelling.ts';
import type { CallFields } from '../schemas/record.ts';
import { monthsSql } from '../schemas/retention-term.ts';
import { moment } from '../schemas/sql-time.ts';
import { SORTING_KEYS } from '../schemas/tables.ts';
import { letterSearch, redactorOf } from './letter-search.ts';
import { personNumbers, personSql } from './subject-calls.ts';
import type { Subject } from './subject.ts';
import type { SubjectContext } from './subject-requests.ts';

/** A row of an export; times are ISO 8601 in UTC, amounts of 64 bits texts. */
export type ExportRow = Readonly<Record<string, string | number | null | readonly string[]>>;

/** A column, with what a reader must know. */
export interface ExportColumn extends CsvColumn<ExportRow> {
  readonly about: string;
}

/** One kind of thing that is held: a file of JSON and one of CSV. */
export interface ExportSource {
  /** Name of its files. */
  readonly name: string;
  readonly about: string;
  readonly columns: readonly ExportColumn[];
  readonly statement: {
    readonly query: string;
    readonly parameters: Readonly<Record<string, unknown>>;
  };
  /** The row as it is told; undefined: not about this person. */
  readonly toRow: (row: object) => ExportRow | undefined;
}

/** Everything that is held on a person, where in the database they can stand. */
export async function exportSources(
  context: SubjectContext,
  subject: Subject,
  unmasked: boolean,
): Promise<ExportSource[]> {
  return [
    await callsSource(context, subject, unmasked),
    rejectedSource(context, subject, unmasked),
    lookupsSource(context, subject),
    correctionsSource(context, subject, unmasked),
    heldSource(context, subject, 'restrictions'),
    heldSource(context, subject, 'objections'),
    requestsSource(context, subject),
  ];
}

/** A time as text, and its SQL. */
const time = (column: string): string =>
  `concat(replaceOne(toString(toDateTime64(${column}, 3, 'UTC')), ' ', 'T'), 'Z') AS ${column}`;
const column = (name: string, about: string, isText = false): ExportColumn => ({ name, isText, about });
const text = (name: string, about: string): ExportColumn => column(name, about, true);

const sameRow = (row: object): ExportRow => row as ExportRow;

interface CallFound extends CallFields {
  readonly start_at: string;
  readonly start_ms: string;
  readonly held: number;
}

async function callsSource(
  context: SubjectContext,
  subject: Subject,
  unmasked: boolean,
): Promise<ExportSource> {
  const { database, stored } = context;
  const person = personSql(await personNumbers(context, subject), subject);
  const fields =
    'start_at, cdr_key, calling_number, displayed_caller_id, dialed_number, duration_ms, talk_ms, outcome, direction, account, call_id, feed';
  const kept = `addMonths(start_at, ${monthsSql(stored.retentionMonths)}) > now64(3, 'UTC')`;
  // Once, however many holds copied it; what is within its term stands in the call tables.
  const held = `${person.cdr_held} AND NOT (${kept}) LIMIT 1 BY ${SORTING_KEYS.cdr}`;
  const callIds = new CallIds(stored.identityKey);
  const keys = new NumberKeys(stored.identityKey);
  const isTheirs = (number: string): boolean => subject.numbers.includes(number);
  return {
    name: 'calls',
    about: 'every call in which the number is the calling, the displayed or the dialed one',
    columns: [
      text('id', 'names the call in every answer of the operator; hides the numbers'),
      column('roles', 'what the number is in this call: calling, displayed, dialed'),
      column('start', 'begin of the call'),
      text('calling_number', 'who called; masked where it is somebody else'),
      text('displayed_caller_id', 'what was displayed to the other side; masked where it is somebody else'),
      text('dialed_number', 'who was called'),
      column('duration_s', 'seconds, as the switch measured the call'),
      column('talk_s', 'seconds that can be billed; empty: not recorded'),
      column('outcome', 'unknown, answered, no_answer, busy, failed, cancelled'),
      column('direction', 'as the switch saw it: unknown, inbound, outbound, internal'),
      text('account', 'to which the call is charged'),
      text('call_id', 'name of the call at the switch'),
      text('feed', 'the switch'),
      column('held', '1: its term is over, and a legal hold keeps a copy'),
    ],
    statement: {
      // A call is in both tables: what is found by its calling number is left out of the other one.
      query: `SELECT ${time('start_at')}, toUnixTimestamp64Milli(found.start_at) AS start_ms, * EXCEPT (start_at) FROM (
  SELECT ${fields}, 0 AS held FROM ${database}.cdr FINAL WHERE ${person.cdr} AND ${kept}
  UNION ALL
  SELECT ${fields}, 1 AS held FROM ${database}.cdr_held FINAL WHERE ${held}
  UNION ALL
  SELECT ${fields}, 0 AS held FROM ${database}.cdr_by_number FINAL WHERE ${person.cdr_by_number} AND ${kept}
    AND calling_number NOT IN {texts: Array(String)}
    AND (role = 'dialed' OR dialed_number NOT IN {texts: Array(String)})
) AS found ORDER BY found.start_at, cdr_key`,
      parameters: person.parameters,
    },
    toRow: (row) => {
      const call = row as CallFound;
      const others =
        unmasked || isTheirs(call.calling_number) ? [] : [call.calling_number, call.displayed_caller_id];
      const hidden = others.filter((number) => !isTheirs(number));
      const mask = (number: string): string => (hidden.includes(number) ? maskNumber(number) : number);
      const inside = (value: string): string => hidden.reduce(maskInside, value);
      const numbers = {
        calling: call.calling_number,
        displayed: call.displayed_caller_id,
        dialed: call.dialed_number,
      };
      return {
        id: callIds.idOf({
          callingKey: keys.keyOf(call.feed, call.calling_number),
          startMs: Number(call.start_ms),
          cdrKey: call.cdr_key,
        }),
        roles: Object.entries(numbers).flatMap(([role, number]) => (isTheirs(number) ? [role] : [])),
        start: call.start_at,
        calling_number: mask(call.calling_number),
        displayed_caller_id: mask(call.displayed_caller_id),
        dialed_number: call.dialed_number,
        duration_s: call.duration_ms / 1000,
        talk_s: call.talk_ms === null ? null : call.talk_ms / 1000,
        outcome: call.outcome,
        direction: call.direction,
        account: inside(call.account),
        call_id: inside(call.call_id),
        feed: call.feed,
        held: call.held,
      };
    },
  };
}

interface LetterFound {
  readonly [told: string]: string | number;
  readonly feed: string;
  readonly topic: string;
  /** Base64. */
  readonly bytes: string;
  readonly is_spelt: number;
}

function rejectedSource(
  { database, settings }: SubjectContext,
  subject: Subject,
  unmasked: boolean,
): ExportSource {
  const { inTime, mayHold, parameters } = letterSearch(subject);
  const redact = redactorOf(settings, subject);
  const raw = unmasked ? ', if(isValidUTF8(raw), raw, hex(raw)) AS record' : '';
  return {
    name: 'rejected-records',
    about:
      'records of the switch that could not be read and in which the number stands, in any notation, by the time at which they were sent, up to 31 days behind the time',
    columns: [
      text('place', 'topic, partition, offset and line in Kafka'),
      text('feed', 'the switch'),
      column('message_at', 'when it was sent'),
      column('rejected_at', 'when it could not be read'),
      column('code', 'why; the codes are described in docs/errors.md'),
      column('field', 'the field that could not be read'),
      ...(unmasked ? [text('record', 'the record as it was sent; hexadecimal where it is no UTF-8')] : []),
    ],
    statement: {
      // Short numbers, and texts that are none, are found as they are.
      query: `SELECT topic, base64Encode(letters.raw) AS bytes,
  (match(letters.raw, {spelling: String}) OR match(replaceRegexpAll(letters.raw, '${SEPARATOR_CLASS}', ''), {spelling: String})) AS is_spelt,
  concat(topic, '/', toString(partition), '/', toString(offset), '/', toString(line)) AS place,
  feed, ${time('message_at')}, ${time('rejected_at')}, code, field${raw}
FROM ${database}.dead_letters AS letters FINAL
WHERE ${inTime} AND (is_spelt${mayHold === undefined ? '' : ` OR ${mayHold}`})
ORDER BY letters.message_at, place`,
      parameters: { ...parameters, spelling: subject.numbers.map(spellingPattern).join('|') },
    },
    toRow: (row) => {
      const { topic, bytes, is_spelt: isSpelt, ...told } = row as LetterFound;
      // As an erasure finds it.
      return isSpelt === 1 || redact({ feed: told.feed, topic }, Buffer.from(bytes, 'base64')) > 0
        ? told
        : undefined;
    },
  };
}

interface LookupFound {
  readonly at: string;
  readonly purpose: string;
  readonly route: string;
  readonly filter: string;
  readonly by_prefix: number;
}

/** What stands in the filter of a look-up. */
interface AskedCalls {
  readonly from?: string;
  readonly to?: string;
  /** Of one call; look-ups of calls by an older cdrhouse have no feed. */
  readonly id?: string;
  readonly feed?: readonly string[];
  /** Of sums. */
  readonly feeds?: readonly string[];
}

function lookupsSource({ database, stored }: SubjectContext, subject: Subject): ExportSource {
  const { numbers, feeds, fromMs, toMs } = subject;
  const hmacs = (texts: readonly string[]): string[] => numberHmacs(stored.journalKeys, texts);
  const prefixes = numbers.filter(isE164).flatMap(prefixSearches);
  const callIds = new CallIds(stored.identityKey);
  return {
    name: 'look-ups',
    about:
      'when somebody looked the calls of the number up, and for what. Exports of all records for billing name no number and are not among them',
    columns: [
      column('at', 'when'),
      column('purpose', 'dispute, billing, support, legal; privacy: a look into the list of look-ups'),
      column('route', 'what was asked'),
      column('asked_from', 'begin of the calls that were asked for; empty: one call'),
      column('asked_to', 'end of them'),
      column('by_prefix', '1: all numbers with the same beginning were asked for'),
    ],
    statement: {
      query: `SELECT ${time('at')}, purpose, route, filter, max(number_hmac IN {prefix_hmacs: Array(String)}) AS by_prefix
FROM ${database}.lookup_journal AS journal
WHERE phase = 'started' AND journal.at >= ${moment('from_ms')}
  AND (number_hmac IN {hmacs: Array(String)} OR number_hmac IN {prefix_hmacs: Array(String)})
GROUP BY journal.at, request_id, purpose, route, filter ORDER BY journal.at, request_id`,
      parameters: { from_ms: fromMs, hmacs: hmacs(numbers), prefix_hmacs: hmacs(prefixes) },
    },
    toRow: (row) => {
      const { filter, ...lookup } = row as LookupFound;
      const asked = JSON.parse(filter) as AskedCalls;
      // Of another feed it is another person's. Without one it found the calls of all.
      const named = asked.feed ?? asked.feeds;
      if (feeds !== undefined && named?.some((feed) => feeds.includes(feed)) === false) return undefined;
      // Somebody else may have had the number at the time that was asked for.
      const call = asked.id === undefined ? undefined : callIds.keyOf(asked.id)?.startMs;
      const begin = asked.from === undefined ? call : Date.parse(asked.from);
      const end = asked.to === undefined ? call : Date.parse(asked.to);
      if ((begin !== undefined && begin >= toMs) || (end !== undefined && end < fromMs)) return undefined;
      return { ...lookup, asked_from: asked.from ?? null, asked_to: asked.to ?? null };
    },
  };
}

function correctionsSource({ database }: SubjectContext, subject: Subject, unmasked: boolean): ExportSource {
  const { numbers, feeds, fromMs, toMs } = subject;
  return {
    name: 'corrections',
    about: 'values of calls that were corrected',
    columns: [
      column('corrected_at', 'when'),
      column('start_at', 'begin of the call, as it was before'),
      column('field', 'what was corrected'),
      text('before', 'its value before; numbers of others are masked'),
      text('after', 'its value after'),
      text('reason', 'why'),
    ],
    statement: {
      query: `SELECT ${time('corrected_at')}, ${time('start_at')}, field, before, after, reason
FROM ${database}.corrections AS corrections FINAL
WHERE corrections.start_at >= ${moment('from_ms')} AND corrections.start_at < ${moment('to_ms')}
  ${feeds === undefined ? '' : "AND JSONExtractString(row, 'feed') IN {feeds: Array(String)}"}
  AND hasAny({numbers: Array(String)}, [JSONExtractString(row, 'calling_number'), JSONExtractString(row, 'displayed_caller_id'),
    JSONExtractString(row, 'dialed_number'), before, after])
ORDER BY corrections.corrected_at, request_id`,
      parameters: { from_ms: fromMs, to_ms: toMs, numbers, ...(feeds === undefined ? {} : { feeds }) },
    },
    toRow: (row) => {
      const found = row as Record<
        'corrected_at' | 'start_at' | 'field' | 'before' | 'after' | 'reason',
        string
      >;
      const isNumber = found.field === 'calling_number' || found.field === 'displayed_caller_id';
      const shown = (value: string): string =>
        unmasked || !isNumber || numbers.includes(value) ? value : maskNumber(value);
      return { ...found, before: shown(found.before), after: shown(found.after) };
    },
  };
}

function heldSource(
  { database }: SubjectContext,
  { numbers, feeds, fromMs, toMs }: Subject,
  table: 'restrictions' | 'objections',
): ExportSource {
  const own =
    table === 'restrictions'
      ? [column('keep_past_term', '1: the calls are kept until it is lifted')]
      : [
          column('purpose', 'for which look-ups are refused'),
          column('kind', 'object: objection; withdraw: withdrawal of consent'),
        ];
  return {
    name: table,
    about:
      table === 'restrictions'
        ? 'restrictions of processing: look-ups hide the calls'
        : 'objections and withdrawals of consent',
    columns: [
      text('number', 'the number'),
      column('held_from', 'begin of the time in which calls are meant'),
      column('held_to', 'end of that time; 2290: open'),
      ...own,
      text('request_id', 'the request'),
      text('lifted_by', 'the request that ended it; empty: it holds'),
      column('changed_at', 'when it was recorded or ended'),
    ],
    statement: {
      query: `SELECT number, ${time('held_from')}, ${time('held_to')}, ${own.map(({ name }) => name).join(', ')},
  request_id, lifted_by, ${time('changed_at')}
FROM ${database}.${table} AS rights FINAL
WHERE number IN {numbers: Array(String)} ${feeds === undefined ? '' : 'AND feed IN {feeds: Array(String)}'} AND rights.held_from < ${moment('to_ms')} AND rights.held_to > ${moment('from_ms')}
ORDER BY rights.changed_at, request_id`,
      parameters: {
        numbers,
        from_ms: fromMs,
        to_ms: toMs,
        // What holds in all feeds holds in these.
        ...(feeds === undefined ? {} : { feeds: ['', ...feeds] }),
      },
    },
    toRow: sameRow,
  };
}

function requestsSource({ database, stored }: SubjectContext, subject: Subject): ExportSource {
  const { numbers, feeds, fromMs, toMs } = subject;
  return {
    name: 'requests',
    about: 'what was asked in the name of the person, this request included',
    columns: [
      text('request_id', 'the request'),
      column('kind', 'export, rectify, erase, restrict, lift, object, withdraw'),
      column('state', 'begun, deferred, refused, done'),
      text('reason', 'why'),
      column('asked_at', 'when'),
      column('due_at', 'when it must be answered'),
      column('finished_at', 'when it was done'),
    ],
    statement: {
      query: `SELECT request_id, kind, state, reason, ${time('asked_at')}, ${time('due_at')},
  if(isNull(requests.finished_at), NULL, concat(replaceOne(toString(requests.finished_at), ' ', 'T'), 'Z')) AS finished_at
FROM ${database}.subject_requests AS requests FINAL
WHERE hasAny(number_hmacs, {hmacs: Array(String)})
  ${feeds === undefined ? '' : 'AND (empty(feeds) OR hasAny(feeds, {feeds: Array(String)}))'}
  AND requests.held_from < ${moment('to_ms')} AND requests.held_to > ${moment('from_ms')}
ORDER BY requests.asked_at, request_id`,
      parameters: {
        hmacs: numberHmacs(stored.journalKeys, numbers),
        from_ms: fromMs,
        to_ms: toMs,
        ...(feeds === undefined ? {} : { feeds }),
      },
    },
    toRow: sameRow,
  };
}
