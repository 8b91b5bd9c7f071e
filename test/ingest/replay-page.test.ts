import tap from 'tap';
import { packMessages, type BatchSource, type PackedBatch } from '../../ingest/parse/batch.ts';
import { BatchParser } from '../../ingest/parse/parse-batch.ts';
import { lastThatFits, packLetters, type Letter } from '../../ingest/replay-page.ts';
import { readFeed } from '../../schemas/feed.ts';
import { checkSettings } from '../../schemas/settings.ts';
import { BLOCK_TABLES } from '../../schemas/tables.ts';

const NOW = Date.UTC(2026, 10, 24);
const MESSAGE_AT = Date.UTC(2026, 10, 20);
const OFFSET = 4711;
const SOURCE: BatchSource = { feed: 0, topic: 'cdr.f', topicId: 'id', partition: 3 };

function parser(identity: string): BatchParser {
  return new BatchParser({
    feeds: checkSettings({ feeds: [{ name: 'f', identity }] }).feeds.map(readFeed),
    identityKey: new Uint8Array(32).fill(1),
    futureMsMax: 86_400_000,
    retentionMonths: { all: 36, feeds: {} },
    recordsMax: Infinity,
  });
}

function message(bytes: Buffer): PackedBatch {
  return {
    ...packMessages(SOURCE, [bytes], NOW),
    offsets: Float64Array.of(OFFSET),
    timestamps: Float64Array.of(MESSAGE_AT),
  };
}

function letter(line: number, raw: Buffer): Letter {
  return {
    offset: OFFSET,
    line,
    code: 'START_UNREADABLE',
    field: 'start',
    position: 0,
    raw,
    messageAtMs: MESSAGE_AT,
    rejectedAt: NOW / 1000,
    replayReading: '',
  };
}

const START = '2026-11-20T10:00:00Z';
/** Records as a dead letter keeps them: a carriage return of its line's end was taken, any before it was not. */
const RECORDS = [
  `+33199000001,,+33199000002,${START},1`,
  `+33199000001,,+33199000002,${START},1,1,id,answered,acc\r`,
  `\ufeff+33199000001,,+33199000002,${START},2`,
  `"+33199000001","say ""so""",+33199000002,${START},3,1,"id"`,
  `+33199000001,,+33199000002,${START},4,1,a b\r\r`,
].map((text) => Buffer.from(text));
RECORDS.push(Buffer.concat([Buffer.from(`+33199000001,caf\u00e9`, 'latin1'), Buffer.from(`,,${START},5`)]));
/** These are rejected, in the message and alone. */
const BAD = [Buffer.from('\r'), Buffer.from(`"x",,,${START},5\r`), Buffer.from('+33199000001,,,never,5')];

await tap.test('lines alone give the blocks that their message gave, byte for byte', async (t) => {
  const lines = RECORDS.flatMap((record, i) => [record, BAD[i] ?? Buffer.from(`${i},,,${START},1`)]);
  const whole = message(
    Buffer.concat(lines.flatMap((line) => [Buffer.from('\n'), line, Buffer.from('\r\n')])),
  );
  const letters = lines.map((line, i) => letter(2 + 2 * i, line));
  for (const identity of ['fields', 'position']) {
    const [first, second] = [parser(identity), parser(identity)];
    const parsed = first.parse(whole);
    const again = second.parse(packLetters(SOURCE, letters, NOW));
    t.equal(parsed.counts[0]!.rejected, BAD.length);
    t.equal(again.counts[0]!.stored, parsed.counts[0]!.stored, identity);
    for (const table of BLOCK_TABLES)
      t.ok(second.wholeBlock(table).equals(first.wholeBlock(table)), `${table}, ${identity}`);
  }
});

function rows(...bytes: number[]): { bytes: number }[] {
  return bytes.map((size) => ({ bytes: size }));
}

await tap.test(
  'a page ends before the record that would exceed its bytes, and has one at least',
  async (t) => {
    t.equal(lastThatFits([], 10), undefined);
    t.match(lastThatFits(rows(50, 1), 10), { bytes: 50 });
    const three = rows(4, 6, 1);
    t.equal(lastThatFits(three, 10), three[1]);
    t.equal(lastThatFits(three, 11), three[2]);
  },
);
