import type { Stats } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { isAbsolute, join, normalize } from 'node:path';
import { glob, isDynamicPattern } from 'tinyglobby';

export type Sort = 'name' | 'mtime';

/** What is passed over in a folder, and why. */
export type SkippedKind = 'symbolic link' | 'folder in a folder' | 'hidden file' | 'no regular file';

export interface Inputs {
  /** Paths of files, each once, sorted; those that were named keep their place among the others. */
  readonly files: readonly string[];
  readonly skipped: readonly { readonly path: string; readonly kind: SkippedKind }[];
  /** Names that nothing has, with the reason. */
  readonly missing: readonly { readonly path: string; readonly reason: string }[];
}

/**
 * Resolves names of files, folders and patterns (`*`, `?`, `[…]`, `{a,b}`, `**`). What is named is taken, also through
 * a symbolic link; of a folder its regular files are taken, not what lies in folders below it.
 */
export async function findInputs(names: readonly string[], sort: Sort): Promise<Inputs> {
  const skipped: Inputs['skipped'][number][] = [];
  const missing: Inputs['missing'][number][] = [];
  const found = new Map<string, number>();
  for (const name of names) {
    const take = (path: string, modifiedMs: number): void => {
      if (!found.has(path)) found.set(path, modifiedMs);
    };
    if (name === '-') {
      take(name, 0);
      continue;
    }
    const matched = await matches(normalize(name));
    if ('reason' in matched) {
      missing.push({ path: name, reason: matched.reason });
      continue;
    }
    for (const { path, stats } of matched.paths) {
      if (!stats.isDirectory()) take(path, stats.mtimeMs);
      // What lies in it is matched too, or is not meant.
      else if (matched.pattern) skipped.push({ path, kind: 'folder in a folder' });
      else {
        try {
          await listFolder(path, take, (one, kind) => skipped.push({ path: one, kind }));
        } catch (error) {
          missing.push({ path, reason: (error as Error).message });
        }
      }
    }
  }
  const files = [...found];
  files.sort(([a, aMs], [b, bMs]) => (sort === 'mtime' ? aMs - bMs : 0) || (a < b ? -1 : a > b ? 1 : 0));
  return { files: files.map(([path]) => path), skipped, missing };
}

type Matched =
  | { readonly pattern: boolean; readonly paths: readonly { readonly path: string; readonly stats: Stats }[] }
  | { readonly reason: string };

async function matches(name: string): Promise<Matched> {
  try {
    return { pattern: false, paths: [{ path: name, stats: await stat(name) }] };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    // A file whose name looks like a pattern is found before.
    if (code !== 'ENOENT' || !isDynamicPattern(name)) return { reason: message };
  }
  const options = { onlyFiles: false, followSymbolicLinks: false, expandDirectories: false };
  const paths: { path: string; stats: Stats }[] = [];
  for (const path of await glob([name], { ...options, absolute: isAbsolute(name) })) {
    try {
      paths.push({ path: normalize(path), stats: await stat(path) });
    } catch {
      // Gone since, or a link to nothing.
    }
  }
  return paths.length > 0 ? { pattern: true, paths } : { reason: `no file matches ${name}` };
}

async function listFolder(
  folder: string,
  take: (path: string, modifiedMs: number) => void,
  skip: (path: string, kind: SkippedKind) => void,
): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isSymbolicLink()) skip(path, 'symbolic link');
    else if (entry.isDirectory()) skip(path, 'folder in a folder');
    else if (!entry.isFile()) skip(path, 'no regular file');
    else if (entry.name.startsWith('.')) skip(path, 'hidden file');
    else {
      try {
        take(path, (await stat(path)).mtimeMs);
      } catch {
        // Renamed or removed since.
      }
    }
  }
}
