import { isUtf8 } from 'node:buffer';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import tap from 'tap';
import { BatchMemory } from '../../../ingest/parse/batch-memory.ts';
import { compileJsonPaths, type JsonColumn } from '../../../ingest/parse/json-paths.ts';
import { JSON_DEPTH_MAX } from '../../../ingest/parse/json-document.ts';
import { jsonArenaBytes, JsonSplitter } from '../../../ingest/parse/json-splitter.ts';
import { fixture } from '../../cdrhouse-program.ts';
import { jsonObject, valueAt } from './references.ts';

let memory = new BatchMemory();
const LINE_FEED = 0x0a;

interface Split {
  /** Values of the columns, as text. */
  readonly values: readonly string[];
  readonly fault: string | null;
  /** Where the fault is, in bytes of the line. */
  readonly at: number;
  readonly next: number;
  readonly lineEnd: number;
}

/** Splitters that a memory is used for: what each keeps in it makes it slower to compare. */
const SPLITTERS_MAX = 50;
let splitters = 0;

/**
 * Splits the line that begins at `from` of some bytes, and checks on the way that nothing else is changed than the
 * columns and the arena, and that not more of it is used than was said.
 */
function split(
  columns: readonly (string | JsonColumn)[],
  text: string | Buffer,
  from = 0,
  end = Buffer.byteLength(text),
): Split {
  if (++splitters % SPLITTERS_MAX === 0) memory = new BatchMemory();
  const splitter = new JsonSplitter(memory, compileJsonPaths(columns));
  const bytes = Buffer.from(text as string);
  memory.prepare(bytes.length + jsonArenaBytes(end - from));
  const start = memory.load(bytes) + from;
  const arena = memory.top;
  const before = Buffer.from(memory.bytes);
  splitter.split(start, start + end - from);
  const after = Buffer.from(memory.bytes);
  const arenaEnd = arena + jsonArenaBytes(splitter.lineEnd - start);
  if (memory.top > arenaEnd) throw new Error('the arena ends further on than was said');
  before.copy(after, arena, arena, arenaEnd);
  for (const { byteOffset, byteLength } of [memory.fieldStarts, memory.fieldEnds])
    before.copy(after, byteOffset, byteOffset, byteOffset + byteLength);
  if (!after.equals(before)) throw new Error('bytes outside the columns and the arena were written');
  const { starts, ends, fault } = splitter;
  for (let column = 0; column < splitter.count; column++) {
    const within = (low: number, high: number): boolean => starts[column]! >= low && ends[column]! <= high;
    if (starts[column]! > ends[column]! || !(within(start, start + end - from) || within(arena, memory.top)))
      throw new Error('a value lies outside the line and the arena');
  }
  if (fault >= 0 && !(fault >= start && fault <= splitter.lineEnd))
    throw new Error('the fault lies outside the line');
  return {
    values: Array.from({ length: splitter.count }, (_, i) =>
      Buffer.from(memory.bytes.subarray(starts[i], ends[i])).toString(),
    ),
    fault: fault < 0 ? null : splitter.faultCode,
    at: fault < 0 ? -1 : fault - start,
    next: splitter.next - start,
    lineEnd: splitter.lineEnd - start,
  };
}

function values(
  columns: readonly (string | JsonColumn)[],
  text: string | Buffer,
): readonly string[] | string {
  const { values: found, fault, at } = split(columns, text);
  return fault === null ? found : `${fault} at ${at}`;
}

await tap.test('texts, tokens, and what is not there', async (t) => {
  const columns = ['s', 'n', 't', 'z', 'e', 'absent', 'o.p', 'o.q.r'];
  t.strictSame(
    values(
      columns,
      '{"s":"text","n":-1.50e+3,"t":true,"z":null,"e":"","o":{"p":"in","q":{"r":false}},"x":[{}]}',
    ),
    ['text', '-1.50e+3', 'true', '', '', '', 'in', 'false'],
  );
  t.strictSame(values(['a'], ' { "a" : 0 } \r\n'), ['0']);
  t.strictSame(values(['a'], '{}'), ['']);
  t.strictSame(values(['a.b'], '{"a":"b"}'), [''], 'a text has nothing further in');
  t.strictSame(values(['a.b', 'a[0]'], '{"a":null}'), ['', '']);
});

