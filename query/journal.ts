import { setImmediate as nextTurn } from 'node:timers/promises';
import { hmacKeyId, numberHmac } from '../schemas/number-hmac.ts';
import { sqlTime } from '../schemas/sql-time.ts';
import type { Caller } from './auth.ts';
import type { Range } from './cursor.ts';
import { Problem } from './problem.ts';

/** A row of `lookup_journal` as it is written. */
export interface JournalRow {
  /** UTC, `2026-11-24 08:00:00.123`. */
  readonly at: string;
  readonly request_id: string;
  readonly phase: 'started' | 'finished';
  readonly key_id: string;
  readonly agent: string;
  readonly purpose: string;
  readonly case_id: string;
  readonly route: string;
  readonly number_hmac: string;
  readonly hmac_key_id: string;
  readonly filter: string;
  readonly rows: number;
  readonly complete: 0 | 1;
}

/** Who looks what up, and why. */
export interface Lookup {
  readonly requestId: string;
  readonly keyId: string;
  readonly agent: string;
  readonly purpose: string;
  readonly caseId: string;
  readonly route: string;
  /** All texts that are searched; only their HMACs are written. None: the filter names no number. */
  readonly numbers: readonly string[];
  /** The rest of the filter, without any number. */
  readonly filter: Readonly<Record<string, unknown>>;
}

/** Who asks, and why, as a look-up has it. */
export function askedBy(
  requestId: string,
  { keyId }: Caller,
  headers: { readonly 'case-id': string; readonly purpose: string; readonly agent?: string },
): Pick<Lookup, 'requestId' | 'keyId' | 'agent' | 'purpose' | 'caseId'> {
  const { 'case-id': caseId, purpose, agent = '' } = headers;
  return { requestId, keyId, agent, purpose, caseId };
}

/** A range of time in the filter of a look-up. */
export function rangeAsked({ fromMs, toMs }: Range, zone: string) {
  return { from: new Date(fromMs).toISOString(), to: new Date(toMs).toISOString(), time_zone: zone };
}

/** Rows that wait for a write at most; beyond, look-ups are refused. */
const WAITING_ROWS_MAX = 10_000;
/** What nobody waits for goes along with the next rows that somebody waits for, or alone after so long. */
const ALONE_AFTER_MS = 100;
/** After a failed write it is tried again so often. */
const AGAIN_AFTER_MS = 1000;

interface Waiting {
  readonly rows: readonly JournalRow[];
  readonly written: () => void;
  readonly failed: (error: unknown) => void;
}

/**
 * The journal of look-ups: a row when a look-up begins, before anything is given, and one when it ends; one of each for
 * every text that was searched, so that a later search by any notation finds them; one without an HMAC where there is
 * no number. Without the journal there is no answer: both throw the Problem JOURNAL_UNAVAILABLE when the rows are not on disk.
 *
 * One insert runs at a time; what comes meanwhile goes together into the next one. An insert for every
 * look-up would make a part each, more than merges can follow. How a look-up ended that is given whole is written behind its answer,
 * with the beginnings of others: it costs no insert of its own while there are some.
 */
export class Journal {
  readonly #key: Uint8Array;
  readonly #keyId: string;
  readonly #insert: (rows: readonly JournalRow[]) => Promise<void>;
  #waiting: Waiting[] = [];
  #waitingRows = 0;
  /** Rows that nobody waits for. They are few: where they cannot be written, no look-up begins. */
  #behind: JournalRow[] = [];
  #behindTimer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;

  constructor(journalKey: Uint8Array, insert: (rows: readonly JournalRow[]) => Promise<void>) {
    this.#key = journalKey;
    this.#keyId = hmacKeyId(journalKey);
    this.#insert = insert;
  }

  async started(lookup: Lookup): Promise<void> {
    await this.#write(this.#rowsOf(lookup, 'started', 0, false));
  }

  /** @param complete false where the look-up failed and nothing, or not all, was given */
  async finished(lookup: Lookup, rows: number, complete: boolean): Promise<void> {
    await this.#write(this.#rowsOf(lookup, 'finished', rows, complete));
  }

