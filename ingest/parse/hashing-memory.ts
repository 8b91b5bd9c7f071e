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
}

/**
 * The memory in which a batch is parsed: the packed messages, followed by an arena for the few texts that
 * are not stored as they were sent (unescaped quotes, E.164 forms, converted encodings). It is the memory
 * of a WebAssembly module, so that the module hashes records in place.
 *
 * `bytes` changes its identity when the memory grows: read it again after every call that may `reserve`.
 */
export class HashingMemory {
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
    const source = readFileSync(new URL('./siphash.wasm', import.meta.url));
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
}
