import type { BatchMemory } from './batch-memory.ts';

const TWO_32 = 4_294_967_296;

/** LowCardinality's layout: version 1, and keys that travel with the block, with indexes of one or two bytes. */
const LOW_CARDINALITY_VERSION = 1;
const ADDITIONAL_KEYS = 1 << 9;

/**
 * Writes one block in ClickHouse's Native format (revision 0, as over HTTP): the number of columns and rows,
 * then each column with its name, type and values. Every column method takes `order`, the rows to write.
 * Source of the layout: formats/native in ClickHouse's documentation, and tests that read blocks back.
 */
export class NativeBlock {
  #bytes: Uint8Array;
  #view: DataView;
  #at = 0;

  constructor(columns: number, rows: number, bytesExpected: number) {
    this.#bytes = new Uint8Array(bytesExpected);
    this.#view = new DataView(this.#bytes.buffer);
    this.#reserve(20);
    this.#varUInt(columns);
    this.#varUInt(rows);
  }

  finish(): Uint8Array {
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
   * Text columns: `addresses` has start and end of each text of a row in `memory`, in the order of `names`;
   * `inMemoryOrder` are the rows of `order` as they lie in memory.
   */
  texts(
    names: readonly string[],
    memory: BatchMemory,
    addresses: Int32Array,
    order: Uint32Array,
    inMemoryOrder: Uint32Array,
  ): void {
    memory.gatherTexts(addresses, names.length, order, inMemoryOrder).forEach((values, text) => {
      this.#header(names[text]!, 'String', values.length);
      this.#bytes.set(values, this.#at);
      this.#at += values.length;
    });
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
