import tap from 'tap';
import { missingCommands, readInputs } from '../../bench/capacity-inputs.ts';
import { agreement, capacityOf, predictDay } from '../../bench/capacity-model.ts';
import { capacityTables, shown } from '../../bench/capacity-tables.ts';
import { CAPACITY, figure, GROWTH, INGEST, MERGES, RETENTION } from './results.ts';

const RESULTS = [INGEST, GROWTH, RETENTION, MERGES, CAPACITY];
const inputs = readInputs(RESULTS);
const input = (name: string): number => inputs.find((one) => one.name === name)!.value;

await tap.test('inputs are the figures of the results, at the largest size', async (t) => {
  t.equal(input('program_us'), 1.5);
  t.equal(input('insert_us'), 1.25);
  t.equal(input('cdr_bytes'), 30);
  t.equal(input('tried'), 50_000_000);
  t.equal(input('store_exponent'), 0.1);
  // 2 s for a tenth of 50 million calls; 100 s for all of them, those of cdrhouse and not of the plain statement.
  t.equal(input('sweep_us'), 0.4);
  t.equal(input('erase_us'), 2);
});

/** 4 times after 100 inserts, and with their logarithm up to a month of one a second. */
const TIMES = (4 * Math.log((365.25 / 12) * 86_400)) / Math.log(100);
const STORED_US = 1.25 + TIMES * 0.75;

await tap.test('a call is merged several times until its month is one part', (t) => {
  t.equal(input('merge_us'), 0.75);
  t.equal(input('merge_times'), TIMES);
  t.equal(input('clickhouse_us'), STORED_US);
  t.end();
});

await tap.test('steps of 100 million calls a day', async (t) => {
  const { values } = capacityOf(inputs, 100_000_000);
  const days = input('days');
  t.equal(days, 1096, '36 months');
  t.equal(values['stored'], 1e8 * days);
  t.equal(values['data'], 1e8 * days * 70);
  t.equal(values['disk'], (1e8 * days * 70) / input('disk_fill'));
  t.equal(values['busy_rate'], (1e8 * input('busy_share')) / 3600);
  const rate = values['busy_rate']!;
  t.equal(values['ingest_cores'], (rate * 1.5) / 1e6 / input('core_load'));
  t.equal(values['processes'], Math.ceil(values['ingest_cores']!));
  t.ok(values['partitions']! >= values['processes']!, 'no process stands idle');
  const growth = ((1e8 * days) / 5e7) ** 0.1;
  const cores = (rate * STORED_US * growth) / 1e6 / input('core_load');
  t.ok(Math.abs(values['clickhouse_cores']! / cores - 1) < 1e-12);
  t.equal(values['look_up'], 250 / 50, 'flat stays flat');
  t.ok(
    Math.abs(values['usage']! - (2 * (1e8 * input('month_days'))) / 5e6) < 1e-6,
    '2 s for 5 million calls',
  );
});

await tap.test('no table is credited for being smaller than what was tried', async (t) => {
  const { values } = capacityOf(inputs, 1000);
  t.ok(values['extrapolation']! < 1);
  t.equal(values['clickhouse_cores'], (values['busy_rate']! * STORED_US) / 1e6 / input('core_load'));
});

await tap.test('a day foretold and measured', async (t) => {
  const [disk, program, clickhouse, merges] = predictDay(inputs, 1_000_000, {
    bytes: 35_000_000,
    program: 3,
    clickhouse: 1.25,
    merges: 1.5,
  });
  t.match(disk, { predicted: 70_000_000, measured: 35_000_000 });
  t.equal(agreement(disk!), 0.5);
  t.match(program, { predicted: 1.5, measured: 3 });
  t.equal(agreement(program!), 0.5, 'too little is as wrong as too much');
  t.equal(agreement(clickhouse!), 1);
  t.equal(agreement(merges!), 0.5);
});

await tap.test('the tables hold every input and every step', async (t) => {
  const day = predictDay(inputs, 1_000_000, { bytes: 7e7, program: 1.5, clickhouse: 1.25, merges: 1 });
  const live = [{ what: 'cores of ingest', cores: 0.0123, input: 'program_us' as const }];
  const tables = capacityTables(inputs, day, live);
  for (const { name } of inputs) t.match(tables.inputs, `| \`${name}\` |`);
  for (const name of Object.keys(capacityOf(inputs, 1).values))
    t.ok(name === 'calls_a_day' || `${tables.inputs}${tables.steps}`.includes(`| \`${name}\` |`), name);
  t.match(tables.steps, '1,000,000 calls a day');
  t.match(tables.live, '| cores of ingest | 0.0123 cores | 0.0000174 cores |');
  t.notMatch(`${tables.inputs}${tables.steps}${tables.day}${tables.live}`, /NaN|undefined|Infinity/);
});

await tap.test('what a formula names is an input or a step above', async (t) => {
  const known = new Set(['calls_a_day', ...inputs.map(({ name }) => name)]);
  for (const row of capacityTables(inputs, [], []).steps.split('\n').slice(2)) {
    const [name, , formula] = row.split(' | ');
    const step = name!.split('`')[1]!;
    for (const [word] of formula!.matchAll(/[a-z]+_[a-z_]+/g)) t.ok(known.has(word), `${step}: ${word}`);
    known.add(step);
  }
});

await tap.test('a result that is missing is named with its command', async (t) => {
  t.same(missingCommands([INGEST, GROWTH, MERGES]), ['make bench-retention']);
  t.same(missingCommands(RESULTS), []);
  t.throws(() => readInputs([INGEST, GROWTH, MERGES, CAPACITY]), /make bench-retention/);
  const others = { ...INGEST, figures: [figure('CPU a record', 'us', 'single', 1)] };
  t.throws(() => readInputs([others, GROWTH, RETENTION, MERGES, CAPACITY]), /make bench-ingest/);
});

await tap.test('values for a reader', async (t) => {
  t.equal(shown(7_672_000_000_000, 'bytes'), '7.67 TB');
  t.equal(shown(999, 'bytes'), '999 bytes');
  t.equal(shown(90, 's'), '90 s');
  t.equal(shown(7200, 's'), '2 h');
  t.equal(shown(0.0123456, 'cores'), '0.0123 cores');
  t.equal(shown(5_000_000_000, ''), '5,000,000,000');
});
