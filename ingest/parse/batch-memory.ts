import { FIRST_TEXT_KEY } from '../../schemas/number-key.ts';
import type { Quotes } from '../../schemas/formats/format.ts';
import { COLUMNS_MAX, FIELD_BYTES_MAX } from '../../schemas/record.ts';
import type { SipKey } from '../../schemas/siphash.ts';
import { CONVERTED_BYTES_MAX } from './utf8.ts';
import { instantiate } from './web-assembly.ts';

const LINE_FEED = 0x0a;
const BACKSLASH = 0x5c;

/** Addresses that the module works with: see `batch-memory.wat`. The hash is at 0, the call being read at 64 (`CALL`). */
const STATE = {
  recordsEnd: 192,
  numberRows: 196,
  callingTexts: 208,
  numberTexts: 228,
  earliestStart: 248,
  latestStart: 256,
  fieldCount: 264,
  lineEnd: 268,
  nextLine: 272,
  quoteFault: 276,
  fieldStarts: 320,
  fieldEnds: 4424,
} as const;
/** Address of the first byte behind them. */
const STATE_END = 8528;
const PAGE_BYTES = 65_536;
/** Bytes behind what is asked for that the module may read or overwrite. */
const OVERRUN = 64;
/** A row of a table: its number key, which call and which of its numbers it is, and its start. */
const ENTRY_BYTES = 16;
/** Entries behind the last one that `gather` looks at. */
const ENTRIES_AHEAD = 16;
/** Eight radix digits of 11 bits, a 32-bit count each. */
const COUNTS_BYTES = 8 * 2048 * 4;

/** Words of a record that rows are sorted by. */
const RECORD = { start: 6, key: 10 } as const;

interface Exports {
  readonly memory: { readonly buffer: ArrayBuffer; grow(pages: number): number };
  set_key(k0: bigint, k1: bigint): void;
  hash(at: number, length: number): void;
  split(from: number, end: number, separator: number, top: number, lenient: number): number;
  split_unquoted(from: number, end: number, separator: number, top: number, escape: number): number;
  e164_key(at: number, end: number): number;
  read_fields(plan: number): number;
  read_ascii(from: number, end: number, text: number): number;
  date_time(from: number, end: number, forms: number): number;
  append_fields(columns: number, to: number): number;
  accept_call(): void;
  list_rows(records: number, end: number, entries: number, byNumbers: number): void;
  sort_entries(entries: number, spare: number, count: number, counts: number): number;
  order_runs(from: number, end: number): number;
  gather(entries: number, count: number, columns: number): number;
}

/** What a time may have: bits for `BatchMemory.dateTime`. */
export const DATE_TIME_FORM = { space: 1, letterT: 2, milliseconds: 4, zulu: 8 } as const;

/** Columns of fixed width that `gather` writes, with bytes a value, in the order in which it wants their addresses. */
const COLUMNS = {
  key: 8,
  start_at: 8,
  cdr_key: 8,
  source_offset: 8,
  duration_ms: 4,
  talk_ms: 4,
  source_partition: 4,
  source_line: 4,
  feed: 2,
  outcome: 1,
  direction: 1,
  talk_unknown: 1,
  role: 1,
} as const;
/** Columns of texts, in the order of `TEXT`. */
const TEXT_COLUMNS = [
  'calling_number',
  'displayed_caller_id',
  'dialed_number',
  'account',
  'call_id',
] as const;

/** Of a record, what stands before its texts, and before each of them its length. */
const RECORD_HEAD_BYTES = 80;
const LENGTH_BYTES_MAX = 3;
/** What a call's record may take at most: its fields, and texts that are as long as can be before they become UTF-8. */
const RECORD_BYTES_MAX =
  RECORD_HEAD_BYTES +
  TEXT_COLUMNS.length * (LENGTH_BYTES_MAX + CONVERTED_BYTES_MAX * FIELD_BYTES_MAX) +
  OVERRUN;

/** The values of each column, little endian; texts have their length first, as a variable-length integer. */
export type GatheredColumns = Record<keyof typeof COLUMNS | (typeof TEXT_COLUMNS)[number], Uint8Array>;

/** Where `split` writes what it finds in a line, beside the places of its fields. */
export interface SplitFields {
  /** Number of fields, also beyond `COLUMNS_MAX`. */
  count: number;
  /** End of the line's bytes, without its line end. */
  lineEnd: number;
  /** Where the next line begins. */
  next: number;
  /** Address of what breaks the rules of the syntax, or -1. */
  fault: number;
}

/** By which numbers a table has its rows: one a call, or one for each number that was dialed or displayed. */
export type RowsBy = 'calling' | 'dialed and displayed';

