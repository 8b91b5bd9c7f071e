import tap from 'tap';
import { packMessages, type PackedBatch, type SourceCounts } from '../../../ingest/parse/batch.ts';
import { BatchParser } from '../../../ingest/parse/parse-batch.ts';
import { packLetters } from '../../../ingest/replay-page.ts';
import { readFeed } from '../../../schemas/feed.ts';
import { isHeadLine, needsHead } from '../../../schemas/formats/head.ts';
import { FORMATS } from '../../../schemas/formats/index.ts';
import { checkSettings } from '../../../schemas/settings.ts';

/*
 * What a format needs from the head of its file stands in each message: messages come in any order and with another
 * header than the last; without one a record is rejected, never guessed.
 */

const NOW = Date.UTC(2026, 10, 24);
const SOURCE = { feed: 0, topic: 'cdr.f', topicId: 'id', partition: 0 };

function parser(feed: object): BatchParser {
  return new BatchParser({
    feeds: checkSettings({ feeds: [{ name: 'f', ...feed }] }).feeds.map(readFeed),
    identityKey: new Uint8Array(32).fill(1),
    futureMsMax: 86_400_000,
    retentionMonths: { all: 600, feeds: {} },
    recordsMax: 1000,
  });
}

function batch(messages: readonly (string | Buffer)[]): PackedBatch {
  return packMessages(
    SOURCE,
    messages.map((message) => Buffer.from(message as string)),
    NOW,
  );
}

/** Durations of the stored calls in s, in order. */
function durations(parse: BatchParser): number[] {
  const { duration_ms } = parse.gatherCalls();
  const bytes = Buffer.from(duration_ms);
  return Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readUInt32LE(4 * i) / 1000).sort(
    (a, b) => a - b,
  );
}

function countsOf(parse: BatchParser, messages: readonly (string | Buffer)[]): SourceCounts {
  return parse.parse(batch(messages)).counts[0]!;
}

const NAMES = [
  'cdrRecordType',
  'callingPartyNumber',
  'originalCalledPartyNumber',
  'dateTimeOrigination',
  'duration',
];
const HEADER = NAMES.map((name) => `"${name}"`).join(',');
const OTHER_HEADER = [NAMES[0]!, ...NAMES.slice(1).reverse()].join(',');
const RECORD = '1,"1002","33199000002",1767261600,60';
const OTHER_RECORD = '1,61,1767261600,"33199000002","1002"';

await tap.test('each message is read by its own header, in any order', async (t) => {
  const parse = parser({ format: 'cisco-cucm' });
  const messages = [
    `${HEADER}\n${RECORD}\n`,
    `${OTHER_HEADER}\r\n${OTHER_RECORD}`,
    `\ufeff${HEADER}\n${RECORD}`,
  ];
  for (const order of [messages, [...messages].reverse()]) {
    t.match(countsOf(parse, order), { stored: 3, skippedByReason: { header: 3 } });
    t.strictSame(durations(parse), [60, 60, 61]);
  }
});

await tap.test('a header in mid-message counts for what follows it', async (t) => {
  const parse = parser({ format: 'cisco-cucm' });
  const message = `${HEADER}\n${RECORD}\n${OTHER_HEADER}\n${OTHER_RECORD}\n`;
  t.match(countsOf(parse, [message]), { stored: 2, rejected: 0 });
  t.strictSame(durations(parse), [60, 61]);
});

await tap.test('without a header, or with one that lacks a column, a record is rejected', async (t) => {
  const parse = parser({ format: 'cisco-cucm' });
  // The message before has a header; it is of no use to this one.
  t.match(countsOf(parse, [`${HEADER}\n${RECORD}`, RECORD]), {
    stored: 1,
    rejectedByCode: { HEADER_MISSING: 1 },
  });
  const quality = RECORD.replace('1,', '2,');
  t.match(
    countsOf(parse, [`${HEADER}\n${quality}`, RECORD, quality]),
    { skippedByReason: { other_record: 1 }, rejectedByCode: { HEADER_MISSING: 2 } },
    'whatever the line before was',
  );
  const lacking = '"cdrRecordType","callingPartyNumber","originalCalledPartyNumber","duration"';
  t.match(countsOf(parse, [`${lacking}\n1,"1","2",60`]), { rejectedByCode: { HEADER_MISSING: 1 } });
  t.match(countsOf(parse, [`${HEADER}\n${RECORD},1`]), { rejectedByCode: { COLUMN_COUNT_WRONG: 1 } });
});

const BROADWORKS = (account: Buffer): Buffer => {
  const columns = Array.from({ length: 30 }, () => Buffer.alloc(0));
  const set = (column: number, text: string | Buffer): unknown =>
    (columns[column] = Buffer.from(text as string));
  set(0, 'id1');
  set(2, 'Normal');
  set(3, account);
  set(6, '1');
  set(8, '2');
  set(9, '20260101100000.000');
  set(13, '20260101100000.000');
  return Buffer.concat(columns.flatMap((column, i) => (i === 0 ? [column] : [Buffer.from(','), column])));
};

