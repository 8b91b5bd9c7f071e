import { Counter, Gauge, Registry } from 'prom-client';
import type { RetentionStatus } from './status.ts';
import type { SweepReport } from './sweep.ts';

/** Prometheus metrics of `retention run`; docs/metrics.md lists them. No label ever holds a number of a person. */
export class RetentionMetrics {
  readonly registry = new Registry();
  readonly #overshoot = new Gauge({
    name: 'cdrhouse_retention_overshoot_days',
    help: 'Days since the oldest call that is still there was due; 0: none is',
    registers: [this.registry],
  });
  readonly #overdue = new Gauge({
    name: 'cdrhouse_retention_overdue_calls',
    help: 'Calls whose term is over and that are still there',
    registers: [this.registry],
  });
  readonly #openRequests = new Gauge({
    name: 'cdrhouse_retention_open_requests',
    help: 'Requests of persons that are begun or deferred',
    registers: [this.registry],
  });
  readonly #overdueRequests = new Gauge({
    name: 'cdrhouse_retention_overdue_requests',
    help: 'Of these, requests that are not deferred and whose deadline is over',
    registers: [this.registry],
  });
  readonly #left = new Gauge({
    name: 'cdrhouse_retention_months_left',
    help: 'Months, and tables beside the calls, that the last sweep refused to take, or could not prove, by error code',
    labelNames: ['code'] as const,
    registers: [this.registry],
  });
  readonly #swept = new Counter({
    name: 'cdrhouse_retention_swept_calls_total',
    help: 'Calls that sweeps of this process took away',
    registers: [this.registry],
  });
  readonly #failures = new Counter({
    name: 'cdrhouse_retention_failures_total',
    help: 'Sweeps, erasures and looks at what is overdue that could not be done, or had to leave something, by error code',
    labelNames: ['code'] as const,
    registers: [this.registry],
  });
  readonly #sweptAt = new Gauge({
    name: 'cdrhouse_retention_last_sweep_timestamp_seconds',
    help: 'When the last sweep ended, Unix time; 0: none has since the start. One that could not be done changes nothing',
    registers: [this.registry],
  });

  swept({ months, tables, calls }: SweepReport, nowMs: number): void {
    this.#left.reset();
    for (const { state, code } of [...months, ...tables])
      if (state === 'refused' || state === 'failed') this.#left.inc({ code });
    this.#swept.inc(calls);
    this.#sweptAt.set(nowMs / 1000);
  }

  failed(code: string): void {
    this.#failures.inc({ code });
  }

  show({ overshoot_days, months, requests }: RetentionStatus): void {
    this.#overshoot.set(overshoot_days);
    this.#overdue.set(months.reduce((sum, { overdue_calls }) => sum + overdue_calls, 0));
    this.#openRequests.set(requests.open);
    this.#overdueRequests.set(requests.overdue);
  }
}
