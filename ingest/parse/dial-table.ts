import { dialRules, type DialRule, type NumberRules } from '../../schemas/dial-plan.ts';

const ZERO = 0x30;
/** More digits than any number is dialed with: lengths are bits of a word. */
const DIALED_DIGITS_MAX = 31;

/** What to make of digits that a rule fits: the places are counted from the first digit. */
export interface Way {
  /** `+`, and what the number begins with instead of what is dropped. */
  readonly written: Uint8Array;
  readonly dropped: number;
  readonly keptEnd: number;
  readonly infixEnd: number;
}

/** A pattern of a rule: a bit set of digits for each place, and what follows. */
interface Pattern {
  readonly places: readonly number[];
  /** Lengths of all that is dialed, as bits. */
  readonly lengths: number;
  readonly way: Way;
}

/** Tables by plan and by what bare digits are: feeds of one country share them. */
const tables = new WeakMap<object, Map<string, DialTable>>();
const NO_PLAN = {};

/**
 * Number rules as a table of states: one step a digit finds the rule with the most fixed digits.
 */
export class DialTable {
  /** Ten next states for each state; 0: no rule has such a digit here. */
  readonly #next: Uint16Array;
  /** Lengths of numbers that a rule fits in a state, as bits. */
  readonly #lengths: Int32Array;
  readonly #patterns: readonly (readonly Pattern[])[];

  static of(rules: NumberRules): DialTable {
    const byBare = tables.get(rules.plan ?? NO_PLAN) ?? new Map<string, DialTable>();
    tables.set(rules.plan ?? NO_PLAN, byBare);
    const table = byBare.get(rules.bare ?? '') ?? new DialTable(dialRules(rules));
    byBare.set(rules.bare ?? '', table);
    return table;
  }

  constructor(rules: readonly DialRule[]) {
    const states = statesOf(rules.flatMap((rule) => patternsOf(rule)));
    this.#next = Uint16Array.from(states.flatMap(({ next }) => next));
    this.#patterns = states.map(({ complete }) => complete);
    this.#lengths = Int32Array.from(this.#patterns, (complete) =>
      complete.reduce((bits, { lengths }) => bits | lengths, 0),
    );
  }

  /** The way to read the text in `[start, end)`; undefined where no rule fits. What stands behind the fixed digits may be no digits. */
  find(bytes: Uint8Array, start: number, end: number): Way | undefined {
    const length = end - start;
    if (length > DIALED_DIGITS_MAX) return undefined;
    const bit = 1 << length;
    const next = this.#next;
    let found = 0;
    let state = 0;
    for (let at = start; at < end; at++) {
      const digit = bytes[at]! - ZERO;
      if (digit < 0 || digit > 9) return undefined;
      state = next[state * 10 + digit]!;
      if (state === 0) break;
      if ((this.#lengths[state]! & bit) !== 0) found = state;
    }
    if (found === 0) return undefined;
    const complete = this.#patterns[found]!;
    for (let i = 0; i < complete.length; i++) if ((complete[i]!.lengths & bit) !== 0) return complete[i]!.way;
    return undefined;
  }
}

interface State {
  readonly next: number[];
  /** Patterns that end here, in the order of the rules. */
  readonly complete: readonly Pattern[];
}

/** Where a pattern stands. */
interface Position {
  readonly pattern: number;
  readonly place: number;
}

/** Subset construction: a state is the set of positions that the digits so far lead to. */
function statesOf(patterns: readonly Pattern[]): State[] {
  const numbers = new Map<string, number>();
  const states: State[] = [];
  const add = (positions: readonly Position[]): number => {
    if (positions.length === 0) return 0;
    const name = positions.map(({ pattern, place }) => `${pattern}.${place}`).join();
    const known = numbers.get(name);
    if (known !== undefined) return known;
    const number = states.length;
    numbers.set(name, number);
    const isComplete = ({ pattern, place }: Position): boolean => place === patterns[pattern]!.places.length;
    const next: number[] = [];
    states.push({ next, complete: positions.filter(isComplete).map(({ pattern }) => patterns[pattern]!) });
    for (let digit = 0; digit < 10; digit++) {
      const after = positions
        .filter(({ pattern, place }) => ((patterns[pattern]!.places[place] ?? 0) & (1 << digit)) !== 0)
        .map(({ pattern, place }) => ({ pattern, place: place + 1 }));
      next.push(add(after));
    }
    return number;
  };
  // The first state is never a next one: no pattern is empty.
  add(patterns.map((_, pattern) => ({ pattern, place: 0 })));
  return states.length === 0 ? [{ next: Array<number>(10).fill(0), complete: [] }] : states;
}

function patternsOf({ dropped, written, kept, infix = '', rest }: DialRule): Pattern[] {
  return dropped.flatMap((before) =>
    kept.map((keptPattern) => {
      const [droppedPlaces, keptPlaces] = [placesOf(before), placesOf(keptPattern)];
      const keptEnd = droppedPlaces.length + keptPlaces.length;
      const places = [...droppedPlaces, ...keptPlaces, ...placesOf(infix)];
      return {
        places,
        lengths: rest.reduce((bits, length) => bits | (1 << (places.length + length)), 0),
        way: {
          written: Buffer.from(`+${written}`),
          dropped: droppedPlaces.length,
          keptEnd,
          infixEnd: places.length,
        },
      };
    }),
  );
}

/** `0[1-9]` as a bit set of digits for each place. */
function placesOf(pattern: string): number[] {
  return [...pattern.matchAll(/\[([^\]]+)\]|[0-9]/g)].map(([digit, inside]) => {
    let digits = 0;
    for (const [, first, last] of (inside ?? digit).matchAll(/([0-9])(?:-([0-9]))?/g)) {
      for (let member = Number(first); member <= Number(last ?? first); member++) digits |= 1 << member;
    }
    return digits;
  });
}
