import { spawn } from 'node:child_process';

export interface ProgramResult {
  exitCode: number | null;
  /** Standard output and standard error, as they came. */
  output: string;
}

/** Runs a short program to its end; `undefined` when there is no such program on the PATH. */
export async function runProgram(
  program: string,
  programArguments: string[],
  options: { cwd?: string } = {},
): Promise<ProgramResult | undefined> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, programArguments, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
    const chunks: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') resolve(undefined);
      else reject(error);
    });
    child.once('close', (exitCode) => resolve({ exitCode, output: Buffer.concat(chunks).toString() }));
  });
}
