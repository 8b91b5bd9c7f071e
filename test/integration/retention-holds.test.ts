import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import tap from 'tap';
import type { ListedHold } from '../../retention/holds.ts';
import type { SweepReport } from '../../retention/sweep.ts';
import type { ApiRole } from '../../schemas/api-key.ts';
import { Installation } from '../cdrhouse-program.ts';
import { CallStore, versionAt, type StoredCall } from '../query/stored-calls.ts';
import { idsOf, keepUntilSwept, keptOf, monthsOfCalls, storedIds } from '../retention/months-of-calls.ts';
import type { ToldReport } from '../subject-program.ts';
import { testServers } from '../test-servers.ts';

import { CallsClient, type ToldCall } from './calls-client.ts';

/** Calls under a legal hold outlive their term; when it ends, they go. */
const servers = testServers(import.meta.url);
const TERM = 2;
const NOW = Date.now();
const NUMBER = '+33639980001';
const CALLS = monthsOfCalls(NOW, 4, TERM);
const KEPT = keptOf(CALLS, TERM, NOW);
const [OLDEST] = CALLS;
const store = new CallStore(tap, servers, 0);
await store.create(TERM);
await keepUntilSwept(store);
const installation = new Installation(tap, servers, 0, {}, { CDRHOUSE_RETENTION_MONTHS: String(TERM) });

const isOf = ({ calling, displayed, dialed }: StoredCall, number: string): boolean =>
  [calling, displayed, dialed].includes(number);
const from = new Date(OLDEST!.startMs + 10 * 86_400_000).toISOString();
const to = new Date(NOW - 7 * 86_400_000).toISOString();
const until = new Date(NOW + 86_400_000).toISOString();
const isHeld = (call: StoredCall): boolean =>
  isOf(call, NUMBER) && call.startMs >= Date.parse(from) && call.startMs < Date.parse(to);
const HELD = CALLS.filter(isHeld);
/** Comes after the hold was made, and is due already. */
const LATE = { ...HELD[0]!, cdrKey: '77' };
// Longer than what the term allows by itself: what is held is older.
const api = store.settings({ range_days_max: 400 });
const url = await store.serve(tap, { ...api, retention: { ...api.retention, months: TERM } });
const clientOf = async (...roles: ApiRole[]): Promise<CallsClient> =>
  new CallsClient(url, (await store.key(['disputes:unmasked', 'disputes', 'billing', ...roles])).token);
const [agent, lawyer] = [await clientOf(), await clientOf('legal')];
/** Is corrected after the hold was made. */
const CORRECTED = { ...HELD[1]!, durationMs: 777_000 };
let holdId = '';

await tap.test('a hold copies at once, also by role', async (t) => {
  await store.store(CALLS, versionAt(1));
  t.ok(HELD.length > 10 && HELD.some((call) => call.calling !== NUMBER));
  const options = ['--from', from, '--to', to, '--until', until, '--reason', 'court order 12'];
  const made = await installation.json<{ hold_id: string; calls: number }>(
    'retention',
    'hold',
    '--number',
    NUMBER,
    ...options,
    '--json',
  );
  holdId = made.hold_id;
  t.equal(made.calls, HELD.length);
  t.strictSame(await storedIds(store, 'cdr_held'), idsOf(HELD));
  const past = await installation.run('retention', 'hold', '--number', NUMBER, ...options, '--until', from);
  t.match([past.code, past.stderr], [2, /USAGE_WRONG/]);
});

/** Restricted by their holder, past the term: what began before the hold. */
const RESTRICTED = '+33639980002';
const restricted = [
  '--number',
  RESTRICTED,
  '--from',
  new Date(OLDEST!.startMs - 1).toISOString(),
  '--to',
  from,
];
const OWN = CALLS.filter((call) => isOf(call, RESTRICTED) && call.startMs < Date.parse(from));

await tap.test('a restriction that keeps calls past their term is a hold', async (t) => {
  const keep = [...restricted, '--keep-past-term', '--reason', 'letter', '--json'];
  const { result } = await installation.json<ToldReport>('subject', 'restrict', ...keep);
  t.match(result, { keep_past_term: true, calls_held: OWN.length });
  t.strictSame(await storedIds(store, 'cdr_held'), idsOf([...HELD, ...OWN]));
});