await tap.test('the encoding of the head line is that of its message', async (t) => {
  // Two characters in Latin-1; taken for UTF-8 it is one.
  const record = BROADWORKS(Buffer.from([0xc3, 0xa9]));
  const message = (head: string): Buffer => Buffer.concat([Buffer.from(`${head}\n`), record]);
  const account = (parse: BatchParser, messages: readonly Buffer[]): string => {
    t.match(countsOf(parse, messages), { stored: messages.length });
    return Buffer.from(parse.gatherCalls().account).toString('utf8').slice(1);
  };
  const parse = parser({ format: 'broadworks' });
  t.equal(account(parse, [message('version=14.2 encoding=ISO-8859-1')]), 'Ã©');
  t.equal(account(parse, [message('version=14.2 encoding=UTF-8')]), 'é');
  t.equal(
    account(parser({ format: 'broadworks', encoding: 'iso-8859-1' }), [record]),
    'Ã©',
    'or that of the feed',
  );
  for (const lines of [[record], [message('version=14.2')], [message('version=14.2 encoding=EBCDIC-1047')]])
    t.match(countsOf(parse, lines), { rejectedByCode: { HEADER_MISSING: 1 } });
});

function lineWithCallId(bytes: readonly number[]): Buffer {
  return Buffer.concat([
    Buffer.from('1,2,3,2026-03-01T10:00:00Z,60,,"'),
    Buffer.from(bytes),
    Buffer.from('"'),
  ]);
}

await tap.test('texts of other encodings are stored as UTF-8', async (t) => {
  const stored = (encoding: string | undefined, bytes: number[]): string => {
    const parse = parser(encoding === undefined ? {} : { encoding });
    t.match(countsOf(parse, [lineWithCallId(bytes)]), { stored: 1 });
    return Buffer.from(parse.gatherCalls().call_id).toString('utf8').slice(1);
  };
  t.equal(stored(undefined, [0xe9]), 'é', 'a fallback to Latin-1');
  t.equal(stored(undefined, [0x80]), '\u0080');
  t.equal(stored('windows-1252', [0x80, 0x93]), '€“');
  t.equal(stored('iso-8859-1', [0x80, 0xa4]), '\u0080¤');
  t.equal(stored('iso-8859-15', [0xa4]), '€');
  // The second byte of this character is a backslash in ASCII.
  t.equal(stored('shift_jis', [0x95, 0x5c, 0x8e, 0xa6]), '表示');
  t.equal(stored('shift_jis', [0xb1]), 'ｱ', 'three bytes of UTF-8 of one');
});

await tap.test('a rejected record is kept with its head, and read again as it was', async (t) => {
  const parse = parser({ format: 'cisco-cucm' });
  const bad = RECORD.replace(',60', ',x');
  parse.parse(batch([`${HEADER}\n${RECORD}\n${bad}\r\n`]));
  const { rejects } = parse;
  const [fault] = rejects.faults();
  t.match(fault, { code: 'DURATION_UNREADABLE', line: 3, position: RECORD.lastIndexOf('60') });
  const raw = Buffer.from(rejects.texts.subarray(rejects.texts[0]! < 0x80 ? 1 : 2));
  t.equal(raw.toString(), `${HEADER}\n${bad}`);
  parse.parse(batch([`${HEADER}\r\n${bad}\r\n`]));
  t.equal(Buffer.from(parse.rejects.texts).subarray(2).toString(), `${HEADER}\r\n${bad}`, 'as it was sent');
  parse.parse(batch([`${HEADER}\n${RECORD}\n${bad}\r\n`]));
  const letter = (text: string) => ({
    offset: 7,
    line: 3,
    code: '',
    field: '',
    position: 0,
    raw: Buffer.from(text),
    messageAtMs: NOW,
    rejectedAt: 0,
    replayReading: '',
  });
  const again = parse.parse(
    packLetters(SOURCE, [letter(raw.toString()), letter(`${HEADER}\n${RECORD}`)], NOW),
  );
  t.match(again.counts[0], { records: 2, stored: 1, rejectedByCode: { DURATION_UNREADABLE: 1 } });
  t.match([...parse.rejects.faults()], [fault === undefined ? {} : { ...fault, offset: 7 }]);
});

await tap.test('what ship takes for a head is what the reader takes for one', async (t) => {
  const delimited = {
    format: 'delimited',
    delimited: {
      separator: ';',
      header: true,
      columns: { calling_number: 'a', dialed_number: 'b', start: 'c', duration: 'd' },
    },
  };
  const cases: [object, string, boolean][] = [
    [{ format: 'cisco-cucm' }, HEADER, true],
    [{ format: 'cisco-cucm' }, `\ufeff${HEADER}\r\n`, true],
    [{ format: 'cisco-cucm' }, RECORD, false],
    [{ format: 'cisco-cucm' }, 'INTEGER,VARCHAR(50)', false],
    [{ format: 'broadworks' }, 'version=14.2 encoding=ISO-8859-1', true],
    [{ format: 'broadworks' }, '0000000001,,Start', false],
    [delimited, 'd;c;b;a', true],
    [delimited, '"d" ; "c";"b";a;x', true],
    [delimited, 'd;c;b', false],
    [delimited, '60;2026-03-01T10:00:00Z;2;1', false],
  ];
  for (const [settings, line, expected] of cases) {
    const feed = checkSettings({ feeds: [{ name: 'f', ...settings }] }).feeds.map(readFeed)[0]!;
    t.equal(isHeadLine(feed.format, Buffer.from(line)), expected, line);
    const counts = countsOf(parser(settings), [line]);
    t.equal(counts.skippedByReason.header ?? 0, expected ? 1 : 0, line);
  }
  t.strictSame(
    FORMATS.filter(needsHead).map(({ name }) => name),
    ['cisco-cucm', 'broadworks'],
    'only these need one by themselves',
  );
});
