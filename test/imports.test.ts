import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import tap from 'tap';

/** The boundaries of the design, held over the sources' imports. */
const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const SERVICES = ['ingest', 'query', 'retention'];
const FOLDERS = ['schemas', ...SERVICES, 'cli', 'deploy', 'bench'];

interface Import {
  readonly file: string;
  /** A path from the root for files of ours, else the package's name. */
  readonly target: string;
  readonly isOurs: boolean;
}

function sources(): string[] {
  const nested = FOLDERS.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true }).map((name) => join(folder, String(name))),
  );
  return [...nested, 'cli.ts', 'settings-loader.ts'].filter(
    (file) => file.endsWith('.ts') && !file.includes('node_modules') && !file.includes('build/'),
  );
}

function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, file), 'utf8');
  return [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map(([, target]) => ({
    file,
    target: target!.startsWith('.') ? relative(root, resolve(root, dirname(file), target!)) : target!,
    isOurs: target!.startsWith('.'),
  }));
}

const files = sources();
const imports = files.flatMap(importsOf);
const folderOf = (path: string): string => (path.includes('/') ? path.slice(0, path.indexOf('/')) : '');

await tap.test('the check sees the sources', async (t) => {
  t.ok(files.length > 40);
  t.ok(
    imports.some(({ file, target }) => file === 'cli/services.ts' && target === 'ingest/main.ts'),
    'also imports at run time',
  );
});

await tap.test('schemas import nothing of ours, and do no I/O', async (t) => {
  const forbidden =
    /^(node:(fs|net|http|https|child_process|worker_threads|process)|node-rdkafka|@clickhouse|piscina|pino|fastify)/;
  for (const { file, target, isOurs } of imports.filter((i) => folderOf(i.file) === 'schemas')) {
    t.ok(folderOf(target) === 'schemas' || !isOurs, `${file} -> ${target}`);
    t.notMatch(target, forbidden, file);
  }
});

await tap.test('services meet only through schemas, tables and topics', async (t) => {
  for (const service of SERVICES) {
    for (const { file, target } of imports.filter(
      (i) => folderOf(i.file) === service && /\.(ts|js)$/.test(i.target),
    )) {
      t.ok(['schemas', service].includes(folderOf(target)), `${file} -> ${target}`);
    }
  }
});

await tap.test('nothing in production imports the local servers or the benches', async (t) => {
  for (const { file, target } of imports.filter((i) => /^(deploy|bench|test)\//.test(i.target))) {
    t.ok(['deploy', 'bench'].includes(folderOf(file)) || file === 'cli/services.ts', `${file} -> ${target}`);
  }
});

await tap.test('each client library has one home', async (t) => {
  const homes: [RegExp, RegExp][] = [
    [
      /^node-rdkafka$/,
      /^ingest\/(consumer|pending-commits|assignment|epochs|pipeline|native\/addon|readers\/(packed|plain))\.ts$|^ingest\/ship\//,
    ],
    [/^@platformatic\/kafka$/, /^ingest\/kafka-metadata\.ts$/],
    [/^piscina$/, /^ingest\/parse-(pool|worker)\.ts$/],
    [/^@clickhouse\/client$/, /^(ingest|query|retention)\//],
    [/^commander$|^cli-progress$/, /^(cli|progress)\.ts$|^cli\//],
  ];
  for (const [library, home] of homes) {
    // The benches are programs of others, as it were.
    const used = imports.filter(({ file, target }) => library.test(target) && folderOf(file) !== 'bench');
    t.ok(used.length > 0, String(library));
    for (const { file } of used) t.match(file, home, `${file} imports ${library.source}`);
  }
});

await tap.test('only the command line and the main files read the environment', async (t) => {
  for (const file of files) {
    if (/^(cli\/command\.ts|.*\/main\.ts)$/.test(file)) continue;
    const text = readFileSync(join(root, file), 'utf8');
    // Passing the whole environment on to a child process is not reading it.
    t.notMatch(text.replaceAll('...process.env', ''), /process\.env/, file);
  }
});
