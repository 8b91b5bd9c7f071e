import { Problem } from './problem.ts';
import { Sealer } from '../schemas/sealing.ts';
import { isSameRange } from './times.ts';

/** The time range of a listing, half open, in UTC ms. */
export interface Range {
  readonly fromMs: number;
  readonly toMs: number;
}

/**
 * Where a page ended: the range as it was resolved for the first page (its default depends on the clock), and
 * the place after which the next page begins.
 */
export interface CursorContent<Place> {
  readonly range: Range;
  readonly place: Place;
}

/**
 * Cursors of one kind of listing: opaque text that cannot be altered, hides the numbers in it, and opens only with
 * the filter that it was made for.
 */
export class Cursors<Place> {
  readonly #sealer: Sealer;

  constructor(journalKey: Uint8Array, listing: 'calls' | 'usage' | 'records' | 'journal') {
    this.#sealer = new Sealer(journalKey, `${listing} cursor`);
  }

  /** @param filter all that decides which rows the listing has, in one notation; the range is kept apart */
  write(content: CursorContent<Place>, filter: readonly unknown[]): string {
    return this.#sealer.seal(Buffer.from(JSON.stringify(content), 'utf8'), JSON.stringify(filter));
  }

  /** What was written, undefined for a damaged cursor or one of another filter. */
  read(cursor: string, filter: readonly unknown[]): CursorContent<Place> | undefined {
    const plain = this.#sealer.open(cursor, JSON.stringify(filter));
    // Only `write` can have made these bytes, so their shape needs no check.
    if (plain === undefined) return undefined;
    const content: CursorContent<Place> = JSON.parse(plain.toString('utf8'));
    return content;
  }

  /**
   * What was written, for a request in which bounds of the range may be repeated. Throws the Problem CURSOR_INVALID
   * where `read` gives nothing, and where they are not those of the first page.
   */
  open(
    cursor: string,
    filter: readonly unknown[],
    repeated: { readonly from?: string; readonly to?: string },
    zone: string,
  ): CursorContent<Place> {
    const content = this.read(cursor, filter);
    if (content === undefined || !isSameRange(content.range, repeated, zone))
      throw new Problem('CURSOR_INVALID', '');
    return content;
  }
}
