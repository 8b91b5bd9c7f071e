import fc from 'fast-check';
import tap from 'tap';
import { BatchMemory } from '../../../ingest/parse/batch-memory.ts';
import { CALL, TEXT } from '../../../ingest/parse/call-records.ts';
import { LineSplitter } from '../../../ingest/parse/line-splitter.ts';
import { keepPlainFields, READ_FIELD } from '../../../ingest/parse/plain-fields.ts';
import { compileFormat } from '../../../ingest/parse/reading-plan.ts';
import { readSeconds } from '../../../ingest/parse/seconds.ts';
import { canonicalCsv } from '../../../schemas/formats/canonical-csv.ts';
import type { RecordShape } from '../../../schemas/formats/format.ts';
import { e164Key } from '../../../schemas/number-key.ts';
import { OUTCOMES } from '../../../schemas/record.ts';

const memory = new BatchMemory();
const splitter = new LineSplitter(memory, ',', 'rfc4180');

/** What the module reads of a line of canonical-csv, its shape with these changes; gives the bits of what it has read. */
function reader(changes: Partial<RecordShape> = {}): (fields: readonly string[]) => number {
  const format = {
    ...canonicalCsv,
    records: canonicalCsv.records.map((shape) => ({ ...shape, ...changes })),
  };
  const plan = keepPlainFields(memory, compileFormat(format).shapes[0]!, memory.fieldStarts.byteOffset);
  return (fields) => {
    // Surrounded by digits, so that reading beyond a field shows.
    const line = Buffer.from(`9,${fields.join(',')},9\n`, 'latin1');
    memory.prepare(2 * line.length);
    const at = memory.load(line) + 2;
    splitter.split(at, at + line.length - 2);
    memory.bytes.fill(0xff, CALL.startMs, CALL.texts);
    return memory.readFields(plan);
  };
}

function textOf(text: number): string {
  const [start, end] = memory.words.subarray((CALL.texts >> 2) + 2 * text);
  return Buffer.from(memory.bytes.subarray(start, end)).toString('latin1');
}

const FIELDS = [
  '+33199000001',
  '+33199000002',
  '+33199000003',
  '2026-03-01T08:00:00.250Z',
  '61.5',
  '58',
  'id-1',
  'busy',
  'account 1',
] as const;

function withField(index: number, text: string): string[] {
  return FIELDS.map((field, i) => (i === index ? text : field));
}

await tap.test('all fields of a plain line are read', async (t) => {
  const read = reader();
  const all = Object.values(READ_FIELD).reduce((bits, bit) => bits | bit, 0);
  t.equal(read(FIELDS), all);
  const { doubles, words, bytes } = memory;
  t.equal(doubles[CALL.startMs >> 3], Date.parse(FIELDS[3]));
  t.equal(words[CALL.durationMs >> 2], 61_500);
  t.equal(words[CALL.talkMs >> 2], 58_000);
  t.equal(bytes[CALL.talkUnknown], 0);
  t.equal(bytes[CALL.outcome], OUTCOMES.indexOf('busy'));
  t.equal(doubles[CALL.callingKey >> 3], e164Key(FIELDS[0]));
  t.equal(doubles[CALL.displayedKey >> 3], e164Key(FIELDS[1]));
  t.equal(doubles[CALL.dialedKey >> 3], e164Key(FIELDS[2]));
  t.equal(textOf(TEXT.callingNumber), FIELDS[0]);
  t.equal(textOf(TEXT.displayedCallerId), FIELDS[1]);
  t.equal(textOf(TEXT.dialedNumber), FIELDS[2]);
  t.equal(textOf(TEXT.callId), FIELDS[6]);
  t.equal(textOf(TEXT.account), FIELDS[8]);
});

await tap.test('a field that is not plain is left to the general reader, and only that one', async (t) => {
  const read = reader();
  const all = read(FIELDS);
  for (const [index, text, field] of [
    [0, '0199000001', 'callingNumber'],
    [1, '', 'displayedCallerId'],
    [2, '+331990x', 'dialedNumber'],
    [3, '1772352000', 'start'],
    [4, '', 'duration'],
    [5, '1e3', 'talk'],
    [6, '\xe9', 'callId'],
    [7, 'Busy', 'outcome'],
    [7, '', 'outcome'],
    [7, 'b'.repeat(40), 'outcome'],
    [8, '\xe9', 'account'],
  ] as const)
    t.equal(read(withField(index, text)), all & ~READ_FIELD[field], `${field} ${text}`);
  const local = { at: 3, notation: 'local' } as const;
  t.equal(reader({ start: local })(FIELDS), all & ~READ_FIELD.start);
  t.equal(reader({ start: local })(withField(3, '2026-03-01 08:00:00')), all);
  const apart = { at: 3, notation: 'yyyy-MM-dd', time: { at: 4, notation: 'HH:mm:ss' } } as const;
  t.equal(reader({ start: apart })(FIELDS), all & ~READ_FIELD.start, 'nor is a date without its time');
});

