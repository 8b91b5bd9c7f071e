import { once } from 'node:events';
import { connect } from 'node:net';
import Kafka, { type LibrdKafkaError } from 'node-rdkafka';
import type { Test } from 'tap';
import { SESSION, until } from '../cdrhouse-program.ts';

const TIMEOUT_MS = 30_000;

/** A message to send; without a value it is a tombstone. */
export interface Sent {
  readonly partition: number;
  readonly value: Buffer | null;
  readonly key?: string;
  /** Kafka timestamp, UTC ms. @default now */
  readonly timestampMs?: number;
  readonly headers?: readonly Readonly<Record<string, string>>[];
}

/** Log of a partition: offsets `[low, high)`. */
export interface Log {
  readonly partition: number;
  readonly low: number;
  readonly high: number;
}

export interface TopicOptions {
  readonly partitions: number;
  readonly config?: Readonly<Record<string, string>>;
}

type Callback<T> = (error: LibrdKafkaError | null | undefined, value: T) => void;

/** A callback's outcome as a promise. */
function called<T>(work: (callback: Callback<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    work((error, value) => (error ? reject(new Error(error.message, { cause: error })) : resolve(value)));
  });
}

/** Makes a topic. */
export async function createTopic(brokers: string, name: string, options: TopicOptions): Promise<void> {
  const admin = Kafka.AdminClient.create({ 'metadata.broker.list': brokers });
  try {
    await called<void>((callback) =>
      admin.createTopic(
        {
          topic: name,
          num_partitions: options.partitions,
          replication_factor: 1,
          config: { ...options.config },
        },
        TIMEOUT_MS,
        callback as (error: LibrdKafkaError) => void,
      ),
    );
  } finally {
    admin.disconnect();
  }
}

/** Gives a topic more partitions. */
export async function addPartitions(brokers: string, name: string, partitions: number): Promise<void> {
  const admin = Kafka.AdminClient.create({ 'metadata.broker.list': brokers });
  try {
    await called<void>((callback) =>
      admin.createPartitions(name, partitions, TIMEOUT_MS, callback as (error: LibrdKafkaError) => void),
    );
  } finally {
    admin.disconnect();
  }
}

/** Deletes a topic and makes it again: the same name, another topic. */
export async function recreateTopic(brokers: string, name: string, options: TopicOptions): Promise<void> {
  await deleteTopic(brokers, name);
  await until(`${name} can be made again`, async () => {
    try {
      await createTopic(brokers, name, options);
      return true;
    } catch (error) {
      const { code } = (error as Error).cause as LibrdKafkaError;
      if (code === Kafka.CODES.ERRORS.ERR_TOPIC_ALREADY_EXISTS) return false;
      throw error;
    }
  });
}

/**
 * Has the broker drop the records of a partition before `offset`, as if their time were over. node-rdkafka cannot
 * say it, so the request is written by hand: DeleteRecords (21), version 1.
 */
export async function deleteRecordsBefore(
  brokers: string,
  topic: string,
  partition: number,
  offset: number,
): Promise<void> {
  const name = Buffer.from(topic);
  const body = Buffer.alloc(10 + 4 + 2 + name.length + 4 + 4 + 8 + 4);
  let at = 0;
  at = body.writeInt16BE(21, at);
  at = body.writeInt16BE(1, at);
  at = body.writeInt32BE(1, at);
  // No client id; one topic, one partition.
  at = body.writeInt16BE(-1, at);
  at = body.writeInt32BE(1, at);
  at = body.writeInt16BE(name.length, at);
  at += name.copy(body, at);
  at = body.writeInt32BE(1, at);
  at = body.writeInt32BE(partition, at);
  at = body.writeBigInt64BE(BigInt(offset), at);
  body.writeInt32BE(TIMEOUT_MS, at);
  const length = Buffer.alloc(4);
  length.writeInt32BE(body.length);
  const [host, port] = brokers.split(':');
  const socket = connect(Number(port), host);
  try {
    socket.write(Buffer.concat([length, body]));
    const [answer] = (await once(socket, 'data')) as [Buffer];
    const code = answer.readInt16BE(answer.length - 2);
    if (code !== 0) throw new Error(`DeleteRecords: Kafka's error ${code}`);
  } finally {
    socket.destroy();
  }
}

/** Deletes a topic. */
export async function deleteTopic(brokers: string, name: string): Promise<void> {
  const admin = Kafka.AdminClient.create({ 'metadata.broker.list': brokers });
  try {
    await called<void>((callback) =>
      admin.deleteTopic(name, TIMEOUT_MS, callback as (error: LibrdKafkaError) => void),
    );
  } finally {
    admin.disconnect();
  }
}

/** Sends messages to partitions of the test's choice. */
export class Sender {
  readonly #producer: Kafka.Producer;
  #open = 0;
  #failure: LibrdKafkaError | undefined;

  private constructor(producer: Kafka.Producer) {
    this.#producer = producer;
    producer.setPollInterval(10);
    producer.on('delivery-report', (error: LibrdKafkaError | null) => {
      this.#open--;
      if (error) this.#failure ??= error;
    });
  }

