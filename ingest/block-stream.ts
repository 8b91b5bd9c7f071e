import { Readable } from 'node:stream';

/** Bytes of a piece of a block: large enough to be rare, small enough to be many in a block under load. */
export const PIECE_BYTES = 262_144;
/** Bytes that may wait for the network, in whole pieces. */
const AHEAD_PIECES = 4;
/**
 * Places for pieces, used one after the other: those that wait, one that is being written to the network, one that is being
 * filled, and as many again, since whoever pipes a stream may hold back more.
 */
const PIECES = 2 * (AHEAD_PIECES + 2);

/**
 * Memory for pieces of blocks, used again for block after block: what is allocated anew for each piece costs page faults and
 * garbage collections of both threads.
 */
export class PieceMemory {
  readonly #free: SharedArrayBuffer[] = [];

  take(): SharedArrayBuffer {
    return this.#free.pop() ?? new SharedArrayBuffer(PIECES * PIECE_BYTES);
  }

  giveBack(memory: SharedArrayBuffer): void {
    this.#free.push(memory);
  }
}

/** A piece that was written: its length, and whether the block ends with it. */
export interface Piece {
  readonly length: number;
  readonly last: boolean;
}

/** A block on its way from a worker to the network, in pieces that are asked for as the network takes them. */
export class BlockStream extends Readable {
  /** Settled when the worker has given all of it, or nobody wants more. */
  readonly taken: Promise<void>;
  readonly #pieces: PieceMemory;
  readonly #memory: SharedArrayBuffer;
  readonly #next: (into: Uint8Array) => Promise<Piece>;
  readonly #before: Promise<void>;
  #settleTaken: () => void = () => undefined;
  #asked = 0;
  #ended = false;

  /**
   * @param next writes the next piece of the block to the memory that it is given
   * @param before what must be settled before the last piece may go: until then the database cannot store the block
   */
  constructor(
    pieces: PieceMemory,
    next: (into: Uint8Array) => Promise<Piece>,
    before: Promise<void> = Promise.resolve(),
  ) {
    super({ highWaterMark: AHEAD_PIECES * PIECE_BYTES });
    this.#before = before;
    this.taken = new Promise((resolve) => (this.#settleTaken = resolve));
    this.once('close', this.#settleTaken);
    this.#pieces = pieces;
    this.#memory = pieces.take();
    this.#next = next;
  }

  override _read(): void {
    if (this.#ended) {
      this.push(null);
      return;
    }
    void this.#fill();
  }

  async #fill(): Promise<void> {
    const place = (this.#asked++ % PIECES) * PIECE_BYTES;
    try {
      const { length, last } = await this.#next(new Uint8Array(this.#memory, place, PIECE_BYTES));
      this.#ended = last;
      if (last) {
        this.#settleTaken();
        await this.#before;
      }
      if (!this.destroyed) this.push(Buffer.from(this.#memory, place, length));
    } catch (error) {
      this.destroy(error as Error);
    }
  }

  /** Gives its memory to other blocks. To be called only when all of it has arrived: after a failure it may still be on its way. */
  release(): void {
    this.#pieces.giveBack(this.#memory);
  }
}
