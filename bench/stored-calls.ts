import { STORED_SETTINGS } from '../schemas/migrations.ts';
import { e164Key, E164_DIGITS_MAX, PLACE_VALUES } from '../schemas/number-key.ts';
import type { Database } from './database.ts';
import { IDENTITY_KEY } from './packed-batches.ts';

/**
 * Calls that ClickHouse makes for itself, in the keys of the real program: as they would stand after months of
 * ingest. Closed months are one part, as merges leave them; the newest one has parts that are not merged.
 */
export interface StoredCalls {
  readonly calls: number;
  /** UTC ms; one more than there are months, the last is the end. */
  readonly monthStarts: readonly number[];
  readonly subscribers: number;
  readonly ledgerRows: number;
}

/** Each makes as many calls in all, so that a number has as many of them whatever the table's size. */
const CALLS_A_SUBSCRIBER = 100;
/** Country code 999 is reserved, so that nobody has such a number; 9 digits follow. */
const COUNTRY = '+999';
const SUBSCRIBER_DIGITS = 9;
/** A batch of ingest at a quiet time. */
const CALLS_A_LEDGER_ROW = 100;
const PARTS_A_MONTH = 4;
const OPEN_PARTS = 8;
const HOURS_A_DAY = 24;

/** What an insert of a large SELECT needs to make one part. */
const ONE_PART = {
  max_block_size: '20000000',
  min_insert_block_size_rows: '20000000',
  min_insert_block_size_bytes: '0',
  max_insert_threads: '1',
  optimize_on_insert: '0',
  deduplicate_insert: 'disable',
};

export function subscriberNumber(index: number): string {
  return `${COUNTRY}${String(index).padStart(SUBSCRIBER_DIGITS, '0')}`;
}

/** The numbers that end in any four digits, as a block of an exchange has them. */
export function blockPrefix(index: number): string {
  return `${subscriberNumber(index).slice(0, -4)}*`;
}

/** SQL of the number of a subscriber. */
function numberSql(index: string): string {
  return `concat('${COUNTRY}', leftPad(toString(${index}), ${SUBSCRIBER_DIGITS}, '0'))`;
}

/** SQL of its key (`number_key`), digit by digit. */
function keySql(index: string): string {
  const first = COUNTRY.length - 1;
  const places = Array.from({ length: SUBSCRIBER_DIGITS }, (_, place) => {
    const digit = `intDiv(${index}, ${10 ** (SUBSCRIBER_DIGITS - 1 - place)}) % 10`;
    return `(${digit} + 1) * ${PLACE_VALUES[first + place + 1]!}`;
  });
  if (first + SUBSCRIBER_DIGITS > E164_DIGITS_MAX) throw new RangeError('no E.164 number has so many digits');
  // Its missing digits are places of 0, so that the key of the country is a term of its own.
  return `toUInt64(${e164Key(COUNTRY)} + ${places.join(' + ')})`;
}

/** The last full months before now. */
export function lastMonths(count: number, nowMs: number): number[] {
  const now = new Date(nowMs);
  return Array.from({ length: count + 1 }, (_, index) =>
    Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - count + index),
  );
}

/** Fills a migrated database. */
export async function storeCalls(
  database: Database,
  name: string,
  calls: number,
  monthStarts: readonly number[],
): Promise<StoredCalls> {
  // So that all bench databases have the same keys; the newest value counts.
  await database.statement(
    `INSERT INTO ${name}.settings VALUES ('${STORED_SETTINGS.identityKey}', '${IDENTITY_KEY.toString('hex')}', now64(3) + 1)`,
  );
  const months = monthStarts.length - 1;
  const subscribers = Math.ceil(calls / CALLS_A_SUBSCRIBER);
  for (let month = 0; month < months; month++) {
    const isOpen = month === months - 1;
    const parts = isOpen ? OPEN_PARTS : PARTS_A_MONTH;
    const first = Math.floor((calls * month) / months);
    const end = Math.floor((calls * (month + 1)) / months);
    for (let part = 0; part < parts; part++) {
      const from = first + Math.floor(((end - first) * part) / parts);
      const count = first + Math.floor(((end - first) * (part + 1)) / parts) - from;
      const rows = callsSql({
        from,
        count,
        subscribers,
        fromMs: monthStarts[month]!,
        toMs: monthStarts[month + 1]!,
      });
      await database.statement(insertSql(name, 'cdr', rows), ONE_PART);
      await database.statement(insertSql(name, 'cdr_by_number', rows), ONE_PART);
    }
    if (isOpen) continue;
    const partition = new Date(monthStarts[month]!).toISOString().slice(0, 7).replace('-', '');
    for (const table of ['cdr', 'cdr_by_number'])
      await database.statement(`OPTIMIZE TABLE ${name}.${table} PARTITION ${partition} FINAL`);
  }
  const ledgerRows = await storeLedger(database, name, calls, months);
  return { calls, monthStarts, subscribers, ledgerRows };
}