await tap.test('seconds are what the general reader reads; all else is left to it', async () => {
  const read = reader();
  const text = fc.oneof(
    fc.tuple(fc.nat(99_999_999), fc.nat(99_999)).map(([whole, part]) => `${whole}.${part}`),
    fc.nat(9_999_999).map((whole) => whole.toString()),
    fc
      .array(fc.constantFrom(...'0123456789.:-+e '.split('')), { maxLength: 9 })
      .map((characters) => characters.join('')),
  );
  fc.assert(
    fc.property(text, (seconds) => {
      const isRead = (read(withField(4, seconds)) & READ_FIELD.duration) !== 0;
      const general = readSeconds(Buffer.from(seconds), 0, seconds.length);
      const isPlain = /^\d{1,6}(\.\d+)?$/.test(seconds);
      return isRead === isPlain && (!isRead || memory.words[CALL.durationMs >> 2] === general);
    }),
    { numRuns: 5000 },
  );
});

await tap.test('words of any length and in the usual spellings', async (t) => {
  const words = { '1': 'busy', 'a word of sixteen': 'failed', '17': 'answered', Ab: 'cancelled' } as const;
  const read = reader({ outcome: { rules: [{ at: 7, words }], otherwise: 'unknown' } });
  for (const [word, outcome] of Object.entries(words)) {
    t.ok(read(withField(7, word)) & READ_FIELD.outcome, word);
    t.equal(memory.bytes[CALL.outcome], OUTCOMES.indexOf(outcome), word);
    t.notOk(read(withField(7, `${word}x`)) & READ_FIELD.outcome, `${word}x`);
    t.notOk(read(withField(7, `x${word.slice(1)}`)) & READ_FIELD.outcome, `x${word.slice(1)}`);
  }
  const anyCase = reader({
    outcome: {
      rules: [{ at: 7, words: { Answered: 'answered', nié: 'failed' }, ignoreCase: true }],
      otherwise: 'unknown',
    },
  });
  for (const word of ['answered', 'Answered', 'ANSWERED', 'ni\xc3\xa9', 'NI\xc3\xa9'])
    t.ok(anyCase(withField(7, word)) & READ_FIELD.outcome, word);
  for (const word of ['aNSWERED', 'NI\xc3\x89', ''])
    t.notOk(anyCase(withField(7, word)) & READ_FIELD.outcome, `${word} is left to the general reader`);
});

await tap.test('a number that stands alone, or in brackets behind a name', async (t) => {
  const address = reader({ callingNumber: { at: 0, reading: 'name-addr' } });
  const uri = reader({ callingNumber: { at: 0, reading: 'uri' } });
  const number = '+33199000009';
  const isRead = (read: typeof uri, text: string): boolean =>
    (read(withField(0, text)) & READ_FIELD.callingNumber) !== 0 && textOf(TEXT.callingNumber) === number;
  t.ok(isRead(uri, number));
  t.ok(isRead(address, number));
  for (const text of [`<${number}>`, `Name <${number}>`, `"""A <b>"" <${number}>"`, `<<${number}>`])
    t.ok(isRead(address, text), text);
  for (const text of [`<${number}>`, `Name <${number}>`, `sip:${number}@pbx`])
    t.notOk(isRead(uri, text), text);
  const { callingNumber } = READ_FIELD;
  for (const text of [
    '',
    '>',
    `${number}>`,
    `<${number}`,
    '<1002>',
    '<+3319900x>',
    '<>',
    'x+331990000091234>',
  ])
    t.equal(address(withField(0, text)) & callingNumber, 0, text);
  const second = reader({ callingNumber: { at: 1, reading: 'name-addr' } });
  t.equal(second(['<', '+331>', '', '']) & callingNumber, 0, 'a bracket of the field before');
});
