import { parentPort, workerData } from 'node:worker_threads';
import { emptyTally, type Tally } from './check.ts';
import { fuzz, type Finding } from './fuzz.ts';

/** The thread of `main.ts`: runs cases, and says which one it is at, so that one that never ends can be named. */
export interface FuzzTask {
  readonly seed: number;
  readonly first: number;
  /** Cases to run; a search by time has no end. */
  readonly cases: number;
  /** UTC ms. */
  readonly untilMs: number;
  /** Two 32-bit integers: the case, and 1 where the search has ended. */
  readonly state: SharedArrayBuffer;
}

export interface FuzzReport {
  readonly cases: number;
  readonly tally: Tally;
  readonly finding: Finding | undefined;
}

const { seed, first, cases, untilMs, state } = workerData as FuzzTask;
const shared = new Int32Array(state);
const tally = emptyTally();
let done = 0;
const finding = await fuzz(
  seed,
  first,
  (index) => {
    done = index - first;
    Atomics.store(shared, 0, index);
    return done < cases && Date.now() < untilMs;
  },
  tally,
);
Atomics.store(shared, 1, 1);
// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
parentPort!.postMessage({ cases: done, tally, finding } satisfies FuzzReport);
