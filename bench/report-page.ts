import { BAR_COLOURS, barColour, barName, barPlot, growthPlot, inCommon } from './report-plots.ts';
import {
  brokenOnes,
  meaningsOf,
  shownNumber,
  shownValues,
  summarise,
  type Answer,
} from './report-summary.ts';
import { allowed, EXPONENT, FIGURES, type Figure, type Host, type SavedResult } from './result.ts';
import { dataOf } from './saved-results.ts';
import { groupBy, shortNumber } from './table.ts';

/** What each part is about, for somebody who has never seen the project. Others are shown under their name. */
const PARTS: Readonly<Record<string, { readonly title: string; readonly about: string }>> = {
  ingest: {
    title: 'Storing: from Kafka into both tables',
    about:
      'Competitors read the same records from the same broker into the same ClickHouse, one after the other, round by round. Nothing is merged until all is stored; what merging costs then is shown apart.',
  },
  latency: {
    title: 'Latency: from Kafka to queryable',
    about:
      'Records come at a steady rate. Measured is from the timestamp that Kafka gave a record to the first query that finds it. Most of it is waiting for more records before they are stored together: compare those that are flushed after as long.',
  },
  delivery: {
    title: 'Delivery: killed in the middle, with bad records among the good ones',
    about:
      'Each competitor is killed (SIGKILL) while it stores, or where it stores nothing by then, started again, and must end with every good record once and unaltered, and with the bad ones set aside.',
  },
  parse: {
    title: 'Parsing, by format',
    about: 'One parse worker, the same calls in each format that switches write. No server takes part.',
  },
  steps: {
    title: 'Steps of storing',
    about:
      'Each step alone, on the same batches. Both inserts together are what the floor of ingest does, but only on as many records are the two the same figure: few records fill no batch, and more of their inserts are the first one into a new table.',
  },
  readers: {
    title: 'With the native addon and without',
    about: 'CPU of the program alone, with messages read many at once and one by one.',
  },
  codecs: {
    title: 'Compression of the call tables',
    about: 'The codecs in use beside others: inserting the blocks of ingest, reading one key, merging once.',
  },
  merges: {
    title: 'Merges of what comes as it comes',
    about:
      'A batch a second through ingest, on calls that are there: how many rows ClickHouse writes anew for each that comes. What storing a topic at once costs, above, leaves that out.',
  },
  query: {
    title: 'Questions to the API',
    about:
      'The real HTTP API over stored calls; where it says so, beside the same questions on a tenth of them.',
  },
  growth: {
    title: 'Growth with the number of stored calls',
    about:
      'The same work on tables of different sizes, and the exponent that fits best: 0 is flat, 1 grows as the table does.',
  },
  retention: {
    title: 'That calls go when they must',
    about:
      'A sweep of what is past its term, and the erasure of one number, beside plain statements that take the same rows away and prove nothing.',
  },
  capacity: {
    title: 'One day of a million calls',
    about: 'What docs/capacity.md foretells by arithmetic, and what it really took.',
  },
};

/** The order of the sections; parts that are not known come last. */
export function inOrder(results: readonly SavedResult[]): SavedResult[] {
  const order = Object.keys(PARTS);
  const place = ({ part }: SavedResult): number => (part in PARTS ? order.indexOf(part) : order.length);
  return [...results].sort((a, b) => place(a) - place(b));
}

/** Figures that get a plot; all others stand in tables. */
const PLOTTED: ReadonlySet<string> = new Set([
  FIGURES.cpu,
  FIGURES.mergedCpu,
  FIGURES.rate,
  FIGURES.latencyP50,
  FIGURES.latencyP99,
  FIGURES.timesMerged,
  'CPU a record, parse',
  'CPU a record, of a step',
  'answer, p99',
  'CPU',
]);
/** In which the program alone is compared. */
const PROGRAM_PART = 'readers';

/**
 * The whole page, with nothing that must be fetched; every number in it is one of the results.
 * @param doubts sentences that stand before everything
 */
