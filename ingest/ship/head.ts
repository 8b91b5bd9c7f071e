import type { Format } from '../../schemas/formats/format.ts';
import { isHeadLine, needsHead } from '../../schemas/formats/head.ts';
import type { HeadReader } from './line-packer.ts';

const NEWLINE = Buffer.from('\n');

/**
 * What a format needs from its file's head, to be repeated in each message: the last head line so far. Undefined for
 * formats that need none. One for each file.
 */
export function newHead(format: Format): HeadReader | undefined {
  if (!needsHead(format)) return undefined;
  let head = Buffer.alloc(0);
  return {
    read: (line) => {
      if (!isHeadLine(format, line)) return false;
      head = Buffer.concat([line, NEWLINE]);
      return true;
    },
    bytes: () => head,
  };
}
