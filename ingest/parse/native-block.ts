const TWO_32 = 4_294_967_296;

/** LowCardinality's layout: version 1, and keys that travel with the block, with indexes of one or two bytes. */
const LOW_CARDINALITY_VERSION = 1;
const ADDITIONAL_KEYS = 1 << 9;

/** Rows whose memory is touched before they are copied. */
const TOUCH_ROWS = 32;

/**
 * Writes one block in ClickHouse's Native format (revision 0, as over HTTP): the number of columns and rows,
 * then each column with its name, type and values. Every column method takes `order`, the rows to write.
 * Source of the layout: formats/native in ClickHouse's documentation, and tests that read blocks back.
 */
export class NativeBlock {
  #bytes: Uint8Array;
  #view: DataView;
  #at = 0;
  #touched = 0;

  constructor(columns: number, rows: number, bytesExpected: number) {
    this.#bytes = new Uint8Array(bytesExpected);
    this.#view = new DataView(this.#bytes.buffer);
    this.#reserve(20);
    this.#varUInt(columns);
    this.#varUInt(rows);
  }

  finish(): Uint8Array {
    if (this.#touched > 0xffff_ffff) throw new RangeError('not a 32-bit sum');
    return this.#bytes.subarray(0, this.#at);
  }

  /** An unsigned 64-bit column of integers below 2^53. */
  uint64(name: string, values: Float64Array, order: Uint32Array): void {
    this.#header(name, 'UInt64', order.length * 8);
    const view = this.#view;
    let at = this.#at;
    for (const row of order) {
      const value = values[row]!;
      const high = Math.floor(value / TWO_32);
      view.setUint32(at, value - high * TWO_32, true);
      view.setUint32(at + 4, high, true);
      at += 8;
    }
    this.#at = at;
  }

  /** An unsigned 64-bit column from two halves. */
  uint64Halves(name: string, low: Uint32Array, high: Uint32Array, order: Uint32Array): void {
    this.#header(name, 'UInt64', order.length * 8);
    const view = this.#view;
    let at = this.#at;
    for (const row of order) {
      view.setUint32(at, low[row]!, true);
      view.setUint32(at + 4, high[row]!, true);
      at += 8;
    }
    this.#at = at;
  }

  /** A signed 64-bit column (Int64, DateTime64) of integers within 2^53. */
  int64(name: string, type: string, values: Float64Array, order: Uint32Array): void {
    this.#header(name, type, order.length * 8);
    const view = this.#view;
    let at = this.#at;
    for (const row of order) {
      const value = values[row]!;
      const high = Math.floor(value / TWO_32);
      view.setUint32(at, value - high * TWO_32, true);
      view.setInt32(at + 4, high, true);
      at += 8;
    }
    this.#at = at;
  }

  uint32(name: string, values: Uint32Array, order: Uint32Array): void {
    this.#header(name, 'UInt32', order.length * 4);
    this.#uint32Values(values, order);
  }

  nullableUint32(name: string, values: Uint32Array, isNull: Uint8Array, order: Uint32Array): void {
    this.#header(name, 'Nullable(UInt32)', order.length * 5);
    this.#uint8Values(isNull, order);
    this.#uint32Values(values, order);
  }

  /** A column of one signed byte a row: an Enum8 whose values are below 128. */
  enum8(name: string, type: string, values: Uint8Array, order: Uint32Array): void {
    this.#header(name, type, order.length);
    this.#uint8Values(values, order);
  }

  int32(name: string, values: Int32Array, order: Uint32Array): void {
    this.#header(name, 'Int32', order.length * 4);
    const view = this.#view;
    let at = this.#at;
    for (const row of order) {
      view.setInt32(at, values[row]!, true);
      at += 4;
    }
    this.#at = at;
  }

  /**
   * Text columns, written side by side: `addresses` has start and end of each text of a row, in the order of
   * `names`. `inMemoryOrder` are the rows of `order` as they lie in memory.
   *
   * Rows lie scattered in some 20 MB, and a miss of the cache costs as much as copying 100 bytes. So the
   * addresses and bytes of a group of rows are touched first, whose misses the processor overlaps: 170 ns a
   * row instead of 450.
   */
  texts(
    names: readonly string[],
    source: Uint8Array,
    addresses: Int32Array,
    order: Uint32Array,
    inMemoryOrder: Uint32Array,
  ): void {
    const cursors = this.#textColumns(names, addresses, inMemoryOrder);
    const stride = 2 * names.length;
    for (let from = 0; from < order.length; from += TOUCH_ROWS) {
      const to = Math.min(from + TOUCH_ROWS, order.length);
      this.#touch(source, addresses, stride, order, from, to);
      this.#copyTexts(source, addresses, stride, order, from, to, cursors);
    }
  }

  /** One text column; see `texts`. */
  text(name: string, source: Uint8Array, addresses: Int32Array, order: Uint32Array): void {
    this.texts([name], source, addresses, order, order);
  }

  /** Writes the headers of text columns and gives the places of their first values. */
  #textColumns(names: readonly string[], addresses: Int32Array, rows: Uint32Array): Int32Array {
    const stride = 2 * names.length;
    const sizes = new Int32Array(names.length);
    for (const row of rows) {
      for (let text = 0; text < names.length; text++) {
        const length = addresses[row * stride + 2 * text + 1]! - addresses[row * stride + 2 * text]!;
        sizes[text] = sizes[text]! + length + lengthBytes(length);
      }
    }
    return Int32Array.from(names, (name, text) => {
      this.#header(name, 'String', sizes[text]!);
      const place = this.#at;
      this.#at += sizes[text]!;
      return place;
    });
  }

