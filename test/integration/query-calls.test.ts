import tap from 'tap';
import { Installation, until, untilEnded } from '../cdrhouse-program.ts';
import { callsOfManySql, callsSql, matchedSql, type CallsFilter } from '../../query/calls-sql.ts';
import { CallsTogether } from '../../query/calls-together.ts';
import { QueryDatabase, settingsOfReads } from '../../query/clickhouse.ts';
import { liveRowSql, relatedRowsSql, rowsOfPlaceSql, type StoredRow } from '../../query/evidence-sql.ts';
import { CallStore, NUMBERS as STORED_NUMBERS, numberKey, someCalls } from '../query/stored-calls.ts';
import { seeded } from '../seeded.ts';
import { testServers } from '../test-servers.ts';
import { addKey, CallsClient, serve, type CallsTold, type Told } from './calls-client.ts';

/**
 * Searches over HTTP for calls that were shipped to Kafka and ingested, compared with what this file reckons from the
 * lines themselves.
 */
const servers = testServers(import.meta.url);
const topic = (feed: string): string => `${servers.databases[0]}.${feed}`;
const installation = new Installation(tap, servers, 0, {
  feeds: [
    { name: 'paris', topic: topic('paris'), country: 'FR', time_zone: 'Europe/Paris' },
    { name: 'raw', topic: topic('raw'), time_zone: 'Europe/Paris' },
  ],
  kafka: { topic_partitions: 2 },
  ship: { message_bytes_max: 2048 },
  query: { default_country: 'FR', time_zone: 'Europe/Paris', range_days_max: 400, limit_max: 500 },
});

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const ROLES = ['calling', 'displayed', 'dialed'] as const;
const OUTCOMES = ['answered', 'no_answer', 'busy', 'unknown'];
const year = new Date().getUTCFullYear() - 1;
// Over the begin of summer time and two ends of months.
const FROM = Date.UTC(year, 2, 25);
const TO = Date.UTC(year, 4, 2);
const WHOLE = { from: new Date(FROM).toISOString(), to: new Date(TO).toISOString() };

/** As a switch sends it, and as it is searched. */
const NUMBERS = ['0199000001', '0199000002', '+33199000003', '0033199000004', '1002', '*72'];

interface Sent {
  readonly id: string;
  readonly feed: 'paris' | 'raw';
  readonly numbers: Readonly<Record<(typeof ROLES)[number], string>>;
  readonly startMs: number;
  readonly duration: string;
  readonly talk: string;
  readonly outcome: string;
}

/** Independent of the programs: what a feed of France makes of the numbers above. */
function storedNumber(feed: string, sent: string): string {
  if (feed === 'raw') return sent;
  if (sent.startsWith('00')) return `+${sent.slice(2)}`;
  return sent.length === 10 && sent.startsWith('0') ? `+33${sent.slice(1)}` : sent;
}

/** What a search of a number as typed looks for. */
function searched(typed: string): string[] {
  return [typed, storedNumber('paris', typed)];
}

const random = seeded(7);
const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)]!;

function someSent(count: number, fromMs: number, toMs: number, prefix: string): Sent[] {
  return Array.from({ length: count }, (_, index) => {
    const calling = pick(NUMBERS);
    return {
      id: `${prefix}-${index}`,
      feed: pick(['paris', 'raw'] as const),
      numbers: { calling, displayed: random() < 0.6 ? calling : pick(NUMBERS), dialed: pick(NUMBERS) },
      // A coarse grid, so that starts collide.
      startMs: fromMs + Math.floor((random() * (toMs - fromMs)) / HOUR_MS) * HOUR_MS,
      duration: (Math.floor(random() * 200_000) / 1000).toFixed(3),
      talk: random() < 0.3 ? '' : String(Math.floor(random() * 100)),
      outcome: pick(OUTCOMES),
    };
  });
}

function lineOf({ numbers, startMs, duration, talk, id, outcome }: Sent): string {
  const start = new Date(startMs).toISOString();
  return `${numbers.calling},${numbers.displayed},${numbers.dialed},${start},${duration},${talk},${id},${outcome}`;
}

