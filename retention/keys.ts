import type { ClickHouseClient } from '@clickhouse/client';
import { readNetwork } from '../schemas/address-list.ts';
import { API_ROLES, createApiKey } from '../schemas/api-key.ts';
import { CdrhouseError } from '../schemas/errors.ts';
import type { Settings } from '../schemas/settings.ts';
import { sqlTime } from '../schemas/sql-time.ts';
import { select, withRetentionClient } from './clickhouse.ts';

export interface NewKey {
  readonly roles: readonly string[];
  readonly label: string;
  /** UTC ms; undefined: it does not expire. */
  readonly expiresAt: number | undefined;
  /** Several people use it, so that each request must name its Agent. */
  readonly shared: boolean;
  /** Undefined: the limit of the settings. */
  readonly requestsPerMinute: number | undefined;
  /** Networks (CIDR) from which it may be used; none: any. */
  readonly addresses: readonly string[];
}

/** A key as `keys list` shows it. */
export interface ListedKey {
  readonly key_id: string;
  readonly state: 'valid' | 'expired' | 'revoked';
  readonly roles: readonly string[];
  readonly label: string;
  readonly created_at: string;
  readonly expires_at: string | null;
  readonly shared: boolean;
  /** Null: the limit of the settings. */
  readonly requests_per_minute: number | null;
  readonly addresses: readonly string[];
}

interface KeyRow {
  readonly key_id: string;
  readonly secret_hash: string;
  readonly label: string;
  readonly roles: readonly string[];
  readonly created_at: string;
  readonly expires_at: string | null;
  readonly revoked: number;
  readonly shared: number;
  readonly requests_per_minute: number;
  readonly addresses: readonly string[];
  readonly version: string;
}

const LABEL_LENGTH_MAX = 200;
const CONTROL = /\p{Cc}/u;

/** Stores a new key as a salted hash; the token is given once and kept nowhere. Throws USAGE_WRONG. */
export async function addKey(settings: Settings, key: NewKey): Promise<{ token: string; keyId: string }> {
  checkKey(key);
  const { roles, label, expiresAt, shared, requestsPerMinute, addresses } = key;
  const { token, keyId, secretHash } = createApiKey();
  await withRetentionClient(settings, async (client) => {
    await insert(client, settings, {
      key_id: keyId,
      secret_hash: secretHash,
      label,
      roles: [...new Set(roles)],
      created_at: seconds(Date.now()),
      expires_at: expiresAt === undefined ? null : seconds(expiresAt),
      revoked: 0,
      shared: shared ? 1 : 0,
      requests_per_minute: requestsPerMinute ?? 0,
      addresses: [...new Set(addresses)],
      version: '1',
    });
  });
  return { token, keyId };
}

function checkKey({ roles, label, addresses }: NewKey): void {
  const known: readonly string[] = API_ROLES;
  const unknown = roles.filter((role) => !known.includes(role));
  if (unknown.length > 0) {
    throw new CdrhouseError(
      'USAGE_WRONG',
      `unknown role ${unknown.join(', ')}; allowed: ${API_ROLES.join(', ')}`,
    );
  }
  const wrong = addresses.filter((address) => readNetwork(address) === undefined);
  if (wrong.length > 0) {
    throw new CdrhouseError(
      'USAGE_WRONG',
      `${wrong.join(', ')}: no network; allowed: 10.0.0.0/8, 2001:db8::/32, 10.0.0.1`,
    );
  }
  if (label.length > LABEL_LENGTH_MAX || CONTROL.test(label)) {
    throw new CdrhouseError('USAGE_WRONG', `a label has at most ${LABEL_LENGTH_MAX} printable characters`);
  }
}

export function listKeys(settings: Settings): Promise<ListedKey[]> {
  return withRetentionClient(settings, async (client) => {
    const now = seconds(Date.now());
    return (await readKeys(client, settings)).map(
      ({
        key_id,
        roles,
        label,
        created_at,
        expires_at,
        revoked,
        shared,
        requests_per_minute,
        addresses,
      }) => ({
        key_id,
        state: revoked === 1 ? 'revoked' : expires_at !== null && expires_at <= now ? 'expired' : 'valid',
        roles,
        label,
        created_at,
        expires_at,
        shared: shared === 1,
        requests_per_minute: requests_per_minute === 0 ? null : requests_per_minute,
        addresses,
      }),
    );
  });
}

/** A key as a line of text says it. */
export function keyCells(key: ListedKey): string[] {
  return [
    key.key_id,
    key.state,
    key.roles.join(','),
    key.label,
    ...(key.shared ? ['shared'] : []),
    ...(key.requests_per_minute === null ? [] : [`${key.requests_per_minute}/min`]),
    ...(key.addresses.length === 0 ? [] : [`from ${key.addresses.join(',')}`]),
    ...(key.expires_at === null ? [] : [`until ${key.expires_at}`]),
  ];
}

/** Ends a key. Throws KEY_UNKNOWN. */
export async function revokeKey(settings: Settings, keyId: string): Promise<void> {
  await withRetentionClient(settings, async (client) => {
    const key = (await readKeys(client, settings)).find((candidate) => candidate.key_id === keyId);
    if (key === undefined) throw new CdrhouseError('KEY_UNKNOWN', `there is no key ${keyId}`);
    await insert(client, settings, { ...key, revoked: 1, version: String(BigInt(key.version) + 1n) });
  });
}

function readKeys(client: ClickHouseClient, { clickhouse }: Settings): Promise<KeyRow[]> {
  return select(
    client,
    `SELECT key_id, secret_hash, label, roles, toString(created_at) AS created_at,
      if(isNull(expires_at), NULL, toString(expires_at)) AS expires_at, revoked, shared,
      requests_per_minute, addresses, toString(version) AS version
    FROM ${clickhouse.database}.api_keys FINAL ORDER BY api_keys.created_at, key_id`,
  );
}

async function insert(client: ClickHouseClient, { clickhouse }: Settings, row: KeyRow): Promise<void> {
  await client.insert({ table: `${clickhouse.database}.api_keys`, values: [row], format: 'JSONEachRow' });
}

/** `2026-11-24 08:00:00` */
function seconds(ms: number): string {
  return sqlTime(ms).slice(0, 19);
}
