import tap from 'tap';
import { Lease, OwnershipLost } from '../../ingest/lease.ts';

const SESSION_MS = 10_000;

/** A lease over a clock and a coordinator that the test moves. */
function leased(prove: () => Promise<void>): { lease: Lease; pass: (ms: number) => void } {
  let now = 1_000_000;
  const proven = async (): Promise<number> => {
    const sentAtMs = now;
    await prove();
    return sentAtMs;
  };
  const lease = new Lease(SESSION_MS, proven, () => now);
  return { lease, pass: (ms) => (now += ms) };
}

await tap.test('the first write needs a proof; then the last accepted commit is one', async (t) => {
  let proofs = 0;
  const { lease, pass } = leased(async () => void proofs++);
  t.equal(await lease.deadline(), 1_000_000 + SESSION_MS);
  t.equal(proofs, 1);
  pass(4000);
  lease.proven(1_004_000);
  pass(4000);
  t.equal(await lease.deadline(), 1_004_000 + SESSION_MS, 'no other question');
  t.equal(proofs, 1);
  pass(2000);
  t.equal(await lease.deadline(), 1_010_000 + SESSION_MS, 'half of the session is over');
  t.equal(proofs, 2);
});

await tap.test('the proof counts from the moment at which it was asked for', async (t) => {
  const played = leased(async () => played.pass(3000));
  t.equal(await played.lease.deadline(), 1_000_000 + SESSION_MS);
});

await tap.test('who was stopped beyond the session and has another owner now gets no deadline', async (t) => {
  let isOwner = true;
  const { lease, pass } = leased(async () => {
    if (!isOwner) throw new OwnershipLost(new Error('UNKNOWN_MEMBER_ID'));
  });
  await lease.deadline();
  isOwner = false;
  pass(60_000);
  await t.rejects(lease.deadline(), { code: 'OWNERSHIP_LOST', retryable: false });
});

await tap.test('many who wait share one proof', async (t) => {
  let proofs = 0;
  const { lease } = leased(async () => void proofs++);
  await Promise.all([lease.deadline(), lease.deadline(), lease.deadline()]);
  t.equal(proofs, 1);
});
