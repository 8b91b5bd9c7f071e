import { Ajv, type ErrorObject } from 'ajv';
import { getCountries } from 'libphonenumber-js/max';
import { IANAZone } from 'luxon';
import { Type, type Static } from 'typebox';
import { CdrhouseError } from './errors.ts';
import { findFormat, FORMATS } from './formats/index.ts';

/**
 * The settings: one schema, checked once at start. Sections and names are those of `cdrhouse.yaml`;
 * `CDRHOUSE_<SECTION>_<NAME>` overrides `section.name`. Units stand last in the names. This file reads
 * nothing: `settings-loader.ts` does.
 */
const Section = { additionalProperties: false, default: {} } as const;

const Name = (description: string) =>
  Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$', description });

export const FeedSchema = Type.Object(
  {
    name: Name('identifies the switch in every stored row; letters, digits, dot, dash, underscore'),
    topic: Type.Optional(Name('the Kafka topic; default: cdr.<name>')),
    format: Type.String({
      enum: FORMATS.map((format) => format.name),
      default: 'canonical-csv',
      description: 'how the lines are read (cdrhouse formats)',
    }),
    time_zone: Type.String({ default: 'UTC', description: 'IANA zone for times that carry none' }),
    country: Type.Optional(
      Type.String({
        pattern: '^[A-Z]{2}$',
        description: 'dial plan: how national and 00 numbers become E.164; none: numbers stay as sent',
      }),
    ),
    identity: Type.String({
      enum: ['auto', 'record', 'fields', 'position'],
      default: 'auto',
      description:
        "what makes two records the same: the switch's id, the bytes as sent, or the place in Kafka",
    }),
    earliest_start: Type.String({
      pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}$',
      default: '1995-01-01',
      description: 'a start before this UTC day is implausible and rejected',
    }),
  },
  { additionalProperties: false },
);

