import { isInNetworks, readNetwork } from '../schemas/address-list.ts';
import { isApiRole, keyIdOf, verifyApiKey, type ApiRole } from '../schemas/api-key.ts';
import type { ApiKeyRow } from './clickhouse.ts';
import { Problem } from './problem.ts';

/** Who asks. */
export interface Caller {
  readonly keyId: string;
  /** What may stand in logs. */
  readonly nameInLogs: string;
  readonly roles: ReadonlySet<ApiRole>;
  /** A team uses the key: each request names its Agent. */
  readonly isShared: boolean;
  /** Undefined: the limit of the settings. */
  readonly requestsPerMinute: number | undefined;
}

/** A key is looked up again after this time, so a revoked key ends within 5 s. */
const KEY_CACHE_MS = 3000;
/** Keys that are remembered at most; the oldest is forgotten first. */
const CACHED_KEYS_MAX = 10_000;

const BEARER = /^Bearer +(\S{1,200})$/i;

/** Checks API keys against the table, which it asks at most every few seconds for one key. */
export class ApiKeys {
  readonly #lookUp: (keyId: string) => Promise<ApiKeyRow | undefined>;
  readonly #now: () => number;
  readonly #cache = new Map<
    string,
    { readonly row: Promise<ApiKeyRow | undefined>; readonly untilMs: number }
  >();

  constructor(lookUp: (keyId: string) => Promise<ApiKeyRow | undefined>, now: () => number = Date.now) {
    this.#lookUp = lookUp;
    this.#now = now;
  }

  /**
   * The caller that the `Authorization` header names. Throws the Problems KEY_MISSING (no bearer token),
   * KEY_INVALID (unknown, wrong, revoked or expired: which of them is not told) and ADDRESS_NOT_ALLOWED.
   */
  async callerOf(authorization: string | undefined, address: string): Promise<Caller> {
    const token = BEARER.exec(authorization ?? '')?.[1];
    if (token === undefined) throw new Problem('KEY_MISSING', '');
    const keyId = keyIdOf(token);
    const row = keyId === undefined ? undefined : await this.#rowOf(keyId);
    if (row === undefined || !verifyApiKey(token, row.secretHash) || !this.#isValid(row)) {
      throw new Problem('KEY_INVALID', '');
    }
    if (!isAllowedFrom(address, row.addresses)) throw new Problem('ADDRESS_NOT_ALLOWED', '');
    return {
      keyId: row.keyId,
      nameInLogs: row.keyId,
      roles: new Set(row.roles.filter((role) => isApiRole(role))),
      isShared: row.shared,
      requestsPerMinute: row.requestsPerMinute === 0 ? undefined : row.requestsPerMinute,
    };
  }

  #isValid({ revoked, expiresAt }: ApiKeyRow): boolean {
    return !revoked && (expiresAt === null || expiresAt * 1000 > this.#now());
  }

  #rowOf(keyId: string): Promise<ApiKeyRow | undefined> {
    const cached = this.#cache.get(keyId);
    if (cached !== undefined && cached.untilMs > this.#now()) return cached.row;
    const row = this.#lookUp(keyId);
    this.#cache.delete(keyId);
    this.#cache.set(keyId, { row, untilMs: this.#now() + KEY_CACHE_MS });
    // A failed look-up must not be remembered.
    row.catch(() => this.#cache.delete(keyId));
    if (this.#cache.size > CACHED_KEYS_MAX) this.#cache.delete(this.#cache.keys().next().value!);
    return row;
  }
}

/** A list that names networks allows nothing else, also where none of them can be read. */
function isAllowedFrom(address: string, networks: readonly string[]): boolean {
  if (networks.length === 0) return true;
  const read = networks.map((text) => readNetwork(text)).filter((network) => network !== undefined);
  return isInNetworks(address, read);
}

/** Throws the Problem HEADER_MISSING where a team shares the key and the request does not say who of them asks. */
export function requireAgent(caller: Caller, agent: unknown): void {
  if (!caller.isShared || (typeof agent === 'string' && agent.trim() !== '')) return;
  throw new Problem('HEADER_MISSING', 'Agent is required: several people share this API key');
}

/** Throws the Problem ROLE_MISSING where the caller has not this role. */
export function requireRole(caller: Caller | null, role: ApiRole): Caller {
  if (caller?.roles.has(role) === true) return caller;
  throw new Problem('ROLE_MISSING', `this needs the role ${role}`);
}
