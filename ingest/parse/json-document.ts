import type { BatchMemory } from './batch-memory.ts';
import { keySlot, KEY_SLOTS, type JsonPlace } from './json-paths.ts';
import { instantiate } from './web-assembly.ts';

/** What `read_document` does not do itself: see `json-document.wat`. */
export interface JsonRewriting {
  /** What is wanted of the value of a key that has escapes, which stands in `[from, end)`. */
  wantedKey(place: JsonPlace, from: number, end: number): JsonPlace | undefined;
  /** Takes the text in `[from, end)`, with its escapes, as the value at a place. */
  rewrite(place: JsonPlace, from: number, end: number): void;
}

/** What a document is followed with: `json-document.wat` in the memory of a batch. */
export interface JsonDocument {
  /** What the last fault is. */
  readonly fault: { readonly value: number };
  /**
   * Reads the object that begins at `from`, behind which stands a newline, into the columns of the memory (`fieldStarts` and
   * `fieldEnds`): a text without its quotes, a token, nothing at `from` for what is `null` or not there; the end of an
   * object or array is `JSON_NESTED`. Gives the address of the newline, or `~` that of the fault.
   */
  read(from: number): number;
}

/** Values of `JsonDocument.fault`. */
export const JSON_DOCUMENT_FAULT = { malformed: 1, noObject: 2, tooDeep: 3 } as const;
/** Objects and arrays in one another; a switch's document has less than ten. The module has bits for no more. */
export const JSON_DEPTH_MAX = 128;
/** End of a column's range where an object or array stands. */
export const JSON_NESTED = -1;

interface Exports {
  readonly fault: { readonly value: number };
  read_document(from: number, place: number, levels: number): number;
}

/** Writes what is wanted of documents into the memory, between two batches, and gives what reads them. */
export function jsonDocument(memory: BatchMemory, root: JsonPlace, rewriting: JsonRewriting): JsonDocument {
  const places = new WrittenPlaces(memory);
  const rootAddress = places.write(root);
  const splitter = {
    wanted_key: (place: number, from: number, end: number): number =>
      places.addressOf(rewriting.wantedKey(places.at(place), from, end)),
    rewrite: (place: number, from: number, end: number): void => {
      rewriting.rewrite(places.at(place), from, end);
    },
  };
  const imports = { batch: memory.shared, splitter };
  const module = instantiate('./json-document.wasm', imports) as Exports;
  return { fault: module.fault, read: (from) => module.read_document(from, rootAddress, JSON_DEPTH_MAX) };
}

/** Places in the form in which `json-document.wat` says that it reads them. */
class WrittenPlaces {
  readonly #memory: BatchMemory;
  readonly #addresses = new Map<JsonPlace | undefined, number>([[undefined, 0]]);
  readonly #places = new Map<number, JsonPlace>();

  constructor(memory: BatchMemory) {
    this.#memory = memory;
  }

  at(address: number): JsonPlace {
    return this.#places.get(address)!;
  }

  addressOf(place: JsonPlace | undefined): number {
    return this.#addresses.get(place)!;
  }

  /** Writes a place with all that is further in, and gives its address. */
  write(place: JsonPlace | undefined): number {
    if (place === undefined) return 0;
    const { columns, percentDecoded, within, entries, wantsEntries } = place;
    const address = this.#memory.keepIntegers([
      this.#writeKeys(place),
      wantsEntries ? this.#writeList(entries.map((entry) => this.write(entry))) : 0,
      this.write(place.furtherEntry),
      this.#writeColumns([...columns, ...percentDecoded]),
      this.#writeColumns(within),
      percentDecoded.length > 0 ? 1 : 0,
    ]);
    this.#addresses.set(place, address);
    this.#places.set(address, place);
    return address;
  }

  #writeKeys({ keys, wantsKeys }: JsonPlace): number {
    if (!wantsKeys) return 0;
    const slots = Array.from({ length: KEY_SLOTS }, () => 0);
    for (const { bytes, place } of keys) {
      const slot = keySlot(bytes);
      slots[slot] = this.#memory.keepText(bytes, this.write(place), slots[slot]!);
    }
    return this.#memory.keepIntegers(slots);
  }

  #writeColumns(columns: readonly number[]): number {
    const { byteOffset, BYTES_PER_ELEMENT } = this.#memory.fieldStarts;
    return this.#writeList(columns.map((column) => byteOffset + column * BYTES_PER_ELEMENT));
  }

  #writeList(list: readonly number[]): number {
    return this.#memory.keepIntegers([list.length, ...list]);
  }
}
