import type { FileHandle } from 'node:fs/promises';
import { CdrhouseError } from '../../schemas/errors.ts';
import { candidatePlaces, Content, contentUpTo, readAt, recognise } from './content.ts';
import { gunzip } from './gunzip.ts';
import { LinePacker } from './line-packer.ts';
import type { Place } from './place-file.ts';
import { lineBytesMax } from './producer.ts';
import type { Shipment } from './shipment.ts';

const READ_BYTES = 65_536;
/** What is looked at to find out whether the content may be known. */
const FIRST_BYTES = 4096;

export interface PackedResult {
  /** False where everything in it was sent before. */
  readonly sent: boolean;
  /** To be noted when Kafka has acknowledged everything; none where it could not be read to its end. */
  readonly places: readonly Place[];
}

/**
 * Hands over the lines in a gzip file. What was sent of its content before, packed or not, under this name or another,
 * is not sent again. A file that is cut off or damaged is sent as far as it can be read, whole lines only, then throws
 * FILE_DAMAGED. On `stop` it ends without a place.
 * @param known whether the bytes of a file are compared completely with what was sent, or at their head and end only
 */
export async function sendPacked(
  shipment: Shipment,
  path: string,
  handle: FileHandle,
  known: 'completely' | 'at head and end' | 'send anyway',
): Promise<PackedResult> {
  if (known !== 'send anyway' && (await isKnown(shipment, handle, known))) return { sent: false, places: [] };
  const from = known === 'send anyway' ? 0 : await sentBefore(shipment, handle);
  const { settings, feed } = shipment;
  const packed = new Content();
  const content = new Content();
  const head = shipment.newHead();
  const packer = new LinePacker(settings.ship.message_bytes_max, {
    lineBytesMax: lineBytesMax(settings),
    head,
    tooLong: (line) => {
      if (content.position >= from) shipment.tooLong(path, line);
    },
  });
  const send = (messages: readonly Buffer[]): Promise<void> => shipment.send(path, packer, messages);
  try {
    for await (const bytes of gunzip(noted(packedBytes(handle), packed, shipment))) {
      const skipped = Math.min(Math.max(0, from - content.position), bytes.length);
      if (skipped > 0) {
        // Only for what the head becomes, and the numbers of the lines.
        packer.add(bytes.subarray(0, skipped));
        if (content.position + skipped === from) packer.finish();
        shipment.passOver(packer);
      }
      content.add(bytes);
      await send(packer.add(bytes.subarray(skipped)));
      if (shipment.stop.aborted) return { sent: true, places: [] };
    }
  } catch (error) {
    if (error instanceof CdrhouseError) throw error;
    await send(packer.flush());
    throw new CdrhouseError('FILE_DAMAGED', `${path}: ${(error as Error).message}`, error);
  }
  await send(packer.finish());
  const places = [content.place(feed.name, path), packed.place(feed.name, path, undefined, 0, true)];
  return { sent: content.position > from, places };
}

/** Whether this very gzip file was sent to its end. */
async function isKnown(
  { feed, places }: Shipment,
  handle: FileHandle,
  how: 'completely' | 'at head and end',
): Promise<boolean> {
  const { size } = await handle.stat();
  const place = await recognise(handle, size, feed.name, places);
  if (place === undefined || !place.gzip || place.end !== size) return false;
  return how === 'at head and end' || (await contentUpTo(handle, place)) !== undefined;
}

/** How many bytes of the content were sent before: the farthest place whose content this one begins with. */
async function sentBefore({ feed, places }: Shipment, handle: FileHandle): Promise<number> {
  const content = new Content();
  let first: Buffer = Buffer.alloc(0);
  let waiting: Place[] | undefined;
  let sent = 0;
  const begin = (): Place[] =>
    candidatePlaces(first, feed.name, places)
      .filter(({ gzip, passed }) => !gzip && passed === 0)
      .sort((a, b) => a.resume - b.resume);
  const compare = (bytes: Buffer, with_: Place[]): void => {
    let left = bytes;
    while (with_[0] !== undefined && with_[0].resume <= content.position + left.length) {
      const { resume, sha256 } = with_.shift()!;
      const length = resume - content.position;
      content.add(left.subarray(0, length));
      left = left.subarray(length);
      if (content.digest() === sha256) sent = resume;
    }
    content.add(left);
  };
  try {
    for await (const bytes of gunzip(packedBytes(handle))) {
      if (waiting !== undefined) compare(bytes, waiting);
      else {
        first = Buffer.concat([first, bytes]);
        if (first.length < FIRST_BYTES) continue;
        waiting = begin();
        compare(first, waiting);
      }
      if (waiting.length === 0) return sent;
    }
    if (waiting === undefined) compare(first, begin());
  } catch {
    // Cut off or damaged: sending it comes to the same place, and says so.
  }
  return sent;
}

async function* packedBytes(handle: FileHandle): AsyncGenerator<Buffer> {
  for (let position = 0; ;) {
    const bytes = await readAt(handle, position, READ_BYTES);
    if (bytes.length === 0) return;
    position += bytes.length;
    yield bytes;
  }
}

async function* noted(
  bytes: AsyncIterable<Buffer>,
  packed: Content,
  shipment: Shipment,
): AsyncGenerator<Buffer> {
  for await (const chunk of bytes) {
    packed.add(chunk);
    shipment.read(chunk.length);
    yield chunk;
  }
}
