import { createHash } from 'node:crypto';
import tap from 'tap';
import { encodeNdjson, formatOf, refusePaging } from '../../query/streaming.ts';

await tap.test('the format: the parameter, else what Accept likes best, else JSON', (t) => {
  const cases: [Parameters<typeof formatOf>[0], string | undefined, string][] = [
    [undefined, undefined, 'json'],
    [undefined, '*/*', 'json'],
    [undefined, 'text/html,application/xhtml+xml', 'json'],
    [undefined, 'text/csv', 'csv'],
    [undefined, 'TEXT/CSV; header=present', 'csv'],
    [undefined, 'application/x-ndjson', 'ndjson'],
    [undefined, 'application/ndjson', 'ndjson'],
    [undefined, 'text/csv;q=0.5, application/json', 'json'],
    [undefined, 'application/json;q=0.1, text/csv;q=0.2', 'csv'],
    [undefined, 'text/csv;q=0', 'json'],
    ['json', 'text/csv', 'json'],
    ['ndjson', 'text/csv', 'ndjson'],
  ];
  for (const [asked, accept, format] of cases) t.equal(formatOf(asked, accept), format, accept ?? 'none');
  t.end();
});

await tap.test('what is given whole has no pages', (t) => {
  t.throws(() => refusePaging({ limit: 10 }), { code: 'PARAMETER_INVALID' });
  t.throws(() => refusePaging({ cursor: 'x' }), { code: 'PARAMETER_INVALID' });
  t.doesNotThrow(() => refusePaging({}));
  t.end();
});

async function* batches(): AsyncGenerator<object[]> {
  yield await Promise.resolve([{ a: 1 }, { a: 'ü' }]);
  yield [];
  yield [{ a: null }];
}

await tap.test('the closing record tells rows and digest of all before it', async (t) => {
  const pieces: Buffer[] = [];
  for await (const piece of encodeNdjson(batches(), { from: 'x' })) pieces.push(piece);
  const text = Buffer.concat(pieces).toString();
  const lines = text.trimEnd().split('\n');
  t.strictSame(lines.slice(0, -1), ['{"a":1}', '{"a":"ü"}', '{"a":null}']);
  const sha256 = createHash('sha256')
    .update(`${lines.slice(0, -1).join('\n')}\n`)
    .digest('hex');
  t.strictSame(JSON.parse(lines.at(-1)!), { end: { rows: 3, sha256, from: 'x' } });
});
