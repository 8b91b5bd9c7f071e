import { rename, rm, writeFile } from 'node:fs/promises';
import { Gauge, Registry } from 'prom-client';
import { CdrhouseError } from '../schemas/errors.ts';
import type { AuditFault, AuditReport } from './audit.ts';

/** Faults that a report without differences shows with 0. */
const FAULTS: readonly AuditFault[] = [
  'ledger_hole',
  'tables_differ',
  'dead_letters_differ',
  'too_many',
  'too_few',
];

export interface AuditMetricsOptions {
  /** The feed that alone was compared. */
  readonly feed?: string;
  /** When the audit ended, UTC ms. */
  readonly nowMs: number;
}

/** The outcome of an audit as Prometheus metrics. */
export function auditRegistry(report: AuditReport, { feed, nowMs }: AuditMetricsOptions): Registry {
  const registry = new Registry();
  const registers = [registry];
  const of = feed === undefined ? {} : { feed };
  const differences = new Gauge({
    name: 'cdrhouse_audit_differences',
    help: 'Ranges that differed in the last audit, by fault; with --feed by feed',
    labelNames: ['feed', 'fault'] as const,
    registers,
  });
  for (const fault of FAULTS) differences.set({ ...of, fault }, 0);
  for (const { fault } of report.differences) differences.inc({ ...of, fault });
  const conflicts = new Gauge({
    name: 'cdrhouse_audit_conflicting_ids',
    help: 'Ids of the switch under which different records were sent, by feed and kind, in the last audit',
    labelNames: ['feed', 'kind'] as const,
    registers,
  });
  for (const { feed: name, kind, ids } of report.conflicts) conflicts.set({ feed: name, kind }, ids);
  new Gauge({
    name: 'cdrhouse_audit_accepted_records',
    help: 'Records that the ledger accepted, as of the last audit',
    labelNames: ['feed'] as const,
    registers,
  }).set(of, report.accepted);
  new Gauge({
    name: 'cdrhouse_audit_elsewhere_records',
    help: 'Accepted records that were not at their place in the last audit: duplicates of others, expired, or gone from both tables',
    labelNames: ['feed'] as const,
    registers,
  }).set(of, report.elsewhere);
  new Gauge({
    name: 'cdrhouse_audit_last_run_timestamp_seconds',
    help: 'When the last audit ended, Unix time; one that could not be done changes nothing',
    labelNames: ['feed'] as const,
    registers,
  }).set(of, nowMs / 1000);
  return registry;
}

/**
 * Writes metrics for the textfile collector of node_exporter: beside the file and then renamed, so that nobody
 * reads half of it. Throws FILE_UNWRITABLE.
 */
export async function writeMetricsFile(path: string, text: string): Promise<void> {
  // The collector reads names that end with .prom; this one does not.
  const partial = `${path}.${process.pid}.partial`;
  try {
    // The collector runs as another user.
    await writeFile(partial, text, { mode: 0o644 });
    await rename(partial, path);
  } catch (cause) {
    // Where it was not written it cannot be removed either.
    await rm(partial, { force: true }).catch(() => undefined);
    throw new CdrhouseError('FILE_UNWRITABLE', `the metrics cannot be written to ${path}`, cause);
  }
}
