import fc from 'fast-check';
import tap from 'tap';
import { encodeCsv, guardText, unguardText } from '../../schemas/csv.ts';
import { readCsv } from '../read-csv.ts';

interface Row {
  readonly name: string;
  readonly amount: number | null;
  readonly words: readonly string[];
}

const columns = [
  { name: 'name', isText: true },
  { name: 'amount', isText: false },
  { name: 'words', isText: false },
] as const;

async function* inBatches(rows: readonly Row[], size = 7): AsyncGenerator<readonly Row[]> {
  for (let from = 0; from < rows.length; from += size) yield Promise.resolve(rows.slice(from, from + size));
}

async function written(rows: readonly Row[]): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of encodeCsv(inBatches(rows), columns)) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

/** What a program reads that follows the documentation. */
async function read(csv: string): Promise<Record<string, string>[]> {
  const rows = await readCsv(csv);
  return rows.map((row) => ({ ...row, name: unguardText(row['name']!) }));
}

await tap.test('a header, CR LF, quotes where they are needed; nothing is a header alone', async (t) => {
  t.equal(await written([]), 'name,amount,words\r\n');
  t.equal(
    await written([
      { name: 'a,b', amount: 1.5, words: ['calling', 'dialed'] },
      { name: 'say "x"', amount: null, words: [] },
    ]),
    'name,amount,words\r\n"a,b",1.5,calling dialed\r\n"say ""x""",,\r\n',
  );
});

await tap.test('no text of a cell begins with what a spreadsheet runs or alters', (t) => {
  for (const text of [
    '+33199000001',
    '=1+1',
    '@SUM(A1)',
    '-2',
    '\t=1',
    '\r=1',
    '\n=1',
    '＝1',
    '0639',
    '1E9',
    ' =1',
    "'",
  ])
    t.equal(guardText(text), `'${text}`);
  for (const text of ['', 'anonymous', 'Émile', 'a=1']) t.equal(guardText(text), text);
  t.end();
});

await tap.test('any text comes back', async () => {
  // NUL is the one character that the writer leaves out.
  const text = fc.string({ unit: 'binary' }).map((each) => each.replaceAll('\0', ''));
  const starts = fc.constantFrom('', '=', '+', '-', '@', '\t', '\r', '\n', "'", '"', ',', ' ');
  const names = fc.array(
    fc.tuple(starts, text).map(([start, rest]) => start + rest),
    { minLength: 1, maxLength: 20 },
  );
  await fc.assert(
    fc.asyncProperty(names, async (all) => {
      const rows = all.map((name) => ({ name, amount: 1, words: [] }));
      const back = await read(await written(rows));
      return JSON.stringify(back.map(({ name }) => name)) === JSON.stringify(all);
    }),
  );
});

await tap.test('reads no further than its reader, and ends the rows with it', async (t) => {
  let given = 0;
  const state = { ended: false };
  async function* endless(): AsyncGenerator<readonly Row[]> {
    try {
      for (;;) {
        given++;
        yield Promise.resolve([{ name: 'x'.repeat(1000), amount: 1, words: [] }]);
      }
    } finally {
      state.ended = true;
    }
  }
  const csv = encodeCsv(endless(), columns);
  await csv.next();
  await new Promise((resolve) => setTimeout(resolve, 50));
  const before = given;
  t.ok(before < 1000, `${before} rows`);
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.equal(given, before, 'it waits');
  await csv.return(undefined);
  for (let turn = 0; turn < 100 && !state.ended; turn++)
    await new Promise((resolve) => setTimeout(resolve, 10));
  t.ok(state.ended);
});

async function* failing(): AsyncGenerator<readonly Row[]> {
  yield Promise.resolve([{ name: 'a', amount: 1, words: [] }]);
  throw new Error('gone');
}

await tap.test('what fails in the rows fails here', async (t) => {
  await t.rejects(async () => {
    for await (const piece of encodeCsv(failing(), columns)) t.ok(piece);
  }, /gone/);
});
