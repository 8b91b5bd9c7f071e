import { parseString } from 'fast-csv';
import tap from 'tap';
import { billedParameters, billedSql, type BillingTerms } from '../../query/billing.ts';
import { unguardText } from '../../schemas/csv.ts';
import { readNumber } from '../../query/number-reading.ts';
import { sqlTime } from '../../schemas/sql-time.ts';
import { CallStore, someCalls, storeWithHistory, versionAt, type StoredCall } from '../query/stored-calls.ts';
import { seeded } from '../seeded.ts';
import { testServers } from '../test-servers.ts';

/** Groups, filters, billing and control totals of usage over HTTP, compared with what this file reckons by itself. */
const servers = testServers(import.meta.url);

// Over month ends and the begin of summer time, inside the retention term whenever this runs.
const year = new Date().getUTCFullYear() - 1;
const FROM = Date.UTC(year, 1, 20);
const TO = Date.UTC(year, 3, 10);
const whole = range(FROM, TO);
const PREFIXES = ['+3363998', '+33639980001', '+331'];
const ZONES = ['UTC', 'Europe/Paris', 'America/St_Johns', 'Asia/Kathmandu'];

function range(fromMs: number, toMs: number): { from: string; to: string } {
  return { from: new Date(fromMs).toISOString(), to: new Date(toMs).toISOString() };
}

type Row = Readonly<Record<string, string | number | null>>;

interface Answer {
  readonly status: number;
  readonly etag: string | null;
  readonly data: Row[];
  readonly total: Row;
  readonly next_cursor: string | null;
  readonly numbers?: { parameter: string; e164: string | null }[];
  readonly billing?: object;
  readonly control?: { from: string; to: string; feeds: (Row & { feed: string; since_start: Row })[] };
  readonly code?: string;
}

type Parameters = Record<string, string> | [string, string][];
type Asking = (parameters: Parameters, headers?: Record<string, string>) => Promise<Answer>;

/** A store with calls, and how it is asked. */
async function served(
  index: number,
  calls: readonly StoredCall[],
): Promise<{
  store: CallStore;
  stored: StoredCall[];
  ask: Asking;
  get: (parameters: Parameters, headers?: Record<string, string>) => Promise<Response>;
}> {
  const store = new CallStore(tap, servers, index);
  await store.create();
  // What merged away would be no duplicate any more.
  for (const table of ['cdr', 'cdr_by_number', 'ingest_ledger'])
    await store.admin.command({ query: `SYSTEM STOP MERGES ${store.database}.${table}` });
  const stored = await storeWithHistory(store, calls);
  // As many as a rate deck has, more than one bound value holds.
  const others = Array.from({ length: 12_000 }, (_, number) => `+9981234${100_000 + number}`);
  const url = await store.serve(tap, store.settings({ dialed_prefixes: [...others, ...PREFIXES] }));
  const { token } = await store.key(['billing']);
  const get = (parameters: Parameters, headers: Record<string, string> = {}): Promise<Response> => {
    const query = new URLSearchParams(parameters).toString();
    const why = { 'case-id': 'invoices', purpose: 'billing' };
    return fetch(`${url}/v1/usage?${query}`, {
      headers: { authorization: `Bearer ${token}`, ...why, ...headers },
    });
  };
  const ask: Asking = async (parameters, headers) => {
    const response = await get(parameters, headers);
    const text = await response.text();
    const answer: Answer = {
      ...(text === '' ? {} : JSON.parse(text)),
      status: response.status,
      etag: response.headers.get('etag'),
    };
    return answer;
  };
  return { store, stored, ask, get };
}

const random = seeded(7);
const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)]!;
const mixed: StoredCall[] = [];
for (const call of someCalls(500, FROM, TO, 3)) {
  mixed.push({
    ...call,
    account: pick(['', 'acme', 'a,b', "o'neil"]),
    direction: pick(['unknown', 'inbound', 'outbound', 'internal']),
  });
}
const { store, stored, ask, get } = await served(0, mixed);

/** The local clock of a zone, by other means than the program's. Making one costs far more than asking it. */
const clocks = new Map(
  ZONES.map((zone) => [
    zone,
    new Intl.DateTimeFormat('en-CA', {
      timeZone: zone,
      year: 'numeric',
      month: '2-digit',
      day: '2-digit',
      hour: '2-digit',
      hourCycle: 'h23',
      timeZoneName: 'longOffset',
    }),
  ]),
);

