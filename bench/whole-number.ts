/** Reads an option of a bench or a long test. Throws RangeError. */
export function wholeNumber(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < min || value > max)
    throw new RangeError(`--${name}: allowed are whole numbers from ${min} to ${max}`);
  return value;
}