let files = 0;
async function ship(sent: readonly Sent[], ...bad: string[]): Promise<void> {
  for (const feed of ['paris', 'raw'] as const) {
    const lines = sent.filter((call) => call.feed === feed).map(lineOf);
    if (feed === 'raw') lines.push(...bad);
    if (lines.length === 0) continue;
    const file = installation.write(`${files++}.csv`, `${lines.join('\n')}\n`);
    await installation.json('ship', '--feed', feed, file);
  }
}

const all = someSent(500, FROM, TO, 'c');
// Found without naming a range, and not found so any more.
const now = Date.now();
const recent = { ...all[0]!, id: 'recent', startMs: now - 29 * DAY_MS };
const older = { ...all[0]!, id: 'older', startMs: now - 31 * DAY_MS };

await installation.run('migrate');
// What comes again stays beside what was there.
for (const table of ['cdr', 'cdr_by_number'])
  await installation.statement(`SYSTEM STOP MERGES {db}.${table}`);
await ship([...all.slice(0, 350), recent, older], '0199000001,,1002,never,5');
await installation.json('ingest', '--until-idle');
await ship([...all.slice(350), ...all.slice(0, 200)]);
await installation.json('ingest', '--until-idle');

const url = await serve(tap, installation);
const client = new CallsClient(
  url,
  await addKey(installation, 'disputes', 'disputes:unmasked', 'disputes:prefix'),
);

interface Filter {
  readonly number: string;
  readonly roles: readonly (typeof ROLES)[number][];
  readonly other?: string;
  readonly min?: number;
  readonly max?: number;
  readonly outcomes?: readonly string[];
  readonly feeds?: readonly string[];
}

function rolesOf({ feed, numbers }: Sent, { number, roles, other }: Filter): string[] {
  const stands = (role: (typeof ROLES)[number], typed: string): boolean =>
    searched(typed).includes(storedNumber(feed, numbers[role]));
  const isOther = (role: (typeof ROLES)[number]): boolean =>
    other === undefined ||
    (role === 'dialed' ? stands('calling', other) || stands('displayed', other) : stands('dialed', other));
  const found = roles.some((role) => stands(role, number) && isOther(role));
  return found ? roles.filter((role) => stands(role, number)) : [];
}

/** Ids of the calls that the filter has, with their roles, in no order. */
function expected(filter: Filter, calls: readonly Sent[] = all): Map<string, Sent> {
  const { min = 0, max = Infinity, outcomes = OUTCOMES, feeds = ['paris', 'raw'] } = filter;
  const found = calls.filter(
    (call) =>
      Number(call.duration) >= min &&
      Number(call.duration) <= max &&
      outcomes.includes(call.outcome) &&
      feeds.includes(call.feed) &&
      rolesOf(call, filter).length > 0,
  );
  return new Map(found.map((call) => [call.id, call]));
}

/** As the parameters of a body; a URL has the same as text. */
function parametersOf(filter: Filter): Record<string, string | number> {
  const { number, roles, other, min, max, outcomes, feeds } = filter;
  return {
    number,
    role: roles.join(','),
    ...(other === undefined ? {} : { other_number: other }),
    ...(min === undefined ? {} : { min_duration: min }),
    ...(max === undefined ? {} : { max_duration: max }),
    ...(outcomes === undefined ? {} : { outcome: outcomes.join(',') }),
    ...(feeds === undefined ? {} : { feed: feeds.join(',') }),
  };
}

const asTexts = (parameters: Record<string, string | number>): Record<string, string> =>
  Object.fromEntries(Object.entries(parameters).map(([name, value]) => [name, String(value)]));

/** All pages of a search. */
async function pages(parameters: Record<string, string>): Promise<CallsTold[]> {
  const told: CallsTold[] = [];
  let cursor: string | null = null;
  do {
    const asked: Record<string, string> = { ...parameters, ...(cursor === null ? {} : { cursor }) };
    const { status, body } = await client.get('/v1/calls', asked);
    if (status !== 200) throw new Error(`${status} ${body.code} ${body.detail}`);
    told.push(body);
    cursor = body.next_cursor;
    if (told.length > 1000) throw new Error('pages without end');
  } while (cursor !== null);
  return told;
}

