import type { Server } from 'node:http';
import { pino, type Logger } from 'pino';
import { isMissingTable } from '../schemas/clickhouse-errors.ts';
import { CdrhouseError } from '../schemas/errors.ts';
import { readFeed } from '../schemas/feed.ts';
import type { Settings } from '../schemas/settings.ts';
import { readStoredSettings, type StoredSettings } from '../schemas/stored-settings.ts';
import { IngestDatabase } from './clickhouse.ts';
import { serveMetrics, type Observed } from './metrics-server.ts';
import { IngestMetrics } from './metrics.ts';
import { checkAddon } from './native/addon.ts';
import { ParsePool } from './parse-pool.ts';
import { Pipeline } from './pipeline.ts';
import { ProcessGroup } from './process-group.ts';
import { isStatusRequest, type StatusAnswer } from './process-messages.ts';
import { claimProcessSlot } from './process-slot.ts';
import { untilDone, type RetryReport } from './retry.ts';
import { emptySummary, type IngestSummary } from './summary.ts';
import { Writer } from './writer.ts';

const HOUR_MS = 3_600_000;

export interface IngestOptions {
  readonly settings: Settings;
  /** End when every partition is read to the end that it had at start. */
  readonly untilIdle: boolean;
  /** Aborted to end: what was read is stored within the grace time. */
  readonly stop: AbortSignal;
}

/** Runs ingest: one process, or the parent of several. Rejects with a CdrhouseError that says what to do. */
export async function runIngest(options: IngestOptions): Promise<IngestSummary> {
  const { settings } = options;
  // Logs go to stderr: stdout belongs to the summary.
  const log = pino({ name: 'cdrhouse-ingest', level: settings.ingest.log_level }, pino.destination(2));
  return settings.ingest.processes > 1 ? runProcessGroup(options, log) : runProcess(options, log);
}

async function runProcessGroup(
  { settings, untilIdle, stop }: IngestOptions,
  log: Logger,
): Promise<IngestSummary> {
  const group = new ProcessGroup({ settings, untilIdle, stop, log });
  const server = await openMetrics(settings, log, {
    ready: () => group.ready(),
    registry: () => group.metrics(),
  });
  try {
    return await group.run();
  } finally {
    server?.close();
    server?.closeAllConnections();
  }
}

async function runProcess(
  { settings, untilIdle, stop: stopped }: IngestOptions,
  log: Logger,
): Promise<IngestSummary> {
  checkAddon();
  const stop = stoppedWithParent(stopped);
  const metrics = new IngestMetrics();
  const database = new IngestDatabase(settings);
  const report: RetryReport = (step, reason, nextTry, pauseMs) => {
    metrics.retried(step, reason);
    log.warn({ step, reason, nextTry, pauseMs }, 'waiting for ClickHouse');
  };
  const stored = await readStored(database, settings, stop, report).catch((error: unknown) => {
    if (!stop.aborted) throw error;
  });
  if (stored === undefined) {
    // Stopped before ClickHouse was there: nothing was read.
    await database.close();
    if (untilIdle) throw new CdrhouseError('IDLE_WITH_ERRORS', 'stopped before anything was read');
    return emptySummary();
  }
  const slot = await claimProcessSlot(settings.kafka.group);
  const feeds = settings.feeds.map(readFeed);
  const pool = new ParsePool(
    {
      feeds,
      identityKey: stored.identityKey,
      futureMsMax: settings.ingest.future_hours_max * HOUR_MS,
      retentionMonths: stored.retentionMonths,
    },
    settings.ingest.workers,
    settings.ingest.batches_in_flight_max,
  );
  const pauseMsMax = settings.ingest.retry_seconds_max * 1000;
  const instance = `${slot.instanceId}-${process.pid}`;
  const writer = new Writer({ database, feeds, instance, pauseMsMax, report });
  const { instanceId } = slot;
  const pipeline = new Pipeline({
    settings,
    feeds,
    database,
    pool,
    writer,
    metrics,
    log,
    report,
    instanceId,
  });
  const ready = async (): Promise<boolean> => pipeline.ready && (await database.ping());
  answerParent(metrics, ready);
  const server = await openMetrics(settings, log, {
    ready,
    registry: () => Promise.resolve(metrics.registry),
  });
  try {
    return untilIdle ? await pipeline.runUntilIdle(stop) : await pipeline.runUntilStopped(stop);
  } finally {
    server?.close();
    server?.closeAllConnections();
    await pool.close();
    await database.close();
    slot.release();
    // The channel to a parent would keep the process alive.
    if (process.connected) process.disconnect();
  }
}

/** Aborted with `stop`, and when the parent that started this process is gone. */
function stoppedWithParent(stop: AbortSignal): AbortSignal {
  if (!process.connected) return stop;
  const orphaned = new AbortController();
  process.once('disconnect', () => orphaned.abort(new Error('the parent is gone')));
  return AbortSignal.any([stop, orphaned.signal]);
}

/** Answers the parent's questions, where there is one. */
function answerParent(metrics: IngestMetrics, ready: () => Promise<boolean>): void {
  process.on('message', (message) => {
    if (!isStatusRequest(message)) return;
    const answering = async (): Promise<void> => {
      const answer: StatusAnswer = {
        kind: 'status',
        id: message.id,
        ready: await ready(),
        metrics: await metrics.registry.getMetricsAsJSON(),
      };
      if (process.connected) process.send?.(answer);
    };
    // A parent that hears nothing counts this process as not ready, which it then is.
    answering().catch(() => undefined);
  });
}

function readStored(
  database: IngestDatabase,
  settings: Settings,
  signal: AbortSignal,
  report: RetryReport,
): Promise<StoredSettings> {
  const read = async (): Promise<StoredSettings> => {
    const { settings: values, schemaVersion } = await database.storedSettings().catch((error: unknown) => {
      if (!isMissingTable(error)) throw error;
      throw new CdrhouseError(
        'SCHEMA_MISSING',
        `database ${settings.clickhouse.database} has no tables of cdrhouse`,
        error,
      );
    });
    return readStoredSettings(values, schemaVersion, settings.retention.months);
  };
  return untilDone(read, {
    what: 'read the settings stored in ClickHouse',
    pauseMsMax: settings.ingest.retry_seconds_max * 1000,
    signal,
    report,
  });
}

async function openMetrics(
  { ingest }: Settings,
  log: Logger,
  observed: Observed,
): Promise<Server | undefined> {
  if (ingest.metrics_port === 0) return undefined;
  const server = await serveMetrics(ingest.metrics_host, ingest.metrics_port, observed);
  if (server === undefined) {
    log.warn(
      { port: ingest.metrics_port },
      'the metrics port is taken; set CDRHOUSE_INGEST_METRICS_PORT (0: none)',
    );
  }
  return server;
}
