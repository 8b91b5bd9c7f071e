import fc from 'fast-check';
import tap from 'tap';
import { BatchMemory } from '../../../ingest/parse/batch-memory.ts';
import { ABSENT, LineSplitter } from '../../../ingest/parse/line-splitter.ts';
import { QUOTES, type Quotes } from '../../../schemas/formats/format.ts';
import { COLUMNS_MAX } from '../../../schemas/record.ts';
import { csvFields } from './references.ts';

const memory = new BatchMemory();

/** Fields of each line of a text; null where the line breaks the rules of quoting. */
function split(text: string | Buffer, separator = ',', quotes: Quotes = 'rfc4180'): (string[] | null)[] {
  const splitter = new LineSplitter(memory, separator, quotes);
  const bytes = Buffer.from(text as string);
  memory.prepare(2 * bytes.length + 1);
  // A quote stands behind the text, and is none of it.
  const start = memory.load(Buffer.concat([bytes, Buffer.from('"')]));
  const lines: (string[] | null)[] = [];
  for (let at = start; at < start + bytes.length; at = splitter.next) {
    splitter.split(at, start + bytes.length);
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
      const theirs = await csvFields(text);
      t.strictSame(ours, theirs, JSON.stringify(text));
      const other = text.replaceAll(';', '+').replaceAll(',', ';');
      t.strictSame(split(other, ';')[0], await csvFields(other, ';'), JSON.stringify(other));
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

await tap.test('other separators and kinds of quotes', async (t) => {
  t.strictSame(split('a;"b;""c""";d\n', ';'), [['a', 'b;"c"', 'd']]);
  t.strictSame(split('a\t"b"\t\t "c" \t', '\t'), [['a', 'b', '', 'c', '']]);
  t.strictSame(split(' "b c"  "d" ', ' '), [['', 'b c', '', 'd', '']], 'a blank that separates is none');
  t.strictSame(split(' "b "c"  "d" ', ' ', 'lenient'), [['', 'b "c', '', 'd', '']]);
  t.strictSame(split('"a "x" b","",c\r\n"d"\r', ',', 'lenient'), [['a "x" b', '', 'c'], ['d']]);
  t.strictSame(split('"a""b","c,d"', ',', 'lenient'), [['a""b', 'c,d']], 'nothing is unescaped');
  t.strictSame(split('"a,b\nc', ',', 'lenient'), [null, ['c']], 'a stray quote costs one line');
  t.strictSame(split('"a" ,b\nc', ',', 'lenient'), [null, ['c']]);
  t.strictSame(split('a\\,b,c\\\\,\\d,"e"\n', ',', 'backslash'), [['a,b', 'c\\', 'd', '"e"']]);
  t.strictSame(split('a,b\\\nc', ',', 'backslash'), [['a', 'b\\'], ['c']], 'a newline is never escaped');
  t.strictSame(split('a,b\\', ',', 'backslash'), [['a', 'b\\']]);
  t.strictSame(split('a,b\\\r\na,b\\,c\r', ',', 'backslash'), [
    ['a', 'b\\'],
    ['a', 'b,c'],
  ]);
  t.strictSame(split('"a|b"|c\\|\r\n|', '|', 'none'), [
    ['"a', 'b"', 'c\\', ''],
    ['', ''],
  ]);
});

await tap.test('a line that is split by masks and one that is not have the same fields', async (t) => {
  const text = fc
    .array(fc.constantFrom('a', 'bc', ',', '""', ' ', 'é', '1'.repeat(20)), { maxLength: 8 })
    .map((list) => list.join(''));
  const field = fc.oneof(
    text.map((inside) => `"${inside}"`),
    text.map((inside) => inside.replaceAll(/[",]/g, '')),
  );
  const stray = fc.constantFrom('"', '"a"b', ' "a"', '"a" ', 'a"', ' "a', '"a,"b"', '"""', '\r', ' ');
  const line = fc
    .tuple(
      fc.array(fc.oneof({ weight: 40, arbitrary: field }, { weight: 1, arbitrary: stray }), {
        maxLength: 30,
      }),
      fc.constantFrom('', '\n', '\r\n', '\r', '\n"'),
    )
    .map(([fields, end]) => fields.join(',') + end);
  const shifts = fc.integer({ min: 2, max: 130 });
  fc.assert(
    fc.property(line, shifts, fc.constantFrom<Quotes>('rfc4180', 'lenient'), (rest, shift, quotes) => {
      const [fields] = split(`${'x'.repeat(shift)},${rest}`, ',', quotes);
      // A quote within an unquoted field: all of this line is looked at quote by quote.
      const [others] = split(`${'"'.padStart(shift, 'x')},${rest}`, ',', quotes);
      return JSON.stringify(fields?.slice(1)) === JSON.stringify(others?.slice(1));
    }),
    { numRuns: 10_000 },
  );
  t.pass();
});

await tap.test('fields with doubled quotes are copied to the arena, and no others', async (t) => {
  const splitter = new LineSplitter(memory, ',', 'rfc4180');
  for (const last of ['f', '"f"', 'f"', `${'f'.repeat(80)}"`]) {
    const bytes = Buffer.from(`"a""b",c,"d""e",${last}`);
    memory.prepare(2 * bytes.length);
    const start = memory.load(bytes);
    const { top } = memory;
    splitter.split(start, start + bytes.length);
    t.strictSame(Array.from(splitter.starts.subarray(0, 3)), [top, start + 7, top + 3], last);
    t.ok(splitter.starts[3]! < top, 'what stands behind them is not copied');
    t.equal(memory.top, top + 6);
  }
});

await tap.test('an empty field at the end of a text is empty, whatever stands behind it', async (t) => {
  const splitter = new LineSplitter(memory, ',', 'rfc4180');
  memory.prepare(3);
  const start = memory.load(Buffer.from('a,"'));
  splitter.split(start, start + 2);
  t.strictSame([splitter.starts[1], splitter.ends[1]], [start + 2, start + 2]);
});

await tap.test('fields beyond the most that are kept are only counted', async (t) => {
  const splitter = new LineSplitter(memory, ',', 'rfc4180');
  for (const field of ['', 'a', '""', '"a"', 'a"b']) {
    for (const count of [COLUMNS_MAX - 1, COLUMNS_MAX, COLUMNS_MAX + 1, 2 * COLUMNS_MAX]) {
      const bytes = Buffer.from(Array.from({ length: count }, () => field).join(','));
      memory.prepare(2 * bytes.length);
      const start = memory.load(bytes);
      splitter.split(start, start + bytes.length);
      t.equal(splitter.count, count);
      const last = Math.min(count, COLUMNS_MAX) - 1;
      const kept = memory.bytes.subarray(splitter.starts[last], splitter.ends[last]);
      t.equal(Buffer.from(kept).toString(), field.replaceAll(/^"|"$/g, ''));
      t.strictSame([splitter.starts[ABSENT], splitter.ends[ABSENT]], [0, 0], 'the absent column stays empty');
    }
  }
});

await tap.test('a text of many bytes is split without a crash, and lines stay where they are', async (t) => {
  const bytes = fc.uint8Array({ maxLength: 60 });
  const kinds = fc.constantFrom<Quotes>('rfc4180', 'lenient', 'backslash', 'none');
  const separators = fc.constantFrom(',', ';', '|', '\t');
  // Bytes that matter to a splitter are frequent.
  const mutated = fc.array(fc.oneof(fc.constantFrom(...Buffer.from(',;"\\\r\n |\t\0')), fc.nat(255)), {
    maxLength: 80,
  });
  fc.assert(
    fc.property(
      fc.oneof(
        bytes,
        mutated.map((list) => Uint8Array.from(list)),
      ),
      kinds,
      separators,
      (text, quotes, separator) => {
        const lines = split(Buffer.from(text), separator, quotes).length;
        const newlines = text.filter((byte) => byte === 0x0a).length;
        return lines === newlines + (text.length > 0 && text.at(-1) !== 0x0a ? 1 : 0);
      },
    ),
    { numRuns: 3000 },
  );
  t.pass();
});

await tap.test('fields survive writing and reading in each kind of quotes', async (t) => {
  const field = fc
    .string({ unit: 'binary', maxLength: 12 })
    .filter((text) => !/[\r\n\ud800-\udfff]/.test(text));
  const write: Record<Quotes, (text: string) => string> = {
    rfc4180: (text) => `"${text.replaceAll('"', '""')}"`,
    // What is not escaped must not look like an end.
    lenient: (text) => `"${text.replaceAll('"', "'").replaceAll(',', ';"')}"`,
    backslash: (text) => text.replaceAll(/[\\,]/g, '\\$&'),
    none: (text) => text.replaceAll(',', ';'),
  };
  const kept: Record<Quotes, (text: string) => string> = {
    rfc4180: (text) => text,
    lenient: (text) => text.replaceAll('"', "'").replaceAll(',', ';"'),
    backslash: (text) => text,
    none: (text) => text.replaceAll(',', ';'),
  };
  for (const quotes of QUOTES) {
    fc.assert(
      fc.property(fc.array(field, { minLength: 1, maxLength: 6 }), (fields) => {
        const [line] = split(`${fields.map(write[quotes]).join(',')}\n`, ',', quotes);
        return JSON.stringify(line) === JSON.stringify(fields.map(kept[quotes]));
      }),
      { numRuns: 500 },
    );
    t.pass(quotes);
  }
});
