import { Random } from '../../ingest/generate/random.ts';
import { Checker, emptyTally, type FuzzCase, type Tally } from './check.ts';
import { oneOf, randomFeeds, type FuzzFeed } from './feeds.ts';
import { LineSource } from './lines.ts';
import { mutate } from './mutations.ts';

/** Cases with the same feeds. */
const CASES_PER_ROUND = 400;
const DELIMITED_FEEDS = 8;
const SHRINKS_MAX = 3000;

export interface Finding {
  readonly index: number;
  readonly what: string;
  readonly settings: FuzzFeed['settings'];
  /** The shortest messages that were found to show it. */
  readonly messages: readonly Buffer[];
}

/** Case `index` of a seed; the same on every machine. */
export function caseOf(seed: number, index: number, feeds: readonly FuzzFeed[]): FuzzCase {
  const random = new Random(seed, 2 * index + 1);
  // The formats in turn, so that each has its share in a short run.
  const feed = index % feeds.length;
  const source = new LineSource(feeds[feed]!.feed);
  const messages = Array.from({ length: 1 + random.integer(3) }, () => {
    let bytes = source.message(random, random.integer(6));
    if (random.chance(0.25)) return bytes;
    for (let left = Math.ceil(random.exponential(1.5)); left > 0; left--) bytes = mutate(bytes, random);
    return bytes;
  });
  if (random.chance(0.1)) messages.push(oneOf(random, messages));
  return { feed, messages };
}

/** The feeds of case `index`. */
export function feedsOf(seed: number, index: number): FuzzFeed[] {
  const round = Math.floor(index / CASES_PER_ROUND);
  return randomFeeds(new Random(seed, 2 * round), DELIMITED_FEEDS);
}

/**
 * Runs cases until one of them finds something, or `goesOn` says no.
 * @param goesOn asked before each case
 */
export async function fuzz(
  seed: number,
  first: number,
  goesOn: (index: number) => boolean,
  tally: Tally = emptyTally(),
): Promise<Finding | undefined> {
  let feeds: FuzzFeed[] = [];
  let checker: Checker | undefined;
  for (let index = first; goesOn(index); index++) {
    if (checker === undefined || index % CASES_PER_ROUND === 0) {
      feeds = feedsOf(seed, index);
      checker = new Checker(
        feeds.map(({ feed }) => feed),
        tally,
      );
    }
    const found = caseOf(seed, index, feeds);
    const what = await faultOf(checker, found);
    if (what === undefined) continue;
    const { settings, feed } = feeds[found.feed]!;
    const shrunk = await shrink(found.messages, async (messages) => {
      const fresh = new Checker([feed], emptyTally());
      return faultOf(fresh, { feed: 0, messages });
    });
    return { index, what: shrunk.what ?? what, settings, messages: shrunk.messages };
  }
  return undefined;
}

async function faultOf(checker: Checker, found: FuzzCase): Promise<string | undefined> {
  try {
    return await checker.check(found);
  } catch (error) {
    return (error as Error).stack ?? String(error);
  }
}

/**
 * The messages with as much left out as still shows a fault (maybe another one): whole messages, then ever shorter
 * pieces of each. `what` is undefined where the fault needs what was read before.
 */
export async function shrink(
  messages: readonly Buffer[],
  fault: (messages: readonly Buffer[]) => Promise<string | undefined>,
): Promise<{ messages: readonly Buffer[]; what: string | undefined }> {
  let what = await fault(messages);
  let best = messages;
  if (what === undefined) return { messages, what };
  let tries = 0;
  const accept = async (shorter: readonly Buffer[]): Promise<boolean> => {
    if (++tries > SHRINKS_MAX) return false;
    const other = await fault(shorter);
    if (other === undefined) return false;
    what = other;
    best = shorter;
    return true;
  };
  for (let shorter = true; shorter;) {
    const before = bytesOf(best);
    for (let message = best.length - 1; message >= 0 && best.length > 1; message--)
      await accept(best.toSpliced(message, 1));
    for (let message = 0; message < best.length; message++) {
      for (let size = best[message]!.length >> 1; size > 0; size >>= 1) {
        for (let at = 0; at < best[message]!.length;) {
          const bytes = best[message]!;
          const cut = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + size)]);
          if (!(await accept(best.with(message, cut)))) at += size;
        }
      }
    }
    shorter = bytesOf(best) < before && tries < SHRINKS_MAX;
  }
  return { messages: best, what };
}

function bytesOf(messages: readonly Buffer[]): number {
  return messages.reduce((sum, { length }) => sum + length, 0);
}
