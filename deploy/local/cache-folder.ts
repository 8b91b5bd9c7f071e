import { createHash, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder with package.json, found from the source (deploy/local) as well as from dist/deploy/local. */
export function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error('no package.json above deploy/local');
    folder = parent;
  }
  return folder;
}

/** Where what is compiled or downloaded once is kept, unless the caller names another folder. */
export function defaultCacheDir(): string {
  return join(packageRoot(), '.cache');
}

/** A short name that changes with any of the given contents. */
export function contentKey(...contents: (string | Buffer)[]): string {
  const hash = createHash('sha256');
  for (const content of contents) hash.update(content).update('\0');
  return hash.digest('hex').slice(0, 16);
}

/**
 * The folder `cacheDir/name`, made by `fill` when it is not there yet. `fill` gets a folder of its own that is renamed
 * when it is complete, so a run that was broken off, or two at the same time, never leave half a result behind.
 */
export async function cachedFolder(
  cacheDir: string,
  name: string,
  fill: (folder: string) => Promise<void>,
): Promise<string> {
  const folder = join(cacheDir, name);
  if (existsSync(folder)) return folder;
  // Two at the same time may be of one process: both servers start together, and both need the launcher.
  const partial = `${folder}.partial-${randomUUID()}`;
  await mkdir(partial, { recursive: true });
  try {
    await fill(partial);
    await rename(partial, folder).catch((error: unknown) => {
      // Another one was quicker; its result is as good as ours.
      if (!existsSync(folder)) throw error;
    });
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
  return folder;
}
