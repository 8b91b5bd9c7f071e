import { isUtf8 } from 'node:buffer';
import type { Feed } from '../../schemas/feed.ts';
import type {
  DurationField,
  Format,
  Place,
  RecordShape,
  TimeField,
  WordRule,
} from '../../schemas/formats/format.ts';
import { listOf } from '../../schemas/formats/places.ts';
import { delimitedFields, jsonObject, valueAt } from '../ingest/parse/references.ts';
import { callIdPlace, placesOf } from './lines.ts';
import type { Outcome } from './outcomes.ts';

/** Columns that our splitter looks into. */
const COLUMNS_MAX = 1024;

/** What a line says by the references: its columns by place, or that it breaks the rules of its syntax. */
type Expected = { readonly fault: 'syntax' | 'nested' } | Columns;
interface Columns {
  /** How many there are; undefined in JSON. */
  readonly count: number | undefined;
  /** As UTF-8; empty where there is none. */
  readonly value: (place: Place) => string;
  /** False: the list of the feed has no such column. */
  readonly has: (place: Place) => boolean;
}

/** Of a line that is a record, what is other than the references say; undefined: nothing is, or they say nothing. */
export async function differenceFrom(
  feed: Feed,
  head: Uint8Array | undefined,
  line: Uint8Array,
  outcome: Outcome,
  sent: Readonly<Record<string, string>>,
): Promise<string | undefined> {
  const code = outcome.kind === 'rejected' ? outcome.code : '';
  if (code === 'HEADER_MISSING') return undefined;
  const expected = await columnsOf(feed.format, head, withoutLineEnd(line));
  if (expected === undefined) return undefined;
  const refused = code === 'QUOTE_MALFORMED' || /^JSON_(?!VALUE)/.test(code);
  const nested = code === 'JSON_VALUE_NESTED';
  if ('fault' in expected) {
    const fits = expected.fault === 'syntax' ? refused : nested;
    return fits ? undefined : `the reference finds a fault (${expected.fault}), we do not: ${code}`;
  }
  if (refused || nested)
    return code === 'JSON_TOO_DEEP' ? undefined : `the reference finds no fault, we do: ${code}`;
  return differentFields(feed, expected, outcome, sent);
}

function withoutLineEnd(line: Uint8Array): Uint8Array {
  return line.at(-1) === 0x0d ? line.subarray(0, -1) : line;
}

async function columnsOf(
  format: Format,
  head: Uint8Array | undefined,
  line: Uint8Array,
): Promise<Expected | undefined> {
  const { syntax } = format;
  if (syntax.kind === 'json') return jsonColumns(line, placesOf(format), syntax.urlEncoded ?? false);
  const { separator, quotes, columns, linePrefix } = syntax;
  const fields = await delimitedFields(line, separator, quotes);
  if (fields === undefined) return undefined;
  if (fields === null) return { fault: 'syntax' };
  const first = fields[0]!;
  if (linePrefix !== undefined && first.subarray(0, linePrefix.length).toString() === linePrefix)
    fields[0] = first.subarray(linePrefix.length);
  const text = (column: number): string =>
    column < 0 || column >= COLUMNS_MAX ? '' : (fields[column]?.toString('utf8') ?? '');
  const count = fields.length;
  if (columns.by === 'position') return { count, has: () => true, value: (place) => text(Number(place)) };
  if (columns.by === 'list') {
    const { names } = columns;
    return {
      count,
      has: (place) => names.includes(String(place)),
      value: (place) => text(names.indexOf(String(place))),
    };
  }
  const names =
    head === undefined ? undefined : await delimitedFields(withoutLineEnd(head), separator, quotes);
  if (names === undefined || names === null) return undefined;
  const place = (name: Place): number =>
    names.findIndex((field) => field.toString('latin1') === latin1(name));
  return { count, has: () => true, value: (name) => text(place(name)) };
}

/** The UTF-8 bytes of a name, a character each. */
function latin1(name: Place): string {
  return Buffer.from(String(name)).toString('latin1');
}

/** A value of JSON as text; empty where it is none. */
function shown(value: unknown): string {
  return typeof value === 'string' || typeof value === 'boolean'
    ? Buffer.from(String(value)).toString('utf8')
    : '';
}

function percentDecoded(value: string): string {
  const decoded = Buffer.from(value)
    .toString('latin1')
    .replaceAll(/%([0-9a-f]{2})/gi, (_, digits: string) => String.fromCharCode(parseInt(digits, 16)));
  return Buffer.from(decoded, 'latin1').toString('utf8');
}

function pathsOf(place: Place): string[] {
  return String(place).split('|');
}

function jsonColumns(line: Uint8Array, places: readonly Place[], urlEncoded: boolean): Expected | undefined {
  const text = Buffer.from(line);
  const document = jsonObject(text.toString(isUtf8(text) ? 'utf8' : 'latin1'));
  if (document === undefined) return { fault: 'syntax' };
  // Bytes that are no UTF-8 are kept by us and replaced by Buffer: only what is refused can be compared.
  if (!isUtf8(text)) return undefined;
  const at = (path: string): unknown =>
    valueAt(
      document,
      [...path.matchAll(/[^.[\]]+/g)].map(([step]) => (/^-?\d+$/.test(step) ? Number(step) : step)),
    );
  if (
    places
      .flatMap(pathsOf)
      .map(at)
      .some((value) => typeof value === 'object' && value !== null)
  )
    return { fault: 'nested' };
  return {
    count: undefined,
    has: () => true,
    value: (place) => {
      const value = pathsOf(place)
        .map((path) => shown(at(path)))
        .find((one) => one !== '');
      return value === undefined ? '' : urlEncoded ? percentDecoded(value) : value;
    },
  };
}

