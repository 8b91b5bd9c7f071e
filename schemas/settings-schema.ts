import { Type } from 'typebox';
import { DELIMITED_FIELDS } from './formats/delimited.ts';
import { DURATION_UNITS } from './formats/duration-unit.ts';
import { ENCODINGS } from './formats/encoding.ts';
import { QUOTES } from './formats/format.ts';
import { FORMATS } from './formats/index.ts';
import { COLUMNS_MAX, DIRECTIONS, OUTCOMES } from './record.ts';
import { BATCHES_IN_FLIGHT_MAX } from './settings-limits.ts';

/**
 * The settings: one schema, checked once at start. Sections and names are those of `cdrhouse.yaml`;
 * `CDRHOUSE_<SECTION>_<NAME>` overrides `section.name`. Units stand last in the names. This file reads
 * nothing: `settings-loader.ts` does. Programs do not load it: the build makes `settings-validator.cjs` of it, which is there
 * in a third of the time.
 */
const Section = { additionalProperties: false, default: {} } as const;

const Name = (description: string) =>
  Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$', description });

const Port = (port: number, description: string) =>
  Type.Integer({ default: port, minimum: 0, maximum: 65_535, description });

/** A column by its number from 1, or by its name in the header line. */
const Column = Type.Unsafe<number | string>({
  type: ['integer', 'string'],
  minimum: 1,
  maximum: COLUMNS_MAX,
  minLength: 1,
});

/** A setting that is one of these names. */
function oneOf<T extends string>(names: readonly T[], options: object) {
  return Type.Unsafe<T>({ type: 'string', enum: names, ...options });
}

const DelimitedSchema = Type.Object(
  {
    separator: Type.String({
      pattern: '^[\\t\\x20-\\x7e]$',
      default: ',',
      description: 'one ASCII character between fields',
    }),
    quotes: oneOf(QUOTES, {
      default: 'rfc4180',
      description:
        'rfc4180: doubled inside; lenient: not escaped inside; backslash: no quotes, a backslash before a separator; none',
    }),
    header: Type.Boolean({
      default: false,
      description: 'the first line of a file names the columns; ship repeats it in each message',
    }),
    comment: Type.Optional(
      Type.String({ minLength: 1, maxLength: 20, description: 'how a line begins that is a comment' }),
    ),
    columns: Type.Object(
      Object.fromEntries(DELIMITED_FIELDS.map((field) => [field, Type.Optional(Column)])),
      {
        additionalProperties: false,
        description: 'where each field stands: a number from 1, or a name of the header',
      },
    ),
    column_counts: Type.Optional(
      Type.Array(Type.Integer({ minimum: 1, maximum: COLUMNS_MAX }), {
        minItems: 1,
        description: 'how many columns a record may have; default: at least those that are named',
      }),
    ),
    start: Type.String({
      default: 'iso-or-epoch',
      description: "how the start is written: a name, or a pattern in luxon's tokens",
    }),
    time_of_day: Type.Optional(
      Type.String({ description: 'the pattern of columns.time_of_day, where start is a date alone' }),
    ),
    duration_unit: oneOf(DURATION_UNITS, { default: 's', description: 'of duration and talk_duration' }),
    number_reading: oneOf(['plain', 'name-addr', 'uri'] as const, {
      default: 'plain',
      description: 'plain: the field is the number; name-addr: "Name" <number>; uri: a SIP or tel URI',
    }),
    outcomes: Type.Record(Type.String(), oneOf(OUTCOMES, {}), {
      default: {},
      description: "what the switch's words for the outcome mean",
    }),
    directions: Type.Record(Type.String(), oneOf(DIRECTIONS, {}), {
      default: {},
      description: "what the switch's words for the direction mean",
    }),
  },
  { additionalProperties: false, description: 'the lines of format delimited' },
);

const RULES = {
  strip: Type.Optional(
    Type.Array(Type.String({ pattern: '^[0-9*#]{1,16}$' }), {
      maxItems: 100,
      description: 'carrier and tech prefixes; the longest that leaves a number is taken off',
    }),
  ),
  bare: Type.Optional(
    Type.String({
      enum: ['plan', 'national', 'international'],
      description: 'what digits without any prefix are; plan: what the dial plan of the country says',
    }),
  ),
  keep: Type.Optional(Type.Boolean({ description: 'true: numbers stay as sent' })),
};
const RoleRules = Type.Optional(Type.Object(RULES, { additionalProperties: false }));

