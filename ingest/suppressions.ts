import { setTimeout as sleep } from 'node:timers/promises';
import { CdrhouseError } from '../schemas/errors.ts';
import {
  NO_SUPPRESSIONS,
  suppressionKeys,
  WRITER_LEASE_MS,
  type Suppression,
  type SuppressionSet,
} from '../schemas/suppressions.ts';
import type { IngestDatabase } from './clickhouse.ts';

/** How often changes are looked for. */
const LOOK_MS = 2000;
/** How often this process says what it works with where nothing changes. */
const REPORT_MS = 8000;

/** Suppressions with which something is parsed. */
export interface SuppressionsUse {
  readonly set: SuppressionSet;
  /** UTC ms by this host's clock: a write that begins later is to be refused by the server. */
  readonly deadlineMs: number;
  /** To be called when all that was parsed with them is written or given up. */
  done(): void;
}

/**
 * The suppressions that this process works with. It follows changes, and says in `ingest_writers` which is the oldest
 * version that anything under way was parsed with.
 *
 * Whoever erases waits for that, and must also know when a process that says nothing any more cannot write. So what was
 * parsed with a version may be written for `WRITER_LEASE_MS` after the last report behind which that version was still
 * the newest one, as a deadline that the server checks. A report comes first, and the version is read after it: who adds
 * suppressions sees the report of every process that did not see them.
 */
export class SuppressionsWatch {
  readonly #database: IngestDatabase;
  readonly #instance: string;
  readonly #keyId: string;
  readonly #failed: (error: unknown) => void;
  readonly #stopped = new AbortController();
  readonly #uses = new Map<number, number>();
  #current = { set: NO_SUPPRESSIONS, deadlineMs: Number.NEGATIVE_INFINITY };
  /** By this host's clock, before the last report was sent. */
  #reportedAtMs = Number.NEGATIVE_INFINITY;
  #reportedVersion = -1;
  #watching: Promise<void> = Promise.resolve();
  #fault: unknown;

  /** @param failed told of each look that failed; there will be another one */
  constructor(
    database: IngestDatabase,
    {
      instance,
      identityKey,
      failed,
    }: { instance: string; identityKey: Uint8Array; failed: (error: unknown) => void },
  ) {
    this.#database = database;
    this.#instance = instance;
    this.#keyId = suppressionKeys(identityKey).id;
    this.#failed = failed;
  }

  /** Reads the suppressions, and goes on following them. Rejects with SUPPRESSIONS_UNREADABLE. */
  async start(): Promise<void> {
    await this.#look();
    this.#watching = this.#watch();
  }

  /** The suppressions to parse with. Throws SUPPRESSIONS_UNREADABLE where others were added since. */
  use(): SuppressionsUse {
    if (this.#fault !== undefined) throw this.#fault as Error;
    const current = this.#current;
    const { set } = current;
    this.#uses.set(set.version, (this.#uses.get(set.version) ?? 0) + 1);
    let isOver = false;
    const done = (): void => {
      if (isOver) return;
      isOver = true;
      const left = this.#uses.get(set.version)! - 1;
      if (left === 0) this.#uses.delete(set.version);
      else this.#uses.set(set.version, left);
    };
    return {
      set,
      get deadlineMs() {
        return current.deadlineMs;
      },
      done,
    };
  }

  /** Says that this process writes no more. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#watching;
    if (this.#reportedVersion >= 0)
      await this.#database.reportWriter(this.#instance, this.#version, true).catch(this.#failed);
  }

  /** The oldest version with which anything under way was parsed, or will be. */
  get #version(): number {
    return Math.min(this.#current.set.version, ...this.#uses.keys());
  }

  async #watch(): Promise<void> {
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      await sleep(LOOK_MS, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      try {
        await this.#look();
      } catch (error) {
        if (error instanceof CdrhouseError) this.#fault = error;
        this.#failed(error);
      }
    }
  }

  async #look(): Promise<void> {
    await this.#report();
    const deadlineMs = this.#reportedAtMs + WRITER_LEASE_MS;
    const version = await this.#database.suppressionsVersion();
    if (version === this.#current.set.version) {
      this.#current.deadlineMs = deadlineMs;
      return;
    }
    const set = await this.#database.suppressions(this.#keyId);
    this.#current = { set, deadlineMs };
    await this.#report();
  }

  async #report(): Promise<void> {
    const version = this.#version;
    const sentAtMs = Date.now();
    if (version === this.#reportedVersion && sentAtMs < this.#reportedAtMs + REPORT_MS) return;
    await this.#database.reportWriter(this.#instance, version, false);
    this.#reportedAtMs = sentAtMs;
    this.#reportedVersion = version;
  }
}

/** Rows of `suppressions` as they are read. Throws SUPPRESSIONS_UNREADABLE where a row has other keys. */
export function readSuppressions(
  rows: readonly (Suppression & { readonly keyId: string; readonly version: number })[],
  keyId: string,
): SuppressionSet {
  const unreadable = rows.filter((row) => row.keyId !== keyId).length;
  if (unreadable > 0) {
    throw new CdrhouseError(
      'SUPPRESSIONS_UNREADABLE',
      `${unreadable} of ${rows.length} suppressions were made with other keys`,
    );
  }
  return {
    version: rows.reduce((newest, { version }) => Math.max(newest, version), 0),
    suppressions: rows.map(({ kind, numberHash, feed, fromMs, toMs }) => ({
      kind,
      numberHash,
      feed,
      fromMs,
      toMs,
    })),
  };
}
