import { COLUMNS_MAX } from '../../schemas/record.ts';

/**
 * Which values of a JSON document a feed wants. A path is written as in JavaScript: `duration`,
 * `variables.start_epoch`, `core-uuid` (a key may hold anything but `.`, `[`, `]` and `"`),
 * `callflow[0].caller_profile.ani`, `callflow[-1].…` (the last entry), `variables["sip.h.X-id"]` (a key as a JSON
 * string). Entries are counted from 0; of those counted from the end there is only the last one.
 */
export type JsonPath = string;

/** A column: the first of these paths whose value is there and not empty. */
export interface JsonColumn {
  readonly paths: readonly JsonPath[];
  /** `%2B` in the value stands for `+`, as in URLs; a `%` without two hexadecimal digits stands for itself. */
  readonly percentDecoded?: boolean;
}

/**
 * What is wanted of the value at one place of a document. The places form a tree, in which a document is followed
 * from key to key without making a string.
 */
export interface JsonPlace {
  /** Columns that have their value here: as it is sent, and percent-decoded. */
  readonly columns: readonly number[];
  readonly percentDecoded: readonly number[];
  /** Columns that have their value here or further in. */
  readonly within: readonly number[];
  readonly keys: readonly JsonKey[];
  /** Wanted entries by their number, and what any further one is; undefined where nothing is wanted of it. */
  readonly entries: readonly (JsonPlace | undefined)[];
  readonly furtherEntry: JsonPlace | undefined;
  /** Whether an object that stands here is followed further in, and an array. */
  readonly wantsKeys: boolean;
  readonly wantsEntries: boolean;
}

/** A wanted key. */
export interface JsonKey {
  readonly bytes: Uint8Array;
  readonly place: JsonPlace;
}

/** Columns compiled for `JsonSplitter`. */
export interface JsonPaths {
  /** The document itself. */
  readonly root: JsonPlace;
  readonly count: number;
  /** Columns with those behind them that hold the values of further paths. */
  readonly countWithSpares: number;
  /** Which column takes the value of which spare one where it has none itself, in this order. */
  readonly spares: readonly { readonly column: number; readonly spare: number }[];
}

const QUOTE = 0x22;
/** Steps of a path at most. */
const JSON_STEPS_MAX = 16;
/** So that the tables of `[n]` and the tree of places stay small. */
const ENTRY_MAX = 15;
const PLACES_MAX = 4096;
const LAST = -1;

/** So many slots are there for the keys of an object. */
export const KEY_SLOTS = 64;

/** The slot of a key: `json-document.wat` compares a key of a document with those of its slot only. */
export function keySlot(key: Uint8Array): number {
  return ((key.length + 1) * 5 + (key[0] ?? QUOTE) * 3 + (key.at(-1) ?? QUOTE)) % KEY_SLOTS;
}

/**
 * Compiles the columns of a feed; once, not per record.
 * @throws Error saying which path is malformed
 */
export function compileJsonPaths(columns: readonly (JsonPath | JsonColumn)[]): JsonPaths {
  const spares: { column: number; spare: number }[] = [];
  const wishes: Wish[] = [];
  let spare = columns.length;
  for (const [column, wanted] of columns.entries()) {
    const { paths, percentDecoded = false }: JsonColumn =
      typeof wanted === 'string' ? { paths: [wanted] } : wanted;
    for (const [i, path] of paths.entries()) {
      if (i > 0) spares.push({ column, spare });
      wishes.push({ column: i === 0 ? column : spare++, percentDecoded, steps: readPath(path) });
    }
  }
  if (spare > COLUMNS_MAX) throw new Error(`these JSON paths are more than ${COLUMNS_MAX}`);
  const budget = { places: 0 };
  return { root: placeOf(wishes, budget), count: columns.length, countWithSpares: spare, spares };
}

type Step = string | number;

/** A column and the way that is left to its value. */
interface Wish {
  readonly column: number;
  readonly percentDecoded: boolean;
  readonly steps: readonly Step[];
}

function placeOf(wishes: readonly Wish[], budget: { places: number }): JsonPlace {
  if (++budget.places > PLACES_MAX) throw new Error('these JSON paths name too many entries of arrays');
  const here = wishes.filter(({ steps }) => steps.length === 0);
  const further = (fits: (step: Step) => boolean): JsonPlace | undefined => {
    const left = wishes
      .filter(({ steps }) => steps.length > 0 && fits(steps[0]!))
      .map((wish) => ({ ...wish, steps: wish.steps.slice(1) }));
    return left.length === 0 ? undefined : placeOf(left, budget);
  };
  const steps = new Set(wishes.flatMap((wish) => wish.steps.slice(0, 1)));
  const names = [...steps].filter((step) => typeof step === 'string');
  const numbers = [...steps].filter((step) => typeof step === 'number');
  const encoder = new TextEncoder();
  const entries = Array.from({ length: Math.max(LAST, ...numbers) + 1 }, (_, i) =>
    // Each entry may be the last one.
    further((step) => step === i || step === LAST),
  );
  return {
    columns: here.filter((wish) => !wish.percentDecoded).map(({ column }) => column),
    percentDecoded: here.filter((wish) => wish.percentDecoded).map(({ column }) => column),
    within: wishes.map(({ column }) => column),
    keys: names.map((name) => ({
      bytes: encoder.encode(name),
      place: further((step) => step === name)!,
    })),
    entries,
    furtherEntry: further((step) => step === LAST),
    wantsKeys: names.length > 0,
    wantsEntries: numbers.length > 0,
  };
}

function readPath(path: JsonPath): Step[] {
  const steps: Step[] = [];
  const pattern =
    /(?<dot>\.?)(?<name>[^.[\]"]+)|\[(?<entry>0|[1-9]\d?|-1)\]|\[(?<quoted>"(?:[^"\\]|\\.)*")\]/y;
  while (pattern.lastIndex < path.length) {
    const from = pattern.lastIndex;
    const { dot, name, entry, quoted } = pattern.exec(path)?.groups ?? {};
    if (name !== undefined && (dot === '.') === from > 0) steps.push(name);
    else if (entry !== undefined && from > 0 && Number(entry) <= ENTRY_MAX) steps.push(Number(entry));
    else if (quoted !== undefined) steps.push(keyOf(quoted, path));
    else throw new Error(`${path} is no path of JSON: see character ${from + 1}`);
  }
  if (steps.length === 0) throw new Error('a path of JSON may not be empty');
  if (steps.length > JSON_STEPS_MAX) throw new Error(`${path} has more than ${JSON_STEPS_MAX} steps`);
  return steps;
}

function keyOf(quoted: string, path: JsonPath): string {
  let key: string;
  try {
    key = JSON.parse(quoted) as string;
  } catch (cause) {
    throw new Error(`${path} is no path of JSON: ${quoted} is no JSON string`, { cause });
  }
  // What is no Unicode text is read as U+FFFD, so a key with one would be found in places that differ.
  if (/[\ud800-\udfff\ufffd]/u.test(key)) throw new Error(`${path} names a key that is no text`);
  return key;
}
