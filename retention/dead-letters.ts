import { CdrhouseError } from '../schemas/errors.ts';
import type { Settings } from '../schemas/settings.ts';
import { retentionClient } from './clickhouse.ts';

/** A rejected record without its content. */
export interface DeadLetter {
  /** topic/partition/offset/line */
  readonly place: string;
  readonly feed: string;
  readonly code: string;
  readonly field: string;
  readonly position: number;
  readonly message_at: string;
  readonly rejected_at: string;
}

const PLACE = "concat(topic, '/', toString(partition), '/', toString(offset), '/', toString(line)) AS place";
const COLUMNS = `${PLACE}, feed, code, field, position, toString(message_at) AS message_at, toString(rejected_at) AS rejected_at`;

/** The newest rejected records, at most `limit`. */
export async function listDeadLetters(
  settings: Settings,
  filter: { readonly feed?: string; readonly code?: string; readonly limit: number },
): Promise<DeadLetter[]> {
  const conditions = [
    ...(filter.feed === undefined ? [] : ['feed = {feed: String}']),
    ...(filter.code === undefined ? [] : ['code = {code: String}']),
  ];
  const where = conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`;
  return select<DeadLetter>(
    settings,
    `SELECT ${COLUMNS} FROM ${settings.clickhouse.database}.dead_letters FINAL ${where}
     ORDER BY dead_letters.rejected_at DESC, place LIMIT {limit: UInt32}`,
    filter,
  );
}

/** One rejected record with its bytes: as text where they are UTF-8, else as hexadecimal. */
export async function showDeadLetter(settings: Settings, place: string): Promise<object> {
  const match = /^(.+)\/([0-9]+)\/([0-9]+)\/([0-9]+)$/.exec(place);
  if (match === null)
    throw new CdrhouseError('USAGE_WRONG', 'a place is topic/partition/offset/line, as list prints it');
  const [, topic, partition, offset, line] = match;
  const rows = await select<DeadLetter & { raw: string; raw_hex: string }>(
    settings,
    `SELECT ${COLUMNS}, if(isValidUTF8(raw), raw, '') AS raw, if(isValidUTF8(dead_letters.raw), '', hex(dead_letters.raw)) AS raw_hex
     FROM ${settings.clickhouse.database}.dead_letters FINAL
     WHERE topic = {topic: String} AND partition = {partition: Int32} AND offset = {offset: Int64} AND line = {line: UInt32}`,
    { topic, partition, offset, line },
  );
  if (rows.length === 0) throw new CdrhouseError('USAGE_WRONG', 'there is no rejected record at this place');
  return rows[0]!;
}

async function select<T>(settings: Settings, query: string, parameters: object): Promise<T[]> {
  const client = retentionClient(settings);
  try {
    const result = await client.query({ query, query_params: { ...parameters }, format: 'JSONEachRow' });
    return await result.json<T>();
  } finally {
    await client.close();
  }
}