await tap.test('the sweep copies what came since, before it drops', async (t) => {
  await store.store([LATE], versionAt(2));
  await store.store([CORRECTED], 7 * 2 ** 32);
  const { months } = await installation.json<SweepReport>('retention', 'sweep', '--json');
  const overdue = [...HELD, LATE, ...OWN].filter((call) => !KEPT.includes(call));
  t.equal(
    months.reduce((sum, { held }) => sum + held, 0),
    overdue.length,
  );
  t.strictSame(await storedIds(store, 'cdr'), idsOf(KEPT), 'the term is kept in the call tables');
  t.strictSame(await storedIds(store, 'cdr_held'), idsOf([...HELD, LATE, ...OWN]));
  const [copy] = await store.rows<object>(
    `SELECT calling_number, displayed_caller_id, dialed_number, duration_ms, feed FROM ${store.database}.cdr_held WHERE cdr_key = ${HELD[0]!.cdrKey}`,
  );
  const { calling, displayed, dialed, durationMs, feed } = HELD[0]!;
  t.strictSame(copy, {
    calling_number: calling,
    displayed_caller_id: displayed,
    dialed_number: dialed,
    duration_ms: durationMs,
    feed,
  });
});

const AROUND = { from, to: new Date(NOW + 86_400_000).toISOString() };
const GONE = [...HELD, LATE]
  .filter((call) => !KEPT.includes(call))
  .map((call) => (call.cdrKey === CORRECTED.cdrKey ? CORRECTED : call));

/** Keys of the calls that all pages of a look-up give. */
async function found(client: CallsClient, more: Record<string, string>): Promise<Map<string, ToldCall>> {
  const calls = new Map<string, ToldCall>();
  for (let cursor: string | null | undefined; cursor !== null;) {
    const page: Record<string, string> = cursor === undefined ? {} : { cursor };
    const { body } = await client.get('/v1/calls', {
      number: NUMBER,
      ...AROUND,
      limit: '7',
      ...more,
      ...page,
    });
    for (const call of body.data) {
      if (calls.has(call.id)) throw new Error('a call is given twice');
      calls.set(call.id, call);
    }
    cursor = body.next_cursor;
  }
  return calls;
}

/** What tells calls of this test apart. */
const marks = (calls: Iterable<Pick<ToldCall, 'start' | 'duration_s'>>): string[] =>
  [...calls].map(({ start, duration_s: s }) => `${Date.parse(start)} ${s}`).sort();
const marksOf = (calls: readonly StoredCall[]): string[] =>
  calls.map(({ startMs, durationMs }) => `${startMs} ${durationMs / 1000}`).sort();

