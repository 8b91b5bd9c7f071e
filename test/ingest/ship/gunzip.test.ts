import { gzipSync } from 'node:zlib';
import tap from 'tap';
import { gunzip } from '../../../ingest/ship/gunzip.ts';

async function* pieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function unpacked(bytes: Buffer, size: number): Promise<{ content: string; failed: boolean }> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of gunzip(pieces(bytes, size))) chunks.push(chunk);
    return { content: Buffer.concat(chunks).toString(), failed: false };
  } catch {
    return { content: Buffer.concat(chunks).toString(), failed: true };
  }
}

const text = Array.from({ length: 5000 }, (_, i) => `record ${(i * 7919) % 10_007} of ${i}\n`).join('');
const whole = Buffer.concat([gzipSync(text.slice(0, 60_000)), gzipSync(text.slice(60_000))]);

await tap.test('members one after the other, in pieces of any size', async (t) => {
  for (const size of [1000, 4096, whole.length])
    t.strictSame(await unpacked(whole, size), { content: text, failed: false });
});

await tap.test('cut off anywhere: all that can be read, then a failure', async (t) => {
  const first = gzipSync(text.slice(0, 60_000)).length;
  let longest = 0;
  for (let length = 20; length < whole.length; length += 501) {
    const { content, failed } = await unpacked(whole.subarray(0, length), 4096);
    if (!text.startsWith(content)) t.fail(`something else at ${length}`);
    if (length !== first && !failed) t.fail(`no failure at ${length}`);
    longest = Math.max(longest, content.length);
  }
  t.ok(longest > text.length * 0.9, 'nearly all');
});

await tap.test('damage is a failure', async (t) => {
  const damaged = Buffer.from(whole);
  damaged.fill(0x55, 9000, 9100);
  const { content, failed } = await unpacked(damaged, 4096);
  t.ok(failed);
  t.ok(content.length > 0 && content.length < text.length);
});