/** Sum of seconds, in ms. */
function ms(texts: readonly string[]): number {
  return texts.reduce((sum, text) => sum + Math.round(Number(text) * 1000), 0);
}

function sumsOf(calls: Iterable<Sent>): object {
  const list = [...calls];
  const durationMs = ms(list.map(({ duration }) => duration));
  const talkMs = ms(list.map(({ talk }) => talk));
  return {
    calls: String(list.length),
    duration_ms: String(durationMs),
    talk_ms: String(talkMs),
    missing_talk: String(list.filter(({ talk }) => talk === '').length),
    duration_s: durationMs / 1000,
    talk_s: talkMs / 1000,
  };
}

function someFilter(): Filter {
  const maybe = <T>(value: T): T | undefined => (random() < 0.3 ? value : undefined);
  const roles = ROLES.filter(() => random() < 0.6);
  const filter = {
    number: pick(NUMBERS),
    roles: roles.length === 0 ? [...ROLES] : roles,
    other: random() < 0.4 ? pick(NUMBERS) : undefined,
    min: maybe(50.5),
    max: maybe(150),
    outcomes: maybe(['answered', 'busy']),
    feeds: maybe([pick(['paris', 'raw'])]),
  };
  return Object.fromEntries(
    Object.entries(filter).filter(([, value]) => value !== undefined),
  ) as unknown as Filter;
}

await tap.test('the tables hold what they should: several parts, and rows that came twice', async (t) => {
  for (const table of ['cdr', 'cdr_by_number']) {
    const [counts] = await installation.rows<{ rows: string; parts: string }>(
      `SELECT count() AS rows, uniqExact(_part) AS parts FROM {db}.${table}`,
    );
    t.ok(Number(counts!.parts) > 4);
    const [read] = await installation.rows<{ rows: string }>(
      `SELECT count() AS rows FROM {db}.${table} FINAL`,
    );
    t.ok(Number(read!.rows) < Number(counts!.rows), table);
  }
});

await tap.test(
  'every filter gives what the lines say, on one page and on many, by GET and by POST',
  async (t) => {
    let found = 0;
    for (let round = 0; round < 40; round++) {
      const filter = someFilter();
      const wanted = expected(filter);
      const what = JSON.stringify(filter);
      found += wanted.size;
      const parameters = { ...parametersOf(filter), ...WHOLE };
      const [whole] = await pages({ ...asTexts(parameters), limit: '500' });
      t.strictSame(whole!.data.map(({ call_id }) => call_id).sort(), [...wanted.keys()].sort(), what);
      for (const call of whole!.data)
        t.strictSame(call.matched_roles, rolesOf(wanted.get(call.call_id)!, filter), what);
      t.strictSame(whole!.matched, sumsOf(wanted.values()), what);
      const starts = whole!.data.map(({ start }) => Date.parse(start));
      t.strictSame(
        starts,
        [...starts].sort((a, b) => b - a),
        'newest first',
      );
      const posted = await client.post('/v1/calls/search', { ...parameters, limit: 500 });
      t.strictSame(posted, { status: 200, body: whole! }, 'the same by POST');
      if (round % 6 !== 0) continue;
      const many = await pages({ ...asTexts(parameters), limit: '3' });
      t.strictSame(
        many.flatMap(({ data }) => data),
        whole!.data,
        'the same in pages',
      );
      for (const page of many) t.strictSame(page.matched, whole!.matched, 'the same on each page');
    }
    t.ok(found > 300, 'the filters are not too narrow to say anything');
  },
);

