import { Problem } from './problem.ts';

/** Seconds of a parameter as whole ms; undefined where it is not given. Throws the Problem PARAMETER_INVALID. */
export function readSeconds(name: string, seconds: number | undefined): number | undefined {
  if (seconds === undefined) return undefined;
  const exact = seconds * 1000;
  const ms = Math.round(exact);
  // The product of two floating-point numbers is off by far less than what a fourth decimal changes.
  if (Math.abs(exact - ms) < 1e-4) return ms;
  throw new Problem('PARAMETER_INVALID', `${name}: seconds may have three decimals`);
}
