import tap from 'tap';
import { Installation } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';

const servers = testServers(import.meta.url);
const TOPIC = servers.databases[0]!;

interface Summary {
  readonly selected: number;
  readonly stored: number;
  readonly rejected: number;
  readonly rejected_by_code: Readonly<Record<string, number>>;
  readonly skipped: number;
  readonly skipped_by_reason: Readonly<Record<string, number>>;
  readonly left: number;
}

/** Everything but when it was stored. */
const CALL = `hex(calling_number) AS calling, hex(displayed_caller_id) AS displayed, hex(dialed_number) AS dialed, cdr_key,
  toString(start_at) AS start, duration_ms, talk_ms, outcome, account, call_id, feed, source_partition, source_offset, source_line`;

interface Kept {
  readonly cdr: unknown[];
  readonly byNumber: unknown[];
  readonly open: unknown[];
}

async function kept(of: Installation): Promise<Kept> {
  return {
    cdr: await of.rows(`SELECT calling_key, ${CALL} FROM {db}.cdr FINAL ORDER BY ALL`),
    byNumber: await of.rows(`SELECT number_key, role, ${CALL} FROM {db}.cdr_by_number FINAL ORDER BY ALL`),
    open: await of.rows(
      `SELECT hex(raw) AS raw, code, field, position, partition, offset, line, toString(message_at) AS at
       FROM {db}.dead_letters FINAL LEFT JOIN (SELECT * FROM {db}.dead_letter_marks FINAL) AS mark
       USING (topic, topic_id, partition, offset, line) WHERE mark.marked_at < rejected_at ORDER BY ALL`,
    ),
  };
}

function install(index: number, feed: object): Installation {
  return new Installation(tap, servers, index, settings(feed));
}

function settings(feed: object): object {
  return {
    feeds: [{ name: 'moved', topic: TOPIC, identity: 'position', ...feed }],
    kafka: { topic_partitions: 3 },
    ship: { message_bytes_max: 1024 },
  };
}

/** How the switch really writes, which the operator learns late. */
const RIGHT = { format: 'canonical-csv', time_zone: 'Europe/Paris', country: 'FR' };
const WRONG = { format: 'asterisk-csv' };

const START = '2026-03-01 10:00:00';
const GOOD = Array.from(
  { length: 200 },
  (_, i) => `0199${String(i).padStart(6, '0')},,0199001000,${START},${i}`,
);
GOOD.push(
  `0199000001,"say ""so""",0199001000,${START},201,,"id"`,
  `0199000001,0199000002,0199001000,${START},202,,id\r`,
  `0199000001,0199000003,0199001000,2026-03-29 02:30:00,203,200,id,answered,acc`,
);
const LATIN1 = Buffer.from(`0199000001,caf\u00e9,0199001000,${START},204`, 'latin1');
const BAD_FIRST = '0199000001,';
const BAD_AMONG = [`0199000001,,0199001000,never,1`, `0199000001,,0199001000,${START},1,1,id,perhaps`];
const NO_RECORDS = [
  'calling_number,displayed_caller_id,dialed_number,start,duration',
  `0199000001,,0199001000,2001-01-01 00:00:00,5`,
];
const STORED = GOOD.length + 1;
const ALL = STORED + 1 + BAD_AMONG.length + NO_RECORDS.length;

const installation = install(0, WRONG);
/** Has the right settings from the start, and the same identity key: what the replay is to come to. */
const reference = install(1, RIGHT);

async function replay(...options: string[]): Promise<Summary> {
  return installation.json<Summary>('dead-letters', 'replay', '--json', ...options);
}

/** topic/partition/offset/line of a rejected record. */
async function placeOf(raw: string): Promise<string> {
  const [row] = await installation.rows<{ place: string }>(
    `SELECT concat(topic, '/', toString(partition), '/', toString(offset), '/', toString(line)) AS place
     FROM {db}.dead_letters FINAL WHERE raw = '${raw}'`,
  );
  return row!.place;
}

