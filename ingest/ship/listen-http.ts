import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { CdrhouseError } from '../../schemas/errors.ts';
import type { Settings } from '../../schemas/settings.ts';
import { openServer, type Collector, type Listener } from './collector.ts';
import { LinePacker } from './line-packer.ts';
import { postedLines } from './posted-body.ts';
import { lineBytesMax, type Producer } from './producer.ts';

/** A switch sends a body at once; one that takes longer is gone or means no good. */
const REQUEST_TIMEOUT_MS = 30_000;
const HEADERS_TIMEOUT_MS = 10_000;
const KEEP_ALIVE_MS = 65_000;
const RETRY_AFTER_S = 5;

/** What is answered; `text` says why, without anything of the body. */
interface Answer {
  readonly status: number;
  readonly text: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly type?: string;
}

/**
 * Takes records by POST to the address's path, and answers 200 once Kafka has acknowledged them; 503 with Retry-After
 * while it does not. GET /healthz, /readyz and /metrics beside. Throws ADDRESS_UNUSABLE.
 */
export async function listenHttp(collector: Collector, url: URL): Promise<Listener> {
  const server = createServer(
    {
      requestTimeout: REQUEST_TIMEOUT_MS,
      headersTimeout: HEADERS_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: 1000,
    },
    (request, response) => void serve(collector, url.pathname, request, response),
  );
  const warning = hasAuthentication(collector.settings)
    ? undefined
    : 'set ship.listen_token, or ship.listen_user and ship.listen_password';
  const port = await openServer(server, collector, url, warning);
  let closed: Promise<void> | undefined;
  return {
    address: `http://${url.hostname}:${port}${url.pathname}`,
    close: () =>
      (closed ??= new Promise((resolve) => {
        server.close(() => resolve());
        server.closeIdleConnections();
      })),
  };
}

async function serve(
  collector: Collector,
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  let given: Answer;
  try {
    given = await answer(collector, path, request);
  } catch (error) {
    // The client is gone, mostly; else the sender keeps the record.
    if (!request.destroyed) collector.say(`a request failed: ${(error as Error).message}`);
    given = { status: 500, text: 'a defect of cdrhouse' };
  }
  const { summary, metrics } = collector;
  // Those who look how it stands send no records.
  if (request.method === 'GET' || request.method === 'HEAD') return respond(request, response, given);
  const key = String(given.status);
  summary.requests[key] = (summary.requests[key] ?? 0) + 1;
  metrics.answered(given.status);
  respond(request, response, given);
}

async function answer(collector: Collector, path: string, request: IncomingMessage): Promise<Answer> {
  // FreeSWITCH adds ?uuid=… to the address.
  const asked = (request.url ?? '/').split('?')[0]!;
  if (request.method === 'GET' || request.method === 'HEAD') {
    const seen = await observed(collector, asked);
    if (seen !== undefined) return seen;
  }
  if (asked !== path) return { status: 404, text: `records are taken at ${path}` };
  if (request.method !== 'POST')
    return { status: 405, text: 'POST records here', headers: { allow: 'POST' } };
  const { settings } = collector;
  if (!isAuthentic(request.headers.authorization, settings)) {
    const challenge = settings.ship.listen_user === undefined ? 'Bearer' : 'Basic realm="cdrhouse"';
    return { status: 401, text: 'wrong or missing credentials', headers: { 'www-authenticate': challenge } };
  }
  const encoding = request.headers['content-encoding'] ?? 'identity';
  if (encoding !== 'identity') return { status: 415, text: 'send the body without content-encoding' };
  const body = await readBody(request, settings.ship.listen_body_bytes_max);
  if (body === undefined)
    return { status: 413, text: `at most ${settings.ship.listen_body_bytes_max} bytes are taken` };
  const lines = postedLines(body, request.headers['content-type'] ?? '');
  if (lines.length === 0) return { status: 400, text: 'there is no record in the body' };
  const producer = collector.producer();
  if (producer === undefined || !collector.ready() || collector.stop.aborted) return unavailable();
  return deliver(collector, producer, lines);
}