await tap.test(
  'look-ups of the role legal have what only a hold keeps, marked; billing has not',
  async (t) => {
    const ofNumber = KEPT.filter((call) => isOf(call, NUMBER));
    const shown = await found(agent, {});
    t.strictSame(marks(shown.values()), marksOf(ofNumber));
    t.notOk([...shown.values()].some(({ held }) => held));
    const all = await found(lawyer, {});
    t.strictSame(marks([...all.values()].filter(({ held }) => !held)), marksOf(ofNumber));
    const held = [...all.values()].filter((call) => call.held);
    t.strictSame(marks(held), marksOf(GONE));
    for (const [role, of] of [
      ['calling', ({ calling }: StoredCall) => calling],
      ['displayed', ({ displayed }: StoredCall) => displayed],
      ['dialed', ({ dialed }: StoredCall) => dialed],
    ] as const)
      t.strictSame(
        marks([...(await found(lawyer, { role })).values()].filter((call) => call.held)),
        marksOf(GONE.filter((call) => of(call) === NUMBER)),
        role,
      );
    const { body } = await lawyer.get('/v1/calls', { number: NUMBER, ...AROUND, limit: '7' });
    t.equal(body.matched['calls'], String(all.size));
    const csv = await lawyer.text('/v1/calls', { number: NUMBER, ...AROUND, format: 'csv' });
    t.equal(csv.split(/\r?\n/).filter((line) => line.endsWith(',true')).length, GONE.length);
    for (const client of [agent, lawyer])
      t.match(await client.get('/v1/usage', { ...AROUND, group_by: '' }), {
        body: { data: [{ records: String(KEPT.length) }] },
      });

    const { id } = held[0]!;
    t.match(await lawyer.get(`/v1/calls/${id}`), { status: 200, body: { data: { id, held: true } } });
    t.match(await agent.get(`/v1/calls/${id}`), { status: 404, body: { code: 'CALL_UNKNOWN' } });
    const kept = [...all.values()].find((call) => !call.held)!;
    t.match(await lawyer.get(`/v1/calls/${kept.id}`), { body: { data: { held: false } } });
    const journal = await store.rows<{ lookups: number }>(
      `SELECT uniqExact(request_id) AS lookups FROM ${store.database}.lookup_journal WHERE phase = 'started' AND route = '/v1/calls/{id}'`,
    );
    t.match(journal, [{ lookups: 2 }]);
    // Their holder asked that they are not shown.
    const ofRestricted = { number: RESTRICTED, from: new Date(OLDEST!.startMs - 1).toISOString() };
    const others = [...KEPT, ...GONE].filter((call) => isOf(call, RESTRICTED));
    t.strictSame(marks((await found(lawyer, ofRestricted)).values()), marksOf(others));
    // Who may see both what is held and what is restricted sees it.
    const [counsel, officer] = [await clientOf('legal', 'privacy'), await clientOf('privacy')];
    const both = await found(counsel, ofRestricted);
    t.strictSame(marks(both.values()), marksOf([...others, ...OWN]));
    const own = [...both.values()].find(
      (call) => call.calling_number === RESTRICTED && Date.parse(call.start) < Date.parse(from),
    )!;
    t.match(await counsel.get(`/v1/calls/${own.id}`), { status: 200, body: { data: { held: true } } });
    t.match(await lawyer.get(`/v1/calls/${own.id}`), { status: 403, body: { code: 'CALL_WITHHELD' } });
    t.match(await officer.get(`/v1/calls/${own.id}`), { status: 404, body: { code: 'CALL_UNKNOWN' } });
  },
);

await tap.test('an export has them too, marked', async (t) => {
  const out = join(installation.folder, 'export');
  const person = ['--number', NUMBER, '--from', AROUND.from, '--to', AROUND.to, '--reason', 'letter'];
  await installation.json('subject', 'export', ...person, '--unmasked', '--out', out, '--json');
  const rows = JSON.parse(readFileSync(join(out, 'calls.json'), 'utf8')) as {
    readonly start: string;
    readonly duration_s: number;
    readonly held: number;
  }[];
  t.strictSame(marks(rows.filter(({ held }) => held === 1)), marksOf(GONE));
  t.strictSame(
    marks(rows.filter(({ held }) => held === 0)),
    marksOf(KEPT.filter((call) => isOf(call, NUMBER))),
  );
});

await tap.test('lifted: the next sweep takes the copies of the restriction', async (t) => {
  const lifted = await installation.json<ToldReport>(
    'subject',
    'lift',
    ...restricted,
    '--reason',
    'all said',
    '--json',
  );
  t.equal(lifted.state, 'done');
  await installation.json('retention', 'sweep', '--json');
  t.strictSame(await storedIds(store, 'cdr_held'), idsOf([...HELD, LATE]));
});

await tap.test('released: the next sweep takes the copies', async (t) => {
  t.match(await installation.json<ListedHold[]>('retention', 'holds', '--json'), [
    { hold_id: holdId, state: 'in force', calls: HELD.length + 1, numbers: [NUMBER] },
    { state: 'released', calls: 0, numbers: [RESTRICTED], release_reason: 'all said' },
  ]);
  t.equal((await installation.run('retention', 'release', holdId, '--reason', 'settled')).code, 0);
  const twice = await installation.run('retention', 'release', holdId, '--reason', 'settled');
  t.match([twice.code, twice.stderr], [1, /HOLD_UNKNOWN/]);
  t.match(await installation.json('retention', 'sweep', '--json'), { holds_ended: [holdId] });
  t.strictSame(await storedIds(store, 'cdr_held'), []);
  t.match(await installation.json<ListedHold[]>('retention', 'holds', '--json'), [
    { state: 'released', calls: 0, release_reason: 'settled' },
    {},
  ]);
});
