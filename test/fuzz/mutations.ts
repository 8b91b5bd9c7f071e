import type { Random } from '../../ingest/generate/random.ts';
import { FIELD_BYTES_MAX } from '../../schemas/record.ts';
import { oneOf } from './feeds.ts';

/** Bytes that mean something to a splitter, and what breaks files on their way. */
const INSERTED = [
  '"',
  '""',
  '"""',
  ',',
  ';',
  '|',
  '\t',
  '\\',
  '\\"',
  '\n',
  '\r\n',
  '\r',
  '\r\r\n',
  '\n\n',
  '\0',
  '\xef\xbb\xbf',
  ' ',
  '\xff',
  '\xe9',
  '\xc3',
  '\xa0',
  '\xf0\x9f',
  '{',
  '}',
  '[',
  ']',
  ':',
  '{"a":',
  '\\u00',
  '\\ud83d',
  '%',
  '%2',
  '%2B',
  '-',
  '+',
  '.',
  'e9',
  '0',
  '#',
  '<',
  '>',
  '<sip:',
  '@',
  'null',
].map((text) => Buffer.from(text, 'latin1'));
const INSERTED_MAX = 70_000;
/** Around the border of a field, of a chunk of the splitter, and longer than a window of messages. */
const LENGTHS = [
  15,
  16,
  17,
  31,
  400,
  FIELD_BYTES_MAX - 1,
  FIELD_BYTES_MAX,
  FIELD_BYTES_MAX + 1,
  INSERTED_MAX,
];

/** Bytes that have been broken in one place. */
export function mutate(bytes: Buffer, random: Random): Buffer {
  // Ends are where parsers differ.
  const at = random.chance(0.2)
    ? Math.max(0, bytes.length - random.integer(3))
    : random.integer(bytes.length + 1);
  const [before, behind] = [bytes.subarray(0, at), bytes.subarray(at)];
  const length = Math.ceil(random.exponential(8));
  switch (random.integer(8)) {
    case 0:
      return Buffer.concat([before, Buffer.of(random.integer(256)), behind.subarray(1)]);
    case 1: {
      // One bit of a byte.
      const flipped = Buffer.from(bytes);
      if (at < bytes.length) flipped[at]! ^= 1 << random.integer(8);
      return flipped;
    }
    case 2:
      return Buffer.concat([before, behind.subarray(length)]);
    case 3:
      return before;
    case 4: {
      const from = random.integer(bytes.length + 1);
      return Buffer.concat([before, bytes.subarray(from, from + 4 * length), behind]);
    }
    case 5:
      return Buffer.concat([
        before,
        Buffer.alloc(longLength(random), oneOf(random, ['7', 'x', 'é', '"', '\\', '[', ' '])),
        behind,
      ]);
    default:
      return Buffer.concat([before, oneOf(random, INSERTED), behind]);
  }
}

function longLength(random: Random): number {
  return oneOf(random, random.chance(0.1) ? LENGTHS : LENGTHS.slice(0, 5));
}
