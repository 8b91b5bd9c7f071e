import tap from 'tap';
import { Installation } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';

const servers = testServers(import.meta.url);
const installation = new Installation(tap, servers, 0, {
  feeds: [{ name: 'lines', topic: servers.databases[0], format: 'canonical-csv', time_zone: 'Europe/Paris' }],
});

const START = '2026-03-01T10:00:00Z';
const GOOD = Array.from(
  { length: 20 },
  (_, i) => `+331990000${String(i).padStart(2, '0')},anonymous,+33199001000,${START},${i}`,
);

interface Bad {
  readonly line: string | Buffer;
  readonly code: string;
  readonly field: string;
  readonly position: number;
}

const SECRET = '+33199007777';
const BAD: Bad[] = [
  { line: `${SECRET},x,+33199001000,never,5`, code: 'START_UNREADABLE', field: 'start', position: 28 },
  {
    line: `${SECRET},x,+33199001000,${START},-5`,
    code: 'DURATION_UNREADABLE',
    field: 'duration',
    position: 49,
  },
  {
    line: `${SECRET},x,+33199001000,${START},abc`,
    code: 'DURATION_UNREADABLE',
    field: 'duration',
    position: 49,
  },
  {
    line: `${SECRET},x,+33199001000,${START},5000000000`,
    code: 'DURATION_OUT_OF_RANGE',
    field: 'duration',
    position: 49,
  },
  {
    line: `${SECRET},x,+33199001000,${START},5,zz`,
    code: 'DURATION_UNREADABLE',
    field: 'talk_duration',
    position: 51,
  },
  { line: `${SECRET},x,+33199001000,,5`, code: 'FIELD_MISSING', field: 'start', position: 28 },
  { line: `${SECRET},x,+33199001000,${START},`, code: 'FIELD_MISSING', field: 'duration', position: 49 },
  { line: `${SECRET},x,+33199001000,${START}`, code: 'COLUMN_COUNT_WRONG', field: '', position: 0 },
  { line: `${SECRET},"x,+33199001000,${START},5`, code: 'QUOTE_MALFORMED', field: '', position: 13 },
  {
    line: `${SECRET},x,+33199001000,2999-01-01T00:00:00Z,5`,
    code: 'START_IN_FUTURE',
    field: 'start',
    position: 28,
  },
  {
    line: `${SECRET},x,+33199001000,1970-01-01T00:00:00Z,5`,
    code: 'START_IMPLAUSIBLE',
    field: 'start',
    position: 28,
  },
  {
    line: `${SECRET},x,+33199001000,${START},5,5,id,perhaps`,
    code: 'OUTCOME_UNREADABLE',
    field: 'outcome',
    position: 56,
  },
  {
    line: `${SECRET},${'y'.repeat(5000)},+33199001000,${START},5`,
    code: 'FIELD_TOO_LONG',
    field: '',
    position: 13,
  },
  {
    line: Buffer.from([0x00, 0xff, 0xfe, 0x80, 0x2c, 0x01]),
    code: 'COLUMN_COUNT_WRONG',
    field: '',
    position: 0,
  },
];

