import tap from 'tap';
import { lastCalendarYear, Traffic } from '../../ingest/generate/traffic.ts';
import { Installation, until } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';
import { ledgerStored, storedLines } from './harness.ts';

/** A million generated calls, with a kill -9 in the middle: the set that is stored is the set that was generated. */
const servers = testServers(import.meta.url);
const COUNT = 1_000_000;
const SEED = 42;
const installation = new Installation(
  tap,
  servers,
  0,
  { feeds: [{ name: 'default', topic: servers.databases[0] }] },
  // Small batches, so that the kill falls between many.
  { CDRHOUSE_INGEST_BATCH_BYTES_MAX: '4194304' },
);

function difference(a: ReadonlySet<string>, b: ReadonlySet<string>): string[] {
  return [...a].filter((line) => !b.has(line)).slice(0, 5);
}

await tap.test('kill -9 after the ledger has moved, then a restart: equal sets', async (t) => {
  await installation.run('migrate');
  t.equal(
    (
      await installation.run(
        'generate',
        '--count',
        String(COUNT),
        '--seed',
        String(SEED),
        '--topic',
        installation.database,
      )
    ).code,
    0,
  );
  const ingest = installation.start('ingest');
  await until('the ledger has moved', async () => (await ledgerStored(installation)) > 0);
  ingest.child.kill('SIGKILL');
  await ingest.ended;
  const atKill = await ledgerStored(installation);
  t.ok(atKill > 0 && atKill < COUNT, `killed with work in hand: ${atKill} of ${COUNT} in the ledger`);

  const summary = await installation.json<{ consumed: number; stored: number }>('ingest', '--until-idle');
  t.equal(summary.stored, COUNT - atKill, 'it went on where the ledger stood');

  const traffic = new Traffic(SEED, COUNT, lastCalendarYear(Date.now()));
  const generated = new Set(Array.from({ length: COUNT }, (_, index) => traffic.line(index)));
  const lines = await storedLines(installation);
  const stored = new Set(lines);
  t.equal(lines.length, COUNT, 'none is stored twice');
  t.strictSame(difference(generated, stored), [], 'none is lost or changed');
  t.strictSame(difference(stored, generated), [], 'none is made up');
});

await tap.test('both tables agree', async (t) => {
  const expected = await installation.rows(
    `SELECT call_id, 'dialed' AS role FROM {db}.cdr FINAL UNION ALL
     SELECT call_id, 'displayed' AS role FROM {db}.cdr FINAL
     WHERE displayed_caller_id != '' AND displayed_caller_id != calling_number
     EXCEPT SELECT call_id, toString(role) FROM {db}.cdr_by_number FINAL`,
  );
  t.strictSame(expected, [], 'nothing is missing in cdr_by_number');
  const [counts] = await installation.rows<Record<string, string>>(
    `SELECT (SELECT count() FROM {db}.cdr_by_number FINAL) AS rows,
       (SELECT count() + countIf(displayed_caller_id != '' AND displayed_caller_id != calling_number) FROM {db}.cdr FINAL) AS wanted`,
  );
  t.equal(counts!['rows'], counts!['wanted'], 'nothing is there beyond');
});

await tap.test('the ledger tiles every partition', async (t) => {
  const ranges = await installation.rows<{
    partition: number;
    from_offset: string;
    next_offset: string;
    generation: string;
  }>(
    'SELECT partition, from_offset, next_offset, generation FROM {db}.ingest_ledger FINAL ORDER BY partition, generation, from_offset',
  );
  const ends = new Map<number, number>();
  for (const { partition, from_offset, next_offset } of ranges) {
    t.equal(Number(from_offset), ends.get(partition) ?? 0, `partition ${partition}`);
    ends.set(partition, Number(next_offset));
  }
  t.equal(await ledgerStored(installation), COUNT);
});
