import type { Admin, AdminOptions } from '@platformatic/kafka';
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import type { ConnectionOptions as TlsOptions } from 'node:tls';
import { CdrhouseError } from '../schemas/errors.ts';
import type { Settings } from '../schemas/settings.ts';
import type { GroupDescription } from './stale-assignment.ts';

type KafkaSettings = Settings['kafka'];
type Properties = KafkaSettings['client'];
type SaslOptions = NonNullable<AdminOptions['sasl']>;

const SASL_MECHANISMS: readonly string[] = ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'];
const RETRIES = 3;
const RETRY_MS = 250;

/** As the protocol numbers them. */
const TOPIC_RESOURCE = 2;

/** What Kafka keeps of a topic by itself. */
export interface TopicCopy {
  readonly topic: string;
  /** -1: for ever. */
  readonly retentionMs: number;
  /** For how long a segment takes new records; -1: for ever. */
  readonly segmentMs: number;
  /** Timestamp of the oldest record, UTC ms; undefined: it has none. */
  readonly oldestMs: number | undefined;
}

/** How long Kafka keeps the feeds' topics. Throws KAFKA_UNREACHABLE, SETTINGS_INVALID. */
export async function feedCopies({ kafka, feeds }: Settings, requestMs: number): Promise<TopicCopy[]> {
  const metadata = new KafkaMetadata(kafka, requestMs);
  try {
    return await metadata.topicCopies([...new Set(feeds.map(({ topic }) => topic))]);
  } finally {
    await metadata.close();
  }
}

/**
 * The ids of cluster and topics and the size of a group, asked by a client of its own in JavaScript: for the plain
 * reader, since neither node-rdkafka's API nor its statistics tell them. It connects with the first question.
 */
export class KafkaMetadata {
  readonly #options: AdminOptions;
  #admin: Promise<Admin> | undefined;
  #closed = false;