await tap.test('bad lines among good ones become dead letters, and the summary balances', async (t) => {
  await installation.run('migrate');
  const lines: (string | Buffer)[] = ['calling_number,displayed_caller_id,dialed_number,start,duration', ''];
  GOOD.forEach((good, i) => lines.push(good, ...(BAD[i] === undefined ? [] : [BAD[i].line])));
  // A header in mid-file, an empty line with a carriage return, a record that is past the term, no last newline.
  lines.push('calling_number,displayed_caller_id,dialed_number,start,duration,talk_duration', '\r');
  lines.push(`+33199000099,,+33199001000,2001-01-01T00:00:00Z,5`, `+33199000098,,+33199001000,${START},98`);
  const file = installation.write(
    'mixed.csv',
    Buffer.concat(
      lines.flatMap((line, i) => (i === 0 ? [Buffer.from(line)] : [Buffer.from('\n'), Buffer.from(line)])),
    ),
  );
  await installation.json('ship', file);
  const { code, stdout, stderr } = await installation.run('ingest', '--until-idle');
  t.equal(code, 0);
  const summary = JSON.parse(stdout) as Record<string, number>;
  t.match(summary, {
    consumed: GOOD.length + 1 + BAD.length + 5,
    stored: GOOD.length + 1,
    rejected: BAD.length,
    suppressed: 0,
    skipped: 5,
    skipped_by_reason: { header: 2, empty_line: 2, expired: 1 },
  });
  t.equal(
    summary['consumed'],
    summary['stored']! + summary['rejected']! + summary['suppressed']! + summary['skipped']!,
  );
  t.notMatch(stderr, SECRET, 'no personal data in the log');

  const stored = await installation.rows<{ calling_number: string }>(
    'SELECT calling_number FROM {db}.cdr FINAL ORDER BY calling_number',
  );
  t.strictSame(
    stored.map((row) => row.calling_number),
    [...GOOD.map((line) => line.slice(0, 12)), '+33199000098'],
  );

  const dead = await installation.rows<{
    raw: string;
    code: string;
    field: string;
    position: number;
    line: number;
    feed: string;
  }>('SELECT hex(raw) AS raw, code, field, position, line, feed FROM {db}.dead_letters FINAL ORDER BY line');
  t.strictSame(
    dead.map(({ raw, code: why, field, position }) => ({ raw, code: why, field, position })),
    BAD.map(({ line, code: why, field, position }) => ({
      raw: Buffer.from(line).toString('hex').toUpperCase(),
      code: why,
      field,
      position,
    })),
  );
  t.strictSame(
    dead.map(({ line }) => line),
    BAD.map((_, i) => 4 + 2 * i),
    'the line of the message',
  );
  t.ok(dead.every(({ feed }) => feed === 'lines'));
});

await tap.test('the ledger accounts for every line', async (t) => {
  const [sums] = await installation.rows<Record<string, string>>(
    `SELECT sum(records) AS records, sum(stored) AS stored, sum(rejected) AS rejected, sum(skipped) AS skipped,
       arraySum(mapValues(sumMap(stored_by_hour))) AS by_hour FROM {db}.ingest_ledger FINAL`,
  );
  t.match(sums, {
    records: String(GOOD.length + 1 + BAD.length + 5),
    stored: String(GOOD.length + 1),
    rejected: String(BAD.length),
    skipped: '5',
    by_hour: String(GOOD.length + 1),
  });
});

await tap.test('dead letters can be listed without content, and one shown with its bytes', async (t) => {
  const { stdout } = await installation.run('dead-letters', 'list', '--code', 'START_UNREADABLE', '--json');
  const [listed] = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { place: string });
  t.match(listed, { feed: 'lines', field: 'start', position: 28 });
  t.notMatch(stdout, SECRET);
  t.match(await installation.json('dead-letters', 'show', listed!.place), {
    raw: BAD[0]!.line,
    code: 'START_UNREADABLE',
  });
  t.match(await installation.run('dead-letters', 'show', 'nowhere'), { code: 2, stderr: /USAGE_WRONG/ });
});

/** Codes that `list` gives with these options. */
async function codesOf(...options: string[]): Promise<string[]> {
  const { code, stdout, stderr } = await installation.run('dead-letters', 'list', '--json', ...options);
  if (code !== 0) throw new Error(stderr);
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => (JSON.parse(line) as { code: string }).code)
    .sort();
}

await tap.test(
  'they are chosen by feed, code, state and message time, which ends are half open',
  async (t) => {
    const [times] = await installation.rows<{ first: string; last: string; behind: string }>(
      `SELECT formatDateTime(min(message_at), '%FT%T.%fZ', 'UTC') AS first, formatDateTime(max(message_at), '%FT%T.%fZ', 'UTC') AS last,
       formatDateTime(max(message_at) + INTERVAL 1 MILLISECOND, '%FT%T.%fZ', 'UTC') AS behind FROM {db}.dead_letters`,
    );
    const all = BAD.map(({ code }) => code).sort();
    t.strictSame(await codesOf(), all);
    t.strictSame(await codesOf('--feed', 'lines'), all);
    t.strictSame(await codesOf('--code', 'FIELD_MISSING'), ['FIELD_MISSING', 'FIELD_MISSING']);
    t.strictSame(await codesOf('--state', 'replayed'), []);
    t.strictSame(await codesOf('--from', times!.first, '--to', times!.behind), all);
    t.strictSame(await codesOf('--to', times!.first), []);
    t.ok((await codesOf('--to', times!.last)).length < BAD.length, 'the end is not in');
    t.ok((await codesOf('--from', times!.last)).length > 0, 'the begin is in');
  },
);

