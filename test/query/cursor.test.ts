import * as fc from 'fast-check';
import tap from 'tap';
import { Cursors } from '../../query/cursor.ts';

const secret = Buffer.alloc(32, 7);
const content = { range: { fromMs: 1, toMs: 2 }, place: ['+33639980001', 20260301] };

await tap.test('a cursor opens with its own filter only', async (t) => {
  const cursors = new Cursors<unknown>(secret, 'usage');
  fc.assert(
    fc.property(
      fc.jsonValue(),
      fc.array(fc.jsonValue()),
      fc.array(fc.jsonValue()),
      (place, filter, other) => {
        const cursor = cursors.write({ range: { fromMs: 1, toMs: 2 }, place }, filter);
        t.match(cursor, /^[A-Za-z0-9_-]+$/);
        t.strictSame(JSON.stringify(cursors.read(cursor, filter)?.place), JSON.stringify(place));
        if (JSON.stringify(filter) !== JSON.stringify(other)) t.equal(cursors.read(cursor, other), undefined);
      },
    ),
    { numRuns: 50 },
  );
});

await tap.test('a cursor of another listing, database or hand is refused', async (t) => {
  const cursor = new Cursors(secret, 'usage').write(content, []);
  t.equal(new Cursors(secret, 'calls').read(cursor, []), undefined);
  t.equal(new Cursors(Buffer.alloc(32, 8), 'usage').read(cursor, []), undefined);
  const bytes = Buffer.from(cursor, 'base64url');
  for (let at = 0; at < bytes.length; at++) {
    const changed = Buffer.from(bytes);
    changed[at] = changed[at]! ^ 1;
    t.equal(new Cursors(secret, 'usage').read(changed.toString('base64url'), []), undefined);
  }
  t.equal(new Cursors(secret, 'usage').read('e30', []), undefined);
});

await tap.test('the number in it cannot be read', async (t) => {
  const cursor = new Cursors(secret, 'usage').write(content, []);
  t.notMatch(Buffer.from(cursor, 'base64url').toString('latin1'), /3363998/);
});
