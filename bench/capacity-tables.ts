import type { Input, Unit } from './capacity-inputs.ts';
import {
  agreement,
  capacityOf,
  CHECKED_LOAD,
  LIVE_RATE,
  LOADS,
  STEPS,
  type LiveUse,
  type Prediction,
} from './capacity-model.ts';
import { shortNumber } from './table.ts';

/** The tables of docs/capacity.md, by their names. */
export function capacityTables(
  inputs: readonly Input[],
  day: readonly Prediction[],
  live: readonly LiveUse[],
): Readonly<Record<'inputs' | 'steps' | 'day' | 'live', string>> {
  const loads = LOADS.map((load) => capacityOf(inputs, load));
  return {
    inputs: markdown(
      ['input', 'what', 'value', 'from'],
      inputs.map(({ name, what, unit, value, from }) => [`\`${name}\``, what, shown(value, unit), from]),
    ),
    steps: markdown(
      ['step', 'what', 'arithmetic', ...LOADS.map((load) => `${shown(load, '')} calls a day`)],
      STEPS.map(({ name, what, unit, formula }) => [
        `\`${name}\``,
        what,
        formula,
        ...loads.map(({ values }) => shown(values[name]!, unit)),
      ]),
    ),
    day: markdown(
      [`one day of ${shown(CHECKED_LOAD, '')} calls`, 'arithmetic', 'predicted', 'measured', 'agreement'],
      day.map((prediction) => [
        prediction.what,
        prediction.formula,
        shown(prediction.predicted, prediction.unit),
        shown(prediction.measured, prediction.unit),
        agreement(prediction).toFixed(2),
      ]),
    ),
    live: markdown(
      [`while ${shortNumber(LIVE_RATE)} calls a second come`, 'used', 'of it by the arithmetic', 'which is'],
      live.map(({ what, cores, input: name }) => [
        what,
        shown(cores, 'cores'),
        shown((LIVE_RATE * inputs.find((input) => input.name === name)!.value) / 1e6, 'cores'),
        `${shortNumber(LIVE_RATE)} × ${name} / 1,000,000`,
      ]),
    ),
  };
}

const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;

function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

const BYTE_UNITS = ['bytes', 'KB', 'MB', 'GB', 'TB', 'PB'];
const SECONDS_A_UNIT = [
  { unit: 'days', seconds: 86_400 },
  { unit: 'h', seconds: 3600 },
  { unit: 'min', seconds: 60 },
];

/** A value for a reader: three digits that count, and a unit of fitting size (1 KB is 1000 bytes). */
export function shown(value: number, unit: Unit): string {
  if (unit === 'bytes') {
    const power = value < 1000 ? 0 : Math.min(BYTE_UNITS.length - 1, Math.floor(Math.log10(value) / 3));
    return `${shortNumber(value / 1000 ** power)} ${BYTE_UNITS[power]!}`;
  }
  if (unit === 's') {
    const larger = SECONDS_A_UNIT.find(({ seconds }) => value >= 2 * seconds);
    return larger === undefined
      ? `${shortNumber(value)} s`
      : `${shortNumber(value / larger.seconds)} ${larger.unit}`;
  }
  return unit === '' || unit === 'share' ? shortNumber(value) : `${shortNumber(value)} ${unit}`;
}