await tap.test('they can be counted, and a list that is cut says how many there are', async (t) => {
  const { stdout } = await installation.run('dead-letters', 'list', '--count');
  t.equal(
    stdout.split('\n').filter((line) => line.startsWith('lines  DURATION_UNREADABLE  open  3')).length,
    1,
  );
  const counts = await installation.run(
    'dead-letters',
    'list',
    '--count',
    '--json',
    '--code',
    'FIELD_MISSING',
  );
  t.strictSame(JSON.parse(counts.stdout), { feed: 'lines', code: 'FIELD_MISSING', state: 'open', count: 2 });
  const cut = await installation.run('dead-letters', 'list', '--limit', '5');
  t.equal(cut.stdout.trim().split('\n').length, 5);
  t.match(cut.stderr, `5 of ${BAD.length}`);
  t.equal((await installation.run('dead-letters', 'list', '--limit', String(BAD.length))).stderr, '');
});

await tap.test(
  'an unknown feed, code, state or time is wrong usage, and the allowed ones are named',
  async (t) => {
    for (const command of ['list', 'replay']) {
      t.match(await installation.run('dead-letters', command, '--feed', 'linse'), {
        code: 2,
        stderr: /FEED_UNKNOWN: there is no feed "linse"; there are lines\n/,
      });
      t.match(await installation.run('dead-letters', command, '--code', 'BAD'), {
        code: 2,
        stderr: /COLUMN_COUNT_WRONG/,
      });
      t.match(await installation.run('dead-letters', command, '--from', 'yesterday'), {
        code: 2,
        stderr: /ISO 8601/,
      });
      const backwards = ['--from', '2026-03-02T00:00:00Z', '--to', '2026-03-01T00:00:00Z'];
      t.match(await installation.run('dead-letters', command, ...backwards), { code: 2, stderr: /--from/ });
    }
    t.match(await installation.run('dead-letters', 'list', '--state', 'closed'), {
      code: 2,
      stderr: /superseded/,
    });
    t.match(await installation.run('dead-letters', 'replay', '--place', 'x/0/0'), {
      code: 2,
      stderr: /USAGE_WRONG/,
    });
  },
);

await tap.test('what fails in ClickHouse has its code and says what to do, in every command', async (t) => {
  const commands = [
    ['dead-letters', 'list'],
    ['dead-letters', 'show', 'x/0/0/1'],
    ['dead-letters', 'replay'],
    ['keys', 'list'],
    ['keys', 'add', '--role', 'billing'],
    ['audit'],
  ];
  const failing = async (environment: Record<string, string>, stderr: RegExp): Promise<void> => {
    const before = { ...installation.environment };
    Object.assign(installation.environment, environment);
    for (const command of commands) {
      const ended = await installation.run(...command);
      t.match(ended, { code: 1, stderr }, command.join(' '));
      t.notMatch(ended.stderr, /INTERNAL| at /);
    }
    Object.assign(installation.environment, before);
  };
  await failing(
    { CDRHOUSE_CLICKHOUSE_URL: 'http://127.0.0.1:1' },
    /CLICKHOUSE_UNREACHABLE.*\n.*what to do: start it/,
  );
  await failing(
    { CDRHOUSE_RETENTION_CLICKHOUSE_PASSWORD: 'wrong', CDRHOUSE_INGEST_CLICKHOUSE_PASSWORD: 'wrong' },
    /CLICKHOUSE_REFUSED: ClickHouse: code 516.*\n.*what to do/,
  );
  await failing(
    { CDRHOUSE_CLICKHOUSE_DATABASE: servers.databases[9]! },
    /SCHEMA_MISSING.*\n.*cdrhouse migrate/,
  );
});
