import { setTimeout as sleep } from 'node:timers/promises';
import { FIRST_TEXT_KEY, E164_DIGITS_MAX } from '../../schemas/number-key.ts';
import { enum8, OUTCOMES } from '../../schemas/record.ts';
import { deriveKey, type KeyKind } from '../../schemas/record-key.ts';
import { STORED_SETTINGS } from '../../schemas/migrations.ts';
import type { Database } from '../database.ts';

const LOOK_MS = 200;
const LOOKS_MAX = 3000;
const FEED = 'default';
const PLACES = E164_DIGITS_MAX;

/** Calls of a block; larger than the default of 65,505, which makes more and smaller parts. */
const BLOCK_ROWS = 262_144;

/**
 * The peer: ClickHouse's own Kafka table engine with materialized views, which do the work that cdrhouse does
 * for this feed: both call tables with the same columns and engine settings, ordered number keys, a keyed
 * hash as record key, unreadable messages aside into the dead letters. Less than cdrhouse it keeps no
 * ledger and judges no times.
 *
 * One view reads Kafka and computes the keys once; it hands its blocks to a table that stores nothing, on which
 * the views into the three tables hang. So all of them are there before the first message is read.
 */
export interface KafkaEngineOptions {
  /** Migrated by cdrhouse: the same tables. */
  readonly name: string;
  readonly brokers: string;
  readonly topic: string;
  /** `kafka_num_consumers`. */
  readonly consumers: number;
}

/** Makes the Kafka table and the views; reading begins with the last statement. */
export async function startKafkaEngine(database: Database, options: KafkaEngineOptions): Promise<void> {
  const { name } = options;
  const [identity] = await database.rows<{ value: string }>(
    `SELECT value FROM ${name}.settings FINAL WHERE name = '${STORED_SETTINGS.identityKey}'`,
  );
  for (const statement of kafkaEngineStatements(options, Buffer.from(identity!.value, 'hex')))
    await database.statement(statement);
}

/** Waits until both tables have these numbers of rows. Throws after 10 minutes. */
export async function kafkaEngineDone(
  database: Database,
  name: string,
  rows: { readonly cdr: number; readonly cdrByNumber: number },
): Promise<void> {
  for (let look = 0; look < LOOKS_MAX; look++) {
    const [counts] = await database.rows<{ cdr: number; byNumber: number }>(
      `SELECT (SELECT count() FROM ${name}.cdr) AS cdr, (SELECT count() FROM ${name}.cdr_by_number) AS byNumber`,
    );
    if (counts!.cdr >= rows.cdr && counts!.byNumber >= rows.cdrByNumber) return;
    await sleep(LOOK_MS);
  }
  throw new Error('the Kafka table engine does not get through the topic');
}

/**
 * Ends reading. Outside of what is counted: dropping a view that has just read spins for seconds. Until then an
 * idle Kafka table uses about 1 % of a core.
 */
export async function stopKafkaEngine(database: Database, name: string): Promise<void> {
  await database.statement(`DROP VIEW ${name}.peer_reader SYNC`);
  await database.statement(`DROP TABLE ${name}.peer_kafka SYNC`);
}

