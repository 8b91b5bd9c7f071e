export interface TapResult {
  /** Assertions that held. */
  passed: number;
  /** Assertions that did not, and files that ran none. */
  failed: number;
  /** tap's line for each file, with its time: "ok 2 - dist/test/a.test.js # time=15ms". */
  files: string[];
  /** Why the run is not to be trusted although no assertion failed; empty when all is well. */
  problems: string[];
}

/** A file's own line at the top level: "ok 2 - dist/test/a.test.js # time=15ms", "… # SKIP reason". */
const fileLine = /^(not )?ok \d+ - (\S+\.test\.js)(?: # (.*))?$/;
const totals = /^# \{ total: (\d+), (.*) \}$/;
const noTests = /^\s+1\.\.0\b/;

/**
 * Counts what tap's raw output says about a run over `files`. A file that is missing in it, was skipped as a whole or
 * ran no test counts as failed: a test that silently does nothing is worse than one that fails.
 */
export function readTapResult(text: string, files: readonly string[]): TapResult {
  const seen = new Set<string>();
  const empty: string[] = [];
  const fileLines: string[] = [];
  let summary: RegExpExecArray | null = null;
  let planIsEmpty = false;
  for (const line of text.split('\n')) {
    summary = totals.exec(line) ?? summary;
    if (/^ {4}1\.\.\d/.test(line)) planIsEmpty = noTests.test(line);
    const [, failure, file, directive] = fileLine.exec(line) ?? [];
    if (file === undefined) continue;
    seen.add(file);
    fileLines.push(line);
    // tap itself counts an empty file as failed when it ends badly, but not when it says "skip".
    if (failure === undefined && (planIsEmpty || /^(skip|todo)\b/i.test(directive ?? ''))) empty.push(file);
    planIsEmpty = false;
  }
  const count = (name: string): number =>
    Number(new RegExp(`\\b${name}: (\\d+)`).exec(summary?.[2] ?? '')?.[1] ?? 0);
  const missing = files.filter((file) => !seen.has(file));
  const problems = [
    ...empty.map((file) => `${file} ran no test`),
    ...missing.map((file) => `${file} is missing in tap's output`),
    ...(summary === null ? ['tap printed no totals: it was broken off'] : []),
  ];
  return { passed: count('pass'), failed: count('fail') + problems.length, files: fileLines, problems };
}
