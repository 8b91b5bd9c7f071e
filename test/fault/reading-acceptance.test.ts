import tap from 'tap';
import { testServers } from '../test-servers.ts';
import { readAll } from './harness.ts';
import { change, changedAfterCrash, ledgerEnds, OLD, Readings, verdict, type Variant } from './readings.ts';

/** Settings that decide what is accepted have changed; and a change that has nothing to replace. */
const servers = testServers(import.meta.url);
const readings = await Readings.fill(tap, servers);

const CHANGES: Readonly<Record<string, Variant>> = {
  'more is accepted': { ...OLD, earliest_start: '2025-01-01' },
  'less is accepted': { ...OLD, earliest_start: '2025-09-01' },
};

for (const [name, variant] of Object.entries(CHANGES)) {
  await tap.test(`changed between crash and restart: ${name}`, async (t) => {
    const [old, now] = [await readings.reference(t, OLD), await readings.reference(t, variant)];
    t.notSame(now.calls.length, old.calls.length, 'other records are accepted');
    await changedAfterCrash(t, servers, readings, OLD, variant);
  });
}

await tap.test('changed after a clean end: nothing is corrected', async (t) => {
  const installation = await readings.installation(t, 2, OLD);
  await readAll(installation);
  change(installation, readings.topic, CHANGES['more is accepted']!);
  t.match(await readAll(installation), { consumed: 0 });
  await verdict(t, installation, await readings.reference(t, OLD));
  const [row] = await installation.rows<{ correction: number }>(
    'SELECT max(correction) AS correction FROM {db}.ingest_ledger',
  );
  t.equal(row!.correction, 0);
  t.equal((await ledgerEnds(installation)).size, 2);
});