await tap.test('searches at the same time give what each gives alone', async (t) => {
  let found = 0;
  for (let round = 0; round < 6; round++) {
    // Some alike, since only those share a statement.
    const shapes = Array.from({ length: 3 }, someFilter);
    const questions = Array.from({ length: 30 }, () => {
      const from = FROM + Math.floor(random() * 20) * DAY_MS;
      const to = from + Math.ceil(random() * 20) * DAY_MS;
      return asTexts({
        ...parametersOf({ ...pick(shapes), number: pick(NUMBERS) }),
        from: new Date(from).toISOString(),
        to: new Date(to).toISOString(),
        limit: pick([3, 500]),
      });
    });
    const alone: object[] = [];
    for (const question of questions) alone.push(answered(await client.get('/v1/calls', question)));
    const together = await Promise.all(questions.map(async (question) => client.get('/v1/calls', question)));
    t.strictSame(together.map(answered), alone);
    found += together.reduce((sum, { body }) => sum + body.data.length, 0);
  }
  t.ok(found > 300, 'the questions are not too narrow to say anything');
});

/** What does not depend on when it was asked, but for the time in the seal of a cursor. */
function answered({ status, body }: Told<CallsTold>): object {
  return { status, body: { ...body, next_cursor: body.next_cursor !== null, complete: undefined } };
}

await tap.test('did A call B', async (t) => {
  const a = '01 99 00 00 01';
  const ask = async (parameters: Record<string, string>): Promise<CallsTold> =>
    (await client.get('/v1/calls', { number: a, ...WHOLE, limit: '500', ...parameters })).body;
  const both = await ask({ other_number: '+33 1 99 00 00 02' });
  t.ok(both.data.some((call) => call.calling_number.endsWith('199000002')));
  t.ok(both.data.some((call) => call.dialed_number.endsWith('199000002')));
  const called = await ask({ other_number: '+33 1 99 00 00 02', role: 'calling' });
  t.ok(called.data.length > 0 && called.data.length < both.data.length);
  for (const call of called.data)
    t.match([call.calling_number, call.dialed_number], [/199000001$/, /199000002$/]);
  t.match(both, { other_number: { as_typed: '+33 1 99 00 00 02', e164: '+33199000002' } });
  t.match(await ask({ other_number: '+33199*' }), { code: 'PARAMETER_INVALID', detail: /^other_number/ });
});

await tap.test('what is searched for together is shown; all else is masked', async (t) => {
  const plain = new CallsClient(url, await addKey(installation, 'disputes'));
  const parameters = {
    number: '0199000001',
    other_number: '0199000002',
    ...WHOLE,
    role: 'calling',
    feed: 'paris',
  };
  const { body } = await plain.get('/v1/calls', parameters);
  t.ok(body.data.length > 0);
  for (const call of body.data) {
    t.match([call.calling_number, call.dialed_number], ['+33199000001', '+33199000002']);
    if (!/00000[12]$/.test(call.displayed_caller_id)) t.match(call.displayed_caller_id, /\*\*\*\*$/);
  }
  const { body: alone } = await plain.get('/v1/calls', {
    ...WHOLE,
    number: '0199000001',
    role: 'calling',
    feed: 'paris',
  });
  t.ok(alone.data.some(({ dialed_number }) => dialed_number.endsWith('****')));
});

await tap.test('without a range: the last 30 days', async (t) => {
  const { body } = await client.get('/v1/calls', { number: recent.numbers.calling, role: 'calling' });
  t.strictSame(
    body.data.map(({ call_id }) => call_id),
    ['recent'],
  );
  t.equal(Date.parse(body.to) - Date.parse(body.from), 30 * DAY_MS);
  t.ok(Math.abs(Date.parse(body.to) - Date.now()) < 60_000);
});

/** The last one of a month. */
function sunday(month: number): string {
  const last = new Date(Date.UTC(year, month + 1, 0));
  return new Date(last.getTime() - last.getUTCDay() * DAY_MS).toISOString().slice(0, 10);
}

await tap.test('local days are 23 and 25 hours long where the clocks change', async (t) => {
  for (const [day, hours] of [
    [sunday(2), 23],
    [sunday(9), 25],
  ] as const) {
    const next = new Date(Date.parse(day) + DAY_MS).toISOString().slice(0, 10);
    const { body } = await client.post('/v1/calls/search', { number: '1002', from: day, to: next });
    t.equal(Date.parse(body.to) - Date.parse(body.from), hours * HOUR_MS, day);
    const wanted = expected(
      { number: '1002', roles: ROLES },
      all.filter(({ startMs }) => startMs >= Date.parse(body.from) && startMs < Date.parse(body.to)),
    );
    t.strictSame(body.data.map(({ call_id }) => call_id).sort(), [...wanted.keys()].sort(), day);
    for (const { start } of body.data) t.match(start, /\.000\+0[12]:00$/);
  }
});