  #touch(
    source: Uint8Array,
    addresses: Int32Array,
    stride: number,
    order: Uint32Array,
    from: number,
    to: number,
  ): void {
    let sum = 0;
    for (let i = from; i < to; i++) {
      const address = order[i]! * stride;
      sum ^= addresses[address]! ^ addresses[address + stride - 1]!;
    }
    for (let i = from; i < to; i++) {
      const address = order[i]! * stride;
      sum ^= source[addresses[address]!]! ^ source[addresses[address + stride - 1]!]!;
    }
    // Kept, so that the reads are not optimised away.
    this.#touched = sum;
  }

  #copyTexts(
    source: Uint8Array,
    addresses: Int32Array,
    stride: number,
    order: Uint32Array,
    first: number,
    last: number,
    cursors: Int32Array,
  ): void {
    const bytes = this.#bytes;
    for (let i = first; i < last; i++) {
      let address = order[i]! * stride;
      for (let text = 0; text < stride / 2; text++) {
        let from = addresses[address++]!;
        const end = addresses[address++]!;
        let at = cursors[text]!;
        let length = end - from;
        while (length >= 128) {
          bytes[at++] = (length & 127) | 128;
          length >>>= 7;
        }
        bytes[at++] = length;
        while (from < end) bytes[at++] = source[from++]!;
        cursors[text] = at;
      }
    }
  }

  /** A LowCardinality(String) column of at most 65,535 words; `words[indexes[row]]` is the value of a row. */
  words(name: string, words: readonly string[], indexes: Uint16Array, order: Uint32Array): void {
    const wide = words.length > 256;
    this.#header(name, 'LowCardinality(String)', 40 + order.length * 2);
    this.#uint64Value(LOW_CARDINALITY_VERSION);
    this.#uint64Value(ADDITIONAL_KEYS | (wide ? 1 : 0));
    this.#uint64Value(words.length);
    for (const word of words) this.#text(word);
    this.#reserve(8 + order.length * 2);
    this.#uint64Value(order.length);
    const view = this.#view;
    let at = this.#at;
    for (const row of order) {
      if (wide) view.setUint16(at, indexes[row]!, true);
      else view.setUint8(at, indexes[row]!);
      at += wide ? 2 : 1;
    }
    this.#at = at;
  }

  #uint32Values(values: Uint32Array, order: Uint32Array): void {
    const view = this.#view;
    let at = this.#at;
    for (const row of order) {
      view.setUint32(at, values[row]!, true);
      at += 4;
    }
    this.#at = at;
  }

  #uint8Values(values: Uint8Array, order: Uint32Array): void {
    const bytes = this.#bytes;
    let at = this.#at;
    for (const row of order) bytes[at++] = values[row]!;
    this.#at = at;
  }

  #header(name: string, type: string, valueBytes: number): void {
    this.#text(name);
    this.#text(type);
    this.#reserve(valueBytes);
  }

  #text(text: string): void {
    const encoded = Buffer.from(text);
    this.#reserve(encoded.length + 5);
    this.#varUInt(encoded.length);
    this.#bytes.set(encoded, this.#at);
    this.#at += encoded.length;
  }

  #uint64Value(value: number): void {
    this.#reserve(8);
    this.#view.setUint32(this.#at, value % TWO_32, true);
    this.#view.setUint32(this.#at + 4, Math.floor(value / TWO_32), true);
    this.#at += 8;
  }

  #varUInt(value: number): void {
    let rest = value;
    while (rest >= 128) {
      this.#bytes[this.#at++] = (rest & 127) | 128;
      rest = Math.floor(rest / 128);
    }
    this.#bytes[this.#at++] = rest;
  }

  #reserve(length: number): void {
    if (this.#at + length <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#at + length));
    grown.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}

/** Bytes that a length takes as a variable-length integer. */
function lengthBytes(length: number): number {
  let bytes = 1;
  for (let rest = length >>> 7; rest > 0; rest >>>= 7) bytes++;
  return bytes;
}
