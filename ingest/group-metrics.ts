import { AggregatorRegistry, Counter, Gauge, Registry } from 'prom-client';
import type { StatusAnswer } from './process-messages.ts';

type Metrics = StatusAnswer['metrics'];

/**
 * The metrics of several processes as one. Counters and histograms never go back when a process is replaced, or
 * does not answer in time: what it told last stays in the sum (what it counted after that is not known). A
 * gauge speaks of now, so only processes that answer count.
 */
export class GroupMetrics<Process extends object> {
  readonly #own = new Registry();
  readonly #restarts = new Counter({
    name: 'cdrhouse_ingest_restarts_total',
    help: 'Processes that ended, or could not be started, and were replaced, where there are several (ingest.processes)',
    registers: [this.#own],
  });
  readonly #ready = new Gauge({
    name: 'cdrhouse_ingest_ready',
    help: '1 while every process is reading, with Kafka and ClickHouse reachable: what /readyz says',
    registers: [this.#own],
  });
  readonly #lastTold = new Map<Process, Metrics>();
  readonly #gone = new WeakSet<Process>();
  /** Sums of those that have ended. */
  #ended: Metrics = [];
  #adding: Promise<void> = Promise.resolve();

  restarted(): void {
    this.#restarts.inc();
  }

  /** Notes that a process has ended. */
  ended(process: Process): Promise<void> {
    this.#gone.add(process);
    this.#adding = this.#adding.then(() => this.#addEnded(process));
    return this.#adding;
  }

  /** @param answers those of the processes that answered */
  async combine(answers: ReadonlyMap<Process, Metrics>, ready: boolean): Promise<Registry> {
    this.#ready.set(ready ? 1 : 0);
    const own = await this.#own.getMetricsAsJSON();
    // From here on nothing is waited for: a process that ends meanwhile counts either by itself or in the sums.
    const ownNames = new Set(own.map(({ name }) => name));
    const now = [...answers].filter(([process]) => !this.#gone.has(process));
    for (const [process, metrics] of now) this.#lastTold.set(process, metrics);
    const silent = [...this.#lastTold].filter(
      ([process]) => this.#gone.has(process) || !answers.has(process),
    );
    return AggregatorRegistry.aggregate([
      own,
      ...now.map(([, metrics]) => metrics.filter(({ name }) => !ownNames.has(name))),
      ...silent.map(([, metrics]) => metrics.filter(onlyGrows)),
      this.#ended,
    ]);
  }

  async #addEnded(process: Process): Promise<void> {
    const told = this.#lastTold.get(process);
    if (told === undefined) return;
    const sums = AggregatorRegistry.aggregate([this.#ended, told.filter(onlyGrows)]);
    const ended = await sums.getMetricsAsJSON();
    this.#ended = ended;
    this.#lastTold.delete(process);
  }
}

function onlyGrows({ type }: Metrics[number]): boolean {
  // prom-client declares an enumeration of numbers and gives these words.
  return ['counter', 'histogram'].includes(String(type));
}
