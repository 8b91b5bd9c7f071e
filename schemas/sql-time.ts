/** UTC ms as ClickHouse reads a DateTime64(3, 'UTC') in text formats: `2026-11-24 08:00:00.123`. */
export function sqlTime(ms: number): string {
  return new Date(ms).toISOString().replace('T', ' ').slice(0, 23);
}

/** UTC ms of a DateTime64(3, 'UTC') as ClickHouse writes it in text formats. */
export function readSqlTime(text: string): number {
  return Date.parse(`${text.replace(' ', 'T')}Z`);
}

/** SQL of a bound moment in UTC ms; the server folds it to a constant before it looks at indexes. */
export const moment = (name: string): string => `fromUnixTimestamp64Milli({${name}: Int64}, 'UTC')`;
