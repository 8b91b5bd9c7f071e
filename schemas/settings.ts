import type { ErrorObject } from 'ajv';
import { IANAZone } from 'luxon';
import type { Static } from 'typebox';
import { readNetwork } from './address-list.ts';
import { DIAL_PLANS } from './dial-plans.ts';
import { CdrhouseError } from './errors.ts';
import { checkFormatSettings } from './formats/feed-format.ts';
import { findFormat } from './formats/index.ts';
import { checkTimeNotation } from './formats/time-pattern.ts';
import type { SettingsSchema } from './settings-schema.ts';
import validate from './settings-validator.cjs';

type Checked = Static<typeof SettingsSchema>;
export type FeedSettings = Checked['feeds'][number] & { readonly topic: string };
export type Settings = Omit<Checked, 'feeds'> & { readonly feeds: readonly FeedSettings[] };

/** librdkafka properties that would break the guarantees if they were changed, and why they may not be. */
const REFUSED_CLIENT_PROPERTIES: readonly { readonly pattern: RegExp; readonly reason: string }[] = [
  { pattern: /^group\.id$/, reason: 'set kafka.group instead' },
  { pattern: /^group\.instance\.id$/, reason: 'ingest gives every process slot its own' },
  { pattern: /^group\.protocol$/, reason: 'ingest relies on the classic protocol' },
  {
    pattern: /^enable\.auto\./,
    reason: 'offsets are committed only after the rows and the ledger are stored',
  },
  { pattern: /^auto\.offset\.reset$/, reason: 'where to go on is decided by the ledger' },
  { pattern: /^isolation\.level$/, reason: 'records of aborted transactions must never be read' },
  { pattern: /^partition\.assignment\.strategy$/, reason: 'ingest relies on eager assignment' },
  { pattern: /^(metadata\.broker\.list|bootstrap\.servers)$/, reason: 'set kafka.brokers instead' },
  { pattern: /(_cb|^plugin\.library\.paths|^opaque)$/, reason: 'code cannot be set from settings' },
];

/**
 * Checks raw settings (the YAML document with the overrides laid over it) and gives them complete with
 * defaults and frozen. Throws CdrhouseError SETTINGS_INVALID with one line per wrong key: its path, what
 * is wrong, what is allowed.
 */
export function checkSettings(raw: unknown): Settings {
  const candidate = structuredClone(raw ?? {}) as Record<string, unknown>;
  if (!validate(candidate)) throw invalid((validate.errors ?? []).map(describe));
  const checked = candidate as unknown as Checked;
  const settings: Settings = {
    ...checked,
    feeds: checked.feeds.map((feed) => ({ ...feed, topic: feed.topic ?? `cdr.${feed.name}` })),
  };
  const wrong = relations(settings);
  if (wrong.length > 0) throw invalid(wrong);
  return deepFreeze(settings);
}

/** The schema of one setting by section and name, for overrides from the environment. */
export function settingSchema(section: string, name: string): { type?: string } | undefined {
  return validate.schema.properties[section]?.properties?.[name];
}

/** Names of the sections that hold single values (all but `feeds`). */
export const SECTIONS: readonly string[] = Object.keys(validate.schema.properties).filter(
  (name) => name !== 'feeds',
);

