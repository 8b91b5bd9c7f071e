import { allowed, EXPONENT, FIGURES, isOurs, OURS, type Figure, type SavedResult } from './result.ts';
import { dataOf } from './saved-results.ts';
import { groupBy, median, medianAndRange } from './table.ts';

/** The answers of the report: what somebody asks who has never seen the project. */
export interface Answer {
  readonly question: string;
  readonly rows: readonly AnswerRow[];
}

export interface AnswerRow {
  readonly what: string;
  readonly value: string;
  /** False: a threshold is broken, or a record was lost. Undefined: nothing that passes or fails. */
  readonly passed?: boolean;
}

export function summarise(results: readonly SavedResult[]): Answer[] {
  const others = againstOthers(results);
  const answers: Answer[] = [
    {
      question: 'How fast?',
      rows: [...speed(results), ...processes(results), ...latency(results), ...lookUps(results)],
    },
    { question: 'How near to the floor?', rows: floor(results) },
    {
      question: 'Against whom is it the cheaper or faster one?',
      rows: others.filter(({ isBetter }) => isBetter),
    },
    {
      question: 'Against whom is it the dearer or slower one?',
      rows: others.filter(({ isBetter }) => !isBetter),
    },
    { question: 'Is every record there once, and unaltered?', rows: checks(results) },
    { question: 'Does it stay so with many calls?', rows: growth(results) },
    { question: 'Do the thresholds hold?', rows: thresholds(results) },
    { question: 'Measured on how much, and when?', rows: results.map(measuredOn) },
  ];
  return answers.filter(({ rows }) => rows.length > 0);
}

/** The words of the answers that are no everyday ones. */
const WORDS: Readonly<Record<string, string>> = {
  'a (b to c)': 'the median of the rounds, and their range',
  us: 'microseconds, millionths of a second',
  'CPU a record':
    'how long one core works until a record is stored, program and ClickHouse together, start and end of the program left out',
  'merged once':
    'ClickHouse makes few large parts of many small ones, behind the inserts, and so writes every record anew several times. Here with the CPU of doing so once: all parts of a month into one',
  'n times that': 'cdrhouse against the other one, of each round in which both ran',
  'one table':
    'fills one table, without keys, where cdrhouse and what has equal work to do fill two: the second one finds displayed and dialed numbers',
  floor:
    'what is left where nobody reads, parses or sorts: the blocks of cdrhouse for both tables, encoded before, inserted from files; or Kafka read and nothing done with it',
  'share of the floor': 'records a second against those of the floor: 1 is as fast',
  'p50, p95, p99': 'of a hundred answers or records, 50, 95, 99 were no later than this',
  threshold: 'what a figure of cdrhouse is held to; the bench fails where one is broken',
};

/** Meanings of the words in the answers, and of the cases that the parts name. */
export function meaningsOf(results: readonly SavedResult[]): ReadonlyMap<string, string> {
  const meanings = new Map(Object.entries(WORDS));
  for (const { settings } of results) {
    const { cases = {} } = settings as {
      readonly cases?: Readonly<Record<string, { readonly about: string }>>;
    };
    for (const [name, { about }] of Object.entries(cases)) meanings.set(name, about);
  }
  return meanings;
}

function measuredOn(result: SavedResult): AnswerRow {
  const { part, at, host } = result;
  const data = dataOf(result).text;
  const when = `${at.slice(0, 16).replace('T', ' ')} UTC, commit ${host.commit}`;
  return { what: part, value: data === '' ? when : `${data}, ${when}` };
}

/** A value with as many digits as are worth reading. */
export function shownValues(values: readonly number[], unit: string): string {
  const of = median(values);
  const digits = Math.abs(of) >= 100 ? 0 : Math.abs(of) >= 10 ? 1 : 2;
  // Of rates all digits before the point are shown, with marks between the thousands.
  const text = of >= 1000 ? ratesOf(values) : medianAndRange(values, digits);
  return unit === '' ? text : `${text} ${unit}`;
}