function kafkaEngineStatements(
  { name, brokers, topic, consumers }: KafkaEngineOptions,
  identityKey: Uint8Array,
): string[] {
  const texts = `calling_number String, displayed_caller_id String, dialed_number String, start String, duration String,
    talk_duration String, call_id String, outcome String, account String`;
  return [
    `CREATE TABLE ${name}.peer_kafka (${texts}) ENGINE = Kafka SETTINGS
      kafka_broker_list = '${brokers}', kafka_topic_list = '${topic}', kafka_group_name = '${name}',
      kafka_format = 'CSV', kafka_num_consumers = ${consumers}, kafka_thread_per_consumer = ${consumers > 1 ? 1 : 0},
      kafka_handle_error_mode = 'stream', kafka_max_block_size = ${BLOCK_ROWS}`,
    `CREATE TABLE ${name}.peer_records (
      calling_key UInt64, displayed_key UInt64, dialed_key UInt64, cdr_key UInt64,
      calling_number String, displayed_caller_id String, dialed_number String,
      start_at Nullable(DateTime64(3, 'UTC')), seconds Nullable(Decimal64(3)), talk_seconds Nullable(Decimal64(3)),
      outcome_word Nullable(${enum8(OUTCOMES)}), call_id String, account String, stored_at DateTime('UTC'),
      partition Int32, offset Int64, message_at DateTime64(3, 'UTC'), raw String, error String
    ) ENGINE = Null`,
    `CREATE MATERIALIZED VIEW ${name}.peer_cdr TO ${name}.cdr AS
      SELECT calling_key, ${CALL_COLUMNS} FROM ${name}.peer_records WHERE error = ''`,
    `CREATE MATERIALIZED VIEW ${name}.peer_cdr_by_number TO ${name}.cdr_by_number AS
      SELECT number.1 AS number_key, number.2 AS role, ${CALL_COLUMNS} FROM ${name}.peer_records
      ARRAY JOIN if(displayed_caller_id IN ('', calling_number), [(dialed_key, 'dialed')],
        [(dialed_key, 'dialed'), (displayed_key, 'displayed')]) AS number
      WHERE error = ''`,
    `CREATE MATERIALIZED VIEW ${name}.peer_dead_letters TO ${name}.dead_letters AS
      SELECT '${FEED}' AS feed, '${topic}' AS topic, '' AS topic_id, partition, offset, 0 AS line, error AS code,
        '' AS field, 0 AS position, raw, message_at, stored_at AS rejected_at
      FROM ${name}.peer_records WHERE error != ''`,
    `CREATE MATERIALIZED VIEW ${name}.peer_reader TO ${name}.peer_records AS
      WITH ${decimalPlaces('calling_number')} AS calling_decimal,
        ${decimalPlaces('displayed_caller_id')} AS displayed_decimal,
        ${decimalPlaces('dialed_number')} AS dialed_decimal,
        concat(calling_number, ',', displayed_caller_id, ',', dialed_number, ',', start, ',', duration, ',',
          talk_duration, ',', call_id, ',', outcome, ',', account) AS line
      SELECT ${numberKey('calling_number', 'calling_decimal', identityKey)} AS calling_key,
        ${numberKey('displayed_caller_id', 'displayed_decimal', identityKey)} AS displayed_key,
        ${numberKey('dialed_number', 'dialed_decimal', identityKey)} AS dialed_key,
        sipHash64Keyed(${sipKey(identityKey, 'fields')}, line) AS cdr_key,
        calling_number, displayed_caller_id, dialed_number,
        parseDateTime64BestEffortOrNull(start, 3, 'UTC') AS start_at,
        toDecimal64OrNull(duration, 3) AS seconds, toDecimal64OrNull(talk_duration, 3) AS talk_seconds,
        accurateCastOrNull(outcome, '${enum8(OUTCOMES).replaceAll("'", "\\'")}') AS outcome_word,
        call_id, account, now() AS stored_at,
        _partition AS partition, _offset AS offset, _timestamp_ms AS message_at,
        if(_error = '', line, _raw_message) AS raw,
        multiIf(_error != '', 'COLUMN_COUNT_WRONG', start_at IS NULL, 'START_UNREADABLE',
          seconds IS NULL, 'DURATION_UNREADABLE', seconds < 0 OR seconds > ${SECONDS_MAX}, 'DURATION_OUT_OF_RANGE',
          talk_seconds IS NULL AND talk_duration != '', 'DURATION_UNREADABLE',
          talk_seconds < 0 OR talk_seconds > ${SECONDS_MAX}, 'DURATION_OUT_OF_RANGE',
          outcome_word IS NULL, 'OUTCOME_UNREADABLE', '') AS error
      FROM ${name}.peer_kafka`,
  ];
}

const SECONDS_MAX = 4_294_967;

const CALL_COLUMNS = `
  assumeNotNull(start_at) AS start_at, cdr_key, calling_number, displayed_caller_id, dialed_number,
  toUInt32(assumeNotNull(seconds) * 1000) AS duration_ms, toUInt32(talk_seconds * 1000) AS talk_ms,
  assumeNotNull(outcome_word) AS outcome, 'unknown' AS direction, account, call_id, '${FEED}' AS feed,
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
