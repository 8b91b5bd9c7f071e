import { checkSettings } from '../schemas/settings.ts';
import { BOTH_TABLES } from './call-store.ts';
import { runCdrhouse, startIngest, type RunOptions } from './cdrhouse-run.ts';
import { uncommitted, type Competitor, type Place } from './competitor.ts';
import { OURS } from './result.ts';

const { ingest } = checkSettings({});
export const OUR_FLUSH_INTERVAL_MS = ingest.flush_interval_ms;

/** What starting and ending the program costs, which is not counted. */
export interface StartCost {
  readonly seconds: number;
  readonly cpuSeconds: number;
}

/** What of the settings differs from the defaults. */
function runOf(
  { database, topic, format, batchRecords }: Place,
  processes: number,
  flushIntervalMs: number,
): RunOptions {
  const small =
    batchRecords === undefined ? {} : { CDRHOUSE_INGEST_BATCH_MESSAGES_MAX: String(batchRecords) };
  return {
    database,
    topic,
    format,
    environment: {
      CDRHOUSE_INGEST_PROCESSES: String(processes),
      CDRHOUSE_INGEST_FLUSH_INTERVAL_MS: String(flushIntervalMs),
      ...small,
    },
  };
}

/**
 * cdrhouse itself: `ingest`, with `--until-idle` where a whole topic is read.
 * @param profileFolder takes profiles of node, which cost some CPU themselves
 * @param flushIntervalMs `ingest.flush_interval_ms`
 */
export function cdrhouse(
  processes: number,
  startCost: StartCost = { seconds: 0, cpuSeconds: 0 },
  profileFolder?: string,
  flushIntervalMs: number = OUR_FLUSH_INTERVAL_MS,
): Competitor {
  const nodeOptions = profileFolder === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileFolder}`];
  return {
    name: processes === 1 ? OURS : `${OURS}, ${processes} processes`,
    settings:
      `both tables, ledger, rejects aside, dial plans and time sanity; batches of up to ${ingest.batch_bytes_max / 2 ** 20} MiB, ` +
      `flushed after ${flushIntervalMs} ms; all else as by default`,
    store: BOTH_TABLES,
    flushIntervalMs,
    keepsSession: true,
    runsIn: 'program',
    start: (place) => startIngest(place.bench, runOf(place, processes, flushIntervalMs)),
    run: async (place) => {
      const run = { ...runOf(place, processes, flushIntervalMs), nodeOptions };
      const ended = await runCdrhouse(place.bench, run, 'ingest', '--until-idle');
      return {
        seconds: ended.assignedSeconds!,
        cpuSeconds: ended.cpuSeconds - startCost.cpuSeconds * processes,
        peakBytes: ended.peakBytes,
        stop: () => Promise.resolve(),
      };
    },
    left: uncommitted,
  };
}