/**
 * The memory in which a batch is parsed, that of a WebAssembly module which works in place. In it are, in this order: the call
 * that is being read; what is kept for all batches; the messages at hand, and behind them an arena for the few texts that are
 * not stored as they were sent (unescaped quotes, E.164 forms, converted encodings); the records of all accepted calls; and
 * behind them what encoding needs.
 *
 * The views change their identity when the memory grows, as it may in `prepare`, `accept` and the first `gather` of a batch:
 * see `whenViewed`.
 */
export class BatchMemory {
  bytes!: Uint8Array;
  words!: Uint32Array;
  doubles!: Float64Array;
  /** Addresses of field i of the line that was split last: `[fieldStarts[i], fieldEnds[i])`, for at most `COLUMNS_MAX` of them. */
  fieldStarts!: Int32Array;
  fieldEnds!: Int32Array;
  /** End of the arena. */
  top = STATE_END;
  /** The last hash, as two unsigned 32-bit halves. */
  hashLow = 0;
  hashHigh = 0;
  /** Accepted calls. */
  calls = 0;
  readonly #module: Exports;
  readonly #viewers: (() => void)[] = [];
  #key: SipKey | undefined;
  /** Where messages are loaded to. */
  #loadAt = STATE_END;
  /** Where the records begin: behind the arena. */
  #records = STATE_END;

  constructor() {
    this.#module = instantiate('./batch-memory.wasm') as Exports;
    this.#view();
  }

  /** Calls `look` now and whenever the views are others than before; those that came first, first. */
  whenViewed(look: () => void): void {
    this.#viewers.push(look);
    look();
  }

  /** The memory itself and functions that work in it, for other modules. */
  get shared(): object {
    return this.#module;
  }