  /**
   * Throws SETTINGS_INVALID for a property of kafka.client that this client cannot be given.
   * @param requestMs how long a question may take
   */
  constructor(kafka: KafkaSettings, requestMs: number) {
    this.#options = {
      ...clientOptions(kafka),
      timeout: requestMs,
      connectTimeout: requestMs,
      requestTimeout: requestMs,
      // A coordinator that is not there yet, as on a new cluster, is asked again.
      retries: RETRIES,
      retryDelay: RETRY_MS,
      autocreateTopics: false,
    };
  }

  clusterId(): Promise<string> {
    return this.#asked('the id of the cluster', async (admin) => {
      // The client keeps the first id that it sees.
      admin.clearMetadata();
      const { id } = await admin.metadata({ topics: [], forceUpdate: true });
      return id;
    });
  }

  /** Ids of topics by name, base64 without padding as librdkafka writes them; without those that do not exist. */
  topicIds(topics: readonly string[]): Promise<Map<string, string>> {
    return this.#asked('the ids of topics', async (admin) => {
      try {
        return await idsOf(admin, topics);
      } catch (error) {
        // One topic that does not exist fails the whole question.
        const existing = new Set(await admin.listTopics());
        if (topics.every((topic) => existing.has(topic))) throw error;
        return idsOf(
          admin,
          topics.filter((topic) => existing.has(topic)),
        );
      }
    });
  }

  /** The members of a group and what they are assigned; no members where it does not exist. */
  describeGroup(group: string): Promise<GroupDescription> {
    return this.#asked('the members of the group', async (admin) => {
      const described = (await admin.describeGroups({ groups: [group] })).get(group);
      const members = [...(described?.members.values() ?? [])];
      if (described?.state !== 'STABLE') return { members: members.length };
      const assigned = members.flatMap(({ assignments }) =>
        [...(assignments?.values() ?? [])].flatMap(({ topic, partitions }) =>
          partitions.map((partition) => ({ topic, partition })),
        ),
      );
      return { members: members.length, assigned };
    });
  }

  /** What Kafka keeps of topics by itself, without those that do not exist. */
  topicCopies(topics: readonly string[]): Promise<TopicCopy[]> {
    return this.#asked('how long topics are kept', async (admin) => {
      const all = new Set(await admin.listTopics());
      const existing = topics.filter((topic) => all.has(topic));
      if (existing.length === 0) return [];
      const configs = await admin.describeConfigs({
        resources: existing.map((resourceName) => ({
          resourceType: TOPIC_RESOURCE,
          resourceName,
          configurationKeys: ['cleanup.policy', 'retention.ms', 'segment.ms'],
        })),
      });
      const metadata = await admin.metadata({ topics: existing, forceUpdate: true });
      const oldest = await admin.listOffsets({
        topics: existing.map((name) => ({
          name,
          partitions: Array.from(
            { length: metadata.topics.get(name)!.partitionsCount },
            (_, partitionIndex) => ({
              partitionIndex,
              // The first record of this time or a later one.
              timestamp: 0n,
            }),
          ),
        })),
      });
      return existing.map((topic) => {
        const config = configs.find(({ resourceName }) => resourceName === topic)?.configs;
        const valueOf = (key: string) => config?.find(({ name }) => name === key)?.value ?? undefined;
        const msOf = (key: string): number => Number(valueOf(key) ?? -1);
        // Who only compacts heeds no time.
        const isDeleted = valueOf('cleanup.policy')?.split(',').includes('delete') ?? false;
        const times = oldest
          .find(({ name }) => name === topic)!
          .partitions.map(({ timestamp }) => Number(timestamp))
          .filter((ms) => ms >= 0);
        return {
          topic,
          retentionMs: isDeleted ? msOf('retention.ms') : -1,
          segmentMs: msOf('segment.ms'),
          oldestMs: times.length === 0 ? undefined : Math.min(...times),
        };
      });
    });
  }

  /** Whoever asks afterwards, as one who was in the middle of two questions, gets KAFKA_UNREACHABLE. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#admin?.then((client) => client.close());
  }

  async #asked<T>(what: string, ask: (admin: Admin) => Promise<T>): Promise<T> {
    // A client that is made now would never be closed, and would keep the process alive.
    if (this.#closed) throw new CdrhouseError('KAFKA_UNREACHABLE', `${what} cannot be fetched: closed`);
    this.#admin ??= connect(this.#options);
    try {
      return await ask(await this.#admin);
    } catch (cause) {
      throw new CdrhouseError('KAFKA_UNREACHABLE', `${what} cannot be fetched`, cause);
    }
  }
}

async function connect(options: AdminOptions): Promise<Admin> {
  // Loaded here only: it costs 50 MB, which the addon saves.
  const { Admin: Client } = await import('@platformatic/kafka');
  return new Client(options);
}

async function idsOf(admin: Admin, topics: readonly string[]): Promise<Map<string, string>> {
  if (topics.length === 0) return new Map();
  const metadata = await admin.metadata({ topics: [...topics], forceUpdate: true });
  return new Map([...metadata.topics].map(([topic, { id }]) => [topic, base64Id(id)]));
}

/** A UUID in its usual notation as librdkafka, and so the ledger, writes it. */
export function base64Id(uuid: string): string {
  return Buffer.from(uuid.replaceAll('-', ''), 'hex').toString('base64').replace(/=+$/, '');
}

