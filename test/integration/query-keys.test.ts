import { createHash } from 'node:crypto';
import { request } from 'node:http';
import tap from 'tap';
import { Installation, until, type Running } from '../cdrhouse-program.ts';
import { readDocument } from '../documents.ts';
import { testServers } from '../test-servers.ts';

/** API keys as the operator makes them with the command, and as the API takes them. */
const servers = testServers(import.meta.url);
const installation = new Installation(tap, servers, 0, {
  feeds: [{ name: 'first', topic: `${servers.databases[0]}.first` }],
  query: { log_level: 'info', trusted_proxies: ['127.0.0.1'] },
});
const { code, stderr } = await installation.run('migrate');
if (code !== 0) throw new Error(stderr);
const { serve, url } = await listening();

async function listening(): Promise<{ serve: Running; url: string }> {
  const running = installation.start('serve');
  tap.teardown(() => running.child.kill('SIGTERM'));
  await until('the API listens', () => /listening on (http:\S+)/.test(running.stderr()));
  return { serve: running, url: /listening on (http:\S+)/.exec(running.stderr())![1]! };
}

interface Made {
  readonly key_id: string;
  readonly token: string;
}

interface Listed {
  readonly key_id: string;
  readonly state: string;
  readonly roles: string[];
  readonly label: string;
  readonly shared: boolean;
  readonly requests_per_minute: number | null;
  readonly addresses: string[];
}

interface Asked {
  readonly status: number;
  readonly headers: Headers;
  readonly code: string | undefined;
}

const add = (...options: string[]): Promise<Made> => installation.json('keys', 'add', ...options, '--json');

async function listed(keyId: string): Promise<Listed | undefined> {
  const keys = await installation.json<Listed[]>('keys', 'list', '--json');
  return keys.find(({ key_id: id }) => id === keyId);
}

async function ask(token: string, headers: Record<string, string> = {}): Promise<Asked> {
  const response = await fetch(`${url}/v1/usage?from=2026-01-01&to=2026-01-02`, {
    headers: { authorization: `Bearer ${token}`, ...headers },
  });
  const body = (await response.json()) as { code?: string };
  return { status: response.status, headers: response.headers, code: body.code };
}

await tap.test('a key is shown once, and kept as a salted hash', async (t) => {
  const { token, key_id: keyId } = await add('--role', 'billing', '--label', 'rating job');
  const secret = token.split('_').slice(2).join('_');
  const [row] = await installation.rows<{ secret_hash: string }>(
    `SELECT * FROM {db}.api_keys WHERE key_id = '${keyId}'`,
  );
  const [salt, hash] = row!.secret_hash.split(':') as [string, string];
  t.equal(hash, createHash('sha256').update(Buffer.from(salt, 'hex')).update(secret).digest('hex'));
  t.notMatch(JSON.stringify(row), secret);
  const { stdout } = await installation.run('keys', 'list');
  t.match(stdout, new RegExp(`^${keyId}  valid  billing  rating job$`, 'm'));
  t.notMatch(stdout, secret);
  t.notMatch(stdout, hash);
  t.equal((await ask(token)).status, 200);
  t.notMatch(serve.stderr(), secret, 'nor is it in the log');
});

await tap.test('the keys of docs/api.md', async (t) => {
  const block = readDocument('docs/api.md').blocks.find(({ text }) => text.includes('cdrhouse keys add'))!;
  const nextYear = String(new Date().getUTCFullYear() + 1);
  const { key_id: revoked } = await add('--role', 'billing', '--label', 'to revoke');
  const names = [...block.text.matchAll(/^([A-Z_]+)=/gm)].map(([, name]) => name!);
  t.ok(names.length >= 4);
  const told = names.map((name) => `echo "token $${name}"`).join('\n');
  const script = `set -eu\nKEY_ID=${revoked}\n${block.text.replaceAll('2027-', `${nextYear}-`)}${told}`;
  const ended = await installation.startScript(t, script).ended;
  t.equal(ended.code, 0, ended.stderr);
  const tokens = [...ended.stdout.matchAll(/^token (\S+)$/gm)].map(([, token]) => token!);
  t.equal(new Set(tokens).size, names.length);
  for (const token of tokens) t.not((await ask(token)).status, 401, 'each is a key');
  t.match(await listed(revoked), { state: 'revoked' });
  const keys = await installation.json<Listed[]>('keys', 'list', '--json');
  const labels = new Set(keys.map(({ label }) => label));
  for (const [, label] of block.text.matchAll(/--label '([^']+)'/g)) t.ok(labels.has(label!), label!);
});

