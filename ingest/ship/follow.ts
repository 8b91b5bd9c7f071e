import type { BigIntStats } from 'node:fs';
import { open, readdir, stat, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CdrhouseError } from '../../schemas/errors.ts';
import { readAt, recognise } from './content.ts';
import { beginsGzip } from './gunzip.ts';
import { sendPacked } from './gzip-file.ts';
import { findInputs, type Sort } from './inputs.ts';
import { connectWaiting, giveUpAfter } from './kafka-waiting.ts';
import type { Place } from './place-file.ts';
import { PlainFile } from './plain-file.ts';
import { Shipment, type ShipmentOptions } from './shipment.ts';

/** Of one file, before the others have their turn and places are noted. */
const TURN_BYTES = 16_777_216;
/** Files that are held open, so that what was written before a rotation is read to its end. */
const OPEN_MAX = 256;
/** A file that was rotated away is read until nothing was added for so long. */
const ROTATED_QUIET_MS = 10_000;
/** How long Kafka is waited for at the end. */
const DRAIN_MS = 15_000;
/** A gzip file is taken when it has not changed for so long: it may still be on its way here. */
const SETTLED_MS = 5000;
const SIBLINGS_MAX = 10_000;
const SAID_MAX = 10_000;

export interface FollowOptions {
  readonly files: readonly string[];
  readonly sort: Sort;
  readonly say: (text: string) => void;
}

/** A path that is followed, and what was last seen there. */
interface Followed {
  readonly path: string;
  /** What the file system said of it: nothing to do while it stays the same. */
  seen: string;
  inode: string;
  changedAtMs: number;
  /** Open while it grows. */
  file: PlainFile | undefined;
  /** Something was read or recognised here. */
  hadContent: boolean;
  /** A gzip file that waits until it does not change any more. */
  packedWaits: boolean;
  /** Its last line may lack its newline. */
  unendedWaits: boolean;
}

/** A file that is no longer at its path, and is read to its end. */
interface Rotated {
  readonly file: PlainFile;
  readonly inode: string;
  quietSinceMs: number;
}

/**
 * Sends what is written to files, across rotation by renaming and by cutting off, and new files of folders and
 * patterns, until `stop`. Waits for Kafka as long as it takes; a place is noted after Kafka's acknowledgement only.
 */
export async function follow(
  common: Omit<ShipmentOptions, 'producer' | 'progress'>,
  options: FollowOptions,
): Promise<void> {
  const giveUp = giveUpAfter(common.stop, DRAIN_MS);
  const producer = await connectWaiting(common, options.say, giveUp);
  if (producer === undefined) return;
  const shipment = new Shipment({ ...common, producer });
  const follower = new Follower(shipment, options);
  try {
    await follower.run();
  } finally {
    await follower.close();
    await producer.close();
    common.summary.messages = producer.messages;
    common.summary.bytes = producer.bytes;
  }
}

class Follower {
  readonly #shipment: Shipment;
  readonly #options: FollowOptions;
  readonly #say: (text: string) => void;
  readonly #followed = new Map<string, Followed>();
  #rotated: Rotated[] = [];
  /** Of which something was handed over since places were noted. */
  readonly #touched = new Set<PlainFile>();
  #packedPlaces: Place[] = [];
  /** Folders in which the rest of rotated files may lie. */
  readonly #toSearch = new Set<string>();
  readonly #startedAtMs = Date.now();
  readonly #said = new Set<string>();
  #first = true;

  constructor(shipment: Shipment, options: FollowOptions) {
    this.#shipment = shipment;
    this.#options = options;
    this.#say = options.say;
  }

  async run(): Promise<void> {
    const { stop, settings } = this.#shipment;
    while (!stop.aborted) {
      const began = performance.now();
      const more = await this.#look();
      await this.#note();
      if (more) continue;
      // Looking at many files takes its time: no more than a tenth of a core is spent on it.
      const pauseMs = Math.max(settings.ship.follow_interval_ms, (performance.now() - began) * 9);
      await sleep(pauseMs, undefined, { signal: stop }).catch(() => undefined);
    }
    await this.#note();
  }

