import type { SkipReason } from '../../schemas/errors.ts';
import type { DurationUnit } from '../../schemas/formats/duration-unit.ts';
import type {
  DurationField,
  Format,
  NumberField,
  NumberReading,
  Place,
  RecordShape,
  TimeField,
  WordRule,
} from '../../schemas/formats/format.ts';
import { listOf, neededPlaces } from '../../schemas/formats/places.ts';
import { compileTime, type TimeProgram } from '../../schemas/formats/time-pattern.ts';
import { DIRECTIONS, OUTCOMES } from '../../schemas/record.ts';
import { ABSENT } from './line-splitter.ts';

/**
 * A format made ready for reading: places are columns, words are bytes, names of outcomes are numbers. A place that the
 * format has not is the column ABSENT, which is always empty.
 */
export interface ReadingPlan {
  readonly shapes: readonly ShapePlan[];
  readonly skip: readonly SkipPlan[];
  /** The names or paths of the columns, where places are names of a header line or paths of JSON values. */
  readonly names: readonly string[];
  readonly nameBytes: readonly Uint8Array[];
  /** Columns of `names` of which a header must have one each: every record needs them. */
  readonly needed: readonly (readonly number[])[];
  /** Columns that are looked at: one more than the highest. */
  readonly columnsUsed: number;
  /** Column of an id that begins with an epoch second, as far as there is one. */
  readonly epochId: number;
  readonly counts: ReadonlySet<number> | undefined;
  /** First field of a header; of no use where places are names and it is undefined. */
  readonly header: Uint8Array | undefined;
  readonly comment: Uint8Array | undefined;
  readonly linePrefix: Uint8Array | undefined;
  readonly encodingLine: Uint8Array | undefined;
  /** True where a line may be something else than a record or a header that says nothing. */
  readonly recognises: boolean;
}

export interface ShapePlan {
  readonly when: WordTest | undefined;
  readonly callingNumber: NumberPlan;
  readonly displayedCallerId: NumberPlan;
  readonly dialedNumber: NumberPlan;
  readonly start: TimePlan;
  readonly otherStarts: readonly TimePlan[];
  readonly duration: DurationPlan;
  readonly talk: DurationPlan;
  readonly outcome: readonly WordPlan[];
  /** Index into OUTCOMES; -1: rejected. */
  readonly outcomeOtherwise: number;
  readonly direction: readonly WordPlan[];
  readonly account: number;
  readonly callId: number;
  readonly callIdColumnsMin: number;
  readonly recordId: readonly number[];
  /** Columns that a record of a format with positions has at least. */
  readonly columnsNeeded: number;
}

export interface WordTest {
  readonly column: number;
  readonly words: readonly Uint8Array[];
}

export interface SkipPlan extends WordTest {
  /** True where the rule fits what is none of the words. */
  readonly negated: boolean;
  readonly reason: SkipReason;
}

export interface NumberPlan {
  readonly column: number;
  readonly others: readonly number[];
  readonly reading: NumberReading;
}

export interface TimePlan {
  readonly column: number;
  readonly program: TimeProgram;
  /** Column of the time of day, where it stands apart from the date; else -1. */
  readonly timeColumn: number;
  readonly timeProgram: TimeProgram;
}

export interface DurationPlan {
  /** The column, where it is a number of seconds and nothing else; else ABSENT. */
  readonly seconds: number;
  /** -1: there is none, a difference or no duration at all. */
  readonly column: number;
  readonly unit: DurationUnit;
  readonly plus: readonly { readonly column: number; readonly unit: DurationUnit }[];
  readonly emptyUnanswered: boolean;
  readonly from: TimePlan | undefined;
  readonly to: TimePlan | undefined;
}

interface WordValue {
  readonly word: Uint8Array;
  readonly value: number;
}

