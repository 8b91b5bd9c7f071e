import { readFileSync } from 'node:fs';

/** The part of the WebAssembly API that is used here; Node's own types have none of it without the DOM's. */
interface WebAssemblyApi {
  readonly Module: new (source: Uint8Array) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: unknown };
}

/** Makes an instance of a module that stands beside this file, and gives its exports, which the caller knows. */
export function instantiate(file: string, imports: object = {}): unknown {
  const { Module, Instance } = (globalThis as unknown as { WebAssembly: WebAssemblyApi }).WebAssembly;
  return new Instance(new Module(readFileSync(new URL(file, import.meta.url))), imports).exports;
}
