import {
  closeSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
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
/** Who writes anew for longer has died of it. */
const REWRITE_MS_MAX = 600_000;
/** More than once another process has written the file anew just now, or a file system gives no inodes to go by. */
const APPEND_TRIES_MAX = 5;
const NEWLINE = 0x0a;

/**
 * Remembers by content what was sent to which feed: a journal of JSON lines. A line is added after Kafka's
 * acknowledgement, so a crash means that something is sent again, never that it is skipped; records sent again
 * collapse. Where many lines are superseded, it is written anew beside and renamed.
 *
 * Several processes may use it at once. Who writes it anew takes what the file has, not what this process knows, and
 * after the rename what came into the old one meanwhile; who adds a line looks afterwards whether that was to the file
 * that is there, and else adds it again. So a line is in the file or, where a process dies between, sent again.
 */
export class PlaceFile {
  readonly #path: string;
  readonly #places = new Map<string, Place>();
  readonly #byHead = new Map<string, Set<string>>();
  #file: number | undefined;
  #superseded = 0;

  /** @param warn told of lines that cannot be read; their files are sent again */
  constructor(path: string, warn: (text: string) => void = () => undefined) {
    this.#path = path;
    const { damaged } = this.#learn(parsePlaces(readJournal(path), path));
    if (damaged > 0)
      warn(
        `place file ${path}: ${damaged} line(s) cannot be read; the files they spoke of may be sent again`,
      );
    if (damaged > 0 || this.#worthRewriting()) this.#rewrite();
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
      this.#add(place);
    }
    this.#append(places);
    if (this.#worthRewriting()) this.#rewrite();
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  #learn(journal: Journal): Journal {
    this.#places.clear();
    this.#byHead.clear();
    for (const place of journal.places.values()) this.#add(place);
    this.#superseded = journal.superseded;
    return journal;
  }

  #add(place: Place): void {
    this.#places.set(place.id, place);
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
      for (let tries = 1; tries <= APPEND_TRIES_MAX; tries++) {
        const file = this.#open();
        // Whoever wrote last may have died in the middle of its line.
        const lead = endsInNewline(file) ? '' : '\n';
        writeFileSync(file, lead + places.map(line).join(''));
        fsyncSync(file);
        if (isSameFile(file, this.#path)) return;
      }
    });
  }

  /** Opens the journal, again where another process has written it anew. */
  #open(): number {
    if (this.#file !== undefined && isSameFile(this.#file, this.#path)) return this.#file;
    this.close();
    mkdirSync(dirname(this.#path), { recursive: true });
    this.#file = openSync(this.#path, 'a+', 0o600);
    if (fstatSync(this.#file).size === 0) writeFileSync(this.#file, HEADER);
    return this.#file;
  }

  /** Leaves it to another process where one is about it. */
  #rewrite(): void {
    this.#writing(() => {
      mkdirSync(dirname(this.#path), { recursive: true });
      // Written beside and renamed: a crash leaves the old file or the new one. Who made it is alone with it.
      const path = `${this.#path}.new`;
      const beside = openAlone(path);
      if (beside === undefined) return;
      try {
        const old = openSync(this.#path, 'r');
        try {
          this.#learn(this.#replace(old, beside, path));
        } finally {
          closeSync(old);
        }
      } finally {
        if (isSameFile(beside, path)) rmSync(path);
        closeSync(beside);
      }
    });
  }

  /** Writes what the old file holds into the one beside, which takes its place. Gives what is there then. */
  #replace(old: number, beside: number, path: string): Journal {
    const bytes = readFileSync(old);
    const byContent = new Map<string, Place>();
    for (const place of parsePlaces(bytes.toString(), this.#path).places.values())
      byContent.set(contentKey(place), place);
    const kept = [...byContent.values()]
      .sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0))
      .slice(-PLACES_MAX);
    writeFileSync(beside, HEADER + kept.map(line).join(''));
    fsyncSync(beside);
    // Who slept for so long that another has taken its place leaves it alone.
    if (isSameFile(beside, path)) renameSync(path, this.#path);
    const late = readFrom(old, bytes.lastIndexOf(NEWLINE) + 1);
    const meanwhile = [...parsePlaces(HEADER + late, this.#path).places.values()];
    // By now the next process may be about to write it anew.
    if (meanwhile.length > 0) this.#append(meanwhile);
    const places = new Map([...kept, ...meanwhile].map((place) => [place.id, place]));
    return { places, superseded: 0, damaged: 0 };
  }

  #writing(write: () => void): void {
    try {
      write();
    } catch (error) {
      if (error instanceof CdrhouseError) throw error;
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

/** Opens a file for one process alone; undefined where another one has it. What a dead one left is removed for the next. */
function openAlone(path: string): number | undefined {
  try {
    return openSync(path, 'ax', 0o600);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    const { mtimeMs } = statSync(path, { throwIfNoEntry: false }) ?? { mtimeMs: Infinity };
    if (Date.now() - mtimeMs > REWRITE_MS_MAX) rmSync(path, { force: true });
    return undefined;
  }
}

function endsInNewline(file: number): boolean {
  const { size } = fstatSync(file);
  const last = Buffer.alloc(1);
  return size === 0 || (readSync(file, last, 0, 1, size - 1) === 1 && last[0] === NEWLINE);
}

function readFrom(file: number, offset: number): string {
  const bytes = Buffer.alloc(Math.max(0, fstatSync(file).size - offset));
  return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, offset)).toString();
}

/** What the file holds; empty where there is none. */
function readJournal(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw new CdrhouseError('FILE_UNREADABLE', `the place file ${path}: ${(error as Error).message}`, error);
  }
}

interface Journal {
  readonly places: Map<string, Place>;
  readonly superseded: number;
  readonly damaged: number;
}

function parsePlaces(text: string, path: string): Journal {
  const places = new Map<string, Place>();
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
    // Two processes that made it at once have both begun it.
    if (one === '' || one === HEADER.trimEnd()) continue;
    const place = readPlace(one);
    if (place === undefined) damaged++;
    else {
      if (places.delete(place.id)) superseded++;
      places.set(place.id, place);
    }
  }
  return { places, superseded, damaged };
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