function localParts(zone: string, ms: number): { day: string; hour: string } {
  const parts = new Map(
    clocks
      .get(zone)!
      .formatToParts(ms)
      .map(({ type, value }) => [type, value]),
  );
  const day = `${parts.get('year')}-${parts.get('month')}-${parts.get('day')}`;
  const named = parts.get('timeZoneName')!.replace('GMT', '');
  // luxon writes UTC as Z.
  const offset = zone === 'UTC' ? 'Z' : named === '' ? '+00:00' : named;
  return { day, hour: `${day}T${parts.get('hour')}:00:00.000${offset}` };
}

/** The ISO week of a calendar day: that of its Thursday. */
function weekOf(day: string): string {
  const date = new Date(`${day}T00:00:00Z`);
  const thursday = date.getTime() + (3 - ((date.getUTCDay() + 6) % 7)) * 86_400_000;
  const weekYear = new Date(thursday).getUTCFullYear();
  const week = Math.floor((thursday - Date.UTC(weekYear, 0, 1)) / (7 * 86_400_000)) + 1;
  return `${weekYear}-W${String(week).padStart(2, '0')}`;
}

const CALLING_CODES = ['+1', '+33', '+7'];

function prefixOf(dialed: string): string {
  const fitting = [...PREFIXES, ...CALLING_CODES].filter((prefix) => dialed.startsWith(prefix));
  return fitting.sort((a, b) => b.length - a.length)[0] ?? '';
}

function groupsOf(call: StoredCall, zone: string): Record<string, string> {
  const { day, hour } = localParts(zone, call.startMs);
  return {
    calling_number: call.calling,
    displayed_caller_id: call.displayed,
    dialed_number: call.dialed,
    dialed_prefix: prefixOf(call.dialed),
    account: call.account ?? '',
    outcome: call.outcome,
    direction: call.direction ?? 'outbound',
    feed: call.feed,
    hour,
    day,
    week: weekOf(day),
    month: day.slice(0, 7),
  };
}

const ORDER = Object.keys(groupsOf(stored[0]!, 'UTC'));

interface Terms {
  readonly first: number;
  readonly step: number;
  readonly round: 'up' | 'half' | 'down';
  readonly value: (call: StoredCall) => number | null;
}

/** Counted step by step, as one would on paper. */
function billedSeconds(
  durationMs: number,
  { first, step, round }: Pick<Terms, 'first' | 'step' | 'round'>,
): bigint {
  const rest = durationMs % 1000;
  const seconds =
    BigInt((durationMs - rest) / 1000) +
    (round === 'up' ? (rest > 0 ? 1n : 0n) : round === 'half' && rest >= 500 ? 1n : 0n);
  if (seconds === 0n) return 0n;
  if (seconds <= BigInt(first)) return BigInt(first);
  const beyond = seconds - BigInt(first);
  const steps = beyond / BigInt(step);
  return BigInt(first) + (steps * BigInt(step) < beyond ? steps + 1n : steps) * BigInt(step);
}

function sumsOf(calls: readonly StoredCall[], terms?: Terms): object {
  const total = (value: (call: StoredCall) => number | bigint): string =>
    calls.reduce((all, call) => all + BigInt(value(call)), 0n).toString();
  const starts = calls.map(({ startMs }) => startMs);
  return {
    records: String(calls.length),
    answered: total(({ outcome }) => (outcome === 'answered' ? 1 : 0)),
    duration_ms: total(({ durationMs }) => durationMs),
    talk_ms: total(({ talkMs }) => talkMs ?? 0),
    missing_talk: total(({ talkMs }) => (talkMs === null ? 1 : 0)),
    ...(terms === undefined
      ? {}
      : { billed_seconds: total((call) => billedSeconds(terms.value(call) ?? 0, terms)) }),
    first_call: starts.length === 0 ? null : Math.min(...starts),
    last_call: starts.length === 0 ? null : Math.max(...starts),
  };
}

