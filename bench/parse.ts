import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { FORMAT_LINES } from './format-lines.ts';
import type { FormatRound, FormatTask } from './parse-worker.ts';
import { finishPart, localHost, OURS } from './result.ts';
import { median, textTable } from './table.ts';
import { readThresholds } from './thresholds.ts';
import { wholeNumber } from './whole-number.ts';

/**
 * `make bench-parse`: CPU a record of one parse worker by format, on the same calls in interleaved rounds: parsing alone, and
 * with sorting and encoding both blocks. Each format has a thread of its own, as in ingest, so that none is compiled for
 * what another one needs. Exits 1 where a ratio to canonical-csv is above its threshold.
 */
const { values } = parseArgs({
  options: {
    records: { type: 'string', default: '100000' },
    rounds: { type: 'string', default: '9' },
    /** Names of formats with commas between them; default: all. */
    formats: { type: 'string' },
  },
});
const RECORDS = wholeNumber('records', values.records, 1000, 1_000_000);
const ROUNDS = wholeNumber('rounds', values.rounds, 1, 100);
const BASE = 'canonical-csv';
/** What `ship` packs. */
const MESSAGE_BYTES = 65_536;
/** Rounds of each format before the counted ones: they compile the code. */
const WARM_UP_ROUNDS = 2;

const wanted = values.formats?.split(',') ?? FORMAT_LINES.map(({ format }) => format);
const unknown = wanted.find((name) => !FORMAT_LINES.some(({ format }) => format === name));
if (unknown !== undefined) throw new RangeError(`--formats: there are no lines of ${unknown}`);
const host = localHost();
const formats = [BASE, ...wanted.filter((format) => format !== BASE)];
const rounds = new Map<string, FormatRound[]>();
const threads = formats.map((format) => {
  const task: FormatTask = { format, records: RECORDS, messageBytes: MESSAGE_BYTES };
  return { format, thread: new Worker(new URL('./parse-worker.js', import.meta.url), { workerData: task }) };
});
for (let round = -WARM_UP_ROUNDS; round < ROUNDS; round++) {
  for (const { format, thread } of threads) {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    thread.postMessage('round');
    const [measured] = (await once(thread, 'message')) as [FormatRound];
    if (round >= 0) rounds.set(format, [...(rounds.get(format) ?? []), measured]);
  }
}
await Promise.all(threads.map(({ thread }) => thread.terminate()));

/** us a record: the best round and the median one. Other work makes rounds longer, none shorter. */
function used(format: string, part: 'parse' | 'all'): { best: number; median: number } {
  const list = rounds.get(format)!.map((round) => round[part] / RECORDS);
  return { best: Math.min(...list), median: median(list) };
}

const base = { parse: used(BASE, 'parse'), all: used(BASE, 'all') };
const rows = formats.map((format) => {
  const [parse, all] = [used(format, 'parse'), used(format, 'all')];
  return [
    format,
    Math.round(rounds.get(format)![0]!.bytes / RECORDS).toString(),
    parse.best.toFixed(2),
    parse.median.toFixed(2),
    (parse.best / base.parse.best).toFixed(2),
    all.best.toFixed(2),
    all.median.toFixed(2),
    (all.best / base.all.best).toFixed(2),
  ];
});
const head = [
  'us CPU a record',
  'bytes',
  'parse: best',
  'median',
  'ratio',
  'with blocks: best',
  'median',
  'ratio',
];
process.stdout.write(`${textTable(head, rows)}\n${ROUNDS} rounds of ${RECORDS} records\n`);

const ratios = readThresholds().parse_ratio_max;
finishPart(host, {
  part: 'parse',
  settings: { records: RECORDS, rounds: ROUNDS, message_bytes: MESSAGE_BYTES },
  figures: formats.flatMap((format) => {
    const measured = rounds.get(format)!;
    const figure = (name: string, unit: string, list: readonly number[]) => {
      return { name, unit, who: OURS, case: format, values: list };
    };
    return [
      figure(
        'CPU a record, parse',
        'us',
        measured.map(({ parse }) => parse / RECORDS),
      ),
      figure(
        'CPU a record, parse, sort and encode',
        'us',
        measured.map(({ all }) => all / RECORDS),
      ),
      figure('bytes a record', 'bytes', [measured[0]!.bytes / RECORDS]),
    ];
  }),
  checks: [],
  held: formats.flatMap((format) => {
    const max = ratios[format];
    return max === undefined
      ? []
      : [{ what: `parse ratio of ${format}`, value: used(format, 'parse').best / base.parse.best, max }];
  }),
  notes: [
    'One parse worker a format, on the same calls. Held is the ratio of the best rounds to canonical-csv: other work makes rounds longer, none shorter.',
  ],
});
