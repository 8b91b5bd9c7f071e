import * as fc from 'fast-check';
import tap from 'tap';
import { CallIds, type CallKey } from '../../schemas/call-id.ts';

const secret = Buffer.alloc(32, 7);
const keys: fc.Arbitrary<CallKey> = fc.record(
  {
    callingKey: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
    startMs: fc.integer({ min: Date.UTC(1900, 0, 1), max: Date.UTC(2290, 0, 1) }),
    cdrKey: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(String),
  },
  { noNullPrototype: true },
);

await tap.test('an id resolves to its call, is stable and URL-safe', async (t) => {
  const ids = new CallIds(secret);
  fc.assert(
    fc.property(keys, (key) => {
      const id = ids.idOf(key);
      t.match(id, /^[A-Za-z0-9_-]{54}$/);
      t.equal(new CallIds(secret).idOf(key), id, 'the same in every process');
      t.strictSame(ids.keyOf(id), key);
    }),
    { numRuns: 50 },
  );
});

await tap.test('an id is the one that was given before: other systems keep it', async (t) => {
  const ids = new CallIds(secret);
  const key = { callingKey: 4174423620554836, startMs: 1788220800123, cdrKey: '18446744073709551615' };
  t.equal(ids.idOf(key), 'z75LY1RjJQGDlhhd15NUkerPk8Sj2xNoVOubATZ6DzlBCQOHi-YvxA');
  t.equal(
    ids.idOf({ callingKey: 12, startMs: -86400001, cdrKey: '56' }),
    'PVjvssMngfBP5VsYEulM8BEFaM3iRmpHMfDhC4e1SdBU0dyP5RNzBA',
  );
});

await tap.test('64-bit keys beyond 2^53 are exact', async (t) => {
  const ids = new CallIds(secret);
  const key = { callingKey: 1, startMs: 0, cdrKey: '9007199254740993' };
  t.strictSame(ids.keyOf(ids.idOf(key)), key);
});

await tap.test('any change of an id is refused', async (t) => {
  const ids = new CallIds(secret);
  const id = ids.idOf({ callingKey: 12, startMs: 34, cdrKey: '56' });
  for (let at = 0; at < id.length; at++) {
    const changed = id.slice(0, at) + (id[at] === 'A' ? 'B' : 'A') + id.slice(at + 1);
    t.equal(ids.keyOf(changed), undefined);
  }
  for (const damaged of ['', id.slice(1), id.slice(0, -1), `${id}A`, `${id}=`, ` ${id}`]) {
    t.equal(ids.keyOf(damaged), undefined);
  }
  t.equal(new CallIds(Buffer.alloc(32, 8)).keyOf(id), undefined, 'another database');
});

await tap.test('ids of one caller have nothing in common', async (t) => {
  const ids = new CallIds(secret);
  const two = [1, 2].map((n) => ids.idOf({ callingKey: 99, startMs: 1_700_000_000_000, cdrKey: String(n) }));
  t.not(two[0]!.slice(0, 8), two[1]!.slice(0, 8));
  t.not(two[0]!.slice(22, 40), two[1]!.slice(22, 40));
});
