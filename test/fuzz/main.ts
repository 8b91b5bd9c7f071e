/**
 * `make fuzz SECONDS=60 SEED=1`: generated and broken lines of every format through the real parser, in several ways that
 * must agree with each other, with fast-csv and with JSON.parse. Beside it, where there is a minute or more, the property
 * tests of times with many more runs. Exits 1 at the first thing that it finds, with its seed and the shortest input that shows it.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { FORMATS } from '../../schemas/formats/index.ts';
import { caseOf, feedsOf } from './fuzz.ts';
import type { FuzzReport, FuzzTask } from './worker.ts';
import { wholeNumber } from '../../bench/whole-number.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: '1' },
    /** Only this case of the seed. */
    case: { type: 'string' },
  },
});
const SECONDS = wholeNumber('seconds', values.seconds, 1, 86_400);
const SEED = wholeNumber('seed', values.seed, 0, 2 ** 52);
const ONLY = values.case === undefined ? undefined : wholeNumber('case', values.case, 0, 2 ** 31 - 1);
const PROGRESS_MS = 5000;
/** A case takes milliseconds; shrinking counts as one case. */
const CASE_MS_MAX = 60_000;
/** From so many seconds on there is time for the property tests. */
const PROPERTIES_SECONDS_MIN = 60;
const PROPERTIES = [
  { file: 'time-notations', environment: { CDRHOUSE_TEST_RUNS: '5000' } },
  { file: 'local-clock-zones', environment: { CDRHOUSE_TEST_ALL_ZONES: '1' } },
];

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Input in the notation of JavaScript, a character a byte. */
function shown(messages: readonly Uint8Array[]): string {
  return messages.map((message) => `  ${JSON.stringify(Buffer.from(message).toString('latin1'))}`).join('\n');
}

function sayCase(index: number, what: string, settings: object, messages: readonly Uint8Array[]): void {
  say(`FOUND: case ${index} of seed ${SEED}: ${what}`);
  say(`feed: ${JSON.stringify(settings)}`);
  say(`messages (Latin-1):\n${shown(messages)}`);
  say(`again: node dist/test/fuzz/main.js --seed ${SEED} --case ${index}`);
}

/** Runs the search; gives its report, or undefined where it hangs. */
async function search(untilMs: number): Promise<FuzzReport | undefined> {
  const state = new SharedArrayBuffer(8);
  const shared = new Int32Array(state);
  const task: FuzzTask = {
    seed: SEED,
    first: ONLY ?? 0,
    cases: ONLY === undefined ? 2 ** 31 : 1,
    untilMs,
    state,
  };
  const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData: task });
  let index = -1;
  let movedAt = Date.now();
  let said = Date.now();
  let hangs = false;
  const look = setInterval(() => {
    const now = Atomics.load(shared, 0);
    if (now !== index) movedAt = Date.now();
    index = now;
    if (Date.now() - said >= PROGRESS_MS) {
      said = Date.now();
      say(`  case ${index}, ${Math.max(0, Math.ceil((untilMs - said) / 1000))} s left`);
    }
    if (Date.now() - movedAt <= CASE_MS_MAX) return;
    hangs = true;
    void worker.terminate();
  }, 250);
  const reports: FuzzReport[] = [];
  worker.on('message', (report: FuzzReport) => reports.push(report));
  await once(worker, 'exit');
  clearInterval(look);
  if (!hangs) return reports[0];
  const feeds = feedsOf(SEED, index);
  const { feed, messages } = caseOf(SEED, index, feeds);
  sayCase(index, `no end after ${CASE_MS_MAX / 1000} s`, feeds[feed]!.settings, messages);
  return undefined;
}

/** The property tests one after the other; true where none of those that came to an end failed. */
class Properties {
  #child: ChildProcess | undefined;
  #ended = false;

  async run(): Promise<boolean> {
    for (const { file, environment } of PROPERTIES) {
      if (this.#ended) {
        say(`${file}: not run, for want of time`);
        continue;
      }
      const path = fileURLToPath(new URL(`../ingest/parse/${file}.test.js`, import.meta.url));
      const settings = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
      let output = '';
      this.#child = spawn(process.execPath, [path], {
        // They end with us; tap's own limit is half a minute.
        env: { ...process.env, ...environment, TAP_TIMEOUT: String(SECONDS) },
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      this.#child.stdout!.on('data', (chunk: Buffer) => (output += chunk.toString()));
      const [code] = (await once(this.#child, 'close')) as [number | null];
      if (this.#ended) say(`${file} with ${settings.join(' ')}: broken off, for want of time`);
      else say(`${file} with ${settings.join(' ')}: ${code === 0 ? 'passed' : 'FAILED'}`);
      if (code === 0 || this.#ended) continue;
      say(output);
      return false;
    }
    return true;
  }

  end(): void {
    this.#ended = true;
    this.#child?.kill('SIGKILL');
  }
}

function sum(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((all, count) => all + count, 0);
}

function list(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .sort(([, a], [, b]) => b - a)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ');
}

function saySummary({ cases, tally }: FuzzReport, seconds: number): void {
  const { lines, compared, stored, rejected, rejectedByCode, skippedByReason } = tally;
  say(
    `${cases} cases of seed ${SEED} in ${seconds.toFixed(0)} s, ${lines} lines, ${compared} compared with the references`,
  );
  say(`stored ${sum(stored)}, rejected ${sum(rejected)}, skipped ${sum(skippedByReason)}`);
  say(`rejected: ${list(rejectedByCode)}`);
  say(`skipped: ${list(skippedByReason)}`);
  const formats = FORMATS.map(({ name }) => `${name} ${stored[name] ?? 0}/${rejected[name] ?? 0}`);
  say(`stored/rejected by format: ${formats.join(', ')}`);
}

const began = Date.now();
say(`fuzz: seed ${SEED}, ${SECONDS} s`);
const properties = new Properties();
const running =
  SECONDS >= PROPERTIES_SECONDS_MIN && ONLY === undefined ? properties.run() : Promise.resolve(true);
const report = await search(began + SECONDS * 1000);
properties.end();
const propertiesHold = await running;
if (report !== undefined) saySummary(report, (Date.now() - began) / 1000);
const finding = report?.finding;
if (finding !== undefined) sayCase(finding.index, finding.what, finding.settings, finding.messages);
process.exitCode = report !== undefined && finding === undefined && propertiesHold ? 0 : 1;
