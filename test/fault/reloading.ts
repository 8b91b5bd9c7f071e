/** What the tests of `feeds reload` share. */
import type { Test } from 'tap';
import type { ReloadReport } from '../../ingest/reload.ts';
import { SESSION, whenIdle, type Installation } from '../cdrhouse-program.ts';
import type { TestServers } from '../test-servers.ts';
import { house, readAll } from './harness.ts';
import { PARTITIONS, snapshot, type Snapshot, type Variant } from './readings.ts';
import type { Sent } from './topic.ts';

const HOUR_MS = 3_600_000;
/** A Kafka time before all messages of the tests. */
export const LONG_AGO = '2026-01-01T00:00:00Z';

/** Command line of a reload with a JSON report. */
export function reloading(feed: string, ...options: string[]): string[] {
  return ['feeds', 'reload', '--feed', feed, '--json', ...options];
}

/** Reloads a feed, which must succeed. */
export async function reload(
  installation: Installation,
  feed: string,
  ...options: string[]
): Promise<ReloadReport> {
  const { code, stdout, stderr } = await whenIdle(installation, ...reloading(feed, ...options));
  if (code !== 0) throw new Error(`feeds reload ended with ${code}: ${stderr}`);
  return JSON.parse(stdout) as ReloadReport;
}

/** Messages of a partition each, with the Kafka time so many hours ago. */
export function sentAgo(sent: readonly Sent[], hours: number): Sent[] {
  return sent.map((message) => ({ ...message, timestampMs: Date.now() - hours * HOUR_MS }));
}

export function hoursAgo(hours: number): string {
  return new Date(Date.now() - hours * HOUR_MS).toISOString();
}

/** Settings with one feed. */
export function feedOf(topic: string, variant: Variant): object {
  return { feeds: [{ ...variant, topic }], kafka: { client: SESSION, topic_partitions: PARTITIONS } };
}

/** What reading a topic once under a variant gives. */
export async function referenceOf(
  t: Test,
  servers: TestServers,
  index: number,
  topic: string,
  variant: Variant,
): Promise<Snapshot> {
  const installation = await house(t, servers, index, {
    settings: feedOf(topic, variant),
    environment: { CDRHOUSE_KAFKA_GROUP: `${servers.databases[index]!}-reference` },
  });
  await readAll(installation);
  return snapshot(installation);
}