await tap.test('records of a feed with wrong settings are rejected, all of them', async (t) => {
  await installation.run('migrate');
  const lines = [BAD_FIRST, ...NO_RECORDS, ...GOOD.slice(0, 100), ...BAD_AMONG, ...GOOD.slice(100)].map(
    (line) => Buffer.from(line),
  );
  lines.splice(50, 0, LATIN1);
  const file = installation.write(
    'calls.csv',
    Buffer.concat(lines.flatMap((line) => [line, Buffer.from('\r\n')])),
  );
  await installation.json('ship', file);
  t.match(await installation.json('ingest', '--until-idle'), { stored: 0, rejected: ALL });

  await reference.run('migrate');
  await installation.statement(
    `INSERT INTO ${reference.database}.settings SELECT name, value, now64(3) + INTERVAL 1 SECOND
     FROM {db}.settings FINAL WHERE name = 'identity_key'`,
  );
  t.match(await reference.json('ingest', '--until-idle'), { stored: STORED, skipped: 2 });
  t.equal((await kept(reference)).cdr.length, STORED);
});

await tap.test('with the settings as they were a replay changes nothing', async (t) => {
  const rejectedAt = 'SELECT toString(max(rejected_at)) AS at FROM {db}.dead_letters';
  const [before] = await installation.rows(rejectedAt);
  t.match(await replay(), { selected: ALL, stored: 0, rejected: ALL, left: 0 });
  t.strictSame(
    (await installation.rows(rejectedAt))[0],
    before,
    'what is still rejected is not written again',
  );
});

await tap.test('a dry run says what would become of them, and writes nothing', async (t) => {
  installation.write('cdrhouse.yaml', JSON.stringify(settings(RIGHT)));
  const counted = {
    selected: ALL,
    stored: STORED,
    rejected: 3,
    rejected_by_code: { START_UNREADABLE: 1, COLUMN_COUNT_WRONG: 1, OUTCOME_UNREADABLE: 1 },
    skipped: 2,
    skipped_by_reason: { header: 1, expired: 1 },
    left: 0,
  };
  t.match(await replay('--dry-run'), counted);
  const written = await installation.rows(
    'SELECT 1 FROM {db}.cdr UNION ALL SELECT 1 FROM {db}.cdr_by_number UNION ALL SELECT 1 FROM {db}.dead_letter_marks',
  );
  t.equal(written.length, 0);
  const { stdout, stderr } = await installation.run('dead-letters', 'replay', '--dry-run');
  t.strictSame(stdout.trim().split('\n').sort(), [
    'rejected  COLUMN_COUNT_WRONG  1',
    'rejected  OUTCOME_UNREADABLE  1',
    'rejected  START_UNREADABLE  1',
    `selected  ${ALL}`,
    'skipped  expired  1',
    'skipped  header  1',
    `stored  ${STORED}`,
  ]);
  t.match(stderr, 'nothing was written');
});

await tap.test('one alone can be replayed, by its place', async (t) => {
  const place = await placeOf(GOOD[7]!);
  t.match(await replay('--place', place), { selected: 1, stored: 1, left: 0 });
  t.match(await replay('--place', place), { selected: 0, stored: 0 });
  t.match(await installation.json('dead-letters', 'show', place), {
    state: 'replayed',
    replayed_at: /^2/,
    raw: GOOD[7]!,
  });
});

await tap.test('after the replay both tables hold what reading with these settings gives', async (t) => {
  t.match(await replay(), { selected: ALL - 1, stored: STORED - 1, rejected: 3, skipped: 2, left: 0 });
  t.strictSame(await kept(installation), await kept(reference));
});

