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
import { JSON_DEPTH_MAX } from '../../ingest/parse/json-document.ts';
import { callIdPlace, placesOf } from './lines.ts';
import type { Outcome } from './outcomes.ts';
import { differentStored, type RecordColumns } from './stored.ts';

/** Columns that our splitter looks into. */
const COLUMNS_MAX = 1024;

/** What a line says by the references: its columns by place, or that it breaks the rules of its syntax. */
type Expected = { readonly fault: 'syntax' | 'nested' } | Columns;
interface Columns {
  /** How many there are; undefined in JSON. */
  readonly count: number | undefined;
  /** As sent; empty where there is none. */
  readonly bytes: (place: Place) => Buffer;
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
  if (feed.format.syntax.kind === 'json' && (code === 'JSON_TOO_DEEP') !== depthOf(line) > JSON_DEPTH_MAX + 1)
    return `it is ${depthOf(line)} levels deep: ${code}`;
  if (refused || nested)
    return code === 'JSON_TOO_DEEP' ? undefined : `the reference finds no fault, we do: ${code}`;
  return differentFields(feed, expected, outcome, sent, {
    line: withoutLineEnd(line),
    head: head === undefined ? '' : Buffer.from(head).toString('latin1'),
  });
}

/** Objects and arrays in one another, of a line of JSON. */
function depthOf(line: Uint8Array): number {
  const brackets = Buffer.from(line)
    .toString('latin1')
    .replaceAll(/"(?:\\.|[^"\\])*"|[^"[\]{}]/g, '');
  let [depth, deepest] = [0, 0];
  for (const bracket of brackets) deepest = Math.max(deepest, (depth += /[[{]/.test(bracket) ? 1 : -1));
  return deepest;
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
  const at = (column: number): Buffer =>
    (column < 0 || column >= COLUMNS_MAX ? undefined : fields[column]) ?? Buffer.alloc(0);
  const columnsAt = (columnOf: (place: Place) => number): Columns => ({
    count: fields.length,
    has: () => true,
    bytes: (place) => at(columnOf(place)),
    value: (place) => at(columnOf(place)).toString('utf8'),
  });
  if (columns.by === 'position') return columnsAt(Number);
  if (columns.by === 'list') {
    const { names } = columns;
    return {
      ...columnsAt((place) => names.indexOf(String(place))),
      has: (place) => names.includes(String(place)),
    };
  }
  const names =
    head === undefined ? undefined : await delimitedFields(withoutLineEnd(head), separator, quotes);
  if (names === undefined || names === null) return undefined;
  const place = (name: Place): number =>
    names.findIndex((field) => field.toString('latin1') === latin1(name));
  return columnsAt(place);
}

/** The UTF-8 bytes of a name, a character each. */
function latin1(name: Place): string {
  return Buffer.from(String(name)).toString('latin1');
}

/** A value of JSON as the bytes of its text, a character each; empty where it is none. */
function shown(value: unknown): string {
  return typeof value === 'string' || typeof value === 'boolean' ? latin1(String(value)) : '';
}

function percentDecoded(value: string): string {
  return value.replaceAll(/%([0-9a-f]{2})/gi, (_, digits: string) =>
    String.fromCharCode(parseInt(digits, 16)),
  );
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
  const bytes = (place: Place): Buffer => {
    const value = pathsOf(place)
      .map((path) => shown(at(path)))
      .find((one) => one !== '');
    return Buffer.from(value === undefined || !urlEncoded ? (value ?? '') : percentDecoded(value), 'latin1');
  };
  return { count: undefined, has: () => true, bytes, value: (place) => bytes(place).toString('utf8') };
}

function differentFields(
  feed: Feed,
  columns: Columns,
  outcome: Outcome,
  sent: Readonly<Record<string, string>>,
  of: Pick<RecordColumns, 'line' | 'head'>,
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
  return differentStored(feed, shape, { ...columns, ...of }, outcome);
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
