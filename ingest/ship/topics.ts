import Kafka, { type LibrdKafkaError } from 'node-rdkafka';
import { CdrhouseError } from '../../schemas/errors.ts';
import type { Settings } from '../../schemas/settings.ts';

const TIMEOUT_MS = 30_000;
const DAY_MS = 86_400_000;

/**
 * Creates the topics of the feeds that do not exist yet, with partitions, replication and retention from
 * the settings. Existing topics are left as they are. Gives the names of those created; throws
 * KAFKA_UNREACHABLE or KAFKA_REFUSED.
 */
export async function createMissingTopics(settings: Settings): Promise<string[]> {
  const { kafka, feeds } = settings;
  const admin = Kafka.AdminClient.create({ ...kafka.client, 'metadata.broker.list': kafka.brokers });
  const created: string[] = [];
  try {
    for (const { topic } of feeds) {
      if (await createTopic(admin, topic, settings)) created.push(topic);
    }
  } finally {
    admin.disconnect();
  }
  return created;
}

/** True where the topic was created, false where it existed. */
function createTopic(admin: Kafka.IAdminClient, topic: string, { kafka }: Settings): Promise<boolean> {
  const description = {
    topic,
    num_partitions: kafka.topic_partitions,
    replication_factor: kafka.topic_replication,
    config: { 'retention.ms': String(kafka.topic_retention_days * DAY_MS) },
  };
  return new Promise((resolve, reject) => {
    admin.createTopic(description, TIMEOUT_MS, (error: LibrdKafkaError | undefined) => {
      if (!error) resolve(true);
      else if (error.code === Kafka.CODES.ERRORS.ERR_TOPIC_ALREADY_EXISTS) resolve(false);
      else reject(topicError(topic, kafka.brokers, error));
    });
  });
}

function topicError(topic: string, brokers: string, error: LibrdKafkaError): CdrhouseError {
  // Codes below zero are librdkafka's own: no broker, timeout. The others are the broker's answer.
  return error.code < 0
    ? new CdrhouseError('KAFKA_UNREACHABLE', `no broker of ${brokers} answers`, error)
    : new CdrhouseError('KAFKA_REFUSED', `topic ${topic}: ${error.message}`, error);
}