export function reportPage(unordered: readonly SavedResult[], doubts: readonly string[] = []): string {
  const results = inOrder(unordered);
  const answers = summarise(results);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>cdrhouse: what the bench found</title>
<style>${STYLE}</style>
</head>
<body>
<header>
<h1>cdrhouse: what the bench found</h1>
<p>cdrhouse takes call data records from telephone switches through Kafka into ClickHouse. <code>make bench</code> measured it
beside others on one machine, with the same records, and looked afterwards whether each has every record once (below). CPU counts more
than wall time here: broker, database and programs share the cores. A value is the median of the rounds, with their range.</p>
${brokenOnes(results)
  .map((broken) => `<p class="failed">BROKEN: ${escape(broken)}</p>`)
  .join('\n')}
${doubts.map((doubt) => `<p class="doubt">${escape(doubt)}</p>`).join('\n')}
</header>
<main>
${answers.map(answerSection).join('\n')}
${words(results)}
${results.map(partSection).join('\n')}
<section aria-labelledby="machines">
<h2 id="machines">Machine and versions</h2>
${hostTable(results)}
</section>
</main>
<script type="application/json" id="results">${JSON.stringify(results).replaceAll('<', '\\u003c')}</script>
</body>
</html>
`;
}

/** What the words of the answers mean, and what the parts say themselves of their competitors. */
function words(results: readonly SavedResult[]): string {
  const meanings = new Map(meaningsOf(results));
  for (const { settings } of results) {
    const { competitors = {} } = settings as {
      readonly competitors?: Readonly<Record<string, string>>;
    };
    for (const [who, meaning] of Object.entries(competitors)) meanings.set(who, meaning);
  }
  // Competitors that differ in a number only are told together.
  const told = groupBy([...meanings], ([, meaning]) => meaning);
  const entries = [...told].map(([meaning, entryWords]) => {
    const terms = entryWords.map(([word]) => `<dt>${escape(word)}</dt>`).join('');
    return `${terms}<dd>${escape(meaning)}</dd>`;
  });
  return `<section aria-labelledby="words">
<h2 id="words">What the words mean</h2>
<dl>${entries.join('\n')}</dl>
</section>`;
}

function answerSection({ question, rows }: Answer, index: number): string {
  const cells = rows.map(({ what, value, passed }) => {
    const kind = passed === undefined ? '' : passed ? ' class="passed"' : ' class="failed"';
    return `<tr><th scope="row">${escape(what)}</th><td${kind}>${escape(value)}</td></tr>`;
  });
  return `<section aria-labelledby="answer-${index}">
<h2 id="answer-${index}">${escape(question)}</h2>
<div class="scroll"><table>${cells.join('\n')}</table></div>
</section>`;
}

function partSection(result: SavedResult): string {
  const { part, at, figures, checks, held, broken, notes, settings, host } = result;
  const { title, about } = PARTS[part] ?? { title: part, about: '' };
  const data = dataOf(result).text;
  const names = [...groupBy(figures, ({ name }) => name)].filter(([name]) => !name.startsWith(EXPONENT));
  return `<section aria-labelledby="part-${escape(part)}">
<h2 id="part-${escape(part)}">${escape(title)}</h2>
<p>${escape(about)}${data === '' ? '' : ` Measured on ${escape(data)}.`}</p>
${notes.map((note) => `<p>${escape(note)}</p>`).join('\n')}
${names.map(([name, list]) => plotOf(part, name, list)).join('\n')}
${details('All figures', figuresTable(figures))}
${checks.length === 0 ? '' : details('Checks', checksTable(checks))}
${held.length === 0 ? '' : details('Thresholds', heldTable(held, broken), broken.length > 0)}
${details('Settings', settingsTable({ part, at, commit: host.commit, ...settings }))}
</section>`;
}

function details(name: string, content: string, isOpen = false): string {
  return `<details${isOpen ? ' open' : ''}><summary>${name}</summary><div class="scroll">${content}</div></details>`;
}

function plotOf(part: string, name: string, figures: readonly Figure[]): string {
  const units = new Set(figures.map(({ unit }) => unit));
  const sizes = new Set(figures.map(({ calls }) => calls));
  const isGrowth = part === 'growth' && !sizes.has(undefined) && sizes.size > 1;
  const isPlotted = PLOTTED.has(name) || (part === PROGRAM_PART && name === FIGURES.programCpu);
  if (units.size > 1 || (!isGrowth && (!isPlotted || figures.length < 2))) return '';
  const unit = figures[0]!.unit;
  const svg = isGrowth ? growthPlot(figures, unit) : barPlot(figures, unit);
  const caption = [name, ...(unit === '' ? [] : [unit]), ...(isGrowth ? [] : inCommon(figures))].join(', ');
  return `<figure>
<figcaption>${escape(caption)}</figcaption>
${isGrowth ? '' : barLegend(figures)}
<div role="img" aria-label="${escape(`Plot of ${caption}; its figures are in the table below it`)}">${svg}</div>
${details('The figures of this plot', figuresTable(figures))}
</figure>`;
}

function barLegend(figures: readonly Figure[]): string {
  const colours = new Set<string>(figures.map(({ who }) => barColour(who)));
  const entries = Object.entries(BAR_COLOURS)
    .filter(([colour]) => colours.has(colour))
    .map(([colour, meaning]) => `<span style="background: var(--${colour})"></span> ${meaning}`);
  if (figures.some(({ values }) => values.length > 1)) entries.push('<b></b> range of the rounds');
  return `<p class="legend">${entries.join(' ')}</p>`;
}

function figuresTable(figures: readonly Figure[]): string {
  const areWanted = figures.some(({ wanted }) => wanted !== undefined);
  return table(
    ['figure', 'of', 'median (range of the rounds)', ...(areWanted ? ['wanted, at most'] : [])],
    figures.map((figure) => {
      const { name, values, unit, wanted } = figure;
      const cells = [name, barName(figure), shownValues(values, unit)];
      return areWanted ? [...cells, wanted === undefined ? '' : `${wanted} ${unit}`] : cells;
    }),
  );
}

function checksTable(checks: SavedResult['checks']): string {
  return table(
    ['who', 'what', 'so?', 'found'],
    checks.map(({ who, what, passed, detail }) => [who, what, passed ? 'yes' : 'NO', detail]),
  );
}

function heldTable(held: SavedResult['held'], broken: SavedResult['broken']): string {
  const brokenNames = new Set(broken.map(({ what }) => what));
  return table(
    ['what', 'measured', 'allowed', 'holds?'],
    held.map((one) => [
      one.what,
      shownNumber(one.value),
      allowed(one),
      brokenNames.has(one.what) ? 'NO' : 'yes',
    ]),
  );
}

function settingsTable(settings: Readonly<Record<string, unknown>>): string {
  return table(['setting', 'value'], settingRows(settings));
}

/** A row a value; what is within another setting has the name of that one before its own. */
function settingRows(settings: object, above = ''): string[][] {
  return Object.entries(settings).flatMap(([key, value]: [string, unknown]) => {
    const name = `${above}${spelledOut(key)}`;
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return settingRows(value, `${name}: `);
    return [[name, [value].flat().map(shownSetting).join('; ')]];
  });
}

/** `rows_a_second` and `cdrByNumber` in words. */
function spelledOut(name: string): string {
  return name.replaceAll('_', ' ').replaceAll(/(?<=[a-z])[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}

function shownSetting(value: unknown): string {
  return typeof value === 'number' ? shortNumber(value) : String(value);
}

const HOST_NAMES: Readonly<Record<keyof Host, string>> = {
  cores: 'cores',
  cpu: 'processor',
  memory_gigabytes: 'memory, GiB',
  system: 'system',
  node: 'Node',
  file_system: 'file system of the servers',
  clickhouse: 'ClickHouse',
  clickhouse_memory_gigabytes: 'memory that ClickHouse may use, GiB',
  kafka: 'Kafka',
  commit: 'commit',
};

function hostTable(results: readonly SavedResult[]): string {
  const rows = (Object.keys(HOST_NAMES) as (keyof Host)[]).map((key) => {
    const found = new Map<string, string[]>();
    for (const { part, host } of results) {
      const value = host[key];
      if (value === undefined) continue;
      const shown = typeof value === 'number' ? String(Math.round(value * 100) / 100) : value;
      found.set(shown, [...(found.get(shown) ?? []), part]);
    }
    const isOne = found.size === 1;
    return [
      HOST_NAMES[key],
      [...found].map(([value, parts]) => (isOne ? value : `${value} (${parts.join(', ')})`)).join('; '),
    ];
  });
  return `<div class="scroll">${table(['what', 'value'], rows)}</div>`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const heads = head.map((cell) => `<th scope="col">${escape(cell)}</th>`).join('');
  const lines = rows.map(([first, ...others]) => {
    const cells = others.map((cell) => `<td>${escape(cell)}</td>`).join('');
    return `<tr><th scope="row">${escape(first!)}</th>${cells}</tr>`;
  });
  return `<table><thead><tr>${heads}</tr></thead><tbody>${lines.join('\n')}</tbody></table>`;
}

function escape(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}

const STYLE = `
:root {
  --page: #ffffff; --text: #1b1f24; --faint: #d5d9de; --ours: #3b82c4; --peer: #d08a3c; --floor: #6a9f5b; --range: #1b1f24;
  --passed: #1a6e33; --failed: #b3261e; --doubt: #fff4d6;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171b; --text: #e6e8eb; --faint: #3a4048; --ours: #5b9bd8; --peer: #c07f35; --floor: #5f9150; --range: #e6e8eb;
    --passed: #7ccf92; --failed: #ff8a80; --doubt: #4a3c12;
  }
}
body { margin: 0 auto; max-width: 60rem; padding: 1rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; font-size: 0.92rem; }
th, td { text-align: left; padding: 0.25rem 0.6rem; border-bottom: 1px solid var(--faint); vertical-align: top; }
tbody th, table > tr > th { font-weight: normal; }
td { font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
.passed { color: var(--passed); } .failed { color: var(--failed); font-weight: bold; }
.doubt { background: var(--doubt); padding: 0.5rem 0.8rem; }
dt { font-weight: bold; }
.legend { margin: 0.2rem 0; font-size: 0.85rem; }
.legend span { display: inline-block; width: 0.8em; height: 0.8em; margin-left: 1em; }
.legend b { display: inline-block; width: 1.4em; margin-left: 1em; border-top: 2px solid var(--range); vertical-align: middle; }
figure { margin: 1.2rem 0; } figcaption { font-weight: bold; } svg { width: 100%; height: auto; }
details { margin: 0.4rem 0; } summary { cursor: pointer; }
@media print { details > div { display: block; } }
`;
