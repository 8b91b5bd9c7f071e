import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parseString } from 'fast-csv';
import tap from 'tap';
import { readNumber } from '../../query/number-reading.ts';
import { API_ROLES } from '../../schemas/api-key.ts';
import { CallStore, someCalls, storeWithHistory, type StoredCall } from '../query/stored-calls.ts';
import { testServers } from '../test-servers.ts';

/** The examples of docs/api.md as someone pastes them who reads nothing else. */
const servers = testServers(import.meta.url);
const run = promisify(execFile);
// The document's year, moved to one inside the retention term whenever this runs.
const year = new Date().getUTCFullYear() - 1;
const march = [
  Date.parse(`${year}-03-01T00:00:00+01:00`),
  Date.parse(`${year}-04-01T00:00:00+02:00`),
] as const;
const inMarch = ({ startMs }: StoredCall): boolean => startMs >= march[0] && startMs < march[1];
const numbers = readNumber('number', '06 39 98 00 01', 'FR').searched;

const store = new CallStore(tap, servers, 0);
await store.create();
const DAY_MS = 86_400_000;
// The talk of all of them is known, or they would not be billed.
const calls = someCalls(400, march[0] - 3 * DAY_MS, march[1] + 3 * DAY_MS, 11).map((call) =>
  Object.assign(call, { talkMs: call.talkMs ?? 0 }),
);
const stored = await storeWithHistory(store, calls);
// Corrected on 31 March, in the Paris evening that is the same day in UTC; and the evening before.
const [changed, before] = [
  stored.find((call) => inMarch(call) && call.calling === '+33639980002')!,
  stored.find((call) => inMarch(call) && call.calling === '211474')!,
];
const corrected = (at: string): number => (Date.parse(at) / 1000) * 2 ** 32;
await store.store([changed], corrected(`${year}-03-31T00:00:00+02:00`));
await store.store([before], corrected(`${year}-03-30T23:59:59+02:00`));
const url = await store.serve(tap);
const { token } = await store.key(API_ROLES);
const folder = mkdtempSync(join(tmpdir(), 'cdrhouse-docs-'));
tap.teardown(() => rmSync(folder, { recursive: true, force: true }));

/** The script of a block, against the server of this test. */
function moved(script: string): string {
  return script
    .replaceAll('http://127.0.0.1:8080', url)
    .replaceAll(/\b2026-(?=[0-9]{2}\b)/g, `${year}-`)
    .replaceAll(/^curl (?!.*--fail)/gm, 'curl --fail-with-body ');
}

const document = readFileSync(new URL('../../../docs/api.md', import.meta.url), 'utf8');
const examples = [...document.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, code]) => code!);

interface Answer {
  readonly data: readonly Record<string, string>[];
  readonly time_zone: string;
}

/** What each example prints, by its text; in the order of the document, since some use what others wrote. */
const printed = new Map<string, string>();

await tap.test('every example is answered', async (t) => {
  const keys = ['KEY', 'BILLING_KEY', 'PRIVACY_KEY', 'OPERATIONS_KEY'];
  for (const name of keys) t.match(document, new RegExp(`^${name}=\\$\\(npx cdrhouse keys add`, 'm'));
  const environment: Record<string, string | undefined> = { ...process.env };
  for (const name of keys) environment[name] = token;
  for (const example of examples) {
    if (example.includes('npx cdrhouse')) continue;
    const { stdout } = await run('sh', ['-euc', moved(example)], { cwd: folder, env: environment }).catch(
      (error: { stdout: string; message: string }) => {
        throw new Error(`${error.stdout}\n${error.message}`);
      },
    );
    printed.set(example, stdout);
    if (example.includes('-o ') || example.startsWith('python3')) continue;
    const answer = JSON.parse(stdout) as Answer;
    t.ok(answer.data, example);
    if (/time_zone=Europe/.test(example)) t.equal(answer.time_zone, 'Europe/Paris', example);
    if (example.includes('/v1/calls ')) environment['ID'] = answer.data[0]!['id'];
  }
  t.equal(printed.size, 11);
});

/** The one example that has all of these in it. */
function exampleWith(...texts: readonly string[]): string {
  const found = [...printed.keys()].filter((example) => texts.every((text) => example.includes(text)));
  if (found.length !== 1) throw new Error(`${found.length} examples have ${texts.join(', ')}`);
  return found[0]!;
}

const sorted = (texts: readonly string[]): string[] => [...texts].sort();

await tap.test('all calls of a number typed 06 … in March, Paris time, as CSV', async (t) => {
  exampleWith('/v1/calls ', 'format=csv', "'number=06 39 98 00 01'");
  const rows = await new Promise<Record<string, string>[]>((resolve, reject) => {
    const read: Record<string, string>[] = [];
    parseString<Record<string, string>, Record<string, string>>(
      readFileSync(join(folder, 'calls.csv'), 'utf8'),
      {
        headers: true,
      },
    )
      .on('error', reject)
      .on('data', (row: Record<string, string>) => read.push(row))
      .on('end', () => resolve(read));
  });
  const wanted = stored.filter(
    (call) =>
      inMarch(call) && [call.calling, call.displayed, call.dialed].some((number) => numbers.includes(number)),
  );
  t.ok(wanted.length > 50);
  t.strictSame(
    sorted(rows.map((row) => `${Date.parse(row['start']!)} ${row['call_id']}`)),
    sorted(wanted.map(({ startMs, cdrKey }) => `${startMs} call-${cdrKey}`)),
  );
  t.ok(rows.every(({ start }) => /\+0[12]:00$/.test(start!)));
  const python = printed.get(exampleWith('python3'))!;
  t.equal(python.trimEnd().split('\n').length, rows.length);
});

await tap.test("last month's billed minutes per caller at 60/60", async (t) => {
  const { data } = JSON.parse(printed.get(exampleWith('increment=60/60'))!) as Answer;
  const minutes = new Map<string, number>();
  for (const call of stored) {
    if (!inMarch(call) || call.outcome !== 'answered') continue;
    minutes.set(call.calling, (minutes.get(call.calling) ?? 0) + Math.ceil(call.talkMs! / 60_000));
  }
  t.ok(minutes.size > 5);
  t.strictSame(
    new Map(data.map((row) => [row['calling_number']!, Number(row['billed_seconds']) / 60])),
    new Map([...minutes].sort(([a], [b]) => (Buffer.from(a) < Buffer.from(b) ? -1 : 1))),
  );
});

await tap.test('what changed since yesterday', async (t) => {
  exampleWith('stored_since=');
  const lines = readFileSync(join(folder, 'changes.ndjson'), 'utf8').trimEnd().split('\n');
  const { end } = JSON.parse(lines.pop()!) as { end: { rows: number } };
  t.equal(end.rows, lines.length);
  t.strictSame(
    lines.map((line) => (JSON.parse(line) as { call_id: string }).call_id),
    [`call-${changed.cdrKey}`],
  );
});

await tap.test('who looked that number up', async (t) => {
  const { data } = JSON.parse(printed.get(exampleWith('/v1/journal'))!) as Answer;
  // The document comes to the journal behind the calls, and before usage.
  t.strictSame(sorted(data.map(({ route }) => route!)), [
    '/v1/calls',
    '/v1/calls',
    '/v1/calls/search',
    '/v1/calls/{id}',
  ]);
  t.strictSame(new Set(data.map((row) => row['case_id'])), new Set(['2026-117']));
});
