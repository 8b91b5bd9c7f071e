/** UTC ms as ClickHouse reads a DateTime64(3, 'UTC') in text formats: `2026-11-24 08:00:00.123`. */
export function sqlTime(ms: number): string {
  return new Date(ms).toISOString().replace('T', ' ').slice(0, 23);
}
