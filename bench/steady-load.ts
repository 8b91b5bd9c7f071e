import { setTimeout as sleep } from 'node:timers/promises';
import { liveLine } from '../ingest/generate/traffic.ts';
import { Producer } from '../ingest/ship/producer.ts';
import { kafkaSettings } from './workload.ts';

const MESSAGE_MS = 20;
const SEED = 12;

/** Sends calls that end now at a steady rate to a topic, until it is stopped. */
export class SteadyLoad {
  readonly #sent: Promise<number>;
  #isStopped = false;

  /** @param rate calls a second */
  constructor(brokers: string, topic: string, rate: number) {
    this.#sent = this.#send(brokers, topic, rate);
    // Told where it is stopped.
    this.#sent.catch(() => undefined);
  }

  /** Resolves with the number of calls that Kafka has. */
  stop(): Promise<number> {
    this.#isStopped = true;
    return this.#sent;
  }

  async #send(brokers: string, topic: string, rate: number): Promise<number> {
    const producer = await Producer.connect(kafkaSettings(brokers, 'bench', topic));
    try {
      const began = performance.now();
      let sent = 0;
      while (!this.#isStopped) {
        await sleep(MESSAGE_MS);
        const due = Math.floor(((performance.now() - began) / 1000) * rate);
        if (due === sent) continue;
        const now = Date.now();
        const lines = Array.from({ length: due - sent }, (_, index) => liveLine(SEED, sent + index, now));
        await producer.send(topic, Buffer.from(lines.join('\n')));
        sent = due;
      }
      await producer.flush();
      return sent;
    } finally {
      await producer.close();
    }
  }
}
