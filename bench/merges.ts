import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { CALL_TABLES } from '../schemas/tables.ts';
import { withBenchServers, type BenchServers } from './bench-servers.ts';
import { runCdrhouse, startIngest } from './cdrhouse-run.ts';
import { quoted } from './database.ts';
import { benchHost, FIGURES, finishPart, OURS, type Figure } from './result.ts';
import { say } from './say.ts';
import { SteadyLoad } from './steady-load.ts';
import { textTable } from './table.ts';
import { readThresholds } from './thresholds.ts';
import { wholeNumber } from './whole-number.ts';

/**
 * `make bench-merges`: how often ClickHouse merges what comes as it comes, a batch a flush interval, on top of calls that are
 * there already: with the settings that `migrate` gives the call tables, with a part of them, and with those that ClickHouse has by itself. It
 * chooses by age as well, so that time cannot be shortened. Exits 1 where a threshold is broken.
 */
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '120' },
    /** Calls a second. */
    rate: { type: 'string', default: '1000' },
    /** Calls of the month that are stored and merged before. */
    before: { type: 'string', default: '60000' },
  },
});
const SECONDS = wholeNumber('seconds', values.seconds, 10, 86_400);
const RATE = wholeNumber('rate', values.rate, 1, 100_000);
const BEFORE = wholeNumber('before', values.before, 0, 10_000_000);

/** Who stores, and with which settings of merges instead of those that `migrate` gives (decision 0027). */
const CANDIDATES: readonly { readonly who: string; readonly settings: readonly string[] }[] = [
  { who: OURS, settings: [] },
  {
    who: 'merges of ten parts or more, else as ClickHouse',
    settings: [
      'RESET SETTING merge_selector_base, merge_selector_enable_heuristic_to_remove_small_parts_at_right',
      'MODIFY SETTING min_parts_to_merge_at_once = 10',
    ],
  },
  {
    who: 'merges as ClickHouse',
    settings: [
      'RESET SETTING merge_selector_base, merge_selector_enable_heuristic_to_remove_small_parts_at_right, min_parts_to_merge_at_once',
    ],
  },
];
/** Everything that is inserted or merged, with the CPU of it. */
const PART_LOG =
  '<part_log><database>system</database><table>part_log</table><flush_interval_milliseconds>1000</flush_interval_milliseconds></part_log>';
const CATCH_UP_MS = 3000;

/** What became of the rows of both tables. */
interface Merged {
  readonly who: string;
  readonly calls: number;
  readonly inserts: number;
  readonly rows: number;
  readonly mergedRows: number;
  readonly mergeSeconds: number;
  readonly parts: number;
}

async function measure(bench: BenchServers, { who, settings }: (typeof CANDIDATES)[number], index: number) {
  const { database, servers } = bench;
  const name = `bench_merges_${index}`;
  const run = { database: name, topic: name };
  await runCdrhouse(bench, run, 'migrate');
  for (const table of CALL_TABLES)
    for (const setting of settings) await database.statement(`ALTER TABLE ${name}.${table} ${setting}`);
  const ingest = await startIngest(bench, run);
  const took = async (rate: number, seconds: number): Promise<number> => {
    const load = new SteadyLoad(servers.kafka, name, rate);
    await sleep(seconds * 1000);
    const sent = await load.stop();
    await sleep(CATCH_UP_MS);
    return sent;
  };
  const before = BEFORE === 0 ? 0 : await took(BEFORE / 10, 10);
  await database.mergeAll(name, CALL_TABLES);
  await database.statement('SYSTEM FLUSH LOGS part_log');
  const [began] = await database.rows<{ at: string }>('SELECT toString(now64(6)) AS at');
  const calls = await took(RATE, SECONDS);
  await ingest.stop();
  await database.statement('SYSTEM FLUSH LOGS part_log');
  const [log] = await database.rows<Omit<Merged, 'who' | 'calls' | 'parts'>>(
    `SELECT countIf(event_type = 'NewPart' AND table = 'cdr') AS inserts,
       sumIf(log.rows, event_type = 'NewPart') AS rows, sumIf(log.rows, event_type = 'MergeParts') AS mergedRows,
       sumIf(ProfileEvents['OSCPUVirtualTimeMicroseconds'], event_type = 'MergeParts') / 1e6 AS mergeSeconds
     FROM system.part_log AS log WHERE database = '${name}' AND table IN (${quoted(CALL_TABLES)}) AND event_time_microseconds > '${began!.at}'`,
  );
  const [stored] = await database.rows<{ calls: number }>(`SELECT count() AS calls FROM ${name}.cdr FINAL`);
  if (stored!.calls !== before + calls)
    throw new Error(`${stored!.calls} of ${before + calls} calls are stored`);
  const parts = await database.parts(name, CALL_TABLES);
  await database.statement(`DROP DATABASE ${name} SYNC`);
  const merged: Merged = { who, calls, ...log!, parts };
  return merged;
}

const timesMerged = ({ mergedRows, rows }: Merged): number => mergedRows / rows;
const mergeMicroseconds = ({ mergeSeconds, calls }: Merged): number => (mergeSeconds / calls) * 1e6;

function figuresOf(merged: Merged): Figure[] {
  const of = `${RATE} calls a second, a batch each second`;
  const figure = (name: string, unit: string, value: number): Figure => {
    return { name, unit, who: merged.who, case: of, values: [value] };
  };
  return [
    figure(FIGURES.timesMerged, '', timesMerged(merged)),
    figure(FIGURES.mergesCpu, 'us', mergeMicroseconds(merged)),
    figure(FIGURES.insertsMerged, '', merged.inserts),
    figure('active parts in the end, both tables', '', merged.parts),
  ];
}

await withBenchServers(
  async (bench) => {
    const host = await benchHost(bench);
    say(`${RATE} calls a second for ${SECONDS} s, on top of ${BEFORE} that are merged to one part a table`);
    const measured: Merged[] = [];
    for (const [index, candidate] of CANDIDATES.entries()) {
      measured.push(await measure(bench, candidate, index));
      const last = measured.at(-1)!;
      say(`  ${last.who}: each row was merged ${timesMerged(last).toFixed(1)} times`);
    }
    say(
      `\n${textTable(
        [
          'merges of the call tables',
          'inserts',
          'rows',
          'merged for each',
          'us CPU of merges a call',
          'parts',
        ],
        measured.map((one) => [
          one.who,
          String(one.inserts),
          String(one.rows),
          timesMerged(one).toFixed(1),
          mergeMicroseconds(one).toFixed(1),
          String(one.parts),
        ]),
      )}`,
    );
    const [ours, theirs] = [measured[0]!, measured.at(-1)!];
    finishPart(host, {
      part: 'merges',
      settings: {
        rate: RATE,
        seconds: SECONDS,
        calls_before: BEFORE,
        merges: Object.fromEntries(CANDIDATES.map(({ who, settings }) => [who, settings])),
      },
      figures: measured.flatMap(figuresOf),
      checks: [],
      held: [
        {
          what: 'CPU of merges, against the merge settings of ClickHouse',
          value: ours.mergeSeconds / theirs.mergeSeconds,
          max: readThresholds().merges_ratio_max,
        },
      ],
      notes: [
        'Parts of some MB and less are alike to ClickHouse: by itself it merges one of them with whatever came since, again and again.',
        'One run; merges come in steps.',
      ],
    });
  },
  { configuration: PART_LOG },
);
