import tap, { type Test } from 'tap';
import type { Installation } from '../cdrhouse-program.ts';
import { testServers } from '../test-servers.ts';
import { insertsInto, type ClickhouseProxy, type Hold } from './clickhouse-proxy.ts';
import { readAll } from './harness.ts';
import {
  beforeLedger,
  change,
  joined,
  killedAt,
  NEW,
  OLD,
  markersInto,
  Readings,
  verdict,
  type Bounds,
  type Snapshot,
} from './readings.ts';

/** kill -9 once more, while a range is read again under another reading. */
const servers = testServers(import.meta.url);
const readings = await Readings.fill(tap, servers);

/** An installation that was killed with rows of the old reading beyond the ledger. */
async function killedUnderOld(t: Test): Promise<{ installation: Installation; bounds: Bounds }> {
  const installation = await readings.installation(t, 2, OLD);
  const bounds = await killedAt(t, servers, installation, beforeLedger(1));
  return { installation, bounds };
}

async function expected(t: Test, bounds: Bounds): Promise<Snapshot> {
  return joined(await readings.reference(t, OLD), await readings.reference(t, NEW), bounds);
}

const KILLS: Readonly<Record<string, (proxy: ClickhouseProxy) => Hold>> = {
  'between the claim and the markers': (proxy) => proxy.hold('before', markersInto('cdr')),
  "between the two tables' markers": (proxy) => proxy.hold('before', markersInto('cdr_by_number')),
  'after the markers, before any is read again': (proxy) => proxy.hold('before', insertsInto('cdr')),
  'while it is read again': (proxy) => beforeLedger(1)(proxy),
};

for (const [name, hold] of Object.entries(KILLS)) {
  await tap.test(`killed again ${name}`, async (t) => {
    const { installation, bounds } = await killedUnderOld(t);
    change(installation, readings.topic, NEW);
    await killedAt(t, servers, installation, hold);
    await readAll(installation);
    await verdict(t, installation, await expected(t, bounds));
  });
}

await tap.test('changed, killed while it is read again, and changed back', async (t) => {
  const { installation, bounds } = await killedUnderOld(t);
  change(installation, readings.topic, NEW);
  const later = await killedAt(t, servers, installation, beforeLedger(1));
  change(installation, readings.topic, OLD);
  await readAll(installation);
  // What the ledger took under the other settings stays as it was read.
  await verdict(t, installation, joined(await expected(t, bounds), await readings.reference(t, OLD), later));
});