/** Groups by their names, as JSON text. */
function grouped(
  calls: readonly StoredCall[],
  groups: readonly string[],
  zone: string,
  terms?: Terms,
): Map<string, object> {
  const found = new Map<string, StoredCall[]>();
  for (const call of calls) {
    const values = groupsOf(call, zone);
    const name = JSON.stringify(
      ORDER.filter((group) => groups.includes(group)).map((group) => values[group]),
    );
    found.set(name, [...(found.get(name) ?? []), call]);
  }
  return new Map([...found].map(([name, of]) => [name, sumsOf(of, terms)]));
}

const ms = (time: unknown): number | null => (typeof time === 'string' ? Date.parse(time) : null);

/** The sums of a row, times as ms. */
function plain(row: Row): object {
  const { records, answered, duration_ms, talk_ms, missing_talk, billed_seconds } = row;
  return {
    records,
    answered,
    duration_ms,
    talk_ms,
    missing_talk,
    ...(billed_seconds === undefined ? {} : { billed_seconds }),
    first_call: ms(row['first_call']),
    last_call: ms(row['last_call']),
  };
}

/** Rows by the names of their groups, which must be all that a row has beside its sums. */
function byName(rows: readonly Row[], groups: readonly string[]): Map<string, object> {
  const ordered = ORDER.filter((group) => groups.includes(group));
  return new Map(rows.map((row) => [JSON.stringify(ordered.map((group) => row[group])), plain(row)]));
}

const sorted = (groups: Map<string, object>): [string, object][] =>
  [...groups].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));

/** All rows of a listing, page by page. */
async function pages(parameters: Record<string, string>, limit: number): Promise<Row[]> {
  const rows: Row[] = [];
  let cursor: string | null = null;
  do {
    const answer: Answer = await ask({
      ...parameters,
      limit: String(limit),
      ...(cursor === null ? {} : { cursor }),
    });
    if (answer.status !== 200) throw new Error(answer.code);
    rows.push(...answer.data);
    cursor = answer.next_cursor;
  } while (cursor !== null);
  return rows;
}

await tap.test('every group alone, in several zones', async (t) => {
  for (const zone of ZONES) {
    for (const group of ORDER) {
      const answer = await ask({ ...whole, group_by: group, time_zone: zone, limit: '1000' });
      t.equal(answer.status, 200, `${group} ${zone} ${answer.code ?? ''}`);
      t.strictSame(
        sorted(byName(answer.data, [group])),
        sorted(grouped(stored, [group], zone)),
        `${group} ${zone}`,
      );
      t.strictSame(plain(answer.total), sumsOf(stored));
    }
  }
});

await tap.test('several at once, page by page', async (t) => {
  for (const groups of [
    ['feed', 'outcome', 'direction'],
    ['dialed_prefix', 'account', 'month'],
    ['displayed_caller_id', 'dialed_number', 'week'],
    ['calling_number', 'hour', 'outcome'],
  ]) {
    const parameters = { ...whole, group_by: groups.join(), time_zone: 'Europe/Paris', control: 'false' };
    const rows = await pages(parameters, 60);
    const expected = grouped(stored, groups, 'Europe/Paris');
    t.equal(rows.length, expected.size, groups.join());
    t.strictSame(sorted(byName(rows, groups)), sorted(expected), groups.join());
  }
});

const readings = (typed: string): readonly string[] => readNumber('n', typed, 'FR').searched;

await tap.test('all groups as a stream', async (t) => {
  const groups = ['dialed_prefix', 'account', 'day'];
  const billing = { increment: '60/60', missing_talk: 'exclude' };
  const parameters = { ...whole, ...billing, group_by: groups.join(), time_zone: 'Europe/Paris' };
  const rows = await pages({ ...parameters, control: 'false' }, 1000);
  const { data: _data, next_cursor: _cursor, status: _status, etag: _etag, ...about } = await ask(parameters);

  const ndjson = await get({ ...parameters, format: 'ndjson' });
  t.equal(ndjson.status, 200);
  const lines = (await ndjson.text()).trimEnd().split('\n');
  const { end } = JSON.parse(lines.pop()!) as { end: Row & { control: { feeds: Row[] } } };
  t.strictSame(
    lines.map((line) => JSON.parse(line) as Row),
    rows,
  );
  const { control, ...rest } = about;
  t.match(end, { rows: rows.length, ...rest });
  t.equal(end.control.feeds.length, control?.feeds.length);

  const csv = await get(parameters, { accept: 'text/csv' });
  const [header, ...cells] = await new Promise<string[][]>((resolve, reject) => {
    const read: string[][] = [];
    void csv.text().then((text) =>
      parseString(text)
        .on('error', reject)
        .on('data', (row: string[]) => read.push(row))
        .on('end', () => resolve(read)),
    );
  });
  const isText = new Set(['dialed_prefix', 'account']);
  t.strictSame(
    cells.map((row) => row.map((cell, i) => (isText.has(header![i]!) ? unguardText(cell) : cell))),
    rows.map((row) => header!.map((name) => String(row[name] ?? ''))),
  );
  t.strictSame(header!.slice(0, 3), ['dialed_prefix', 'account', 'day']);

  t.match(await ask({ ...parameters, format: 'csv', limit: '10' }), { code: 'PARAMETER_INVALID' });
  t.match(await ask({ ...whole, increment: '60/60', format: 'csv' }), { status: 422, code: 'TALK_MISSING' });
});

