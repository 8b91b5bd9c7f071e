import { once } from 'node:events';
import {
  appendFileSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import tap, { type Test } from 'tap';
import { Content, contentUpTo, recognise } from '../../../ingest/ship/content.ts';
import { PlaceFile, type Place } from '../../../ingest/ship/place-file.ts';

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'cdrhouse-place-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function content(text: string, id?: string): Content {
  const made = new Content(id);
  made.add(Buffer.from(text));
  return made;
}

/** What the place file knows of a file. */
async function known(path: string, places: PlaceFile): Promise<{ place: Place | undefined; whole: boolean }> {
  const file = await open(path);
  try {
    const place = await recognise(file, (await file.stat()).size, 'feed', places);
    return { place, whole: place !== undefined && (await contentUpTo(file, place)) !== undefined };
  } finally {
    await file.close();
  }
}

await tap.test('a file is known by its content, whatever its name', async (t) => {
  const dir = folder(t);
  const places = new PlaceFile(join(dir, 'places'));
  const lines = Array.from({ length: 1000 }, (_, i) => `record ${i}\n`).join('');
  const file = (text: string): string => {
    writeFileSync(join(dir, 'file'), text);
    return join(dir, 'file');
  };
  for (const [text, sentTo] of [
    ['', 0],
    ['x', 1],
    ['one\ntwo\n', 4],
    [lines, 5000],
    [lines, lines.length],
  ] as const) {
    places.note([content(text.slice(0, sentTo)).place('feed', 'elsewhere')]);
    const { place, whole } = await known(file(text), places);
    t.match({ end: place?.end, whole }, { end: sentTo, whole: true }, `${sentTo} of ${text.length}`);
  }
  t.equal((await known(file(lines.replace('record 999', 'record 99x')), places)).place?.end, 5000);
  const inBetween = await known(file(lines.replace('record 500\n', 'record 5x0\n')), places);
  t.match(inBetween, { place: { end: lines.length }, whole: false }, 'only the whole content tells');
  t.equal((await known(file(`y${lines}`), places)).place?.end, 0, 'the empty one');
  const other = new PlaceFile(join(dir, 'other'));
  other.note([content(lines).place('another feed', 'elsewhere')]);
  t.equal((await known(file(lines), other)).place, undefined, 'of this feed only');
});

await tap.test('the journal: later lines count, it is written anew when it is long', async (t) => {
  const dir = folder(t);
  const path = join(dir, 'places');
  const places = new PlaceFile(path);
  const text = 'z'.repeat(5000);
  for (let i = 1; i <= 2500; i++) places.note([content(text.slice(0, i), 'one').place('feed', 'a')]);
  places.close();
  t.ok(readFileSync(path, 'utf8').split('\n').length < 1600);
  writeFileSync(join(dir, 'file'), text);
  const again = new PlaceFile(path);
  t.equal((await known(join(dir, 'file'), again)).place?.end, 2500);
  again.close();
  t.strictSame(readdirSync(dir).toSorted(), ['file', 'places'], 'nothing is left beside');
});

await tap.test(
  'cut off anywhere, by a kill or a full disk: what was whole is known, and it goes on',
  async (t) => {
    const dir = folder(t);
    const whole = join(dir, 'whole');
    const places = new PlaceFile(whole);
    places.note([content('first content\n', 'one').place('feed', 'a')]);
    const firstBytes = readFileSync(whole).length;
    places.note([content('second content\n', 'two').place('feed', 'b')]);
    places.close();
    const bytes = readFileSync(whole);
    writeFileSync(join(dir, 'first'), 'first content\n');
    writeFileSync(join(dir, 'third'), 'third content\n');
    const cut = join(dir, 'cut');
    const lengths = Array.from({ length: Math.ceil(bytes.length / 7) }, (_, i) => i * 7);
    for (const length of [...lengths, firstBytes - 1, bytes.length - 1]) {
      writeFileSync(cut, bytes);
      truncateSync(cut, length);
      const after = new PlaceFile(cut);
      const there = (await known(join(dir, 'first'), after)).place !== undefined;
      // The last byte is a newline, without which the line is as good.
      if (there !== length >= firstBytes - 1) t.fail(`cut off at ${length} of ${bytes.length}`);
      after.note([content('third content\n').place('feed', 'c')]);
      after.close();
      const next = new PlaceFile(cut);
      if ((await known(join(dir, 'third'), next)).place === undefined) t.fail(`not noted after ${length}`);
      next.close();
    }
  },
);

