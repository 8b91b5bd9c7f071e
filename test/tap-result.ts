export interface TapResult {
  /** Assertions that held. */
  passed: number;
  /** Assertions that did not, and files that ran none. */
  failed: number;
  /** tap's line for each file, with its time: "ok 2 - dist/test/a.test.js # time=15ms". */
  files: string[];
  /** Those that failed, or ran no test. */
  failedFiles: string[];
  /** Each assertion that failed, with what tap says about it; and why else the run is not to be trusted. */
  problems: string[];
}

/** A file's own line at the top level: "ok 2 - dist/test/a.test.js # time=15ms", "… # SKIP reason". */
const fileLine = /^(not )?ok \d+ - (\S+\.test\.js)(?: # (.*))?$/;
const totals = /^# \{ total: (\d+), (.*) \}$/;
const noTests = /^\s+1\.\.0\b/;
/** In tap's explanation of a file, which stands behind its line. */
const fileSignal = /^ {2}signal: (?!null\b)(\S+)/;
/** A failed assertion; the lines of tests and files have a time. */
const failedAssertion = /^ +not ok \d+ - (?!.*# time=)/;
/** Parts of an assertion's explanation that are shown; the source around it and the places in it are left out. */
const shownParts =
  /^ {2}(diff|error|found|wanted|stack|message|cause|code|tapCaught|signal|exitCode|expired|timeout):/;

/**
 * Counts what tap's raw output says about a run over `files`. A file that is missing in it, was skipped as a whole or
 * ran no test counts as failed: a test that silently does nothing is worse than one that fails.
 */
export function readTapResult(text: string, files: readonly string[]): TapResult {
  const seen = new Set<string>();
  const empty: string[] = [];
  const notOk: string[] = [];
  const crashes: string[] = [];
  const fileLines: string[] = [];
  let summary: RegExpExecArray | null = null;
  let planIsEmpty = false;
  for (const line of text.split('\n')) {
    summary = totals.exec(line) ?? summary;
    if (/^ {4}1\.\.\d/.test(line)) planIsEmpty = noTests.test(line);
    // No assertion tells of a process that crashed, or whose time was over.
    const [, signal] = fileSignal.exec(line) ?? [];
    if (signal !== undefined) crashes.push(`${notOk.at(-1)} was ended by ${signal}`);
    const [, failure, file, directive] = fileLine.exec(line) ?? [];
    if (file === undefined) continue;
    seen.add(file);
    fileLines.push(line);
    if (failure !== undefined) notOk.push(file);
    // tap itself counts an empty file as failed when it ends badly, but not when it says "skip".
    if (failure === undefined && (planIsEmpty || /^(skip|todo)\b/i.test(directive ?? ''))) empty.push(file);
    planIsEmpty = false;
  }
  const count = (name: string): number =>
    Number(new RegExp(`\\b${name}: (\\d+)`).exec(summary?.[2] ?? '')?.[1] ?? 0);
  const missing = files.filter((file) => !seen.has(file));
  const problems = [
    ...failedAssertions(text),
    ...crashes,
    ...empty.map((file) => `${file} ran no test`),
    ...missing.map((file) => `${file} is missing in tap's output`),
    ...(summary === null ? ['tap printed no totals: it was broken off'] : []),
  ];
  return {
    passed: count('pass'),
    failed: count('fail') + empty.length + missing.length + (summary === null ? 1 : 0),
    files: fileLines,
    failedFiles: [...notOk, ...empty, ...missing],
    problems,
  };
}

/** What failed, each with tap's explanation: a reporter may have shown it far above, or not at all. */
function failedAssertions(text: string): string[] {
  const lines = text.split('\n');
  return lines.flatMap((line, at) => {
    if (!failedAssertion.test(line)) return [];
    const end = lines.findIndex((later, i) => i > at && /^ +\.\.\.$/.test(later));
    const [title, , ...explained] = lines.slice(at, end).map((each) => each.slice(line.search(/\S/)));
    let shown = false;
    return [
      [
        title,
        ...explained.filter((each) => {
          if (/^ {2}\S/.test(each)) shown = shownParts.test(each);
          return shown && each.trim() !== '';
        }),
      ].join('\n'),
    ];
  });
}