await tap.test('filters', async (t) => {
  const cases: [Parameters, (call: StoredCall) => boolean][] = [
    [{ calling_number: '06 39 98 00 01' }, ({ calling }) => readings('06 39 98 00 01').includes(calling)],
    [
      { dialed_number: '06 39 98 00 01,1002,anonymous' },
      ({ dialed }) => ['06 39 98 00 01', '1002', 'anonymous'].some((n) => readings(n).includes(dialed)),
    ],
    [{ displayed_caller_id: '+33199000001' }, ({ displayed }) => displayed === '+33199000001'],
    [
      { calling_number: '211474', dialed_number: '1002' },
      ({ calling, dialed }) => calling === '211474' && dialed === '1002',
    ],
    [{ account: 'a,b' }, ({ account }) => account === 'a,b'],
    [
      [
        ['account', ''],
        ['account', "o'neil"],
      ],
      ({ account }) => account === '' || account === "o'neil",
    ],
    [{ feed: 'alpha' }, ({ feed }) => feed === 'alpha'],
    [{ feed: 'alpha,beta' }, () => true],
    [{ outcome: 'answered,busy' }, ({ outcome }) => outcome === 'answered' || outcome === 'busy'],
    [{ direction: 'internal' }, ({ direction }) => direction === 'internal'],
    [
      { min_duration: '10.5', max_duration: '300' },
      ({ durationMs }) => durationMs >= 10_500 && durationMs <= 300_000,
    ],
    // Seconds whose product with 1000 is less than the ms that are meant.
    ...stored
      .filter(({ durationMs }) => (durationMs / 1000) * 1000 < durationMs)
      .slice(0, 3)
      .map(({ durationMs: limit }): [Parameters, (call: StoredCall) => boolean] => [
        { max_duration: String(limit / 1000) },
        ({ durationMs }) => durationMs <= limit,
      ]),
  ];
  t.ok(cases.length > 11, 'there are such durations');
  for (const [filter, fits] of cases) {
    const entries = Array.isArray(filter) ? filter : Object.entries(filter);
    const answer = await ask([...Object.entries({ ...whole, group_by: 'outcome' }), ...entries]);
    const wanted = stored.filter(fits);
    t.ok(wanted.length > 0, 'the case has calls');
    t.strictSame(plain(answer.total), sumsOf(wanted), JSON.stringify(filter));
    t.strictSame(sorted(byName(answer.data, ['outcome'])), sorted(grouped(wanted, ['outcome'], 'UTC')));
  }
  const { numbers } = await ask({ ...whole, dialed_number: '06 39 98 00 01', displayed_caller_id: '1002' });
  t.match(numbers, [
    { parameter: 'displayed_caller_id', e164: null },
    { parameter: 'dialed_number', e164: '+33639980001' },
  ]);
});

