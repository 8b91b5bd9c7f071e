import { createGunzip } from 'node:zlib';

const OUTPUT_BYTES = 65_536;

/** Whether bytes begin a gzip file (RFC 1952). */
export function beginsGzip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b;
}

/**
 * What is in a gzip stream of one or several members. Where it is damaged or cut off, everything that can be read comes
 * first, then it throws: a piped stream would lose what it holds when it fails.
 */
export async function* gunzip(packed: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  const stream = createGunzip({ chunkSize: OUTPUT_BYTES });
  let ready: Buffer[] = [];
  let failure: Error | undefined;
  stream.on('data', (bytes: Buffer) => ready.push(bytes));
  const ended = new Promise<void>((resolve) => {
    stream.on('error', (error) => {
      failure = error;
      resolve();
    });
    stream.on('end', resolve);
  });
  const taken = (): Buffer[] => {
    const bytes = ready;
    ready = [];
    return bytes;
  };
  try {
    for await (const bytes of packed) {
      // The callback comes when all of it is unpacked.
      await Promise.race([new Promise<void>((resolve) => stream.write(bytes, () => resolve())), ended]);
      yield* taken();
      if (failure !== undefined) break;
    }
    stream.end();
    await ended;
    yield* taken();
  } finally {
    stream.destroy();
  }
  if (failure !== undefined) throw failure;
}
