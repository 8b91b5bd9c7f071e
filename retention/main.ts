import { createServer, type Server } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Registry } from 'prom-client';
import { CdrhouseError } from '../schemas/errors.ts';
import type { Settings } from '../schemas/settings.ts';
import { RetentionMetrics } from './metrics.ts';
import { finishErasures } from './erase.ts';
import type { KeptTopics } from './kafka-copies.ts';
import { retentionStatus } from './status.ts';
import { sweep, sweepFailure } from './sweep.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

export interface RetentionOptions {
  readonly settings: Settings;
  readonly programVersion: string;
  /** For what the certificates of erasures say of Kafka. */
  readonly keptTopics: KeptTopics;
  /** Aborted to end; a sweep that is under way is ended first. */
  readonly stop: AbortSignal;
  readonly say: (line: string) => void;
  readonly report: (error: CdrhouseError) => void;
}

/**
 * The service: sweeps and finishes erasures at its start and a day after, again after an hour where something could not be
 * done or had to be left, unless it is not proven, and looks each hour what is overdue. What fails is said and counted, and tried again. Throws
 * ADDRESS_UNUSABLE, and RETENTION_DIFFERS where its settings say another term than the database.
 */
export async function runRetention(options: RetentionOptions): Promise<void> {
  const { settings, stop } = options;
  const metrics = new RetentionMetrics();
  const { metrics_host: host, metrics_port: port } = settings.retention;
  const server = port === 0 ? undefined : await serveMetrics(metrics.registry, host, port);
  try {
    let nextMs = 0;
    while (!stop.aborted) {
      if (Date.now() >= nextMs) {
        const isSwept = await isDone(options, metrics, () => sweepOnce(options, metrics));
        const isErased = await isDone(options, metrics, () => eraseOnce(options));
        nextMs = Date.now() + (isSwept && isErased ? DAY_MS : HOUR_MS);
      }
      await isDone(options, metrics, async () => metrics.show(await retentionStatus(settings)));
      // It ends early when it is told to stop.
      await sleep(HOUR_MS, undefined, { signal: stop }).catch(() => undefined);
    }
  } finally {
    server?.closeAllConnections();
    server?.close();
  }
}

async function sweepOnce(
  { settings, programVersion, say, report }: RetentionOptions,
  metrics: RetentionMetrics,
): Promise<void> {
  const swept = await sweep({ settings, programVersion, dryRun: false, trustClock: false });
  metrics.swept(swept, Date.now());
  say(`swept ${swept.calls} call(s) of ${swept.months.length} month(s), due at ${swept.due_at}`);
  const failure = sweepFailure(swept);
  // What is gone and not proven somebody has to look at first: a sweep in an hour would have the alert end.
  if (failure?.code === 'SWEEP_UNPROVEN') report(failure);
  else if (failure !== undefined) throw failure;
}

function eraseOnce({ settings, keptTopics, say }: RetentionOptions): Promise<void> {
  return finishErasures(settings, keptTopics, ({ request_id: id, state }) => say(`erasure ${id}: ${state}`));
}

/** Whether it could be done; else that is said and counted. Another term than the database's is for an operator to mend. */
async function isDone(
  { report }: RetentionOptions,
  metrics: RetentionMetrics,
  work: () => Promise<void>,
): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    if (!(error instanceof CdrhouseError) || error.code === 'RETENTION_DIFFERS') throw error;
    metrics.failed(error.code);
    report(error);
    return false;
  }
}

/** /metrics and /healthz. */
function serveMetrics(registry: Registry, host: string, port: number): Promise<Server> {
  const server = createServer((request, response) => {
    const path = (request.url ?? '/').split('?')[0];
    if (path === '/healthz') response.end('ok\n');
    else if (path !== '/metrics') response.writeHead(404).end('there are /metrics and /healthz\n');
    else
      registry.metrics().then(
        (text) => response.writeHead(200, { 'content-type': registry.contentType }).end(text),
        () => response.writeHead(500).end(),
      );
  });
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) =>
      reject(
        new CdrhouseError('ADDRESS_UNUSABLE', `cannot listen on ${host}:${port} (${cause.code})`, cause),
      ),
    );
    server.listen(port, host, () => resolve(server));
  });
}
