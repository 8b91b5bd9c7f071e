/**
 * What people write first, as a program of its own: a consumer of node-rdkafka, fast-csv on the main thread, one insert of
 * JSONEachRow a batch through @clickhouse/client, offsets committed after it. An insert that fails ends it, as an error that
 * nobody caught, and whoever runs it starts it again. Reads canonical-csv into `ONE_TABLE`.
 */
import { createClient } from '@clickhouse/client';
import { parseString } from 'fast-csv';
import Kafka, {
  type Assignment,
  type LibrdKafkaError,
  type Message,
  type TopicPartitionOffset,
} from 'node-rdkafka';
import { parseArgs } from 'node:util';

const POLL_MESSAGES = 100;
const POLL_MS = 100;
const BATCH_MS = 1000;

const { values } = parseArgs({
  options: {
    brokers: { type: 'string', default: '127.0.0.1:9092' },
    topic: { type: 'string', default: 'cdr' },
    clickhouse: { type: 'string', default: 'http://127.0.0.1:8123' },
    /** Also the consumer group. */
    database: { type: 'string', default: 'cdrhouse' },
    'batch-records': { type: 'string', default: '50000' },
    /** After which Kafka gives a member up that says nothing: the default of the library. */
    'session-timeout-ms': { type: 'string', default: '45000' },
    /** Has ClickHouse pass over the rows that it refuses. */
    'skip-refused': { type: 'boolean', default: false },
  },
});
const BATCH_RECORDS = Number(values['batch-records']);

interface Call {
  readonly calling_number: string | undefined;
  readonly displayed_caller_id: string | undefined;
  readonly dialed_number: string | undefined;
  readonly start_at: number;
  readonly duration_ms: number;
  readonly talk_ms: number;
  readonly call_id: string | undefined;
  readonly outcome: string | undefined;
  readonly account: string | undefined;
}

function callOf(fields: readonly string[]): Call {
  return {
    calling_number: fields[0],
    displayed_caller_id: fields[1],
    dialed_number: fields[2],
    start_at: Date.parse(fields[3]!),
    duration_ms: Math.round(Number(fields[4]) * 1000),
    talk_ms: Math.round(Number(fields[5]) * 1000),
    call_id: fields[6],
    outcome: fields[7],
    account: fields[8],
  };
}

function parse(text: string): Promise<Call[]> {
  return new Promise((resolve, reject) => {
    const calls: Call[] = [];
    parseString<string[], string[]>(text, { ignoreEmpty: true })
      .on('data', (fields: string[]) => calls.push(callOf(fields)))
      .on('error', reject)
      .on('end', () => resolve(calls));
  });
}

function consume(count: number): Promise<Message[]> {
  return new Promise((resolve, reject) => {
    consumer.consume(count, (error, messages) =>
      error ? reject(new Error(error.message)) : resolve(messages),
    );
  });
}

/** Where the group is to go on after these messages. */
function offsetsAfter(messages: readonly Message[]): TopicPartitionOffset[] {
  const next = new Map<number, number>();
  for (const { partition, offset } of messages) next.set(partition, offset + 1);
  return [...next].map(([partition, offset]) => ({ topic: values.topic, partition, offset }));
}

const clickhouse = createClient({
  url: values.clickhouse,
  database: values.database,
  clickhouse_settings: values['skip-refused'] ? { input_format_allow_errors_ratio: 1 } : {},
});
const consumer = new Kafka.KafkaConsumer(
  {
    'metadata.broker.list': values.brokers,
    'group.id': values.database,
    'enable.auto.commit': false,
    'session.timeout.ms': Number(values['session-timeout-ms']),
    rebalance_cb: (error: LibrdKafkaError, partitions: Assignment[]) => {
      if (error.code === Kafka.CODES.ERRORS.ERR__ASSIGN_PARTITIONS) {
        consumer.assign(partitions);
        process.stdout.write('assigned\n');
      } else consumer.unassign();
    },
  },
  { 'auto.offset.reset': 'earliest' },
);
await new Promise<void>((resolve, reject) => {
  consumer.connect({}, (error) => (error ? reject(new Error(error.message)) : resolve()));
});
consumer.setDefaultConsumeTimeout(POLL_MS);
consumer.subscribe([values.topic]);

for (;;) {
  const messages: Message[] = [];
  const calls: Call[] = [];
  const until = Date.now() + BATCH_MS;
  while (calls.length < BATCH_RECORDS && Date.now() < until) {
    const polled = await consume(Math.min(POLL_MESSAGES, BATCH_RECORDS - calls.length));
    messages.push(...polled);
    calls.push(...(await parse(polled.map(({ value }) => String(value)).join('\n'))));
  }
  if (calls.length > 0) await clickhouse.insert({ table: 'cdr', values: calls, format: 'JSONEachRow' });
  if (messages.length > 0) consumer.commitSync(offsetsAfter(messages));
}
