import { type ChildProcess, spawn } from 'node:child_process';

/** One of our own programs, run as a process that ends with this one. */
export interface ServiceProcess {
  readonly name: string;
  /** Resolves when it ends, with its exit code; 1 for a signal. */
  readonly ended: Promise<number>;
  /** Its exit code once it has ended. */
  exitCode(): number | undefined;
  /** What it printed on stdout so far. */
  output(): string;
  /** The end of what it said on stderr. */
  lastWords(): string;
  /** SIGTERM, then SIGKILL after `graceMs`; gives the exit code. */
  stop(graceMs: number): Promise<number>;
}

const LAST_WORDS_BYTES = 4000;

/**
 * Starts `node program ...arguments` through the launcher, so that it ends when this process does, and in a
 * process group of its own, so that Ctrl-C reaches it only through us.
 */
export function startService(
  launcher: string,
  program: string,
  commandLine: readonly string[],
  environment: Readonly<Record<string, string>>,
): ServiceProcess {
  const child: ChildProcess = spawn(
    launcher,
    ['run', String(process.pid), process.execPath, program, ...commandLine],
    { env: { ...process.env, ...environment }, stdio: ['ignore', 'pipe', 'pipe'], detached: true },
  );
  let output = '';
  let words = '';
  child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => (words = (words + chunk.toString()).slice(-LAST_WORDS_BYTES)));
  let exitCode: number | undefined;
  const ended = new Promise<number>((resolve) => {
    const end = (code: number | null): void => resolve((exitCode = code ?? 1));
    child.once('error', () => end(1));
    child.once('close', end);
  });
  return {
    name: commandLine[0] ?? program,
    ended,
    exitCode: () => exitCode,
    output: () => output,
    lastWords: () => words.trim(),
    stop: async (graceMs) => {
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
      const code = await ended;
      clearTimeout(timer);
      return code;
    },
  };
}
