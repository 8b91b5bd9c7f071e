import { collectDefaultMetrics, Counter, Histogram, Registry } from 'prom-client';
import type { DatabaseFault } from '../schemas/clickhouse-errors.ts';

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** Prometheus metrics of the API. Labels are routes as they are declared, methods and statuses; never what was asked. */
export class QueryMetrics {
  readonly registry = new Registry();
  readonly #seconds = new Histogram({
    name: 'cdrhouse_query_request_seconds',
    help: 'From request to the end of its answer, by route and status',
    labelNames: ['route', 'status'] as const,
    buckets: SECONDS,
    registers: [this.registry],
  });
  readonly #databaseErrors = new Counter({
    name: 'cdrhouse_query_database_errors_total',
    help: 'Failed statements by fault: limit, passing, permanent',
    labelNames: ['fault'] as const,
    registers: [this.registry],
  });

  constructor() {
    collectDefaultMetrics({ register: this.registry, prefix: 'cdrhouse_query_' });
  }

  answered(route: string, status: number, milliseconds: number): void {
    this.#seconds.observe({ route, status }, milliseconds / 1000);
  }

  databaseFailed(fault: DatabaseFault): void {
    this.#databaseErrors.inc({ fault });
  }
}