function relations(settings: Settings): string[] {
  const wrong: string[] = [];
  const names = new Set<string>();
  const topics = new Set<string>();
  settings.feeds.forEach((feed, index) => {
    const path = `feeds[${index}]`;
    if (names.has(feed.name))
      wrong.push(`${path}.name: "${feed.name}" is used twice; each feed needs a name of its own`);
    if (topics.has(feed.topic))
      wrong.push(`${path}.topic: "${feed.topic}" is used twice; each feed needs a topic of its own`);
    if (!IANAZone.isValidZone(feed.time_zone)) {
      wrong.push(
        `${path}.time_zone: "${feed.time_zone}" is no IANA time zone; allowed: names like Europe/Paris`,
      );
    }
    if (feed.country !== undefined && !Object.hasOwn(DIAL_PLANS, feed.country)) {
      wrong.push(`${path}.country: "${feed.country}" is no country; allowed: ISO 3166 codes like FR`);
    }
    const { numbers } = feed;
    const rules = [numbers, numbers?.calling, numbers?.displayed, numbers?.dialed];
    if (feed.country === undefined && rules.some((rule) => rule?.bare === 'national')) {
      wrong.push(`${path}.numbers.bare: national numbers need a country; set ${path}.country`);
    }
    wrong.push(...checkFormatSettings(feed).map((text) => `${path}.${text}`));
    if (feed.zone_abbreviations !== undefined) {
      const zones = checkTimeNotation('yyyy-MM-dd HH:mm:ss zzz', { zones: feed.zone_abbreviations });
      if (zones !== undefined) wrong.push(`${path}.zone_abbreviations: ${zones}`);
    }
    if (
      feed.identity === 'record' &&
      findFormat(feed.format)?.records.every(({ recordId }) => recordId === undefined) !== false
    ) {
      wrong.push(
        `${path}.identity: format ${feed.format} has no id of its records; allowed: auto, fields, position`,
      );
    }
    if (Number.isNaN(Date.parse(feed.earliest_start))) {
      wrong.push(`${path}.earliest_start: "${feed.earliest_start}" is no day; allowed: YYYY-MM-DD`);
    }
    if (feed.retention_months !== undefined && feed.retention_months > settings.retention.months) {
      wrong.push(
        `${path}.retention_months: must not be above retention.months (${settings.retention.months})`,
      );
    }
    names.add(feed.name);
    topics.add(feed.topic);
  });
  if (!IANAZone.isValidZone(settings.query.time_zone)) {
    wrong.push(
      `query.time_zone: "${settings.query.time_zone}" is no IANA time zone; allowed: names like Europe/Paris`,
    );
  }
  wrong.push(...wrongAccess(settings.query));
  for (const name of ['dead_letter_months', 'journal_months'] as const) {
    const months = settings.retention[name];
    if (months !== undefined && months > settings.retention.months)
      wrong.push(`retention.${name}: must not be above retention.months (${settings.retention.months})`);
  }
  const country = settings.query.default_country;
  if (country !== undefined && !Object.hasOwn(DIAL_PLANS, country)) {
    wrong.push(`query.default_country: "${country}" is no country; allowed: ISO 3166 codes like FR`);
  }
  for (const property of Object.keys(settings.kafka.client)) {
    const refused = REFUSED_CLIENT_PROPERTIES.find(({ pattern }) => pattern.test(property));
    if (refused) wrong.push(`kafka.client.${property}: may not be set; ${refused.reason}`);
  }
  return wrong;
}

function wrongAccess(query: Settings['query']): string[] {
  const wrong: string[] = [];
  if ((query.tls_cert_path === undefined) !== (query.tls_key_path === undefined)) {
    wrong.push('query.tls_cert_path, query.tls_key_path: only both together');
  }
  const tokens = [query.jwt_jwks_url, query.jwt_issuer, query.jwt_audience];
  if (tokens.includes(undefined) && tokens.some((value) => value !== undefined)) {
    wrong.push('query.jwt_jwks_url, query.jwt_issuer, query.jwt_audience: only all together');
  }
  for (const proxy of query.trusted_proxies) {
    if (readNetwork(proxy) === undefined) {
      wrong.push(
        `query.trusted_proxies: "${proxy}" is no network; allowed: 10.0.0.0/8, 2001:db8::/32, 10.0.0.1`,
      );
    }
  }
  return wrong;
}

function describe(error: ErrorObject): string {
  const at = error.instancePath
    .replace(/\/([0-9]+)/g, '[$1]')
    .replace(/\//g, '.')
    .replace(/^\./, '');
  const path = at === '' ? 'the document' : at;
  const schema = (error.parentSchema ?? {}) as { description?: string; properties?: object };
  const allowed = schema.description === undefined ? '' : ` (${schema.description})`;
  switch (error.keyword) {
    case 'additionalProperties': {
      const key = (error.params as { additionalProperty: string }).additionalProperty;
      const known = Object.keys(schema.properties ?? {}).join(', ');
      return `${at === '' ? '' : `${at}.`}${key}: is no setting; allowed here: ${known}`;
    }
    case 'required':
      return `${path}: ${(error.params as { missingProperty: string }).missingProperty} is missing`;
    case 'enum':
      return `${path}: ${shown(error.data)} is not allowed; allowed: ${(error.params as { allowedValues: string[] }).allowedValues.join(', ')}`;
    default:
      return `${path}: ${shown(error.data)} ${error.message ?? 'is wrong'}${allowed}`;
  }
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'undefined';
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

function invalid(lines: readonly string[]): CdrhouseError {
  return new CdrhouseError('SETTINGS_INVALID', [...new Set(lines)].join('\n'));
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    Object.values(value).forEach((member) => deepFreeze(member));
    Object.freeze(value);
  }
  return value;
}
