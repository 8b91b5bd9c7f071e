import { NUMBERS_MAX } from '../schemas/api.ts';
import { readNumber, type NumberReading } from './number-reading.ts';
import { Problem } from './problem.ts';

/**
 * The whole numbers of a parameter that is repeated, comma separated or both; undefined where it is not given. Throws
 * the Problem PARAMETER_INVALID for too many, and for a prefix.
 */
export function readNumberList(
  name: string,
  typed: string | readonly string[] | undefined,
  country: string | undefined,
): NumberReading[] | undefined {
  if (typed === undefined) return undefined;
  const numbers = (typeof typed === 'string' ? [typed] : typed).flatMap((text) => text.split(','));
  if (numbers.length > NUMBERS_MAX)
    throw new Problem('PARAMETER_INVALID', `${name}: at most ${NUMBERS_MAX} numbers`);
  const readings = numbers.map((number) => readNumber(name, number, country));
  if (readings.some(({ kind }) => kind === 'prefix'))
    throw new Problem('PARAMETER_INVALID', `${name}: must be whole numbers, not a prefix`);
  return readings;
}
