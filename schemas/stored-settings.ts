import { CdrhouseError } from './errors.ts';
import { SCHEMA_VERSION, STORED_SETTINGS } from './migrations.ts';
import { monthsOf, type RetentionMonths } from './retention-term.ts';
import type { Settings } from './settings.ts';

/** What the services take from the database's own settings. */
export interface StoredSettings {
  /** 32 bytes. */
  readonly identityKey: Uint8Array;
  /** 32 bytes. */
  readonly journalKey: Uint8Array;
  /** `journalKey`, and those that the journal had before: what is written under any of them is found. */
  readonly journalKeys: readonly Uint8Array[];
  readonly retentionMonths: RetentionMonths;
}

/**
 * Reads what `migrate` stored, and refuses to go on where program and database do not fit: tables missing
 * or older (SCHEMA_MISSING), more than one version newer (SCHEMA_TOO_NEW), another term, of all calls or of those of a feed
 * in the settings (RETENTION_DIFFERS).
 */
export function readStoredSettings(
  stored: ReadonlyMap<string, string>,
  schemaVersion: number,
  settings: Settings,
): StoredSettings {
  checkSchemaVersion(schemaVersion);
  const retentionMonths = storedTerms(stored);
  const identityKey = stored.get(STORED_SETTINGS.identityKey);
  const journalKey = stored.get(STORED_SETTINGS.journalKey);
  if (identityKey === undefined || journalKey === undefined || !Number.isInteger(retentionMonths.all)) {
    throw new CdrhouseError('SCHEMA_MISSING', 'the database has tables but no settings of cdrhouse');
  }
  checkTerms(settings, retentionMonths);
  const formerJournalKeys = [...stored].filter(([name]) => name.startsWith(STORED_SETTINGS.formerJournalKey));
  return {
    identityKey: Buffer.from(identityKey, 'hex'),
    journalKey: Buffer.from(journalKey, 'hex'),
    journalKeys: [journalKey, ...formerJournalKeys.map(([, value]) => value)].map((key) =>
      Buffer.from(key, 'hex'),
    ),
    retentionMonths,
  };
}

/** The terms that the database has. `all` is NaN where there is none. */
export function storedTerms(stored: ReadonlyMap<string, string>): RetentionMonths {
  const prefix = STORED_SETTINGS.feedRetentionMonths;
  const feeds = [...stored].filter(([name]) => name.startsWith(prefix));
  return {
    all: Number(stored.get(STORED_SETTINGS.retentionMonths)),
    feeds: Object.fromEntries(feeds.map(([name, value]) => [name.slice(prefix.length), Number(value)])),
  };
}

/** The terms that the settings say. */
export function termsOf({ retention, feeds }: Settings): RetentionMonths {
  return {
    all: retention.months,
    feeds: Object.fromEntries(
      feeds.flatMap(({ name, retention_months: months }) => (months === undefined ? [] : [[name, months]])),
    ),
  };
}

/** Throws RETENTION_DIFFERS where the settings say another term than the database, of all calls or of a feed's. */
export function checkTerms(settings: Settings, stored: RetentionMonths): void {
  const wanted = termsOf(settings);
  checkTermOfAll(wanted.all, stored);
  for (const { name } of settings.feeds) {
    const months = monthsOf(wanted, name);
    const kept = monthsOf(stored, name);
    if (months !== kept)
      throw new CdrhouseError(
        'RETENTION_DIFFERS',
        `of feed ${name} the settings say ${months} months, the database ${kept}`,
      );
  }
}

/** The same of the term of all calls alone. */
export function checkTermOfAll(months: number, { all }: RetentionMonths): void {
  if (months !== all)
    throw new CdrhouseError('RETENTION_DIFFERS', `the settings say ${months} months, the database ${all}`);
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
