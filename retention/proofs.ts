import type { ClickHouseClient } from '@clickhouse/client';
import type { SweepKind, SweepState } from '../schemas/migrations.ts';
import { sqlTime } from '../schemas/sql-time.ts';
import { select } from './clickhouse.ts';

/** A row of `retention_proofs`: what a sweep did with a month, and how that is known. */
export interface Proof {
  readonly month: number;
  readonly sweep_id: string;
  readonly kind: SweepKind;
  readonly state: SweepState;
  readonly code: string;
  readonly term_months: number;
  /** Months of feeds with a shorter term. */
  readonly feed_terms: Readonly<Record<string, number>>;
  /** As `sqlTime` writes it, like all times here. */
  readonly due_at: string;
  readonly calls_before: number;
  readonly calls_by_number_before: number;
  readonly digest_before: string;
  readonly rows_after: number;
  readonly kept_before: number;
  readonly kept_after: number;
  readonly held: number;
  readonly bytes_before: number;
  readonly parts: readonly string[];
  readonly parts_after: readonly string[];
  readonly statements: readonly string[];
  readonly part_log: readonly string[];
  readonly program_version: string;
  readonly begun_at: string;
}

/** Writes how far it is; a later row takes the place of an earlier one. */
export async function writeProof(client: ClickHouseClient, database: string, proof: Proof): Promise<void> {
  await client.insert({
    table: `${database}.retention_proofs`,
    values: [{ ...proof, recorded_at: sqlTime(Date.now()) }],
    format: 'JSONEachRow',
  });
}

/** The newest rows of all months and sweeps in these states, the oldest month first. */
export function readProofs(
  client: ClickHouseClient,
  database: string,
  states: readonly SweepState[],
): Promise<Proof[]> {
  return select<Proof>(
    client,
    `SELECT * EXCEPT (recorded_at), toString(due_at) AS due_at, toString(begun_at) AS begun_at
     FROM ${database}.retention_proofs FINAL
     WHERE state IN {states: Array(String)} ORDER BY month, retention_proofs.begun_at, sweep_id`,
    { states },
  );
}