function named(results: readonly SavedResult[], name: string): Figure[] {
  return results.flatMap(({ figures }) => figures.filter((figure) => figure.name === name));
}

/** Figures of the part that compares, where there is one: others have names in common with it. */
function ingestFigures(results: readonly SavedResult[], name: string): Figure[] {
  return named(
    results.filter(({ part }) => part === 'ingest'),
    name,
  );
}

function perCore({ values }: Figure): string {
  return `${ratesOf(values.map((us) => 1e6 / us))}: ${shownValues(values, 'us')} CPU a record`;
}

function speed(results: readonly SavedResult[]): AnswerRow[] {
  const ours = (name: string, what: string, shown: (figure: Figure) => string): AnswerRow[] =>
    ingestFigures(results, name)
      .filter(({ who }) => who === OURS)
      .map((figure) => ({ what: `${figure.case}: ${what}`, value: shown(figure) }));
  return [
    ...ours(FIGURES.cpu, 'records a second and core, until stored', perCore),
    ...ours(FIGURES.mergedCpu, 'records a second and core, stored and merged once', perCore),
    ...ours(FIGURES.peakMemory, 'peak memory of ingest', ({ values, unit }) => shownValues(values, unit)),
    ...ours(FIGURES.rate, 'records a second with all on this machine, until stored', ({ values }) =>
      ratesOf(values),
    ),
  ];
}

const whole = (value: number): string => Math.round(value).toLocaleString('en');

/** Median and range, with marks between the thousands. */
function ratesOf(values: readonly number[]): string {
  const range = `${whole(Math.min(...values))} to ${whole(Math.max(...values))}`;
  return values.length === 1 ? whole(values[0]!) : `${whole(median(values))} (${range})`;
}

const OUR_PROCESSES = new RegExp(`^${OURS}, ([0-9]+) processes$`);
/** Broker and database want a core each, beside one of every process. */
const CORES_OF_SERVERS = 2;

/** What more processes bring, and what they cost. */
function processes(results: readonly SavedResult[]): AnswerRow[] {
  const ingest = results.find(({ part }) => part === 'ingest');
  if (ingest === undefined) return [];
  const { figures, host } = ingest;
  const several = figures.filter(({ name, who }) => name === FIGURES.rate && OUR_PROCESSES.test(who));
  return several.flatMap(({ who, case: of }) => {
    const valuesOf = (name: string, whose: string): readonly number[] =>
      figures.find((one) => one.name === name && one.who === whose && one.case === of)?.values ?? [];
    const times = (name: string): number => median(timesOf(valuesOf(name, who), valuesOf(name, OURS)));
    const rate = times(FIGURES.rate);
    const cpu = times(FIGURES.cpu);
    if (Number.isNaN(rate + cpu)) return [];
    const count = Number(OUR_PROCESSES.exec(who)![1]);
    const isShort = host.cores < count + CORES_OF_SERVERS;
    const why = isShort ? `; broker, database and programs share ${host.cores} cores, which can be why` : '';
    return [
      {
        what: `${of}: ${count} processes against 1`,
        value:
          `${rate.toFixed(2)} times the records a second, ${cpu.toFixed(2)} times the CPU a record: ` +
          `they bring ${rate < cpu ? `less than they cost${why}` : 'more than they cost'}`,
      },
    ];
  });
}

function latency(results: readonly SavedResult[]): AnswerRow[] {
  const percentiles = [FIGURES.latencyP50, FIGURES.latencyP95, FIGURES.latencyP99];
  const all = percentiles.flatMap((name) => named(results, name));
  return [...groupBy(all, (figure) => `${figure.who}, ${figure.case}`)].map(([who, list]) => ({
    what: `from the timestamp in Kafka to queryable, p50 / p95 / p99: ${who}`,
    value: mediansOf(list),
  }));
}

