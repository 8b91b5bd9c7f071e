import { createHash, createHmac } from 'node:crypto';
import { sqlTime } from '../schemas/sql-time.ts';
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
  /** All texts that are searched; only their HMACs are written. */
  readonly numbers: readonly string[];
  /** The rest of the filter, without any number. */
  readonly filter: Readonly<Record<string, unknown>>;
}

/** Rows that wait for a write at most; beyond, look-ups are refused. */
const WAITING_ROWS_MAX = 10_000;

interface Waiting {
  readonly rows: readonly JournalRow[];
  readonly written: () => void;
  readonly failed: (error: unknown) => void;
}

/**
 * The journal of look-ups: a row when a look-up begins, before anything is given, and one when it ends; one of each for
 * every text that was searched, so that a later search by any notation finds them. Without the journal there is no
 * answer: both throw the Problem JOURNAL_UNAVAILABLE when the rows are not on disk.
 *
 * One insert runs at a time; what comes meanwhile goes together into the next one. An insert for every
 * look-up would make a part each, more than merges can follow.
 */
export class Journal {
  readonly #key: Uint8Array;
  readonly #keyId: string;
  readonly #insert: (rows: readonly JournalRow[]) => Promise<void>;
  #waiting: Waiting[] = [];
  #waitingRows = 0;
  #writing = false;

  constructor(journalKey: Uint8Array, insert: (rows: readonly JournalRow[]) => Promise<void>) {
    this.#key = journalKey;
    this.#keyId = createHash('sha256').update(journalKey).digest('hex').slice(0, 8);
    this.#insert = insert;
  }

  async started(lookup: Lookup): Promise<void> {
    await this.#write(this.#rowsOf(lookup, 'started', 0, false));
  }

  /** @param complete false where the look-up failed and nothing, or not all, was given */
  async finished(lookup: Lookup, rows: number, complete: boolean): Promise<void> {
    await this.#write(this.#rowsOf(lookup, 'finished', rows, complete));
  }

  #rowsOf(lookup: Lookup, phase: JournalRow['phase'], rows: number, complete: boolean): JournalRow[] {
    const at = sqlTime(Date.now());
    return lookup.numbers.map((number) => ({
      at,
      request_id: lookup.requestId,
      phase,
      key_id: lookup.keyId,
      agent: lookup.agent,
      purpose: lookup.purpose,
      case_id: lookup.caseId,
      route: lookup.route,
      number_hmac: createHmac('sha256', this.#key).update(number, 'utf8').digest('hex'),
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
        void this.#writeWaiting();
      });
    } catch (cause) {
      throw new Problem('JOURNAL_UNAVAILABLE', '', { cause });
    } finally {
      this.#waitingRows -= rows.length;
    }
  }

  /** Never rejects: each waiting look-up is told for itself. */
  async #writeWaiting(): Promise<void> {
    if (this.#writing) return;
    this.#writing = true;
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        await this.#insert(batch.flatMap(({ rows }) => rows));
        for (const { written } of batch) written();
      } catch (error) {
        for (const { failed } of batch) failed(error);
      }
    }
    this.#writing = false;
  }
}
