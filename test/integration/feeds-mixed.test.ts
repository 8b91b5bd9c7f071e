import { readFileSync } from 'node:fs';
import tap from 'tap';
import { FORMAT_LINES } from '../../bench/format-lines.ts';
import { readFeed } from '../../schemas/feed.ts';
import { isHeadLine } from '../../schemas/formats/head.ts';
import { checkSettings } from '../../schemas/settings.ts';
import { fixture, Installation } from '../cdrhouse-program.ts';
import { judgeTables } from '../fault/harness.ts';
import { Sender, type Sent } from '../fault/topic.ts';
import { FORMAT_CASES } from '../format-cases.ts';
import { testServers } from '../test-servers.ts';

/** Twelve feeds of twelve formats in one run of ingest: their fixtures in several packings, generated calls, and garbage. */
const servers = testServers(import.meta.url);
const FORMATS = [
  '3cx',
  '3cx-json',
  'asterisk-custom',
  'avaya-smdr',
  'broadworks',
  'cisco-cucm',
  'freeswitch-csv',
  'freeswitch-json',
  'kamailio-acc',
  'oracle-acme',
  'ribbon-act',
  'yeastar-json',
] as const;
const PARTITIONS = 2;
const GENERATED = 1000;
const MESSAGE_BYTES = 4096;
const MESSAGES_IN_TURN = 20;
/** Lines that are no record of any format, though some formats pass over what is none of theirs. */
const GARBAGE = ['\0\0\0', '"', '}{', '\xff\xfe', 'x'.repeat(5000), ',,,,', 'Call ', '{"a":', '\\'];

const settings = {
  feeds: FORMATS.map((format, i) => ({
    name: `switch-${format}`,
    topic: `${servers.databases[0]}.${i}`,
    format,
    ...FORMAT_CASES[format]!.settings,
  })),
  kafka: { topic_partitions: PARTITIONS },
};
const installation = new Installation(tap, servers, 0, settings, {
  CDRHOUSE_RETENTION_MONTHS: '600',
  // Many batches, each with messages of many feeds.
  CDRHOUSE_INGEST_BATCH_MESSAGES_MAX: '100',
});
const feeds = checkSettings(settings).feeds.map(readFeed);

/** What one feed was sent, and what must become of it. */
interface Feed {
  readonly name: string;
  readonly topic: string;
  readonly messages: readonly Buffer[];
  /** The fields of its fixture's calls, as in FORMAT_CASES. */
  readonly calls: ReadonlySet<string>;
  /** Ids of the calls that were generated. */
  readonly generated: ReadonlySet<string>;
  readonly consumed: number;
  readonly stored: number;
}

function feedOf(format: string, index: number): Feed {
  const { name, topic, format: declared } = feeds[index]!;
  const { file, lines: expected } = FORMAT_CASES[format]!;
  const lines = readFileSync(fixture(file), 'latin1').replace(/\n$/, '').split('\n');
  const isHead = (line: string): boolean => isHeadLine(declared, Buffer.from(line, 'latin1'));
  const heads = lines.map((_, i) => lines.slice(0, i).findLast(isHead));
  const alone = lines.map((line, i) => [...(heads[i] === undefined ? [] : [heads[i]]), line]);
  const packings: string[][][] = [
    [lines],
    alone,
    alone.toReversed().map((message) => message.map((line) => `${line}\r`)),
    [alone.flat(), alone.toReversed().flat()],
  ];
  const generated = FORMAT_LINES.find((one) => one.format === format)!.messages(GENERATED, MESSAGE_BYTES);
  const messages = [
    ...packings.flat().map((message) => Buffer.from(`${message.join('\n')}\n`, 'latin1')),
    ...GARBAGE.map((line) => Buffer.from(line, 'latin1')),
    Buffer.from(`${GARBAGE.join('\n')}\n`, 'latin1'),
    ...generated,
  ];
  const calls = expected.filter((line) => line.split(' | ').length > 8);
  return {
    name,
    topic,
    messages,
    calls: new Set(calls),
    generated: new Set(Array.from({ length: GENERATED }, (_, i) => `1-${i}`)),
    consumed: messages.map(linesOf).reduce((sum, count) => sum + count, 0),
    // Twice in the last packing.
    stored: calls.length * (packings.length + 1) + GENERATED,
  };
}