  /**
   * Gives the address, a multiple of 8, of so many bytes, all 0, that are kept from now on. What is loaded is lost: to be
   * called between batches.
   */
  keep(length: number): number {
    const at = this.#loadAt;
    this.#loadAt = aligned(at + length);
    this.#grow(this.#loadAt + OVERRUN);
    this.bytes.fill(0, at, this.#loadAt);
    return at;
  }

  /** Keeps places for the fields of a line beside those of `split`, all empty; gives the address of the starts. */
  keepColumns(): number {
    return this.keep(2 * (STATE.fieldEnds - STATE.fieldStarts));
  }

  /** Views of starts and ends of the columns at an address, `COLUMNS_MAX` and one that no line has. */
  columnsAt(starts: number): { readonly starts: Int32Array; readonly ends: Int32Array } {
    const { buffer } = this.bytes;
    const ends = starts + (STATE.fieldEnds - STATE.fieldStarts);
    return {
      starts: new Int32Array(buffer, starts, COLUMNS_MAX + 1),
      ends: new Int32Array(buffer, ends, COLUMNS_MAX + 1),
    };
  }

  /** Keeps 32-bit integers. */
  keepIntegers(integers: readonly number[]): number {
    const at = this.keep(integers.length * 4);
    this.words.set(integers, at >> 2);
    return at;
  }

  /** Keeps which columns are meant, among those whose starts are at `startsAt`. */
  keepColumnList(columns: readonly number[], startsAt: number): number {
    return this.keepIntegers([columns.length, ...columns.map((column) => startsAt + 4 * column)]);
  }

  /** Keeps a text of a list in which `find_text` of the module looks for the value; `next` is the address of another one, or 0. */
  keepText(text: Uint8Array, value: number, next: number): number {
    const head = [next, text.length, value];
    const at = this.keep(head.length * 4 + text.length);
    this.words.set(head, at >> 2);
    this.bytes.set(text, at + head.length * 4);
    return at;
  }

  /**
   * Empties the memory for a batch.
   * @param loadBytes most bytes of messages that will be loaded at once, with what the arena takes for them
   */
  prepare(loadBytes: number): void {
    this.calls = 0;
    this.#records = aligned(this.#loadAt + loadBytes + OVERRUN);
    this.#grow(this.#records + RECORD_BYTES_MAX);
    this.words.fill(0, STATE.numberRows >> 2, STATE.fieldCount >> 2);
    this.words[STATE.recordsEnd >> 2] = this.#records;
    // The largest and the smallest 64-bit integer.
    this.words.set([0xffff_ffff, 0x7fff_ffff], STATE.earliestStart >> 2);
    this.words.set([0, 0x8000_0000], STATE.latestStart >> 2);
    this.top = this.#loadAt;
  }

  /** Copies messages in, over those before, and gives the address of their first byte; the arena begins behind them. */
  load(messages: Uint8Array): number {
    this.top = this.#loadAt;
    this.reserve(messages.length);
    this.bytes.set(messages, this.#loadAt);
    this.top = this.#loadAt + messages.length;
    return this.#loadAt;
  }

  /** Writes a text behind the arena, and gives its address. */
  write(text: string): number {
    const bytes = Buffer.from(text);
    this.reserve(bytes.length);
    const at = this.top;
    this.bytes.set(bytes, at);
    this.top += bytes.length;
    return at;
  }

  /** Checks that `length` bytes fit behind `top`: `prepare` must have been told. */
  reserve(length: number): void {
    if (this.top + length + OVERRUN > this.#records) throw new RangeError('the arena of a batch is full');
  }

  /**
   * Splits the line that begins at `from` of a text that ends at `end`, by the rules of `LineSplitter`, into `fieldStarts` and
   * `fieldEnds`. What fields with escapes or doubled quotes become is written to the arena.
   */
  split(from: number, end: number, separator: number, quotes: Quotes, fields: SplitFields): void {
    const { top } = this;
    this.top =
      quotes === 'rfc4180' || quotes === 'lenient'
        ? this.#module.split(from, end, separator, top, quotes === 'lenient' ? 1 : 0)
        : this.#module.split_unquoted(
            from,
            end,
            separator,
            top,
            quotes === 'backslash' ? BACKSLASH : LINE_FEED,
          );
    const { words } = this;
    fields.count = words[STATE.fieldCount >> 2]!;
    fields.lineEnd = words[STATE.lineEnd >> 2]!;
    fields.next = words[STATE.nextLine >> 2]!;
    fields.fault = words[STATE.quoteFault >> 2]! | 0;
  }

  /** SipHash-2-4 of `length` bytes at `at`, into `hashLow` and `hashHigh`. */
  hash(key: SipKey, at: number, length: number): void {
    if (key !== this.#key) {
      this.#module.set_key(key.k0, key.k1);
      this.#key = key;
    }
    this.#module.hash(at, length);
    this.hashLow = this.words[0]!;
    this.hashHigh = this.words[1]!;
  }

  /**
   * The number key of the text that was hashed last, which is no E.164 number: from the upper 52 bits of the hash, as
   * `textKey` of schemas/number-key.ts.
   */
  get hashedTextKey(): number {
    return FIRST_TEXT_KEY + this.hashHigh * 1_048_576 + (this.hashLow >>> 12);
  }

  /** The number key of the text in `[start, end)`; -1 where it is no E.164 number. */
  e164Key(start: number, end: number): number {
    return this.#module.e164_key(start, end);
  }

  /**
   * Reads the fields of the call that stand in the plainest notation, and gives a bit (`READ_FIELD`) for each of them; a start
   * that is local is written as if it were UTC.
   * @param fields what `keepPlainFields` has given
   */
  readFields(fields: number): number {
    return this.#module.read_fields(fields);
  }

  /** Writes the place of a text to the address `text`; false, and nothing written, where it is not ASCII. */
  readAscii(start: number, end: number, text: number): boolean {
    return this.#module.read_ascii(start, end, text) === 1;
  }

  /**
   * The time in `[start, end)` in ms since 1970, as if UTC where it is local, where it is in the plainest notation in one of
   * these forms (`DATE_TIME_FORM`); else NaN, also for a time that does not exist.
   */
  dateTime(start: number, end: number, forms: number): number {
    return this.#module.date_time(start, end, forms);
  }

  /**
   * Copies fields of the line behind `top`, which stays where it was, each behind its length in 16 bits; gives what they take, 0
   * where one of them is empty.
   * @param columns what `keepColumnList` has given
   */
  appendFields(columns: number): number {
    const { top } = this;
    return this.#module.append_fields(columns, top) - top;
  }

  /** Appends the call that was read (`CALL`) to the accepted ones. */
  accept(): void {
    this.#module.accept_call();
    this.calls++;
    const needed = this.words[STATE.recordsEnd >> 2]! + RECORD_BYTES_MAX;
    if (needed > this.bytes.length) this.#grow(needed);
  }

  /**
   * The columns of a table's rows in the order of its sorting key: (number key, start, record key, role), and among equal
   * ones the later source first, so that of two rows with one version the first sent is the last inserted, which
   * ReplacingMergeTree keeps. The columns are views that hold until the next batch is prepared.
   */
  gather(by: RowsBy): { readonly rows: number; readonly columns: GatheredColumns } {
    const recordsEnd = this.words[STATE.recordsEnd >> 2]!;
    const { entries, spare, counts, addressesAt, tables, end } = this.#layout(recordsEnd);
    // For both tables at once: growing later would end the views.
    this.#grow(end);
    const { rows, sizes, addresses } = tables[by];
    this.#module.list_rows(this.#records, recordsEnd, entries, by === 'calling' ? 0 : 1);
    const sorted = this.#module.sort_entries(entries, spare, rows, counts);
    this.#orderRuns(sorted, rows);
    const sortedEnd = (sorted + rows * ENTRY_BYTES) >> 2;
    // Looked at, never written as rows: any address will do.
    this.words.fill(0, sortedEnd, sortedEnd + (ENTRIES_AHEAD * ENTRY_BYTES) / 4);
    this.words.set(addresses, addressesAt >> 2);
    this.#module.gather(sorted, rows, addressesAt);
    const names = [...Object.keys(COLUMNS), ...TEXT_COLUMNS];
    const columns = Object.fromEntries(
      names.map((name, i) => [name, this.bytes.subarray(addresses[i], addresses[i]! + sizes[i]!)]),
    ) as GatheredColumns;
    return { rows, columns };
  }

  /** Where sorting and the columns of both tables take place: behind the records. */
  #layout(recordsEnd: number): Layout {
    const space = new Space(recordsEnd);
    const numberRows = this.words[STATE.numberRows >> 2]!;
    const entryBytes = (Math.max(this.calls, numberRows) + ENTRIES_AHEAD) * ENTRY_BYTES;
    const sorting = {
      entries: space.take(entryBytes),
      spare: space.take(entryBytes),
      counts: space.take(COUNTS_BYTES),
      addressesAt: space.take((Object.keys(COLUMNS).length + TEXT_COLUMNS.length) * 4),
    };
    const table = (rows: number, sums: number): TableLayout => {
      const sizes = [
        ...Object.values(COLUMNS).map((width) => rows * width),
        ...this.words.subarray(sums >> 2, (sums >> 2) + TEXT_COLUMNS.length),
      ];
      return { rows, sizes, addresses: sizes.map((size) => space.take(size + OVERRUN)) };
    };
    const tables = {
      calling: table(this.calls, STATE.callingTexts),
      'dialed and displayed': table(numberRows, STATE.numberTexts),
    };
    return { ...sorting, tables, end: space.end };
  }

  /** Puts the rows of each number in order; the module leaves to us long runs that are in no order at all. */
  #orderRuns(entries: number, rows: number): void {
    const { words } = this;
    const end = entries + rows * ENTRY_BYTES;
    for (
      let from = this.#module.order_runs(entries, end);
      from < end;
      from = this.#module.order_runs(from, end)
    ) {
      const run = from >> 2;
      let to = run;
      while (to < end >> 2 && words[to] === words[run] && words[to + 1] === words[run + 1])
        to += ENTRY_BYTES / 4;
      const sorted = Uint32Array.from({ length: (to - run) / 4 }, (_, i) => words[run + 4 * i + 2]!).sort(
        (a, b) => this.#compare(a, b),
      );
      sorted.forEach((row, i) => (words[run + 4 * i + 2] = row));
      from = to << 2;
    }
  }

