import {
  closeSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { CdrhouseError } from '../../schemas/errors.ts';

/** Bytes at one place of a file, by their digest. */
export interface Window {
  readonly bytes: number;
  readonly sha256: string;
}

/** How far a content was sent to a feed. Offsets are bytes of the content. */
export interface Place {
  /** Later lines of the place file with the same id replace earlier ones. */
  readonly id: string;
  readonly feed: string;
  /** The first bytes of the content. */
  readonly head: Window;
  /** The bytes just before `end`. */
  readonly before: Window;
  /** The content is sent up to here. */
  readonly end: number;
  /** Where reading goes on: `end`, or the start of a last line that was sent without its newline. */
  readonly resume: number;
  /** Newlines before `resume`. */
  readonly newlines: number;
  /** Bytes before `resume` of a line that is too long and was being passed over. */
  readonly passed: number;
  /** Of all content before `resume`. */
  readonly sha256: string;
  /** The bytes of a gzip file, which was sent whole; the place of what is in it stands beside. */
  readonly gzip: boolean;
  /** For people; never used to recognise a file. */
  readonly path: string;
  /** UTC, ISO 8601. */
  readonly at: string;
}

const HEADER = '{"cdrhouse_places":2}\n';
/** Beyond, the oldest are forgotten; such a file would be sent again. */
const PLACES_MAX = 200_000;
const SUPERSEDED_MAX = 1000;

/**
 * Remembers by content what was sent to which feed: a journal of JSON lines. A line is added after Kafka's
 * acknowledgement, so a crash means that something is sent again, never that it is skipped; records sent again
 * collapse. Where many lines are superseded, it is written anew beside and renamed.
 */
export class PlaceFile {
  readonly #path: string;
  readonly #places: Map<string, Place>;
  readonly #byHead = new Map<string, Set<string>>();
  #file: number | undefined;
  #superseded: number;
  #endsInNewline: boolean;

  /** @param warn told of lines that cannot be read; their files are sent again */
  constructor(path: string, warn: (text: string) => void = () => undefined) {
    this.#path = path;
    const read = readPlaces(path);
    this.#places = read.places;
    this.#superseded = read.superseded;
    this.#endsInNewline = read.endsInNewline;
    for (const place of this.#places.values()) this.#index(place);
    if (read.damaged > 0)
      warn(
        `place file ${path}: ${read.damaged} line(s) cannot be read; the files they spoke of may be sent again`,
      );
    if (read.damaged > 0 || this.#worthRewriting()) this.#rewrite();
  }

  /** The places of a feed whose content begins like this, the newest first. */
  withHead(feed: string, head: Window): Place[] {
    const ids = this.#byHead.get(headKey(feed, head)) ?? [];
    return [...ids].map((id) => this.#places.get(id)!).reverse();
  }

  /** When something was noted last, UTC in ISO 8601, by path. */
  notedAt(feed: string): ReadonlyMap<string, string> {
    const last = new Map<string, string>();
    for (const place of this.#places.values())
      if (place.feed === feed && place.at > (last.get(place.path) ?? '')) last.set(place.path, place.at);
    return last;
  }

  /** Notes what Kafka has acknowledged. Throws FILE_UNWRITABLE. */
  note(places: readonly Place[]): void {
    if (places.length === 0) return;
    for (const place of places) {
      const old = this.#places.get(place.id);
      if (old !== undefined) {
        this.#byHead.get(headKey(old.feed, old.head))?.delete(old.id);
        this.#places.delete(old.id);
        this.#superseded++;
      }
      this.#places.set(place.id, place);
      this.#index(place);
    }
    if (this.#worthRewriting()) this.#rewrite();
    else this.#append(places);
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  #index(place: Place): void {
    const key = headKey(place.feed, place.head);
    const ids = this.#byHead.get(key);
    if (ids === undefined) this.#byHead.set(key, new Set([place.id]));
    else ids.add(place.id);
  }

  #worthRewriting(): boolean {
    return (
      (this.#superseded > SUPERSEDED_MAX && this.#superseded > this.#places.size) ||
      this.#places.size > PLACES_MAX * 1.1
    );
  }

  #append(places: readonly Place[]): void {
    this.#writing(() => {
      this.#open();
      const lead = this.#endsInNewline ? '' : '\n';
      writeFileSync(this.#file!, lead + places.map(line).join(''));
      this.#endsInNewline = true;
      fsyncSync(this.#file!);
    });
  }

  /** Opens the journal, again where another process has written it anew. */
  #open(): void {
    if (this.#file !== undefined && !isSameFile(this.#file, this.#path)) this.close();
    if (this.#file !== undefined) return;
    mkdirSync(dirname(this.#path), { recursive: true });
    this.#file = openSync(this.#path, 'a', 0o600);
    if (fstatSync(this.#file).size === 0) writeFileSync(this.#file, HEADER);
  }

  #rewrite(): void {
    const byContent = new Map<string, Place>();
    for (const place of this.#places.values()) byContent.set(contentKey(place), place);
    const kept = [...byContent.values()]
      .sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0))
      .slice(-PLACES_MAX);
    this.#writing(() => {
      this.close();
      mkdirSync(dirname(this.#path), { recursive: true });
      // Written beside and renamed: a crash leaves the old file or the new one.
      const beside = `${this.#path}.${process.pid}`;
      const file = openSync(beside, 'w', 0o600);
      try {
        writeFileSync(file, HEADER + kept.map(line).join(''));
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      renameSync(beside, this.#path);
    });
    this.#places.clear();
    this.#byHead.clear();
    for (const place of kept) {
      this.#places.set(place.id, place);
      this.#index(place);
    }
    this.#superseded = 0;
    this.#endsInNewline = true;
  }

  #writing(write: () => void): void {
    try {
      write();
    } catch (error) {
      const detail = `the place file ${this.#path}: ${(error as Error).message}`;
      throw new CdrhouseError('FILE_UNWRITABLE', detail, error);
    }
  }
}

function headKey(feed: string, { bytes, sha256 }: Window): string {
  return `${feed}\n${bytes}\n${sha256}`;
}

function contentKey({ feed, sha256, end, resume, gzip, before }: Place): string {
  return [feed, sha256, end, resume, gzip, before.sha256].join('\n');
}

function line(place: Place): string {
  return `${JSON.stringify(place)}\n`;
}

function isSameFile(file: number, path: string): boolean {
  try {
    const [mine, there] = [fstatSync(file), statSync(path)];
    return mine.ino === there.ino && mine.dev === there.dev;
  } catch {
    // It was removed: a new one is begun.
    return false;
  }
}

function readPlaces(path: string): {
  places: Map<string, Place>;
  superseded: number;
  damaged: number;
  endsInNewline: boolean;
} {
  const places = new Map<string, Place>();
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      return { places, superseded: 0, damaged: 0, endsInNewline: true };
    throw new CdrhouseError('FILE_UNREADABLE', `the place file ${path}: ${(error as Error).message}`, error);
  }
  // A process that was killed between making it and writing its first line leaves an empty file.
  if (text !== '' && !text.startsWith(HEADER) && !HEADER.startsWith(text)) {
    throw new CdrhouseError(
      'FILE_UNREADABLE',
      `the place file ${path} is none, or of an older version; move it away to send all files again`,
    );
  }
  let superseded = 0;
  // A first line that was cut short: written anew.
  let damaged = text !== '' && text.length < HEADER.length ? 1 : 0;
  for (const one of text.slice(HEADER.length).split('\n')) {
    if (one === '') continue;
    const place = readPlace(one);
    if (place === undefined) damaged++;
    else {
      if (places.delete(place.id)) superseded++;
      places.set(place.id, place);
    }
  }
  return { places, superseded, damaged, endsInNewline: text === '' || text.endsWith('\n') };
}

function readPlace(text: string): Place | undefined {
  try {
    const place = JSON.parse(text) as Place;
    const whole = [
      place.end,
      place.resume,
      place.newlines,
      place.passed,
      place.head.bytes,
      place.before.bytes,
    ];
    const texts = [place.id, place.feed, place.sha256, place.head.sha256, place.before.sha256];
    return whole.every(Number.isSafeInteger) && texts.every((value) => typeof value === 'string')
      ? place
      : undefined;
  } catch {
    return undefined;
  }
}
