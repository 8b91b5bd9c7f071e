import { applyNumberRules } from '../schemas/dial-plan.ts';
import { readFeed } from '../schemas/feed.ts';
import type { Settings } from '../schemas/settings.ts';
import { moment } from '../schemas/sql-time.ts';
import { LETTER_LATE_MS, redactNumbers } from '../schemas/suppressions.ts';
import type { Subject } from './subject.ts';

/**
 * Rejected records in which a number of a person stands, in whatever spelling: what an erasure overwrites, and what an
 * export tells. The database finds those that may hold one; how they are spelt is looked at in each.
 */

/** Digits at the end of a number by which they are found. */
const TAIL_DIGITS = 7;

export interface LetterSearch {
  /** Condition of `dead_letters AS letters`: those that can be of a call in the time. */
  readonly inTime: string;
  /** Condition of those that may hold a number; undefined: none of the numbers has so many digits. */
  readonly mayHold: string | undefined;
  readonly parameters: Readonly<Record<string, unknown>>;
}

export function letterSearch({ numbers, feeds, fromMs, toMs }: Subject): LetterSearch {
  const digits = numbers.map((number) => number.replaceAll(/[^0-9]/g, '').slice(-TAIL_DIGITS));
  const tails = [...new Set(digits)].filter((tail) => tail.length >= TAIL_DIGITS - 1);
  return {
    inTime: `letters.message_at >= ${moment('from_ms')} AND letters.message_at < ${moment('letters_to_ms')}
  ${feeds === undefined ? '' : 'AND feed IN {feeds: Array(String)}'}`,
    mayHold:
      tails.length === 0
        ? undefined
        : "multiSearchAny(replaceRegexpAll(letters.raw, '[^0-9]', ''), {tails: Array(String)})",
    parameters: {
      from_ms: fromMs,
      letters_to_ms: toMs + LETTER_LATE_MS,
      ...(tails.length === 0 ? {} : { tails }),
      ...(feeds === undefined ? {} : { feeds }),
    },
  };
}

/** Overwrites the person's numbers in the bytes of a record, and gives how many there were. */
export type Redact = (letter: { readonly feed: string; readonly topic: string }, raw: Uint8Array) => number;

/** Numbers are found as they are stored and as the feed of the record spells them. */
export function redactorOf({ feeds }: Settings, { numbers }: Subject): Redact {
  const erased = new Set(numbers);
  const rulesOf = new Map(
    feeds.map((settings) => [
      settings,
      Object.values(readFeed(settings).numbers).filter((rules) => rules !== undefined),
    ]),
  );
  const isErased = (feed: string, topic: string, texts: readonly string[]): boolean => {
    if (texts.some((text) => erased.has(text))) return true;
    // A feed that was renamed still has its topic.
    const own = feeds.find(({ name }) => name === feed) ?? feeds.find((each) => each.topic === topic);
    if (own === undefined) return false;
    return rulesOf.get(own)!.some((rules) =>
      texts.some((text) => {
        const number = text.startsWith('+') ? undefined : applyNumberRules(text, rules);
        return number !== undefined && erased.has(number);
      }),
    );
  };
  return ({ feed, topic }, raw) => redactNumbers(raw, (texts) => isErased(feed, topic, texts));
}
