import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import tap from 'tap';
import { localServerErrors } from '../deploy/local/errors.ts';
import { userNames } from '../deploy/local/users.ts';
import { IngestMetrics } from '../ingest/metrics.ts';
import { QueryMetrics } from '../query/metrics.ts';
import { HTTP_PROBLEMS, PROGRAM_ERRORS, REJECT_CODES, SKIP_REASONS } from '../schemas/errors.ts';
import { FORMATS } from '../schemas/formats/index.ts';
import { MIGRATIONS, migrationsTable, settingsTable } from '../schemas/migrations.ts';
import { listSettings } from '../schemas/settings-schema.ts';
import { codesIn, decisions, guides, readDocument, root } from './documents.ts';
import { alertRules } from './prometheus.ts';

/*
 * What the documents name is in the code, and what the code has is in the documents. docs.test.ts holds the tables of
 * settings, codes and metrics to the code; here all texts are held to them.
 */

const documents = guides();
const operations = readDocument('docs/operations.md');
const readme = readDocument('README.md');

/** Names that a pattern finds in a text, without repetition. */
function namesIn(text: string, pattern: RegExp): Set<string> {
  return new Set([...text.matchAll(pattern)].map(([name]) => name));
}

await tap.test('metrics, and users of the database', async (t) => {
  const own = namesIn(readDocument('docs/metrics.md').text, /(?<=^\| `)cdrhouse_\w+/gm);
  const ofProcesses = (
    await Promise.all(
      [new IngestMetrics().current(), new QueryMetrics().registry].map((each) => each.getMetricsAsJSON()),
    )
  ).flatMap((metrics) => metrics.map(({ name }) => name));
  const known = new Set<string>([...own, ...ofProcesses, ...Object.values(userNames)]);
  t.ok(own.size > 40);
  for (const { path, text } of documents)
    for (const name of namesIn(text, /\bcdrhouse_[a-z0-9_]+/g))
      t.ok(
        // What ends so is the beginning of several.
        name.endsWith('_')
          ? [...known].some((metric) => metric.startsWith(name))
          : known.has(name.replace(/_(bucket|sum|count)$/, '')),
        `${path}: ${name}`,
      );
});

await tap.test('alerts: each with what to do', async (t) => {
  const alerts = namesIn(alertRules(), /(?<=alert: )\w+/g);
  t.ok(alerts.size > 10);
  for (const { path, text } of documents)
    for (const name of namesIn(text, /\bCdrhouse[A-Z]\w+/g)) t.ok(alerts.has(name), `${path}: ${name}`);
  t.strictSame(namesIn(operations.text, /(?<=^### )Cdrhouse\w+/gm), alerts);
});

const settings = listSettings().map(({ path }) => path);
const variables = new Set([
  'CDRHOUSE_CONFIG',
  // Of the tests.
  'CDRHOUSE_TEST_WRITE_DOCS',
  ...settings.map((path) => `CDRHOUSE_${path.replace('.', '_').toUpperCase()}`),
]);

await tap.test('codes of errors', async (t) => {
  const known = new Set<string>([
    ...Object.keys(PROGRAM_ERRORS),
    ...REJECT_CODES,
    ...Object.keys(HTTP_PROBLEMS),
    ...Object.keys(localServerErrors),
  ]);
  for (const { path, prose } of documents)
    for (const name of namesIn(prose, /\b[A-Z]{2,}(?:_[A-Z0-9]+)+\b/g))
      t.ok(known.has(name) || variables.has(name), `${path}: ${name}`);
});

await tap.test('variables of the environment', async (t) => {
  for (const { path, text } of documents)
    for (const name of namesIn(text, /\bCDRHOUSE(?:_[A-Z0-9]+)+\b/g))
      t.ok(variables.has(name), `${path}: ${name}`);
});

await tap.test('settings', async (t) => {
  /** Settings of a topic in Kafka, whose section ours has the name of. */
  const ofTopics = new Set(['retention.ms', 'retention.bytes']);
  const sections = new Set(settings.map((path) => path.split('.')[0]));
  const pattern = new RegExp(`(?<![\\w./-])(?:${[...sections].join('|')})\\.[a-z_]+\\*?(?!\\w)`, 'g');
  let found = 0;
  for (const { path, prose } of documents)
    for (const name of namesIn(prose, pattern)) {
      if (ofTopics.has(name) || /\.(ts|js|md|yml)$/.test(name)) continue;
      const isThere = name.endsWith('*')
        ? settings.some((setting) => setting.startsWith(name.slice(0, -1)))
        : settings.includes(name);
      t.ok(isThere, `${path}: ${name}`);
      found++;
    }
  t.ok(found > 50);
});

await tap.test('every table of the database, format, and reason to skip a line', async (t) => {
  const codes = new Set(documents.flatMap(codesIn));
  const context = { database: 'x', retentionMonths: 36 };
  const statements = [
    migrationsTable('x'),
    settingsTable('x'),
    ...MIGRATIONS.flatMap((migration) => migration.statements(context)),
  ];
  const tables = namesIn(statements.join('\n'), /(?<=CREATE TABLE IF NOT EXISTS x\.)\w+/g);
  t.ok(tables.size > 15);
  for (const table of tables) t.ok(codes.has(table), table);
  for (const reason of SKIP_REASONS) t.ok(codes.has(reason), reason);
  const headings = namesIn(readDocument('docs/feeds.md').prose, /^## .*$/gm);
  for (const { name } of FORMATS)
    t.ok(
      [...headings].some((heading) => heading.split(/[ ,]/).includes(name)),
      `docs/feeds.md: ${name}`,
    );
});

await tap.test('files', async (t) => {
  // What benches leave in bench/results/ is no part of the tree.
  const pattern = /^(?:docs|deploy|test|bench(?!\/results\/)|ingest|query|retention|schemas)\/[\w./-]+\.\w+$/;
  const files = documents.flatMap((document) =>
    codesIn(document)
      .filter((code) => pattern.test(code))
      .map((file) => ({ file, path: document.path })),
  );
  t.ok(files.length > 5);
  for (const { file, path } of files) t.ok(existsSync(resolve(root, file)), `${path}: ${file}`);
});

await tap.test('links', async (t) => {
  const pages = new Map([...documents, ...decisions()].map((document) => [document.path, document]));
  let found = 0;
  for (const { path, prose } of pages.values()) {
    for (const [, target] of prose.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target!)) continue;
      found++;
      const [file, anchor] = target!.split('#') as [string, string | undefined];
      const linked = file === '' ? path : join(dirname(path), file);
      t.ok(existsSync(resolve(root, linked)), `${path}: ${target}`);
      if (anchor !== undefined) t.ok(pages.get(linked)?.anchors.has(anchor), `${path}: ${target}`);
    }
  }
  t.ok(found > 20);
});

await tap.test('README.md leads to every guide', async (t) => {
  for (const { path } of documents) if (path !== 'README.md') t.match(readme.prose, `](${path})`, path);
});

await tap.test('README.md fits on two screens', async (t) => {
  t.ok(readme.text.trimEnd().split('\n').length <= 90);
});

/** What is measured: times of single records, rates, shares of requests. */
const MEASURED =
  /\d (?:us|ns)\b|(?<![\w/])(?:records|messages|rows|calls)\/s\b|\b(?:records|messages|rows|calls) a second\b|\bp(?:50|95|99)\b/;

await tap.test('what was measured stands beside the command that measures it', async (t) => {
  let found = 0;
  for (const { path, sections } of documents)
    for (const section of sections.filter((text) => MEASURED.test(text))) {
      t.match(section, /`?make (?:bench|demo)/, `${path}: ${section.trim().split('\n')[0]}`);
      found++;
    }
  t.ok(found > 2);
});