await tap.test('billed seconds, by talk and by duration', async (t) => {
  const talking = stored.filter(({ talkMs }) => talkMs !== null);
  t.ok(talking.length < stored.length);
  t.match(await ask({ ...whole, increment: '60/60' }), { status: 422, code: 'TALK_MISSING' });
  const choices: [Record<string, string>, Terms['value']][] = [
    [{ missing_talk: 'exclude' }, ({ talkMs }) => talkMs],
    [{ missing_talk: 'duration' }, ({ talkMs, durationMs }) => talkMs ?? durationMs],
    [{ basis: 'duration' }, ({ durationMs }) => durationMs],
    [{ basis: 'talk', missing_talk: 'exclude' }, ({ talkMs }) => talkMs],
  ];
  for (const [first, step] of [
    [60, 60],
    [30, 6],
    [1, 1],
    [6, 6],
    [60, 1],
  ] as const) {
    for (const round of [undefined, 'up', 'half', 'down'] as const) {
      for (const [choice, value] of choices) {
        const terms: Terms = { first, step, round: round ?? 'up', value };
        const answer = await ask({
          ...whole,
          ...choice,
          group_by: 'calling_number,month',
          increment: `${first}/${step}`,
          control: 'false',
          limit: '1000',
          ...(round === undefined ? {} : { round_ms: round }),
        });
        const groups = ['calling_number', 'month'];
        t.strictSame(sorted(byName(answer.data, groups)), sorted(grouped(stored, groups, 'UTC', terms)));
        t.strictSame(
          plain(answer.total),
          sumsOf(stored, terms),
          JSON.stringify([first, step, round, choice]),
        );
        t.match(answer.billing, { increment: `${first}/${step}`, round_ms: round ?? 'up' });
      }
    }
  }
});

await tap.test('billing by talk is refused only where talk is missing', async (t) => {
  const known = stored.find(
    ({ startMs, talkMs }) =>
      talkMs !== null &&
      stored.filter((call) => call.startMs === startMs).every((call) => call.talkMs !== null),
  );
  t.match(await ask({ ...range(known!.startMs, known!.startMs + 1), increment: '1/1' }), { status: 200 });
  const parameters: [Record<string, string>, RegExp][] = [
    [{ basis: 'talk' }, /^basis: has no meaning without increment/],
    [{ round_ms: 'up' }, /^round_ms/],
    [{ missing_talk: 'exclude' }, /^missing_talk/],
    [{ increment: '60/60', basis: 'duration', missing_talk: 'exclude' }, /^missing_talk/],
    [{ increment: '0/60' }, /^increment/],
    [{ increment: '60/0' }, /^increment/],
    [{ increment: '60' }, /^increment/],
    [{ min_duration: '2', max_duration: '1' }, /^min_duration/],
    [{ max_duration: '1.0005' }, /^max_duration: seconds may have three decimals/],
  ];
  for (const [parameter, detail] of parameters)
    t.match(await ask({ ...whole, ...parameter }), { status: 400, code: 'PARAMETER_INVALID', detail });
});

await tap.test('the increments of SQL are those of paper, for any milliseconds', async (t) => {
  const edges = [0, 1, 499, 500, 999, 1000, 1001, 1499, 1500, 59_999, 60_000, 60_001, 2 ** 31, 2 ** 32 - 1];
  const seconds = [1, 6, 30, 59, 60, 61, 3600, 99_999];
  for (let round = 0; round < 60; round++) {
    const terms: BillingTerms = {
      first: pick(seconds),
      step: pick(seconds),
      basis: pick(['talk', 'duration'] as const),
      roundMs: pick(['up', 'half', 'down'] as const),
      missingTalk: pick(['exclude', 'duration'] as const),
    };
    const someMs = (): number =>
      random() < 0.3 ? pick(edges) : Math.floor(random() * pick([2000, 200_000, 2 ** 32]));
    const durations = Array.from({ length: 200 }, someMs);
    const talks = durations.map(() => (random() < 0.2 ? null : someMs()));
    const result = await store.admin.query({
      query: `SELECT ${billedSql(terms)} AS billed FROM (
          SELECT place, {durations: Array(UInt32)}[place] AS duration_ms, {talks: Array(Nullable(UInt32))}[place] AS talk_ms
          FROM (SELECT number + 1 AS place FROM numbers(200)))
        ORDER BY place`,
      query_params: { durations, talks, ...billedParameters(terms) },
      format: 'JSONEachRow',
      clickhouse_settings: { output_format_json_quote_64bit_integers: 1 },
    });
    const rows = await result.json<{ billed: string }>();
    const expected = durations.map((durationMs, index) => {
      const talkMs = talks[index] ?? (terms.missingTalk === 'duration' ? durationMs : 0);
      const { first, step, roundMs } = terms;
      const value = terms.basis === 'duration' ? durationMs : talkMs;
      return String(billedSeconds(value, { first, step, round: roundMs }));
    });
    t.strictSame(
      rows.map(({ billed }) => billed),
      expected,
      JSON.stringify(terms),
    );
  }
});