await tap.test('how complete the answer is', async (t) => {
  const { body } = await client.get('/v1/calls', { number: '1002', ...WHOLE });
  t.match(body.complete, {
    feeds: {
      paris: { read_up_to: /T.*\+0[12]:00$/, gaps: 0, rejected: 0 },
      raw: { read_up_to: /T/, gaps: 0, rejected: 1 },
    },
    kept_since: null,
  });
  t.equal(body.withheld, 0);
  const one = await client.get('/v1/calls', { number: '1002', feed: 'paris' });
  t.strictSame(Object.keys(one.body.complete.feeds), ['paris']);
  const border = Date.now() - 3 * 365.25 * DAY_MS;
  const old = await client.get('/v1/calls', {
    number: '1002',
    from: new Date(border - 100 * DAY_MS).toISOString(),
    to: new Date(border + 100 * DAY_MS).toISOString(),
  });
  const kept = Date.parse(old.body.complete.kept_since ?? '');
  t.ok(Math.abs(kept - border) < 3 * DAY_MS, 'what is not kept any more is said');
  const [partition] = await installation.rows<{ topic: string }>(
    `SELECT topic FROM {db}.ingest_state WHERE topic = '${topic('paris')}' LIMIT 1`,
  );
  await installation.statement(
    `INSERT INTO {db}.ingest_state (instance, topic, partition, state, updated_at)
     VALUES ('gone', '${partition?.topic ?? topic('paris')}', 77, 'gap', now64(3))`,
  );
  await until('the gap is told, within seconds', async () => {
    const { complete } = (await client.get('/v1/calls', { number: '1002' })).body;
    return complete.feeds['paris']?.gaps === 1 && complete.feeds['raw']?.gaps === 0;
  });
});

await tap.test('what cannot be meant is refused, never ignored or cut', async (t) => {
  const cases: [Record<string, string>, string, RegExp][] = [
    [{ limit: '501' }, 'PARAMETER_INVALID', /^limit/],
    [{ from: `${year - 1}-01-01`, to: `${year}-06-01` }, 'RANGE_INVALID', /400 days/],
    [{ feed: 'nowhere' }, 'PARAMETER_INVALID', /^feed/],
    [{ feed: 'paris,nowhere' }, 'PARAMETER_INVALID', /^feed/],
    [{ outcome: 'lost' }, 'PARAMETER_INVALID', /^outcome/],
    [{ min_duration: '-1' }, 'PARAMETER_INVALID', /^min_duration/],
    [{ min_duration: 'long' }, 'PARAMETER_INVALID', /^min_duration/],
    [{ min_duration: '1.0005' }, 'PARAMETER_INVALID', /three decimals/],
    [{ min_duration: '9', max_duration: '8.999' }, 'PARAMETER_INVALID', /^min_duration/],
    [{ max_duration: '4294967.296' }, 'PARAMETER_INVALID', /^max_duration/],
    [{ other_number: '' }, 'PARAMETER_INVALID', /^other_number/],
    [{ durationmin: '1' }, 'PARAMETER_UNKNOWN', /^durationmin/],
  ];
  for (const [more, code, detail] of cases) {
    const { status, body } = await client.get('/v1/calls', { number: '1002', ...more });
    t.match({ status, body }, { status: 400, body: { code, detail } }, JSON.stringify(more));
    const posted = await client.post('/v1/calls/search', { number: '1002', ...more });
    t.equal(posted.status, 400, `POST ${JSON.stringify(more)}`);
  }
  const bodies: [unknown, string][] = [
    ['{', 'BODY_INVALID'],
    ['', 'BODY_INVALID'],
    ['[]', 'BODY_INVALID'],
    ['null', 'BODY_INVALID'],
    [{}, 'PARAMETER_MISSING'],
    [{ number: 1002 }, 'PARAMETER_INVALID'],
    [{ number: '1002', max_duration: null }, 'PARAMETER_INVALID'],
    [{ number: '1002', limit: '5' }, 'PARAMETER_INVALID'],
    [{ number: '1002', cursor: 'x' }, 'CURSOR_INVALID'],
    [{ number: '1002', numbr: '1' }, 'PARAMETER_UNKNOWN'],
  ];
  for (const [body, code] of bodies) {
    const told = await client.post('/v1/calls/search', body);
    t.match(told, { status: 400, body: { code } }, JSON.stringify(body));
  }
});