await tap.test('escapes are decoded as JSON.parse and Buffer do', async (t) => {
  const text = String.raw`"\"\\\/\b\f\n\r\t\u0041\u00e9\u20ac\ud83d\ude00|\ud83d|\ude00|\ud83d\ud83d\ude00|\uD83D\u0041|\u0000"`;
  t.strictSame(values(['a'], `{"a":${text}}`), [Buffer.from(JSON.parse(text) as string).toString()]);
  t.strictSame(values(['abc'], '{"\\u0061b\\u0063":"found"}'), ['found'], 'in keys too');
  t.strictSame(values(['["\\u00e9\\n"]'], '{"\\u00E9\\n":"found"}'), ['found']);
  const odd = Buffer.from('{"a":"\xe9\xff\0\x7f"}', 'latin1');
  const splitter = new JsonSplitter(memory, compileJsonPaths(['a']));
  memory.prepare(100);
  const start = memory.load(odd);
  splitter.split(start, start + odd.length);
  t.equal(splitter.fault, start + 8, 'a bare NUL is no JSON');
  const kept = Buffer.from('{"a":"\xe9\xff\x7f"}', 'latin1');
  memory.load(kept);
  splitter.split(start, start + kept.length);
  t.equal(splitter.fault, -1);
  t.strictSame([...memory.bytes.subarray(splitter.starts[0], splitter.ends[0])], [0xe9, 0xff, 0x7f]);
  t.equal(splitter.starts[0], start + 6, 'what has no escapes stays in place');
});

await tap.test('paths: entries of arrays, keys with dots and dashes', async (t) => {
  const callflow = '{"callflow":[{"n":"newest"},{"n":"between"},{"n":"oldest"}]}';
  t.strictSame(values(['callflow[0].n', 'callflow[-1].n', 'callflow[1].n', 'callflow[3].n'], callflow), [
    'newest',
    'oldest',
    'between',
    '',
  ]);
  t.strictSame(values(['l[0].n', 'l[-1].n'], '{"l":[{"n":"both"}]}'), ['both', 'both']);
  t.strictSame(values(['l[0].n', 'l[-1].n'], '{"l":[{"n":"first"},{}]}'), ['first', '']);
  t.strictSame(values(['l[-1].n'], '{"l":[{"n":"first"},7]}'), ['']);
  t.strictSame(values(['l[0].n', 'l[-1].n'], '{"l":[]}'), ['', '']);
  t.strictSame(values(['l[0][-1]', 'l[-1][0]'], '{"l":[[1,2],[3,4]]}'), ['2', '3']);
  t.strictSame(
    values(
      ['core-uuid', 'variables["sip.h.X-id"]', 'a["b"]["]"]', 'été'],
      '{"core-uuid":1,"variables":{"sip.h.X-id":2},"a":{"b":{"]":3}},"été":4}',
    ),
    ['1', '2', '3', '4'],
  );
  t.strictSame(values(['a', 'a'], '{"a":"twice"}'), ['twice', 'twice']);
  for (const path of [
    '',
    '.a',
    'a.',
    'a..b',
    '[0]',
    'a[',
    'a[x]',
    'a[-2]',
    'a[01]',
    'a[99]',
    'a]',
    'a"b',
    'a["b]',
    'a["\\x"]',
    'a["\\ud800"]',
    'a[0]b',
  ])
    t.throws(() => compileJsonPaths([path]), path);
});

await tap.test('of a key that occurs twice the last value counts', async (t) => {
  t.strictSame(values(['a'], '{"a":1,"a":"2"}'), ['2']);
  t.strictSame(values(['a'], '{"a":{"b":1},"a":"2"}'), ['2'], 'an object that is replaced is no fault');
  t.strictSame(values(['a.b', 'a.c'], '{"a":{"b":1},"a":{"c":2}}'), ['', '2']);
  t.strictSame(values(['a.b'], '{"a":{"b":1},"a":null}'), ['']);
  t.strictSame(values(['a[0]', 'a[-1]'], '{"a":[1,2],"a":[]}'), ['', '']);
  // Older FreeSWITCH repeats the key instead of writing an array, newest first.
  t.strictSame(values(['callflow.n'], '{"callflow":{"n":"newest"},"callflow":{"n":"oldest"}}'), ['oldest']);
});

