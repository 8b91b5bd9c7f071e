import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { CdrhouseError } from '../../schemas/errors.ts';

interface Place {
  /** Content hashes of files that were sent, per feed, with the moment. */
  readonly sent: Record<string, Record<string, { readonly at: string; readonly bytes: number }>>;
}

/**
 * Remembers by content which files were sent to which feed. A crash between sending and noting means that
 * a file is sent again, never that it is skipped; records sent again collapse.
 */
export class PlaceFile {
  readonly #path: string;
  readonly #place: Place;

  constructor(path: string) {
    this.#path = path;
    this.#place = readPlace(path);
  }

  wasSent(feed: string, contentHash: string): boolean {
    return this.#place.sent[feed]?.[contentHash] !== undefined;
  }

  noteSent(feed: string, contentHash: string, bytes: number): void {
    (this.#place.sent[feed] ??= {})[contentHash] = { at: new Date().toISOString(), bytes };
    mkdirSync(dirname(this.#path), { recursive: true });
    // Written beside and renamed: a crash leaves the old file or the new one.
    const temporary = `${this.#path}.${process.pid}`;
    writeFileSync(temporary, JSON.stringify(this.#place, null, 1));
    renameSync(temporary, this.#path);
  }
}

function readPlace(path: string): Place {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { sent: {} };
    throw new CdrhouseError('FILE_UNREADABLE', `the place file ${path} cannot be read`, error);
  }
  try {
    const place = JSON.parse(text) as Partial<Place>;
    return { sent: place.sent ?? {} };
  } catch (error) {
    throw new CdrhouseError(
      'FILE_UNREADABLE',
      `the place file ${path} is damaged; move it away to send all files again`,
      error,
    );
  }
}