await tap.test('a cursor belongs to its filter, whichever way it is sent', async (t) => {
  const base = { number: '0199000001', ...WHOLE };
  const { body } = await client.get('/v1/calls', { ...base, limit: '2' });
  const cursor = body.next_cursor!;
  const next = await client.post('/v1/calls/search', { ...base, limit: 2, cursor });
  t.equal(next.status, 200);
  for (const other of [
    { other_number: '1002' },
    { min_duration: 1 },
    { max_duration: 1 },
    { outcome: 'busy' },
    { feed: 'paris' },
    { role: 'dialed' },
  ])
    t.match(await client.post('/v1/calls/search', { ...base, cursor, ...other }), {
      body: { code: 'CURSOR_INVALID' },
    });
});

await tap.test('both routes write the journal, and no number', async (t) => {
  const token = await addKey(installation, 'disputes');
  const other = new CallsClient(url, token);
  await other.post('/v1/calls/search', {
    number: '0199000001',
    other_number: '1002',
    ...WHOLE,
    limit: 5,
    outcome: 'busy',
  });
  await untilEnded((query) => installation.rows(query), '{db}');
  const rows = await installation.rows<{ route: string; phase: string; filter: string; hmacs: string }>(
    `SELECT route, phase, any(filter) AS filter, uniqExact(number_hmac) AS hmacs FROM {db}.lookup_journal
     WHERE key_id = '${token.split('_')[1]!}' GROUP BY route, phase ORDER BY phase`,
  );
  t.match(rows, [
    { route: '/v1/calls/search', phase: 'started', hmacs: '3' },
    { route: '/v1/calls/search', phase: 'finished', hmacs: '3' },
  ]);
  t.match(JSON.parse(rows[0]!.filter), {
    other_number: true,
    outcome: ['busy'],
    format: 'json',
    limit: 5,
    first_page: true,
  });
  t.notMatch(rows[0]!.filter, /199000001|1002/);
  await other.text('/v1/calls', { number: '0199000001', ...WHOLE, format: 'csv' });
  const [exported] = await installation.rows<{ filter: string }>(
    `SELECT any(filter) AS filter FROM {db}.lookup_journal WHERE key_id = '${token.split('_')[1]!}' AND route = '/v1/calls'`,
  );
  const { format, ...asked } = JSON.parse(exported!.filter) as Record<string, unknown>;
  t.equal(format, 'csv', 'all rows were asked for');
  t.notOk('limit' in asked || 'first_page' in asked, 'and no page');
});

await tap.test(
  'paging while ingest runs: stored before, exactly once; stored later, at most once',
  async (t) => {
    const ingest = installation.start('ingest');
    const shipping = new AbortController();
    const sending = (async () => {
      for (let round = 0; !shipping.signal.aborted && round < 200; round++)
        // Before, among and after the pages that are read.
        await ship(someSent(40, FROM, TO, `late${round}`));
    })();
    try {
      const known = new Set(all.map(({ id }) => id));
      let arrived = 0;
      const deadline = Date.now() + 90_000;
      while (arrived < 3 && Date.now() < deadline) {
        const number = pick(NUMBERS);
        const parameters = { number, ...WHOLE, limit: String(20 + Math.floor(random() * 30)) };
        const before = await storedOf(number);
        const got = (await pages(parameters)).flatMap(({ data }) => data);
        const ids = got.map(({ id }) => id);
        t.equal(new Set(ids).size, ids.length, 'none twice');
        const callIds = new Set(got.map(({ call_id }) => call_id));
        t.strictSame(
          before.filter((id) => !callIds.has(id)),
          [],
          'none is missing that was there',
        );
        if ([...(await storedOf(number))].length > before.length) arrived++;
        for (const id of before) known.add(id);
      }
      t.ok(known.size > all.length, 'calls came while pages were read');
      t.ok(arrived > 0, 'also between two pages of one search');
    } finally {
      shipping.abort();
      await sending;
      ingest.child.kill('SIGTERM');
      await ingest.ended;
    }
  },
);