  /**
   * Looks up what is given whole, while the first entry is written, and resolves when that is on disk: nothing is given before, not
   * even why it failed. The last entry is written behind it.
   * @param gone aborted when the client goes away
   * @param lookUp its signal is aborted then, and when the first entry cannot be written: nobody hears of the rest
   * @param rowsOf how many rows are given
   */
  async around<T>(
    lookup: Lookup,
    gone: AbortSignal,
    lookUp: (ended: AbortSignal) => Promise<T>,
    rowsOf: (given: T) => number,
  ): Promise<T> {
    const started = this.started(lookup);
    // What is refused at once is not even read.
    await Promise.race([started, nextTurn()]);
    const unwritten = new AbortController();
    const found = lookUp(AbortSignal.any([gone, unwritten.signal]));
    found.catch(() => undefined);
    started.catch(() => unwritten.abort());
    await started;
    const given = await this.unlessFailed(lookup, () => found);
    this.#writeBehind(this.#rowsOf(lookup, 'finished', rowsOf(given), true));
    return given;
  }

  /** What is done behind the first entry; where it fails, the last one says so. */
  async unlessFailed<T>(lookup: Lookup, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      this.#writeBehind(this.#rowsOf(lookup, 'finished', 0, false));
      throw error;
    }
  }

  /**
   * Writes what still waits to be written behind answers that were given.
   * @returns the rows that could not be written; they are tried again
   */
  async writeRest(): Promise<number> {
    // One that runs may have begun without them.
    await this.#writing;
    await this.#writeAll();
    return this.#behind.length;
  }

  #rowsOf(lookup: Lookup, phase: JournalRow['phase'], rows: number, complete: boolean): JournalRow[] {
    const at = sqlTime(Date.now());
    const hmacs =
      lookup.numbers.length === 0 ? [''] : lookup.numbers.map((number) => numberHmac(this.#key, number));
    return hmacs.map((hmac) => ({
      at,
      request_id: lookup.requestId,
      phase,
      key_id: lookup.keyId,
      agent: lookup.agent,
      purpose: lookup.purpose,
      case_id: lookup.caseId,
      route: lookup.route,
      number_hmac: hmac,
      hmac_key_id: this.#keyId,
      filter: JSON.stringify(lookup.filter),
      rows,
      complete: complete ? 1 : 0,
    }));
  }

  async #write(rows: readonly JournalRow[]): Promise<void> {
    if (this.#waitingRows + rows.length > WAITING_ROWS_MAX) {
      throw new Problem('JOURNAL_UNAVAILABLE', 'too many look-ups wait for the journal');
    }
    this.#waitingRows += rows.length;
    try {
      await new Promise<void>((written, failed) => {
        this.#waiting.push({ rows, written, failed });
        void this.#writeAll();
      });
    } catch (cause) {
      throw new Problem('JOURNAL_UNAVAILABLE', '', { cause });
    } finally {
      this.#waitingRows -= rows.length;
    }
  }

  #writeBehind(rows: readonly JournalRow[]): void {
    this.#behind.push(...rows);
    this.#writeBehindAfter(ALONE_AFTER_MS);
  }

  #writeBehindAfter(milliseconds: number): void {
    this.#behindTimer ??= setTimeout(() => void this.#writeAll(), milliseconds).unref();
  }

  /** Never rejects: each waiting look-up is told for itself. */
  #writeAll(): Promise<void> {
    this.#writing ??= this.#writeInTurn();
    return this.#writing;
  }

  async #writeInTurn(): Promise<void> {
    // Who comes in the same turn of the event loop goes along.
    await nextTurn();
    do await this.#writeNext();
    while (this.#waiting.length > 0);
    this.#writing = undefined;
  }

  async #writeNext(): Promise<void> {
    const [waiting, behind] = [this.#waiting, this.#behind];
    this.#waiting = [];
    this.#behind = [];
    clearTimeout(this.#behindTimer);
    this.#behindTimer = undefined;
    const rows = [...behind, ...waiting.flatMap((each) => each.rows)];
    if (rows.length === 0) return;
    try {
      await this.#insert(rows);
      for (const { written } of waiting) written();
    } catch (error) {
      for (const { failed } of waiting) failed(error);
      this.#behind = [...behind, ...this.#behind];
      if (this.#behind.length > 0) this.#writeBehindAfter(AGAIN_AFTER_MS);
    }
  }
}