function linesOf(message: Buffer): number {
  const text = message.toString('latin1');
  return text.replace(/\n$/, '').split('\n').length;
}

const sent = FORMATS.map(feedOf);

function total(of: (feed: Feed) => number): number {
  return sent.reduce((sum, feed) => sum + of(feed), 0);
}

await tap.test('twelve feeds are sent and read in one run', async (t) => {
  await installation.run('migrate');
  const sender = await Sender.connect(t, servers.kafka);
  // In turn, so that batches have messages of many feeds.
  for (let from = 0; sent.some(({ messages }) => from < messages.length); from += MESSAGES_IN_TURN) {
    for (const { topic, messages } of sent) {
      const turn = messages.slice(from, from + MESSAGES_IN_TURN);
      await sender.send(
        topic,
        turn.map((value, i): Sent => ({ partition: i % PARTITIONS, value })),
      );
    }
  }
  const summary = await installation.json<Record<string, number>>('ingest', '--until-idle');
  t.match(summary, {
    consumed: total(({ consumed }) => consumed),
    stored: total(({ stored }) => stored),
    suppressed: 0,
  });
});

await tap.test('each feed balances: consumed = stored + rejected + suppressed + skipped', async (t) => {
  const ledger = await installation.rows<Record<string, string>>(
    `SELECT feed, sum(records) AS consumed, sum(stored) AS stored, sum(rejected) AS rejected, sum(suppressed) AS suppressed,
       sum(skipped) AS skipped, sum(messages) AS messages FROM {db}.ingest_ledger FINAL GROUP BY feed`,
  );
  const letters = await installation.rows<{ feed: string; letters: string }>(
    'SELECT feed, count() AS letters FROM {db}.dead_letters FINAL GROUP BY feed',
  );
  t.equal(ledger.filter(({ feed }) => feed !== '').length, FORMATS.length);
  for (const { name, messages, consumed, stored } of sent) {
    const counted = ledger.find(({ feed }) => feed === name)!;
    t.match(
      counted,
      { consumed: String(consumed), stored: String(stored), messages: String(messages.length) },
      name,
    );
    const [rejected, suppressed, skipped] = ['rejected', 'suppressed', 'skipped'].map((key) =>
      Number(counted[key]),
    );
    t.equal(consumed, stored + rejected! + suppressed! + skipped!, `${name} balances`);
    t.ok(rejected! > GARBAGE.length, `${name} has rejected lines`);
    t.equal(
      Number(letters.find(({ feed }) => feed === name)!.letters),
      rejected,
      `${name}: its dead letters`,
    );
  }
});

await tap.test('the calls of each feed are those that were sent, with all fields, once', async (t) => {
  const rows = await installation.rows<{ feed: string; id: string; call: string }>(
    `SELECT feed, call_id AS id, arrayStringConcat([calling_number, displayed_caller_id, dialed_number,
         concat(formatDateTime(start_at, '%Y-%m-%dT%H:%i:%S'), '.', leftPad(toString(toUnixTimestamp64Milli(start_at) % 1000), 3, '0'), 'Z'),
         toString(duration_ms / 1000), ifNull(toString(talk_ms / 1000), ''), toString(outcome), toString(direction), account, call_id
       ], ' | ') AS call
     FROM {db}.cdr FINAL`,
  );
  for (const { name, calls, generated } of sent) {
    const own = rows.filter(({ feed }) => feed === name);
    const isGenerated = ({ id }: { id: string }): boolean => generated.has(id);
    const ids = own.filter(isGenerated).map(({ id }) => id);
    t.equal(ids.length, generated.size, `${name}: none twice`);
    t.strictSame(new Set(ids), generated, `${name}: every id`);
    const others = own.filter((row) => !isGenerated(row)).map(({ call }) => call.trimEnd());
    t.equal(others.length, calls.size, `${name}: none of its fixture twice`);
    t.strictSame(others.sort(), [...calls].sort(), `${name}: all fields`);
  }
  await judgeTables(t, installation);
});

await tap.test('the audit finds nothing', async (t) => {
  const { code, stdout } = await installation.run('audit', '--json');
  t.equal(code, 0, stdout);
  t.match(JSON.parse(stdout), { differences: [] });
});
