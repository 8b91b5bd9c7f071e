import { TIME_KIND } from '../../schemas/formats/time-pattern.ts';
import { DATE_TIME_FORM, type BatchMemory } from './batch-memory.ts';
import { ABSENT } from './line-splitter.ts';
import type { ShapePlan, WordPlan } from './reading-plan.ts';

/** What `BatchMemory.readFields` has read of a call: a bit each. */
export const READ_FIELD = {
  start: 1,
  duration: 2,
  talk: 4,
  outcome: 8,
  callingNumber: 16,
  dialedNumber: 32,
  displayedCallerId: 64,
  account: 128,
  callId: 256,
} as const;

/** Of each kind of notation, in which forms the module reads it (`DATE_TIME_FORM`); nearly all times are in one of them. */
export const PLAIN_FORMS = Int32Array.from({ length: Object.keys(TIME_KIND).length }, (_, kind) =>
  formsOf(kind),
);

function formsOf(kind: number): number {
  const { space, letterT, milliseconds, zulu } = DATE_TIME_FORM;
  if (kind === TIME_KIND.plain) return space;
  if (kind === TIME_KIND.local) return space | letterT | milliseconds;
  return kind === TIME_KIND.iso || kind === TIME_KIND.isoOrEpoch ? space | letterT | milliseconds | zulu : 0;
}

/** Lengths of words for which `find_word` of `batch-memory.wat` has a list: from 0. */
const WORD_LISTS = 32;

/**
 * Writes into the memory which columns `BatchMemory.readFields` reads, and gives the address for it. A field that is
 * never in the plainest notation is named as absent, which is never read.
 * @param startsAt address of the columns' starts
 */
export function keepPlainFields(memory: BatchMemory, shape: ShapePlan, startsAt: number): number {
  const { start, duration, talk, outcome } = shape;
  const [words] = outcome;
  const columnAt = (column: number): number => startsAt + 4 * column;
  return memory.keepIntegers([
    columnAt(start.column),
    PLAIN_FORMS[start.program.kind]!,
    columnAt(duration.seconds),
    columnAt(talk.seconds),
    columnAt(words?.column ?? ABSENT),
    keepWordLists(memory, words),
    ...[shape.callingNumber, shape.dialedNumber, shape.displayedCallerId].flatMap(({ column, reading }) => [
      columnAt(column),
      // In any other address only a number that stands alone is plain.
      reading === 'name-addr' ? 1 : 0,
    ]),
    columnAt(shape.account),
    columnAt(shape.callId),
  ]);
}

/** The words of a column by their length, with values that are one more than what they say: 0 is none of them. */
function keepWordLists(memory: BatchMemory, plan: WordPlan | undefined): number {
  const lists = Array.from({ length: WORD_LISTS }, () => 0);
  const words = plan?.words.flatMap((ofLength) => ofLength ?? []) ?? [];
  // Each goes before those of its list: in the end the first one of the plan stands first.
  for (const { word, value } of words.reverse()) {
    // An empty field says nothing.
    if (word.length === 0 || word.length >= WORD_LISTS) continue;
    for (const spelling of plan?.ignoreCase === true ? usualSpellings(word) : [word])
      lists[word.length] = memory.keepText(spelling, value + 1, lists[word.length]!);
  }
  return memory.keepIntegers(lists);
}

/** `answered`, `Answered` and `ANSWERED`; others are left to the general reader, which knows of ASCII letters only too. */
function usualSpellings(word: Uint8Array): Uint8Array[] {
  const capitals = word.map((byte) => (byte >= 0x61 && byte <= 0x7a ? byte & ~0x20 : byte));
  const capital = word.map((byte, i) => (i === 0 ? capitals[0]! : byte));
  return [word, capital, capitals];
}