await tap.test('what another process noted stays when the file is written anew', async (t) => {
  const dir = folder(t);
  const path = join(dir, 'places');
  const busy = new PlaceFile(path);
  const other = new PlaceFile(path);
  const text = 'z'.repeat(2000);
  const grow = (from: number, to: number): void => {
    for (let i = from; i < to; i++) busy.note([content(text.slice(0, i), 'one').place('feed', 'a')]);
  };
  grow(1, 500);
  other.note([content('of another process\n').place('feed', 'b')]);
  grow(500, 1100);
  other.note([content('of it too\n').place('feed', 'c')]);
  const lines = readFileSync(path, 'utf8').split('\n').length;
  t.ok(lines < 500, 'it was written anew');
  for (const [name, sent] of [
    ['known to the one that wrote it', busy],
    ['known to the next', new PlaceFile(path)],
  ] as const) {
    writeFileSync(join(dir, 'file'), 'of another process\n');
    t.ok((await known(join(dir, 'file'), sent)).whole, name);
  }
  writeFileSync(join(dir, 'file'), 'of it too\n');
  t.ok((await known(join(dir, 'file'), new PlaceFile(path))).whole, 'what came behind it');
  busy.close();
  other.close();
});

await tap.test('processes that note and write anew at once: each note is there in the end', async (t) => {
  const path = join(folder(t), 'places');
  const program = `
    const { workerData: { path, name, modules } } = require('node:worker_threads');
    Promise.all(modules.map((module) => import(module))).then(([{ Content }, { PlaceFile }]) => {
      const places = new PlaceFile(path);
      const text = 'z'.repeat(1300);
      for (let i = 1; i <= 1300; i++) {
        const grown = new Content(name);
        grown.add(Buffer.from(name + text.slice(0, i)));
        const whole = new Content(name + i);
        whole.add(Buffer.from(name + ' ' + i));
        places.note([grown.place('feed', 'grown'), ...(i % 10 === 0 ? [whole.place('feed', 'whole')] : [])]);
      }
      places.close();
    });`;
  const modules = ['content', 'place-file'].map(
    (name) => new URL(`../../../ingest/ship/${name}.js`, import.meta.url).href,
  );
  const names = ['first', 'second', 'third'];
  await Promise.all(
    names.map((name) =>
      once(new Worker(program, { eval: true, workerData: { path, name, modules } }), 'exit'),
    ),
  );
  // Who sees half of another one's line begins a line of its own, which may leave an empty one.
  const lines = readFileSync(path, 'utf8').split('\n').slice(1).filter(Boolean);
  const noted = lines.map((line) => JSON.parse(line) as Place);
  t.ok(noted.length < 3000, 'it was written anew');
  for (const name of names) {
    const own = noted.filter(({ id }) => id.startsWith(name));
    t.equal(new Set(own.map(({ id }) => id)).size, 131, `all of the ${name}`);
    t.equal(own.findLast(({ id }) => id === name)?.end, 1300 + name.length);
  }
});

await tap.test('two processes, damage, and files that are none', async (t) => {
  const dir = folder(t);
  const path = join(dir, 'places');
  const long = new PlaceFile(path);
  long.note([content('of the long one\n').place('feed', 'a')]);
  appendFileSync(path, 'damage\n');
  const warnings: string[] = [];
  const short = new PlaceFile(path, (text) => warnings.push(text));
  t.match(warnings, [/1 line\(s\) cannot be read/]);
  short.close();
  // The short one has written the file anew; the long one must not go on with the file that is gone.
  long.note([content('more of the long one\n').place('feed', 'b')]);
  long.close();
  writeFileSync(join(dir, 'file'), 'more of the long one\n');
  t.ok((await known(join(dir, 'file'), new PlaceFile(path))).place);

  writeFileSync(path, '{"sent":{}}');
  t.throws(() => new PlaceFile(path), { code: 'FILE_UNREADABLE' });
  t.equal(readFileSync(path, 'utf8'), '{"sent":{}}', 'it stays as it is');
  // Where a folder ought to be there is a file by now.
  const nowhere = new PlaceFile(join(dir, 'gone', 'below'));
  writeFileSync(join(dir, 'gone'), '');
  t.throws(() => nowhere.note([content('x').place('feed', 'a')]), { code: 'FILE_UNWRITABLE' });
});
