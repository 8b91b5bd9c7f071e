import type { RejectCode } from '../../schemas/errors.ts';
import type { Feed } from '../../schemas/feed.ts';
import type { DelimitedFormat } from '../../schemas/formats/format.ts';
import { DIRECTIONS, FIELD_BYTES_MAX, OUTCOMES } from '../../schemas/record.ts';
import { deriveKey } from '../../schemas/record-key.ts';
import type { SipKey } from '../../schemas/siphash.ts';
import { sameText, TEXT, TEXT_STRIDE, type CallColumns } from './call-columns.ts';
import type { BatchMemory } from './batch-memory.ts';
import { COLUMNS_MAX, type LineSplitter } from './line-splitter.ts';
import { LocalClock } from './local-clock.ts';
import { NumberReader } from './number-text.ts';
import { readSeconds, SECONDS_OUT_OF_RANGE, SECONDS_UNREADABLE } from './seconds.ts';
import { StartTimeReader } from './start-time.ts';
import { toUtf8 } from './utf8.ts';

/** Where a record came from, for the identity `position`. */
export interface LinePosition {
  topic: string;
  partition: number;
  offset: number;
  line: number;
}

/** Rewritten texts of one line: each number may gain `+` and a country code, each text may double as UTF-8. */
const ARENA_BYTES_PER_LINE = 256;

const UNKNOWN_OUTCOME = OUTCOMES.indexOf('unknown');
const UNKNOWN_DIRECTION = DIRECTIONS.indexOf('unknown');

/**
 * Reads the split lines of one feed into call columns: the step between bytes and typed values. Where a
 * line is no good it says why and leaves the columns as they were.
 */
export class LineReader {
  /** The fault of the last line: its code, the field's name and the address where it begins. */
  faultField = '';
  faultAt = 0;
  readonly clock: LocalClock;
  readonly #feed: Feed;
  readonly #format: DelimitedFormat;
  readonly #memory: BatchMemory;
  readonly #splitter: LineSplitter;
  readonly #calls: CallColumns;
  readonly #numbers: NumberReader;
  readonly #times = new StartTimeReader();
  readonly #keys: { readonly record: SipKey; readonly fields: SipKey; readonly position: SipKey };
  readonly #columnCounts: ReadonlySet<number>;
  readonly #outcomes: readonly { readonly word: Uint8Array; readonly value: number }[];
  readonly #header: Uint8Array | undefined;

