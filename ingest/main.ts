import type { Server } from 'node:http';
import { pino, type Logger } from 'pino';
import { isMissingTable } from '../schemas/clickhouse-errors.ts';
import { CdrhouseError } from '../schemas/errors.ts';
import { readFeed } from '../schemas/feed.ts';
import type { Settings } from '../schemas/settings.ts';
import { readStoredSettings, type StoredSettings } from '../schemas/stored-settings.ts';
import { IngestDatabase } from './clickhouse.ts';
import { serveMetrics } from './metrics-server.ts';
import { IngestMetrics } from './metrics.ts';
import { checkAddon } from './native/addon.ts';
import { ParsePool } from './parse-pool.ts';
import { Pipeline } from './pipeline.ts';
import { claimProcessSlot } from './process-slot.ts';
import { untilDone, type RetryReport } from './retry.ts';
import type { IngestSummary } from './summary.ts';
import { Writer } from './writer.ts';

const HOUR_MS = 3_600_000;

export interface IngestOptions {
  readonly settings: Settings;
  /** End when every partition is read to the end that it had at start. */
  readonly untilIdle: boolean;
  /** Aborted to end: what was read is stored within the grace time. */
  readonly stop: AbortSignal;
}

/** Runs one ingest process. Rejects with a CdrhouseError that says what to do. */
export async function runIngest({ settings, untilIdle, stop }: IngestOptions): Promise<IngestSummary> {
  // Logs go to stderr: stdout belongs to the summary.
  const log = pino({ name: 'cdrhouse-ingest', level: settings.ingest.log_level }, pino.destination(2));
  checkAddon();
  const metrics = new IngestMetrics();
  const database = new IngestDatabase(settings);
  const report: RetryReport = (step, reason, nextTry, pauseMs) => {
    metrics.retried(step, reason);
    log.warn({ step, reason, nextTry, pauseMs }, 'waiting for ClickHouse');
  };
  const stored = await readStored(database, settings, stop, report);
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
  const pipeline = new Pipeline({
    settings,
    feeds,
    database,
    pool,
    writer,
    metrics,
    log,
    report,
    instanceId: slot.instanceId,
  });
  const server = await openMetrics(settings, metrics, pipeline, database, log);
  try {
    return untilIdle ? await pipeline.runUntilIdle(stop) : await pipeline.runUntilStopped(stop);
  } finally {
    server?.close();
    server?.closeAllConnections();
    await pool.close();
    await database.close();
    slot.release();
  }
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
  metrics: IngestMetrics,
  pipeline: Pipeline,
  database: IngestDatabase,
  log: Logger,
): Promise<Server | undefined> {
  if (ingest.metrics_port === 0) return undefined;
  const ready = async (): Promise<boolean> => pipeline.ready && (await database.ping());
  const server = await serveMetrics(ingest.metrics_host, ingest.metrics_port, {
    registry: metrics.registry,
    ready,
  });
  if (server === undefined) {
    log.warn(
      { port: ingest.metrics_port },
      'the metrics port is taken; set CDRHOUSE_INGEST_METRICS_PORT (0: none)',
    );
  }
  return server;
}
