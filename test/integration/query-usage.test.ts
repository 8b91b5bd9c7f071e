import tap from 'tap';
import { numberHmac } from '../../schemas/number-hmac.ts';
import { readNumber } from '../../query/number-reading.ts';
import {
  CallStore,
  JOURNAL_KEY,
  NUMBERS,
  someCalls,
  storeWithHistory,
  type StoredCall,
} from '../query/stored-calls.ts';
import { untilEnded } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';

/** Usage over HTTP against stored rows, compared with sums that this file reckons by itself. */
const servers = testServers(import.meta.url);

// Over month ends and the begin of summer time, inside the retention term whenever this runs.
const year = new Date().getUTCFullYear() - 1;
const FROM = Date.UTC(year, 1, 20);
const TO = Date.UTC(year, 3, 10);
const whole = { from: new Date(FROM).toISOString(), to: new Date(TO).toISOString() };

interface Sums {
  readonly records: string;
  readonly answered: string;
  readonly duration_ms: string;
  readonly talk_ms: string;
  readonly missing_talk: string;
  readonly duration_s: number;
  readonly talk_s: number;
  readonly first_call: string | null;
  readonly last_call: string | null;
}

interface Row extends Sums {
  readonly calling_number?: string;
  readonly day?: string;
  readonly month?: string;
}

interface Answer {
  readonly data: Row[];
  readonly total: Sums;
  readonly next_cursor: string | null;
  readonly numbers?: { e164: string | null }[];
  readonly from: string;
  readonly to: string;
  readonly time_zone: string;
  readonly code?: string;
  readonly detail?: string;
  readonly complete?: { feeds: Record<string, object> };
}

const store = new CallStore(tap, servers, 0);
await store.create();
const stored = await storeWithHistory(store, someCalls(600, FROM, TO, 2));
const url = await store.serve(tap);
const { token } = await store.key(['billing']);

const WHY = { 'case-id': 'invoices', purpose: 'billing' };

async function ask(
  parameters: Record<string, string> | [string, string][],
  headers: Record<string, string> = WHY,
): Promise<Answer> {
  const query = new URLSearchParams(parameters).toString();
  const response = await fetch(`${url}/v1/usage?${query}`, {
    headers: { authorization: `Bearer ${token}`, ...headers },
  });
  const answer: Answer = JSON.parse(await response.text());
  return answer;
}

/** `2026-03-01` in the zone, by other means than the program's. */
function dayIn(zone: string, ms: number): string {
  return new Intl.DateTimeFormat('en-CA', { timeZone: zone, dateStyle: 'short' }).format(ms);
}