/** Ids of the calls that the tables have of a number now, found by reading all. */
async function storedOf(number: string): Promise<string[]> {
  const texts = searched(number).map((text) => `'${text}'`);
  const rows = await installation.rows<{ call_id: string }>(
    `SELECT call_id FROM {db}.cdr FINAL WHERE start_at >= toDateTime64('${WHOLE.from.slice(0, 19)}', 3, 'UTC')
       AND start_at < toDateTime64('${WHOLE.to.slice(0, 19)}', 3, 'UTC')
       AND (calling_number IN (${texts.join()}) OR displayed_caller_id IN (${texts.join()}) OR dialed_number IN (${texts.join()}))
       AND (call_id) IN (SELECT call_id FROM {db}.cdr_by_number)`,
  );
  return rows.map(({ call_id }) => call_id);
}

await tap.test('two numbers under one id, in one moment: both calls, on whatever page', async (t) => {
  const store = new CallStore(t, servers, 2);
  await store.create();
  const call = {
    cdrKey: '77',
    startMs: FROM,
    calling: '+33199000001',
    displayed: '+33199000001',
    dialed: '+33199000002',
    durationMs: 1000,
    talkMs: null,
    outcome: 'answered',
    feed: 'alpha',
  };
  const [calling, displayed] = ['+33199000002', '+33199000002'];
  await store.store([call, { ...call, calling, displayed, dialed: '+33199000001' }], 1);
  const own = new CallsClient(await store.serve(t), (await store.key(['disputes'])).token);
  const got: string[] = [];
  let cursor: string | null = null;
  do {
    const more: Record<string, string> = cursor === null ? {} : { cursor };
    const { body } = await own.get('/v1/calls', { number: '+33199000001', ...WHOLE, limit: '1', ...more });
    t.equal(body.matched['calls'], '2');
    got.push(...body.data.map(({ id }) => id));
    cursor = body.next_cursor;
  } while (cursor !== null && got.length < 5);
  t.equal(new Set(got).size, 2);
  t.equal(got.length, 2);
});

