import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Registry } from 'prom-client';
import tap from 'tap';
import { parse } from 'yaml';
import { localServerErrors } from '../deploy/local/errors.ts';
import { GroupMetrics } from '../ingest/group-metrics.ts';
import { IngestMetrics } from '../ingest/metrics.ts';
import { ShipMetrics } from '../ingest/ship/metrics.ts';
import { QueryMetrics } from '../query/metrics.ts';
import { auditRegistry } from '../retention/audit-metrics.ts';
import { RetentionMetrics } from '../retention/metrics.ts';
import { HTTP_PROBLEMS, PROGRAM_ERRORS, REJECT_MEANINGS } from '../schemas/errors.ts';
import { listFeedSettings, listSettings } from '../schemas/settings-schema.ts';
import { alertRules } from './prometheus.ts';

/*
 * The tables of the documents are those of the code, both ways. With CDRHOUSE_TEST_WRITE_DOCS=1 this test
 * writes them anew.
 */

function line(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function shown(value: unknown): string {
  return value === undefined ? '' : `\`${JSON.stringify(value)}\``;
}

/** The metrics that are our own; prom-client's about the process are left out. */
async function metricsTable(registry: Registry): Promise<string> {
  const metrics = await registry.getMetricsAsJSON();
  const own = metrics.filter(({ name }) => !/_(process|nodejs)_/.test(name));
  return table(
    ['metric', 'type', 'labels', 'what it says'],
    own.map(({ name, type, help }) => {
      const { labelNames = [] } = registry.getSingleMetric(name) as { labelNames?: readonly string[] };
      return [`\`${name}\``, String(type), labelNames.map((label) => `\`${label}\``).join(', '), help];
    }),
  );
}

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly description: string };
}

function alertsTable(): string {
  const { groups } = parse(alertRules()) as { groups: { rules: Rule[] }[] };
  return table(
    ['alert', 'severity', 'fires when', 'for', 'what to do'],
    groups
      .flatMap(({ rules }) => rules)
      .map((rule) => [
        `\`${rule.alert}\``,
        rule.labels.severity,
        `\`${rule.expr}\``,
        rule.for ?? 'at once',
        // What the template asks Prometheus for can be named only there.
        rule.annotations.description.replaceAll(/\{\{.*?\}\}/g, '…'),
      ]),
  );
}

/** A parent of several, of which none has answered: its own metrics. */
const groupRegistry = await new GroupMetrics().combine(new Map(), false);
const emptyAudit = {
  partitions: 0,
  ranges: 0,
  accepted: 0,
  found: 0,
  replayed: 0,
  swept: 0,
  erased: 0,
  elsewhere: 0,
  lost_offsets: 0,
  differences: [],
  conflicts: [],
};

const TABLES: Record<string, Record<string, string>> = {
  'docs/metrics.md': {
    ingest: await metricsTable(new IngestMetrics().current()),
    group: await metricsTable(groupRegistry),
    audit: await metricsTable(auditRegistry(emptyAudit, { nowMs: 0 })),
    retention: await metricsTable(new RetentionMetrics().registry),
    query: await metricsTable(new QueryMetrics().registry),
    ship: await metricsTable(new ShipMetrics().registry),
    alerts: alertsTable(),
  },
  'docs/settings.md': {
    settings: table(
      ['setting', 'environment', 'default', 'what it does'],
      listSettings().map(({ path, default: value, description }) => [
        `\`${path}\``,
        `\`CDRHOUSE_${path.replace('.', '_').toUpperCase()}\``,
        shown(value),
        description,
      ]),
    ),
    feeds: table(
      ['key of a feed', 'default', 'what it says'],
      listFeedSettings().map(({ path, default: value, description }) => [
        `\`${path}\``,
        shown(value),
        description,
      ]),
    ),
  },
  'docs/errors.md': {
    program: table(
      ['code', 'what it means', 'what to do'],
      Object.entries(PROGRAM_ERRORS).map(([code, { meaning, action }]) => [`\`${code}\``, meaning, action]),
    ),
    local: table(
      ['code', 'what it means'],
      Object.entries(localServerErrors).map(([code, meaning]) => [`\`${code}\``, meaning]),
    ),
    reject: table(
      ['code', 'what it means'],
      Object.entries(REJECT_MEANINGS).map(([code, meaning]) => [`\`${code}\``, meaning]),
    ),
    http: table(
      ['code', 'status', 'what it means'],
      Object.entries(HTTP_PROBLEMS).map(([code, { status, title }]) => [
        `\`${code}\``,
        String(status),
        title,
      ]),
    ),
  },
};

for (const [path, tables] of Object.entries(TABLES)) {
  const file = fileURLToPath(new URL(`../../${path}`, import.meta.url));
  await tap.test(`${path} says what the code does`, async (t) => {
    const before = readFileSync(file, 'utf8');
    let text = before;
    for (const [name, expected] of Object.entries(tables)) {
      const place = new RegExp(`(<!-- table: ${name} -->\n)[^]*?(\n<!-- end -->)`);
      t.match(text, place, `there is a place for the table ${name}`);
      text = text.replace(place, (_, open: string, close: string) => `${open}${expected}${close}`);
    }
    if (process.env['CDRHOUSE_TEST_WRITE_DOCS'] === '1') writeFileSync(file, text);
    else t.equal(before, text);
  });
}

await tap.test('gaps among the numbers of CUCM files', async (t) => {
  const feeds = readFileSync(fileURLToPath(new URL('../../docs/feeds.md', import.meta.url)), 'utf8');
  const [, command] = /<!-- tested: cucm-files -->\n\n```sh\n(.*?)```/s.exec(feeds)!;
  const numbers = {
    '1_202603010900': [1, 2, 3, 5, 9],
    '1_202603011000': [10, 12],
    '2_202603010900': [8, 9, 10],
  };
  const folder = t.testdir();
  for (const [node, of] of Object.entries(numbers))
    for (const number of of) writeFileSync(join(folder, `cdr_Main_${node}_${number}`), '');
  writeFileSync(join(folder, 'cmr_Main_1_202603010900_4'), '');
  const gaps = execFileSync('bash', ['-c', command!], { cwd: folder, encoding: 'utf8' });
  t.equal(gaps, 'Main_1: 4 to 4 missing\nMain_1: 6 to 8 missing\nMain_1: 11 to 11 missing\n');
});
