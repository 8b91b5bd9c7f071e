import { parseString } from 'fast-csv';
import { readFileSync } from 'node:fs';
import tap from 'tap';
import { fixture, Installation, until, type Running } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';

/** The main promise: files of a real switch go in by `ship` and are found by every number. */
const servers = testServers(import.meta.url);
const installation = new Installation(
  tap,
  servers,
  0,
  { feeds: [{ name: 'pbx', topic: servers.databases[0], format: 'asterisk-csv', time_zone: 'UTC' }] },
  { CDRHOUSE_RETENTION_MONTHS: '600' },
);
const FILES = ['asterisk-21-columns.csv', 'asterisk-18-columns.csv'];

interface Fields {
  readonly calling_number: string;
  readonly displayed_caller_id: string;
  readonly dialed_number: string;
  readonly start: string;
  readonly duration_s: number;
}

/** The five fields of every line, read with fast-csv: src, number of clid, dst, start, duration. */
async function expectedFields(): Promise<Fields[]> {
  const fields: Fields[] = [];
  for (const file of FILES) {
    const rows = await new Promise<string[][]>((resolve, reject) => {
      const all: string[][] = [];
      parseString<string[], string[]>(readFileSync(fixture(file), 'utf8'))
        .on('data', (row: string[]) => all.push(row))
        .on('error', reject)
        .on('end', () => resolve(all));
    });
    for (const row of rows) {
      fields.push({
        calling_number: row[1]!,
        displayed_caller_id: /<(.*)>$/.exec(row[4]!)?.[1] ?? row[4]!,
        dialed_number: row[2]!,
        start: `${row[9]!}.000`,
        duration_s: Number(row[12]),
      });
    }
  }
  return fields.sort(compare);
}

function compare(a: Fields, b: Fields): number {
  const [x, y] = [JSON.stringify(a), JSON.stringify(b)];
  return x < y ? -1 : x > y ? 1 : 0;
}

async function storedFields(): Promise<Fields[]> {
  const rows = await installation.rows<Fields>(
    `SELECT calling_number, displayed_caller_id, dialed_number, toString(start_at) AS start, duration_ms / 1000 AS duration_s
     FROM {db}.cdr FINAL`,
  );
  return rows.sort(compare);
}

interface Call {
  readonly id: string;
  readonly start: string;
  readonly duration_s: number;
  readonly matched_roles: string[];
}

class Api {
  readonly url: string;
  readonly #token: string;

  constructor(url: string, token: string) {
    this.url = url;
    this.#token = token;
  }

  async get<T>(path: string): Promise<T> {
    const answer = await fetch(`${this.url}${path}`, {
      headers: { authorization: `Bearer ${this.#token}`, 'case-id': 'test-1', purpose: 'dispute' },
    });
    if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
    return (await answer.json()) as T;
  }

  async calls(number: string, role: string): Promise<Call[]> {
    const query = new URLSearchParams({
      number,
      role,
      from: '2005-01-01',
      to: '2026-01-01',
      limit: '1000',
      time_zone: 'UTC',
    });
    return (await this.get<{ data: Call[] }>(`/v1/calls?${query.toString()}`)).data;
  }
}

async function startApi(): Promise<{ api: Api; serving: Running }> {
  const roles = ['--role', 'disputes', 'disputes:unmasked', 'billing'];
  const { token } = await installation.json<{ token: string }>('keys', 'add', ...roles, '--json');
  const serving = installation.start('serve');
  const listening = (): RegExpExecArray | null => /listening on (http:\S+)/.exec(serving.stderr());
  await until('the API listens', () => listening() !== null);
  return { api: new Api(listening()![1]!, token), serving };
}

/** Everything that the API answers about these records, to be compared before and after. */
async function answers(api: Api, expected: readonly Fields[]): Promise<unknown> {
  const numbers = new Set(
    expected.flatMap((f) => [f.calling_number, f.displayed_caller_id, f.dialed_number]),
  );
  numbers.delete('');
  const found: Record<string, unknown> = {};
  for (const number of numbers) {
    for (const role of ['calling', 'displayed', 'dialed'])
      found[`${role} ${number}`] = await api.calls(number, role);
  }
  const usage = await api.get<{ data: unknown; total: unknown }>(
    '/v1/usage?group_by=calling_number,month&from=2005-01-01&to=2026-01-01',
  );
  return { found, usage: [usage.data, usage.total] };
}

await tap.test('every record is stored once, with the five fields of the file', async (t) => {
  await installation.run('migrate');
  const shipped = await installation.json<object>('ship', '--feed', 'pbx', ...FILES.map(fixture));
  const expected = await expectedFields();
  t.match(shipped, { files: 2, skipped_files: 0, lines: expected.length });
  const summary = await installation.json<object>('ingest', '--until-idle');
  t.match(summary, {
    consumed: expected.length,
    stored: expected.length,
    rejected: 0,
    suppressed: 0,
    skipped: 0,
  });
  t.strictSame(await storedFields(), expected);
});

await tap.test(
  'look-ups by calling, displayed and dialed number find it; usage sums its seconds',
  async (t) => {
    const expected = await expectedFields();
    const { api, serving } = await startApi();
    t.teardown(() => serving.child.kill('SIGTERM'));
    const columns = {
      calling: 'calling_number',
      displayed: 'displayed_caller_id',
      dialed: 'dialed_number',
    } as const;
    for (const [role, column] of Object.entries(columns)) {
      for (const number of new Set(expected.map((fields) => fields[column]))) {
        // Console calls have no number, and nothing can be looked up.
        if (number === '') continue;
        const wanted = expected.filter((fields) => fields[column] === number);
        const found = await api.calls(number, role);
        t.equal(found.length, wanted.length, `${role} ${number}`);
        t.strictSame(
          found.map((call) => [call.start.slice(0, 19).replace('T', ' '), call.duration_s].join()).sort(),
          wanted.map(({ start, duration_s }) => [start.slice(0, 19), duration_s].join()).sort(),
        );
      }
    }
    t.ok((await api.calls('211474', 'any')).length > 0, 'a number that is no E.164 number');
    const usage = await api.get<{ total: { records: string; duration_ms: string } }>(
      '/v1/usage?from=2005-01-01&to=2026-01-01',
    );
    const seconds = expected.reduce((sum, { duration_s }) => sum + duration_s, 0);
    t.match(usage.total, { records: String(expected.length), duration_ms: String(seconds * 1000) });
  },
);

await tap.test('shipping the same files again changes no answer', async (t) => {
  const expected = await expectedFields();
  const { api, serving } = await startApi();
  t.teardown(() => serving.child.kill('SIGTERM'));
  const before = await answers(api, expected);
  t.match(
    await installation.json('ship', ...FILES.map(fixture)),
    { files: 0, skipped_files: 2, messages: 0 },
    'sent already',
  );
  t.match(await installation.json('ship', '--again', ...FILES.map(fixture)), { files: 2, skipped_files: 0 });
  t.match(await installation.json('ingest', '--until-idle'), {
    consumed: expected.length,
    stored: expected.length,
  });
  t.strictSame(await answers(api, expected), before);
  t.strictSame(await storedFields(), expected);
  const [physical] = await installation.rows<{ rows: string }>('SELECT count() AS rows FROM {db}.cdr');
  t.ok(Number(physical!.rows) >= expected.length);
});
