import Kafka, { type LibrdKafkaError, type ProducerGlobalConfig } from 'node-rdkafka';
import { CdrhouseError } from '../../schemas/errors.ts';
import type { Settings } from '../../schemas/settings.ts';

/** Of all messages that this project sends. */
export const COMPRESSION = 'lz4';

const CONNECT_TIMEOUT_MS = 15_000;
const METADATA_TIMEOUT_MS = 10_000;
const PROBE_TIMEOUT_MS = 2000;
/** Bytes that may wait for Kafka's acknowledgement; beyond, the sender waits. */
const UNACKNOWLEDGED_BYTES_MAX = 33_554_432;
/** Long enough for a broker's restart; then the delivery fails and says so. */
const DELIVERY_TIMEOUT_MS = 120_000;
/** The largest message that a topic takes by Kafka's default (max.message.bytes), less its headers. */
const KAFKA_MESSAGE_BYTES_MAX = 1_000_000;
const POLL_MS = 20;
const HEADERS_BYTES = 1000;

/** librdkafka's codes for a broker that is not there, as opposed to one that refuses. */
const ERRORS = Kafka.CODES.ERRORS;
const UNREACHABLE: ReadonlySet<number> = new Set([
  ERRORS.ERR__MSG_TIMED_OUT,
  ERRORS.ERR__TIMED_OUT,
  ERRORS.ERR__TRANSPORT,
  ERRORS.ERR__ALL_BROKERS_DOWN,
  ERRORS.ERR__RESOLVE,
]);
/** node-rdkafka's delivery reports carry librdkafka's text only, in lower case; these are the codes that matter. */
const CODES_BY_TEXT: Readonly<Record<string, number>> = {
  'message timed out': ERRORS.ERR__MSG_TIMED_OUT,
  'message size too large': ERRORS.ERR_MSG_SIZE_TOO_LARGE,
};

export interface ProducerOptions {
  /** How long a message may wait for its acknowledgement; 0: for ever. @default 120 s */
  readonly deliveryTimeoutMs?: number;
  /** Bytes that may wait for acknowledgement; beyond, `send` waits. @default 32 MiB */
  readonly unacknowledgedBytesMax?: number;
  /** Aborted when waiting for Kafka has to end, as after SIGTERM; what is unacknowledged then is given up. */
  readonly giveUp?: AbortSignal | undefined;
  /** Told what librdkafka meets while it keeps trying by itself (broker down and the like). */
  readonly disturbed?: (reason: string) => void;
}

/** What becomes of one message. */
interface Delivery {
  acknowledged?(): void;
  /** True where the failure is dealt with, and does not end the sending. */
  failed?(error: CdrhouseError): boolean;
}

/** The longest line that a message may hold: the settings' bound, or what Kafka takes by default where that is more. */
export function lineBytesMax({ ship }: Settings): number {
  return Math.max(ship.message_bytes_max, KAFKA_MESSAGE_BYTES_MAX);
}

/**
 * Sends messages to Kafka, acknowledged by all replicas and idempotent, so that a retry inside librdkafka
 * repeats nothing. An error of any delivery ends it.
 */
export class Producer {
  messages = 0;
  bytes = 0;
  /** Bytes handed over and not acknowledged yet. */
  unacknowledgedBytes = 0;
  readonly #producer: Kafka.Producer;
  readonly #deliveryTimeoutMs: number;
  readonly #unacknowledgedBytesMax: number;
  readonly #giveUp: AbortSignal | undefined;
  #failure: CdrhouseError | undefined;
  readonly #waiting = new Set<() => void>();

