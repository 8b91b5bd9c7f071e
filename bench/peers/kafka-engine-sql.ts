import { E164_DIGITS_MAX, FIRST_TEXT_KEY } from '../../schemas/number-key.ts';
import { deriveKey, type KeyKind } from '../../schemas/record-key.ts';
import { enum8, OUTCOMES } from '../../schemas/record.ts';
import type { LineFormat } from '../workload.ts';

const FEED = 'default';
const PLACES = E164_DIGITS_MAX;
const SECONDS_MAX = 4_294_967;
/** A cast of other words to an Enum throws, `accurateCastOrNull` too, and then the engine stands still. */
const OUTCOME_WORDS = `[${OUTCOMES.map((word) => `'${word}'`).join(', ')}]`;

/** The Kafka table of a peer. */
export interface EngineTable {
  readonly database: string;
  readonly brokers: string;
  readonly topic: string;
  /** `kafka_num_consumers`. */
  readonly consumers: number;
  /** `kafka_max_block_size`. */
  readonly blockRows: number;
  /** `kafka_flush_interval_ms`. */
  readonly flushIntervalMs: number;
  /** `kafka_poll_timeout_ms`. @default ClickHouse's own, 500 */
  readonly pollMs?: number;
}

/** How the lines of a format are read in SQL. */
interface EngineFormat {
  /** Columns of a line, all texts. Those that are no field of a call under its own name are made one in `fields`. */
  readonly columns: readonly string[];
  /** Expressions of fields that no column is. */
  readonly fields: Readonly<Record<string, string>>;
  /** What makes two records one: the kind of key, and the bytes that are hashed. */
  readonly identity: { readonly kind: KeyKind; readonly bytes: string };
}

const FORMATS: Readonly<Record<LineFormat, EngineFormat>> = {
  'canonical-csv': {
    columns: [
      'calling_number',
      'displayed_caller_id',
      'dialed_number',
      'start',
      'duration',
      'talk_duration',
      'call_id',
      'outcome_text',
      'account',
    ],
    fields: {},
    identity: { kind: 'fields', bytes: 'line' },
  },
  'asterisk-csv': {
    columns: [
      'account',
      'calling_number',
      'dialed_number',
      'context',
      'clid',
      'channel',
      'destination_channel',
      'last_application',
      'last_data',
      'start',
      'answer',
      'end_text',
      'duration',
      'talk_duration',
      'disposition',
      'ama_flags',
      'call_id',
      'user_field',
      'peer_account',
      'linked_id',
      'sequence',
    ],
    fields: {
      displayed_caller_id: "if(endsWith(clid, '>'), extract(clid, '<([^<]*)>$'), clid)",
      outcome_text: `transform(disposition, ['ANSWERED', 'NO ANSWER', 'BUSY', 'FAILED', 'CONGESTION', 'CANCEL'],
        ['answered', 'no_answer', 'busy', 'failed', 'failed', 'cancelled'], 'unknown')`,
    },
    // Each part behind its length in 16 bits, as the program writes it; no id here has 256 bytes.
    identity: {
      kind: 'record',
      bytes: 'concat(char(length(call_id), 0), call_id, char(length(sequence), 0), sequence)',
    },
  },
};

/**
 * Tables and views that do equal work; reading begins with the last statement. One view reads Kafka and computes the keys
 * once; it hands its blocks to a table that stores nothing, on which the views into the three tables hang. So all of
 * them are there before the first message is read.
 */