function mediansOf(list: readonly Figure[]): string {
  const wanted = list.find((figure) => figure.wanted !== undefined);
  const shown = list.map(({ values, unit }) => shownValues(values, unit)).join(' / ');
  if (wanted === undefined) return shown;
  const isReached = median(wanted.values) <= wanted.wanted!;
  return `${shown}; wanted ${wanted.wanted} ${wanted.unit}${isReached ? '' : ', NOT REACHED'}`;
}

/** Answers of the API on the most calls that each part had. */
function lookUps(results: readonly SavedResult[]): AnswerRow[] {
  return results.flatMap(({ figures }) => {
    const ours = figures.filter(({ who, calls }) => who === OURS && calls !== undefined);
    const most = Math.max(...ours.map(({ calls }) => calls!));
    const answers = ours.filter(({ name, calls }) => /^answer, p(50|99)$/.test(name) && calls === most);
    return [...groupBy(answers, (figure) => figure.case)].map(([asked, list]) => ({
      what: `answer of the API, ${list.map(({ name }) => name.slice('answer, '.length)).join(' / ')}: ${asked}, of ${most.toLocaleString('en')} calls`,
      value: mediansOf(list),
    }));
  });
}

function floor(results: readonly SavedResult[]): AnswerRow[] {
  return [
    ...named(results, FIGURES.floorShare).map((figure) => ({
      what: `${figure.case}: rate, as a share of inserting the same encoded blocks from files`,
      value: shownValues(figure.values, figure.unit),
    })),
    ...ingestFigures(results, FIGURES.cpu)
      .filter(({ who }) => who.startsWith('floor'))
      .map((figure) => {
        const ours = ingestFigures(results, FIGURES.cpu).find(
          ({ who, case: of }) => who === OURS && of === figure.case,
        );
        const times = ours === undefined ? '' : `; ${OURS}${timesThat(ours.values, figure.values)}`;
        return {
          what: `${figure.case}: CPU a record of the ${figure.who}`,
          value: `${shownValues(figure.values, figure.unit)}${times}`,
        };
      }),
  ];
}

/** Figures by which others are compared, by part: what a record, an answer or a task costs. */
const COMPARED: Readonly<Record<string, readonly string[]>> = {
  ingest: [FIGURES.cpu, FIGURES.rate],
  latency: [FIGURES.latencyP50, FIGURES.latencyP99],
  query: ['answer'],
  retention: ['CPU of ClickHouse'],
  merges: [FIGURES.mergesCpu],
};

/** Everybody else beside cdrhouse, at the same work. */
function againstOthers(results: readonly SavedResult[]): (AnswerRow & { readonly isBetter: boolean })[] {
  return results.flatMap(({ part, figures }) => {
    return figures
      .filter(({ name, who }) => COMPARED[part]?.includes(name) && !isOurs(who) && !who.startsWith('floor'))
      .flatMap((figure) => {
        const { values, unit, name, who } = figure;
        const find = (wanted: string, isMeant: (whose: string) => boolean): Figure | undefined =>
          figures.find(
            (one) =>
              one.name === wanted &&
              isMeant(one.who) &&
              one.case === figure.case &&
              one.calls === figure.calls,
          );
        const ours = find(name, isOurs);
        if (ours === undefined) return [];
        const [ourMerged, theirMerged] =
          name === FIGURES.cpu
            ? [isOurs, (whose: string) => whose === who].map((isMeant) => find(FIGURES.mergedCpu, isMeant))
            : [];
        const isLess = median(timesOf(ours.values, values)) <= 1;
        return [
          {
            what: `${figure.case}: ${name}, ${who}`,
            value: [
              `${shownValues(values, unit)}; ${OURS} ${shownValues([median(ours.values)], unit)}${timesThat(ours.values, values)}`,
              ...(ourMerged === undefined || theirMerged === undefined
                ? []
                : [`merged once${timesThat(ourMerged.values, theirMerged.values)}`]),
            ].join('; '),
            isBetter: name === FIGURES.rate ? !isLess : isLess,
          },
        ];
      });
  });
}

