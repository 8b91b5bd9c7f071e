import { setTimeout as sleep } from 'node:timers/promises';
import { CdrhouseError } from '../../schemas/errors.ts';
import { Producer } from './producer.ts';
import type { ShipmentOptions } from './shipment.ts';

const RECONNECT_MS = 1000;
const SAID_AGAIN_MS = 60_000;

/** Aborts so long after `stop`: then what Kafka has not acknowledged is given up, and sent again the next time. */
export function giveUpAfter(stop: AbortSignal, milliseconds: number): AbortSignal {
  const controller = new AbortController();
  const begin = (): void => void setTimeout(() => controller.abort(), milliseconds).unref();
  if (stop.aborted) begin();
  else stop.addEventListener('abort', begin, { once: true });
  return controller.signal;
}

/** Connects to Kafka, waiting until it is there and has the topic; undefined where `stop` came first. */
export async function connectWaiting(
  { settings, feed, stop }: Pick<ShipmentOptions, 'settings' | 'feed' | 'stop'>,
  say: (text: string) => void,
  giveUp: AbortSignal,
  more: { deliveryTimeoutMs: number; unacknowledgedBytesMax?: number } = { deliveryTimeoutMs: 0 },
): Promise<Producer | undefined> {
  const disturbed = sayOnce(say);
  for (;;) {
    if (stop.aborted) return undefined;
    let producer: Producer | undefined;
    try {
      producer = await Producer.connect(settings, {
        ...more,
        giveUp,
        disturbed: (reason) => disturbed(`waiting for Kafka: ${reason}`),
      });
      await producer.requireTopic(feed.topic);
      return producer;
    } catch (error) {
      await producer?.close();
      if (!(error instanceof CdrhouseError && error.retryable)) throw error;
      disturbed(`waiting for Kafka: ${error.code}: ${error.message}; ${error.action}`);
      await sleep(RECONNECT_MS, undefined, { signal: stop }).catch(() => undefined);
    }
  }
}

/** Says the same thing once a minute at most. */
function sayOnce(say: (text: string) => void): (text: string) => void {
  const saidAtMs = new Map<string, number>();
  return (text) => {
    const now = performance.now();
    if (now - (saidAtMs.get(text) ?? -Infinity) < SAID_AGAIN_MS) return;
    // Texts with changing parts must not pile up.
    if (saidAtMs.size > 100) saidAtMs.clear();
    saidAtMs.set(text, now);
    say(text);
  };
}
