import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { link, mkdir, readFile, rename, rm, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { LocalServerError, systemErrorCode } from './errors.ts';

/** A process, told apart from a later one with the same id by when it started (Linux; elsewhere always ''). */
interface ProcessMark {
  pid: number;
  startedAt: string;
}

interface LockContent {
  /** The process that started the server and will stop it. */
  owner: ProcessMark;
  server?: ProcessMark;
}

/** How long a server whose owner was killed may take to end by itself. */
const orphanGraceMs = 20_000;
const pollMs = 50;

/** State and start time out of /proc/PID/stat, whose second field may hold spaces and brackets. */
function processStat(pid: number): { state: string; startedAt: string } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0] ?? '', startedAt: fields[19] ?? '' };
  } catch {
    // No such process, or no /proc on this system: the signal decides alone.
    return undefined;
  }
}

function markOf(pid: number): ProcessMark {
  return { pid, startedAt: processStat(pid)?.startedAt ?? '' };
}

function isAlive(mark: ProcessMark): boolean {
  try {
    process.kill(mark.pid, 0);
  } catch (error) {
    if (systemErrorCode(error) !== 'EPERM') return false;
  }
  const stat = processStat(mark.pid);
  if (stat === undefined) return true;
  return stat.state !== 'Z' && stat.startedAt === mark.startedAt;
}

function isMark(value: unknown): value is ProcessMark {
  return (
    typeof value === 'object' &&
    value !== null &&
    'pid' in value &&
    Number.isInteger(value.pid) &&
    'startedAt' in value
  );
}

function isLockContent(value: unknown): value is LockContent {
  if (typeof value !== 'object' || value === null || !('owner' in value) || !isMark(value.owner))
    return false;
  return !('server' in value) || isMark(value.server);
}

/** `undefined` when there is no lock, or one that no process can have written as a whole. */
async function readLock(path: string): Promise<LockContent | undefined> {
  try {
    const content: unknown = JSON.parse(await readFile(path, 'utf8'));
    return isLockContent(content) ? content : undefined;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT' || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Keeps two servers out of one data folder. */
export class DataDirLock {
  readonly #path: string;
  #released = false;

  private constructor(path: string) {
    this.#path = path;
  }

  /**
   * Takes the lock of `folder` (made if missing). What a dead process left is cleared away; a server that is just
   * ending because its owner was killed is waited for.
   * @throws LocalServerError LOCAL_DATA_DIR_IN_USE
   */
  static async take(folder: string): Promise<DataDirLock> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const lock = new DataDirLock(join(folder, 'lock.json'));
    const deadline = Date.now() + orphanGraceMs;
    while (!(await lock.#create())) {
      const content = await readLock(lock.#path);
      const serverAlive = content?.server !== undefined && isAlive(content.server);
      const ownerAlive = content !== undefined && isAlive(content.owner);
      if (ownerAlive || (serverAlive && Date.now() > deadline)) {
        const pid = ownerAlive ? content.owner.pid : content?.server?.pid;
        throw new LocalServerError(
          'LOCAL_DATA_DIR_IN_USE',
          `${folder} is in use by process ${pid}; stop that one first or choose another --data-dir`,
        );
      }
      if (serverAlive) await delay(pollMs);
      else await rm(lock.#path, { force: true });
    }
    return lock;
  }

  /** Notes the server's process, so that it is seen even when its owner is gone. */
  async noteServer(pid: number): Promise<void> {
    const next = `${this.#path}.${randomUUID()}`;
    await writeFile(next, this.#content(pid));
    await rename(next, this.#path);
    // The server may have ended, and the lock been given back, while this was being written.
    if (this.#released) await rm(this.#path, { force: true });
  }

  /** Again = nothing happens: by then the lock may be another one's. */
  async release(): Promise<void> {
    if (this.#released) return;
    this.#released = true;
    await rm(this.#path, { force: true });
  }

  /** Hard-links a complete file into place: unlike an exclusive open it is never seen empty. */
  async #create(): Promise<boolean> {
    const next = `${this.#path}.${randomUUID()}`;
    await writeFile(next, this.#content());
    try {
      await link(next, this.#path);
      return true;
    } catch (error) {
      if (systemErrorCode(error) === 'EEXIST') return false;
      throw error;
    } finally {
      await unlink(next);
    }
  }

  #content(serverPid?: number): string {
    const content: LockContent = { owner: markOf(process.pid) };
    if (serverPid !== undefined) content.server = markOf(serverPid);
    return JSON.stringify(content);
  }
}