interface CallsRange {
  readonly from: number;
  readonly count: number;
  readonly subscribers: number;
  readonly fromMs: number;
  readonly toMs: number;
}

/** SQL of a value below this one, from the number of the call. */
function drawn(what: number, below: number): string {
  return `cityHash64(number, ${what}) % ${below}`;
}

/** One row a call; every value follows from its number. */
function callsSql({ from, count, subscribers, fromMs, toMs }: CallsRange): string {
  return `(SELECT
  ${drawn(1, subscribers)} AS caller,
  ${drawn(2, subscribers)} AS dialed,
  if(${drawn(3, 5)} = 0, intDiv(caller, 50) * 50, caller) AS displayed,
  fromUnixTimestamp64Milli(toInt64(${fromMs} + ${drawn(4, toMs - fromMs)}), 'UTC') AS start_at,
  cityHash64(number, 5) AS cdr_key,
  ${numberSql('caller')} AS calling_number, ${numberSql('displayed')} AS displayed_caller_id, ${numberSql('dialed')} AS dialed_number,
  toUInt32(10000 + ${drawn(6, 600_000)}) AS duration_ms, ${drawn(7, 10)} < 7 AS is_answered,
  if(is_answered, duration_ms - 8000, 0) AS talk_ms, if(is_answered, 'answered', 'no_answer') AS outcome,
  'outbound' AS direction, '' AS account, lower(hex(number)) AS call_id, 'default' AS feed,
  toInt32(number % 4) AS source_partition, toInt64(intDiv(number, 500)) AS source_offset, toUInt32(number % 125 + 1) AS source_line,
  toDateTime(toUnixTimestamp(start_at) + 900, 'UTC') AS stored_at,
  toUInt64(4294967295 - toUnixTimestamp(stored_at)) AS version, 0 AS is_deleted
FROM numbers(${from}, ${count}))`;
}

const CALL_COLUMNS = `start_at, cdr_key, calling_number, displayed_caller_id, dialed_number, duration_ms, talk_ms, outcome, direction,
  account, call_id, feed, source_partition, source_offset, source_line, stored_at, version, is_deleted`;

function insertSql(name: string, table: 'cdr' | 'cdr_by_number', rows: string): string {
  if (table === 'cdr')
    return `INSERT INTO ${name}.cdr (calling_key, ${CALL_COLUMNS}) SELECT ${keySql('caller')}, ${CALL_COLUMNS} FROM ${rows}`;
  const roles =
    "if(displayed = caller, [('dialed', dialed)], [('dialed', dialed), ('displayed', displayed)])";
  return `INSERT INTO ${name}.cdr_by_number (number_key, role, ${CALL_COLUMNS})
SELECT ${keySql('role_of.2')}, role_of.1, ${CALL_COLUMNS} FROM ${rows} ARRAY JOIN ${roles} AS role_of`;
}

/** What ingest would have noted: every batch holds calls of one hour. Gives how many there are. */
async function storeLedger(database: Database, name: string, calls: number, months: number): Promise<number> {
  const batches = Math.max(1, Math.round(calls / CALLS_A_LEDGER_ROW / (months * 30 * HOURS_A_DAY)));
  await database.statement(`INSERT INTO ${name}.ingest_ledger (cluster_id, topic, topic_id, partition, generation, from_offset, next_offset,
  feed, messages, records, stored, stored_by_hour, message_at_max, instance, stored_at, kind)
SELECT 'bench', 'cdr', 'bench', 0, 1, rowNumberInAllBlocks() * 10 AS from_offset, from_offset + 10,
  'default', 10, records, records, map(hour, records), hour + 3600, 'bench', hour + 3600, 'read'
FROM (
  SELECT toStartOfHour(toDateTime(start_at, 'UTC')) AS hour, cdr_key % ${batches} AS batch, count() AS records
  FROM ${name}.cdr GROUP BY hour, batch ORDER BY hour, batch
)`);
  const [row] = await database.rows<{ rows: number }>(`SELECT count() AS rows FROM ${name}.ingest_ledger`);
  return row!.rows;
}