/** Addresses, TLS and SASL for the client in JavaScript. Throws SETTINGS_INVALID, with one line per property. */
export function clientOptions({ brokers, client }: KafkaSettings): AdminOptions {
  const bootstrapBrokers = brokers
    .split(',')
    .map((address) => address.trim().replace(/^[A-Za-z_]+:\/\//, ''))
    .filter((address) => address !== '');
  const protocol = text(client, 'security.protocol')?.toUpperCase() ?? 'PLAINTEXT';
  const named = /^(SASL_)?(SSL|PLAINTEXT)$/.exec(protocol);
  if (named === null) throw invalid([`security.protocol: ${protocol} is unknown`]);
  const wrong = unusable(client);
  if (wrong.length > 0) throw invalid(wrong);
  const options: AdminOptions = { clientId: text(client, 'client.id') ?? 'cdrhouse', bootstrapBrokers };
  if (named[2] === 'SSL') {
    options.tls = tlsOptions(client);
    // As librdkafka does: a name in the handshake, unless the address is a number.
    options.tlsServerName = bootstrapBrokers.every((address) => isIP(address.replace(/:\d+$/, '')) === 0);
  }
  if (named[1] !== undefined) options.sasl = saslOptions(client);
  return options;
}

const TLS_PROPERTIES: readonly string[] = [
  'ssl.ca.location',
  'ssl.ca.pem',
  'ssl.certificate.location',
  'ssl.certificate.pem',
  'ssl.key.location',
  'ssl.key.pem',
  'ssl.key.password',
  'ssl.keystore.location',
  'ssl.keystore.password',
  'ssl.cipher.suites',
  'ssl.curves.list',
  'ssl.sigalgs.list',
  'ssl.crl.location',
  'ssl.endpoint.identification.algorithm',
  'enable.ssl.certificate.verification',
];
const SASL_PROPERTIES: readonly string[] = [
  'sasl.mechanism',
  'sasl.mechanisms',
  'sasl.username',
  'sasl.password',
];

/** What decides how to connect and cannot be said to the client in JavaScript. */
function unusable(client: Properties): string[] {
  const usable = new Set([...TLS_PROPERTIES, ...SASL_PROPERTIES]);
  return Object.keys(client)
    .filter((name) => /^(enable\.)?(ssl|sasl)\./.test(name) && !usable.has(name))
    .map((name) => `${name}: cannot be used without the native addon`);
}

function tlsOptions(client: Properties): TlsOptions {
  const part = (name: string): string | Buffer | undefined =>
    text(client, `ssl.${name}.pem`) ?? file(client, `ssl.${name}.location`);
  const options: TlsOptions = {
    ca: part('ca'),
    cert: part('certificate'),
    key: part('key'),
    passphrase: text(client, 'ssl.key.password') ?? text(client, 'ssl.keystore.password'),
    pfx: file(client, 'ssl.keystore.location'),
    ciphers: text(client, 'ssl.cipher.suites'),
    ecdhCurve: text(client, 'ssl.curves.list'),
    sigalgs: text(client, 'ssl.sigalgs.list'),
    crl: file(client, 'ssl.crl.location'),
    rejectUnauthorized: String(client['enable.ssl.certificate.verification'] ?? true) === 'true',
  };
  if (text(client, 'ssl.endpoint.identification.algorithm') === 'none')
    options.checkServerIdentity = () => undefined;
  // Node reads an undefined option as another value in places.
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

function saslOptions(client: Properties): SaslOptions {
  const mechanism = text(client, 'sasl.mechanisms') ?? text(client, 'sasl.mechanism') ?? 'GSSAPI';
  if (!SASL_MECHANISMS.includes(mechanism)) {
    throw invalid([
      `sasl.mechanisms: ${mechanism} cannot be used without the native addon; allowed: ${SASL_MECHANISMS.join(', ')}`,
    ]);
  }
  return {
    mechanism: mechanism as SaslOptions['mechanism'],
    username: text(client, 'sasl.username') ?? '',
    password: text(client, 'sasl.password') ?? '',
  };
}

function text(client: Properties, name: string): string | undefined {
  const value = client[name];
  return value === undefined ? undefined : String(value);
}

function file(client: Properties, name: string): Buffer | undefined {
  const path = text(client, name);
  // librdkafka's word for the places that are usual on this system.
  if (path === undefined || path === 'probe') return undefined;
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new CdrhouseError('SETTINGS_INVALID', `kafka.client.${name}: no file that can be read`, cause);
  }
}

function invalid(lines: readonly string[]): CdrhouseError {
  return new CdrhouseError('SETTINGS_INVALID', lines.map((line) => `kafka.client.${line}`).join('\n'));
}