await tap.test('a column may have several paths', async (t) => {
  const column = { paths: ['callid', 'cdrid', 'msg.id'] };
  t.strictSame(values([column, 'x'], '{"cdrid":"2","x":1,"callid":"1"}'), ['1', '1']);
  t.strictSame(values([column, 'x'], '{"cdrid":"2","msg":{"id":3}}'), ['2', '']);
  t.strictSame(values([column, 'x'], '{"callid":"","cdrid":null,"msg":{"id":3},"x":4}'), ['3', '4']);
  t.strictSame(values([column, 'x'], '{}'), ['', '']);
});

await tap.test('values that are percent-decoded', async (t) => {
  const decoded = { paths: ['a'], percentDecoded: true };
  t.strictSame(values([decoded, 'a'], '{"a":"%2B4930%20x%C3%A9"}'), ['+4930 xé', '%2B4930%20x%C3%A9']);
  t.strictSame(values([decoded], '{"a":"100%, %4, %, %zz%2%4b+"}'), ['100%, %4, %, %zz%2K+']);
  t.strictSame(values([decoded], '{"a":"\\u0025\\u0032B%5Cn"}'), ['+\\n'], 'behind the escapes');
  t.strictSame(values([decoded], '{"a":12}'), ['12']);
});

await tap.test('faults have the address of what is wrong', async (t) => {
  const malformed: readonly [string, number][] = [
    ['', 0],
    ['  ', 2],
    ['{"a":1', 6],
    ['{"a":1\r\n', 6],
    ['{"a":"b', 7],
    ['{"a":"b\r\n', 7],
    ['{"a" "b"}', 5],
    ['{"a":1,}', 7],
    ['{,"a":1}', 1],
    ['{"a":1 "b":2}', 7],
    ['{a:1}', 1],
    ['{"a":[1,]}', 8],
    ['{"a":[1}', 7],
    ['{"a":{"b":1]', 11],
    ['{"a":1}}', 7],
    ['{"a":1}{"a":1}', 7],
    ['{"a":01}', 6],
    ['{"a":-}', 6],
    ['{"a":+1}', 5],
    ['{"a":.5}', 5],
    ['{"a":1.}', 7],
    ['{"a":1e}', 7],
    ['{"a":1e+}', 8],
    ['{"a":trUe}', 7],
    ['{"a":nul}', 8],
    ['{"a":NaN}', 5],
    ['{"a":}', 5],
    ['{"a":"\\x"}', 7],
    ['{"a":"\\u12g4"}', 10],
    ['{"a":"\t"}', 6],
    ['\ufeff{}', 0],
    ['cdr=%7B%7D', 0],
    ['}', 0],
  ];
  for (const [text, at] of malformed) t.equal(values(['a'], text), `JSON_MALFORMED at ${at}`, text);
  for (const text of ['[1]', '[{"a":1}]', '"text"', '12', '-1', 'true', 'null', '["'])
    t.equal(values(['a'], ` ${text}`), 'JSON_NOT_AN_OBJECT at 1', text);
  t.equal(values(['a'], '{"b":1,"a":{}}'), 'JSON_VALUE_NESTED at 11');
  t.equal(values(['x', 'a[-1]'], '{"a":[1,[2]]}'), 'JSON_VALUE_NESTED at 8');
  t.equal(values(['a'], '{"a":[1,}'), 'JSON_MALFORMED at 8', 'what is no JSON comes first');
});

await tap.test('a newline ends the line, and nothing behind its end is looked at', async (t) => {
  const two = '{"a":"x\n{"a":2}\r\n';
  t.match(split(['a'], two), { fault: 'JSON_MALFORMED', at: 7, lineEnd: 7, next: 8 });
  t.match(split(['a'], two, 8), { fault: null, values: ['2'], lineEnd: 7, next: 9 });
  t.match(split(['a'], '{"a":1,\n"b":2}'), { fault: 'JSON_MALFORMED', at: 7, next: 8 });
  // Messages lie behind one another without anything between them.
  t.match(split(['a'], '{"a":1}, "a":2}', 0, 7), { fault: null, values: ['1'], lineEnd: 7 });
  t.match(split(['a'], '{"a":1}', 0, 6), { fault: 'JSON_MALFORMED', at: 6 });
  t.match(split(['a'], '{"a":"\\n"}', 0, 7), { fault: 'JSON_MALFORMED', at: 7 });
  t.match(split(['a'], '{"a":"\\u0041"}', 0, 9), { fault: 'JSON_MALFORMED', at: 9 });
  t.match(split(['a'], '{"a":true}', 0, 8), { fault: 'JSON_MALFORMED', at: 8 });
  t.match(split(['["a\\n"]'], '{"a"":1}', 0, 3), { fault: 'JSON_MALFORMED', at: 3 }, 'a key with a newline');
  t.match(split(['["a\\n"]'], '{"a\n":1}', 0), { fault: 'JSON_MALFORMED', at: 3 });
});

