import fc from 'fast-check';
import tap from 'tap';
import { Sealer } from '../../schemas/sealing.ts';

const SECRET = Buffer.alloc(32, 7);

await tap.test('what was sealed opens again, whichever way it was encrypted', async () => {
  // Opening is Node's counter mode; sealing of short texts is ours, of single blocks. Counters that carry are among them.
  const sealer = new Sealer(SECRET, 'test');
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 100 }),
      fc.string({ maxLength: 5 }),
      (bytes, context) => {
        const text = sealer.seal(bytes, context);
        return (
          text === sealer.seal(bytes, context) &&
          sealer.open(text, context)?.equals(Buffer.from(bytes)) === true
        );
      },
    ),
    { numRuns: 3000 },
  );
});

await tap.test('nothing else opens', async (t) => {
  const sealer = new Sealer(SECRET, 'test');
  const text = sealer.seal(Buffer.from('a call'), 'context');
  t.equal(sealer.open(text, 'another context'), undefined);
  t.equal(new Sealer(SECRET, 'another purpose').open(text, 'context'), undefined);
  t.equal(new Sealer(Buffer.alloc(32, 8), 'test').open(text, 'context'), undefined);
  for (let at = 0; at < text.length; at++) {
    const other = text[at] === 'A' ? 'B' : 'A';
    t.equal(sealer.open(text.slice(0, at) + other + text.slice(at + 1), 'context'), undefined, `at ${at}`);
  }
});