function differentFields(
  feed: Feed,
  columns: Columns,
  outcome: Outcome,
  sent: Readonly<Record<string, string>>,
): string | undefined {
  const { format } = feed;
  const shape = format.records.find(
    ({ when }) => when === undefined || when.is.includes(columns.value(when.at)),
  );
  if ((shape === undefined) !== (outcome.kind === 'rejected' && outcome.code === 'RECORD_KIND_UNKNOWN'))
    return 'another kind of record';
  if (shape === undefined) return undefined;
  const fields = Object.fromEntries(
    Object.entries(fieldsOf(shape, columns)).filter(([, text]) => text !== ''),
  );
  if (JSON.stringify(fields) !== JSON.stringify(sent))
    return `fields as sent: ${JSON.stringify(sent)} instead of ${JSON.stringify(fields)}`;
  if (outcome.kind === 'rejected') return undefined;
  const account = shape.account === undefined ? '' : columns.value(shape.account);
  // Texts of other encodings become others.
  if (/^[\0-\x7f]*$/.test(account) && outcome.account !== account) return 'another account is stored';
  return differentValues(feed, shape, columns, fields, outcome);
}

/** The values that can be told without reading them as the parser does. */
function differentValues(
  { numbers, timeZone }: Feed,
  { callingNumber, duration, start }: RecordShape,
  { value }: Columns,
  fields: Readonly<Record<string, string>>,
  outcome: Extract<Outcome, { kind: 'stored' }>,
): string | undefined {
  const calling = fields['calling_number'] ?? '';
  const plain = (callingNumber.reading ?? 'plain') === 'plain' && /^[0-9+*#]*$/.test(calling);
  if (plain && numbers.calling === undefined && outcome.calling_number !== calling)
    return 'another calling number is stored';
  if ('at' in duration && duration.unit === 's' && duration.plus === undefined) {
    const [, whole, fraction = ''] = /^(\d{1,9})(?:\.(\d+))?$/.exec(value(duration.at)) ?? [];
    if (
      whole !== undefined &&
      outcome.durationMs !== Number(whole) * 1000 + Number(`${fraction}000`.slice(0, 3))
    )
      return `a duration of ${outcome.durationMs} ms is stored`;
  }
  const time = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,3})\d*)?(Z?)$/.exec(fields['start'] ?? '');
  if (time !== null && (timeZone === 'UTC' || time[4] === 'Z') && listOf(start).length === 1) {
    const [, day, clock, fraction = '0'] = time;
    const ms = Date.parse(`${day}T${clock}.${fraction.padEnd(3, '0')}Z`);
    if (outcome.startMs !== ms || !new Date(ms).toISOString().startsWith(day!))
      return `a start of ${outcome.startMs} is stored`;
  }
  return undefined;
}

function fieldsOf(shape: RecordShape, { value, has }: Columns): Record<string, string> {
  const first = (places: readonly Place[]): string => places.map(value).find((text) => text !== '') ?? '';
  const ofTime = ({ at, time }: TimeField): string =>
    [value(at), ...(time === undefined ? [] : [value(time.at)])].filter((text) => text !== '').join(' ');
  const ofDuration = (field: DurationField | undefined): string => {
    if (field === undefined || 'none' in field) return '';
    if ('from' in field) return `${ofTime(field.from)} to ${ofTime(field.to)}`;
    return [field.at, ...(field.plus ?? []).map(({ at }) => at)]
      .map(value)
      .filter((text) => text !== '')
      .join(' + ');
  };
  const ofWords = (rules: readonly WordRule<string>[] = []): string =>
    [...new Set(rules.map(placeOfRule).filter(has).map(value))].join(' ').trim();
  const ofPlace = (place: Place | undefined): string => (place === undefined ? '' : value(place));
  return {
    calling_number: first(listOf(shape.callingNumber.at)),
    displayed_caller_id: first(
      shape.displayedCallerId === undefined ? [] : listOf(shape.displayedCallerId.at),
    ),
    dialed_number: first(listOf(shape.dialedNumber.at)),
    start:
      listOf(shape.start)
        .map(ofTime)
        .find((text) => text !== '') ?? '',
    duration: ofDuration(shape.duration),
    talk_duration: ofDuration(shape.talk),
    outcome: ofWords(shape.outcome?.rules),
    direction: ofWords(shape.direction),
    account: ofPlace(shape.account),
    call_id: ofPlace(callIdPlace(shape)),
    record_id: (shape.recordId ?? []).map(value).join(' ').trim(),
  };
}

function placeOfRule(rule: WordRule<string>): Place {
  return 'time' in rule ? rule.time.at : rule.at;
}
