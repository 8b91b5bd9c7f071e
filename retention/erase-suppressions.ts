import { sqlTime } from '../schemas/sql-time.ts';
import { suppressionHash, suppressionKeys, type SuppressionKind } from '../schemas/suppressions.ts';
import { select } from './clickhouse.ts';
import type { ErasedSpans, Span } from './erase-sql.ts';
import { numbersByFeed, type Subject } from './subject.ts';
import type { SubjectContext } from './subject-requests.ts';

/**
 * The end of the person's own calls that are suppressed, UTC ms: the begin of their time where bills still need all of
 * them, and only calls of others were blanked; 0: nothing was done yet, or a legal hold needed all.
 */
export async function suppressedUntil(
  { client, database }: SubjectContext,
  requestId: string,
): Promise<number> {
  const [row] = await select<{ to_ms: number }>(
    client,
    `SELECT max(toUnixTimestamp64Milli(if(kind = 'drop', to_at, from_at))) AS to_ms
      FROM ${database}.suppressions WHERE request_id = {request_id: String}`,
    { request_id: requestId },
  );
  return row?.to_ms ?? 0;
}

/**
 * Adds the suppressions and gives their version, which is above that of all others: who knows one as new knows all that
 * were visible before.
 */
export async function suppress(
  { client, database, stored }: SubjectContext,
  subject: Subject,
  { requestId, own, others }: ErasedSpans,
): Promise<number> {
  const keys = suppressionKeys(stored.identityKey);
  const rowsOf = (kind: SuppressionKind, { fromMs, toMs }: Span): object[] =>
    fromMs >= toMs
      ? []
      : numbersByFeed(subject).map(({ number, feed }) => ({
          request_id: requestId,
          kind,
          number_hash: suppressionHash(keys, number),
          key_id: keys.id,
          feed,
          from_at: sqlTime(fromMs),
          to_at: sqlTime(toMs),
        }));
  const rows = [...rowsOf('drop', own), ...rowsOf('blank', others)];
  for (;;) {
    const [newest] = await select<{ version: number }>(
      client,
      `SELECT max(version) AS version FROM ${database}.suppressions`,
    );
    const us = Date.now() * 1000 + Math.floor(Math.random() * 1000);
    const version = Math.max((newest?.version ?? 0) + 1, us);
    await client.insert({
      table: `${database}.suppressions`,
      values: rows.map((row) => ({ ...row, version })),
      format: 'JSONEachRow',
    });
    const [other] = await select<{ rows: number }>(
      client,
      `SELECT count() AS rows FROM ${database}.suppressions
        WHERE version >= {version: UInt64} AND request_id != {request_id: String}`,
      { version, request_id: requestId },
    );
    if (other!.rows === 0) return version;
  }
}
