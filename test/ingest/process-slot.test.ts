import { hostname } from 'node:os';
import tap from 'tap';
import { claimProcessSlot } from '../../ingest/process-slot.ts';

/** Names of groups that no other program on this host uses. */
const group = (name: string): string => `${name}-${process.pid}`;

await tap.test('processes of a group take the first free slot, and give it back', async (t) => {
  const first = await claimProcessSlot(group('slots'));
  const second = await claimProcessSlot(group('slots'));
  t.strictSame(
    [first.instanceId, second.instanceId],
    [0, 1].map((slot) => `cdrhouse-${hostname()}-${slot}`),
  );
  first.release();
  const third = await claimProcessSlot(group('slots'));
  t.equal(third.instanceId, first.instanceId);
  for (const slot of [second, third]) slot.release();
});

await tap.test('groups with names longer than a socket name keep their slots apart', async (t) => {
  const long = group('g'.repeat(240));
  const claimed = [
    await claimProcessSlot(`${long}-a`),
    await claimProcessSlot(`${long}-a`),
    await claimProcessSlot(`${long}-b`),
  ];
  t.strictSame(
    claimed.map(({ instanceId }) => instanceId),
    [0, 1, 0].map((slot) => `cdrhouse-${hostname()}-${slot}`),
  );
  for (const slot of claimed) slot.release();
});
