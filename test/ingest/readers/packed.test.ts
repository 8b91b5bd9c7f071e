import type { KafkaConsumer } from 'node-rdkafka';
import tap from 'tap';
import { PackedReader } from '../../../ingest/readers/packed.ts';

await tap.test('what Kafka does not answer is its fault, and never taken for the database', async (t) => {
  const consumer = {
    getClient: () => {
      throw new Error('not connected');
    },
  } as unknown as KafkaConsumer;
  const reader = new PackedReader(consumer, 1000);
  const expected = { code: 'KAFKA_UNREACHABLE', retryable: true };
  await t.rejects(reader.clusterId(), expected);
  await t.rejects(reader.topicIds(['cdr']), expected);
  await t.rejects(reader.describeGroup('none'), expected);
});
