import { BatchBuffer, OpenBatch, type SealedBatch } from './open-batch.ts';

/** A batch may be larger than its limit by the last message. */
const BATCH_BYTES_SPARE = 1_048_576;
/** After a pause the first batch goes at this share of the limit, and each next one at twice the last: workers and database, which are idle, need not wait for full ones. */
const FIRST_SHARE = 0.125;
/** Flush intervals without a batch that count as a pause. */
const PAUSE_FLUSHES = 2;
/** While old messages come as fast as they can, a batch may wait this many flush intervals to become full. */
const BACKLOG_FLUSHES = 5;
const POLL_MS_MAX = 100;
/** How long a poll may wait while a due batch waits for a place, or for a little more in a backlog. */
const SHORT_POLL_MS = 20;

export interface BatchLimits {
  /** Batches that may be on their way at one time. */
  readonly batchesMax: number;
  readonly bytesMax: number;
  readonly messagesMax: number;
  readonly flushIntervalMs: number;
}

/**
 * The batch that is being filled, and those on their way to the tables. A batch is sent on its way when it is full, or
 * has waited for a flush interval, and there is a place; until then it goes on growing: few large inserts cost less
 * than many small ones.
 */
export class BatchQueue {
  open: OpenBatch;
  readonly #limits: BatchLimits;
  /** Buffers of batches that are stored. */
  readonly #spareBuffers: BatchBuffer[] = [];
  #buffer: BatchBuffer;
  readonly #underWay = new Set<SealedBatch>();
  /** Bytes of the last batch that was sent on its way, and when. */
  #last = { bytes: 0, at: Number.NEGATIVE_INFINITY };
  /** The batches before the next one. */
  #tail: Promise<void> = Promise.resolve();
  #placeFreed: () => void = () => undefined;

  constructor(limits: BatchLimits) {
    this.#limits = limits;
    this.#buffer = this.#newBuffer();
    this.open = new OpenBatch(this.#buffer);
  }

  /** Batches that are not in the ledger yet. */
  get unstored(): readonly (OpenBatch | SealedBatch)[] {
    return [...this.#underWay, this.open];
  }

  get isFull(): boolean {
    return this.messagesLeft <= 0 || this.bytesLeft <= 0;
  }

  get messagesLeft(): number {
    return this.#limits.messagesMax - this.open.messages;
  }

  get bytesLeft(): number {
    return this.#limits.bytesMax - this.open.bytes;
  }

  get hasPlace(): boolean {
    return this.#underWay.size < this.#limits.batchesMax;
  }

  /** @param moreAtHand whether the last poll brought something */
  isDue(moreAtHand: boolean): boolean {
    const { pending, newestAtMs } = this.open;
    if (!pending) return false;
    const flushes = this.#openForMs / this.#limits.flushIntervalMs;
    if (this.isFull || flushes >= BACKLOG_FLUSHES) return true;
    if (this.open.bytes >= this.#bytesWanted) return true;
    // Who is behind by more than a flush loses nothing by larger batches, and catches up sooner.
    const isBacklog = moreAtHand && newestAtMs < Date.now() - 2 * this.#limits.flushIntervalMs;
    return flushes >= 1 && !isBacklog;
  }

  /** How long the next poll may wait for messages. */
  get pollMs(): number {
    if (!this.open.pending) return POLL_MS_MAX;
    const left = this.#limits.flushIntervalMs - this.#openForMs;
    return Math.max(SHORT_POLL_MS, Math.min(POLL_MS_MAX, Math.floor(left)));
  }

  /**
   * Sends the open batch on its way and begins another one.
   * @param store told the batch, and what settles when those before it are stored or given up; must not reject
   */
  submit(store: (batch: SealedBatch, before: Promise<void>) => Promise<void>): void {
    this.#last = { bytes: this.open.bytes, at: performance.now() };
    const batch = this.open.seal();
    const buffer = this.#buffer;
    this.#buffer = this.#spareBuffers.pop() ?? this.#newBuffer();
    this.open = new OpenBatch(this.#buffer);
    this.#underWay.add(batch);
    const before = this.#tail;
    const work = store(batch, before).finally(() => {
      this.#spareBuffers.push(buffer);
      this.#underWay.delete(batch);
      this.#placeFreed();
    });
    this.#tail = Promise.all([before, work]).then(() => undefined);
  }

  /** Forgets what the open batch has: it will be read again. */
  drop(): void {
    this.open = new OpenBatch(this.#buffer);
  }

  /** Settles when all batches on their way are stored or given up. */
  drained(): Promise<void> {
    return this.#tail;
  }

  /** Waits until a place becomes free, at most this long. */
  placeOrTimeout(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#placeFreed = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** How large the open batch should become, unless it waits for too long. */
  get #bytesWanted(): number {
    const { bytesMax, flushIntervalMs } = this.#limits;
    const isFirst = performance.now() - this.#last.at > PAUSE_FLUSHES * flushIntervalMs;
    return Math.max(bytesMax * FIRST_SHARE, isFirst ? 0 : Math.min(bytesMax, 2 * this.#last.bytes));
  }

  get #openForMs(): number {
    return performance.now() - this.open.openedAt;
  }

  #newBuffer(): BatchBuffer {
    return new BatchBuffer(this.#limits.bytesMax + BATCH_BYTES_SPARE);
  }
}