const FeedSchema = Type.Object(
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
    columns: Type.Optional(
      Type.Array(Type.String({ pattern: '^[A-Za-z0-9_.:-]{1,100}$' }), {
        minItems: 1,
        maxItems: 1000,
        description:
          "the switch's own list of columns, for formats that have one (asterisk-custom, freeswitch-csv, …)",
      }),
    ),
    delimited: Type.Optional(DelimitedSchema),
    encoding: Type.Optional(
      oneOf(ENCODINGS, {
        description:
          'of texts; default: as the file says (broadworks), else UTF-8 with a Latin-1 fallback per field',
      }),
    ),
    zone_abbreviations: Type.Optional(
      Type.Record(
        Type.String({ pattern: '^[A-Z]{1,6}$' }),
        Type.String({ pattern: '^[+-][0-9]{2}:[0-9]{2}$' }),
        {
          description: 'what abbreviations in times mean, as in {PST: "-08:00"}; UTC, GMT and Z are known',
        },
      ),
    ),
    numbers: Type.Optional(
      Type.Object(
        { ...RULES, calling: RoleRules, displayed: RoleRules, dialed: RoleRules },
        {
          additionalProperties: false,
          description:
            'more rules for numbers: strip, bare, keep; for one role under calling, displayed, dialed',
        },
      ),
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
    retention_months: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 1200,
        description:
          'how long its calls and rejected records are kept, where that is shorter than retention.months; also stored in the database',
      }),
    ),
    max_silence_s: Type.Integer({
      default: 3600,
      minimum: 1,
      maximum: 31_536_000,
      description:
        'a feed that sends nothing for longer is no longer said to be complete: nobody knows whether it is quiet or cut off',
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
            'parse worker threads of a process; 0: one per core, less one, at most 2; more cores want more processes',
        }),
        reader: Type.String({
          default: 'auto',
          enum: ['auto', 'packed', 'plain'],
          description:
            'how messages are read; packed: by the native addon; plain: by consume(n), slower; auto: packed where the addon fits',
        }),
        batch_bytes_max: Type.Integer({
          default: 41_943_040,
          minimum: 65_536,
          maximum: 268_435_456,
          description:
            'bytes of messages in one batch, divided by the number of workers; a process takes about 8 times as much memory, and 150 MB',
        }),
        batch_messages_max: Type.Integer({
          default: 1_000_000,
          minimum: 1,
          maximum: 5_000_000,
          description: 'messages in one batch',
        }),
        batch_records_max: Type.Integer({
          default: 1_000_000,
          minimum: 1,
          maximum: 5_000_000,
          description: 'records that are parsed at one time; a batch that holds more is stored in parts',
        }),
        flush_interval_ms: Type.Integer({
          default: 1000,
          minimum: 10,
          maximum: 60_000,
          description:
            'how long a batch waits for more; five times as long at most while old messages come as fast as they can be read',
        }),
        parse_seconds_max: Type.Integer({
          default: 60,
          minimum: 1,
          maximum: 3600,
          description: 'a parse worker that is longer at a batch is ended, and the batch cut in two',
        }),
        batches_in_flight_max: Type.Integer({
          default: 0,
          minimum: 0,
          maximum: BATCHES_IN_FLIGHT_MAX,
          description:
            'batches being parsed or stored; 0: one more than workers; beyond, one more is filled, then reading stops',
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
        metrics_port: Port(9464, 'its port; 0: none'),
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
          default: '.cdrhouse/shipped.jsonl',
          minLength: 1,
          description: 'remembers what was sent, by content',
        }),
        follow_interval_ms: Type.Integer({
          default: 1000,
          minimum: 20,
          maximum: 3_600_000,
          description: 'how often --follow looks for more',
        }),
        line_wait_s: Type.Integer({
          default: 300,
          minimum: 0,
          maximum: 604_800,
          description:
            'a last line without its newline is sent by --follow when its file has not grown for so long; 0: never',
        }),
        listen_body_bytes_max: Type.Integer({
          default: 1_000_000,
          minimum: 1024,
          maximum: 104_857_600,
          description: 'largest body that --listen takes; a record cannot be larger than a message',
        }),
        listen_connections_max: Type.Integer({
          default: 256,
          minimum: 1,
          maximum: 100_000,
          description: 'connections at one time to --listen; more are closed at once',
        }),
        listen_idle_s: Type.Integer({
          default: 86_400,
          minimum: 1,
          maximum: 604_800,
          description: 'a TCP connection to --listen on which nothing arrives for so long is closed',
        }),
        listen_ack_s: Type.Integer({
          default: 10,
          minimum: 1,
          maximum: 300,
          description: "how long an HTTP request waits for Kafka's acknowledgement before it is answered 503",
        }),
        listen_user: Type.Optional(
          Type.String({ minLength: 1, description: 'HTTP basic authentication for --listen; default: none' }),
        ),
        listen_password: Type.Optional(Type.String({ minLength: 1, description: 'its password' })),
        listen_token: Type.Optional(
          Type.String({ minLength: 16, description: 'bearer token for --listen; default: none' }),
        ),
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
        port: Port(8080, 'its port; 0: any free one'),
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
        metrics_port: Port(0, "their port; 0: the API's own"),
        seconds_max: Type.Integer({
          default: 30,
          minimum: 1,
          maximum: 3600,
          description: 'longest run of one database query',
        }),
        dialed_prefixes: Type.Array(Type.String({ pattern: '^\\+[0-9]{1,15}$' }), {
          default: [],
          maxItems: 20_000,
          description:
            'prefixes of dialed numbers (+33639) by which usage can be grouped; the longest counts',
        }),
        export_seconds_max: Type.Integer({
          default: 3600,
          minimum: 1,
          maximum: 86_400,
          description: 'longest time that an answer in CSV or NDJSON may take, as fast as its client reads',
        }),
        rows_read_max: Type.Integer({
          default: 1_000_000_000,
          minimum: 1,
          description: 'most rows that one database query may read',
        }),
        memory_bytes_max: Type.Integer({
          default: 2_000_000_000,
          minimum: 1_000_000,
          description: 'most memory of the database for one query',
        }),
        requests_per_minute: Type.Optional(
          Type.Integer({
            minimum: 1,
            description: 'requests that a key without a limit of its own may make; default: any number',
          }),
        ),
        wrong_keys_per_minute: Type.Integer({
          default: 30,
          minimum: 1,
          maximum: 1_000_000,
          description:
            'wrong API keys and tokens of one address; beyond, it is refused for the rest of the minute',
        }),
        trusted_proxies: Type.Array(Type.String(), {
          default: [],
          description:
            'networks (CIDR) of reverse proxies, whose X-Forwarded-For says from which address a request comes',
        }),
        tls_cert_path: Type.Optional(
          Type.String({
            description: 'certificate chain (PEM) of the API, which is then HTTPS; read at start',
          }),
        ),
        tls_key_path: Type.Optional(Type.String({ description: 'its private key (PEM)' })),
        jwt_jwks_url: Type.Optional(
          Type.String({
            pattern: '^https?://',
            description:
              'where an issuer of JSON Web Tokens publishes its keys; default: no tokens are taken',
          }),
        ),
        jwt_issuer: Type.Optional(Type.String({ minLength: 1, description: 'iss that tokens must have' })),
        jwt_audience: Type.Optional(Type.String({ minLength: 1, description: 'aud that tokens must have' })),
        jwt_roles_claim: Type.String({
          default: 'roles',
          minLength: 1,
          description: 'claim with the roles, or the path to it (realm_access.roles)',
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
        dead_letter_months: Type.Optional(
          Type.Integer({
            minimum: 1,
            maximum: 1200,
            description:
              'how long rejected records are kept, from their Kafka timestamp; default, and at most, retention.months',
          }),
        ),
        journal_months: Type.Optional(
          Type.Integer({
            minimum: 1,
            maximum: 1200,
            description: 'how long the journal of look-ups is kept; default, and at most, retention.months',
          }),
        ),
        request_months: Type.Integer({
          default: 60,
          minimum: 1,
          maximum: 1200,
          description:
            'how long requests of persons are kept, from when they were finished, and restrictions and objections, from when they were lifted',
        }),
        billing_months: Type.Integer({
          default: 14,
          minimum: 0,
          maximum: 1200,
          description:
            'how long calls of a person who is to be erased are needed for bills and their disputes, from the start of the call; an erasure defers them',
        }),
        backup_days: Type.Integer({
          default: 35,
          minimum: 0,
          maximum: 36_500,
          description: 'how long backups of the database are kept; certificates of erasures name the day',
        }),
        metrics_host: Type.String({
          default: '127.0.0.1',
          minLength: 1,
          description: 'address of /metrics and /healthz of retention run',
        }),
        metrics_port: Port(9465, 'its port; 0: none'),
        silence_days_max: Type.Integer({
          default: 7,
          minimum: 1,
          maximum: 36_500,
          description:
            'a sweep refuses where the newest record is older than this: then the clock may be wrong, or ingest stands still',
        }),
      },
      Section,
    ),
  },
  { additionalProperties: false },
);

/** A setting for help texts and documents. */
export interface ListedSetting {
  readonly path: string;
  readonly default: unknown;
  readonly description: string;
}

/** Every setting that holds a single value. */
export function listSettings(): ListedSetting[] {
  const { feeds: _feeds, ...sections } = SettingsSchema.properties;
  return Object.entries(sections).flatMap(([name, section]) => listProperties(section, `${name}.`));
}

/** The keys of a feed. */
export function listFeedSettings(): ListedSetting[] {
  return listProperties(FeedSchema, '');
}

function listProperties(schema: object, prefix: string): ListedSetting[] {
  const { properties } = schema as {
    properties: Record<string, { default?: unknown; description?: string; properties?: object }>;
  };
  return Object.entries(properties).flatMap(([name, property]) =>
    name === 'delimited'
      ? listProperties(property, `${prefix}${name}.`)
      : [
          {
            path: `${prefix}${name}`,
            default: property.default,
            description: property.description ?? '',
          },
        ],
  );
}