  constructor(
    feed: Feed,
    identityKey: Uint8Array,
    memory: BatchMemory,
    splitter: LineSplitter,
    calls: CallColumns,
  ) {
    this.#feed = feed;
    this.#format = feed.format;
    this.#memory = memory;
    this.#splitter = splitter;
    this.#calls = calls;
    this.clock = new LocalClock(feed.timeZone);
    this.#numbers = new NumberReader(memory, deriveKey(identityKey, 'number', feed.name), feed.dialPlan);
    this.#keys = {
      record: deriveKey(identityKey, 'record', feed.name),
      fields: deriveKey(identityKey, 'fields', feed.name),
      position: deriveKey(identityKey, 'position', feed.name),
    };
    this.#columnCounts = new Set(feed.format.columnCounts);
    this.#outcomes = Object.entries(feed.format.outcome?.words ?? {}).map(([word, outcome]) => ({
      word: Buffer.from(word),
      value: OUTCOMES.indexOf(outcome),
    }));
    this.#header = feed.format.headerField === undefined ? undefined : Buffer.from(feed.format.headerField);
  }

  get separator(): number {
    return this.#format.separator.charCodeAt(0);
  }

  /** True where the split line is the format's header. */
  isHeader(): boolean {
    const { starts, ends } = this.#splitter;
    return this.#header !== undefined && this.#equals(starts[0]!, ends[0]!, this.#header);
  }

  /**
   * Reads the split line that begins at `lineStart` into the columns at index `calls.length` (the caller
   * accepts it by raising the length). Gives undefined, or the code of what is wrong with it.
   */
  read(lineStart: number, position: LinePosition): RejectCode | undefined {
    const format = this.#format;
    const splitter = this.#splitter;
    const { starts, ends, count } = splitter;
    if (splitter.fault >= 0) return this.#fault('QUOTE_MALFORMED', '', splitter.fault);
    if (!this.#columnCounts.has(count)) return this.#fault('COLUMN_COUNT_WRONG', '', lineStart);
    for (let column = 0; column < count; column++) {
      if (ends[column]! - starts[column]! > FIELD_BYTES_MAX)
        return this.#fault('FIELD_TOO_LONG', '', starts[column]!);
    }
    // Texts that are not UTF-8 double, the record id is copied once, and each number may gain some bytes.
    this.#memory.reserve(3 * (splitter.lineEnd - lineStart) + ARENA_BYTES_PER_LINE);
    const calls = this.#calls;
    calls.reserveOne();
    const wrong = this.#readStart() ?? this.#readDuration() ?? this.#readTalk() ?? this.#readOutcome();
    if (wrong !== undefined) return wrong;
    this.#readNumbers();
    calls.direction[calls.length] = UNKNOWN_DIRECTION;
    this.#readText(TEXT.account, format.account ?? COLUMNS_MAX);
    const { callId } = format;
    this.#readText(
      TEXT.callId,
      callId !== undefined && count >= callId.columnCountMin ? callId.column : COLUMNS_MAX,
    );
    this.#hashIdentity(lineStart, position);
    return undefined;
  }

  /** Time sanity of the line just read, judged by its Kafka timestamp, so that reading again gives the same answer. */
  judgeStart(messageAtMs: number, futureMsMax: number): RejectCode | undefined {
    const startMs = this.#calls.startMs[this.#calls.length]!;
    const at = this.#splitter.starts[this.#format.start.column]!;
    if (startMs > messageAtMs + futureMsMax) return this.#fault('START_IN_FUTURE', 'start', at);
    if (startMs < this.#feed.earliestStartMs) return this.#fault('START_IMPLAUSIBLE', 'start', at);
    return undefined;
  }

  #readStart(): RejectCode | undefined {
    const { column, notation } = this.#format.start;
    const start = this.#splitter.starts[column]!;
    const end = this.#splitter.ends[column]!;
    if (start === end) return this.#fault('FIELD_MISSING', 'start', start);
    const ms = this.#times.read(this.#memory.bytes, start, end, notation);
    if (Number.isNaN(ms)) return this.#fault('START_UNREADABLE', 'start', start);
    this.#calls.startMs[this.#calls.length] = this.#times.absolute ? ms : this.clock.toUtc(ms);
    return undefined;
  }

  #readDuration(): RejectCode | undefined {
    const start = this.#splitter.starts[this.#format.duration]!;
    const end = this.#splitter.ends[this.#format.duration]!;
    if (start === end) return this.#fault('FIELD_MISSING', 'duration', start);
    const ms = readSeconds(this.#memory.bytes, start, end);
    this.#calls.durationMs[this.#calls.length] = ms;
    return this.#secondsFault(ms, 'duration', start);
  }

  #readTalk(): RejectCode | undefined {
    const calls = this.#calls;
    const { talk } = this.#format;
    const known =
      talk !== undefined &&
      talk < this.#splitter.count &&
      this.#splitter.starts[talk]! < this.#splitter.ends[talk]!;
    calls.talkUnknown[calls.length] = known ? 0 : 1;
    calls.talkMs[calls.length] = 0;
    if (!known) return undefined;
    const start = this.#splitter.starts[talk]!;
    const ms = readSeconds(this.#memory.bytes, start, this.#splitter.ends[talk]!);
    calls.talkMs[calls.length] = ms;
    return this.#secondsFault(ms, 'talk_duration', start);
  }

  #secondsFault(ms: number, field: string, at: number): RejectCode | undefined {
    if (ms === SECONDS_UNREADABLE) return this.#fault('DURATION_UNREADABLE', field, at);
    if (ms === SECONDS_OUT_OF_RANGE) return this.#fault('DURATION_OUT_OF_RANGE', field, at);
    return undefined;
  }

  #readOutcome(): RejectCode | undefined {
    const { outcome } = this.#format;
    const calls = this.#calls;
    calls.outcome[calls.length] = UNKNOWN_OUTCOME;
    if (outcome === undefined || outcome.column >= this.#splitter.count) return undefined;
    const start = this.#splitter.starts[outcome.column]!;
    const end = this.#splitter.ends[outcome.column]!;
    if (start === end) return undefined;
    for (const { word, value } of this.#outcomes) {
      if (!this.#equals(start, end, word)) continue;
      calls.outcome[calls.length] = value;
      return undefined;
    }
    return outcome.otherwise === 'reject' ? this.#fault('OUTCOME_UNREADABLE', 'outcome', start) : undefined;
  }

  #readNumbers(): void {
    const calls = this.#calls;
    const row = calls.length;
    calls.callingKey[row] = this.#readNumber(TEXT.callingNumber, this.#format.callingNumber);
    calls.dialedKey[row] = this.#readNumber(TEXT.dialedNumber, this.#format.dialedNumber);
    const { column, reading } = this.#format.displayedCallerId;
    if (reading === 'name-addr') this.#narrowToAddress(column);
    const displayedKey = this.#readNumber(TEXT.displayedCallerId, column);
    // A displayed number that is the calling number is found in `cdr`; one that is empty is none.
    const { texts } = calls;
    const calling = row * TEXT_STRIDE + 2 * TEXT.callingNumber;
    const displayed = row * TEXT_STRIDE + 2 * TEXT.displayedCallerId;
    const needsNoRow =
      texts[displayed] === texts[displayed + 1] ||
      sameText(this.#memory, texts[displayed]!, texts[displayed + 1]!, texts[calling]!, texts[calling + 1]!);
    calls.displayedKey[row] = needsNoRow ? Number.NaN : displayedKey;
  }

  #readNumber(text: number, column: number): number {
    this.#readText(text, column);
    const { texts } = this.#calls;
    const at = this.#calls.length * TEXT_STRIDE + 2 * text;
    this.#numbers.read(texts[at]!, texts[at + 1]!);
    texts[at] = this.#numbers.start;
    texts[at + 1] = this.#numbers.end;
    return this.#numbers.key;
  }

  /** `"Name" <number>`: narrows the field to the number; a field without brackets stays whole. */
  #narrowToAddress(column: number): void {
    const { starts, ends } = this.#splitter;
    const { bytes } = this.#memory;
    const end = ends[column]!;
    if (end === starts[column] || bytes[end - 1] !== 0x3e) return;
    let open = end - 2;
    while (open >= starts[column]! && bytes[open] !== 0x3c) open--;
    if (open < starts[column]!) return;
    starts[column] = open + 1;
    ends[column] = end - 1;
  }

  /** The field as text; bytes that are no UTF-8 are read as Latin-1 and stored as UTF-8. */
  #readText(text: number, column: number): void {
    const present = column < this.#splitter.count;
    const start = present ? this.#splitter.starts[column]! : 0;
    const end = present ? this.#splitter.ends[column]! : 0;
    const { bytes } = this.#memory;
    let at = start;
    while (at < end && bytes[at]! < 0x80) at++;
    if (at === end) this.#setText(text, start, end);
    else this.#convertText(text, start, end);
  }

  #convertText(text: number, start: number, end: number): void {
    const memory = this.#memory;
    const converted = toUtf8(memory.bytes.subarray(start, end));
    if (converted === undefined) {
      this.#setText(text, start, end);
      return;
    }
    memory.bytes.set(converted, memory.top);
    this.#setText(text, memory.top, memory.top + converted.length);
    memory.top += converted.length;
  }

  #setText(text: number, start: number, end: number): void {
    const at = this.#calls.length * TEXT_STRIDE + 2 * text;
    this.#calls.texts[at] = start;
    this.#calls.texts[at + 1] = end;
  }

  #hashIdentity(lineStart: number, position: LinePosition): void {
    const memory = this.#memory;
    const { identity } = this.#feed;
    if (identity === 'position') this.#hashScratch(this.#keys.position, this.#writePosition(position));
    else if (identity === 'fields' || !this.#hasRecordId()) {
      memory.hash(this.#keys.fields, lineStart, this.#splitter.lineEnd - lineStart);
    } else this.#hashScratch(this.#keys.record, this.#writeRecordId());
    const calls = this.#calls;
    calls.recordKeyLow[calls.length] = memory.hashLow;
    calls.recordKeyHigh[calls.length] = memory.hashHigh;
  }

  #hasRecordId(): boolean {
    const { recordId } = this.#format;
    const { starts, ends, count } = this.#splitter;
    return (
      recordId !== undefined &&
      count === recordId.columnCount &&
      recordId.columns.every((column) => starts[column]! < ends[column]!)
    );
  }

  /** Hashes the bytes that were just written behind `top`, which stays where it was. */
  #hashScratch(key: SipKey, length: number): void {
    this.#memory.hash(key, this.#memory.top, length);
  }

  #writeRecordId(): number {
    const { bytes, top } = this.#memory;
    const { starts, ends } = this.#splitter;
    let at = top;
    for (const column of this.#format.recordId!.columns) {
      const length = ends[column]! - starts[column]!;
      bytes[at++] = length & 0xff;
      bytes[at++] = length >>> 8;
      bytes.copyWithin(at, starts[column]!, ends[column]);
      at += length;
    }
    return at - top;
  }

  #writePosition(position: LinePosition): number {
    const text = Buffer.from(
      `${position.topic}\0${position.partition}\0${position.offset}\0${position.line}`,
    );
    this.#memory.reserve(text.length);
    this.#memory.bytes.set(text, this.#memory.top);
    return text.length;
  }

  #equals(start: number, end: number, text: Uint8Array): boolean {
    if (end - start !== text.length) return false;
    const { bytes } = this.#memory;
    for (let i = 0; i < text.length; i++) if (bytes[start + i] !== text[i]) return false;
    return true;
  }

  #fault(code: RejectCode, field: string, at: number): RejectCode {
    this.faultField = field;
    this.faultAt = at;
    return code;
  }
}
