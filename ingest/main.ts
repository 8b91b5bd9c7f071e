import type { Server } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { errorCode, failureCode, isMissingTable } from '../schemas/clickhouse-errors.ts';
import { CdrhouseError, PROGRAM_ERRORS, type ProgramErrorCode } from '../schemas/errors.ts';
import { readFeed, readingRow } from '../schemas/feed.ts';
import type { Settings } from '../schemas/settings.ts';
import { readStoredSettings, type StoredSettings } from '../schemas/stored-settings.ts';
import type { BatchLimits } from './batch-queue.ts';
import { IngestDatabase } from './clickhouse.ts';
import { ingestLog } from './log.ts';
import { serveMetrics, type Observed } from './metrics-server.ts';
import { IngestMetrics } from './metrics.ts';
import { ParsePool, workerCount } from './parse-pool.ts';
import { parseContextOf } from './parse/batch.ts';
import { Pipeline } from './pipeline.ts';
import { ProcessGroup } from './process-group.ts';
import { CHILD_VARIABLE, isStatusRequest, type StatusAnswer } from './process-messages.ts';
import { claimProcessSlot } from './process-slot.ts';
import { Reachability, type Readiness } from './reachability.ts';
import { chooseReader, type ReaderChoice } from './readers/choice.ts';
import { RestartPauses, untilDone, type RetryReport } from './retry.ts';
import { emptySummary, type IngestSummary } from './summary.ts';
import { SuppressionsWatch } from './suppressions.ts';
import { Writer } from './writer.ts';

/** How long a server may take to answer before it counts as unreachable. */
const ANSWER_MS_MAX = 2000;
const REJOIN_MS_MIN = 500;
/** What a service waits out with a new consumer: no broker, or its place in the group is another one's. */
const REJOINED_AFTER: ReadonlySet<ProgramErrorCode> = new Set(['KAFKA_UNREACHABLE', 'OWNERSHIP_LOST']);

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
  const log = ingestLog(settings);
  return settings.ingest.processes > 1 ? runProcessGroup(options, log) : runProcess(options, log);
}

