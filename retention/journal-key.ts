import { randomBytes } from 'node:crypto';
import { CdrhouseError } from '../schemas/errors.ts';
import { hmacKeyId } from '../schemas/number-hmac.ts';
import { STORED_SETTINGS } from '../schemas/migrations.ts';
import type { Settings } from '../schemas/settings.ts';
import { sqlTime } from '../schemas/sql-time.ts';
import { withRetentionClient } from './clickhouse.ts';
import { readSettingsTable } from './migrate.ts';

/** Ids of HMAC keys, as entries of the journal name them. */
export interface RotatedKeys {
  readonly former: string;
  readonly current: string;
}

/**
 * Gives the journal a new HMAC key. The one before stays as a former key, so that numbers under it are still found; call
 * ids and cursors do not depend on it. A running API writes with its key until it is started again. Throws SCHEMA_MISSING.
 */
export function rotateJournalKey(settings: Settings): Promise<RotatedKeys> {
  const { database } = settings.clickhouse;
  return withRetentionClient(settings, async (client) => {
    const currentKey = async (): Promise<string | undefined> =>
      (await readSettingsTable(client, database)).get(STORED_SETTINGS.journalKey);
    const before = await currentKey();
    if (before === undefined)
      throw new CdrhouseError('SCHEMA_MISSING', 'the database has no settings of cdrhouse');
    const former = hmacKeyId(Buffer.from(before, 'hex'));
    const key = randomBytes(32);
    const set_at = sqlTime(Date.now());
    // One insert, one part: never the new key without the former one.
    await client.insert({
      table: `${database}.settings`,
      values: [
        { name: `${STORED_SETTINGS.formerJournalKey}${former}`, value: before, set_at },
        { name: STORED_SETTINGS.journalKey, value: key.toString('hex'), set_at },
      ],
      format: 'JSONEachRow',
    });
    const after = await currentKey();
    if (after !== key.toString('hex'))
      throw new CdrhouseError(
        'KEY_NOT_ROTATED',
        'the database holds a key that was set later than now: by another rotation, or by a clock that is ahead',
      );
    return { former, current: hmacKeyId(key) };
  });
}