await tap.test('every statement reads ranges of the key, or the months around one call', async (t) => {
  const store = new CallStore(t, servers, 1);
  await store.create();
  await store.store(someCalls(3000, Date.UTC(year, 0, 1), Date.UTC(year, 11, 1), 3), 1);
  const number = '+33639980001';
  const explain = async ({ text, parameters }: { text: string; parameters: object }): Promise<string> => {
    const result = await store.admin.query({
      query: `EXPLAIN indexes = 1 ${text}`,
      query_params: { ...parameters },
      clickhouse_settings: settingsOfReads(10),
      format: 'TabSeparatedRaw',
    });
    return result.text();
  };
  const filter: CallsFilter = {
    number: { kind: 'exact', texts: [number], keys: [numberKey('alpha', number)] },
    roles: [...ROLES],
    otherNumbers: ['+33639980002'],
    durationMsMin: 1000,
    durationMsMax: 9000,
    outcomes: ['answered'],
    feeds: ['alpha'],
    range: { fromMs: Date.UTC(year, 2, 1), toMs: Date.UTC(year, 3, 1) },
    term: { months: { all: 36, feeds: {} }, nowMs: Date.now() },
    visibility: undefined,
    withHeld: false,
  };
  const prefix: CallsFilter = { ...filter, number: { kind: 'prefix', prefix: '+3363' } };
  const after = { startMs: filter.range.toMs - 1, cdrKey: '5', callingNumber: number };
  for (const each of [filter, prefix, { ...prefix, otherNumbers: undefined }]) {
    for (const statement of [
      callsSql(store.database, each, { after, rows: 11 }),
      matchedSql(store.database, each),
    ]) {
      const plan = await explain(statement);
      t.match(plan, /calling_key in (1-element set|\[)/);
      t.match(plan, /number_key in (1-element set|\[)/);
      for (const [, read, of] of plan.matchAll(/Min-Max[\s\S]*?Parts: (\d+)\/(\d+)/g))
        t.strictSame([read, of], ['1', '11'], 'one month');
      t.equal(plan.match(/Min-Max/g)?.length, 2, 'months are pruned in both tables');
      t.equal(plan.match(/ReadFromMergeTree \(/g)?.length, 2);
    }
  }
  const database = new QueryDatabase(store.settings());
  t.teardown(() => database.close());
  let shared = 0;
  const together = new CallsTogether({
    database: store.database,
    calls: (...asked) => database.calls(...asked),
    callsOfMany: async (...asked) => {
      const found = await database.callsOfMany(...asked);
      shared++;
      return found;
    },
  });
  const never = new AbortController().signal;
  const page = { after: undefined, rows: 6 };
  let found = 0;
  for (const roles of [ROLES, ['dialed'], ['displayed'], ['calling', 'displayed']] as const) {
    const searches = STORED_NUMBERS.map((text, index): CallsFilter => {
      const fromMs = Date.UTC(year, 2, 1 + index);
      return {
        ...filter,
        number: {
          kind: 'exact',
          texts: [text],
          keys: ['alpha', 'beta'].map((feed) => numberKey(feed, text)),
        },
        roles,
        otherNumbers: undefined,
        durationMsMin: undefined,
        durationMsMax: undefined,
        feeds: undefined,
        range: { fromMs, toMs: fromMs + 60 * DAY_MS },
      };
    });
    const pagesTogether = await Promise.all(searches.map(async (each) => together.find(each, page, never)));
    for (const [index, each] of searches.entries()) {
      const alone = await database.calls(callsSql(store.database, each, page), true, never);
      t.strictSame(
        pagesTogether[index]!.map((row) => ({ ...row, number_key: undefined, of_calling: undefined })),
        alone.map((row) => ({ ...row, number_key: undefined, of_calling: undefined })),
        `${roles.join()} of ${each.number.kind}`,
      );
      found += alone.length;
    }
  }
  t.equal(shared, 4, 'the statement for many was answered');
  t.ok(found > 30);

  const many = await explain(
    callsOfManySql(store.database, filter, new Map([[numberKey('alpha', number), filter.range]]), 11),
  );
  t.match(many, /calling_key in (1-element set|\[)/);
  t.match(many, /number_key in (1-element set|\[)/);
  t.equal([...many.matchAll(/Min-Max[\s\S]*?Parts: 1\/11/g)].length, 2, 'one month of both tables');
  t.equal(many.match(/ReadFromMergeTree \(/g)?.length, 2);
  const key = {
    callingKey: numberKey('alpha', number),
    startMs: Date.UTC(year, 5, 15),
    cdrKey: '9223372036854775808',
  };
  const one = await explain(liveRowSql(store.database, key));
  t.match(one, /calling_key in \[/);
  t.match(one, /start_at in \[/);
  const row = {
    feed: 'alpha',
    calling_key: String(key.callingKey),
    start_ms: String(key.startMs),
    cdr_key: key.cdrKey,
    source_partition: 0,
    source_offset: '0',
    source_line: 1,
  } as StoredRow;
  const near = await explain(relatedRowsSql(store.database, row, 35 * DAY_MS));
  const [, read, of] = /Min-Max[\s\S]*?Parts: (\d+)\/(\d+)/.exec(near) ?? [];
  t.equal(Number(of), 11);
  t.ok(Number(read) <= 4, 'the months around the call');
  t.match(
    await explain(rowsOfPlaceSql(store.database, row)),
    /Name: by_source_offset[\s\S]*source_offset in \[0, 0\]/,
  );
});

// The servers go with the file; a stopped merge would only keep them waiting.
await until('merges run again', async () => {
  for (const table of ['cdr', 'cdr_by_number'])
    await installation.statement(`SYSTEM START MERGES {db}.${table}`);
  return true;
});
