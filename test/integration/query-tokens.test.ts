import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWTPayload } from 'jose';
import tap from 'tap';
import { CallStore } from '../query/stored-calls.ts';
import { testServers } from '../test-servers.ts';

/** JSON Web Tokens of an issuer that publishes its keys, which this file plays. */
const servers = testServers(import.meta.url);
const ISSUER = 'https://issuer.example';
const AUDIENCE = 'cdrhouse';

const [first, second, foreign] = await Promise.all(
  ['RS256', 'ES256', 'RS256'].map((algorithm) => generateKeyPair(algorithm)),
);
const published = await Promise.all(
  [
    { key: first!.publicKey, kid: 'one', alg: 'RS256' },
    { key: second!.publicKey, kid: 'two', alg: 'ES256' },
  ].map(async ({ key, kid, alg }) => ({ ...(await exportJWK(key)), kid, alg, use: 'sig' })),
);
let fetched = 0;
let isDown = false;
const issuer = createServer((request, response) => {
  fetched++;
  request.resume();
  response.writeHead(isDown ? 500 : 200, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ keys: published }));
});
issuer.listen(0, '127.0.0.1');
await once(issuer, 'listening');
tap.teardown(() => issuer.close());
const jwksUrl = `http://127.0.0.1:${(issuer.address() as AddressInfo).port}/jwks.json`;

const store = new CallStore(tap, servers, 0);
await store.create();
const jwt = { jwt_jwks_url: jwksUrl, jwt_issuer: ISSUER, jwt_audience: AUDIENCE };
const url = await store.serve(tap, store.settings(jwt));

interface Signing {
  readonly key?: CryptoKey;
  readonly kid?: string;
  readonly alg?: string;
  readonly issuer?: string;
  readonly audience?: string;
  readonly subject?: string;
  readonly expires?: string;
}

async function token(claims: JWTPayload, signing: Signing = {}): Promise<string> {
  const signed = new SignJWT(claims)
    .setProtectedHeader({ alg: signing.alg ?? 'RS256', kid: signing.kid ?? 'one' })
    .setIssuedAt()
    .setIssuer(signing.issuer ?? ISSUER)
    .setAudience(signing.audience ?? AUDIENCE)
    .setSubject(signing.subject ?? 'ada');
  if (signing.expires !== 'never') signed.setExpirationTime(signing.expires ?? '5m');
  return signed.sign(signing.key ?? first!.privateKey);
}

async function ask(text: string, at = url): Promise<{ status: number; code: string | undefined }> {
  const response = await fetch(`${at}/v1/calls?number=211474`, {
    headers: { authorization: `Bearer ${text}`, 'case-id': 'C-1', purpose: 'dispute' },
  });
  const body = (await response.json()) as { code?: string };
  return { status: response.status, code: body.code };
}

await tap.test('a token with the role, and its subject in the journal', async (t) => {
  t.match(await ask(await token({ roles: ['disputes', 'unknown'] })), { status: 200 });
  t.match(await ask(await token({ roles: 'openid disputes' })), { status: 200 }, 'as a text with spaces');
  const ecdsa = { key: second!.privateKey, kid: 'two', alg: 'ES256', subject: 'bob' };
  t.match(await ask(await token({ roles: ['disputes'] }, ecdsa)), { status: 200 });
  const rows = await store.rows<{ key_id: string }>(
    `SELECT DISTINCT key_id FROM ${store.database}.lookup_journal ORDER BY key_id`,
  );
  t.strictSame(
    rows.map(({ key_id: keyId }) => keyId),
    ['jwt:ada', 'jwt:bob'],
  );
  t.equal(fetched, 1, 'the keys are remembered');
});

await tap.test('a token without the role', async (t) => {
  for (const claims of [{}, { roles: ['billing'] }, { roles: 7 }, { roles: { disputes: true } }]) {
    t.match(await ask(await token(claims)), { status: 403, code: 'ROLE_MISSING' });
  }
});

await tap.test('tokens that are not taken', async (t) => {
  const roles = { roles: ['disputes'] };
  const wrong: [string, string][] = [
    ['another issuer', await token(roles, { issuer: 'https://other.example' })],
    ['another audience', await token(roles, { audience: 'other' })],
    ['expired', await token(roles, { expires: '-1m' })],
    ['never expires', await token(roles, { expires: 'never' })],
    ['signed by another key', await token(roles, { key: foreign!.privateKey })],
    ['unknown key', await token(roles, { kid: 'three' })],
    ['a subject that cannot be journalled', await token(roles, { subject: 'a\nb' })],
    ['a subject that is too long', await token(roles, { subject: 'a'.repeat(97) })],
    ['no subject', await token(roles, { subject: '' })],
  ];
  const [header, payload, signature] = (await token({ roles: ['billing'] })).split('.') as [
    string,
    string,
    string,
  ];
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as object;
  const altered = Buffer.from(JSON.stringify({ ...claims, ...roles })).toString('base64url');
  const unsigned = Buffer.from('{"alg":"none"}').toString('base64url');
  wrong.push(['altered', `${header}.${altered}.${signature}`], ['unsigned', `${unsigned}.${altered}.AA`]);
  const secret = new TextEncoder().encode(JSON.stringify(published[0]));
  const byPublicKey = await new SignJWT({ ...claims, ...roles })
    .setProtectedHeader({ alg: 'HS256', kid: 'one' })
    .sign(secret);
  wrong.push(['signed with the public key as a secret', byPublicKey], ['no token', 'a.b.c']);
  for (const [name, text] of wrong) t.match(await ask(text), { status: 401, code: 'KEY_INVALID' }, name);
});

await tap.test('the claim can be named by its path; API keys go on working', async (t) => {
  const nested = await store.serve(t, store.settings({ ...jwt, jwt_roles_claim: 'realm_access.roles' }));
  t.match(await ask(await token({ realm_access: { roles: ['disputes'] } }), nested), { status: 200 });
  t.match(await ask(await token({ roles: ['disputes'] }), nested), { code: 'ROLE_MISSING' });
  t.match(await ask((await store.key(['disputes'])).token, nested), { status: 200 });
});

await tap.test('an issuer that cannot be reached', async (t) => {
  isDown = true;
  t.teardown(() => (isDown = false));
  const fresh = await store.serve(t, store.settings(jwt));
  t.match(await ask(await token({ roles: ['disputes'] }), fresh), {
    status: 503,
    code: 'ISSUER_UNAVAILABLE',
  });
  isDown = false;
  t.match(await ask(await token({ roles: ['disputes'] }), fresh), { status: 200 }, 'as soon as it answers');
});

await tap.test('without an issuer no token is taken', async (t) => {
  const plain = await store.serve(t);
  t.equal((await ask(await token({ roles: ['disputes'] }), plain)).status, 401);
});