export const SettingsSchema = Type.Object(
  {
    feeds: Type.Array(FeedSchema, {
      minItems: 1,
      maxItems: 1000,
      default: [{ name: 'default', topic: 'cdr' }],
      description: 'the switches, one topic each',
    }),
    kafka: Type.Object(
      {
        brokers: Type.String({
          default: '127.0.0.1:9092',
          minLength: 1,
          description: 'host:port, comma separated',
        }),
        group: Type.String({ default: 'cdrhouse', minLength: 1, description: 'consumer group of ingest' }),
        client: Type.Record(Type.String(), Type.Union([Type.String(), Type.Number(), Type.Boolean()]), {
          default: {},
          description: 'librdkafka properties, for TLS and SASL',
        }),
        topic_partitions: Type.Integer({
          default: 4,
          minimum: 1,
          maximum: 1000,
          description: 'of topics that migrate creates',
        }),
        topic_replication: Type.Integer({
          default: 1,
          minimum: 1,
          maximum: 10,
          description: 'of topics that migrate creates',
        }),
        topic_retention_days: Type.Integer({
          default: 14,
          minimum: 1,
          maximum: 36_500,
          description: 'of topics that migrate creates; Kafka keeps a copy of personal data this long',
        }),
      },
      Section,
    ),
    clickhouse: Type.Object(
      {
        url: Type.String({
          default: 'http://127.0.0.1:8123',
          pattern: '^https?://',
          description: 'HTTP interface',
        }),
        database: Type.String({
          default: 'cdrhouse',
          pattern: '^[A-Za-z_][A-Za-z0-9_]{0,63}$',
          description: 'database of all tables',
        }),
        user: Type.String({
          default: 'default',
          description: 'user of every service that has none of its own',
        }),
        password: Type.String({ default: '', description: 'its password' }),
        request_timeout_s: Type.Integer({
          default: 60,
          minimum: 1,
          maximum: 3600,
          description: 'longest wait for one answer',
        }),
      },
      Section,
    ),
    ingest: Type.Object(
      {
        clickhouse_user: Type.Optional(
          Type.String({ description: 'database user of ingest; default clickhouse.user' }),
        ),
        clickhouse_password: Type.Optional(Type.String({ description: 'its password' })),
        processes: Type.Integer({
          default: 1,
          minimum: 1,
          maximum: 64,
          description: 'consumer processes of the group under one parent',
        }),
        workers: Type.Integer({
          default: 0,
          minimum: 0,
          maximum: 256,
          description:
            'parse worker threads of a process; 0: one per core, less one; several processes share the cores',
        }),
        batch_bytes_max: Type.Integer({
          default: 16_777_216,
          minimum: 65_536,
          maximum: 268_435_456,
          description: 'bytes of messages in one batch',
        }),
        batch_messages_max: Type.Integer({
          default: 200_000,
          minimum: 1,
          maximum: 5_000_000,
          description: 'messages in one batch',
        }),
        flush_interval_ms: Type.Integer({
          default: 1000,
          minimum: 10,
          maximum: 60_000,
          description: 'a batch waits no longer than this',
        }),
        batches_in_flight_max: Type.Integer({
          default: 3,
          minimum: 1,
          maximum: 64,
          description: 'batches being parsed or stored; beyond, reading stops',
        }),
        future_hours_max: Type.Integer({
          default: 24,
          minimum: 0,
          maximum: 8784,
          description: 'how far a start may lie ahead of its Kafka timestamp',
        }),
        retry_seconds_max: Type.Integer({
          default: 30,
          minimum: 1,
          maximum: 3600,
          description: 'longest pause between two tries',
        }),
        drain_seconds_max: Type.Integer({
          default: 30,
          minimum: 1,
          maximum: 3600,
          description: 'grace at SIGTERM to store what was read',
        }),
        metrics_host: Type.String({
          default: '127.0.0.1',
          description: 'address of /metrics and /readyz of ingest',
        }),
        metrics_port: Type.Integer({
          default: 9464,
          minimum: 0,
          maximum: 65_535,
          description: 'its port; 0: none',
        }),
        log_level: Type.String({
          default: 'info',
          enum: ['trace', 'debug', 'info', 'warn', 'error', 'silent'],
          description: 'of ingest',
        }),
      },
      Section,
    ),
    ship: Type.Object(
      {
        message_bytes_max: Type.Integer({
          default: 65_536,
          minimum: 1024,
          maximum: 104_857_600,
          description: 'lines are packed into messages up to this size',
        }),
        place_file: Type.String({
          default: '.cdrhouse/shipped.json',
          minLength: 1,
          description: 'remembers which files were sent',
        }),
      },
      Section,
    ),
    query: Type.Object(
      {
        clickhouse_user: Type.Optional(
          Type.String({ description: 'database user of the API; default clickhouse.user' }),
        ),
        clickhouse_password: Type.Optional(Type.String({ description: 'its password' })),
        host: Type.String({ default: '127.0.0.1', description: 'address of the API' }),
        port: Type.Integer({
          default: 8080,
          minimum: 0,
          maximum: 65_535,
          description: 'its port; 0: any free one',
        }),
        default_country: Type.Optional(
          Type.String({ pattern: '^[A-Z]{2}$', description: 'how a national number in a search is read' }),
        ),
        time_zone: Type.String({ default: 'UTC', description: 'zone of answers that name none' }),
        limit_max: Type.Integer({
          default: 1000,
          minimum: 1,
          maximum: 100_000,
          description: 'largest limit of a page',
        }),
        range_days_max: Type.Optional(
          Type.Integer({
            minimum: 1,
            maximum: 40_000,
            description: 'longest time range of a search; default: the retention term',
          }),
        ),
        metrics_host: Type.String({
          default: '127.0.0.1',
          description:
            'address of /metrics, /healthz and /readyz of the API, where they have a port of their own',
        }),
        metrics_port: Type.Integer({
          default: 0,
          minimum: 0,
          maximum: 65_535,
          description: "their port; 0: the API's own",
        }),
        seconds_max: Type.Integer({
          default: 30,
          minimum: 1,
          maximum: 3600,
          description: 'longest run of one database query',
        }),
        log_level: Type.String({
          default: 'info',
          enum: ['trace', 'debug', 'info', 'warn', 'error', 'silent'],
          description: 'of the API',
        }),
      },
      Section,
    ),
    retention: Type.Object(
      {
        clickhouse_user: Type.Optional(
          Type.String({ description: 'database user of retention and migrate; default clickhouse.user' }),
        ),
        clickhouse_password: Type.Optional(Type.String({ description: 'its password' })),
        months: Type.Integer({
          default: 36,
          minimum: 1,
          maximum: 1200,
          description: 'how long calls are kept; also stored in the database',
        }),
      },
      Section,
    ),
  },
  { additionalProperties: false },
);