await tap.test('the end of summer time: 25 hours, of which two have one name', async (t) => {
  const from = Date.UTC(year, 9, 20);
  const to = Date.UTC(year, 10, 6);
  const [sample] = someCalls(1, from, to, 5);
  // One call every 20 minutes.
  const calls: StoredCall[] = [];
  for (let startMs = from + 60_000; startMs < to; startMs += 1_200_000)
    calls.push({ ...sample!, startMs, cdrKey: String(calls.length + 1) });
  const autumn = await served(1, calls);
  for (const zone of ZONES) {
    for (const group of ['hour', 'day', 'week', 'month']) {
      const answer = await autumn.ask({
        ...range(from, to),
        group_by: group,
        time_zone: zone,
        limit: '1000',
      });
      t.strictSame(
        sorted(byName(answer.data, [group])),
        sorted(grouped(autumn.stored, [group], zone)),
        `${group} ${zone}`,
      );
    }
  }
  const last = new Date(Date.UTC(year, 9, 31));
  const sunday = new Date(last.getTime() - last.getUTCDay() * 86_400_000).toISOString().slice(0, 10);
  const next = new Date(Date.parse(sunday) + 86_400_000).toISOString().slice(0, 10);
  const day = { from: sunday, to: next, time_zone: 'Europe/Paris' };
  const hours = await autumn.ask({ ...day, group_by: 'hour' });
  t.equal(hours.data.length, 25);
  t.strictSame(
    hours.data.map((row) => String(row['hour'])).filter((hour) => hour.includes('T02:')),
    [`${sunday}T02:00:00.000+02:00`, `${sunday}T02:00:00.000+01:00`],
    'in the order of time',
  );
  t.match((await autumn.ask({ ...day, group_by: 'day' })).data, [{ day: sunday }]);
});

