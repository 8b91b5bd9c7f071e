import { parseString } from 'fast-csv';
import fc from 'fast-check';
import tap from 'tap';
import { BatchMemory } from '../../../ingest/parse/batch-memory.ts';
import { LineSplitter } from '../../../ingest/parse/line-splitter.ts';

const memory = new BatchMemory();
const splitter = new LineSplitter(memory);
const COMMA = 0x2c;

/** Fields of each line of a text; null where the line breaks the rules of quoting. */
function split(text: string | Buffer): (string[] | null)[] {
  const bytes = Buffer.from(text as string);
  const start = memory.load(bytes);
  memory.reserve(bytes.length);
  const lines: (string[] | null)[] = [];
  for (let at = start; at < start + bytes.length; at = splitter.next) {
    splitter.split(at, start + bytes.length, COMMA);
    lines.push(
      splitter.fault >= 0
        ? null
        : Array.from({ length: splitter.count }, (_, i) =>
            Buffer.from(memory.bytes.subarray(splitter.starts[i], splitter.ends[i])).toString(),
          ),
    );
  }
  return lines;
}

/** What fast-csv makes of one line: its fields, or null where it throws. */
function reference(line: string): Promise<string[] | null> {
  return new Promise((resolve) => {
    const rows: string[][] = [];
    parseString<string[], string[]>(line, { headers: false })
      .on('data', (row: string[]) => rows.push(row))
      .on('error', () => resolve(null))
      .on('end', () => resolve(rows[0] ?? null));
  });
}

await tap.test('fields, quotes and line ends', async (t) => {
  t.strictSame(split('a,b,c\n'), [['a', 'b', 'c']]);
  t.strictSame(split('a,b\nc,d'), [
    ['a', 'b'],
    ['c', 'd'],
  ]);
  t.strictSame(split('a,,\r\n,x\r\n'), [
    ['a', '', ''],
    ['', 'x'],
  ]);
  t.strictSame(split('"a,b","say ""hi""",""\n'), [['a,b', 'say "hi"', '']]);
  t.strictSame(split('""""""" <8016>",x'), [['""" <8016>', 'x']]);
  t.strictSame(split('""""" <8016>",x'), [['"" <8016>', 'x']]);
  t.strictSame(split('a"b,c"\n'), [['a"b', 'c"']], 'a quote inside an unquoted field is a character');
  t.strictSame(split(' "a" ,\t"b"\t, c \n'), [['a', 'b', ' c ']], 'blanks around quotes, and within a field');
  t.strictSame(split('"a",b\r'), [['a', 'b']]);
  t.strictSame(split('"a"\r\n"b"\r'), [['a'], ['b']]);
});

await tap.test('a stray quote costs one line', async (t) => {
  t.strictSame(split('"a,b\nc,d\n'), [null, ['c', 'd']]);
  t.strictSame(split('"a"x,b\nc,d\n'), [null, ['c', 'd']]);
  t.strictSame(split('a,"\nc,d\n'), [null, ['c', 'd']]);
});

await tap.test('lines read as fast-csv reads them, line by line', async (t) => {
  const character = fc.constantFrom('a', 'b', ',', '"', '""', ' ', 'é', '\0', ';', '+33');
  // A field of nothing but blanks is emptied or dropped by fast-csv, by its place; we keep it as it is.
  const line = fc
    .array(character, { minLength: 1, maxLength: 24 })
    .map((list) => list.join(''))
    .filter((text) => !/(^|,)\s+(,|$)/.test(text));
  await fc.assert(
    fc.asyncProperty(line, async (text) => {
      const [ours] = split(text);
      const theirs = await reference(text);
      t.strictSame(ours, theirs, JSON.stringify(text));
    }),
    { numRuns: 1000, endOnFailure: true },
  );
});

await tap.test('well-formed fields survive writing and reading, whatever they hold', async () => {
  const field = fc
    .string({ unit: 'binary', maxLength: 12 })
    .filter((text) => !/[\r\n\ud800-\udfff]/.test(text));
  fc.assert(
    fc.property(
      fc.array(fc.array(field, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 5 }),
      (rows) => {
        const text = rows.map((row) => row.map((f) => `"${f.replaceAll('"', '""')}"`).join(',')).join('\n');
        return JSON.stringify(split(text)) === JSON.stringify(rows);
      },
    ),
    { numRuns: 500 },
  );
});
