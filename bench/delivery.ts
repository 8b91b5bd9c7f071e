import { parseArgs } from 'node:util';
import { withBenchServers } from './bench-servers.ts';
import { cdrhouse } from './cdrhouse-competitor.ts';
import type { Competitor } from './competitor.ts';
import { deliveryRecords, type DeliveryRecords } from './delivery-records.ts';
import {
  KILL_AT_SHARE,
  NOTHING_APPEARS_MS,
  OUR_KILLS_AT_SHARES,
  SESSION_MS,
  tryAll,
  type Outcome,
} from './delivery-trial.ts';
import { byKind } from './delivery-verdict.ts';
import { makeTopic } from './ingest-cases.ts';
import { kafkaEngine, oneTableKafkaEngine } from './peers/kafka-engine.ts';
import { outsideOption, OUTSIDE_OPTIONS } from './peers/outside-option.ts';
import { naiveNode, outsideTool } from './peers/program-peers.ts';
import { benchHost, finishPart, isOurs, type Check, type Figure } from './result.ts';
import { say } from './say.ts';
import { textTable } from './table.ts';
import type { Held } from './thresholds.ts';
import { wholeNumber } from './whole-number.ts';
import { sendMessages, type Packing } from './workload.ts';

/**
 * `make bench-delivery`: what becomes of each record, by id, where 1 % of the input is bad and the reader is killed with
 * `kill -9` in the middle: cdrhouse and its peers, each from the same topic. Exits 1 where cdrhouse loses, doubles or
 * changes a record, or does not get to the end. What others do is a finding.
 */
const { values } = parseArgs({
  options: {
    records: { type: 'string', default: '100000' },
    /** `single`: one record a message; `packed`: as `cdrhouse ship` sends them. */
    packing: { type: 'string', default: 'single' },
    /** Only those whose name has this in it. */
    only: { type: 'string', default: '' },
    ...OUTSIDE_OPTIONS,
  },
});
const RECORDS = wholeNumber('records', values.records, 10_000, 5_000_000);
const PACKING = values.packing as Packing;
if (!['single', 'packed'].includes(PACKING)) throw new RangeError('--packing: allowed are single, packed');
const OUTSIDE = outsideOption(values);
const COMPETITORS: readonly Competitor[] = [
  cdrhouse(1),
  naiveNode(),
  naiveNode(true),
  ...(OUTSIDE === undefined ? [] : [outsideTool(OUTSIDE)]),
  kafkaEngine(1),
  oneTableKafkaEngine(1),
  oneTableKafkaEngine(1, true),
];
/** Small batches, so that the kill falls between many. */
const BATCH_RECORDS = Math.round(RECORDS / 20);
/** Lines of a packed message. */
const PACKED_LINES = 100;
const TOPIC = 'delivery';

const WORDS_MAX = 160;

function listed(counts: ReadonlyMap<string, number>): string {
  return [...counts].map(([kind, count]) => `${kind}: ${count}`).join('; ');
}

