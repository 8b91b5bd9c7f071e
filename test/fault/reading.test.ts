import tap from 'tap';
import { testServers } from '../test-servers.ts';
import { changedAfterCrash, OLD, Readings, type Variant } from './readings.ts';

/** kill -9 between the tables and the ledger, and the feed has other settings when ingest starts again. */
const servers = testServers(import.meta.url);
const readings = await Readings.fill(tap, servers);

const CHANGES: Readonly<Record<string, Variant>> = {
  'time zone': { ...OLD, time_zone: 'America/New_York' },
  country: { ...OLD, country: 'DE' },
  name: { ...OLD, name: 'renamed' },
  identity: { ...OLD, identity: 'position' },
};

for (const [name, variant] of Object.entries(CHANGES)) {
  await tap.test(`changed between crash and restart: ${name}`, async (t) => {
    const [old, now] = [await readings.reference(t, OLD), await readings.reference(t, variant)];
    // Another identity gives other keys, which the snapshots leave out.
    t.equal(now.calls.join() === old.calls.join(), name === 'identity', 'they read differently');
    await changedAfterCrash(t, servers, readings, OLD, variant);
  });
}