type Checked = Static<typeof SettingsSchema>;
export type FeedSettings = Checked['feeds'][number] & { readonly topic: string };
export type Settings = Omit<Checked, 'feeds'> & { readonly feeds: readonly FeedSettings[] };

/** librdkafka properties that would break the guarantees if they were changed, and why they may not be. */
const REFUSED_CLIENT_PROPERTIES: readonly { readonly pattern: RegExp; readonly reason: string }[] = [
  { pattern: /^group\.id$/, reason: 'set kafka.group instead' },
  { pattern: /^group\.instance\.id$/, reason: 'ingest gives every process slot its own' },
  { pattern: /^group\.protocol$/, reason: 'ingest relies on the classic protocol' },
  {
    pattern: /^enable\.auto\./,
    reason: 'offsets are committed only after the rows and the ledger are stored',
  },
  { pattern: /^auto\.offset\.reset$/, reason: 'where to go on is decided by the ledger' },
  { pattern: /^isolation\.level$/, reason: 'records of aborted transactions must never be read' },
  { pattern: /^partition\.assignment\.strategy$/, reason: 'ingest relies on eager assignment' },
  { pattern: /^(metadata\.broker\.list|bootstrap\.servers)$/, reason: 'set kafka.brokers instead' },
  { pattern: /(_cb|^plugin\.library\.paths|^opaque)$/, reason: 'code cannot be set from settings' },
];

const ajv = new Ajv({ allErrors: true, useDefaults: true, strict: false, verbose: true });
const validate = ajv.compile(SettingsSchema);

/**
 * Checks raw settings (the YAML document with the overrides laid over it) and gives them complete with
 * defaults and frozen. Throws CdrhouseError SETTINGS_INVALID with one line per wrong key: its path, what
 * is wrong, what is allowed.
 */
export function checkSettings(raw: unknown): Settings {
  const candidate = structuredClone(raw ?? {}) as Record<string, unknown>;
  if (!validate(candidate)) throw invalid((validate.errors ?? []).map(describe));
  const checked = candidate as unknown as Checked;
  const settings: Settings = {
    ...checked,
    feeds: checked.feeds.map((feed) => ({ ...feed, topic: feed.topic ?? `cdr.${feed.name}` })),
  };
  const wrong = relations(settings);
  if (wrong.length > 0) throw invalid(wrong);
  return deepFreeze(settings);
}

/** The schema of one setting by section and name, for overrides from the environment. */
export function settingSchema(section: string, name: string): { type?: string } | undefined {
  const sections = SettingsSchema.properties as unknown as Record<
    string,
    { properties?: Record<string, object> }
  >;
  return sections[section]?.properties?.[name];
}

/** Names of the sections that hold single values (all but `feeds`). */
export const SECTIONS: readonly string[] = Object.keys(SettingsSchema.properties).filter(
  (name) => name !== 'feeds',
);

/** A setting for help texts and documents. */
export interface ListedSetting {
  readonly path: string;
  readonly default: unknown;
  readonly description: string;
}

/** Every setting that holds a single value. */
export function listSettings(): ListedSetting[] {
  return SECTIONS.flatMap((section) =>
    listProperties(SettingsSchema.properties[section as 'kafka'], `${section}.`),
  );
}

/** The keys of a feed. */
export function listFeedSettings(): ListedSetting[] {
  return listProperties(FeedSchema, '');
}

