import { CdrhouseError } from './errors.ts';
import { SCHEMA_VERSION, STORED_SETTINGS } from './migrations.ts';

/** What the services take from the database's own settings. */
export interface StoredSettings {
  /** 32 bytes. */
  readonly identityKey: Uint8Array;
  /** 32 bytes. */
  readonly journalKey: Uint8Array;
  /** `journalKey`, and those that the journal had before: what is written under any of them is found. */
  readonly journalKeys: readonly Uint8Array[];
  readonly retentionMonths: number;
}

/**
 * Reads what `migrate` stored, and refuses to go on where program and database do not fit: tables missing
 * or older (SCHEMA_MISSING), more than one version newer (SCHEMA_TOO_NEW), another term (RETENTION_DIFFERS).
 */
export function readStoredSettings(
  stored: ReadonlyMap<string, string>,
  schemaVersion: number,
  retentionMonths: number,
): StoredSettings {
  checkSchemaVersion(schemaVersion);
  const term = Number(stored.get(STORED_SETTINGS.retentionMonths));
  const identityKey = stored.get(STORED_SETTINGS.identityKey);
  const journalKey = stored.get(STORED_SETTINGS.journalKey);
  if (identityKey === undefined || journalKey === undefined || !Number.isInteger(term)) {
    throw new CdrhouseError('SCHEMA_MISSING', 'the database has tables but no settings of cdrhouse');
  }
  if (term !== retentionMonths) {
    throw new CdrhouseError(
      'RETENTION_DIFFERS',
      `the settings say ${retentionMonths} months, the database ${term}`,
    );
  }
  const formerJournalKeys = [...stored].filter(([name]) => name.startsWith(STORED_SETTINGS.formerJournalKey));
  return {
    identityKey: Buffer.from(identityKey, 'hex'),
    journalKey: Buffer.from(journalKey, 'hex'),
    journalKeys: [journalKey, ...formerJournalKeys.map(([, value]) => value)].map((key) =>
      Buffer.from(key, 'hex'),
    ),
    retentionMonths: term,
  };
}

/** One version ahead still works, so that database and programs need not be upgraded in one moment. */
export function checkSchemaVersion(schemaVersion: number): void {
  if (schemaVersion < SCHEMA_VERSION) {
    throw new CdrhouseError(
      'SCHEMA_MISSING',
      `the tables are version ${schemaVersion}, this program needs ${SCHEMA_VERSION}`,
    );
  }
  if (schemaVersion > SCHEMA_VERSION + 1) {
    throw new CdrhouseError(
      'SCHEMA_TOO_NEW',
      `the tables are version ${schemaVersion}, this program knows ${SCHEMA_VERSION}`,
    );
  }
}