/** The first error that a program names, without what follows of it: places, data, stacks. */
function errorIn(words: string): string {
  const line = words.replaceAll(/\s+/g, ' ').trim();
  const error = /\b(?:[A-Z][A-Za-z]*Error|DB::Exception): (.+?)(?=: \(|: :|\. |$)/.exec(line)?.[1] ?? line;
  return error.length > WORDS_MAX ? `${error.slice(0, WORDS_MAX)} …` : error;
}

/** What a reader of the report wants to know beside the numbers. */
function findings({ trial, verdict, left }: Outcome, records: DeliveryRecords): string[] {
  const { name } = trial.competitor;
  const ended = trial.crashes === 0 ? '' : `, its program ended ${trial.crashes} times`;
  const kinds = (what: string, ids: ReadonlySet<string>): string[] =>
    ids.size === 0 ? [] : [`${name}: ${what}: ${listed(byKind(ids, records))}`];
  return [
    ...(left === 0
      ? []
      : [`${name}: blocked: ${left} messages were never read${ended}; it said: ${errorIn(trial.lastWords)}`]),
    ...kinds('stored as something else', verdict.altered),
    ...(left === 0 ? kinds('neither stored nor kept aside', verdict.gone) : []),
    ...(verdict.madeUp.size === 0 ? [] : [`${name}: ids that nobody sent: ${verdict.madeUp.size}`]),
  ];
}

function checkOf({ trial, verdict, left }: Outcome): Check {
  const { lost, twice, altered, madeUp, gone } = verdict;
  const wrong = lost.size + twice.size + altered.size + madeUp.size + gone.size;
  return {
    what: 'after kill -9 and with 1 % bad input: every record once, unaltered, or kept aside',
    who: trial.competitor.name,
    passed: wrong === 0 && left === 0,
    detail: [
      left === 0 ? `lost ${lost.size}` : `stopped with ${left} messages unread, which Kafka still has`,
      `twice ${twice.size}, altered ${altered.size}, made up ${madeUp.size}${left === 0 ? `, gone ${gone.size}` : ''}`,
      `killed ${trial.kills === 1 ? 'once' : `${trial.kills} times`}${trial.killedAt === 0 ? ', with nothing stored' : ''}`,
    ].join('; '),
  };
}

/** What is counted of each, as the table has it; undefined where it cannot be said: what was never read may be read some day. */
const COUNTS: Readonly<Record<string, (outcome: Outcome) => number | undefined>> = {
  lost: ({ verdict, left }) => (left === 0 ? verdict.lost.size : undefined),
  twice: ({ verdict }) => verdict.twice.size,
  altered: ({ verdict }) => verdict.altered.size,
  'made up': ({ verdict }) => verdict.madeUp.size,
  'bad: aside': ({ verdict }) => verdict.aside.size,
  'bad: gone': ({ verdict, left }) => (left === 0 ? verdict.gone.size : undefined),
  'never read': ({ left }) => left,
  kills: ({ trial }) => trial.kills,
  'stored at the last kill': ({ trial }) => trial.killedAt,
  crashes: ({ trial }) => trial.crashes,
};

function countsTable(outcomes: readonly Outcome[]): string {
  return textTable(
    ['records', ...Object.keys(COUNTS)],
    outcomes.map((outcome) => [
      outcome.trial.competitor.name,
      ...Object.values(COUNTS).map((of) => String(of(outcome) ?? '-')),
    ]),
  );
}

function figuresOf(outcome: Outcome): Figure[] {
  return Object.entries(COUNTS).flatMap(([name, of]) => {
    const value = of(outcome);
    const { name: who } = outcome.trial.competitor;
    return value === undefined ? [] : [{ name, unit: '', who, case: `${RECORDS} records`, values: [value] }];
  });
}

/** What must not be at all. */
function heldOf({ verdict, left }: Outcome): Held[] {
  const { lost, twice, altered, madeUp, gone } = verdict;
  return [
    { what: 'cdrhouse: records lost', value: lost.size, max: 0 },
    { what: 'cdrhouse: records twice', value: twice.size, max: 0 },
    { what: 'cdrhouse: records altered', value: altered.size + madeUp.size, max: 0 },
    { what: 'cdrhouse: bad records that are nowhere', value: gone.size, max: 0 },
    { what: 'cdrhouse: messages never read', value: left, max: 0 },
  ];
}

/** The consumers of ClickHouse's Kafka engine take their options from the server. */
const SERVERS = { configuration: `<kafka><session_timeout_ms>${SESSION_MS}</session_timeout_ms></kafka>` };

await withBenchServers(async (bench) => {
  const host = await benchHost(bench);
  const records = deliveryRecords(RECORDS);
  await makeTopic(bench, TOPIC);
  const lines = PACKING === 'packed' ? PACKED_LINES : 1;
  const messages = Array.from({ length: Math.ceil(RECORDS / lines) }, (_, index) =>
    Buffer.from(records.lines.slice(index * lines, (index + 1) * lines).join('\n')),
  );
  await sendMessages(messages, bench.servers.kafka, TOPIC);
  say(
    `${RECORDS} records, ${records.bad.size} of them bad, in ${messages.length} messages; killed with kill -9 when rows have just ` +
      `appeared and ${KILL_AT_SHARE * 100} % are stored, or when nothing appears for ${NOTHING_APPEARS_MS / 1000} s, and started again; ` +
      `cdrhouse ${OUR_KILLS_AT_SHARES.length} times`,
  );
  const batchRecords = Math.round(BATCH_RECORDS / lines);
  const wanted = COMPETITORS.filter(({ name }) => name.includes(values.only));
  const outcomes = await tryAll(bench, { topic: TOPIC, records, batchRecords }, wanted);

  say(`\n${countsTable(outcomes)}`);
  const found = outcomes.flatMap((outcome) => findings(outcome, records));
  for (const finding of found) say(finding);

  finishPart(host, {
    part: 'delivery',
    settings: {
      records: RECORDS,
      bad: listed(byKind(new Set(records.bad.keys()), records)),
      packing: PACKING,
      batches: `${BATCH_RECORDS} records at most, whatever is said of a competitor below: so that a kill falls between many`,
      session: `Kafka gives up a killed peer after ${SESSION_MS / 1000} s`,
      kill: 'kill -9 of the process that reads: cdrhouse, the naive consumer; ClickHouse for its Kafka engine',
      competitors: Object.fromEntries(
        outcomes.map(({ trial: { competitor } }) => [competitor.name, competitor.settings]),
      ),
    },
    figures: outcomes.flatMap(figuresOf),
    checks: outcomes.map(checkOf),
    held: outcomes.filter(({ trial }) => isOurs(trial.competitor.name)).flatMap(heldOf),
    notes: [
      'Killed when rows have just appeared: their offsets are perhaps not committed. One kill is one moment of many, and a peer has one only.',
      ...found,
    ],
  });
}, SERVERS);
