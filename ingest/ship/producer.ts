import Kafka, { type LibrdKafkaError, type ProducerGlobalConfig } from 'node-rdkafka';
import { CdrhouseError } from '../../schemas/errors.ts';
import type { Settings } from '../../schemas/settings.ts';

const CONNECT_TIMEOUT_MS = 15_000;
/** Bytes that may wait for Kafka's acknowledgement; beyond, the sender waits. */
const UNACKNOWLEDGED_BYTES_MAX = 33_554_432;
const FLUSH_TIMEOUT_MS = 120_000;

/**
 * Sends messages to Kafka, acknowledged by all replicas and idempotent, so that a retry inside librdkafka
 * repeats nothing. An error of any delivery ends it.
 */
export class Producer {
  messages = 0;
  bytes = 0;
  readonly #producer: Kafka.Producer;
  #unacknowledged = 0;
  #failure: CdrhouseError | undefined;
  #acknowledged: () => void = () => undefined;

  private constructor(producer: Kafka.Producer) {
    this.#producer = producer;
    producer.setPollInterval(20);
    producer.on('delivery-report', (error: LibrdKafkaError | null, report) => {
      this.#unacknowledged -= report.size;
      if (error) this.#failure ??= refused(error);
      this.#acknowledged();
    });
  }

  /** Throws KAFKA_UNREACHABLE. */
  static async connect(settings: Settings): Promise<Producer> {
    const producer = new Kafka.Producer(producerConfiguration(settings), {
      // Long enough for a broker's restart; then the delivery fails and says so.
      'message.timeout.ms': FLUSH_TIMEOUT_MS,
    });
    await new Promise<void>((resolve, reject) => {
      producer.connect({ timeout: CONNECT_TIMEOUT_MS }, (error: LibrdKafkaError | null) => {
        if (!error) return resolve();
        const detail = `no broker of ${settings.kafka.brokers} answers`;
        const failed = (): void => reject(new CdrhouseError('KAFKA_UNREACHABLE', detail, error));
        try {
          producer.disconnect(failed);
        } catch {
          // node-rdkafka flushes first, which throws on a client that never connected.
          failed();
        }
      });
    });
    return new Producer(producer);
  }

  /** Hands one message over; waits while too many bytes are unacknowledged. Throws what an earlier delivery met. */
  async send(topic: string, message: Buffer): Promise<void> {
    while (this.#unacknowledged > UNACKNOWLEDGED_BYTES_MAX) await this.#nextAcknowledgement();
    this.#throwFailure();
    for (;;) {
      try {
        this.#producer.produce(topic, null, message);
        break;
      } catch (error) {
        if ((error as LibrdKafkaError).code !== Kafka.CODES.ERRORS.ERR__QUEUE_FULL)
          throw refused(error as LibrdKafkaError);
        await this.#nextAcknowledgement();
      }
    }
    this.#unacknowledged += message.length;
    this.messages++;
    this.bytes += message.length;
  }

  /** Waits until Kafka has acknowledged everything. Throws where it does not. */
  async flush(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#producer.flush(FLUSH_TIMEOUT_MS, (error: LibrdKafkaError | null) => {
        if (error) reject(refused(error));
        else resolve();
      });
    });
    // The last delivery reports are called back by the next poll.
    while (this.#unacknowledged > 0 && this.#failure === undefined) await this.#nextAcknowledgement();
    this.#throwFailure();
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#producer.disconnect(CONNECT_TIMEOUT_MS, () => resolve());
    });
  }

  #nextAcknowledgement(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, 1000);
      this.#acknowledged = () => {
        clearTimeout(timer);
        resolve();
      };
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
    'compression.codec': 'lz4',
    'linger.ms': 20,
    // Messages are batches already: each goes to a partition of its own choice, so that all partitions fill alike.
    'sticky.partitioning.linger.ms': 0,
    'queue.buffering.max.kbytes': 65_536,
    dr_cb: true,
  } as ProducerGlobalConfig;
}

function refused(error: LibrdKafkaError): CdrhouseError {
  return new CdrhouseError('KAFKA_REFUSED', `Kafka did not take a message: ${error.message}`, error);
}