  async close(): Promise<void> {
    for (const { file } of [...this.#followed.values(), ...this.#rotated]) await file?.close();
  }

  /** Takes what has come since the last look; true where some is left. */
  async #look(): Promise<boolean> {
    const { files, skipped, missing } = await findInputs(this.#options.files, this.#options.sort);
    for (const { path, kind } of skipped) this.#sayNew(`not taken, ${kind}: ${path}`);
    for (const { path, reason } of missing) this.#sayNew(`waiting for ${path}: ${reason}`);
    const present = new Set(files);
    await this.#noticeRotations();
    for (const one of this.#followed.values()) if (!present.has(one.path)) this.#gone(one);
    let more = false;
    for (const path of files) {
      if (this.#shipment.stop.aborted) return false;
      try {
        if (await this.#lookAt(path)) more = true;
      } catch (error) {
        this.#failed(path, error);
      }
    }
    if (this.#first) for (const path of files) this.#toSearch.add(dirname(path));
    if (this.#first) for (const { path } of missing) this.#toSearch.add(dirname(path));
    this.#first = false;
    // A file that is not there just now may have been rotated, too.
    for (const { path } of missing) present.add(path);
    for (const folder of this.#toSearch) await this.#searchRests(folder, present);
    this.#toSearch.clear();
    if (await this.#readRotated()) more = true;
    await this.#closeSome();
    return more;
  }

  async #lookAt(path: string): Promise<boolean> {
    let one = this.#followed.get(path);
    const stats = await stat(path, { bigint: true });
    if (!stats.isFile()) {
      this.#sayNew(`not taken, no regular file: ${path}`);
      return false;
    }
    const now = performance.now();
    const seen = seenOf(stats);
    if (one === undefined) {
      one = {
        path,
        seen: '',
        inode: '',
        changedAtMs: now,
        file: undefined,
        hadContent: false,
        packedWaits: false,
        unendedWaits: false,
      };
      this.#followed.set(path, one);
    }
    if (seen === one.seen && !one.packedWaits) return this.#lookAtUnchanged(one, now);
    if (seen !== one.seen) one.changedAtMs = now;
    one.seen = seen;
    const settled = now - one.changedAtMs >= SETTLED_MS || Date.now() - Number(stats.mtimeMs) >= SETTLED_MS;
    const inode = inodeOf(stats);
    if (one.inode !== inode) {
      this.#replaced(one);
      one.inode = inode;
      one.file = this.#adopted(inode, path);
    }
    try {
      if (one.file === undefined) await this.#open(one, settled);
      if (one.file === undefined) return false;
      return await this.#send(one, Number(stats.size));
    } catch (error) {
      if (!(error instanceof CdrhouseError && error.code === 'FILE_CHANGED')) throw error;
      // Cut off and written anew: what is there now is another content.
      this.#say(`${path}: was cut off; reading it from its start`);
      await this.#drop(one);
      this.#toSearch.add(dirname(path));
      one.seen = '';
      return true;
    }
  }

  async #send(one: Followed, size: number): Promise<boolean> {
    const file = one.file!;
    if (size < file.end) throw new CdrhouseError('FILE_CHANGED', one.path);
    const before = file.end;
    const more = await file.sendLines(TURN_BYTES);
    if (file.end !== before) this.#touched.add(file);
    one.unendedWaits = true;
    // The look was at an older size: another one finds the rest.
    if (more) one.seen = '';
    return more;
  }

  /** A last line without its newline is sent when nothing was added for long. */
  async #lookAtUnchanged(one: Followed, now: number): Promise<boolean> {
    const waitMs = this.#shipment.settings.ship.line_wait_s * 1000;
    if (!one.unendedWaits || waitMs === 0 || now - one.changedAtMs < waitMs) return false;
    one.unendedWaits = false;
    if (one.file === undefined) await this.#open(one, true);
    if (one.file !== undefined && (await one.file.sendUnended())) {
      this.#touched.add(one.file);
      this.#say(`${one.path}: its last line has no newline and was sent as it is, after ${waitMs / 1000} s`);
    }
    return false;
  }

  /** Opens a file and finds its place; leaves it closed where there is nothing to send. */
  async #open(one: Followed, settled: boolean): Promise<void> {
    const { path } = one;
    const handle = await open(path);
    let kept = false;
    try {
      const stats = await handle.stat();
      if (stats.size === 0) return;
      if (beginsGzip(await readAt(handle, 0, 2))) {
        one.packedWaits = !settled;
        if (settled) await this.#sendPacked(path, handle);
        return;
      }
      const { feed, places } = this.#shipment;
      const known = await recognise(handle, stats.size, feed.name, places);
      // Another content than before, under the same name: what was added before it was cut off may lie beside.
      if (known === undefined && one.hadContent) this.#toSearch.add(dirname(path));
      one.hadContent = true;
      if (known !== undefined && known.end === stats.size) {
        if (known.path !== path) this.#shipment.summary.skipped_files++;
        one.unendedWaits = false;
        return;
      }
      one.file = await this.#openPlain(path, handle, known);
      kept = true;
    } finally {
      if (!kept) await handle.close();
    }
  }

  async #openPlain(path: string, handle: FileHandle, known: Place | undefined): Promise<PlainFile> {
    const continued = known && (await PlainFile.open(this.#shipment, path, handle, known));
    this.#say(`${path}: reading from byte ${continued?.end ?? 0}`);
    if (continued !== undefined) return continued;
    this.#shipment.summary.files++;
    return (await PlainFile.open(this.#shipment, path, handle, undefined))!;
  }

  async #sendPacked(path: string, handle: FileHandle): Promise<void> {
    const { sent, places } = await sendPacked(this.#shipment, path, handle, 'at head and end');
    this.#packedPlaces.push(...places);
    if (sent) this.#shipment.summary.files++;
    else this.#shipment.summary.skipped_files++;
  }

  /** The path has another file now, or none: the one before is read to its end. */
  #replaced(one: Followed): void {
    if (one.inode === '') return;
    this.#toSearch.add(dirname(one.path));
    if (one.file !== undefined) {
      this.#say(`${one.path}: was rotated; the file before is read to its end`);
      this.#rotated.push({ file: one.file, inode: one.inode, quietSinceMs: performance.now() });
    }
    one.file = undefined;
    one.inode = '';
  }

  /** Before the files are looked at one by one: a file that was renamed may come first under its new name. */
  async #noticeRotations(): Promise<void> {
    for (const one of this.#followed.values()) {
      if (one.file === undefined) continue;
      const stats = await stat(one.path, { bigint: true }).catch(() => undefined);
      if (stats === undefined || inodeOf(stats) !== one.inode) this.#replaced(one);
    }
  }

  #gone(one: Followed): void {
    this.#replaced(one);
    this.#followed.delete(one.path);
  }

  /** A rotated file that appears under another of the followed paths. The inode only saves reading it twice. */
  #adopted(inode: string, path: string): PlainFile | undefined {
    const index = this.#rotated.findIndex((rotated) => rotated.inode === inode);
    if (index < 0) return undefined;
    const [{ file }] = this.#rotated.splice(index, 1) as [Rotated];
    file.path = path;
    return file;
  }

  async #readRotated(): Promise<boolean> {
    let more = false;
    const still: Rotated[] = [];
    for (const rotated of this.#rotated) {
      const { file } = rotated;
      try {
        const before = file.end;
        if (await file.sendLines(TURN_BYTES)) more = true;
        const now = performance.now();
        if (file.end !== before) rotated.quietSinceMs = now;
        const quiet = now - rotated.quietSinceMs >= ROTATED_QUIET_MS;
        if (quiet) await file.sendUnended();
        if (file.end !== before) this.#touched.add(file);
        if (!quiet) {
          still.push(rotated);
          continue;
        }
      } catch (error) {
        this.#failed(file.path, error);
      }
      await this.#noteAndClose(file);
    }
    this.#rotated = still;
    return more;
  }

  /**
   * Finds what was rotated while nobody looked: a file beside the followed ones that is the continuation of what was
   * sent, or one that bears the name of a followed one and something more, and was written since that was last noted.
   */
  async #searchRests(folder: string, followed: ReadonlySet<string>): Promise<void> {
    const names = await readdir(folder).catch((): string[] => []);
    const bases = new Set(
      [...followed].filter((path) => dirname(path) === folder).map((path) => basename(path)),
    );
    const noted = this.#shipment.places.notedAt(this.#shipment.feed.name);
    for (const name of names.slice(0, SIBLINGS_MAX)) {
      const path = join(folder, name);
      if (followed.has(path)) continue;
      const base = longestPrefix(name, bases);
      const notedAt = base === undefined ? undefined : noted.get(join(folder, base));
      const sinceMs = notedAt === undefined ? this.#startedAtMs : Date.parse(notedAt);
      try {
        await this.#searchRest(path, base === undefined ? Infinity : sinceMs);
      } catch (error) {
        this.#failed(path, error);
      }
    }
  }

  /** @param rotatedSinceMs a file whose content is not known is taken where it was written after this moment */
  async #searchRest(path: string, rotatedSinceMs: number): Promise<void> {
    const stats = await stat(path, { bigint: true });
    const inode = inodeOf(stats);
    if (!stats.isFile() || stats.size === 0n || this.#rotated.some((rotated) => rotated.inode === inode))
      return;
    const handle = await open(path);
    let kept = false;
    try {
      const { feed, places } = this.#shipment;
      const size = Number(stats.size);
      const isNew = Number(stats.mtimeMs) > rotatedSinceMs;
      if (beginsGzip(await readAt(handle, 0, 2))) {
        if (isNew) await this.#sendPacked(path, handle);
        return;
      }
      const known = await recognise(handle, size, feed.name, places);
      if (known === undefined ? !isNew : known.end >= size) return;
      const file = await PlainFile.open(this.#shipment, path, handle, known);
      if (file === undefined) return;
      this.#say(`${path}: was rotated; reading from byte ${file.end}`);
      this.#rotated.push({ file, inode, quietSinceMs: performance.now() });
      kept = true;
    } finally {
      if (!kept) await handle.close();
    }
  }

  /** Closes files that have not grown for longest; they are recognised when they do. */
  async #closeSome(): Promise<void> {
    const opened = [...this.#followed.values()].filter(({ file }) => file !== undefined);
    if (opened.length <= OPEN_MAX) return;
    opened.sort((a, b) => a.changedAtMs - b.changedAtMs);
    for (const one of opened.slice(0, opened.length - OPEN_MAX)) await this.#drop(one);
  }

  async #drop(one: Followed): Promise<void> {
    const { file } = one;
    one.file = undefined;
    if (file !== undefined) await this.#noteAndClose(file);
  }

  async #noteAndClose(file: PlainFile): Promise<void> {
    if (this.#touched.has(file)) await this.#note();
    await file.close();
  }

  /** Notes how far everything was handed over, once Kafka has acknowledged it. */
  async #note(): Promise<void> {
    await this.#shipment.producer.flush();
    this.#shipment.places.note([...[...this.#touched].map((file) => file.place()), ...this.#packedPlaces]);
    this.#touched.clear();
    this.#packedPlaces = [];
  }

  /** Kafka's errors end everything; a file that cannot be read is looked at again when it changes. */
  #failed(path: string, error: unknown): void {
    if (error instanceof CdrhouseError && !error.code.startsWith('FILE_')) throw error;
    // Renamed or removed between two looks.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    this.#shipment.failed(path, error);
  }

  /** Says something that stays as it is only once. */
  #sayNew(text: string): void {
    if (this.#said.size >= SAID_MAX) this.#said.clear();
    if (!this.#said.has(text)) this.#say(text);
    this.#said.add(text);
  }
}

function seenOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(' ');
}

function inodeOf({ dev, ino }: BigIntStats): string {
  return `${dev} ${ino}`;
}

/** The longest of the names with which a name begins. */
function longestPrefix(name: string, prefixes: ReadonlySet<string>): string | undefined {
  for (let length = name.length - 1; length > 0; length--)
    if (prefixes.has(name.slice(0, length))) return name.slice(0, length);
  return undefined;
}
