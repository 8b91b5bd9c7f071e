import fc from 'fast-check';
import tap from 'tap';
import { LinePacker, type HeadReader, type LongLine } from '../../../ingest/ship/line-packer.ts';

function pack(
  chunks: readonly (string | Uint8Array)[],
  bytesMax: number,
): { messages: string[]; lines: number } {
  const packer = new LinePacker(bytesMax);
  const messages = chunks.flatMap((chunk) => packer.add(Buffer.from(chunk as string)));
  messages.push(...packer.finish());
  return { messages: messages.map(String), lines: packer.lines };
}

await tap.test('whole lines, as many as fit', async (t) => {
  t.strictSame(pack(['aa\nbb\ncc\n'], 6), { messages: ['aa\nbb\n', 'cc\n'], lines: 3 });
  t.strictSame(pack(['aa\nb', 'b\ncc'], 100), { messages: ['aa\nbb\ncc'], lines: 3 });
  t.strictSame(pack(['aa\nlonger than the bound\nb\n'], 6), {
    messages: ['aa\n', 'longer than the bound\n', 'b\n'],
    lines: 3,
  });
  t.strictSame(pack(['\n\r\na\n'], 100).lines, 1, 'empty lines are none');
  t.strictSame(pack([], 100), { messages: [], lines: 0 });
});

await tap.test('nothing is lost, moved or cut, however the stream is chunked', async () => {
  const line = fc.string({ maxLength: 30 }).map((text) => text.replaceAll('\n', ''));
  const text = fc.array(line, { maxLength: 40 }).map((lines) => lines.join('\n'));
  fc.assert(
    fc.property(
      text,
      fc.array(fc.nat(20), { minLength: 1 }),
      fc.integer({ min: 1, max: 60 }),
      (whole, cuts, bytesMax) => {
        const bytes = Buffer.from(whole);
        const chunks: Uint8Array[] = [];
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const size = cuts[i % cuts.length]! + 1;
          chunks.push(bytes.subarray(at, at + size));
          at += size;
        }
        const { messages, lines } = pack(chunks, bytesMax);
        return (
          messages.join('') === bytes.toString() &&
          messages.slice(0, -1).every((message) => message.endsWith('\n')) &&
          messages.every(
            (message) =>
              Buffer.byteLength(message) <= bytesMax ||
              message.indexOf('\n') >= message.length - 1 ||
              !message.includes('\n'),
          ) &&
          lines === whole.split('\n').filter((l) => l !== '' && l !== '\r').length
        );
      },
    ),
    { numRuns: 500 },
  );
});

/** A line that begins with # is a head. */
function headReader(): HeadReader {
  let head = Buffer.alloc(0);
  return {
    read: (line) => {
      if (line[0] !== 0x23) return false;
      head = Buffer.concat([line, Buffer.from('\n')]);
      return true;
    },
    bytes: () => head,
  };
}

await tap.test('heads are repeated, lines that are too long are told, whatever the chunks', async () => {
  const line = fc.oneof(
    fc.string({ maxLength: 30 }),
    fc.integer({ min: 20, max: 90 }).map((length) => 'x'.repeat(length)),
    fc.nat(9).map((digit) => `#head ${digit}`),
  );
  fc.assert(
    fc.property(
      fc.array(
        line.map((text) => text.replaceAll('\n', '')),
        { maxLength: 40 },
      ),
      fc.array(fc.nat(40), { minLength: 1 }),
      fc.integer({ min: 10, max: 60 }),
      fc.boolean(),
      (lines, cuts, bytesMax, flushed) => {
        const lineBytesMax = 60;
        const told: LongLine[] = [];
        const packer = new LinePacker(bytesMax, {
          lineBytesMax,
          head: headReader(),
          tooLong: (long) => told.push(long),
        });
        const bytes = Buffer.from(lines.map((text) => `${text}\n`).join(''));
        const messages: Buffer[] = [];
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const size = cuts[i % cuts.length]! + 1;
          messages.push(...packer.add(bytes.subarray(at, at + size)));
          if (flushed) messages.push(...packer.flush());
          if (packer.heldBytes > bytesMax + lineBytesMax + size) return false;
          at += size;
        }
        messages.push(...packer.finish());
        // Each record as it can be read alone in its message: with the head that stands above it.
        const read = messages.flatMap((message) => {
          const [first = '', ...others] = message.toString().replace(/\n$/, '').split('\n');
          const [head, records] = first.startsWith('#') ? [first, others] : ['', [first, ...others]];
          return records.map((record) => `${head}|${record}`);
        });
        let head = '';
        const wanted: string[] = [];
        const long: LongLine[] = [];
        lines.forEach((text, index) => {
          const length = Buffer.byteLength(text);
          if (length > lineBytesMax) long.push({ line: index + 1, bytes: length });
          else if (text.startsWith('#')) head = text;
          else wanted.push(`${head}|${text}`);
        });
        return (
          read.join('\n') === wanted.join('\n') &&
          JSON.stringify(told) === JSON.stringify(long) &&
          packer.newlines === lines.length
        );
      },
    ),
    { numRuns: 1000 },
  );
});
