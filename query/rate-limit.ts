import rateLimit from '@fastify/rate-limit';
import type { FastifyRequest } from 'fastify';
import type { ApiServer, QueryContext } from './context.ts';
import { Problem } from './problem.ts';

const MINUTE_MS = 60_000;
/** Callers that are counted at one time; the one that asked longest ago is forgotten first. */
const CALLERS_MAX = 10_000;

/**
 * Counts requests per caller and minute, in this process; beyond the caller's own limit, or that of the settings, a
 * request is refused with RATE_LIMITED. Routes that are registered later are counted, after the caller is known.
 */
export async function limitRates(app: ApiServer, { settings }: QueryContext): Promise<void> {
  const limitOf = ({ caller }: Pick<FastifyRequest, 'caller'>): number | undefined =>
    caller === null ? undefined : (caller.requestsPerMinute ?? settings.query.requests_per_minute);
  await app.register(rateLimit, {
    hook: 'onRequest',
    timeWindow: MINUTE_MS,
    cache: CALLERS_MAX,
    keyGenerator: ({ caller }) => caller?.keyId ?? '',
    allowList: (request) => limitOf(request) === undefined,
    max: (request) => limitOf(request) ?? Infinity,
    errorResponseBuilder: (_request, { max, ttl }) =>
      new Problem('RATE_LIMITED', `this key may ask ${max} times a minute`, {
        headers: { 'retry-after': String(Math.ceil(ttl / 1000)) },
      }),
  });
}
