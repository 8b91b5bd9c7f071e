import { createCipheriv, createHmac, hkdfSync } from 'node:crypto';
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

await tap.test(
  'the text is HMAC-SHA-256 of length, context and bytes, and AES-256-CTR from it on',
  async () => {
    const sealer = new Sealer(SECRET, 'test');
    const keys = Buffer.from(hkdfSync('sha256', SECRET, '', 'cdrhouse test', 64));
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 200 }),
        fc.string({ maxLength: 100, unit: 'binary' }),
        (bytes, context) => {
          const length = Buffer.alloc(4);
          length.writeUInt32BE(Buffer.byteLength(context));
          const mac = createHmac('sha256', keys.subarray(0, 32)).update(length).update(context).update(bytes);
          const tag = mac.digest().subarray(0, 16);
          const cipher = createCipheriv('aes-256-ctr', keys.subarray(32), tag);
          const sealed = Buffer.concat([tag, cipher.update(bytes), cipher.final()]);
          return sealer.seal(bytes, context) === sealed.toString('base64url');
        },
      ),
      { numRuns: 1000 },
    );
  },
);

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
