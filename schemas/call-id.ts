import { Sealer } from './sealing.ts';

/** What finds a call in `cdr`: its sorting key. */
export interface CallKey {
  /** The number key of the calling number. */
  readonly callingKey: number;
  /** UTC ms. */
  readonly startMs: number;
  /** Unsigned 64-bit integer as decimal text. */
  readonly cdrKey: string;
}

const KEY_BYTES = 24;

/**
 * The `id` of a call in answers: 54 URL-safe characters that hide the calling number, the same in every
 * answer for the same call.
 */
export class CallIds {
  readonly #sealer: Sealer;

  constructor(secret: Uint8Array) {
    this.#sealer = new Sealer(secret, 'call id');
  }

  idOf({ callingKey, startMs, cdrKey }: CallKey): string {
    const bytes = Buffer.allocUnsafe(KEY_BYTES);
    writeInt64(bytes, callingKey, 0);
    writeInt64(bytes, startMs, 8);
    bytes.writeBigUInt64BE(BigInt(cdrKey), 16);
    return this.#sealer.seal(bytes);
  }

  /** The call that an id names, undefined where the text is no id of this database. */
  keyOf(id: string): CallKey | undefined {
    const bytes = this.#sealer.open(id);
    if (bytes?.length !== KEY_BYTES) return undefined;
    return {
      callingKey: Number(bytes.readBigUInt64BE(0)),
      startMs: Number(bytes.readBigInt64BE(8)),
      cdrKey: bytes.readBigUInt64BE(16).toString(),
    };
  }
}

/** A whole number within 53 bits, big endian. */
function writeInt64(bytes: Buffer, value: number, at: number): void {
  const high = Math.floor(value / 2 ** 32);
  bytes.writeInt32BE(high, at);
  bytes.writeUInt32BE(value - high * 2 ** 32, at + 4);
}