export function equalWorkStatements(
  table: EngineTable,
  format: LineFormat,
  identityKey: Uint8Array,
): readonly string[] {
  const { database, topic } = table;
  const { columns, fields, identity } = FORMATS[format];
  const computed = Object.entries(fields).map(([name, expression]) => `${expression} AS ${name},`);
  return [
    kafkaTable(
      table,
      columns.map((column) => `${column} String`),
      "kafka_handle_error_mode = 'stream'",
    ),
    `CREATE TABLE ${database}.peer_records (
      calling_key UInt64, displayed_key UInt64, dialed_key UInt64, cdr_key UInt64,
      calling_number String, displayed_caller_id String, dialed_number String,
      start_at Nullable(DateTime64(3, 'UTC')), seconds Nullable(Decimal64(3)), talk_seconds Nullable(Decimal64(3)),
      outcome_word ${enum8(OUTCOMES)}, call_id String, account String, stored_at DateTime('UTC'),
      partition Int32, offset Int64, message_at DateTime64(3, 'UTC'), raw String, error String
    ) ENGINE = Null`,
    `CREATE MATERIALIZED VIEW ${database}.peer_cdr TO ${database}.cdr AS
      SELECT calling_key, ${CALL_COLUMNS} FROM ${database}.peer_records WHERE error = ''`,
    `CREATE MATERIALIZED VIEW ${database}.peer_cdr_by_number TO ${database}.cdr_by_number AS
      SELECT number.1 AS number_key, number.2 AS role, ${CALL_COLUMNS} FROM ${database}.peer_records
      ARRAY JOIN if(displayed_caller_id IN ('', calling_number), [(dialed_key, 'dialed')],
        [(dialed_key, 'dialed'), (displayed_key, 'displayed')]) AS number
      WHERE error = ''`,
    `CREATE MATERIALIZED VIEW ${database}.peer_dead_letters TO ${database}.dead_letters AS
      SELECT '${FEED}' AS feed, '${topic}' AS topic, '' AS topic_id, partition, offset, 0 AS line, error AS code,
        '' AS field, 0 AS position, raw, message_at, stored_at AS rejected_at
      FROM ${database}.peer_records WHERE error != ''`,
    `CREATE MATERIALIZED VIEW ${database}.peer_reader TO ${database}.peer_records AS
      WITH ${computed.join(' ')}
        ${decimalPlaces('calling_number')} AS calling_decimal,
        ${decimalPlaces('displayed_caller_id')} AS displayed_decimal,
        ${decimalPlaces('dialed_number')} AS dialed_decimal,
        concat(${columns.join(", ',', ")}) AS line
      SELECT ${numberKey('calling_number', 'calling_decimal', identityKey)} AS calling_key,
        ${numberKey('displayed_caller_id', 'displayed_decimal', identityKey)} AS displayed_key,
        ${numberKey('dialed_number', 'dialed_decimal', identityKey)} AS dialed_key,
        sipHash64Keyed(${sipKey(identityKey, identity.kind)}, ${identity.bytes}) AS cdr_key,
        calling_number, displayed_caller_id, dialed_number,
        parseDateTime64BestEffortOrNull(start, 3, 'UTC') AS start_at,
        toDecimal64OrNull(duration, 3) AS seconds, toDecimal64OrNull(talk_duration, 3) AS talk_seconds,
        CAST(transform(outcome_text, ${OUTCOME_WORDS}, [${OUTCOMES.map((_, value) => value).join(', ')}]::Array(Int8),
          0::Int8), '${enum8(OUTCOMES).replaceAll("'", "\\'")}') AS outcome_word,
        call_id, account, now() AS stored_at,
        _partition AS partition, _offset AS offset, _timestamp_ms AS message_at,
        if(_error = '', line, _raw_message) AS raw,
        multiIf(_error != '', 'COLUMN_COUNT_WRONG', start_at IS NULL, 'START_UNREADABLE',
          seconds IS NULL, 'DURATION_UNREADABLE', seconds < 0 OR seconds > ${SECONDS_MAX}, 'DURATION_OUT_OF_RANGE',
          talk_seconds IS NULL AND talk_duration != '', 'DURATION_UNREADABLE',
          talk_seconds < 0 OR talk_seconds > ${SECONDS_MAX}, 'DURATION_OUT_OF_RANGE',
          outcome_text != '' AND outcome_text NOT IN ${OUTCOME_WORDS}, 'OUTCOME_UNREADABLE', '') AS error
      FROM ${database}.peer_kafka`,
  ];
}

