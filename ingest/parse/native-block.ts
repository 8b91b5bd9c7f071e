/** LowCardinality's layout: version 1, and keys that travel with the block, with indexes of two bytes. */
const LOW_CARDINALITY_VERSION = 1;
const ADDITIONAL_KEYS = 1 << 9;
const INDEX_BYTES_2 = 1;

/** A column of a block: its values as the format has them, in one part or several. */
export interface NativeColumn {
  readonly name: string;
  readonly type: string;
  readonly parts: readonly Uint8Array[];
}

/**
 * One block in ClickHouse's Native format (revision 0, as over HTTP), to be read piece by piece: the number of columns and
 * rows, then each column with its name, type and values. A block without rows has no bytes.
 * Source of the layout: formats/native in ClickHouse's documentation, and tests that read blocks back.
 */
export class NativeBlock {
  readonly #parts: readonly Uint8Array[];
  #part = 0;
  #from = 0;
  #bytesLeft: number;

  constructor(rows: number, columns: readonly NativeColumn[]) {
    const heads = ({ name, type }: NativeColumn): Uint8Array[] => [text(name), text(type)];
    this.#parts =
      rows === 0
        ? []
        : [
            lengths(columns.length, rows),
            ...columns.flatMap((column) => [...heads(column), ...column.parts]),
          ];
    this.#bytesLeft = this.#parts.reduce((sum, part) => sum + part.length, 0);
  }

  get bytesLeft(): number {
    return this.#bytesLeft;
  }

  /** Writes the next bytes to `target`, as many as fit or are left, and gives how many. */
  read(target: Uint8Array): number {
    let at = 0;
    while (this.#part < this.#parts.length && at < target.length) {
      const part = this.#parts[this.#part]!;
      const length = Math.min(part.length - this.#from, target.length - at);
      target.set(part.subarray(this.#from, this.#from + length), at);
      at += length;
      this.#from += length;
      if (this.#from < part.length) continue;
      this.#part++;
      this.#from = 0;
    }
    this.#bytesLeft -= at;
    return at;
  }
}

/** The parts of a LowCardinality(String) column of at most 65,535 words; each index of two bytes is a row's word. */
export function lowCardinality(words: readonly string[], indexes: Uint8Array): Uint8Array[] {
  const head = new BigUint64Array([
    BigInt(LOW_CARDINALITY_VERSION),
    BigInt(ADDITIONAL_KEYS | INDEX_BYTES_2),
    BigInt(words.length),
  ]);
  const rows = new BigUint64Array([BigInt(indexes.length / 2)]);
  return [new Uint8Array(head.buffer), ...words.map(text), new Uint8Array(rows.buffer), indexes];
}

/** A text with its length first. */
function text(value: string): Uint8Array {
  const encoded = Buffer.from(value);
  return Buffer.concat([lengths(encoded.length), encoded]);
}

/** Variable-length integers: seven bits a byte, the lowest first. */
export function lengths(...values: readonly number[]): Uint8Array {
  const bytes: number[] = [];
  for (const value of values) {
    let rest = value;
    for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest & 127) | 128);
    bytes.push(rest);
  }
  return Uint8Array.from(bytes);
}