function listProperties(schema: object, prefix: string): ListedSetting[] {
  const { properties } = schema as {
    properties: Record<string, { default?: unknown; description?: string }>;
  };
  return Object.entries(properties).map(([name, property]) => ({
    path: `${prefix}${name}`,
    default: property.default,
    description: property.description ?? '',
  }));
}

function relations(settings: Settings): string[] {
  const wrong: string[] = [];
  const names = new Set<string>();
  const topics = new Set<string>();
  const countries = new Set<string>(getCountries());
  settings.feeds.forEach((feed, index) => {
    const path = `feeds[${index}]`;
    if (names.has(feed.name))
      wrong.push(`${path}.name: "${feed.name}" is used twice; each feed needs a name of its own`);
    if (topics.has(feed.topic))
      wrong.push(`${path}.topic: "${feed.topic}" is used twice; each feed needs a topic of its own`);
    if (!IANAZone.isValidZone(feed.time_zone)) {
      wrong.push(
        `${path}.time_zone: "${feed.time_zone}" is no IANA time zone; allowed: names like Europe/Paris`,
      );
    }
    if (feed.country !== undefined && !countries.has(feed.country)) {
      wrong.push(`${path}.country: "${feed.country}" is no country; allowed: ISO 3166 codes like FR`);
    }
    if (feed.identity === 'record' && findFormat(feed.format)?.recordId === undefined) {
      wrong.push(
        `${path}.identity: format ${feed.format} has no id of its records; allowed: auto, fields, position`,
      );
    }
    if (Number.isNaN(Date.parse(feed.earliest_start))) {
      wrong.push(`${path}.earliest_start: "${feed.earliest_start}" is no day; allowed: YYYY-MM-DD`);
    }
    names.add(feed.name);
    topics.add(feed.topic);
  });
  if (!IANAZone.isValidZone(settings.query.time_zone)) {
    wrong.push(
      `query.time_zone: "${settings.query.time_zone}" is no IANA time zone; allowed: names like Europe/Paris`,
    );
  }
  const country = settings.query.default_country;
  if (country !== undefined && !countries.has(country)) {
    wrong.push(`query.default_country: "${country}" is no country; allowed: ISO 3166 codes like FR`);
  }
  for (const property of Object.keys(settings.kafka.client)) {
    const refused = REFUSED_CLIENT_PROPERTIES.find(({ pattern }) => pattern.test(property));
    if (refused) wrong.push(`kafka.client.${property}: may not be set; ${refused.reason}`);
  }
  return wrong;
}

function describe(error: ErrorObject): string {
  const at = error.instancePath
    .replace(/\/([0-9]+)/g, '[$1]')
    .replace(/\//g, '.')
    .replace(/^\./, '');
  const path = at === '' ? 'the document' : at;
  const schema = (error.parentSchema ?? {}) as { description?: string; properties?: object };
  const allowed = schema.description === undefined ? '' : ` (${schema.description})`;
  switch (error.keyword) {
    case 'additionalProperties': {
      const key = (error.params as { additionalProperty: string }).additionalProperty;
      const known = Object.keys(schema.properties ?? {}).join(', ');
      return `${at === '' ? '' : `${at}.`}${key}: is no setting; allowed here: ${known}`;
    }
    case 'required':
      return `${path}: ${(error.params as { missingProperty: string }).missingProperty} is missing`;
    case 'enum':
      return `${path}: ${shown(error.data)} is not allowed; allowed: ${(error.params as { allowedValues: string[] }).allowedValues.join(', ')}`;
    default:
      return `${path}: ${shown(error.data)} ${error.message ?? 'is wrong'}${allowed}`;
  }
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'undefined';
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

function invalid(lines: readonly string[]): CdrhouseError {
  return new CdrhouseError('SETTINGS_INVALID', [...new Set(lines)].join('\n'));
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    Object.values(value).forEach((member) => deepFreeze(member));
    Object.freeze(value);
  }
  return value;
}
