import { setTimeout as sleep } from 'node:timers/promises';
import { pino, type Logger } from 'pino';
import { isMissingTable } from '../schemas/clickhouse-errors.ts';
import { CdrhouseError } from '../schemas/errors.ts';
import type { Settings } from '../schemas/settings.ts';
import { readStoredSettings, type StoredSettings } from '../schemas/stored-settings.ts';
import { DatabaseError, QueryDatabase } from './clickhouse.ts';
import { createContext, type ApiServer } from './context.ts';
import { createOperationsServer, createServer } from './server.ts';
import { readTlsFiles } from './tls.ts';

const FIRST_PAUSE_MS = 100;
const PAUSE_MS_MAX = 5000;

export interface QueryOptions {
  readonly settings: Settings;
  /** Aborted to end: open requests are answered first. */
  readonly stop: AbortSignal;
  /** Told the address (`http://127.0.0.1:8080`) as soon as requests are taken. */
  readonly onListening?: (url: string) => void;
}

/**
 * Runs the HTTP API until it is stopped. While ClickHouse cannot be reached at start it waits. Rejects with a
 * CdrhouseError that says what to do: tables that do not fit, another retention term, no grant, no address, no
 * certificate.
 */
export async function runQuery({ settings, stop, onListening }: QueryOptions): Promise<void> {
  const log = pino({ name: 'cdrhouse-query', level: settings.query.log_level }, pino.destination(2));
  const tls = readTlsFiles(settings);
  const database = new QueryDatabase(settings);
  try {
    const start = await untilReadable(async () => readStart(database, settings), stop, log);
    if (start === undefined) return;
    const context = createContext(settings, database, start.stored, start.timeZones);
    const { query } = settings;
    const app = await createServer(context, log, tls);
    const operations = query.metrics_port === 0 ? undefined : await createOperationsServer(context, log);
    try {
      if (operations !== undefined) await listen(operations, query.metrics_host, query.metrics_port);
      onListening?.(await listen(app, query.host, query.port));
      await aborted(stop);
    } finally {
      await app.close();
      const unwritten = await context.journal.writeRest();
      if (unwritten > 0) log.error({ rows: unwritten }, 'the journal does not say how some look-ups ended');
      await operations?.close();
    }
  } finally {
    await database.close();
  }
}

interface Start {
  readonly stored: StoredSettings;
  readonly timeZones: ReadonlySet<string>;
}

async function readStart(database: QueryDatabase, settings: Settings): Promise<Start> {
  const { settings: values, schemaVersion } = await database.storedSettings();
  const stored = readStoredSettings(values, schemaVersion, settings);
  return { stored, timeZones: await database.timeZones() };
}

/** What `read` gives, as soon as the database answers; undefined where it was stopped before. */
async function untilReadable<T>(
  read: () => Promise<T>,
  stop: AbortSignal,
  log: Logger,
): Promise<T | undefined> {
  for (let attempt = 0; !stop.aborted; attempt++) {
    try {
      return await read();
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error;
      if (error.fault === 'permanent') throw refused(error);
      const pauseMs = Math.min(PAUSE_MS_MAX, FIRST_PAUSE_MS * 2 ** Math.min(attempt, 10));
      log.warn({ reason: error.message, pauseMs }, 'waiting for ClickHouse');
      await pause(pauseMs, stop);
    }
  }
  return undefined;
}

/** Ends early when it is told to stop, and keeps the process no longer then. */
async function pause(milliseconds: number, stop: AbortSignal): Promise<void> {
  try {
    await sleep(milliseconds, undefined, { signal: stop });
  } catch (error) {
    if (!stop.aborted) throw error;
  }
}

/** Missing tables are the usual reason, and have their own advice. */
function refused(error: DatabaseError): CdrhouseError {
  return new CdrhouseError(
    isMissingTable(error.cause) ? 'SCHEMA_MISSING' : 'CLICKHOUSE_REFUSED',
    error.message,
    error,
  );
}

async function listen(app: ApiServer, host: string, port: number): Promise<string> {
  try {
    return await app.listen({ host, port });
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : undefined;
    if (code === undefined || !/^E[A-Z]+$/.test(code)) throw cause;
    throw new CdrhouseError('ADDRESS_UNUSABLE', `cannot listen on ${host}:${port} (${code})`, cause);
  }
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
