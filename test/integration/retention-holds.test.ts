import tap from 'tap';
import type { ListedHold } from '../../retention/holds.ts';
import type { SweepReport } from '../../retention/sweep.ts';
import { Installation } from '../cdrhouse-program.ts';
import { CallStore, versionAt, type StoredCall } from '../query/stored-calls.ts';
import { idsOf, keepUntilSwept, keptOf, monthsOfCalls, storedIds } from '../retention/months-of-calls.ts';
import { testServers } from '../test-servers.ts';

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

await tap.test('the sweep copies what came since, before it drops', async (t) => {
  await store.store([LATE], versionAt(2));
  const { months } = await installation.json<SweepReport>('retention', 'sweep', '--json');
  const overdue = [...HELD, LATE].filter((call) => !KEPT.includes(call));
  t.equal(
    months.reduce((sum, { held }) => sum + held, 0),
    overdue.length,
  );
  t.strictSame(await storedIds(store, 'cdr'), idsOf(KEPT), 'the term is kept in the call tables');
  t.strictSame(await storedIds(store, 'cdr_held'), idsOf([...HELD, LATE]));
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

await tap.test('released: the next sweep takes the copies', async (t) => {
  t.match(await installation.json<ListedHold[]>('retention', 'holds', '--json'), [
    { hold_id: holdId, state: 'in force', calls: HELD.length + 1, numbers: [NUMBER] },
  ]);
  t.equal((await installation.run('retention', 'release', holdId, '--reason', 'settled')).code, 0);
  const twice = await installation.run('retention', 'release', holdId, '--reason', 'settled');
  t.match([twice.code, twice.stderr], [1, /HOLD_UNKNOWN/]);
  t.match(await installation.json('retention', 'sweep', '--json'), { holds_ended: [holdId] });
  t.strictSame(await storedIds(store, 'cdr_held'), []);
  t.match(await installation.json<ListedHold[]>('retention', 'holds', '--json'), [
    { state: 'released', calls: 0, release_reason: 'settled' },
  ]);
});