await tap.test('again, there is nothing but what is still rejected', async (t) => {
  t.match(await replay(), { selected: 3, stored: 0, rejected: 3, skipped: 0 });
  t.match(await replay('--code', 'START_IN_FUTURE'), { selected: 0, stored: 0, rejected: 0 });
  t.strictSame(await kept(installation), await kept(reference));
  const { stdout } = await installation.run('dead-letters', 'list', '--state', 'all', '--count', '--json');
  t.strictSame(
    stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown),
    [
      { feed: 'moved', code: 'COLUMN_COUNT_WRONG', state: 'replayed', count: STORED + 2 },
      ...['COLUMN_COUNT_WRONG', 'OUTCOME_UNREADABLE', 'START_UNREADABLE'].map((code) => ({
        feed: 'moved',
        code,
        state: 'open',
        count: 1,
      })),
    ],
  );
});

await tap.test(
  'the ledger has replays as their own kind, and reading goes on as if there were none',
  async (t) => {
    const kinds = await installation.rows(
      `SELECT kind, sum(ledger.stored) AS stored, sum(ledger.skipped) AS skipped, uniqExact(reading) AS readings
     FROM {db}.ingest_ledger AS ledger FINAL WHERE ledger.stored + ledger.rejected > 0 GROUP BY kind ORDER BY kind`,
    );
    t.match(kinds, [
      { kind: 'read', stored: '0', skipped: '0', readings: '1' },
      { kind: 'replay', stored: String(STORED), skipped: '2' },
    ]);
    installation.write('cdrhouse.yaml', JSON.stringify(settings(WRONG)));
    t.match(await replay('--place', await placeOf(BAD_FIRST)), { selected: 1, rejected: 1 });
    const behind = await installation.rows(
      `SELECT partition, argMaxIf(next_offset, generation, kind = 'replay') AS replayed, maxIf(next_offset, kind = 'read') AS read
       FROM {db}.ingest_ledger GROUP BY partition HAVING replayed < read`,
    );
    t.ok(
      behind.length > 0,
      'there is a partition whose newest ledger row, a replay, ends before the place where reading stands',
    );
    // The group may still count the ingest that has just ended as a member; the readings are looked at before.
    const rewind = await installation.run(
      'ingest',
      'rewind',
      '--topic',
      TOPIC,
      '--to-offset',
      '0',
      '--dry-run',
    );
    t.match(rewind.stderr, /GROUP_BUSY|would be read again/, 'it is the reading of then that counts');
    installation.write('cdrhouse.yaml', JSON.stringify(settings(RIGHT)));
    const file = installation.write('more.csv', `0199000001,,0199001000,${START},900\n`);
    await installation.json('ship', file);
    t.match(await installation.json('ingest', '--until-idle'), { consumed: 1, stored: 1 });
    t.match(await reference.json('ingest', '--until-idle'), { consumed: 1, stored: 1 });
    t.strictSame(await kept(installation), await kept(reference));
  },
);

await tap.test('the audit explains what was replayed', async (t) => {
  const { code, stdout } = await installation.run('audit', '--strict', '--json');
  t.equal(code, 0, stdout);
  t.match(JSON.parse(stdout), { accepted: 1, found: 1, elsewhere: 0, replayed: STORED, differences: [] });
});

