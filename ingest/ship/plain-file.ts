import type { FileHandle } from 'node:fs/promises';
import { CdrhouseError } from '../../schemas/errors.ts';
import { Content, contentUpTo, readAt } from './content.ts';
import { LinePacker, type HeadReader } from './line-packer.ts';
import type { Place } from './place-file.ts';
import { lineBytesMax } from './producer.ts';
import type { Shipment } from './shipment.ts';

const READ_BYTES = 1_048_576;

/**
 * An open file that is no gzip, and how far its lines were handed over. Its place may be noted once Kafka has
 * acknowledged them.
 */
export class PlainFile {
  path: string;
  readonly handle: FileHandle;
  readonly #shipment: Shipment;
  readonly #content: Content;
  readonly #head: HeadReader | undefined;
  /** Bytes before the position of a line that is being passed over. */
  #passed: number;
  /** A line that is too long and has not ended was told of up to here. */
  #passedTold = 0;
  /** A last line that was sent without its newline. */
  #unended: Buffer = Buffer.alloc(0);
  /** Where the last line ends that was sent without its newline, before this file was opened. */
  #endBefore: number;

  private constructor(
    shipment: Shipment,
    path: string,
    handle: FileHandle,
    content: Content,
    head: HeadReader | undefined,
    place: Place | undefined,
  ) {
    this.#shipment = shipment;
    this.path = path;
    this.handle = handle;
    this.#content = content;
    this.#head = head;
    this.#passed = place?.passed ?? 0;
    this.#endBefore = place?.end ?? 0;
  }

  /** Goes on at a place, or begins; undefined where the file is not what was sent up to that place. */
  static async open(
    shipment: Shipment,
    path: string,
    handle: FileHandle,
    place: Place | undefined,
  ): Promise<PlainFile | undefined> {
    const head = shipment.newHead();
    if (place === undefined) return new PlainFile(shipment, path, handle, new Content(), head, undefined);
    // A copy under another name gets a place of its own: both may go on.
    const id = place.path === path ? place.id : undefined;
    const content = await contentUpTo(handle, place, id, head && headOnly(shipment, head));
    return content && new PlainFile(shipment, path, handle, content, head, place);
  }

  /** Up to where the file was handed over. */
  get end(): number {
    return Math.max(this.#content.position + this.#unended.length, this.#endBefore);
  }

  /** To be noted when Kafka has acknowledged everything. */
  place(): Place {
    return this.#content.place(this.#shipment.feed.name, this.path, this.#unended, this.#passed);
  }

  /**
   * Hands over whole lines, up to about `bytesMax`; true where more may be there. Throws FILE_CHANGED where the file is
   * no longer what was read before.
   */
  async sendLines(bytesMax: number): Promise<boolean> {
    const shipment = this.#shipment;
    const readBytes = Math.max(READ_BYTES, lineBytesMax(shipment.settings) + 1);
    for (let read = 0; read < bytesMax;) {
      if (shipment.stop.aborted) return false;
      const chunk = await readAt(this.handle, this.#content.position, readBytes);
      await this.#requireUnchanged();
      const packer = this.#packer();
      const messages = [...packer.add(chunk), ...packer.flush()];
      const used = chunk.length - packer.heldBytes;
      if (used === 0) return false;
      await shipment.send(this.path, packer, messages);
      this.#content.add(chunk.subarray(0, used));
      this.#passed = packer.passedBytes;
      this.#unended = Buffer.alloc(0);
      read += used;
      shipment.read(used);
      if (chunk.length < readBytes) return false;
    }
    return true;
  }

  /** Hands over a last line that lacks its newline; false where there is none, or one that was sent so already. */
  async sendUnended(): Promise<boolean> {
    const { position } = this.#content;
    const chunk = await readAt(this.handle, position, lineBytesMax(this.#shipment.settings));
    if (chunk.length === 0 && this.#passed > 0 && position > this.#passedTold) {
      this.#passedTold = position;
      this.#shipment.tooLong(this.path, { line: this.#content.newlines + 1, bytes: this.#passed });
    }
    if (chunk.length === 0 || this.#content.position + chunk.length <= this.end || chunk.includes(0x0a))
      return false;
    await this.#requireUnchanged();
    const packer = this.#packer();
    const messages = [...packer.add(chunk), ...packer.finish()];
    await this.#shipment.send(this.path, packer, messages);
    this.#unended = chunk;
    this.#shipment.read(chunk.length);
    return true;
  }

  async close(): Promise<void> {
    await this.handle.close();
  }

  #packer(): LinePacker {
    const { settings } = this.#shipment;
    return new LinePacker(settings.ship.message_bytes_max, {
      lineBytesMax: lineBytesMax(settings),
      linesBefore: this.#content.newlines,
      passedBytes: this.#passed,
      head: this.#head,
      tooLong: (line) => this.#shipment.tooLong(this.path, line),
    });
  }

  /** What was read just now belongs to what was read before: else the file was cut off and written anew meanwhile. */
  async #requireUnchanged(): Promise<void> {
    const { position, before } = this.#content;
    const there = await readAt(this.handle, position - before.length, before.length);
    if (!there.equals(before)) throw new CdrhouseError('FILE_CHANGED', `${this.path}: replaced or cut off`);
  }
}

/** Reads lines only for what the head becomes. */
function headOnly({ settings }: Shipment, head: HeadReader): (bytes: Buffer) => void {
  const packer = new LinePacker(settings.ship.message_bytes_max, {
    head,
    lineBytesMax: lineBytesMax(settings),
  });
  return (bytes) => {
    packer.add(bytes);
    packer.flush();
  };
}