/** An object whose `x` is so many arrays in one another. */
function nested(depth: number): string {
  return `{"x":${'['.repeat(depth)}${']'.repeat(depth)},"a":1}`;
}

await tap.test('a line is split as if it were the first one', async (t) => {
  const splitter = new JsonSplitter(memory, compileJsonPaths([{ paths: ['a'], percentDecoded: true }]));
  const read = (text: string): string => {
    memory.prepare(1000);
    const start = memory.load(Buffer.from(text));
    splitter.split(start, start + text.length);
    if (splitter.fault >= 0) return splitter.faultCode;
    return Buffer.from(memory.bytes.subarray(splitter.starts[0], splitter.ends[0])).toString();
  };
  t.equal(read(nested(JSON_DEPTH_MAX + 1)), 'JSON_TOO_DEEP');
  t.equal(read('{"a":tru}'), 'JSON_MALFORMED');
  t.equal(read('{"a":1}'), '1');
  t.equal(read('{}'), '');
  // What was decoded before stands behind what is decoded now: the lines are equally long.
  t.equal(read('{"a":"\\u00444444444444"}'), 'D4444444444');
  t.equal(read('{"a":          "\\u0025"}'), '%');
});

await tap.test('nesting has a limit', async (t) => {
  t.strictSame(values(['a'], nested(JSON_DEPTH_MAX)), ['1']);
  t.equal(values(['a'], nested(JSON_DEPTH_MAX + 1)), `JSON_TOO_DEEP at ${5 + JSON_DEPTH_MAX}`);
  t.equal(values(['a'], `{"x":${'['.repeat(1e6)}`), `JSON_TOO_DEEP at ${5 + JSON_DEPTH_MAX}`);
  const mixed = `{"x":${'{"y":['.repeat(64)}${']}'.repeat(64)},"a":1}`;
  t.strictSame(values(['a'], mixed), ['1'], 'objects and arrays in turn');
  t.equal(values(['a'], mixed.replace(']}]}', ']}}]')), `JSON_MALFORMED at ${mixed.indexOf(']}]}') + 2}`);
  const outermost = mixed.lastIndexOf(']},');
  t.equal(
    values(['a'], `${mixed.slice(0, outermost)}}]${mixed.slice(outermost + 2)}`),
    `JSON_MALFORMED at ${outermost}`,
  );
  // The memory of a long line is slow to compare.
  memory = new BatchMemory();
});

/** Paths, and the steps that lead to the same place in what JSON.parse gives. */
const PATHS: Readonly<Record<string, readonly (string | number)[]>> = {
  a: ['a'],
  'core-uuid': ['core-uuid'],
  '["x.y"]': ['x.y'],
  '["é\\n"]': ['é\n'],
  '[""]': [''],
  __proto__: ['__proto__'],
  'b.a': ['b', 'a'],
  'b.b.a': ['b', 'b', 'a'],
  'b["x.y"]': ['b', 'x.y'],
  'l[0]': ['l', 0],
  'l[2]': ['l', 2],
  'l[-1]': ['l', -1],
  'l[0].a': ['l', 0, 'a'],
  'l[-1].a': ['l', -1, 'a'],
  'l[-1].l[-1].a': ['l', -1, 'l', -1, 'a'],
  'l[0][-1]': ['l', 0, -1],
  'l[-1][0]': ['l', -1, 0],
  'b.l[1].b.a': ['b', 'l', 1, 'b', 'a'],
};
const LEAVES = ['a', 'a', 'core-uuid', 'x.y', 'é\n', '', '__proto__'];
const NAMES = [...LEAVES, 'b', 'l', 'aa', 'c', 'variables'];

const blank = fc.constantFrom('', '', '', ' ', '\t', '\r', ' \t\r ');

