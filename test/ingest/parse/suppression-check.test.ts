import tap from 'tap';
import { rowsOf } from '../../../bench/packed-batches.ts';
import { packMessages, type PackedBatch } from '../../../ingest/parse/batch.ts';
import { BatchParser } from '../../../ingest/parse/parse-batch.ts';
import { readFeed } from '../../../schemas/feed.ts';
import { e164Key } from '../../../schemas/number-key.ts';
import { checkSettings } from '../../../schemas/settings.ts';
import { suppressionHash, suppressionKeys, type Suppression } from '../../../schemas/suppressions.ts';

const NOW = Date.UTC(2026, 10, 24);
const IDENTITY_KEY = new Uint8Array(32).fill(1);
const ERASED = '+33199000001';
const OTHER = '+33199000002';
const THIRD = '+33199000003';
const INSIDE = '2026-03-15T10:00:00Z';

function suppression(change: Partial<Suppression & { number: string }> = {}): Suppression {
  const { number = ERASED, ...rest } = change;
  return {
    kind: 'drop',
    numberHash: suppressionHash(suppressionKeys(IDENTITY_KEY), number),
    feed: '',
    fromMs: Date.UTC(2026, 2, 1),
    toMs: Date.UTC(2026, 3, 1),
    ...rest,
  };
}

const BOTH = [suppression(), suppression({ kind: 'blank' })];

function parser(suppressions: readonly Suppression[], feed: object = {}): BatchParser {
  const feeds = checkSettings({ feeds: [{ name: 'f', ...feed }] }).feeds.map(readFeed);
  const parse = new BatchParser({
    feeds,
    identityKey: IDENTITY_KEY,
    futureMsMax: 86_400_000,
    retentionMonths: { all: 36, feeds: {} },
    recordsMax: 1000,
  });
  parse.suppress({ version: 1, suppressions });
  return parse;
}

function batch(...lines: readonly string[]): PackedBatch {
  const messages = lines.map((line) => Buffer.from(line));
  return packMessages({ feed: 0, topic: 'cdr.f', topicId: 'id', partition: 0 }, messages, NOW);
}

function call(calling: string, displayed: string, dialed: string, start = INSIDE): string {
  return `${calling},${displayed},${dialed},${start},60`;
}

function blocks(parse: BatchParser): string {
  return ['cdr', 'cdr_by_number', 'dead_letters']
    .map((table) => parse.wholeBlock(table as 'cdr').toString('latin1'))
    .join();
}

/** The eight bytes of a number's key, as blocks have them. */
function keyBytes(number: string): string {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(e164Key(number)));
  return bytes.toString('latin1');
}

function recordKey(parse: BatchParser, line: string): bigint {
  parse.parse(batch(line));
  const block = parse.wholeBlock('cdr');
  const head = Buffer.from('\x07cdr_key\x06UInt64', 'latin1');
  return block.readBigUInt64LE(block.indexOf(head) + head.length);
}

await tap.test('what the person called is dropped and counted', async (t) => {
  const parse = parser(BOTH);
  const { calls, counts } = parse.parse(batch(call(ERASED, ERASED, OTHER), call(OTHER, OTHER, THIRD)));
  t.equal(calls, 1);
  t.match(counts[0], { records: 2, stored: 1, suppressed: 1, blanked: 0 });
  t.notMatch(blocks(parse), ERASED);
});

await tap.test('calls of others are kept with the number blanked, in both roles', async (t) => {
  const parse = parser(BOTH);
  const { calls, counts } = parse.parse(batch(call(OTHER, OTHER, ERASED), call(OTHER, ERASED, THIRD)));
  t.equal(calls, 2);
  t.match(counts[0], { records: 2, stored: 2, suppressed: 0, blanked: 2 });
  const text = blocks(parse);
  t.notOk(text.includes(ERASED), 'no text');
  t.notOk(text.includes(keyBytes(ERASED)), 'no key');
  t.ok(text.includes(keyBytes('+331990')), 'the key of what is left');
});

await tap.test('a blanked call has the key of the whole one', async (t) => {
  const line = call(OTHER, OTHER, ERASED);
  t.equal(recordKey(parser(BOTH), line), recordKey(parser([]), line));
});

await tap.test('only starts inside of the span count, its end is outside', async (t) => {
  const starts = [
    '2026-02-28T23:59:59.999Z',
    '2026-03-01T00:00:00Z',
    '2026-03-31T23:59:59.999Z',
    '2026-04-01T00:00:00Z',
  ];
  const { counts } = parser(BOTH).parse(batch(...starts.map((start) => call(ERASED, ERASED, OTHER, start))));
  t.match(counts[0], { stored: 2, suppressed: 2 });
});

await tap.test('spans of several persons are each their own', async (t) => {
  const later = { fromMs: Date.UTC(2026, 5, 1), toMs: Date.UTC(2026, 6, 1) };
  const parse = parser([...BOTH, suppression({ number: OTHER, ...later })]);
  const { counts } = parse.parse(
    batch(
      call(ERASED, ERASED, THIRD, '2026-06-15T10:00:00Z'),
      call(OTHER, OTHER, THIRD),
      call(OTHER, OTHER, THIRD, '2026-06-15T10:00:00Z'),
      call(THIRD, THIRD, THIRD, '2026-05-01T10:00:00Z'),
    ),
  );
  t.match(counts[0], { stored: 3, suppressed: 1 });
});

await tap.test('an own call that is still needed stays whole', async (t) => {
  const parse = parser([suppression({ kind: 'blank' })]);
  const { counts } = parse.parse(batch(call(ERASED, ERASED, OTHER)));
  t.match(counts[0], { stored: 1, blanked: 0 });
  t.match(blocks(parse), ERASED);
});

await tap.test('an extension is one of its feed, and nothing is left of it', async (t) => {
  const extension = { kind: 'blank', number: '1002' } as const;
  const own = parser([suppression({ ...extension, feed: 'f' })]);
  t.match(own.parse(batch(call(OTHER, '1002', '1002'))).counts[0], { stored: 1, blanked: 1 });
  t.notMatch(blocks(own), '1002');
  t.equal(rowsOf(own.wholeBlock('cdr_by_number')), 1, 'what is not displayed has no row');
  const others = parser([suppression({ ...extension, feed: 'g' })]);
  t.match(others.parse(batch(call(OTHER, OTHER, '1002'))).counts[0], { stored: 1, blanked: 0 });
});

await tap.test(
  'a record that cannot be read has the number overwritten, as its feed spells it',
  async (t) => {
    const parse = parser([suppression({ fromMs: NOW - 1000, toMs: NOW + 1000 })], { country: 'FR' });
    for (const spelling of ['0199000001', '01 99 00 00 01', ERASED, '0033199000001']) {
      const { counts } = parse.parse(batch(`${spelling},${spelling},${OTHER},never,60`));
      t.match(counts[0], { rejected: 1 });
      const text = blocks(parse);
      t.notMatch(text.replaceAll(/[ ]/g, ''), '99000001', spelling);
      t.match(text, `${OTHER},never,60`);
    }
    parse.parse(batch(`${OTHER},${OTHER},${OTHER},never,60`));
    t.match(blocks(parse), `${OTHER},${OTHER},${OTHER},never,60`);
  },
);
