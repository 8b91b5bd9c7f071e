import { createHash, createHmac } from 'node:crypto';

/** Names an HMAC key without telling it. */
export function hmacKeyId(key: Uint8Array): string {
  return createHash('sha256').update(key).digest('hex').slice(0, 8);
}

/** What the journal and the requests of persons hold in place of a number: HMAC-SHA-256 under the journal's key. */
export function numberHmac(key: Uint8Array, number: string): string {
  return createHmac('sha256', key).update(number, 'utf8').digest('hex');
}

/** The HMACs under which any of these numbers can stand, by any of these keys. */
export function numberHmacs(keys: readonly Uint8Array[], numbers: readonly string[]): string[] {
  return keys.flatMap((key) => numbers.map((number) => numberHmac(key, number)));
}

/** Counts look-ups under keys that are none of these, so that no number finds them. */
export function unsearchableSql(
  database: string,
  keys: readonly Uint8Array[],
  conditions: readonly string[],
): { readonly text: string; readonly parameters: Readonly<Record<string, unknown>> } {
  return {
    text: `SELECT uniqExact(request_id) AS lookups
FROM ${database}.lookup_journal
WHERE ${conditions.join('\n  AND ')}
  AND number_hmac != ''
  AND hmac_key_id NOT IN {hmac_key_ids: Array(String)}`,
    parameters: { hmac_key_ids: keys.map(hmacKeyId) },
  };
}
