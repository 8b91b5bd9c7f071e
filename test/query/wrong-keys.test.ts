import tap from 'tap';
import type { Caller } from '../../query/auth.ts';
import { Problem } from '../../query/problem.ts';
import { WrongKeys } from '../../query/wrong-keys.ts';

const caller: Caller = {
  keyId: 'k',
  nameInLogs: 'k',
  roles: new Set(),
  isShared: false,
  requestsPerMinute: undefined,
};
const wrong = async (): Promise<Caller> => Promise.reject(new Problem('KEY_INVALID', ''));
const right = async (): Promise<Caller> => caller;

await tap.test('beyond the limit nothing is looked up, until the minute is over', async (t) => {
  const clock = { ms: 0 };
  const keys = new WrongKeys(2, () => clock.ms);
  for (const token of ['a', 'b'])
    await t.rejects(keys.around('192.0.2.1', token, wrong), { code: 'KEY_INVALID' });
  let asked = 0;
  const counted = async (): Promise<Caller> => {
    asked++;
    return caller;
  };
  clock.ms = 59_001;
  await t.rejects(keys.around('192.0.2.1', 'c', counted), {
    code: 'KEYS_THROTTLED',
    headers: { 'retry-after': '1' },
  });
  t.equal(asked, 0);
  clock.ms = 60_000;
  t.equal(await keys.around('192.0.2.1', 'c', counted), caller);
});

await tap.test('one client is an IPv4 address in either notation, or 64 bits of IPv6', async (t) => {
  const keys = new WrongKeys(1, () => 0);
  await t.rejects(keys.around('::ffff:192.0.2.1', 'a', wrong), { code: 'KEY_INVALID' });
  await t.rejects(keys.around('192.0.2.1', 'a', right), { code: 'KEYS_THROTTLED' });
  t.equal(await keys.around('192.0.2.2', 'a', right), caller);
  await t.rejects(keys.around('2001:db8:1:2::1', 'a', wrong), { code: 'KEY_INVALID' });
  await t.rejects(keys.around('2001:db8:1:2:9::1', 'a', right), { code: 'KEYS_THROTTLED' });
  t.equal(await keys.around('2001:db8:1:3::1', 'a', right), caller);
});

await tap.test('a key that was right goes on until it is wrong', async (t) => {
  const keys = new WrongKeys(1, () => 0);
  await keys.around('192.0.2.1', 'good', right);
  await t.rejects(keys.around('192.0.2.1', 'bad', wrong), { code: 'KEY_INVALID' });
  t.equal(await keys.around('192.0.2.1', 'good', right), caller);
  await t.rejects(keys.around('192.0.2.1', 'good', wrong), { code: 'KEY_INVALID' });
  await t.rejects(keys.around('192.0.2.1', 'good', right), { code: 'KEYS_THROTTLED' }, 'it was revoked');
});

await tap.test('what fails otherwise is no wrong key', async (t) => {
  const keys = new WrongKeys(1, () => 0);
  for (const code of ['KEY_MISSING', 'ADDRESS_NOT_ALLOWED', 'ISSUER_UNAVAILABLE'] as const) {
    const check = async (): Promise<Caller> => Promise.reject(new Problem(code, ''));
    await t.rejects(keys.around('192.0.2.1', 'a', check), { code });
  }
  t.equal(await keys.around('192.0.2.1', 'b', right), caller);
});