/** A character of a string, written with or without an escape. */
const character = fc.oneof(
  fc.constantFrom('\\"', '\\\\', '\\/', '\\b', '\\f', '\\n', '\\r', '\\t', '%2B', '%', '\\u0000'),
  fc.constantFrom('\\ud83d', '\\ude00', '\\ud83d\\ude00', '\\uD83D\\uDE00', '\\u00E9'),
  fc.integer({ min: 0, max: 0xffff }).map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`),
  fc
    .string({ unit: 'binary', minLength: 1, maxLength: 1 })
    .filter((text) => text >= ' ' && text !== '"' && text !== '\\' && !/[\ud800-\udfff]/u.test(text)),
  fc.constantFrom('+3319900', 'é', '😀', ' ', '0'),
);
const string = fc.array(character, { maxLength: 8 }).map((list) => `"${list.join('')}"`);

/** A key, some of its characters as escapes. */
function keyText(names: readonly string[]): fc.Arbitrary<string> {
  return fc.tuple(fc.constantFrom(...names), fc.nat(20)).map(([name, which]) => {
    const characters = Array.from(name, (text, i) =>
      i === which || text < ' ' ? `\\u${text.charCodeAt(0).toString(16).padStart(4, '0')}` : text,
    );
    return `"${characters.join('')}"`;
  });
}
const scalar = fc.oneof(
  string,
  fc.constantFrom('0', '-0', '1', '-12', '1.50', '1e3', '1E+3', '0.0e-0', '-1.25E-7', '9'.repeat(30)),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => JSON.stringify(value)),
  fc.constantFrom('true', 'false', 'null'),
);
const list = (items: readonly string[]): string => items.join(',');
const { object, member } = fc.letrec<{ value: string; object: string; array: string; member: string }>(
  (tie) => ({
    value: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      { weight: 4, arbitrary: scalar },
      { weight: 2, arbitrary: tie('object') },
      { weight: 2, arbitrary: tie('array') },
    ),
    member: fc
      .tuple(
        blank,
        blank,
        blank,
        blank,
        // Mostly such members that there is something at the paths.
        fc.oneof(
          { weight: 4, arbitrary: fc.tuple(keyText(LEAVES), scalar) },
          { weight: 2, arbitrary: fc.tuple(keyText(['b']), tie('object')) },
          { weight: 2, arbitrary: fc.tuple(keyText(['l']), tie('array')) },
          { weight: 2, arbitrary: fc.tuple(fc.oneof(keyText(NAMES), string), tie('value')) },
        ),
      )
      .map(([a, b, c, d, [key, item]]) => `${a}${key}${b}:${c}${item}${d}`),
    object: fc
      .tuple(fc.array(tie('member'), { maxLength: 5 }), blank)
      .map(([members, inside]) => `{${list(members) || inside}}`),
    array: fc
      .tuple(fc.array(fc.tuple(blank, tie('value'), blank), { maxLength: 4 }), blank)
      .map(([entries, inside]) => `[${list(entries.map((entry) => entry.join(''))) || inside}]`),
  }),
);
const document = fc
  .tuple(
    blank,
    fc.oneof(
      fc.array(member, { minLength: 2, maxLength: 8 }).map((members) => `{${list(members)}}`),
      object,
    ),
    blank,
  )
  .map((parts) => parts.join(''));
const paths = fc.subarray(Object.keys(PATHS), { minLength: 1, maxLength: 8 });

/** What JSON.parse makes of a line: its values at the paths, or the kind of fault. */
function reference(line: string, wanted: readonly string[]): readonly string[] | string {
  const parsed = jsonObject(line);
  if (parsed === undefined) return 'refused';
  const found = wanted.map((path) => valueAt(parsed, PATHS[path]!));
  if (found.some((item) => typeof item === 'object' && item !== null)) return 'JSON_VALUE_NESTED';
  return found.map((item) => Buffer.from(`${(item ?? '') as string | boolean}`).toString());
}

/** What we make of it, in the words of `reference`. */
function ours(line: string | Buffer, wanted: readonly string[]): readonly string[] | string {
  const { values: found, fault } = split(wanted, line);
  if (fault === null) return found;
  return fault === 'JSON_VALUE_NESTED' ? fault : 'refused';
}

await tap.test('documents are read as JSON.parse reads them', async (t) => {
  let accepted = 0;
  fc.assert(
    fc.property(document, paths, (line, wanted) => {
      const theirs = reference(line, wanted);
      if (typeof theirs !== 'string' && theirs.some((text) => text !== '')) accepted++;
      return JSON.stringify(ours(line, wanted)) === JSON.stringify(theirs);
    }),
    { numRuns: 4000 },
  );
  t.ok(accepted > 1000, `${accepted} documents had values at the paths`);
});

await tap.test('documents with broken bytes are refused where JSON.parse refuses them', async (t) => {
  const change = fc.record({
    what: fc.constantFrom('flip', 'cut', 'insert', 'copy', 'end'),
    at: fc.nat(),
    length: fc.integer({ min: 1, max: 6 }),
    byte: fc.oneof(
      fc.constantFrom(...Buffer.from('{}[]":,\\ \t\r\n019-+.eEtfnu\0')),
      fc.integer({ min: 0, max: 255 }),
    ),
  });
  const recorded = readFileSync(fixture('freeswitch-json.jsonl'), 'utf8').split('\n');
  let accepted = 0;
  let refused = 0;
  fc.assert(
    fc.property(
      fc.oneof({ weight: 5, arbitrary: document }, { weight: 1, arbitrary: fc.constantFrom(...recorded) }),
      fc.array(change, { minLength: 1, maxLength: 3 }),
      paths,
      (text, changes, wanted) => {
        let bytes = Buffer.from(text);
        for (const { what, at: place, length, byte } of changes) {
          const at = place % (bytes.length + 1);
          const [head, tail] = [bytes.subarray(0, at), bytes.subarray(at)];
          if (what === 'flip') bytes = Buffer.concat([head, Buffer.of(byte), tail.subarray(1)]);
          else if (what === 'cut') bytes = Buffer.concat([head, tail.subarray(length)]);
          else if (what === 'insert') bytes = Buffer.concat([head, Buffer.of(byte), tail]);
          else if (what === 'copy') bytes = Buffer.concat([head, tail.subarray(0, length), tail]);
          else bytes = head;
        }
        const newline = bytes.indexOf(LINE_FEED);
        const line = newline < 0 ? bytes : bytes.subarray(0, newline);
        const mine = ours(bytes, wanted);
        // Bytes that are no UTF-8 are kept by us and replaced by Buffer: compare what is refused.
        if (!isUtf8(line))
          return (mine === 'refused') === (reference(line.toString('latin1'), []) === 'refused');
        const theirs = reference(line.toString(), wanted);
        if (theirs === 'refused') refused++;
        else accepted++;
        return JSON.stringify(mine) === JSON.stringify(theirs);
      },
    ),
    { numRuns: 6000 },
  );
  t.ok(accepted > 500 && refused > 500, `${accepted} accepted, ${refused} refused`);
});

await tap.test('a fault is where JSON.parse says, where it does', async (t) => {
  const line = '{"a":[1,-2.50e+3,{"b":"x\\u0041\\n"}],"c":{"d":null,"e":[[],{}]},"f":true,"g":false}';
  const inserted = fc.constantFrom('', ...'{}[]":,\\ 019-+.eEtfnux/a'.split(''));
  let compared = 0;
  fc.assert(
    fc.property(fc.nat(line.length), fc.nat(2), inserted, (at, cut, text) => {
      const broken = line.slice(0, at) + text + line.slice(at + cut);
      const { fault, at: place } = split(['c.d', 'a[-1].b'], broken);
      let message = '';
      try {
        JSON.parse(broken);
      } catch (error) {
        message = (error as Error).message;
      }
      const said = /at position (\d+)/.exec(message);
      if (fault === 'JSON_NOT_AN_OBJECT' || (said === null && !message.includes('end of JSON'))) return true;
      compared++;
      return place === (said === null ? broken.length : Number(said[1]));
    }),
    { numRuns: 2000 },
  );
  t.ok(compared > 400, `${compared} places were compared`);
});

await tap.test('what stands around a line makes no difference', async () => {
  const surroundings = fc.constantFrom('', '"', '{"a":"', '}', ',"a":1}', '\\', '0', '\n', 'u0041"}', '  ');
  fc.assert(
    fc.property(
      document,
      surroundings,
      surroundings,
      fc.nat(40),
      paths,
      (text, before, behind, cut, wanted) => {
        const line = Buffer.from(text).subarray(
          0,
          Math.max(0, Buffer.byteLength(text) - (cut % 8 === 0 ? cut : 0)),
        );
        const alone = split(wanted, line);
        const from = before.length;
        const among = split(
          wanted,
          Buffer.concat([Buffer.from(before), line, Buffer.from(behind)]),
          from,
          from + line.length,
        );
        return JSON.stringify(among) === JSON.stringify(alone);
      },
    ),
    { numRuns: 2000 },
  );
});
