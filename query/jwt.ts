import { createRemoteJWKSet, errors, jwtVerify, type JWTPayload, type JWTVerifyGetKey } from 'jose';
import { API_ROLES } from '../schemas/api-key.ts';
import { HEADER_TEXT } from '../schemas/api.ts';
import type { Caller } from './auth.ts';
import { Problem } from './problem.ts';

/** Which tokens are taken. */
export interface JwtSettings {
  /** Where the issuer publishes its keys. */
  readonly jwksUrl: string;
  readonly issuer: string;
  readonly audience: string;
  /** Name of the claim, or the path to it (`realm_access.roles`), that holds the roles. */
  readonly rolesClaim: string;
}

/** Signatures by the issuer's private key only: with a shared secret whoever verifies could also sign. */
const ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
];
const CLOCK_SECONDS_MAX = 5;
const FETCH_MS_MAX = 5000;
/** A key that the issuer withdraws ends within this time. */
const KEYS_CACHE_MS = 600_000;
/** A token that names an unknown key makes the keys be read again, at most this often. */
const KEYS_COOLDOWN_MS = 30_000;

const BEARER_JWT = /^Bearer +([\w-]+\.[\w-]+\.[\w-]+)$/i;
const JOURNAL_TEXT = new RegExp(HEADER_TEXT);

/** Errors that the token is to blame for; anything else is the issuer that cannot be reached. */
const TOKEN_ERRORS: readonly (abstract new (...given: never[]) => Error)[] = [
  errors.JWTExpired,
  errors.JWTClaimValidationFailed,
  errors.JWTInvalid,
  errors.JWSInvalid,
  errors.JWSSignatureVerificationFailed,
  errors.JWKSNoMatchingKey,
  errors.JWKSMultipleMatchingKeys,
  errors.JOSEAlgNotAllowed,
  errors.JOSENotSupported,
];

/** True where the `Authorization` header holds a JSON Web Token; API keys have no dots. */
export function isJwt(authorization: string | undefined): boolean {
  return BEARER_JWT.test(authorization ?? '');
}

/** Checks the tokens of one issuer, whose keys are read as they are needed. */
export class JwtCallers {
  readonly #settings: JwtSettings;
  readonly #keys: JWTVerifyGetKey;

  constructor(settings: JwtSettings) {
    this.#settings = settings;
    this.#keys = createRemoteJWKSet(new URL(settings.jwksUrl), {
      timeoutDuration: FETCH_MS_MAX,
      cacheMaxAge: KEYS_CACHE_MS,
      cooldownDuration: KEYS_COOLDOWN_MS,
    });
  }

  /**
   * The caller that a token names: `jwt:` and its subject. Throws the Problems KEY_INVALID (signature, issuer,
   * audience, expiry or subject: which of them is not told) and ISSUER_UNAVAILABLE (its keys cannot be read).
   */
  async callerOf(authorization: string): Promise<Caller> {
    const payload = await this.#verify(BEARER_JWT.exec(authorization)?.[1] ?? '');
    const { sub: subject = '' } = payload;
    const keyId = `jwt:${subject}`;
    // It goes into the journal, where it must be possible to look for it.
    if (subject === '' || !JOURNAL_TEXT.test(keyId)) throw new Problem('KEY_INVALID', '');
    const roles = rolesOf(payload, this.#settings.rolesClaim);
    return {
      keyId,
      // A subject may be a name or an address.
      nameInLogs: 'jwt',
      roles: new Set(API_ROLES.filter((role) => roles.includes(role))),
      isShared: false,
      requestsPerMinute: undefined,
    };
  }

  async #verify(token: string): Promise<JWTPayload> {
    const { issuer, audience } = this.#settings;
    try {
      const { payload } = await jwtVerify(token, this.#keys, {
        issuer,
        audience,
        algorithms: ALGORITHMS,
        requiredClaims: ['exp', 'sub'],
        clockTolerance: CLOCK_SECONDS_MAX,
      });
      return payload;
    } catch (cause) {
      if (TOKEN_ERRORS.some((type) => cause instanceof type)) throw new Problem('KEY_INVALID', '');
      throw new Problem('ISSUER_UNAVAILABLE', '', { cause });
    }
  }
}

/** The words of the claim: a list, or one text with spaces between (as `scope` has them). */
function rolesOf(payload: JWTPayload, claim: string): string[] {
  // The whole name first: names of claims that are URLs have dots too.
  const value = payload[claim] ?? claim.split('.').reduce<unknown>(memberOf, payload);
  if (typeof value === 'string') return value.split(' ');
  return Array.isArray(value) ? value.filter((role) => typeof role === 'string') : [];
}

function memberOf(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined;
  return (value as Record<string, unknown>)[name];
}
