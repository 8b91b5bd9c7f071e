import tap from 'tap';
import { API_ROLES, createApiKey, isApiRole, keyIdOf, verifyApiKey } from '../../schemas/api-key.ts';

await tap.test('a new key verifies against its own hash only', async (t) => {
  const [key, other] = [createApiKey(), createApiKey()];
  t.match(key.token, /^cdrh_[0-9a-z]{12}_[A-Za-z0-9_-]{43}$/);
  t.match(key.secretHash, /^[0-9a-f]{32}:[0-9a-f]{64}$/);
  t.equal(keyIdOf(key.token), key.keyId);
  t.ok(verifyApiKey(key.token, key.secretHash));
  t.notOk(verifyApiKey(other.token, key.secretHash));
  t.notOk(verifyApiKey(key.token, other.secretHash));
});

await tap.test('neither hash nor key id tell the secret', async (t) => {
  const { token, keyId, secretHash } = createApiKey();
  const secret = token.slice(`cdrh_${keyId}_`.length);
  t.notMatch(secretHash, secret);
  t.notMatch(secretHash, Buffer.from(secret, 'base64url').toString('hex'));
});

await tap.test('damaged tokens and hashes are refused, not thrown at', async (t) => {
  const { token, secretHash } = createApiKey();
  for (const damaged of ['', 'cdrh_', token.slice(1), token.slice(0, -1), `${token}x`, token.toUpperCase()]) {
    t.notOk(verifyApiKey(damaged, secretHash), damaged.length.toString());
  }
  for (const damaged of [
    '',
    ':',
    secretHash.slice(2),
    secretHash.slice(0, -1),
    secretHash.replace(':', ''),
  ]) {
    t.notOk(verifyApiKey(token, damaged));
  }
});

await tap.test('roles are named exactly', async (t) => {
  t.ok(API_ROLES.every((role) => isApiRole(role)));
  t.notOk(isApiRole('admin'));
  t.notOk(isApiRole('Disputes'));
});
