/** A text table: the first column to the left, the others to the right. */
export function textTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((cell, column) =>
    Math.max(cell.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join('  ')
      .trimEnd();
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}

export function median(values: readonly number[]): number {
  if (values.length === 0) return Number.NaN;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** The value that so many of the others are below, nearest rank; the list is sorted and ascending. */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** Median and range: `2.31 (2.20 to 2.44)`. */
export function medianAndRange(values: readonly number[], digits = 2): string {
  const shown = (value: number): string => value.toFixed(digits);
  const range = `(${shown(Math.min(...values))} to ${shown(Math.max(...values))})`;
  return values.length < 2 ? shown(median(values)) : `${shown(median(values))} ${range}`;
}

/** A whole number in full, any other with three digits that count. */
export function shortNumber(value: number): string {
  const options = Number.isInteger(value) ? {} : { maximumSignificantDigits: 3 };
  return value.toLocaleString('en', options);
}

/** Groups by what they have in common; the groups in the order in which each came first. */
export function groupBy<T>(list: readonly T[], name: (one: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const one of list) {
    const group = groups.get(name(one));
    if (group === undefined) groups.set(name(one), [one]);
    else group.push(one);
  }
  return groups;
}

/** Text in lines of at most so many characters, the second and all others further in. */
export function wrapped(text: string, characters: number, indent: string): string {
  const lines: string[] = [];
  let line = indent;
  for (const word of text.split(' ')) {
    const isFirst = line.trim() === '';
    if (!isFirst && line.length + 1 + word.length > characters) {
      lines.push(line);
      line = `${indent}    ${word}`;
    } else line += isFirst ? word : ` ${word}`;
  }
  return [...lines, line].join('\n');
}
