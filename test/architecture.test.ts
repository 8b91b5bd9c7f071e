import { existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import tap from 'tap';
import { readDocument, root } from './documents.ts';

/** docs/architecture.md has the tree as it is. */
const page = readDocument('docs/architecture.md');
const SOURCE = /\.(?:ts|cts|wat|cc|gyp|sh|yml|c|xml)$/;
const NAME = /[\w./-]+\.(?:ts|cts|wat|cc|gyp|sh|yml|c|xml)\b/g;

/** Files and folders of the tree, whose lines name a folder first, or files of the folder above them. */
function readTree(text: string): { files: Set<string>; folders: Set<string> } {
  const files = new Set<string>();
  const folders = new Set<string>();
  const above: { indent: number; path: string }[] = [];
  for (const line of text.split('\n').filter((each) => each.trim() !== '')) {
    const indent = line.length - line.trimStart().length;
    while ((above.at(-1)?.indent ?? -1) >= indent) above.pop();
    let path = above.at(-1)?.path ?? '';
    const [first] = line.trim().split(' ') as [string];
    if (first.endsWith('/')) {
      path += first;
      folders.add(path);
      above.push({ indent, path });
    }
    // A text may name a file of another folder by its path.
    for (const [name] of line.matchAll(NAME))
      files.add(existsSync(resolve(root, path, name)) || !name.includes('/') ? join(path, name) : name);
  }
  return { files, folders };
}

const { files, folders } = readTree(page.blocks.find(({ text }) => text.startsWith('cli.ts '))!.text);

/** Sources of a folder of the package, by their paths. */
function sourcesIn(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true })
    .map((name) => join(folder, String(name)))
    .filter((path) => SOURCE.test(path) && !path.startsWith('ingest/native/build/'));
}

await tap.test('every file and folder that the tree names is there', async (t) => {
  t.ok(files.size > 150);
  for (const path of [...files, ...folders]) t.ok(existsSync(resolve(root, path)), path);
});

await tap.test('every file has its place in the tree', async (t) => {
  for (const path of ['schemas', 'ingest', 'query', 'retention', 'cli', 'deploy'].flatMap(sourcesIn)) {
    // Formats are all alike.
    if (!path.startsWith('schemas/formats/')) t.ok(files.has(path), path);
  }
  for (const { name } of readdirSync(root, { withFileTypes: true }).filter((entry) => entry.isFile()))
    if (name.endsWith('.ts')) t.ok(files.has(name), name);
});

await tap.test('every folder has its place in the tree', async (t) => {
  // What is built, installed and measured.
  const hidden = new Set(['dist', 'node_modules', 'build', 'results']);
  const found = (folder: string): string[] =>
    readdirSync(join(root, folder), { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.') && !hidden.has(entry.name))
      .map((entry) => `${join(folder, entry.name)}/`);
  const top = found('.');
  // Those of test/ mirror the sources.
  const below = top.filter((folder) => folder !== 'test/').flatMap((folder) => found(folder));
  t.ok(below.length > 10);
  for (const folder of [...top, ...below]) t.ok(folders.has(folder), folder);
});

await tap.test('every file that the text names is one of the tree', async (t) => {
  const names = new Set(
    [...files].flatMap((path) => [path, path.split('/').at(-1)!, path.split('/').slice(-2).join('/')]),
  );
  const drawing = page.blocks[0]!.text;
  for (const [name] of [...page.prose.matchAll(NAME), ...drawing.matchAll(NAME)])
    t.ok(names.has(name) || existsSync(resolve(root, name)), name);
});