/** The least that stores calls of canonical-csv: typed columns, and a view that turns seconds into milliseconds. */
export function oneTableStatements(table: EngineTable, skips: boolean): readonly string[] {
  const { database, blockRows } = table;
  const skipped = skips ? `, kafka_skip_broken_messages = ${blockRows}` : '';
  const columns = [
    'calling_number String',
    'displayed_caller_id String',
    'dialed_number String',
    "start DateTime64(3, 'UTC')",
    'duration Float64',
    'talk_duration Nullable(Float64)',
    'call_id String',
    'outcome String',
    'account String',
  ];
  return [
    kafkaTable(table, columns, `date_time_input_format = 'best_effort'${skipped}`),
    `CREATE MATERIALIZED VIEW ${database}.peer_reader TO ${database}.cdr AS
      SELECT calling_number, displayed_caller_id, dialed_number, start AS start_at,
        toUInt32(round(duration * 1000)) AS duration_ms, toUInt32(round(talk_duration * 1000)) AS talk_ms,
        call_id, outcome, account
      FROM ${database}.peer_kafka`,
  ];
}

function kafkaTable(
  { database, brokers, topic, consumers, blockRows, flushIntervalMs, pollMs }: EngineTable,
  columns: readonly string[],
  settings: string,
): string {
  return `CREATE TABLE ${database}.peer_kafka (${columns.join(', ')}) ENGINE = Kafka SETTINGS
    kafka_broker_list = '${brokers}', kafka_topic_list = '${topic}', kafka_group_name = '${database}',
    kafka_format = 'CSV', kafka_num_consumers = ${consumers}, kafka_thread_per_consumer = ${consumers > 1 ? 1 : 0},
    kafka_max_block_size = ${blockRows}, kafka_flush_interval_ms = ${flushIntervalMs},
    ${pollMs === undefined ? '' : `kafka_poll_timeout_ms = ${pollMs}, `}${settings}`;
}

const CALL_COLUMNS = `
  assumeNotNull(start_at) AS start_at, cdr_key, calling_number, displayed_caller_id, dialed_number,
  toUInt32(assumeNotNull(seconds) * 1000) AS duration_ms, toUInt32(talk_seconds * 1000) AS talk_ms,
  outcome_word AS outcome, 'unknown' AS direction, account, call_id, '${FEED}' AS feed,
  partition AS source_partition, offset AS source_offset, 0 AS source_line, stored_at,
  4294967295 - toUnixTimestamp(stored_at) AS version, 0 AS is_deleted`;

function sipKey(identityKey: Uint8Array, kind: KeyKind): string {
  const { k0, k1 } = deriveKey(identityKey, kind, FEED);
  return `(toUInt64(${k0}), toUInt64(${k1}))`;
}

/** The digits behind the `+` as a decimal number of 15 places, filled up with zeros behind. */
function decimalPlaces(text: string): string {
  const powers = Array.from({ length: PLACES + 1 }, (_, digits) => 10 ** (PLACES - digits)).join(', ');
  return `toUInt64OrZero(substring(${text}, 2)) * arrayElement([${powers}]::Array(UInt64), length(${text}))`;
}

/**
 * `schemas/number-key.ts` in SQL: the decimal number becomes a base-11 number by 11^k = 10 * 11^(k-1) + 11^(k-1),
 * all of it arithmetic on whole columns; then 1 is added in each place that has a digit. A third of what an
 * array function over the digits costs.
 */
function numberKey(text: string, decimal: string, identityKey: Uint8Array): string {
  const terms = Array.from(
    { length: PLACES - 1 },
    (_, place) => `intDiv(${decimal}, ${10 ** (place + 1)}) * ${11 ** place}`,
  );
  const ones = Array.from(
    { length: PLACES + 1 },
    (_, digits) => (11 ** PLACES - 11 ** (PLACES - digits)) / 10,
  ).join(', ');
  const hashed = `${FIRST_TEXT_KEY} + bitShiftRight(sipHash64Keyed(${sipKey(identityKey, 'number')}, ${text}), 12)`;
  return `if(match(${text}, '^[+][0-9]{1,15}$'),
    ${decimal} + ${terms.join(' + ')} + arrayElement([${ones}]::Array(UInt64), length(${text})), ${hashed})`;
}