async function deliver(collector: Collector, producer: Producer, lines: Buffer): Promise<Answer> {
  const { settings, feed, summary, metrics } = collector;
  let tooLong = false;
  const packer = new LinePacker(settings.ship.message_bytes_max, {
    lineBytesMax: lineBytesMax(settings),
    head: collector.newHead(),
    tooLong: (line) => {
      tooLong = true;
      collector.tooLong('HTTP', line);
    },
  });
  const messages = [...packer.add(lines), ...packer.finish()];
  // All or nothing: the sender keeps what is refused.
  if (tooLong) return { status: 413, text: 'a record is longer than a message may be' };
  try {
    await Promise.all(messages.map((message) => producer.deliver(feed.topic, message)));
  } catch (error) {
    if (!(error instanceof CdrhouseError)) throw error;
    if (error.code === 'RECORD_TOO_LONG') return { status: 413, text: error.message };
    collector.say(`${error.code}: ${error.message}`);
    collector.unready();
    return unavailable();
  }
  summary.lines += packer.lines;
  metrics.linesSent(packer.lines);
  return { status: 200, text: 'stored in Kafka' };
}

function unavailable(): Answer {
  return {
    status: 503,
    text: 'Kafka does not answer; keep the record and try again',
    headers: { 'retry-after': String(RETRY_AFTER_S) },
  };
}

async function observed({ metrics, ready }: Collector, path: string): Promise<Answer | undefined> {
  switch (path) {
    case '/healthz':
      return { status: 200, text: 'ok' };
    case '/readyz':
      return ready() ? { status: 200, text: 'ready' } : { status: 503, text: 'Kafka does not answer' };
    case '/metrics':
      return { status: 200, text: await metrics.registry.metrics(), type: metrics.registry.contentType };
    default:
      return undefined;
  }
}

/** Undefined where the body is larger than allowed; the rest of it is not read then. */
async function readBody(request: IncomingMessage, bytesMax: number): Promise<Buffer | undefined> {
  if (Number(request.headers['content-length'] ?? 0) > bytesMax) return undefined;
  const chunks: Buffer[] = [];
  let length = 0;
  // Breaking out of a loop over the request would close its connection before it is answered.
  return new Promise((resolve, reject) => {
    request.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length <= bytesMax) chunks.push(chunk);
      else {
        request.pause();
        resolve(undefined);
      }
    });
    request.on('end', () => resolve(Buffer.concat(chunks)));
    request.on('error', reject);
  });
}

function respond(request: IncomingMessage, response: ServerResponse, given: Answer): void {
  // What was not read of the body would be taken for the next request.
  const unread = !request.complete && request.method !== 'GET';
  response.writeHead(given.status, {
    'content-type': given.type ?? 'text/plain; charset=utf-8',
    ...given.headers,
    ...(unread ? { connection: 'close' } : {}),
  });
  const body = given.type === undefined ? `${given.text}\n` : given.text;
  response.end(request.method === 'HEAD' ? undefined : body, () => {
    if (unread) setTimeout(() => request.destroy(), 500).unref();
  });
}

function hasAuthentication({ ship }: Settings): boolean {
  return ship.listen_token !== undefined || ship.listen_user !== undefined;
}

function isAuthentic(header: string | undefined, settings: Settings): boolean {
  if (!hasAuthentication(settings)) return true;
  const { listen_token, listen_user, listen_password } = settings.ship;
  const [scheme = '', value = ''] = (header ?? '').split(' ', 2);
  if (scheme.toLowerCase() === 'bearer') return listen_token !== undefined && isSame(value, listen_token);
  if (scheme.toLowerCase() !== 'basic' || listen_user === undefined) return false;
  return isSame(Buffer.from(value, 'base64').toString(), `${listen_user}:${listen_password ?? ''}`);
}

/** Takes the same time whatever differs. */
function isSame(given: string, expected: string): boolean {
  return timingSafeEqual(digestOf(given), digestOf(expected));
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
