import type { RejectCode, SkipReason } from '../../schemas/errors.ts';
import type { Feed } from '../../schemas/feed.ts';
import { COLUMNS_MAX, DIRECTIONS, DURATION_MS_MAX, FIELD_BYTES_MAX, OUTCOMES } from '../../schemas/record.ts';
import type { DurationUnit } from '../../schemas/formats/duration-unit.ts';
import { FIRST_TEXT_KEY } from '../../schemas/number-key.ts';
import { deriveKey } from '../../schemas/record-key.ts';
import type { SipKey } from '../../schemas/siphash.ts';
import type { BatchMemory } from './batch-memory.ts';
import { CALL, sameText, TEXT } from './call-records.ts';
import { jsonArenaBytes } from './json-splitter.ts';
import { LineColumns } from './line-columns.ts';
import { ABSENT, type SplitLine } from './line-splitter.ts';
import { LocalClock } from './local-clock.ts';
import { AddressReader } from './number-address.ts';
import { NumberReader } from './number-text.ts';
import { keepPlainFields, PLAIN_FORMS, READ_FIELD } from './plain-fields.ts';
import {
  compileFormat,
  type DurationPlan,
  type NumberPlan,
  type ReadingPlan,
  type ShapePlan,
  type TimePlan,
  type WordPlan,
} from './reading-plan.ts';
import { readDuration, SECONDS_OUT_OF_RANGE, SECONDS_UNREADABLE } from './seconds.ts';
import { sentFields } from './sent-fields.ts';
import { NO_TIME, StartTimeReader } from './start-time.ts';
import { CONVERTED_BYTES_MAX, converterOf, type ToUtf8 } from './utf8.ts';

/** Where a record came from, for the identity `position`. */
export interface LinePosition {
  topic: string;
  partition: number;
  offset: number;
  line: number;
}

/** What the rewritten numbers of a line, which gain `+` and a country code, and a position may take. */
const REWRITTEN_BYTES = 1024;

/**
 * What a line of this length may write to the arena: its fields unescaped, for which JSON takes the most, its record id
 * copied, its texts converted, its numbers rewritten.
 */
export function arenaBytes(lineBytes: number): number {
  const texts = Object.keys(TEXT).length * FIELD_BYTES_MAX;
  // Behind each field of the record id stands its length.
  return jsonArenaBytes(lineBytes) + 2 * lineBytes + (CONVERTED_BYTES_MAX + 1) * texts + REWRITTEN_BYTES;
}

const UPPER_Z = 0x5a;

const UNKNOWN_DIRECTION = DIRECTIONS.indexOf('unknown');
const UNKNOWN_OUTCOME = OUTCOMES.indexOf('unknown');
const ANSWERED = OUTCOMES.indexOf('answered');

/** A shape of records, and what the module knows of it. */
interface KeptShape extends ShapePlan {
  /** How it reads what is plain: see `keepPlainFields`. */
  readonly plainFields: number;
  /** The columns of `recordId`. */
  readonly recordIdColumns: number;
}

/**
 * Reads the lines of one feed into the fields of a call: the step between columns and typed values. Where a
 * line is no good it says why, and the next one writes over it.
 */