  private constructor(producer: Kafka.Producer, options: ProducerOptions) {
    this.#producer = producer;
    this.#deliveryTimeoutMs = options.deliveryTimeoutMs ?? DELIVERY_TIMEOUT_MS;
    this.#unacknowledgedBytesMax = options.unacknowledgedBytesMax ?? UNACKNOWLEDGED_BYTES_MAX;
    this.#giveUp = options.giveUp;
    producer.setPollInterval(POLL_MS);
    producer.on('delivery-report', (error: LibrdKafkaError | null, report) => {
      this.unacknowledgedBytes -= report.size;
      const delivery = report.opaque as Delivery | undefined;
      if (error) {
        const failure = refused(error);
        if (delivery?.failed?.(failure) !== true) this.#failure ??= failure;
      } else delivery?.acknowledged?.();
      for (const wake of this.#waiting) wake();
    });
  }

  /** Throws KAFKA_UNREACHABLE. */
  static async connect(settings: Settings, options: ProducerOptions = {}): Promise<Producer> {
    const producer = new Kafka.Producer(producerConfiguration(settings), {
      'message.timeout.ms': options.deliveryTimeoutMs ?? DELIVERY_TIMEOUT_MS,
    });
    // Why a broker is not reached (a wrong password, a certificate) stands in librdkafka's log only; its errors just say
    // that all brokers are down.
    let reason = '';
    producer.on('event.log', ({ fac, message }: { fac: string; message: string }) => {
      if (fac !== 'FAIL') return;
      reason = withoutThreadAndTime(message);
      options.disturbed?.(reason);
    });
    const listening = setInterval(() => {
      try {
        producer.poll();
      } catch {
        // Not yet: its threads do not run.
      }
    }, POLL_MS);
    await new Promise<void>((resolve, reject) => {
      producer.connect({ timeout: CONNECT_TIMEOUT_MS }, (error: LibrdKafkaError | null) => {
        if (!error) return resolve();
        const detail = `no broker of ${settings.kafka.brokers} answers${reason === '' ? '' : ` (${reason})`}`;
        const failed = (): void => reject(new CdrhouseError('KAFKA_UNREACHABLE', detail, error));
        try {
          producer.disconnect(failed);
        } catch {
          // node-rdkafka flushes first, which throws on a client that never connected.
          failed();
        }
      });
    }).finally(() => clearInterval(listening));
    return new Producer(producer, options);
  }

  /** Throws TOPIC_MISSING where the topic does not exist, or this user may not see it; KAFKA_UNREACHABLE. */
  async requireTopic(topic: string): Promise<void> {
    if ((await this.#partitions(topic, METADATA_TIMEOUT_MS)) === 0) {
      throw new CdrhouseError('TOPIC_MISSING', `there is no topic ${topic}, or its user may not see it`);
    }
  }

  /** Whether Kafka answers and has the topic. Never throws. */
  answers(topic: string): Promise<boolean> {
    return this.#partitions(topic, PROBE_TIMEOUT_MS).then(
      (partitions) => partitions > 0,
      () => false,
    );
  }

  /**
   * Hands one message over; waits while too many bytes are unacknowledged. Throws what an earlier delivery met.
   * @param tooLarge called instead of failing where the topic takes no message of this size
   */
  async send(topic: string, message: Buffer, tooLarge?: () => void): Promise<void> {
    while (this.unacknowledgedBytes > this.#unacknowledgedBytesMax) await this.#nextAcknowledgement();
    this.#throwFailure();
    const failed = (error: CdrhouseError): boolean => {
      if (tooLarge === undefined || error.code !== 'RECORD_TOO_LONG') return false;
      tooLarge();
      return true;
    };
    await this.#produce(topic, message, tooLarge === undefined ? undefined : { failed });
  }

  /** Sends one message and waits until Kafka has acknowledged it; throws where it does not, and goes on after that. */
  async deliver(topic: string, message: Buffer): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const delivery: Delivery = {
        acknowledged: resolve,
        failed: (error) => {
          reject(error);
          return true;
        },
      };
      this.#produce(topic, message, delivery).catch(reject);
    });
  }

  /** Waits until Kafka has acknowledged everything. Throws where it does not. */
  async flush(): Promise<void> {
    while (this.unacknowledgedBytes > 0 && this.#failure === undefined) await this.#nextAcknowledgement();
    this.#throwFailure();
  }

  /** Ends at once where nothing is unacknowledged; else after a short while, and gives up what is. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      const pending = this.unacknowledgedBytes > 0 && this.#deliveryTimeoutMs > 0;
      this.#producer.disconnect(pending ? CONNECT_TIMEOUT_MS : 1000, () => resolve());
    });
  }

  /** How many partitions the topic has; 0: there is none. */
  #partitions(topic: string, timeoutMs: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const asked = { topic, timeout: timeoutMs };
      this.#producer.getMetadata(asked, (error: LibrdKafkaError | null, metadata) => {
        if (error) reject(refused(error));
        else resolve(metadata.topics.find(({ name }) => name === topic)?.partitions.length ?? 0);
      });
    });
  }

  async #produce(topic: string, message: Buffer, delivery: Delivery | undefined): Promise<void> {
    for (;;) {
      try {
        this.#producer.produce(topic, null, message, null, null, delivery);
        break;
      } catch (error) {
        if ((error as LibrdKafkaError).code !== ERRORS.ERR__QUEUE_FULL)
          throw refused(error as LibrdKafkaError);
        await this.#nextAcknowledgement();
      }
    }
    this.unacknowledgedBytes += message.length;
    this.messages++;
    this.bytes += message.length;
  }

  /** Waits for an acknowledgement, at most a second. */
  async #nextAcknowledgement(): Promise<void> {
    if (this.#giveUp?.aborted === true)
      throw new CdrhouseError('KAFKA_UNREACHABLE', 'Kafka did not acknowledge the last messages in time');
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(wake);
        this.#giveUp?.removeEventListener('abort', wake);
        resolve();
      };
      const timer = setTimeout(wake, 1000);
      this.#waiting.add(wake);
      this.#giveUp?.addEventListener('abort', wake);
    });
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }
}

function producerConfiguration(settings: Settings): ProducerGlobalConfig {
  return {
    ...settings.kafka.client,
    'metadata.broker.list': settings.kafka.brokers,
    'allow.auto.create.topics': false,
    'enable.idempotence': true,
    acks: 'all',
    'message.max.bytes': lineBytesMax(settings) + HEADERS_BYTES,
    'compression.codec': COMPRESSION,
    'linger.ms': 20,
    // Messages are batches already: each goes to a partition of its own choice, so that all partitions fill alike.
    'sticky.partitioning.linger.ms': 0,
    'queue.buffering.max.kbytes': 65_536,
    dr_cb: true,
    event_cb: true,
  } as ProducerGlobalConfig;
}

/** "[thrd:ssl://host:port/1]: ssl://host:port/1: Connect … failed (after 3ms in state CONNECT)": what stays the same. */
function withoutThreadAndTime(message: string): string {
  return message.replace(/^\[thrd:[^\]]*\]: /, '').replace(/ \(after \d+ms in state \w+.*\)$/, '');
}

function refused(error: LibrdKafkaError): CdrhouseError {
  const code = error.code === -1 ? (CODES_BY_TEXT[error.message] ?? -1) : error.code;
  if (code === ERRORS.ERR_MSG_SIZE_TOO_LARGE)
    return new CdrhouseError('RECORD_TOO_LONG', 'the topic takes no message of this size', error);
  return UNREACHABLE.has(code)
    ? new CdrhouseError('KAFKA_UNREACHABLE', `Kafka did not acknowledge a message: ${error.message}`, error)
    : new CdrhouseError('KAFKA_REFUSED', `Kafka did not take a message: ${error.message}`, error);
}
