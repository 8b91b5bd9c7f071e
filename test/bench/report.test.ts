import tap from 'tap';
import { reportPage } from '../../bench/report-page.ts';
import { isBroken, meaningsOf, summarise } from '../../bench/report-summary.ts';
import { dataOf, doubtsAbout, largestOfEachPart } from '../../bench/saved-results.ts';
import { CAPACITY, figure, GROWTH, HOST, INGEST, RETENTION, saved } from './results.ts';

const RESULTS = [INGEST, GROWTH, RETENTION, CAPACITY];

/** Value of the row of the summary whose text has this in it. */
function answered(what: RegExp, results = RESULTS): string {
  const rows = summarise(results).flatMap((answer) => answer.rows);
  return rows.find((row) => what.test(row.what))?.value ?? 'no such row';
}

await tap.test('the largest result of each part counts, and of several the newest', async (t) => {
  const older = { ...INGEST, at: '2026-11-27T10:00:00.000Z' };
  const newer = { ...INGEST, at: '2026-11-29T10:00:00.000Z' };
  const small = { ...INGEST, at: '2026-11-30T10:00:00.000Z', settings: { records: 1000 } };
  const all = [older, INGEST, GROWTH, newer, small];
  const shown = largestOfEachPart(all);
  t.same(shown, [newer, GROWTH]);
  t.same(doubtsAbout(shown, all), [
    'Newer results on less data are not shown: ingest (1,000 records, 2026-11-30T10:00:00.000Z).',
  ]);
  t.equal(answered(/^ingest$/, shown), '2,000,000 records, 2026-11-29 10:00 UTC, commit abc1234');
});

await tap.test('on how much a part was measured', async (t) => {
  t.same(dataOf(INGEST), { count: 2_000_000, text: '2,000,000 records' });
  t.same(dataOf({ settings: { calls: [1000, 50_000_000], records: 500_000 } }), {
    count: 50_000_000,
    text: 'up to 50,000,000 calls',
  });
  t.same(dataOf({ settings: { rate: 5000 } }), { count: 0, text: '' });
});

await tap.test('what was no number is not there', async (t) => {
  const figures = [
    { ...INGEST.figures[0]!, values: [3, Number.NaN, 4] },
    { ...INGEST.figures[1]!, values: [Number.NaN] },
  ];
  const held = [{ what: 'a ratio', value: Number.NaN, max: 1 }];
  const written = JSON.parse(JSON.stringify({ ...INGEST, figures, held, broken: held })) as typeof INGEST;
  const [read] = largestOfEachPart([written]);
  t.same(
    read!.figures.map(({ values }) => values),
    [[3, 4]],
  );
  const page = reportPage([read!]);
  t.match(page, '<td>no number</td><td>at most 1</td><td>NO</td>');
  t.equal(answered(/^BROKEN in ingest/, [read!]), 'no number, allowed is at most 1');
});

await tap.test('the summary answers from the figures', async (t) => {
  t.equal(
    answered(/^packed: records a second and core, until stored/),
    '285,714 (250,000 to 307,692): 3.50 (3.25 to 4.00) us CPU a record',
  );
  t.equal(
    answered(/^packed: records a second and core, stored and merged once/),
    '235,294: 4.25 us CPU a record',
  );
  t.equal(answered(/^packed: records a second with all/), '431,234');
  t.match(answered(/^answer of the API, p50: a number, any role/), / ms$/);
  t.equal(answered(/share of inserting/), '0.72');
  t.equal(
    answered(/^packed: CPU a record, Kafka engine, 1 consumer/),
    '8.75 (8.50 to 9.00) us; cdrhouse 3.50 us, 0.40 (0.38 to 0.44) times that',
  );
  t.equal(answered(/every record once/), 'yes: lost 0, twice 0, altered 0');
  t.equal(answered(/that hold$/), '2 of 2');
});

await tap.test('more processes: what they bring and cost', async (t) => {
  const withTwo = (rate: number, cpu: number, cores = 2): string => {
    const figures = [
      { ...figure('CPU a record', 'us', 'packed', cpu), who: 'cdrhouse, 2 processes' },
      { ...figure('records a second', '1/s', 'packed', rate), who: 'cdrhouse, 2 processes' },
    ];
    const host = { ...HOST, cores };
    return answered(/2 processes against 1/, [{ ...INGEST, host, figures: [...INGEST.figures, ...figures] }]);
  };
  t.equal(
    withTwo(431_234 / 2, 7),
    '0.50 times the records a second, 2.00 times the CPU a record: they bring less than they cost; ' +
      'broker, database and programs share 2 cores, which can be why',
  );
  t.match(withTwo(431_234 / 2, 7, 8), /less than they cost$/, 'cores enough');
  t.match(withTwo(431_234 * 1.5, 4), /^1\.50 .* bring more than they cost$/);
  t.equal(answered(/2 processes against 1/), 'no such row');
});

await tap.test('the words of the answers, and the cases by name', async (t) => {
  const words = meaningsOf(RESULTS);
  for (const word of [
    'CPU a record',
    'merged once',
    'n times that',
    'one table',
    'floor',
    'share of the floor',
    'p50, p95, p99',
  ])
    t.ok(words.has(word), word);
  t.equal(words.get('packed'), 'many records a message');
});