await tap.test('what keys add refuses', async (t) => {
  for (const options of [
    ['--role', 'root'],
    [],
    ['--role', 'billing', '--rate', '0'],
    ['--role', 'billing', '--address', '10.1'],
    ['--role', 'billing', '--address', '10.0.0.0/33'],
    ['--role', 'billing', '--expires', 'soon'],
    ['--role', 'billing', '--label', 'two\nlines'],
  ]) {
    t.equal((await installation.run('keys', 'add', ...options)).code, 2, options.join(' '));
  }
});

await tap.test('a revoked key and an expired one', async (t) => {
  const { token, key_id: keyId } = await add('--role', 'billing');
  t.equal((await ask(token)).status, 200);
  t.equal((await installation.run('keys', 'revoke', keyId)).code, 0);
  const revokedAt = Date.now();
  await until('the key has ended', async () => (await ask(token)).status === 401);
  t.ok(Date.now() - revokedAt < 5000, 'within 5 s, as the document says');
  t.equal((await listed(keyId))?.state, 'revoked');
  t.match(await installation.run('keys', 'revoke', '000000000000'), { code: 1, stderr: /KEY_UNKNOWN/ });
  const expired = await add('--role', 'billing', '--expires', '2026-01-01');
  t.match(await ask(expired.token), { status: 401, code: 'KEY_INVALID' });
  t.equal((await listed(expired.key_id))?.state, 'expired');
});

await tap.test('a key has a rate of its own', async (t) => {
  const { token, key_id: keyId } = await add('--role', 'billing', '--rate', '3');
  t.match(await listed(keyId), { requests_per_minute: 3 });
  for (let sent = 0; sent < 3; sent++) t.equal((await ask(token)).status, 200);
  const beyond = await ask(token);
  t.match(beyond, { status: 429, code: 'RATE_LIMITED' });
  const seconds = Number(beyond.headers.get('retry-after'));
  t.ok(seconds >= 1 && seconds <= 60, `Retry-After: ${seconds}`);
  t.equal(beyond.headers.get('content-type'), 'application/problem+json');
  const other = await add('--role', 'billing');
  for (let sent = 0; sent < 5; sent++) t.equal((await ask(other.token)).status, 200, 'others go on');
});

await tap.test('a key works only from its addresses', async (t) => {
  const here = await add('--role', 'billing', '--address', '127.0.0.0/8');
  const elsewhere = await add('--role', 'billing', '--address', '192.0.2.0/24', '2001:db8::/32');
  t.match(await listed(elsewhere.key_id), { addresses: ['192.0.2.0/24', '2001:db8::/32'] });
  t.equal((await ask(here.token)).status, 200);
  t.match(await ask(elsewhere.token), { status: 403, code: 'ADDRESS_NOT_ALLOWED' });
  // The proxy in front, which the settings trust, says from where it comes.
  t.equal((await ask(elsewhere.token, { 'x-forwarded-for': '192.0.2.9' })).status, 200);
  t.match(await ask(elsewhere.token, { 'x-forwarded-for': '192.0.2.9, 198.51.100.1' }), {
    code: 'ADDRESS_NOT_ALLOWED',
  });
  const untrusted = await rawAsk(elsewhere.token, '127.0.0.2', '192.0.2.9');
  t.equal(untrusted, 403, 'what another than the proxy claims counts for nothing');
});

