import fc from 'fast-check';
import tap from 'tap';
import { jsonLine } from '../../../ingest/ship/json-line.ts';
import { postedLines } from '../../../ingest/ship/posted-body.ts';

await tap.test('any document on one line is the same document', async (t) => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.constantFrom('\n', '\r\n', '\n\t'), (value, newline) => {
      const pretty = JSON.stringify(value, null, 2).replaceAll('\n', newline);
      const line = jsonLine(Buffer.from(pretty)).toString();
      return !/[\r\n]/.test(line) && JSON.stringify(JSON.parse(line)) === JSON.stringify(value);
    }),
    { numRuns: 1000 },
  );
  // Not allowed in JSON, and sent nevertheless.
  t.strictSame(JSON.parse(jsonLine(Buffer.from('{"a\n":\n"b\\\\\r\n\\"\nc"}')).toString()), {
    'a\n': 'b\\\r\n"\nc',
  });
  t.equal(JSON.parse(jsonLine(Buffer.from('"x\\\ny"')).toString()), 'x\ny', 'behind a backslash');
  const oneLine = Buffer.from('{"a":1}');
  t.equal(jsonLine(oneLine), oneLine, 'what is on one line stays as it is');
});

await tap.test('forms are decoded byte by byte', async (t) => {
  const form = 'application/x-www-form-urlencoded; charset=utf-8';
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const document = JSON.stringify({ text });
      const body = Buffer.from(`cdr=${encodeURIComponent(document).replaceAll('%20', '+')}&uuid=x`);
      return postedLines(body, form).toString() === document;
    }),
  );
  t.strictSame(
    postedLines(Buffer.from('cdr={"a":"%E9%zz%2"}'), form),
    Buffer.from('{"a":"\xe9%zz%2"}', 'latin1'),
  );
  t.equal(postedLines(Buffer.from('{"cdr=":"%41"}'), form).toString(), '{"cdr=":"%41"}', 'no form after all');
  t.equal(postedLines(Buffer.from('cdr={"a":"%41"}'), 'text/plain').toString(), '{"a":"%41"}');
  t.equal(postedLines(Buffer.from('a,b\nc,d\n'), 'text/csv').toString(), 'a,b\nc,d\n', 'lines stay lines');
});