/** Quotients of the rounds in which both ran: what runs less often runs in the first ones. */
function timesOf(above: readonly number[], below: readonly number[]): number[] {
  return above.slice(0, below.length).map((value, round) => value / below[round]!);
}

/** What takes less than a tick of the clock took nothing. */
function timesThat(ours: readonly number[], theirs: readonly number[]): string {
  return theirs.includes(0) ? '' : `, ${shownValues(timesOf(ours, theirs), '')} times that`;
}

/** Each check of ours; of others how many hold, those that do not, and those of delivery, which is where engines differ. */
function checks(results: readonly SavedResult[]): AnswerRow[] {
  const all = results.flatMap(({ part, checks: list }) => list.map((check) => ({ part, ...check })));
  const row = ({ part, what, who, passed, detail }: (typeof all)[number]): AnswerRow => {
    return { what: `${who}, ${part}: ${what}`, value: `${passed ? 'yes' : 'NO'}: ${detail}`, passed };
  };
  const others = groupBy(
    all.filter(({ who }) => !isOurs(who)),
    ({ who }) => who,
  );
  return [
    ...all.filter(({ who }) => isOurs(who)).map(row),
    ...[...others].flatMap(([who, list]) => {
      const hold = list.filter(({ passed }) => passed).length;
      const told = list.filter(({ passed, part }) => !passed || part === 'delivery');
      const count = { what: who, value: `${hold} of ${list.length} checks hold` };
      return [...(told.length < list.length ? [count] : []), ...told.map(row)];
    }),
  ];
}

function growth(results: readonly SavedResult[]): AnswerRow[] {
  return results
    .filter(({ part }) => part === 'growth')
    .flatMap(({ figures }) => figures.filter(({ name }) => name.startsWith(EXPONENT)))
    .map((figure) => ({
      what: `${figure.case}: ${figure.name.slice(EXPONENT.length)}, grows with the stored calls to the power of (0: not at all, 1: as they do)`,
      // Without a sign before what is no growth.
      value: shownValues(
        figure.values.map((value) => (Math.abs(value) < 0.005 ? 0 : value)),
        '',
      ),
    }));
}

function thresholds(results: readonly SavedResult[]): AnswerRow[] {
  const held = results.flatMap((result) => result.held.map((one) => ({ part: result.part, one })));
  if (held.length === 0) return [];
  const broken = results.flatMap((result) => result.broken.map((one) => ({ part: result.part, one })));
  return [
    {
      what: 'thresholds of bench/thresholds.json that hold',
      value: `${held.length - broken.length} of ${held.length}`,
      passed: broken.length === 0,
    },
    ...broken.map(({ part, one }) => ({
      what: `BROKEN in ${part}: ${one.what}`,
      value: `${shownNumber(one.value)}, allowed is ${allowed(one)}`,
      passed: false,
    })),
    ...(broken.length === 0
      ? []
      : [
          {
            what: 'what a broken one means',
            value:
              'a limit is an aim, or stands a little above what was measured; docs/performance.md says which aims were never reached',
          },
        ]),
  ];
}

/** A value that is no number is null in JSON. */
export function shownNumber(value: number | null): string {
  return value === null ? 'no number' : value.toFixed(2);
}

/** Whether something of ours is broken. */
export function isBroken(results: readonly SavedResult[]): boolean {
  return brokenOnes(results).length > 0;
}

/** What of ours is broken, for whoever looks at the first or the last lines only. */
export function brokenOnes(results: readonly SavedResult[]): string[] {
  return results.flatMap(({ part, broken, checks: list }) => [
    ...broken.map((one) => `${part}: ${one.what}: ${shownNumber(one.value)}, allowed is ${allowed(one)}`),
    ...list
      .filter(({ who, passed }) => !passed && isOurs(who))
      .map(({ what, detail }) => `${part}: ${what}: ${detail}`),
  ]);
}