function sum(calls: readonly StoredCall[]): object {
  const total = (value: (call: StoredCall) => number): string =>
    calls.reduce((all, call) => all + BigInt(value(call)), 0n).toString();
  const talkMs = total(({ talkMs: talk }) => talk ?? 0);
  const durationMs = total((call) => call.durationMs);
  const starts = calls.map(({ startMs }) => startMs);
  return {
    records: String(calls.length),
    answered: total(({ outcome }) => (outcome === 'answered' ? 1 : 0)),
    duration_ms: durationMs,
    talk_ms: talkMs,
    missing_talk: total(({ talkMs: talk }) => (talk === null ? 1 : 0)),
    duration_s: Number(durationMs) / 1000,
    talk_s: Number(talkMs) / 1000,
    first_call: starts.length === 0 ? null : Math.min(...starts),
    last_call: starts.length === 0 ? null : Math.max(...starts),
  };
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Groups in their order, by the text of their names. */
function grouped(calls: readonly StoredCall[], groups: readonly string[], zone: string): object[] {
  const found = new Map<string, { name: Record<string, string>; calls: StoredCall[] }>();
  for (const call of calls) {
    const day = dayIn(zone, call.startMs);
    const values: Record<string, string> = { calling_number: call.calling, day, month: day.slice(0, 7) };
    const name = Object.fromEntries(groups.map((group) => [group, values[group]!]));
    const key = JSON.stringify(Object.values(name));
    found.set(key, { name, calls: [...(found.get(key)?.calls ?? []), call] });
  }
  return [...found.values()]
    .sort((a, b) => {
      const differing = groups.find((group) => a.name[group] !== b.name[group]);
      return differing === undefined ? 0 : compare(a.name[differing]!, b.name[differing]!);
    })
    .map((group) => Object.assign(group.name, sum(group.calls)));
}

const ms = (time: string | null): number | null => (time === null ? null : Date.parse(time));

/** Times as ms, so that the zone's notation does not matter here. */
function plain(row: Row | Sums): object {
  return { ...row, first_call: ms(row.first_call), last_call: ms(row.last_call) };
}

await tap.test('sums of every grouping equal the reference, in several zones', async (t) => {
  const groupings = [
    '',
    'calling_number',
    'day',
    'month',
    'calling_number,day',
    'month,calling_number',
    'day,month',
  ];
  for (const zone of ['UTC', 'Europe/Paris', 'America/New_York', 'Asia/Kathmandu']) {
    for (const grouping of groupings) {
      const answer = await ask({ ...whole, group_by: grouping, time_zone: zone, limit: '1000' });
      const groups = ['calling_number', 'day', 'month'].filter((group) =>
        grouping.split(',').includes(group),
      );
      t.strictSame(answer.data.map(plain), grouped(stored, groups, zone), `${grouping} ${zone}`);
      t.strictSame(plain(answer.total), sum(stored));
      t.equal(answer.next_cursor, null);
      t.equal(answer.time_zone, zone);
    }
  }
});

await tap.test('pages give every group once, each with the same total', async (t) => {
  const parameters = { ...whole, group_by: 'calling_number,month' };
  const inOne = await ask({ ...parameters, limit: '1000' });
  const rows: Row[] = [];
  let cursor: string | null = null;
  do {
    const answer: Answer = await ask({ ...parameters, limit: '4', ...(cursor === null ? {} : { cursor }) });
    t.ok(answer.data.length <= 4);
    t.strictSame(answer.total, inOne.total);
    rows.push(...answer.data);
    cursor = answer.next_cursor;
  } while (cursor !== null);
  t.strictSame(rows, inOne.data);
  const { next_cursor: first } = await ask({ ...parameters, limit: '4' });
  for (const other of [
    { ...parameters, group_by: 'calling_number', cursor: first! },
    { ...parameters, time_zone: 'Europe/Paris', cursor: first! },
    { ...parameters, feed: 'alpha', cursor: first! },
    { ...parameters, to: new Date(TO - 1).toISOString(), cursor: first! },
  ]) {
    t.match(await ask(other), { code: 'CURSOR_INVALID' });
  }
});

await tap.test('some numbers, in any notation, listed or repeated', async (t) => {
  const typed = ['06 39 98 00 01', '211474'];
  const texts = new Set(typed.flatMap((number) => readNumber('calling_number', number, 'FR').searched));
  const wanted = stored.filter(({ calling }) => texts.has(calling));
  const listed = await ask({ ...whole, group_by: 'calling_number', calling_number: typed.join() });
  t.strictSame(listed.data.map(plain), grouped(wanted, ['calling_number'], 'UTC'));
  t.match(listed.numbers, [{ e164: '+33639980001' }, { e164: null }]);
  const repeated = await ask([
    ...Object.entries({ ...whole, group_by: 'calling_number' }),
    ...typed.map((number): [string, string] => ['calling_number', number]),
  ]);
  t.strictSame(repeated, listed);
});

await tap.test('one feed; half-open ranges; nothing', async (t) => {
  t.strictSame(
    plain((await ask({ ...whole, feed: 'beta' })).total),
    sum(stored.filter(({ feed }) => feed === 'beta')),
  );
  t.match(await ask({ ...whole, feed: 'bete' }), { code: 'PARAMETER_INVALID' });
  const { startMs } = stored[7]!;
  const range = { from: new Date(startMs).toISOString(), to: new Date(startMs + 1).toISOString() };
  t.strictSame(plain((await ask(range)).total), sum(stored.filter((call) => call.startMs === startMs)));
  const before = { from: new Date(FROM - 1000).toISOString(), to: new Date(FROM - 999).toISOString() };
  for (const grouping of ['', 'day']) {
    const nothing = await ask({ ...before, group_by: grouping });
    t.strictSame(plain(nothing.total), sum([]));
    t.equal(nothing.data.length, grouping === '' ? 1 : 0);
  }
});

await tap.test('days of the zone add up to its month', async (t) => {
  const range = { from: `${year}-03-01`, to: `${year}-04-01`, time_zone: 'Europe/Paris' };
  const days = await ask({ ...range, group_by: 'day' });
  const month = await ask({ ...range, group_by: 'month' });
  t.equal(month.data.length, 1);
  t.strictSame(days.total, month.total);
  const records = days.data.reduce((all, row) => all + Number(row.records), 0);
  t.equal(String(records), month.data[0]!.records);
});

await tap.test('sums beyond 2^53 ms stay exact', async (t) => {
  const big = new CallStore(t, servers, 1);
  await big.create();
  const rows = 2_200_000;
  // 2 200 000 calls of almost 50 days are more than 2^53 ms.
  await big.admin.command({
    query: `INSERT INTO ${big.database}.cdr (calling_key, start_at, cdr_key, calling_number, duration_ms, talk_ms, version)
      SELECT 1, toDateTime64('${year}-03-01 00:00:00', 3, 'UTC'), number, 'x', 4294967295, 4294967295, 1 FROM numbers(${rows})`,
  });
  const bigUrl = await big.serve(t);
  const { token: bigToken } = await big.key(['billing']);
  const response = await fetch(`${bigUrl}/v1/usage?from=${year}-03-01&to=${year}-03-02`, {
    headers: { authorization: `Bearer ${bigToken}` },
  });
  const exact = (4_294_967_295n * BigInt(rows)).toString();
  t.ok(BigInt(exact) > 2n ** 53n);
  t.match(await response.json(), { total: { records: String(rows), duration_ms: exact, talk_ms: exact } });
});

await tap.test('every stored number can be a filter', async (t) => {
  for (const number of NUMBERS.filter((text) => text !== '')) {
    const texts = readNumber('calling_number', number, 'FR').searched;
    const wanted = stored.filter(({ calling }) => texts.includes(calling));
    t.strictSame(plain((await ask({ ...whole, calling_number: number })).total), sum(wanted), number);
  }
});

/** What the journal has of usage for a case. */
async function entries(caseId: string): Promise<object[]> {
  await untilEnded((query) => store.rows(query), store.database);
  return store.rows(`SELECT phase, purpose, number_hmac, filter, rows, complete FROM ${store.database}.lookup_journal
    WHERE case_id = '${caseId}' AND route = '/v1/usage' ORDER BY phase, number_hmac`);
}

await tap.test('the sums of a number are a look-up, all others a job', async (t) => {
  const named = { ...whole, calling_number: '06 39 98 00 01', dialed_number: '1002' };
  for (const headers of [{}, { purpose: 'billing' }, { 'case-id': 'none' }]) {
    const { code, detail } = await ask(named, headers);
    t.equal(code, 'HEADER_MISSING');
    t.match(detail, /is required where a number is named$/);
  }
  const { data, complete } = await ask(
    { ...named, group_by: 'day' },
    { 'case-id': 'one', purpose: 'dispute' },
  );
  t.strictSame(Object.keys(complete!.feeds), ['alpha', 'beta']);
  const readings = ['06 39 98 00 01', '1002'].map((number) => readNumber('n', number, 'FR').searched);
  const hmacs = readings
    .flat()
    .map((text) => numberHmac(JOURNAL_KEY, text))
    .sort();
  const written = (await entries('one')) as Record<string, unknown>[];
  t.strictSame(
    written.map(({ phase, number_hmac }) => [phase, number_hmac]),
    ['started', 'finished'].flatMap((phase) => hmacs.map((hmac) => [phase, hmac])),
  );
  t.match(written.at(-1), { purpose: 'dispute', rows: String(data.length), complete: 1 });
  t.match(JSON.parse(String(written[0]!['filter'])), {
    group_by: ['day'],
    calling_number: 1,
    dialed_number: 1,
  });
  t.notMatch(JSON.stringify(written), /3998|1002/);

  for (const group of ['calling_number', 'day,displayed_caller_id', 'dialed_number,hour']) {
    const byNumber = { ...whole, account: 'acme', group_by: group };
    for (const headers of [{}, { purpose: 'billing' }, { 'case-id': 'none' }])
      t.match(await ask(byNumber, headers), {
        code: 'HEADER_MISSING',
        detail: /is required where an account is grouped by numbers$/,
      });
    t.equal((await ask({ ...byNumber, group_by: 'dialed_prefix,hour' }, {})).code, undefined);
    await ask(byNumber, { 'case-id': group, purpose: 'billing' });
    const [entry, ...others] = (await entries(group)) as Record<string, unknown>[];
    t.match(entry, { phase: 'started', purpose: 'billing', number_hmac: '', filter: '"accounts":1' });
    t.match(others, [{ phase: 'finished', complete: 1 }]);
  }

  await ask({ ...whole, group_by: 'calling_number' }, { 'case-id': 'all' });
  t.match(await entries('all'), [
    { phase: 'started', purpose: 'billing', number_hmac: '' },
    { phase: 'finished', purpose: 'billing', number_hmac: '', complete: 1 },
  ]);
  await ask({ ...whole, group_by: 'feed', format: 'ndjson' }, { 'case-id': 'stream' }).catch(() => undefined);
  t.match(await entries('stream'), [{ phase: 'started' }, { phase: 'finished', rows: '2', complete: 1 }]);
  const refused = { ...whole, increment: '60/60', format: 'csv' };
  t.match(await ask(refused, { 'case-id': 'refused' }), { code: 'TALK_MISSING' });
  t.match(await entries('refused'), [{ phase: 'started' }, { phase: 'finished', rows: '0', complete: 0 }]);
});
