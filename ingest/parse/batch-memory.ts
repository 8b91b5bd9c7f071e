import { readFileSync } from 'node:fs';
import type { SipKey } from '../../schemas/siphash.ts';

/** Address of the first byte after the hash result. */
const LOAD_AT = 64;
const PAGE_BYTES = 65_536;

/** The part of the WebAssembly API that is used here; Node's own types have none of it without the DOM's. */
interface WebAssemblyApi {
  readonly Module: new (source: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: unknown };
}

interface Exports {
  readonly memory: { readonly buffer: ArrayBuffer; grow(pages: number): number };
  set_key(k0Low: number, k0High: number, k1Low: number, k1High: number): void;
  hash(at: number, length: number): void;
  measure_texts(rows: number, count: number, addresses: number, texts: number, sizes: number): void;
  gather_texts(rows: number, count: number, addresses: number, texts: number, cursors: number): number;
}

/** Rows beyond the last one that `gather_texts` looks at. */
const ROWS_AHEAD = 32;
/** Bytes that a gathered text may be copied beyond its column's end. */
const OVERRUN = 16;

/**
 * The memory in which a batch is parsed: the packed messages, followed by an arena for the few texts that
 * are not stored as they were sent (unescaped quotes, E.164 forms, converted encodings). It is the memory
 * of a WebAssembly module, so that the module hashes records in place.
 *
 * `bytes` changes its identity when the memory grows: read it again after every call that may `reserve`.
 */
export class BatchMemory {
  bytes: Uint8Array;
  /** End of the arena. */
  top = LOAD_AT;
  /** The last hash, as two unsigned 32-bit halves. */
  hashLow = 0;
  hashHigh = 0;
  readonly #module: Exports;
  #words: Uint32Array;
  #key: SipKey | undefined;

  constructor() {
    const source = readFileSync(new URL('./batch-memory.wasm', import.meta.url));
    const { Module, Instance } = (globalThis as unknown as { WebAssembly: WebAssemblyApi }).WebAssembly;
    this.#module = new Instance(new Module(source)).exports as Exports;
    this.bytes = new Uint8Array(this.#module.memory.buffer);
    this.#words = new Uint32Array(this.#module.memory.buffer);
  }

  /** Copies the packed messages in and gives the address of their first byte; the arena begins behind them. */
  load(messages: Uint8Array): number {
    this.top = LOAD_AT;
    this.reserve(messages.length);
    this.bytes.set(messages, LOAD_AT);
    this.top = LOAD_AT + messages.length;
    return LOAD_AT;
  }

  /** Makes sure that `length` bytes fit behind `top`. */
  reserve(length: number): void {
    const missing = this.top + length - this.bytes.length;
    if (missing <= 0) return;
    // Half as much again, so that a batch with many rewritten texts grows a few times, not always.
    this.#module.memory.grow(Math.ceil(Math.max(missing, this.bytes.length / 2) / PAGE_BYTES));
    this.bytes = new Uint8Array(this.#module.memory.buffer);
    this.#words = new Uint32Array(this.#module.memory.buffer);
  }

  /** SipHash-2-4 of `length` bytes at `at`, into `hashLow` and `hashHigh`. */
  hash(key: SipKey, at: number, length: number): void {
    if (key !== this.#key) {
      this.#module.set_key(
        Number(key.k0 & 0xffff_ffffn),
        Number(key.k0 >> 32n),
        Number(key.k1 & 0xffff_ffffn),
        Number(key.k1 >> 32n),
      );
      this.#key = key;
    }
    this.#module.hash(at, length);
    this.hashLow = this.#words[0]!;
    this.hashHigh = this.#words[1]!;
  }

  /**
   * Text columns as ClickHouse's Native format has them: for each row of `order` the length of its text as a
   * variable-length integer, and the bytes. Gives one array a column; they are views that the next call with
   * this memory may overwrite.
   * @param addresses start and end of each text of a row, `texts` pairs a row
   * @param inMemoryOrder the rows of `order` as they lie in memory
   */
  gatherTexts(
    addresses: Int32Array,
    texts: number,
    order: Uint32Array,
    inMemoryOrder: Uint32Array,
  ): Uint8Array[] {
    const before = this.top;
    const rowBytes = (order.length + ROWS_AHEAD) * 4;
    this.top = (this.top + OVERRUN + 7) & ~7;
    this.reserve(addresses.byteLength + rowBytes + texts * 4 + OVERRUN);
    const addressesAt = this.#place(addresses);
    const rowsAt = this.#place(inMemoryOrder);
    const cursorsAt = rowsAt + rowBytes;
    this.top = cursorsAt + texts * 4;
    const cursors = (): Uint32Array => this.#words.subarray(cursorsAt >> 2, (cursorsAt >> 2) + texts);
    cursors().fill(0);
    this.#module.measure_texts(rowsAt, order.length, addressesAt, texts, cursorsAt);
    const sizes = [...cursors()];
    this.reserve(sizes.reduce((sum, size) => sum + size + OVERRUN, OVERRUN));
    const starts = sizes.map((size) => {
      const at = this.top;
      this.top += size + OVERRUN;
      return at;
    });
    cursors().set(starts);
    this.#words.set(order, rowsAt >> 2);
    // Looked at, never copied: any row that exists will do.
    this.#words.fill(order[0] ?? 0, (rowsAt >> 2) + order.length, (rowsAt >> 2) + order.length + ROWS_AHEAD);
    this.#module.gather_texts(rowsAt, order.length, addressesAt, texts, cursorsAt);
    this.top = before;
    return starts.map((at, text) => this.bytes.subarray(at, at + sizes[text]!));
  }

  /** Copies 32-bit integers behind `top`, which is a multiple of four, and gives their address. */
  #place(integers: Int32Array | Uint32Array): number {
    const at = this.top;
    this.#words.set(integers, at >> 2);
    this.top += integers.byteLength;
    return at;
  }
}
