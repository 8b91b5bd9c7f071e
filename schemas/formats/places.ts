import type { Place, RecordShape } from './format.ts';

/** The places of which every record of this shape needs one each: those that may stand for each other together. */
export function neededPlaces({ callingNumber, dialedNumber, start, duration }: RecordShape): Place[][] {
  const measured = 'at' in duration ? [[duration.at]] : 'to' in duration ? [[duration.to.at]] : [];
  return [
    [...listOf(callingNumber.at)],
    [...listOf(dialedNumber.at)],
    listOf(start).map(({ at }) => at),
    ...measured,
  ];
}

/** One or several, as several. */
export function listOf<T extends object | Place>(value: T | readonly T[]): readonly T[] {
  return Array.isArray(value) ? (value as readonly T[]) : [value as T];
}