await tap.test('what is broken is said, and a finding about a peer is none of ours', async (t) => {
  const lost = { what: 'after kill -9', passed: false, detail: 'lost 17' };
  const peer = saved('delivery', { checks: [{ ...lost, who: 'Kafka engine, 1 consumer' }] });
  t.notOk(isBroken([...RESULTS, peer]));
  t.equal(answered(/after kill -9/, [peer]), 'NO: lost 17');
  t.equal(answered(/^Kafka engine, 1 consumer$/, [peer]), 'no such row', 'one check is told once');
  const equal = saved('delivery', {
    checks: [{ ...lost, passed: true, detail: 'lost 0', who: 'Kafka engine, 1 consumer' }],
  });
  t.equal(answered(/after kill -9/, [equal]), 'yes: lost 0', 'what a peer does right is said too');
  t.ok(isBroken([saved('delivery', { checks: [{ ...lost, who: 'cdrhouse, 2 processes' }] })]));
  const held = [{ what: 'a ratio', value: 0.9, max: 0.5 }];
  const broken = [saved('ingest', { held, broken: held })];
  t.ok(isBroken(broken));
  t.equal(answered(/^BROKEN in ingest: a ratio/, broken), '0.90, allowed is at most 0.5');
});

await tap.test('doubts about results that do not belong together', async (t) => {
  t.same(doubtsAbout(RESULTS), []);
  const other = { ...GROWTH, others_cores: 0.6, host: { ...HOST, commit: 'def5678-dirty' } };
  const doubts = doubtsAbout([INGEST, other]).join(' ');
  t.match(doubts, /different commits \(ingest: abc1234, growth: def5678-dirty\)/);
  t.match(doubts, /in no commit: growth/);
  t.match(doubts, /growth \(0\.60 cores\)/);
});

await tap.test('the page stands alone, and has the results and nothing else', async (t) => {
  const page = reportPage(RESULTS);
  const embedded = /<script type="application\/json" id="results">([^]*?)<\/script>/.exec(page)![1]!;
  t.same(JSON.parse(embedded), JSON.parse(JSON.stringify(RESULTS)));
  const shown = page.replace(embedded, '');
  t.notMatch(
    shown,
    /\b(src|href|action)=|@import|url\((?!#)|<link|<script(?! type="application\/json")/,
    'fetches nothing',
  );
  t.equal(
    [...shown.matchAll(/https?:\/\/[^"]*/g)].filter(([url]) => url !== 'http://www.w3.org/2000/svg').length,
    0,
  );
  t.notMatch(shown, /NaN|undefined|Infinity|#0[0-9]0[0-9]0[0-9]/);
  for (const value of [
    '8.75',
    '3.25 to 4.00',
    '431,234',
    'Test Processor 1',
    '26.7.1',
    'abc1234',
    '50,000,000 calls',
  ])
    t.ok(shown.includes(value), value);
  t.ok(shown.includes('Start and end of each process are not counted.'));
  t.ok(shown.includes('<dt>Kafka engine, 1 consumer</dt><dd>views that do equal work</dd>'));
  t.ok(shown.includes('<dt>packed</dt><dd>many records a message</dd>'));
});

await tap.test('plots follow the figures, each with its table', async (t) => {
  const page = reportPage(RESULTS);
  const plots = [...page.matchAll(/<figure>[^]*?<\/figure>/g)].map(([plot]) => plot);
  t.ok(plots.length >= 6, String(plots.length));
  for (const plot of plots) {
    t.match(plot, /<svg [^>]*viewBox="0 0 \d+ \d+"[^>]*>[^]*var\(--ours\)[^]*<\/svg>/);
    t.match(plot, /role="img" aria-label="Plot of [^"]+"/);
    t.match(plot, /<table>/);
  }
  const cpu = plots.find((plot) => plot.includes('Kafka engine'))!;
  const width = (colour: string): number =>
    Number(new RegExp(`<path d="M[0-9.]+ [0-9.]+l([0-9.]+) [^>]*fill="var\\(--${colour}\\)"`).exec(cpu)?.[1]);
  t.ok(Math.abs(width('peer') / width('ours') - 8.75 / 3.5) < 0.01, 'bars are as long as the medians');
  t.ok(Math.abs(width('ours') / width('floor') - 3.5 / 1.25) < 0.01);
  const other = {
    ...INGEST,
    figures: INGEST.figures.map((one) => ({
      ...one,
      values: one.values.map((value) => value ** 2),
    })),
  };
  t.notOk(
    reportPage([other, GROWTH, RETENTION, CAPACITY]).includes(/<svg[^]*<\/svg>/.exec(cpu)![0]),
    'drawn anew',
  );
});

await tap.test('settings are lines, also those within others', async (t) => {
  const settings = {
    records: 3_000_000,
    calls: [1000, 2000],
    rowsBySize: { cdr: { stored_rows: 1234, share: 0.48858466 } },
    cold: null,
  };
  const page = reportPage([saved('ingest', { settings })]);
  for (const [name, value] of [
    ['records', '3,000,000'],
    ['calls', '1,000; 2,000'],
    ['rows by size: cdr: stored rows', '1,234'],
    ['rows by size: cdr: share', '0.489'],
    ['cold', 'null'],
  ])
    t.match(page, `<th scope="row">${name}</th><td>${value}</td>`);
  t.notMatch(page.replace(/<script[^]*?<\/script>/, ''), '{&quot;');
});

await tap.test('texts of results are no markup', async (t) => {
  const page = reportPage([
    saved('<b>part', { notes: ['</script><img src=x>'], settings: { option: '"<i>"' } }),
  ]);
  t.notMatch(page, /<b>part|<img|<i>/);
  t.match(page, '&lt;/script&gt;&lt;img');
});
