import { readFileSync } from 'node:fs';
import tap from 'tap';
import { packMessages, type PackedBatch } from '../../../ingest/parse/batch.ts';
import { rowsOf } from '../../../bench/packed-batches.ts';
import { splitBatch, type SealedBatch } from '../../../ingest/open-batch.ts';
import { BatchParser } from '../../../ingest/parse/parse-batch.ts';
import { readFeed } from '../../../schemas/feed.ts';
import { checkSettings } from '../../../schemas/settings.ts';
import { BLOCK_TABLES } from '../../../schemas/tables.ts';
import { fixture } from '../../cdrhouse-program.ts';

const NOW = Date.UTC(2026, 10, 24);

function parser(feed: object, retentionMonths = 36, recordsMax = 1000): BatchParser {
  const feeds = checkSettings({ feeds: [{ name: 'f', ...feed }] }).feeds.map(readFeed);
  return new BatchParser({
    feeds,
    identityKey: new Uint8Array(32).fill(1),
    futureMsMax: 86_400_000,
    retentionMonths: { all: retentionMonths, feeds: {} },
    recordsMax,
  });
}

function batch(messages: readonly (string | Buffer | null)[], timestamp = NOW): PackedBatch {
  return {
    ...packMessages(
      { feed: 0, topic: 'cdr.f', topicId: 'id', partition: 0 },
      messages.map((message) => Buffer.from(message ?? '')),
      NOW,
    ),
    timestamps: new Float64Array(messages.length).fill(timestamp),
    tombstones: Uint8Array.from(messages, (message) => (message === null ? 1 : 0)),
  };
}

/** Keys of the records of a batch, from the block for `cdr`: its third column, 8 bytes a row. */
function recordKeys(parse: BatchParser, packed: PackedBatch): string[] {
  const { calls } = parse.parse(packed);
  const bytes = parse.wholeBlock('cdr');
  const header = Buffer.from('\x07cdr_key\x06UInt64', 'latin1');
  const at = bytes.indexOf(header) + header.length;
  return Array.from({ length: calls }, (_, i) => bytes.readBigUInt64LE(at + 8 * i).toString()).sort();
}

/** How many rows of `cdr` have the key of another one, by feed. */
function duplicates(parse: BatchParser, messages: readonly string[]): readonly number[] {
  parse.parse(batch(messages));
  return parse.block('cdr').duplicatesByFeed;
}

/** A line of a call that begins then. */
function callAt(start: string): string {
  return `a,b,c,${start},1`;
}

/** What becomes of a call that begins then, in a message of this timestamp. */
function countsOf(timestamp: number, start: string): unknown {
  return parser({}).parse(batch([callAt(start)], timestamp)).counts[0];
}

/** Hours since 1970. */
function hour(text: string): number {
  return Date.parse(text) / 3_600_000;
}

const LINE = '+33199000001,+33199000002,+33199000003,2026-03-01T10:00:00Z,60';

await tap.test('tombstones, empty messages and empty lines are skipped by reason', async (t) => {
  const [counts] = parser({}).parse(batch([LINE, null, '', '\n', '\r\n\n', `${LINE}1\n`])).counts;
  t.match(counts, {
    messages: 6,
    records: 7,
    stored: 2,
    skipped: 5,
    skippedByReason: { tombstone: 1, empty_message: 1, empty_line: 3 },
  });
});

await tap.test('a byte order mark is no part of the first record', async (t) => {
  const parse = parser({});
  const marked = batch([Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), Buffer.from(LINE)])]);
  t.strictSame(recordKeys(parse, marked), recordKeys(parse, batch([LINE])));
});

await tap.test('the same bytes are the same record, however they are packed', async (t) => {
  const parse = parser({});
  const one = recordKeys(parse, batch([`${LINE}\n${LINE}2\n`]));
  t.strictSame(recordKeys(parse, batch([LINE, `${LINE}2`])), one);
  t.strictSame(
    recordKeys(parse, batch([`${LINE}\r\n`, `${LINE}2\r`])),
    one,
    'line ends are no part of a record',
  );
  t.equal(new Set(one).size, 2);
  t.notSame(
    recordKeys(parser({ name: 'other' }), batch([`${LINE}\n${LINE}2`])),
    one,
    'the feed is part of the key',
  );
});

