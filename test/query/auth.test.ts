import tap from 'tap';
import { createApiKey } from '../../schemas/api-key.ts';
import { ApiKeys, requireAgent, requireRole } from '../../query/auth.ts';
import type { ApiKeyRow } from '../../query/clickhouse.ts';

const key = createApiKey();
const row: ApiKeyRow = {
  keyId: key.keyId,
  secretHash: key.secretHash,
  roles: ['disputes'],
  expiresAt: null,
  revoked: false,
  shared: false,
  requestsPerMinute: 0,
  addresses: [],
};
const ADDRESS = '127.0.0.1';

interface Clock {
  ms: number;
}

function keysOver(rows: Map<string, ApiKeyRow>, clock: Clock): { keys: ApiKeys; asked: () => number } {
  let asked = 0;
  const keys = new ApiKeys(
    async (keyId) => {
      asked++;
      return rows.get(keyId);
    },
    () => clock.ms,
  );
  return { keys, asked: () => asked };
}

await tap.test('a valid key gives its caller; the table is asked every few seconds', async (t) => {
  const clock = { ms: 0 };
  const { keys, asked } = keysOver(new Map([[key.keyId, row]]), clock);
  for (let i = 0; i < 3; i++) {
    const caller = await keys.callerOf(`Bearer ${key.token}`, ADDRESS);
    t.equal(caller.keyId, key.keyId);
    t.ok(requireRole(caller, 'disputes'));
    t.throws(() => requireRole(caller, 'billing'), { code: 'ROLE_MISSING', status: 403 });
  }
  t.equal(asked(), 1);
  clock.ms = 3001;
  await keys.callerOf(`bearer ${key.token}`, ADDRESS);
  t.equal(asked(), 2);
});

await tap.test('no key, and a key that is not valid', async (t) => {
  const clock = { ms: 1_000_000 };
  const { keys } = keysOver(new Map([[key.keyId, row]]), clock);
  for (const header of [undefined, '', 'Basic abc', 'Bearer', `Bearer ${key.token} x`]) {
    await t.rejects(keys.callerOf(header, ADDRESS), {
      code: 'KEY_MISSING',
      headers: { 'www-authenticate': /^Bearer/ },
    });
  }
  const other = createApiKey();
  const wrongSecret = `cdrh_${key.keyId}_${other.token.slice(-43)}`;
  for (const token of ['x', other.token, wrongSecret]) {
    await t.rejects(keys.callerOf(`Bearer ${token}`, ADDRESS), { code: 'KEY_INVALID', status: 401 });
  }
});

await tap.test('a revoked key ends within 5 s, an expired one on time', async (t) => {
  const clock = { ms: 10_000 };
  const rows = new Map([[key.keyId, row]]);
  const { keys } = keysOver(rows, clock);
  await keys.callerOf(`Bearer ${key.token}`, ADDRESS);
  rows.set(key.keyId, { ...row, revoked: true });
  clock.ms += 5000;
  await t.rejects(keys.callerOf(`Bearer ${key.token}`, ADDRESS), { code: 'KEY_INVALID' });
  rows.set(key.keyId, { ...row, expiresAt: 21 });
  clock.ms = 20_999;
  await t.resolves(keys.callerOf(`Bearer ${key.token}`, ADDRESS));
  clock.ms = 21_000;
  await t.rejects(
    keys.callerOf(`Bearer ${key.token}`, ADDRESS),
    { code: 'KEY_INVALID' },
    'although remembered as valid',
  );
});

await tap.test('a failed look-up is not remembered', async (t) => {
  let broken = true;
  const keys = new ApiKeys(async () => {
    if (broken) throw new Error('down');
    return row;
  });
  await t.rejects(keys.callerOf(`Bearer ${key.token}`, ADDRESS), { message: 'down' });
  broken = false;
  await t.resolves(keys.callerOf(`Bearer ${key.token}`, ADDRESS));
});

function keysWith(parts: Partial<ApiKeyRow>): ApiKeys {
  return new ApiKeys(async () => ({ ...row, ...parts }));
}

await tap.test('a key works only from its addresses', async (t) => {
  const authorization = `Bearer ${key.token}`;
  for (const [addresses, address] of [
    [[], '192.0.2.1'],
    [['192.0.2.0/24'], '192.0.2.255'],
    [['192.0.2.1'], '192.0.2.1'],
    [['192.0.2.0/24'], '::ffff:192.0.2.7'],
    [['198.51.100.0/24', '2001:db8::/32'], '2001:db8::7'],
  ] as const) {
    t.equal((await keysWith({ addresses }).callerOf(authorization, address)).keyId, key.keyId);
  }
  for (const [addresses, address] of [
    [['192.0.2.0/24'], '192.0.3.0'],
    [['192.0.2.0/24'], '2001:db8::1'],
    [['2001:db8::/32'], '2001:db9::1'],
    [['nonsense'], '192.0.2.1'],
    [['10.1'], '10.0.0.1'],
    [['192.0.2.0/24'], ''],
  ] as const) {
    await t.rejects(
      keysWith({ addresses }).callerOf(authorization, address),
      { code: 'ADDRESS_NOT_ALLOWED', status: 403 },
      `${addresses.join()} ${address}`,
    );
  }
  const wrong = `Bearer cdrh_${key.keyId}_${createApiKey().token.slice(-43)}`;
  await t.rejects(
    keysWith({ addresses: ['192.0.2.0/24'] }).callerOf(wrong, '192.0.3.0'),
    { code: 'KEY_INVALID' },
    'the secret first',
  );
});

await tap.test('a shared key names its agent', async (t) => {
  const authorization = `Bearer ${key.token}`;
  const shared = await keysWith({ shared: true }).callerOf(authorization, ADDRESS);
  for (const agent of [undefined, '', ' ']) {
    t.throws(() => requireAgent(shared, agent), { code: 'HEADER_MISSING', message: /^Agent is required/ });
  }
  requireAgent(shared, 'ada');
  requireAgent(await keysWith({}).callerOf(authorization, ADDRESS), undefined);
});
