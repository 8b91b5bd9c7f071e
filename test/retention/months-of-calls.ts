import { readdirSync } from 'node:fs';
import { addMonths, RetentionTerm } from '../../schemas/retention-term.ts';
import { callAt, type CallStore, type StoredCall } from '../query/stored-calls.ts';

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;

/** Calls of each day of so many months before a moment, and around the moment at which they are just due. */
export function monthsOfCalls(nowMs: number, months: number, termMonths: number): StoredCall[] {
  const starts: number[] = [];
  const first = Math.floor(nowMs / DAY_MS) * DAY_MS - months * 30.4 * DAY_MS + 10 * HOUR_MS;
  for (let startMs = first; startMs < nowMs; startMs += DAY_MS) starts.push(startMs);
  const border = addMonths(nowMs, -termMonths);
  for (const away of [-60_000, -1, HOUR_MS, DAY_MS]) starts.push(border + away);
  return starts.map((startMs, index) => callAt(Math.floor(startMs), index));
}

/** YYYYMM of a moment, UTC. */
export function monthOf(ms: number): number {
  const date = new Date(ms);
  return date.getUTCFullYear() * 100 + date.getUTCMonth() + 1;
}

/** Has ClickHouse's own TTL leave the calls that a test stores long after they were due. */
export async function keepUntilSwept({ admin, database }: CallStore): Promise<void> {
  for (const table of ['cdr', 'cdr_by_number'])
    await admin.command({ query: `ALTER TABLE ${database}.${table} REMOVE TTL` });
}

/** Those whose term is not over. */
export function keptOf(calls: readonly StoredCall[], termMonths: number, nowMs: number): StoredCall[] {
  const term = new RetentionTerm(termMonths, nowMs);
  return calls.filter(({ startMs }) => !term.isExpired(startMs));
}

export function idsOf(calls: readonly StoredCall[]): string[] {
  return calls.map(({ cdrKey }) => cdrKey).sort();
}

/** Ids of the calls that a table gives. */
export async function storedIds(
  store: CallStore,
  table: 'cdr' | 'cdr_by_number' | 'cdr_held',
): Promise<string[]> {
  const rows = await store.rows<{ id: string }>(
    `SELECT DISTINCT toString(cdr_key) AS id FROM ${store.database}.${table} FINAL`,
  );
  return rows.map(({ id }) => id).sort();
}

/** Names of the parts in a table's folder, with those that the server counts as there. */
export async function partsOnDisk(
  store: CallStore,
  table: string,
): Promise<{ files: string[]; active: string[] }> {
  const [paths] = await store.rows<{ path: string }>(
    `SELECT data_paths[1] AS path FROM system.tables WHERE database = '${store.database}' AND name = '${table}'`,
  );
  const active = await store.rows<{ name: string }>(
    `SELECT name FROM system.parts WHERE database = '${store.database}' AND table = '${table}' AND active`,
  );
  return {
    files: readdirSync(paths!.path)
      .filter((name) => /^[0-9]{6}_/.test(name))
      .sort(),
    active: active.map(({ name }) => name).sort(),
  };
}

/** What `adjustments` says went, by hour. */
export function adjustments(store: CallStore): Promise<{ feed: string; hour: string; calls: string }[]> {
  return store.rows(
    `SELECT feed, toString(hour) AS hour, toString(sum(calls)) AS calls FROM ${store.database}.adjustments FINAL
     WHERE kind = 'swept' GROUP BY ALL ORDER BY ALL`,
  );
}

/** The same, of calls that are known. */
export function adjustmentsOf(calls: readonly StoredCall[]): { feed: string; hour: string; calls: string }[] {
  const counts = new Map<string, number>();
  for (const { feed, startMs } of calls) {
    const hour = new Date(Math.floor(startMs / HOUR_MS) * HOUR_MS)
      .toISOString()
      .slice(0, 19)
      .replace('T', ' ');
    const key = JSON.stringify([feed, hour]);
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return [...counts]
    .map(([key, count]) => {
      const [feed, hour] = JSON.parse(key) as [string, string];
      return { feed, hour, calls: String(count) };
    })
    .sort((a, b) => (a.feed + a.hour < b.feed + b.hour ? -1 : 1));
}