async function runProcessGroup(
  { settings, untilIdle, stop }: IngestOptions,
  log: Logger,
): Promise<IngestSummary> {
  const group = new ProcessGroup({ settings, program: process.argv[1]!, untilIdle, stop, log });
  const server = await openMetrics(settings, log, {
    readiness: () => group.readiness(),
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
  const reader = chooseReader(settings.ingest.reader);
  const stop = stoppedWithParent(stopped);
  const metrics = new IngestMetrics(settings.feeds.map(({ name }) => name));
  sayReader(reader, metrics, log);
  const database = new IngestDatabase(settings);
  let pipeline: Pipeline | undefined;
  const reachability = new Reachability({
    kafka: () => pipeline?.kafkaAnswers(ANSWER_MS_MAX) ?? Promise.resolve(undefined),
    clickhouse: () => database.answers(ANSWER_MS_MAX),
  });
  const readiness = (): Readiness => reachability.readiness(pipeline?.ready ?? false);
  metrics.observe({ readiness });
  answerParent(metrics, readiness);
  const server = await openMetrics(settings, log, {
    readiness: () => Promise.resolve(readiness()),
    registry: () => Promise.resolve(metrics.current()),
  });
  reachability.start();
  try {
    const stored = await readStored(database, settings, stop, reportRetry(metrics, log)).catch(
      (error: unknown) => {
        if (!stop.aborted) throw error;
      },
    );
    if (stored === undefined) {
      // Stopped before ClickHouse was there: nothing was read.
      if (untilIdle) throw new CdrhouseError('IDLE_WITH_ERRORS', 'stopped before anything was read');
      return { ...emptySummary(), reader: reader.kind };
    }
    return await readFeeds({ settings, stored, database, metrics, log, stop }, async (newPipeline) => {
      const joining = (): Pipeline => {
        const joined = newPipeline();
        pipeline = joined;
        metrics.observe({ state: () => joined.state() });
        return joined;
      };
      const summary = untilIdle
        ? await joining().runUntilIdle(stop)
        : await runService(joining, { settings, metrics, log, stop });
      return { ...summary, reader: reader.kind };
    });
  } finally {
    reachability.stop();
    server?.close();
    server?.closeAllConnections();
    await database.close();
    // The channel to a parent would keep the process alive.
    if (process.connected) process.disconnect();
  }
}

/** Reads until it is stopped. Where its place in the group is lost, or no broker answers, it joins again with a new consumer. */
async function runService(
  joining: () => Pipeline,
  { settings, metrics, log, stop }: Pick<Wiring, 'settings' | 'metrics' | 'log' | 'stop'>,
): Promise<IngestSummary> {
  const pauses = new RestartPauses(REJOIN_MS_MIN, settings.ingest.retry_seconds_max * 1000);
  for (;;) {
    const began = performance.now();
    try {
      return await joining().runUntilStopped(stop);
    } catch (error) {
      if (stop.aborted || !(error instanceof CdrhouseError) || !REJOINED_AFTER.has(error.code)) throw error;
      const pauseMs = pauses.after(performance.now() - began);
      log.warn({ code: error.code, reason: error.message, pauseMs }, 'waiting to join the group again');
      metrics.retried('join the group', error.code);
      await sleep(pauseMs, undefined, { signal: stop }).catch(() => undefined);
    }
  }
}

interface Wiring {
  readonly settings: Settings;
  readonly stored: StoredSettings;
  readonly database: IngestDatabase;
  readonly metrics: IngestMetrics;
  readonly log: Logger;
  readonly stop: AbortSignal;
}

/** Wires all that a pipeline needs, hands to `run` how to make one, and takes it apart again. */
async function readFeeds<T>(
  { settings, stored, database, metrics, log, stop }: Wiring,
  run: (newPipeline: () => Pipeline) => Promise<T>,
): Promise<T> {
  const slot = await claimProcessSlot(settings.kafka.group);
  const feeds = settings.feeds.map(readFeed);
  const report = reportRetry(metrics, log);
  const workers = workerCount(settings.ingest.workers);
  const batchesMax = settings.ingest.batches_in_flight_max || workers + 1;
  const limits: BatchLimits = {
    batchesMax,
    bytesMax: Math.floor(settings.ingest.batch_bytes_max / workers),
    messagesMax: settings.ingest.batch_messages_max,
    flushIntervalMs: settings.ingest.flush_interval_ms,
  };
  const pool = new ParsePool(parseContextOf(settings, feeds, stored), {
    workers,
    batchesMax,
    secondsMax: settings.ingest.parse_seconds_max,
  });
  const pauseMsMax = settings.ingest.retry_seconds_max * 1000;
  const instance = `${slot.instanceId}-${process.pid}`;
  const inserted = metrics.inserted.bind(metrics);
  const workerFailed = (reason: string, messages: number): void => {
    metrics.retried('parse', reason);
    log.error({ code: 'PARSE_WORKER_FAILED', reason, messages }, 'a parse worker failed');
  };
  const suppressions = new SuppressionsWatch(database, {
    instance,
    identityKey: stored.identityKey,
    failed: (error) => log.warn({ reason: errorCode(error) }, 'the suppressions could not be looked at'),
  });
  const writer = new Writer({
    database,
    pool,
    feeds,
    suppressions,
    instance,
    pauseMsMax,
    report,
    inserted,
    workerFailed,
  });
  const { instanceId } = slot;
  try {
    await untilDone(() => suppressions.start(), {
      what: 'read the suppressions',
      pauseMsMax,
      signal: stop,
      report,
    });
    await untilDone(() => database.recordReadings(settings.feeds.map(readingRow)), {
      what: 'note how the feeds are read',
      pauseMsMax,
      signal: stop,
      report,
    });
    return await run(
      () =>
        new Pipeline({
          settings,
          feeds,
          database,
          pool,
          limits,
          writer,
          metrics,
          log,
          report,
          instanceId,
        }),
    );
  } finally {
    await pool.close();
    await suppressions.stop();
    slot.release();
  }
}

function reportRetry(metrics: IngestMetrics, log: Logger): RetryReport {
  return (step, reason, nextTry, pauseMs, detail) => {
    metrics.retried(step, reason);
    // That code itself, or one that ClickHouse or Node gave.
    const code = Object.hasOwn(PROGRAM_ERRORS, reason) ? reason : failureCode(reason);
    const server = code.startsWith('CLICKHOUSE') ? 'ClickHouse' : 'Kafka';
    log.warn({ code, step, reason, detail, nextTry, pauseMs }, `waiting for ${server}`);
  };
}

/** Says where messages are read the slow way, and why. */
function sayReader({ kind, missing }: ReaderChoice, metrics: IngestMetrics, log: Logger): void {
  metrics.setPlainConsume(kind === 'plain');
  if (kind === 'packed') return;
  const { action } = PROGRAM_ERRORS.PLAIN_CONSUME;
  const why = missing === undefined ? 'ingest.reader is plain' : missing.message;
  const cause = (missing?.cause as Error | undefined)?.message;
  log.warn({ code: 'PLAIN_CONSUME', why, cause, action }, 'reading by plain consume, which costs more CPU');
}

/** Aborted with `stop`, and when the parent that started this process is gone. */
function stoppedWithParent(stop: AbortSignal): AbortSignal {
  if (process.env[CHILD_VARIABLE] === undefined) return stop;
  const orphaned = new AbortController();
  const abort = (): void => orphaned.abort(new Error('the parent is gone'));
  process.once('disconnect', abort);
  if (!process.connected) abort();
  return AbortSignal.any([stop, orphaned.signal]);
}

/** Answers the parent's questions, where there is one. */
function answerParent(metrics: IngestMetrics, readiness: () => Readiness): void {
  process.on('message', (message) => {
    if (!isStatusRequest(message)) return;
    const answering = async (): Promise<void> => {
      const answer: StatusAnswer = {
        kind: 'status',
        id: message.id,
        readiness: readiness(),
        metrics: await metrics.current().getMetricsAsJSON(),
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
    return readStoredSettings(values, schemaVersion, settings);
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
  const { metrics_host: host, metrics_port: port } = ingest;
  try {
    return await serveMetrics(host, port, observed);
  } catch (error) {
    if (!(error instanceof CdrhouseError)) throw error;
    const action =
      'set ingest.metrics_host to an address of this host, CDRHOUSE_INGEST_METRICS_PORT to a free port (0: none)';
    log.warn({ code: error.code, reason: error.message, action }, 'ingest goes on without metrics');
    return undefined;
  }
}