/** What a column says: one of the words, or anything at all where there are none. */
export interface WordPlan {
  readonly column: number;
  /** By their length in bytes, since most fields are as long as one or two of them; a length that none has is left out. */
  readonly words: readonly (readonly WordValue[] | undefined)[];
  readonly ignoreCase: boolean;
  /** -1 where words are looked for. */
  readonly filled: number;
  /** How a time is written that may be none. */
  readonly time: TimePlan | undefined;
}

/**
 * Makes a format ready; its notations and places must have been checked.
 * @param zones what abbreviations of zones mean, as `±hh:mm`
 */
export function compileFormat(format: Format, zones: Readonly<Record<string, string>> = {}): ReadingPlan {
  return new Compiler(format, zones).plan();
}

/** A duration that the format has not. */
const NO_FIELD: DurationPlan = {
  seconds: ABSENT,
  column: ABSENT,
  unit: 's',
  plus: [],
  emptyUnanswered: false,
  from: undefined,
  to: undefined,
};

class Compiler {
  readonly #format: Format;
  readonly #zones: Readonly<Record<string, string>>;
  readonly #names: string[] = [];
  #columnsUsed = 0;

  constructor(format: Format, zones: Readonly<Record<string, string>>) {
    this.#format = format;
    this.#zones = zones;
  }

  plan(): ReadingPlan {
    const { syntax, records, skip = [], epochId: idPlace } = this.#format;
    const epochId = this.#column(idPlace);
    const shapes = records.map((shape) => this.#shape(shape));
    const rules = skip
      .map(({ at, is, isNot, reason }): SkipPlan => ({
        column: this.#column(at),
        words: (is ?? isNot ?? []).map(bytesOf),
        negated: is === undefined,
        reason,
      }))
      // A list of columns may lack the one of a rule.
      .filter(({ column }) => column !== ABSENT);
    const delimited = syntax.kind === 'delimited' ? syntax : undefined;
    const columns = delimited?.columns;
    const position = columns?.by === 'position' ? columns : undefined;
    const header = columns?.by === 'header' ? columns.first : position?.header;
    const counts = columns?.by === 'list' ? [columns.names.length] : position?.counts;
    return {
      shapes,
      skip: rules,
      names: this.#names,
      nameBytes: this.#names.map(bytesOf),
      needed: this.#needed(),
      epochId,
      columnsUsed: this.#columnsUsed,
      counts: counts === undefined ? undefined : new Set(counts),
      header: header === undefined ? undefined : bytesOf(header),
      comment: optional(delimited?.comment),
      linePrefix: optional(delimited?.linePrefix),
      encodingLine: optional(delimited?.encodingLine),
      recognises:
        rules.length > 0 ||
        columns?.by === 'header' ||
        delimited?.comment !== undefined ||
        delimited?.linePrefix !== undefined ||
        delimited?.encodingLine !== undefined,
    };
  }

  #column(place: Place | undefined): number {
    const column = this.#find(place);
    if (column !== ABSENT) this.#columnsUsed = Math.max(this.#columnsUsed, column + 1);
    return column;
  }