  /** @param transactionalId makes it a producer of transactions */
  static async connect(t: Test, brokers: string, transactionalId?: string): Promise<Sender> {
    const producer = new Kafka.Producer({
      'metadata.broker.list': brokers,
      'enable.idempotence': true,
      'linger.ms': 5,
      'queue.buffering.max.messages': 1_000_000,
      dr_cb: true,
      ...(transactionalId === undefined ? {} : { 'transactional.id': transactionalId }),
    });
    await called((callback) => producer.connect({ timeout: TIMEOUT_MS }, callback as never));
    t.teardown(() => called((callback) => producer.disconnect(TIMEOUT_MS, callback as never)));
    const sender = new Sender(producer);
    if (transactionalId !== undefined) {
      await called<void>((callback) => producer.initTransactions(TIMEOUT_MS, callback as never));
    }
    return sender;
  }

  /** Sends, and waits for the acknowledgements. */
  async send(topic: string, messages: readonly Sent[], timeoutMs = TIMEOUT_MS): Promise<void> {
    for (const { partition, value, key, timestampMs, headers = [] } of messages) {
      this.#producer.produce(topic, partition, value, key ?? null, timestampMs ?? null, null, [...headers]);
      this.#open++;
    }
    await called((callback) => this.#producer.flush(timeoutMs, callback as never));
    await until('everything is acknowledged', () => this.#open === 0 || this.#failure !== undefined);
    if (this.#failure !== undefined) throw new Error(this.#failure.message, { cause: this.#failure });
  }

  /** Sends within a transaction that is committed or aborted. */
  async transaction(topic: string, messages: readonly Sent[], end: 'commit' | 'abort'): Promise<void> {
    await called<void>((callback) => this.#producer.beginTransaction(callback));
    await this.send(topic, messages);
    await called<void>((callback) => {
      if (end === 'commit') this.#producer.commitTransaction(TIMEOUT_MS, callback as never);
      else this.#producer.abortTransaction(TIMEOUT_MS, callback as never);
    });
  }
}

/** Looks at a group's offsets and a topic's ends from outside, without joining the group. */
export class Observer {
  readonly #consumer: Kafka.KafkaConsumer;

  private constructor(consumer: Kafka.KafkaConsumer) {
    this.#consumer = consumer;
  }

  static async connect(t: Test, brokers: string, group: string): Promise<Observer> {
    const consumer = new Kafka.KafkaConsumer(
      { 'metadata.broker.list': brokers, 'group.id': group, 'enable.auto.commit': false },
      {},
    );
    await called((callback) => consumer.connect({ timeout: TIMEOUT_MS }, callback as never));
    t.teardown(() => called((callback) => consumer.disconnect(callback as never)));
    return new Observer(consumer);
  }

  async logs(topic: string): Promise<Log[]> {
    const metadata = await called<Kafka.Metadata>((callback) =>
      this.#consumer.getMetadata({ topic, timeout: TIMEOUT_MS }, callback as never),
    );
    const partitions = metadata.topics.find(({ name }) => name === topic)?.partitions ?? [];
    return Promise.all(
      partitions
        .map(({ id }) => id)
        .sort((a, b) => a - b)
        .map(async (partition) => {
          const { lowOffset, highOffset } = await called<Kafka.WatermarkOffsets>((callback) =>
            this.#consumer.queryWatermarkOffsets(topic, partition, TIMEOUT_MS, callback as never),
          );
          return { partition, low: lowOffset, high: highOffset };
        }),
    );
  }

  /** The messages that a partition holds; its last one must be a message, no control record. */
  async read(topic: string, { partition, low, high }: Log): Promise<{ offset: number; value: Buffer }[]> {
    const read: { offset: number; value: Buffer }[] = [];
    this.#consumer.setDefaultConsumeTimeout(200);
    this.#consumer.assign([{ topic, partition, offset: low }]);
    await until('the partition is read to its end', async () => {
      const messages = await called<Kafka.Message[]>((callback) => this.#consumer.consume(1000, callback));
      for (const { offset, value } of messages) read.push({ offset, value: value! });
      return (read.at(-1)?.offset ?? -1) >= high - 1;
    });
    this.#consumer.unassign();
    return read;
  }

  /** The group's offsets by partition; a partition without one is left out. */
  async committed(topic: string, partitions: readonly number[]): Promise<Map<number, number>> {
    const offsets = await called<Kafka.TopicPartitionOffset[]>((callback) =>
      this.#consumer.committed(
        partitions.map((partition) => ({ topic, partition })),
        TIMEOUT_MS,
        callback,
      ),
    );
    return new Map(
      offsets
        .filter(({ offset }) => Number.isInteger(offset) && offset >= 0)
        .map(({ partition, offset }) => [partition, offset]),
    );
  }

  /** Moves the group's offsets; throws while the group has members. */
  reset(topic: string, partitions: readonly number[], offset: number): void {
    this.#consumer.commitSync(partitions.map((partition) => ({ topic, partition, offset })));
  }
}

/** Takes the place of a group's static member, as another process with the same name would, and ends. */
export async function takePlace(
  brokers: string,
  group: string,
  instanceId: string,
  topic: string,
): Promise<void> {
  let joined = false;
  const consumer = new Kafka.KafkaConsumer(
    {
      'metadata.broker.list': brokers,
      'group.id': group,
      'group.instance.id': instanceId,
      'enable.auto.commit': false,
      ...SESSION,
      'partition.assignment.strategy': 'range,roundrobin',
      rebalance_cb: () => (joined = true),
    },
    {},
  );
  await called((callback) => consumer.connect({ timeout: TIMEOUT_MS }, callback as never));
  consumer.subscribe([topic]);
  consumer.consume();
  await until('it has joined the group', () => joined);
  consumer.unassign();
  await called((callback) => consumer.disconnect(callback as never));
}
