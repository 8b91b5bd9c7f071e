import swagger from '@fastify/swagger';
import fastify, {
  LogController,
  type FastifyBaseLogger,
  type FastifyError,
  type FastifyReply,
  type FastifyRequest,
  type FastifySchema,
  type RouteOptions,
} from 'fastify';
import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import type { Logger } from 'pino';
import { withLimitDefault, withProblems } from '../schemas/api.ts';
import type { Settings } from '../schemas/settings.ts';
import { requireAgent, requireRole, type Caller } from './auth.ts';
import { DatabaseError } from './clickhouse.ts';
import type { ApiServer, QueryContext } from './context.ts';
import { problemOf, rawProblem } from './errors.ts';
import { isJwt } from './jwt.ts';
import { Problem, PROBLEM_TYPE } from './problem.ts';
import { limitRates } from './rate-limit.ts';
import { callRoute } from './routes/call.ts';
import { callsRoutes } from './routes/calls.ts';
import { feedsRoutes } from './routes/feeds.ts';
import { journalRoutes } from './routes/journal.ts';
import { descriptionRoute, operationsRoutes } from './routes/operations.ts';
import { recordsRoutes } from './routes/records.ts';
import { usageRoutes } from './routes/usage.ts';
import type { TlsFiles } from './tls.ts';

/** URL and headers of one request; 100 numbers in a URL are 10 KB. */
const HEADER_BYTES_MAX = 32_768;
const BODY_BYTES_MAX = 65_536;
/** A client that sends its request slower than this is cut off. */
const REQUEST_MS_MAX = 30_000;

/** Browsers that saw the API over TLS never ask it without. */
const TLS_HEADERS = { 'strict-transport-security': 'max-age=31536000' };

/** Nothing of an answer may be kept, guessed at, framed or run. */
const SECURITY_HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
};

const OPENAPI_INFO = {
  title: 'cdrhouse',
  version: '1',
  description: 'Look up telephone calls and sum their usage',
};

/**
 * The API with all routes, not listening yet. What machines of the operator ask may have a port of its own.
 * @param tls of the server; undefined: plain HTTP
 */
export async function createServer(context: QueryContext, log: Logger, tls?: TlsFiles): Promise<ApiServer> {
  return serverWith(context, bareServer(log, context.settings, tls), log, async (app) => {
    app.addHook('onRoute', (route) => {
      if (route.url.startsWith('/v1') && route.config?.role === undefined) {
        throw new TypeError(`the route ${route.url} has no role`);
      }
      if (route.config?.role !== undefined) addCommonProblems(route);
    });
    await app.register(swagger, openApi());
    await limitRates(app, context);
    if (context.settings.query.metrics_port === 0) operationsRoutes(app, context);
    descriptionRoute(app);
    callsRoutes(app, context);
    callRoute(app, context);
    usageRoutes(app, context);
    feedsRoutes(app, context);
    recordsRoutes(app, context);
    journalRoutes(app, context);
  });
}

/** A server with `/healthz`, `/readyz` and `/metrics` alone. */
export async function createOperationsServer(context: QueryContext, log: Logger): Promise<ApiServer> {
  const app = bareServer(log, context.settings);
  return serverWith(context, app, log, () => operationsRoutes(app, context));
}

async function serverWith(
  context: QueryContext,
  app: ApiServer,
  log: Logger,
  addRoutes: (app: ApiServer) => void | Promise<void>,
): Promise<ApiServer> {
  app.decorateRequest('caller', null);
  addHooks(app, context, log);
  const paths = new RoutePaths();
  app.addHook('onRoute', (route) => paths.add(route.url, route.method));
  await addRoutes(app);
  app.setNotFoundHandler((request, reply) => send(reply, paths.problemOf(request), request.id));
  app.setErrorHandler((error, request, reply) => {
    const problem = problemOf(error, (fault) => context.metrics.databaseFailed(fault));
    logProblem(request, problem);
    return send(reply, problem, request.id);
  });
  return app;
}

function bareServer(log: Logger, { query }: Settings, tls?: TlsFiles): ApiServer {
  const options = serverOptions(log, query.trusted_proxies);
  if (tls === undefined) return fastify(options);
  return fastify({
    ...options,
    https: { ...tls, minVersion: 'TLSv1.2', maxHeaderSize: HEADER_BYTES_MAX },
  });
}

function serverOptions(log: Logger, trustedProxies: readonly string[]) {
  // Its own type of logger would make another type of server.
  const loggerInstance: FastifyBaseLogger = log;
  return {
    loggerInstance,
    // Without one, an address that a client claims counts for nothing.
    trustProxy: trustedProxies.length === 0 ? false : [...trustedProxies],
    // The standard lines hold the URL, and with it numbers.
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'request_id' }),
    genReqId: () => randomUUID(),
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: REQUEST_MS_MAX,
    http: { maxHeaderSize: HEADER_BYTES_MAX },
    // A HEAD of a look-up would be a look-up without an answer.
    exposeHeadRoutes: false,
    // Requests on open connections are answered to the end while the server closes.
    return503OnClosing: false,
    ajv: {
      customOptions: {
        // An unknown parameter is an error, never dropped.
        removeAdditional: false,
        coerceTypes: true,
        useDefaults: true,
        allErrors: false,
        // For the description of what is allowed; the value itself is never told.
        verbose: true,
      },
    },
    frameworkErrors: (error: FastifyError, request: FastifyRequest, reply: FastifyReply) => {
      void send(reply, problemOf(error), request.id);
    },
    clientErrorHandler: (error: Error & { code?: string }, socket: Socket) => endWithProblem(error, socket),
  };
}