  #find(place: Place | undefined): number {
    if (place === undefined) return ABSENT;
    if (typeof place === 'number') return place;
    const { syntax } = this.#format;
    if (syntax.kind === 'delimited' && syntax.columns.by === 'list') {
      const at = syntax.columns.names.indexOf(place);
      return at < 0 ? ABSENT : at;
    }
    const known = this.#names.indexOf(place);
    return known < 0 ? this.#names.push(place) - 1 : known;
  }

  /** For headers: the columns without which no record can be read. */
  #needed(): number[][] {
    const { syntax, records } = this.#format;
    if (syntax.kind !== 'delimited' || syntax.columns.by !== 'header') return [];
    return records.flatMap((shape) =>
      neededPlaces(shape).map((places) => places.map((place) => this.#column(place))),
    );
  }

  #shape(shape: RecordShape): ShapePlan {
    const { outcome, callId } = shape;
    const [start, ...otherStarts] = listOf(shape.start).map((field) => this.#time(field));
    const call = typeof callId === 'object' ? callId : { at: callId, columnsMin: 0 };
    return {
      when:
        shape.when === undefined
          ? undefined
          : { column: this.#column(shape.when.at), words: shape.when.is.map(bytesOf) },
      callingNumber: this.#number(shape.callingNumber),
      displayedCallerId: this.#number(shape.displayedCallerId ?? { at: [] }),
      dialedNumber: this.#number(shape.dialedNumber),
      start: start!,
      otherStarts: otherStarts.filter(({ column }) => column !== ABSENT),
      duration: this.#duration(shape.duration),
      talk: shape.talk === undefined ? NO_FIELD : this.#duration(shape.talk),
      outcome: this.#words(outcome?.rules ?? [], OUTCOMES),
      outcomeOtherwise:
        outcome === undefined
          ? OUTCOMES.indexOf('unknown')
          : outcome.otherwise === 'reject'
            ? -1
            : OUTCOMES.indexOf(outcome.otherwise),
      direction: this.#words(shape.direction ?? [], DIRECTIONS),
      account: this.#column(shape.account),
      callId: this.#column(call.at),
      callIdColumnsMin: call.columnsMin,
      recordId: (shape.recordId ?? []).map((place) => this.#column(place)),
      columnsNeeded:
        1 +
        Math.max(
          ...neededPlaces(shape)
            .flat()
            .filter((place) => typeof place === 'number'),
          -1,
        ),
    };
  }

  #number({ at, reading = 'plain' }: NumberField): NumberPlan {
    const columns = listOf(at)
      .map((place) => this.#column(place))
      .filter((column) => column !== ABSENT);
    return { column: columns[0] ?? ABSENT, others: columns.slice(1), reading };
  }

  #time({ at, notation, time, bare = 'feed' }: TimeField): TimePlan {
    const options = { zones: this.#zones, bare };
    const program = compileTime(notation, time === undefined ? options : { ...options, parts: 'date' });
    return {
      column: this.#column(at),
      program,
      timeColumn: time === undefined ? -1 : this.#column(time.at),
      timeProgram: time === undefined ? program : compileTime(time.notation, { ...options, parts: 'time' }),
    };
  }

  #duration(field: DurationField): DurationPlan {
    const nothing = { ...NO_FIELD, column: -1 };
    if ('none' in field) return nothing;
    if ('from' in field) return { ...nothing, from: this.#time(field.from), to: this.#time(field.to) };
    const { at, unit, plus = [], emptyUnanswered = false } = field;
    const column = this.#column(at);
    return {
      seconds: unit === 's' && plus.length === 0 ? column : ABSENT,
      column,
      unit,
      plus: plus.map((part) => ({ column: this.#column(part.at), unit: part.unit })),
      emptyUnanswered,
      from: undefined,
      to: undefined,
    };
  }

  #words<T extends string>(rules: readonly WordRule<T>[], names: readonly T[]): WordPlan[] {
    return rules
      .map((rule): WordPlan => {
        if ('time' in rule) {
          const time = this.#time(rule.time);
          return {
            column: time.column,
            words: [],
            ignoreCase: false,
            filled: names.indexOf(rule.filled),
            time,
          };
        }
        const column = this.#column(rule.at);
        if ('filled' in rule) {
          const filled = names.indexOf(rule.filled);
          return { column, words: [], ignoreCase: false, filled, time: undefined };
        }
        const { ignoreCase = false } = rule;
        const words: WordValue[][] = [];
        for (const [text, value] of Object.entries(rule.words)) {
          const word = bytesOf(ignoreCase ? text.toLowerCase() : text);
          (words[word.length] ??= []).push({ word, value: names.indexOf(value) });
        }
        return { column, words, ignoreCase, filled: -1, time: undefined };
      })
      .filter(({ column }) => column !== ABSENT);
  }
}

function optional(text: string | undefined): Uint8Array | undefined {
  return text === undefined ? undefined : bytesOf(text);
}

function bytesOf(text: string): Uint8Array {
  return Buffer.from(text);
}
