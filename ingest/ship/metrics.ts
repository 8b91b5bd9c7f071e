import { Counter, Gauge, Registry } from 'prom-client';

/** Prometheus metrics of `ship --listen`; docs/metrics.md lists them. No label ever holds a number of a person. */
export class ShipMetrics {
  readonly registry = new Registry();
  readonly #requests = new Counter({
    name: 'cdrhouse_ship_requests_total',
    help: 'HTTP requests by status of their answer',
    labelNames: ['status'] as const,
    registers: [this.registry],
  });
  readonly #connections = new Gauge({
    name: 'cdrhouse_ship_connections',
    help: 'Connections that are open',
    registers: [this.registry],
  });
  readonly #refused = new Counter({
    name: 'cdrhouse_ship_connections_refused_total',
    help: 'Connections closed at once, because ship.listen_connections_max were open',
    registers: [this.registry],
  });
  readonly #lines = new Counter({
    name: 'cdrhouse_ship_lines_total',
    help: 'Lines or documents that Kafka has acknowledged (HTTP), or that were handed to it (TCP)',
    registers: [this.registry],
  });
  readonly #tooLong = new Counter({
    name: 'cdrhouse_ship_too_long_total',
    help: 'Lines that were not sent because they are longer than a message may be',
    registers: [this.registry],
  });
  readonly #ready = new Gauge({
    name: 'cdrhouse_ship_ready',
    help: '1 while Kafka answers: what /readyz says',
    registers: [this.registry],
  });

  answered(status: number): void {
    this.#requests.inc({ status: String(status) });
  }

  setConnections(count: number): void {
    this.#connections.set(count);
  }

  connectionRefused(): void {
    this.#refused.inc();
  }

  linesSent(count: number): void {
    this.#lines.inc(count);
  }

  tooLong(): void {
    this.#tooLong.inc();
  }

  setReady(ready: boolean): void {
    this.#ready.set(ready ? 1 : 0);
  }
}
