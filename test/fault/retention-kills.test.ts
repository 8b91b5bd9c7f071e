import tap from 'tap';
import type { SweepReport } from '../../retention/sweep.ts';
import { addMonths } from '../../schemas/retention-term.ts';
import { sqlTime } from '../../schemas/sql-time.ts';
import { Installation } from '../cdrhouse-program.ts';
import { CallStore, versionAt } from '../query/stored-calls.ts';
import {
  adjustments,
  adjustmentsOf,
  idsOf,
  keepUntilSwept,
  keptOf,
  monthsOfCalls,
  partsOnDisk,
  storedIds,
} from '../retention/months-of-calls.ts';
import { testServers } from '../test-servers.ts';
import { ClickhouseProxy, type Exchange } from './clickhouse-proxy.ts';

/** kill -9 of a sweep between any two of its steps, then the same command again: as if nothing had been. */
const servers = testServers(import.meta.url);
const TERM = 2;
const DAY_MS = 86_400_000;
const NOW = Date.now();
const CALLS = monthsOfCalls(NOW, 4, TERM);

const says = (pattern: RegExp) => (exchange: Exchange) => pattern.test(exchange.statement);

interface Point {
  readonly name: string;
  readonly when: 'before' | 'after';
  readonly at: (exchange: Exchange) => boolean;
}

/** The n-th row of a proof: begun, counted, done, of one month after the other. */
function proof(n: number): (exchange: Exchange) => boolean {
  let met = 0;
  return ({ table }) => table === 'retention_proofs' && ++met === n;
}

const POINTS: readonly Point[] = [
  { name: 'begun, nothing counted', when: 'after', at: proof(1) },
  { name: 'what is held copied', when: 'after', at: says(/^INSERT INTO \S+cdr_held/) },
  { name: 'counted, and the proof does not say so', when: 'after', at: says(/^INSERT INTO \S+adjustments/) },
  { name: 'counted, nothing gone', when: 'after', at: proof(2) },
  { name: 'a month gone from cdr only', when: 'after', at: says(/cdr DROP PARTITION 2/) },
  { name: 'gone, not proven', when: 'before', at: proof(3) },
  { name: 'days gone from cdr only', when: 'after', at: says(/cdr DELETE IN PARTITION/) },
  { name: 'the settings of a table changed', when: 'after', at: says(/old_parts_lifetime = 0/) },
  { name: 'copies of a hold that ended gone', when: 'after', at: says(/cdr_held DROP PARTITION/) },
  { name: 'a table begun', when: 'after', at: ({ table }) => table === 'table_proofs' },
  { name: 'rows of a table gone, not proven', when: 'after', at: says(/dead_letters DELETE WHERE/) },
];

for (const [index, { name, when, at }] of POINTS.entries()) {
  await tap.test(`kill -9: ${name}`, async (t) => {
    const store = new CallStore(t, servers, index);
    await store.create(TERM);
    await keepUntilSwept(store);
    await store.store(CALLS, versionAt(1));
    const kept = keptOf(CALLS, TERM, NOW);
    const gone = CALLS.filter((call) => !kept.includes(call));
    const { calling: number } = gone[0]!;
    const held = gone.filter(({ calling, displayed, dialed }) =>
      [calling, displayed, dialed].includes(number),
    );
    await store.insert('legal_holds', [
      {
        hold_id: 'held',
        numbers: [number],
        from_at: 1,
        to_at: sqlTime(NOW),
        until_at: sqlTime(NOW + DAY_MS),
      },
    ]);
    await store.insert('cdr_held', [{ hold_id: 'over', start_at: 1 }]);
    const letter = { message_at: sqlTime(addMonths(NOW, -TERM) - 60_000), raw: 'x', rejected_at: 1 };
    await store.insert('dead_letters', [letter]);

    const installation = new Installation(t, servers, index, {}, { CDRHOUSE_RETENTION_MONTHS: String(TERM) });
    const proxy = await ClickhouseProxy.start(t, servers.clickhouse);
    proxy.on(says(/sleepEachRow/), async (lock) =>
      lock.answer(await proxy.forward(lock, { whileClientIsThere: true })),
    );
    const hold = proxy.hold(when, at);
    installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
    const killed = installation.start('retention', 'sweep');
    await hold.reached;
    // Another one waits for its turn.
    const again = installation.start('retention', 'sweep', '--json');
    killed.child.kill('SIGKILL');
    await killed.ended;
    await hold.release();

    const { code, stdout, stderr } = await again.ended;
    t.equal(code, 0, stderr);
    const { months } = JSON.parse(stdout) as SweepReport;
    t.ok(months.every(({ state }) => state === 'done'));
    t.strictSame(await storedIds(store, 'cdr_held'), idsOf(held), 'what is held, and nothing else');
    t.strictSame(await store.rows(`SELECT 1 FROM ${store.database}.dead_letters`), []);
    const [ofTables] = await store.rows<object>(
      `SELECT groupUniqArray(toString(state)) AS states, groupArray(toString(table)) AS tables FROM ${store.database}.table_proofs FINAL`,
    );
    t.strictSame(ofTables, { states: ['done'], tables: ['dead_letters'] });
    for (const table of ['cdr', 'cdr_by_number'] as const) {
      t.strictSame(await storedIds(store, table), idsOf(kept), table);
      const { files, active } = await partsOnDisk(store, table);
      t.strictSame(files, active, `${table}: on disk`);
    }
    t.strictSame(await adjustments(store), adjustmentsOf(gone), 'counted once');
    const proofs = await store.rows<{ kind: string; state: string; calls: string }>(
      `SELECT kind, state, toString(sum(calls_before)) AS calls FROM ${store.database}.retention_proofs FINAL GROUP BY ALL ORDER BY kind`,
    );
    const [tables] = await store.rows<{ changed: string }>(
      `SELECT countIf(create_table_query LIKE '%old_parts_lifetime%') AS changed FROM system.tables WHERE database = '${store.database}'`,
    );
    t.equal(Number(tables!.changed), 0, 'the settings are as they were');
    t.strictSame(new Set(proofs.map(({ state }) => state)), new Set(['done']));
    t.equal(
      proofs.reduce((sum, { calls }) => sum + Number(calls), 0),
      gone.length,
      'each call stands in one proof',
    );
  });
}
