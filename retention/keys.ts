import type { ClickHouseClient } from '@clickhouse/client';
import { API_ROLES, createApiKey } from '../schemas/api-key.ts';
import { CdrhouseError } from '../schemas/errors.ts';
import type { Settings } from '../schemas/settings.ts';
import { sqlTime } from '../schemas/sql-time.ts';
import { retentionClient } from './clickhouse.ts';

export interface NewKey {
  readonly roles: readonly string[];
  readonly label: string;
  /** UTC ms; undefined: it does not expire. */
  readonly expiresAt: number | undefined;
}

/** A key as `keys list` shows it. */
export interface ListedKey {
  readonly key_id: string;
  readonly state: 'valid' | 'expired' | 'revoked';
  readonly roles: readonly string[];
  readonly label: string;
  readonly created_at: string;
  readonly expires_at: string | null;
}

interface KeyRow {
  readonly key_id: string;
  readonly secret_hash: string;
  readonly label: string;
  readonly roles: readonly string[];
  readonly created_at: string;
  readonly expires_at: string | null;
  readonly revoked: number;
  readonly version: string;
}

/** Stores a new key as a salted hash; the token is given once and kept nowhere. Throws USAGE_WRONG for an unknown role. */
export async function addKey(
  settings: Settings,
  { roles, label, expiresAt }: NewKey,
): Promise<{ token: string; keyId: string }> {
  const known: readonly string[] = API_ROLES;
  const unknown = roles.filter((role) => !known.includes(role));
  if (unknown.length > 0) {
    throw new CdrhouseError(
      'USAGE_WRONG',
      `unknown role ${unknown.join(', ')}; allowed: ${API_ROLES.join(', ')}`,
    );
  }
  const { token, keyId, secretHash } = createApiKey();
  await withClient(settings, async (client) => {
    await insert(client, settings, {
      key_id: keyId,
      secret_hash: secretHash,
      label,
      roles: [...new Set(roles)],
      created_at: seconds(Date.now()),
      expires_at: expiresAt === undefined ? null : seconds(expiresAt),
      revoked: 0,
      version: '1',
    });
  });
  return { token, keyId };
}

export function listKeys(settings: Settings): Promise<ListedKey[]> {
  return withClient(settings, async (client) => {
    const now = seconds(Date.now());
    return (await readKeys(client, settings)).map(
      ({ key_id, roles, label, created_at, expires_at, revoked }) => ({
        key_id,
        state: revoked === 1 ? 'revoked' : expires_at !== null && expires_at <= now ? 'expired' : 'valid',
        roles,
        label,
        created_at,
        expires_at,
      }),
    );
  });
}

/** Ends a key. Throws KEY_UNKNOWN. */
export async function revokeKey(settings: Settings, keyId: string): Promise<void> {
  await withClient(settings, async (client) => {
    const key = (await readKeys(client, settings)).find((candidate) => candidate.key_id === keyId);
    if (key === undefined) throw new CdrhouseError('KEY_UNKNOWN', `there is no key ${keyId}`);
    await insert(client, settings, { ...key, revoked: 1, version: String(BigInt(key.version) + 1n) });
  });
}

async function readKeys(client: ClickHouseClient, { clickhouse }: Settings): Promise<KeyRow[]> {
  const result = await client.query({
    query: `SELECT key_id, secret_hash, label, roles, toString(created_at) AS created_at,
        if(isNull(expires_at), NULL, toString(expires_at)) AS expires_at, revoked, toString(version) AS version
      FROM ${clickhouse.database}.api_keys FINAL ORDER BY api_keys.created_at, key_id`,
    format: 'JSONEachRow',
  });
  return result.json<KeyRow>();
}

async function insert(client: ClickHouseClient, { clickhouse }: Settings, row: KeyRow): Promise<void> {
  await client.insert({ table: `${clickhouse.database}.api_keys`, values: [row], format: 'JSONEachRow' });
}

async function withClient<T>(settings: Settings, work: (client: ClickHouseClient) => Promise<T>): Promise<T> {
  const client = retentionClient(settings);
  try {
    return await work(client);
  } finally {
    await client.close();
  }
}

/** `2026-11-24 08:00:00` */
function seconds(ms: number): string {
  return sqlTime(ms).slice(0, 19);
}
