import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import tap from 'tap';
import { FormatTrial, linesOf, type TrialLine, type TrialSummary } from '../../ingest/format-trial.ts';
import { FORMATS } from '../../schemas/formats/index.ts';
import { readFeed } from '../../schemas/feed.ts';
import { checkSettings } from '../../schemas/settings.ts';
import { fixture } from '../cdrhouse-program.ts';
import { FORMAT_CASES } from '../format-cases.ts';

async function read(
  format: string,
  file: string,
  settings: object,
): Promise<{ lines: TrialLine[]; summary: TrialSummary }> {
  const checked = checkSettings({ feeds: [{ name: 'f', format, ...settings }], retention: { months: 600 } });
  const trial = new FormatTrial(readFeed(checked.feeds[0]!), checked, Date.UTC(2026, 10, 24));
  const lines: TrialLine[] = [];
  for await (const line of linesOf(chunksOf(readFileSync(fixture(file))))) lines.push(trial.read(line));
  return { lines, summary: trial.summary() };
}

/** A file as a stream gives it, in pieces that end in mid-line. */
async function* chunksOf(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += 777) yield bytes.subarray(at, at + 777);
}

function inShort({ code, field, position, reason, stored }: TrialLine): string {
  if (code !== undefined) return [code, field, position].join(' ');
  return reason ?? Object.values(stored!).join(' | ').trimEnd();
}

for (const [format, { file, settings, lines }] of Object.entries(FORMAT_CASES)) {
  await tap.test(`${format}: every line of ${file}, all fields`, async (t) => {
    const trial = await read(format, file, settings);
    t.strictSame(trial.lines.map(inShort), lines);
    const { summary } = trial;
    t.equal(summary.lines, summary.stored + summary.rejected + summary.skipped);
    t.strictSame(summary.warnings, []);
  });
}

await tap.test('every format has a fixture, and says what its fields mean', async (t) => {
  // Those of canonical-csv and asterisk-csv have tests of their own: parse-batch.test.ts, asterisk.test.ts.
  const tested = [...Object.keys(FORMAT_CASES), 'canonical-csv', 'asterisk-csv'];
  t.strictSame(FORMATS.map(({ name }) => name).sort(), tested.sort());
  for (const { name, about } of FORMATS)
    t.ok(
      Object.values(about).every((text) => text.length > 3),
      name,
    );
});

await tap.test('a wrong zone is seen by ids that carry an epoch', async (t) => {
  const right = await read('asterisk-csv', 'asterisk-21-columns.csv', { time_zone: 'UTC' });
  t.equal(right.summary.stored, 6);
  t.strictSame(right.summary.warnings, []);
  const wrong = await read('asterisk-csv', 'asterisk-21-columns.csv', { time_zone: 'Europe/Moscow' });
  t.match(wrong.summary.warnings, [
    /The ids fit a zone that was at UTC\+00:00 then, this one was at UTC\+03:00/,
  ]);
  const other = await read('yeastar-json', 'yeastar-json.json', { time_zone: 'UTC' });
  t.match(other.summary.warnings, [/UTC\+08:00 then, this one was at UTC\+00:00/]);
});

await tap.test('fields are shown as sent', async (t) => {
  const { lines } = await read('oracle-acme', 'oracle-acme.csv', FORMAT_CASES['oracle-acme']!.settings);
  t.match(lines[1]!.sent, {
    calling_number: "'WIRELESS CALLER'<sip:33199000001@192.0.2.1:5060;user=phone>;tag=SD1",
    start: '10:00:00.125 PST JAN 02 2026',
    duration: '42',
  });
  t.match(lines[4], { result: 'rejected', sent: { start: '18:00:00.000 CST JAN 02 2026' } });
});

await tap.test('damaged files break nothing: each line is stored, rejected or skipped', async (t) => {
  const damage = fc.record({
    at: fc.nat(9999),
    bytes: fc.oneof(
      fc.constantFrom(
        '"',
        ',',
        '\\',
        '\n',
        '\r\n',
        '\0',
        '\ufeff',
        ' ',
        '{',
        '%',
        '|',
        '-1',
        '9'.repeat(400),
      ),
      fc.string({ unit: 'binary', maxLength: 8 }),
    ),
    removed: fc.nat(30),
  });
  const files: [string, string, object][] = [
    ...Object.entries(FORMAT_CASES).map(([format, { file, settings }]): [string, string, object] => [
      format,
      file,
      settings,
    ]),
    ['asterisk-csv', 'asterisk-21-columns.csv', { country: 'RU' }],
  ];
  for (const [format, file, settings] of files) {
    const whole = readFileSync(fixture(file));
    const checked = checkSettings({
      feeds: [{ name: 'f', format, ...settings }],
      retention: { months: 600 },
    });
    const feed = readFeed(checked.feeds[0]!);
    await fc.assert(
      fc.asyncProperty(fc.array(damage, { minLength: 1, maxLength: 4 }), async (damages) => {
        let bytes = whole;
        for (const { at, bytes: inserted, removed } of damages) {
          const from = at % bytes.length;
          bytes = Buffer.concat([
            bytes.subarray(0, from),
            Buffer.from(inserted, 'latin1'),
            bytes.subarray(from + removed),
          ]);
        }
        const trial = new FormatTrial(feed, checked, Date.UTC(2026, 10, 24));
        for await (const line of linesOf(chunksOf(bytes))) {
          const { stored, result } = trial.read(line);
          if (result !== 'stored') continue;
          if (!(stored!.duration_s >= 0) || !(Date.parse(stored!.start) > 0)) return false;
        }
        const { lines, stored, rejected, skipped } = trial.summary();
        return lines === stored + rejected + skipped;
      }),
      { numRuns: 60 },
    );
    t.pass(format);
  }
});

await tap.test('the command', async (t) => {
  const config = join(
    t.testdir({ 'cdrhouse.yaml': 'feeds: [{ name: avaya, format: avaya-smdr }]\n' }),
    'cdrhouse.yaml',
  );
  const cli = fileURLToPath(new URL('../../cli.js', import.meta.url));
  const run = (...options: string[]) =>
    spawnSync(process.execPath, [cli, 'formats', ...options], {
      env: { ...process.env, CDRHOUSE_CONFIG: config },
      encoding: 'utf8',
      timeout: 30_000,
    });
  const json = run('test', '--json', '--feed', 'avaya', fixture('avaya-smdr.csv'));
  t.equal(json.status, 0, json.stderr);
  const printed = json.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  t.match(printed.at(-1), {
    summary: { feed: 'avaya', format: 'avaya-smdr', lines: 5, stored: 4, rejected: 1 },
  });
  t.match(printed[0], { line: 1, result: 'stored', sent: { duration: '00:00:00 + 9 + 0 + 0' } });
  const text = run('test', '--feed', 'avaya', fixture('avaya-smdr.csv'));
  t.match(text.stdout, /^line 5: rejected \(DURATION_UNREADABLE in duration at byte 20\)$/m);
  t.match(text.stdout, /^ {2}start +2026\/01\/02 09:28:41 {2}-> {2}2026-01-02T09:28:41\.000Z$/m);
  t.match(run('test', '--feed', 'none', 'x'), { status: 2, stderr: /FEED_UNKNOWN/ });
  t.match(run('test', '--feed', 'avaya', '/nowhere'), { status: 1, stderr: /FILE_UNREADABLE/ });
  const { stdout } = run();
  for (const { name } of FORMATS) t.ok(stdout.includes(`${name}\n`), name);
});
