import { createHash, randomUUID, type Hash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import type { Place, PlaceFile, Window } from './place-file.ts';

/** How many bytes are looked at to recognise a file: at its head, and before the place up to which it was sent. */
const WINDOW_BYTES = 4096;
const LINE_FEED = 0x0a;
const READ_BYTES = 1_048_576;
/** Places with the same head of which a file may be the continuation; older ones are not tried. */
const CANDIDATES_MAX = 1000;

/**
 * Follows a content from its first byte on and can tell its place: digests of its head, of the bytes before the place,
 * and of everything.
 */
export class Content {
  position = 0;
  newlines = 0;
  readonly id: string;
  #hash: Hash = createHash('sha256');
  #head: Buffer = Buffer.alloc(0);
  #before: Buffer = Buffer.alloc(0);

  /** @param id of the place that it continues; default: a new one */
  constructor(id: string = randomUUID()) {
    this.id = id;
  }

  /** The bytes before the position, as many as are remembered. */
  get before(): Buffer {
    return this.#before;
  }

  add(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#hash.update(bytes);
    if (this.#head.length < WINDOW_BYTES)
      this.#head = Buffer.concat([this.#head, bytes.subarray(0, WINDOW_BYTES - this.#head.length)]);
    this.#before = lastBytes(this.#before, bytes);
    this.position += bytes.length;
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = buffer.indexOf(LINE_FEED); at >= 0; at = buffer.indexOf(LINE_FEED, at + 1)) this.newlines++;
  }

  digest(): string {
    return this.#hash.copy().digest('hex');
  }

  /**
   * The place behind what was added and `unended`, a last line that was sent without its newline.
   * @param passed bytes before the position of a line that is being passed over
   */
  place(feed: string, path: string, unended: Uint8Array = new Uint8Array(), passed = 0, gzip = false): Place {
    const end = this.position + unended.length;
    const headBytes = headLength(end);
    return {
      id: this.id,
      feed,
      head: windowOf(Buffer.concat([this.#head, unended.subarray(0, WINDOW_BYTES)]).subarray(0, headBytes)),
      before: windowOf(lastBytes(this.#before, unended)),
      end,
      resume: this.position,
      newlines: this.newlines,
      passed,
      sha256: this.digest(),
      gzip,
      path,
      at: new Date().toISOString(),
    };
  }
}

/** The place of which a file is the continuation, by its head and by what stands before the place. */
export async function recognise(
  file: FileHandle,
  size: number,
  feed: string,
  places: PlaceFile,
): Promise<Place | undefined> {
  const candidates = candidatePlaces(await readAt(file, 0, Math.min(size, WINDOW_BYTES)), feed, places);
  for (const place of candidates) if (place.end <= size && (await standsBefore(file, place))) return place;
  return undefined;
}

/** Places whose content begins with these bytes, or with a part of them; those that reach farthest first. */
export function candidatePlaces(firstBytes: Buffer, feed: string, places: PlaceFile): Place[] {
  const found: Place[] = [];
  for (let bytes = headLength(firstBytes.length); ; bytes = headLength(bytes - 1)) {
    found.push(...places.withHead(feed, windowOf(firstBytes.subarray(0, bytes))).slice(0, CANDIDATES_MAX));
    if (bytes === 0) break;
  }
  return found.sort((a, b) => b.end - a.end || b.resume - a.resume);
}

/** Whether the bytes before the place's end are those that were sent. */
async function standsBefore(file: FileHandle, { end, before }: Place): Promise<boolean> {
  const bytes = await readAt(file, end - before.bytes, before.bytes);
  return bytes.length === before.bytes && windowOf(bytes).sha256 === before.sha256;
}

/**
 * The content of a file up to its place, read anew; undefined where it is not what was sent.
 * @param id of the place that it gets; default: a new one
 * @param read told what is read
 */
export async function contentUpTo(
  file: FileHandle,
  place: Place,
  id?: string,
  read: (bytes: Buffer) => void = () => undefined,
): Promise<Content | undefined> {
  const content = new Content(id);
  while (content.position < place.resume) {
    const bytes = await readAt(file, content.position, Math.min(READ_BYTES, place.resume - content.position));
    if (bytes.length === 0) return undefined;
    content.add(bytes);
    read(bytes);
  }
  return content.digest() === place.sha256 ? content : undefined;
}

/** Up to `length` bytes at a position; fewer at the end of the file. */
export async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await file.read(buffer, filled, length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}

function windowOf(bytes: Uint8Array): Window {
  return { bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
}

function lastBytes(before: Buffer, added: Uint8Array): Buffer {
  if (added.length >= WINDOW_BYTES) return Buffer.from(added.subarray(added.length - WINDOW_BYTES));
  const both = Buffer.concat([before, added]);
  return both.subarray(Math.max(0, both.length - WINDOW_BYTES));
}

/** Few lengths, so that few digests tell whether a head is known: powers of 4 from 16 to the window, or nothing. */
function headLength(size: number): number {
  if (size < 16) return 0;
  let length = 16;
  while (length * 4 <= Math.min(size, WINDOW_BYTES)) length *= 4;
  return length;
}