await tap.test(
  'a call that a correction deleted, and that was rejected again, can be replayed',
  async (t) => {
    const correction = 5;
    const place = `(source_partition, source_offset, source_line) IN
      (SELECT partition, offset, line FROM {db}.dead_letters WHERE raw = '${GOOD[7]!}')`;
    await installation.statement(
      `INSERT INTO {db}.ingest_ledger (cluster_id, topic, topic_id, partition, generation, from_offset, next_offset, feed, correction)
     SELECT any(cluster_id), topic, topic_id, partition, max(generation) + 1, max(next_offset) AS end, end, any(feed), ${correction}
     FROM {db}.ingest_ledger WHERE kind = 'read' GROUP BY topic, topic_id, partition`,
    );
    for (const table of ['cdr', 'cdr_by_number']) {
      await installation.statement(
        `INSERT INTO {db}.${table} SELECT * REPLACE (bitShiftLeft(toUInt64(${correction}), 32) AS version, 1 AS is_deleted)
       FROM {db}.${table} FINAL WHERE ${place}`,
      );
    }
    t.equal((await kept(installation)).cdr.length, STORED, 'one is gone');
    await installation.statement(
      `INSERT INTO {db}.dead_letter_marks (topic, topic_id, partition, offset, line, state, message_at, marked_at)
     SELECT topic, topic_id, partition, offset, line, 'superseded', message_at, rejected_at + 1
     FROM {db}.dead_letters FINAL WHERE raw = '${GOOD[7]!}'`,
    );
    await installation.statement(
      `INSERT INTO {db}.dead_letters SELECT * REPLACE (rejected_at + 1 AS rejected_at)
     FROM {db}.dead_letters FINAL WHERE raw = '${GOOD[7]!}'`,
    );
    t.match(await replay('--code', 'COLUMN_COUNT_WRONG'), { selected: 2, stored: 1, rejected: 1 });
    t.strictSame(await kept(installation), await kept(reference));
  },
);

await tap.test('the audit still sees a call too many', async (t) => {
  // A call at a place where nothing was rejected.
  await installation.statement(
    `INSERT INTO {db}.cdr SELECT * REPLACE (999 AS source_line, 1 AS cdr_key) FROM {db}.cdr FINAL LIMIT 1`,
  );
  await installation.statement(
    `INSERT INTO {db}.cdr_by_number SELECT * REPLACE (999 AS source_line, 1 AS cdr_key)
     FROM {db}.cdr_by_number FINAL WHERE role = 'dialed' AND (source_partition, source_offset) IN
       (SELECT source_partition, source_offset FROM {db}.cdr WHERE source_line = 999) LIMIT 1`,
  );
  const { code, stdout } = await installation.run('audit', '--json');
  t.equal(code, 1);
  t.match(JSON.parse(stdout), { differences: [{ fault: 'too_many' }] });
});

await tap.test(
  'a mark of reading again closes what was not rejected then; an equal second is open',
  async (t) => {
    const mark = async (markedAt: string): Promise<void> =>
      installation.statement(
        `INSERT INTO {db}.dead_letter_marks (topic, topic_id, partition, offset, line, state, message_at, marked_at)
       SELECT topic, topic_id, partition, offset, line, 'superseded', message_at, ${markedAt}
       FROM {db}.dead_letters FINAL WHERE code = 'START_UNREADABLE'`,
      );
    const states = async (): Promise<unknown> =>
      (await installation.run('dead-letters', 'list', '--code', 'START_UNREADABLE', '--state', 'superseded'))
        .stdout;
    await mark('rejected_at');
    t.equal(await states(), '');
    t.match(await replay('--code', 'START_UNREADABLE'), { selected: 1 });
    await mark('rejected_at + 1');
    t.match(await states(), /START_UNREADABLE.*superseded/);
    t.match(await replay('--code', 'START_UNREADABLE'), { selected: 0 });
    const { stdout } = await installation.run('audit', '--json');
    const { differences } = JSON.parse(stdout) as { differences: { fault: string }[] };
    t.ok(
      differences.some(({ fault }) => fault === 'dead_letters_differ'),
      'a letter that is superseded is no longer counted',
    );
  },
);

await tap.test('letters of a topic that no feed reads any more are left', async (t) => {
  installation.write(
    'cdrhouse.yaml',
    JSON.stringify({ feeds: [{ name: 'other', topic: servers.databases[2] }] }),
  );
  const { code, stdout, stderr } = await installation.run(
    'dead-letters',
    'replay',
    '--json',
    '--feed',
    'moved',
  );
  t.equal(code, 0);
  t.match(JSON.parse(stdout), { selected: 2, left: 2 });
  t.match(stderr, 'no feed reads this topic');
});