export class LineReader {
  /** The fault of the last line: its code, the field's name and the address where it begins. */
  faultField = '';
  faultAt = 0;
  readonly clock: LocalClock;
  /** The last line. */
  readonly line: SplitLine;
  readonly #feed: Feed;
  readonly #plan: ReadingPlan;
  readonly #shapes: readonly KeptShape[];
  readonly #memory: BatchMemory;
  readonly #columns: LineColumns;
  #starts!: Int32Array;
  #ends!: Int32Array;
  readonly #numbers: {
    readonly calling: NumberReader;
    readonly displayed: NumberReader;
    readonly dialed: NumberReader;
  };
  readonly #addresses: AddressReader;
  readonly #times = new StartTimeReader();
  readonly #keys: { readonly record: SipKey; readonly fields: SipKey; readonly position: SipKey };
  #toUtf8: ToUtf8;
  /** Where the start of the line stands. */
  #startAt = 0;

  constructor(feed: Feed, identityKey: Uint8Array, memory: BatchMemory) {
    this.#feed = feed;
    this.#plan = compileFormat(feed.format, feed.zones);
    this.#memory = memory;
    this.#columns = new LineColumns(feed.format, this.#plan, memory, feed.encoding);
    this.line = this.#columns.line;
    memory.whenViewed(() => {
      this.#starts = this.#columns.starts;
      this.#ends = this.#columns.ends;
    });
    this.#shapes = this.#plan.shapes.map((shape) => ({
      ...shape,
      plainFields: keepPlainFields(memory, shape, this.#starts.byteOffset),
      recordIdColumns: memory.keepColumnList(shape.recordId, this.#starts.byteOffset),
    }));
    this.clock = new LocalClock(feed.timeZone);
    this.#addresses = new AddressReader(memory);
    const numberKey = deriveKey(identityKey, 'number', feed.name);
    this.#numbers = {
      calling: new NumberReader(memory, numberKey, feed.numbers.calling),
      displayed: new NumberReader(memory, numberKey, feed.numbers.displayed),
      dialed: new NumberReader(memory, numberKey, feed.numbers.dialed),
    };
    this.#keys = {
      record: deriveKey(identityKey, 'record', feed.name),
      fields: deriveKey(identityKey, 'fields', feed.name),
      position: deriveKey(identityKey, 'position', feed.name),
    };
    this.#toUtf8 = converterOf(feed.encoding ?? 'utf-8');
  }

  /** How numbers of each role are read. */
  get numbers(): readonly NumberReader[] {
    return Object.values(this.#numbers);
  }

  /** Forgets the head of the message before: each message is read alone. */
  beginMessage(): void {
    this.#columns.beginMessage();
  }

  /** The head line under which the last line was read; empty where its format needs none. */
  get head(): Uint8Array {
    return this.#memory.bytes.subarray(this.#columns.headStart, this.#columns.headEnd);
  }

  /** Splits the line that begins at `from`, and gives the reason where it is no record. */
  split(from: number, end: number): SkipReason | undefined {
    return this.#columns.split(from, end);
  }

  /**
   * Reads the split line that begins at `lineStart` into the fields of the call, which the caller accepts. Gives undefined, or the code of what is wrong with it.
   */
  read(lineStart: number, position: LinePosition): RejectCode | undefined {
    const { fault, faultCode } = this.line;
    if (fault >= 0) return this.#fault(faultCode, '', fault);
    if (!this.#columns.hasHead) return this.#fault('HEADER_MISSING', '', lineStart);
    const shape = this.#shape();
    if (shape === undefined) return this.#fault('RECORD_KIND_UNKNOWN', '', lineStart);
    if (!this.#isCount(this.line.count, shape)) return this.#fault('COLUMN_COUNT_WRONG', '', lineStart);
    // A field is no longer than its line.
    const long = this.line.lineEnd - lineStart > FIELD_BYTES_MAX ? this.#checkLengths() : undefined;
    const read = this.#memory.readFields(shape.plainFields);
    const wrong =
      long ??
      this.#readStart(shape, (read & READ_FIELD.start) !== 0) ??
      ((read & READ_FIELD.duration) === 0 ? this.#readDuration(shape) : undefined) ??
      ((read & READ_FIELD.talk) === 0 ? this.#readTalk(shape) : undefined) ??
      ((read & READ_FIELD.outcome) === 0 ? this.#readOutcome(shape) : undefined);
    if (wrong !== undefined) return wrong;
    this.#readNumbers(shape, read);
    const { direction, callIdColumnsMin } = shape;
    this.#setByte(
      CALL.direction,
      direction.length === 0 ? UNKNOWN_DIRECTION : this.#wordOf(direction, UNKNOWN_DIRECTION),
    );
    if ((read & READ_FIELD.account) === 0) this.#readText(TEXT.account, shape.account);
    if (this.line.count < callIdColumnsMin) this.#readText(TEXT.callId, ABSENT);
    else if ((read & READ_FIELD.callId) === 0) this.#readText(TEXT.callId, shape.callId);
    this.#hashIdentity(shape, lineStart, position);
    return undefined;
  }

  /** Time sanity of the line just read, judged by its Kafka timestamp, so that reading again gives the same answer. */
  judgeStart(messageAtMs: number, futureMsMax: number): RejectCode | undefined {
    const startMs = this.#startMs;
    if (startMs > messageAtMs + futureMsMax) return this.#fault('START_IN_FUTURE', 'start', this.#startAt);
    if (startMs < this.#feed.earliestStartMs) return this.#fault('START_IMPLAUSIBLE', 'start', this.#startAt);
    return undefined;
  }

  /** The fields of the last line as sent, and its id that begins with an epoch; for people to look at. */
  sent(): { readonly sent: Readonly<Record<string, string>>; readonly epochId: string } {
    const shape = this.line.fault >= 0 || !this.#columns.hasHead ? undefined : this.#shape();
    if (shape === undefined) return { sent: {}, epochId: '' };
    const { epochId } = this.#plan;
    const id = this.#memory.bytes.subarray(this.#starts[epochId], this.#ends[epochId]);
    return {
      sent: sentFields(shape, this.#columns, this.#memory),
      epochId: Buffer.from(id).toString('latin1'),
    };
  }

  #shape(): KeptShape | undefined {
    const first = this.#shapes[0]!;
    if (first.when === undefined) return first;
    return this.#shapes.find(({ when }) => when === undefined || this.#columns.fits(when));
  }

  #isCount(count: number, shape: ShapePlan): boolean {
    const { counts } = this.#plan;
    if (counts !== undefined) return counts.has(count);
    const { headerCount } = this.#columns;
    return headerCount > 0 ? count === headerCount : count >= shape.columnsNeeded;
  }

  #checkLengths(): RejectCode | undefined {
    const { starts, ends, count } = this.line;
    const last = Math.min(count, COLUMNS_MAX);
    for (let column = 0; column < last; column++) {
      if (ends[column]! - starts[column]! > FIELD_BYTES_MAX)
        return this.#fault('FIELD_TOO_LONG', '', starts[column]!);
    }
    return undefined;
  }

  /** @param read whether it was the plain notation: then it may be local still */
  #readStart(shape: ShapePlan, read: boolean): RejectCode | undefined {
    let plan = shape.start;
    if (this.#isEmpty(plan.column))
      plan = shape.otherStarts.find(({ column }) => !this.#isEmpty(column)) ?? plan;
    this.#startAt = this.#starts[plan.column]!;
    if (read) {
      if (!this.#isAbsolute(plan)) this.#setDouble(CALL.startMs, this.clock.toUtc(this.#startMs));
      return undefined;
    }
    if (this.#isEmpty(plan.column)) return this.#fault('FIELD_MISSING', 'start', this.#startAt);
    const ms = this.#readTime(plan);
    if (Number.isNaN(ms)) return this.#fault('START_UNREADABLE', 'start', this.#startAt);
    this.#setDouble(CALL.startMs, ms);
    return undefined;
  }

  get #startMs(): number {
    return this.#memory.doubles[CALL.startMs >> 3]!;
  }

  /** Whether a time in a plain notation is UTC. */
  #isAbsolute({ column, program }: TimePlan): boolean {
    return program.bareIsUtc || this.#memory.bytes[this.#ends[column]! - 1] === UPPER_Z;
  }

  /** UTC ms of a time; NaN where it is none of its notation. */
  #readTime(plan: TimePlan): number {
    const { column, program, timeColumn, timeProgram } = plan;
    const { bytes } = this.#memory;
    const start = this.#starts[column]!;
    const end = this.#ends[column]!;
    const forms = PLAIN_FORMS[program.kind]!;
    let ms = forms === 0 ? Number.NaN : this.#memory.dateTime(start, end, forms);
    let absolute = this.#isAbsolute(plan);
    if (Number.isNaN(ms)) {
      ms = this.#times.read(bytes, start, end, program);
      absolute = this.#times.absolute;
    }
    if (timeColumn >= 0)
      ms += this.#times.read(bytes, this.#starts[timeColumn]!, this.#ends[timeColumn]!, timeProgram);
    return absolute || Number.isNaN(ms) ? ms : this.clock.toUtc(ms);
  }

  #readDuration(shape: ShapePlan): RejectCode | undefined {
    const { duration } = shape;
    const at = this.#addressOf(duration);
    if (this.#lacks(duration)) {
      if (!duration.emptyUnanswered || this.#wordOf(shape.outcome, shape.outcomeOtherwise) === ANSWERED)
        return this.#fault('FIELD_MISSING', 'duration', at);
      this.#setWord(CALL.durationMs, 0);
      return undefined;
    }
    const ms = this.#milliseconds(duration);
    this.#setWord(CALL.durationMs, ms);
    return this.#secondsFault(ms, 'duration', at);
  }

  #readTalk({ talk }: ShapePlan): RejectCode | undefined {
    const known = !this.#lacks(talk);
    this.#setByte(CALL.talkUnknown, known ? 0 : 1);
    this.#setWord(CALL.talkMs, 0);
    if (!known) return undefined;
    const ms = this.#milliseconds(talk);
    this.#setWord(CALL.talkMs, ms);
    return this.#secondsFault(ms, 'talk_duration', this.#addressOf(talk));
  }

  /** True where the field that a duration is read from is empty. */
  #lacks({ column, from, to }: DurationPlan): boolean {
    if (column >= 0) return this.#isEmpty(column);
    return to !== undefined && this.#isEmpty(to.column) && !this.#isNone(from!);
  }

  #addressOf({ column, to }: DurationPlan): number {
    return column >= 0 ? this.#starts[column]! : to === undefined ? 0 : this.#starts[to.column]!;
  }

  /** The duration, or what `readSeconds` gives for what is none. */
  #milliseconds(plan: DurationPlan): number {
    const { column, unit, plus } = plan;
    if (column < 0) return this.#difference(plan);
    const ms = this.#readUnit(column, unit);
    if (plus.length === 0 || ms < 0) return ms;
    let sum = ms;
    for (const part of plus) {
      if (this.#isEmpty(part.column)) continue;
      const added = this.#readUnit(part.column, part.unit);
      if (added < 0) return added;
      sum += added;
    }
    return sum <= DURATION_MS_MAX ? sum : SECONDS_OUT_OF_RANGE;
  }

  #readUnit(column: number, unit: DurationUnit): number {
    const { bytes } = this.#memory;
    return readDuration(bytes, this.#starts[column]!, this.#ends[column]!, unit);
  }

  #difference({ from, to }: DurationPlan): number {
    if (from === undefined || to === undefined || this.#isNone(from)) return 0;
    // The hours of a clock change count once, with the start.
    const { overlaps, gaps } = this.clock;
    const ms = this.#readTime(to) - this.#readTime(from);
    this.clock.overlaps = overlaps;
    this.clock.gaps = gaps;
    if (!(ms >= 0)) return SECONDS_UNREADABLE;
    return ms <= DURATION_MS_MAX ? ms : SECONDS_OUT_OF_RANGE;
  }

  /** True where the field of a time says that there is none: empty, zeros, 1970. */
  #isNone({ column, program }: TimePlan): boolean {
    const { bytes } = this.#memory;
    return this.#times.readOrNone(bytes, this.#starts[column]!, this.#ends[column]!, program) === NO_TIME;
  }

  #secondsFault(ms: number, field: string, at: number): RejectCode | undefined {
    if (ms === SECONDS_UNREADABLE) return this.#fault('DURATION_UNREADABLE', field, at);
    if (ms === SECONDS_OUT_OF_RANGE) return this.#fault('DURATION_OUT_OF_RANGE', field, at);
    return undefined;
  }

  #readOutcome({ outcome, outcomeOtherwise }: ShapePlan): RejectCode | undefined {
    const value = this.#wordOf(outcome, outcomeOtherwise);
    this.#setByte(CALL.outcome, value);
    return value >= 0
      ? undefined
      : this.#fault('OUTCOME_UNREADABLE', 'outcome', this.#starts[outcome[0]!.column]!);
  }

  /** What the first rule that fits says; 0 (unknown) where all its columns are empty, else `otherwise`. */
  #wordOf(rules: readonly WordPlan[], otherwise: number): number {
    let empty = true;
    for (let i = 0; i < rules.length; i++) {
      const rule = rules[i]!;
      const { column, words, filled } = rule;
      if (this.#isEmpty(column)) continue;
      empty = false;
      if (filled >= 0) {
        if (rule.time === undefined ? !this.#isZero(column) : !this.#isNone(rule.time)) return filled;
        continue;
      }
      const start = this.#starts[column]!;
      const end = this.#ends[column]!;
      const ofLength = words[end - start];
      if (ofLength === undefined) continue;
      for (let w = 0; w < ofLength.length; w++) {
        const { word, value } = ofLength[w]!;
        if (rule.ignoreCase ? this.#equalsAnyCase(start, word) : this.#columns.equals(start, end, word))
          return value;
      }
    }
    return empty ? UNKNOWN_OUTCOME : otherwise;
  }

  #readNumbers({ callingNumber, displayedCallerId, dialedNumber }: ShapePlan, read: number): void {
    const { calling, displayed, dialed } = this.#numbers;
    if ((read & READ_FIELD.callingNumber) === 0)
      this.#readNumber(TEXT.callingNumber, CALL.callingKey, callingNumber, calling);
    if ((read & READ_FIELD.dialedNumber) === 0)
      this.#readNumber(TEXT.dialedNumber, CALL.dialedKey, dialedNumber, dialed);
    if ((read & READ_FIELD.displayedCallerId) === 0)
      this.#readNumber(TEXT.displayedCallerId, CALL.displayedKey, displayedCallerId, displayed);
    if (this.#isDisplayedElsewhere()) this.#setDouble(CALL.displayedKey, Number.NaN);
  }

  /** True where the displayed number is the calling number, which is found in `cdr`, or empty, which is none. */
  #isDisplayedElsewhere(): boolean {
    const { words, doubles } = this.#memory;
    const displayedKey = doubles[CALL.displayedKey >> 3]!;
    if (displayedKey < FIRST_TEXT_KEY) return displayedKey === doubles[CALL.callingKey >> 3];
    const calling = placeOf(TEXT.callingNumber);
    const displayed = placeOf(TEXT.displayedCallerId);
    return (
      words[displayed] === words[displayed + 1] ||
      sameText(this.#memory, words[displayed]!, words[displayed + 1]!, words[calling]!, words[calling + 1]!)
    );
  }

  /** Reads a number of the call: its text, and its key to the address `key`. */
  #readNumber(text: number, key: number, plan: NumberPlan, reader: NumberReader): void {
    let { column } = plan;
    for (let i = 0; i < plan.others.length && this.#isEmpty(column); i++) column = plan.others[i]!;
    const memory = this.#memory;
    const place = placeOf(text);
    if (plan.reading === 'plain') this.#readText(text, column);
    else this.#readAddress(text, column, plan.reading);
    const { words } = memory;
    reader.read(words[place]!, words[place + 1]!);
    words[place] = reader.start;
    words[place + 1] = reader.end;
    this.#setDouble(key, reader.key);
  }

  /** The number in an address, as text. */
  #readAddress(text: number, column: number, reading: 'name-addr' | 'uri'): void {
    const addresses = this.#addresses;
    const start = this.#starts[column]!;
    const end = this.#ends[column]!;
    if (reading === 'uri') addresses.readUri(start, end);
    else addresses.readNameAddr(start, end);
    this.#setTextAsUtf8(text, addresses.start, addresses.end);
  }

  #readText(text: number, column: number): void {
    this.#setTextAsUtf8(text, this.#starts[column]!, this.#ends[column]!);
  }

  /** Sets a text of the call to these bytes, as UTF-8. */
  #setTextAsUtf8(text: number, start: number, end: number): void {
    if (!this.#memory.readAscii(start, end, placeOf(text) << 2)) this.#convertText(text, start, end);
  }

  #convertText(text: number, start: number, end: number): void {
    const memory = this.#memory;
    const { encoding } = this.#columns;
    const convert = encoding === undefined ? this.#toUtf8 : converterOf(encoding);
    const converted = convert(memory.bytes.subarray(start, end));
    if (converted === undefined) {
      this.#setText(text, start, end);
      return;
    }
    memory.bytes.set(converted, memory.top);
    this.#setText(text, memory.top, memory.top + converted.length);
    memory.top += converted.length;
  }

  #setText(text: number, start: number, end: number): void {
    const place = placeOf(text);
    this.#memory.words[place] = start;
    this.#memory.words[place + 1] = end;
  }

  #setDouble(field: number, value: number): void {
    this.#memory.doubles[field >> 3] = value;
  }

  #setWord(field: number, value: number): void {
    this.#memory.words[field >> 2] = value;
  }

  #setByte(field: number, value: number): void {
    this.#memory.bytes[field] = value;
  }

  #hashIdentity({ recordIdColumns }: KeptShape, lineStart: number, position: LinePosition): void {
    const memory = this.#memory;
    const { identity } = this.#feed;
    if (identity === 'position') this.#hashScratch(this.#keys.position, this.#writePosition(position));
    else {
      const idLength = identity === 'fields' ? 0 : memory.appendFields(recordIdColumns);
      if (idLength > 0) this.#hashScratch(this.#keys.record, idLength);
      else memory.hash(this.#keys.fields, lineStart, this.line.lineEnd - lineStart);
    }
    this.#setWord(CALL.recordKeyLow, memory.hashLow);
    this.#setWord(CALL.recordKeyHigh, memory.hashHigh);
  }

  /** Hashes the bytes that were just written behind `top`, which stays where it was. */
  #hashScratch(key: SipKey, length: number): void {
    this.#memory.hash(key, this.#memory.top, length);
  }

  #writePosition(position: LinePosition): number {
    const text = Buffer.from(
      `${position.topic}\0${position.partition}\0${position.offset}\0${position.line}`,
    );
    this.#memory.reserve(text.length);
    this.#memory.bytes.set(text, this.#memory.top);
    return text.length;
  }

  #isEmpty(column: number): boolean {
    return this.#starts[column]! >= this.#ends[column]!;
  }

  /** True where a field is empty, or zeros and what stands between them: `0`, `00:00:00`. */
  #isZero(column: number): boolean {
    const { bytes } = this.#memory;
    const end = this.#ends[column]!;
    for (let at = this.#starts[column]!; at < end; at++) {
      const byte = bytes[at]!;
      if (byte >= 0x31 && (byte <= 0x39 || byte > 0x3a)) return false;
    }
    return true;
  }

  /** True where the bytes at `start` are the word, which is in lower case, in whatever case. */
  #equalsAnyCase(start: number, word: Uint8Array): boolean {
    const { bytes } = this.#memory;
    for (let i = 0; i < word.length; i++) {
      const byte = bytes[start + i]!;
      if ((byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte) !== word[i]) return false;
    }
    return true;
  }

  #fault(code: RejectCode, field: string, at: number): RejectCode {
    this.faultField = field;
    this.faultAt = at;
    return code;
  }
}

/** Index into the memory's words of the start address of a text; its end is the next word. */
function placeOf(text: number): number {
  return (CALL.texts >> 2) + 2 * text;
}
