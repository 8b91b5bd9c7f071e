import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import tap from 'tap';
import { HTTP_PROBLEMS, PROGRAM_ERRORS, REJECT_MEANINGS } from '../schemas/errors.ts';
import { listFeedSettings, listSettings } from '../schemas/settings.ts';

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

const TABLES: Record<string, Record<string, string>> = {
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
