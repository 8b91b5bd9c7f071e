import { asteriskCsv } from './asterisk-csv.ts';
import { canonicalCsv } from './canonical-csv.ts';
import type { DelimitedFormat } from './format.ts';

/** Every format that a feed may name: the one place that lists them. */
export const FORMATS: readonly DelimitedFormat[] = [canonicalCsv, asteriskCsv];

/** The format of this name, or undefined. */
export function findFormat(name: string): DelimitedFormat | undefined {
  return FORMATS.find((format) => format.name === name);
}
