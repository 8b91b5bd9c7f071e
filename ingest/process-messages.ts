import type { MetricObjectWithValues, MetricValue } from 'prom-client';
import type { Readiness } from './reachability.ts';

/** What the parent of several ingest processes asks a child over Node's IPC channel. */
export interface StatusRequest {
  readonly kind: 'status';
  readonly id: number;
}

/** A child's answer. */
export interface StatusAnswer {
  readonly kind: 'status';
  readonly id: number;
  readonly readiness: Readiness;
  readonly metrics: MetricObjectWithValues<MetricValue<string>>[];
}

/** Narrows what came over the channel, to which other libraries may write too. */
export function isStatusRequest(message: unknown): message is StatusRequest {
  return isStatus(message) && !('metrics' in message);
}

export function isStatusAnswer(message: unknown): message is StatusAnswer {
  return isStatus(message) && 'metrics' in message;
}

function isStatus(message: unknown): message is { kind: 'status'; id: number } {
  return typeof message === 'object' && message !== null && 'kind' in message && message.kind === 'status';
}

/** Set in the environment of a child process: without it a child that starts as its parent dies would never know. */
export const CHILD_VARIABLE = 'INGEST_CHILD_OF';
