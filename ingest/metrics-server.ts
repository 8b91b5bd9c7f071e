import { createServer, type Server } from 'node:http';
import type { Registry } from 'prom-client';
import { CdrhouseError } from '../schemas/errors.ts';
import type { Readiness } from './reachability.ts';

/** What the server answers from. */
export interface Observed {
  readonly registry: () => Promise<Registry>;
  readonly readiness: () => Promise<Readiness>;
}

/** Serves /metrics, /healthz and /readyz of a process without an API of its own. Rejects with ADDRESS_UNUSABLE. */
export function serveMetrics(host: string, port: number, observed: Observed): Promise<Server> {
  const server = createServer((request, response) => {
    answer(request.url ?? '/', observed).then(
      ({ status, type, body }) => response.writeHead(status, { 'content-type': type }).end(body),
      () => response.writeHead(500).end(),
    );
  });
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const detail = `cannot listen on ${host}:${port} (${cause.code})`;
      reject(new CdrhouseError('ADDRESS_UNUSABLE', detail, cause));
    });
    server.listen(port, host, () => resolve(server));
  });
}

async function answer(
  url: string,
  { registry, readiness }: Observed,
): Promise<{ status: number; type: string; body: string }> {
  const type = 'text/plain; charset=utf-8';
  switch (url.split('?')[0]) {
    case '/metrics': {
      const current = await registry();
      return { status: 200, type: current.contentType, body: await current.metrics() };
    }
    case '/healthz':
      return { status: 200, type, body: 'ok\n' };
    case '/readyz':
      return readyAnswer(await readiness());
    default:
      return { status: 404, type, body: 'there are /metrics, /healthz and /readyz\n' };
  }
}

function readyAnswer(readiness: Readiness): { status: number; type: string; body: string } {
  const body = `${JSON.stringify(readiness)}\n`;
  return { status: readiness.ready ? 200 : 503, type: 'application/json; charset=utf-8', body };
}
