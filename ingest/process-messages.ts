import type { MetricObjectWithValues, MetricValue } from 'prom-client';

/** What the parent of several ingest processes asks a child over Node's IPC channel. */
export interface StatusRequest {
  readonly kind: 'status';
  readonly id: number;
}

/** A child's answer. */
export interface StatusAnswer {
  readonly kind: 'status';
  readonly id: number;
  readonly ready: boolean;
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