await tap.test('an answer has a tag, and one that did not change is not sent again', async (t) => {
  const parameters = { ...whole, group_by: 'month' };
  const { etag, status } = await ask(parameters);
  t.equal(status, 200);
  t.match(etag, /^W\/"/);
  t.match(await ask(parameters, { 'if-none-match': `"other", ${etag}` }), {
    status: 304,
    data: undefined,
    etag,
  });
  t.match(await ask(parameters, { 'if-none-match': 'W/"other"' }), { status: 200 });
  t.match(await ask({ ...parameters, group_by: 'day' }, { 'if-none-match': etag! }), { status: 200 });
});

/** The UTC hour of a moment, Unix seconds. */
const hour = (atMs: number): number => Math.floor(atMs / 3_600_000) * 3600;

const countsOf = (accepted: number, rejected = 0, skipped = 0): Record<string, number> => ({
  records: accepted + rejected + skipped,
  rejected,
  skipped,
});

await tap.test('control totals of the hours, with duplicates in the ledger and a rewind', async (t) => {
  // A period that begins and ends within hours of UTC.
  const period = range(Date.UTC(year, 2, 1, 5, 15), Date.UTC(year, 2, 20, 11, 45));
  const [fromHour, toHour] = [hour(Date.UTC(year, 2, 1, 5)), hour(Date.UTC(year, 2, 20, 12))];
  const inHours = (call: StoredCall): boolean =>
    hour(call.startMs) >= fromHour && hour(call.startMs) < toHour;
  const ledger = (
    feed: string,
    row: object,
    calls: readonly StoredCall[],
    counts: Record<string, number>,
  ): object => {
    const byHour: Record<string, number> = {};
    for (const { startMs } of calls) byHour[hour(startMs)] = (byHour[hour(startMs)] ?? 0) + 1;
    return {
      cluster_id: 'c',
      topic: `cdr.${feed}`,
      topic_id: 't',
      partition: 0,
      feed,
      stored: calls.length,
      stored_by_hour: byHour,
      message_at_max: sqlTime(TO),
      stored_at: sqlTime(TO),
      kind: 'read',
      ...row,
      ...counts,
    };
  };
  const expected: object[] = [];
  const rows: object[] = [];
  for (const feed of ['alpha', 'beta']) {
    const own = stored.filter((call) => call.feed === feed);
    const [first, second] = [own.slice(0, 60), own.slice(60)];
    // The second batch was read, then the partition rewound to its begin, and read again in two: some sent twice.
    const twice = second.slice(0, 20);
    const replayed = own.slice(5, 12);
    const of = [
      ledger(feed, { generation: 1, from_offset: 0, next_offset: 100 }, first, countsOf(first.length, 3, 1)),
      ledger(feed, { generation: 1, from_offset: 100, next_offset: 200 }, second, countsOf(second.length, 9)),
      ledger(feed, { generation: 2, from_offset: 100, next_offset: 150 }, second, countsOf(second.length, 2)),
      ledger(
        feed,
        { generation: 2, from_offset: 150, next_offset: 230 },
        twice,
        countsOf(twice.length, 0, 5),
      ),
      // Another topic of the same name begins anew: none of its ranges ends one of the older topic.
      ledger(feed, { generation: 3, topic_id: 'u', from_offset: 0, next_offset: 9 }, [], countsOf(0, 4)),
      ledger(
        feed,
        { generation: 1_700_000_000_000, from_offset: 3, next_offset: 90, kind: 'replay' },
        replayed,
        countsOf(replayed.length),
      ),
    ];
    rows.push(...of);
    const accepted = [...first, ...second, ...twice, ...replayed];
    const live = own.filter(inHours).length;
    expected.push({
      feed,
      accepted: String(accepted.filter(inHours).length),
      live: String(live),
      duplicates: String(accepted.filter(inHours).length - live),
      removed: '0',
      erased: '0',
      not_in_ledger: '0',
      since_start: {
        consumed: String(first.length + second.length + twice.length + 3 + 1 + 2 + 5 + 4),
        stored: String(first.length + second.length + twice.length),
        rejected: '9',
        suppressed: '0',
        skipped: '6',
        replayed: String(replayed.length),
      },
    });
  }
  const before = await ask(period);
  t.match(before.control!.feeds, [
    { accepted: '0', duplicates: '0', live: (expected[0] as { live: string }).live, not_in_ledger: /^[1-9]/ },
    { accepted: '0' },
  ]);
  await store.insert('ingest_ledger', rows);
  // The same rows once more, in a part of their own, as after a try whose answer was lost.
  await store.insert('ingest_ledger', rows);
  const { control } = await ask(period);
  t.match(control!.feeds, expected);
  // What `storeWithHistory` deleted: each 17th call, at its old start.
  for (const feed of ['alpha', 'beta']) {
    const corrected = mixed.filter(
      (call, index) => index % 17 === 0 && call.feed === feed && inHours(call),
    ).length;
    t.equal(control!.feeds.find((row) => row.feed === feed)!['corrected'], String(corrected));
    t.ok(corrected > 0);
  }
  t.strictSame([ms(control!.from), ms(control!.to)], [fromHour * 1000, toHour * 1000]);
  t.match((await ask({ ...period, feed: 'beta' })).control!.feeds, [expected[1]!]);
  t.equal((await ask({ ...period, control: 'false' })).control, undefined);
  // Those of all calls are not given with one number, unless they are asked for.
  const one = { ...period, calling_number: '+33639980001' };
  t.equal((await ask(one)).control, undefined);
  t.match((await ask({ ...one, control: 'true' })).control!.feeds, expected);
});

await tap.test('pages of calls that change meanwhile are refused', async (t) => {
  const parameters = { ...whole, group_by: 'calling_number,day', limit: '10' };
  const { next_cursor: cursor } = await ask(parameters);
  t.match(await ask({ ...parameters, cursor: cursor! }), { status: 200 });
  const [call] = stored;
  // Sent again: nothing that is read changes.
  await store.store([{ ...call!, durationMs: 7 }], versionAt(1_800_000_000));
  t.match(await ask({ ...parameters, cursor: cursor! }), { status: 200 });
  // A correction of one call by another version of itself, which leaves every sum as it is.
  await store.store([call!], 2 ** 33);
  t.match(await ask({ ...parameters, cursor: cursor! }), { status: 409, code: 'USAGE_CHANGED' });
  const { next_cursor: again } = await ask(parameters);
  await store.store([{ ...call!, cdrKey: '77', startMs: FROM + 5 }], versionAt(1_700_000_000));
  t.match(await ask({ ...parameters, cursor: again! }), { status: 409, code: 'USAGE_CHANGED' });
});