await tap.test('identity by position tells equal lines apart', async (t) => {
  const parse = parser({ identity: 'position' });
  const keys = recordKeys(parse, batch([`${LINE}\n${LINE}`, LINE]));
  t.equal(new Set(keys).size, 3);
  t.strictSame(recordKeys(parse, batch([`${LINE}\n${LINE}`, LINE])), keys, 'and is the same when read again');
});

await tap.test(
  "Asterisk's id is (uniqueid, sequence): parts of a call stay apart, a changed line stays one",
  async (t) => {
    const text = readFileSync(fixture('asterisk-21-columns.csv'), 'utf8');
    const parse = parser({ format: 'asterisk-csv' }, 600);
    const packed = batch([text], Date.UTC(2024, 1, 1));
    const lines = text.trim().split('\n');
    t.equal(parse.parse(packed).counts[0]!.stored, lines.length);
    t.equal(new Set(recordKeys(parse, packed)).size, lines.length);
    const [key] = recordKeys(parse, batch([lines[0]!]));
    t.strictSame(recordKeys(parse, batch([lines[0]!.replace('27,27', '28,28')])), [key]);
    t.notSame(recordKeys(parse, batch([lines[0]!.replace(/,0$/, ',1')])), [key]);
  },
);

await tap.test('16, 17 and 18 columns of Asterisk, and no other number', async (t) => {
  const columns = readFileSync(fixture('asterisk-18-columns.csv'), 'utf8').split('\n')[0]!.split(',');
  const line = (count: number): string => [...columns, '""', '""', '""'].slice(0, count).join(',');
  const parse = parser({ format: 'asterisk-csv' }, 600);
  for (const count of [16, 17, 18, 21])
    t.equal(parse.parse(batch([line(count)])).counts[0]!.stored, 1, `${count} columns`);
  for (const count of [15, 19, 20]) {
    t.match(
      parse.parse(batch([line(count)])).counts[0],
      { rejectedByCode: { COLUMN_COUNT_WRONG: 1 } },
      `${count} columns`,
    );
  }
});

await tap.test('a start is judged by the Kafka timestamp, a term by the clock', async (t) => {
  t.match(countsOf(NOW, '2026-11-25T00:00:00Z'), { stored: 1 }, '24 h ahead');
  t.match(countsOf(NOW, '2026-11-25T00:00:00.001Z'), { rejectedByCode: { START_IN_FUTURE: 1 } });
  t.match(
    countsOf(Date.UTC(2026, 0, 1), '2026-01-03T00:00:00Z'),
    { rejectedByCode: { START_IN_FUTURE: 1 } },
    'also when it is past now',
  );
  t.match(countsOf(NOW, '1970-01-01T00:00:00Z'), { rejectedByCode: { START_IMPLAUSIBLE: 1 } });
  t.match(countsOf(NOW, '2023-11-24T00:00:00Z'), { skippedByReason: { expired: 1 } }, 'due today');
  t.match(countsOf(NOW, '2023-11-24T00:00:00.001Z'), { stored: 1 }, 'due a millisecond later');
});

await tap.test(
  'rows of cdr_by_number: the dialed number, and the displayed one where it differs',
  async (t) => {
    const lines = ['+331,+331,+332', '+331,+333,+332', '+331,,+332', '+331,anonymous,'].map(
      (numbers, i) => `${numbers},2026-03-01T10:00:00Z,${i}`,
    );
    const parse = parser({});
    t.equal(parse.parse(batch([lines.join('\n')])).calls, 4);
    t.equal(rowsOf(parse.wholeBlock('cdr')), 4);
    t.equal(rowsOf(parse.wholeBlock('cdr_by_number')), 4 + 2);
    t.equal(parse.wholeBlock('dead_letters').length, 0, 'no block without rows');
  },
);

await tap.test('records that equal another one of the batch are counted, each sending but one', async (t) => {
  const [a, b, c] = [1, 2, 3].map((second) => callAt(`2026-03-01T10:00:0${second}Z`));
  t.strictSame(duplicates(parser({}), [`${a}\n${b}\n${a}`, a!, c!]), [2]);
  t.strictSame(duplicates(parser({ identity: 'position' }), [`${a}\n${a}`]), [0]);
  t.strictSame(duplicates(parser({}), ['bad']), []);
});