function openApi() {
  return {
    openapi: {
      openapi: '3.1.0',
      info: OPENAPI_INFO,
      components: { securitySchemes: { key: { type: 'http' as const, scheme: 'bearer' } } },
    },
    transform: ({ schema, url }: { schema: FastifySchema; url: string }) => ({
      schema: Object.fromEntries(
        Object.entries(schema ?? {}).map(([part, of]) => [
          part,
          part === 'querystring' || part === 'body' ? withLimitDefault(of) : of,
        ]),
      ),
      url,
    }),
  };
}

/** What every route with a role can answer, so that none of them need say it. */
const COMMON_PROBLEMS = [
  'PARAMETER_UNKNOWN',
  'PARAMETER_INVALID',
  'KEY_MISSING',
  'KEY_INVALID',
  'ROLE_MISSING',
  'ADDRESS_NOT_ALLOWED',
  'HEADER_MISSING',
  'RATE_LIMITED',
  'KEYS_THROTTLED',
  'QUERY_TOO_LARGE',
  'DATABASE_UNAVAILABLE',
  'ISSUER_UNAVAILABLE',
  'INTERNAL',
] as const;

function addCommonProblems(route: RouteOptions): void {
  const response = (route.schema?.response ?? {}) as Record<string, unknown>;
  route.schema = { ...route.schema, response: withProblems(response, COMMON_PROBLEMS) };
}

function callerOf({ keys, tokens, wrongKeys }: QueryContext, request: FastifyRequest): Promise<Caller> {
  const { authorization } = request.headers;
  return wrongKeys.around(request.ip, authorization, async () =>
    tokens !== undefined && isJwt(authorization)
      ? tokens.callerOf(authorization ?? '')
      : keys.callerOf(authorization, request.ip),
  );
}

function addHooks(app: ApiServer, context: QueryContext, log: Logger): void {
  const { metrics } = context;
  app.addHook('onRequest', async (request, reply) => {
    reply.headers({ ...SECURITY_HEADERS, 'x-request-id': request.id });
    if (request.protocol === 'https') reply.headers(TLS_HEADERS);
    const { role } = request.routeOptions.config;
    if (role === undefined) return;
    request.caller = await callerOf(context, request);
    requireRole(request.caller, role);
    requireAgent(request.caller, request.headers['agent']);
  });
  app.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'unknown';
    const milliseconds = Math.round(reply.elapsedTime * 10) / 10;
    metrics.answered(route, reply.statusCode, milliseconds);
    log.info(
      {
        request_id: request.id,
        method: request.method,
        route,
        status: reply.statusCode,
        milliseconds,
        key_id: request.caller?.nameInLogs,
      },
      'answered',
    );
  });
}

/** Server faults are for the operator: with the code of the cause and where it came from, without any value. */
function logProblem(request: FastifyRequest, problem: Problem): void {
  if (problem.status < 500) return;
  const { cause } = problem;
  const reason = cause instanceof Error ? cause : undefined;
  const isDefect = problem.code === 'INTERNAL' && !(reason instanceof DatabaseError);
  request.log[problem.code === 'INTERNAL' ? 'error' : 'warn'](
    {
      code: problem.code,
      reason: reason instanceof DatabaseError ? reason.message : reason?.name,
      // The first line of a stack is the message, which may hold a value.
      ...(isDefect ? { stack: reason?.stack?.split('\n').filter((line) => line.startsWith('    at ')) } : {}),
    },
    'a request failed',
  );
}

function send(reply: FastifyReply, problem: Problem, requestId: string): FastifyReply {
  // As bytes: to a text fastify adds a charset, which this media type does not have.
  const body = Buffer.from(JSON.stringify(problem.document(requestId)));
  return reply
    .code(problem.status)
    .headers({
      ...SECURITY_HEADERS,
      ...problem.headers,
      'x-request-id': requestId,
      'content-type': PROBLEM_TYPE,
    })
    .send(body);
}

/** What is no HTTP request, or too large or slow a one, never reaches a route. */
function endWithProblem(error: Error & { code?: string }, socket: Socket): void {
  if (socket.writable && error.code !== 'ECONNRESET') socket.write(rawProblem(error.code, SECURITY_HEADERS));
  socket.destroy(error);
}

/** The paths that exist, to tell a wrong method (405) from a wrong path (404). */
class RoutePaths {
  readonly #methods = new Map<string, Set<string>>();

  add(url: string, method: string | readonly string[]): void {
    const methods = this.#methods.get(url) ?? new Set<string>();
    for (const each of typeof method === 'string' ? [method] : method) methods.add(each);
    this.#methods.set(url, methods);
  }

  problemOf(request: FastifyRequest): Problem {
    const path = request.url.split('?')[0]!;
    for (const [pattern, methods] of this.#methods) {
      if (!fits(pattern, path)) continue;
      const allow = [...methods].sort().join(', ');
      return new Problem('METHOD_NOT_ALLOWED', `allowed: ${allow}`, { headers: { allow } });
    }
    return new Problem('ROUTE_UNKNOWN', 'see /openapi.json');
  }
}

/** True where a path fits a route (`/v1/calls/:id`). */
function fits(pattern: string, path: string): boolean {
  const expected = pattern.split('/');
  const given = path.split('/');
  return (
    expected.length === given.length &&
    expected.every((part, index) => part.startsWith(':') || part === given[index])
  );
}