/** From another address of this machine. */
async function rawAsk(token: string, localAddress: string, forwardedFor: string): Promise<number> {
  return new Promise((resolve, reject) => {
    request(`${url}/v1/usage?from=2026-01-01&to=2026-01-02`, {
      localAddress,
      headers: { authorization: `Bearer ${token}`, 'x-forwarded-for': forwardedFor },
    })
      .once('response', (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      })
      .once('error', reject)
      .end();
  });
}

await tap.test('a shared key names its agent on every route', async (t) => {
  const { token, key_id: keyId } = await add('--role', 'billing', '--shared');
  t.match(await listed(keyId), { shared: true });
  t.match(await ask(token), { status: 400, code: 'HEADER_MISSING' });
  t.equal((await ask(token, { agent: 'ada' })).status, 200);
});

await tap.test('only the roles that a key names', async (t) => {
  const { token } = await add('--role', 'disputes', 'privacy');
  t.match(await ask(token), { status: 403, code: 'ROLE_MISSING' });
});

const from = (address: string) => ({ 'x-forwarded-for': address });

await tap.test('who sends wrong keys is slowed down, and nobody else', async (t) => {
  const { token } = await add('--role', 'billing');
  const wrong = `cdrh_000000000000_${'a'.repeat(43)}`;
  const guesser = from('192.0.2.77');
  t.equal((await ask(token, guesser)).status, 200);
  const answers = [];
  for (let sent = 0; sent < 31; sent++) answers.push(await ask(wrong, guesser));
  t.strictSame(
    answers.map(({ status }) => status),
    [...Array<number>(30).fill(401), 429],
  );
  const last = answers.at(-1)!;
  t.equal(last.code, 'KEYS_THROTTLED');
  const seconds = Number(last.headers.get('retry-after'));
  t.ok(seconds >= 1 && seconds <= 60, `Retry-After: ${seconds}`);
  t.equal((await ask(token, guesser)).status, 200, 'a key that was right from there goes on');
  const { token: other } = await add('--role', 'billing');
  t.match(await ask(other, guesser), { status: 429, code: 'KEYS_THROTTLED' }, 'another waits');
  t.equal((await ask(other, from('192.0.2.78'))).status, 200);
  t.equal((await ask(wrong, from('192.0.2.78'))).status, 401);
});

await tap.test('the journal gets another key, and is searched under both', async (t) => {
  const { token } = await add('--role', 'disputes', 'privacy');
  const get = async (path: string, at = url) => {
    const response = await fetch(`${at}${path}`, {
      headers: { authorization: `Bearer ${token}`, 'case-id': 'rotation', purpose: 'dispute' },
    });
    return (await response.json()) as {
      data: { route: string; request_id: string }[];
      next_cursor: string | null;
      number: { hmac_key_ids: string[] };
      unsearchable: number;
    };
  };
  const look = '/v1/calls?number=%2B33639980001';
  await get(look);
  await get(look);
  const journal = '/v1/journal?number=%2B33639980001';
  const before = await get(`${journal}&limit=1`);
  const rotated = await installation.json<{ former: string; current: string }>(
    'keys',
    'rotate-journal',
    '--json',
  );
  t.strictSame(before.number.hmac_key_ids, [rotated.former]);
  t.notMatch(rotated.current, rotated.former);
  const { url: restarted } = await listening();
  await get(look, restarted);
  const after = await get(journal, restarted);
  t.strictSame(after.number.hmac_key_ids, [rotated.current, rotated.former]);
  t.equal(after.data.filter(({ route }) => route === '/v1/calls').length, 3);
  t.equal(after.unsearchable, 0);
  const page = await get(`${journal}&limit=1&cursor=${before.next_cursor}`, restarted);
  t.equal(page.data.length, 1, 'a cursor from before goes on');
  t.not(page.data[0]!.request_id, before.data[0]!.request_id);
  const keys = await installation.rows<{ hmac_key_id: string }>(
    `SELECT DISTINCT hmac_key_id FROM {db}.lookup_journal WHERE case_id = 'rotation' AND route = '/v1/calls' ORDER BY at`,
  );
  t.strictSame(new Set(keys.map(({ hmac_key_id: id }) => id)), new Set([rotated.former, rotated.current]));
});