await tap.test(
  'stored records are counted per UTC hour of start; local times that are none or two are counted',
  async (t) => {
    const starts = [
      '2026-03-01 10:59:59',
      '2026-03-01 11:00:00',
      '2026-03-01 11:30:00',
      '2026-03-29 02:30:00',
      '2026-10-25 02:30:00',
    ];
    const [counts] = parser({ time_zone: 'Europe/Paris' }).parse(
      batch([starts.map(callAt).join('\n')]),
    ).counts;
    t.strictSame(
      [...counts!.storedByHour].sort(([a], [b]) => a - b),
      [
        [hour('2026-03-01T09:00Z'), 1],
        [hour('2026-03-01T10:00Z'), 2],
        [hour('2026-03-29T01:00Z'), 1],
        [hour('2026-10-25T00:00Z'), 1],
      ],
    );
    t.match(counts, { zoneGaps: 1, zoneOverlaps: 1 });
  },
);

await tap.test('nothing to store gives no block', async (t) => {
  const parse = parser({});
  t.match(parse.parse(batch([])), { messages: 0, calls: 0, rejects: 0 });
  for (const table of BLOCK_TABLES) t.equal(parse.wholeBlock(table).length, 0, table);
});

await tap.test('parsing stops behind the message that fills it, and goes on with the rest', async (t) => {
  const parse = parser({}, 36, 5);
  const messages = [`${LINE}1\n${LINE}2`, `${LINE}3\n${LINE}4\n`, `${LINE}5`, '\n'.repeat(20), `${LINE}6`];
  const whole: SealedBatch = { packed: batch(messages), ranges: [], openedAt: 0 };
  const keys: string[] = [];
  const parts: number[] = [];
  for (let rest: SealedBatch | undefined = whole; rest !== undefined;) {
    const { messages: parsed } = parse.parse(rest.packed);
    keys.push(...recordKeys(parse, rest.packed));
    parts.push(parsed);
    rest = splitBatch(rest, parsed)[1];
  }
  t.strictSame(parts, [3, 2]);
  t.strictSame(keys.sort(), recordKeys(parser({}), whole.packed));
});

await tap.test('a short line has nothing of the longer one before it', async (t) => {
  const parse = parser({});
  parse.parse(batch([`${LINE},50,call-1,busy,account-1\n${LINE}\n`]));
  const { call_id, account, talk_unknown, outcome } = parse.gatherCalls();
  t.equal(Buffer.from(call_id).filter((byte) => byte === 0).length, 1);
  t.equal(Buffer.from(account).filter((byte) => byte === 0).length, 1);
  t.strictSame(talk_unknown.toSorted(), Uint8Array.of(0, 1));
  t.strictSame(outcome.toSorted(), Uint8Array.of(0, 3));
});

await tap.test('a fault in a field without its escapes is shown at the begin of the line', async (t) => {
  const parse = parser({ format: 'broadworks', encoding: 'utf-8' });
  // Also where the message ends at the line's end, behind which such fields are written.
  const line = `,,Normal,,,,,,,20260301100000.000,,,20260301100000.000,\\,,,,,`;
  for (const message of [line, `${line}\n`]) {
    parse.parse(batch([message]));
    t.match([...parse.rejects.faults()], [{ code: 'DURATION_UNREADABLE', position: 0 }]);
  }
});

await tap.test(
  'calls with the longest texts that an encoding can give, at every place of the memory',
  (t) => {
    // A euro sign: one byte that becomes three.
    const text = Buffer.alloc(4096, 0x80);
    const comma = Buffer.from(',');
    const [talk, outcome] = [Buffer.from(',2026-03-01T10:00:00Z,1,1,'), Buffer.from(',answered,')];
    const line = Buffer.concat([
      text,
      comma,
      text,
      comma,
      text,
      talk,
      text,
      outcome,
      text,
      Buffer.from('\n'),
    ]);
    const short = Buffer.from(`+33639980001,,+33639980002,2026-03-01T10:00:00Z,1,1,id,answered,\n`);
    const parse = parser({ encoding: 'windows-1252' }, 36, Infinity);
    // The record of a long line takes some 61 KB: short ones between them move it over the end of the memory.
    for (let shorts = 0; shorts < 600; shorts += 60) {
      const lines = Array.from({ length: 40 }, () => line);
      const { calls } = parse.parse(batch([...Array.from({ length: shorts }, () => short), ...lines]));
      t.equal(calls, shorts + lines.length);
    }
    t.equal(rowsOf(parse.wholeBlock('cdr')), 540 + 40);
    t.end();
  },
);