  /** `comes_behind` of the module, for JavaScript's sort. */
  #compare(a: number, b: number): number {
    const { words } = this;
    const [atA, atB] = [(a & ~7) >> 2, (b & ~7) >> 2];
    return (
      // Of the start the upper half is signed.
      (words[atA + RECORD.start + 1]! | 0) - (words[atB + RECORD.start + 1]! | 0) ||
      words[atA + RECORD.start]! - words[atB + RECORD.start]! ||
      words[atA + RECORD.key + 1]! - words[atB + RECORD.key + 1]! ||
      words[atA + RECORD.key]! - words[atB + RECORD.key]! ||
      (a & 1) - (b & 1) ||
      b - a
    );
  }

  /** Makes the memory at least this long; half as much again, so that it grows a few times, not always. */
  #grow(length: number): void {
    const missing = length - this.bytes.length;
    if (missing <= 0) return;
    this.#module.memory.grow(Math.ceil(Math.max(missing, this.bytes.length / 2) / PAGE_BYTES));
    this.#view();
  }

  #view(): void {
    const { buffer } = this.#module.memory;
    this.bytes = new Uint8Array(buffer);
    this.words = new Uint32Array(buffer);
    this.doubles = new Float64Array(buffer);
    ({ starts: this.fieldStarts, ends: this.fieldEnds } = this.columnsAt(STATE.fieldStarts));
    for (const look of this.#viewers) look();
  }
}

/** The columns of a table: bytes and address of each. */
interface TableLayout {
  readonly rows: number;
  readonly sizes: readonly number[];
  readonly addresses: readonly number[];
}

interface Layout {
  readonly entries: number;
  readonly spare: number;
  readonly counts: number;
  readonly addressesAt: number;
  readonly tables: Readonly<Record<RowsBy, TableLayout>>;
  readonly end: number;
}

/** Lays out addresses one behind the other. */
class Space {
  end: number;

  constructor(end: number) {
    this.end = aligned(end);
  }

  take(length: number): number {
    const at = this.end;
    this.end = aligned(at + length);
    return at;
  }
}

function aligned(address: number): number {
  return (address + 7) & ~7;
}
