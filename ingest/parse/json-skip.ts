import { readFileSync } from 'node:fs';
import type { BatchMemory } from './batch-memory.ts';

/**
 * Functions of `json-skip.wat`, which pass over JSON in a batch's memory: they give the address behind it, or `~` that of a
 * byte that cannot stand there. Behind the text must stand a newline.
 */
export interface JsonSkip {
  /** 1 where the last fault is an object or array that is nested too deeply. */
  readonly too_deep: { value: number };
  /** A value with at most `levels` (128 or less) objects and arrays in one another. */
  pass_value(at: number, levels: number): number;
  /**
   * Members of an object from the key at `at` on: gives the address of the first key whose slot (`keySlot`) is in the set, or
   * that has escapes, or else that of the closing bracket.
   */
  pass_members(at: number, levels: number, slotsLow: number, slotsHigh: number): number;
}

/** The part of the WebAssembly API that is used here; Node's own types have none of it without the DOM's. */
interface WebAssemblyApi {
  readonly Module: new (source: Uint8Array) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: unknown };
}

/** The functions, working in this memory. */
export function jsonSkip(memory: BatchMemory): JsonSkip {
  const source = readFileSync(new URL('./json-skip.wasm', import.meta.url));
  const { Module, Instance } = (globalThis as unknown as { WebAssembly: WebAssemblyApi }).WebAssembly;
  return new Instance(new Module(source), { batch: { memory: memory.shared } }).exports as JsonSkip;
}
