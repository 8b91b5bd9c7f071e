import { existsSync, readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { CdrhouseError } from './schemas/errors.ts';
import { checkSettings, SECTIONS, settingSchema, type Settings } from './schemas/settings.ts';

const PREFIX = 'CDRHOUSE_';

/**
 * Reads `cdrhouse.yaml` (path in CDRHOUSE_CONFIG; it may be missing at the default path) and lays the
 * environment's overrides over it. Throws CdrhouseError SETTINGS_INVALID.
 */
export function loadSettings(environment: Readonly<Record<string, string | undefined>>): Settings {
  const named = environment['CDRHOUSE_CONFIG'];
  const document = readDocument(named ?? './cdrhouse.yaml', named !== undefined);
  return checkSettings(withOverrides(document, environment));
}

function readDocument(path: string, mustExist: boolean): Record<string, unknown> {
  if (!existsSync(path)) {
    if (!mustExist) return {};
    throw new CdrhouseError('SETTINGS_INVALID', `CDRHOUSE_CONFIG: there is no file ${path}`);
  }
  let document: unknown;
  try {
    document = parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw new CdrhouseError(
      'SETTINGS_INVALID',
      `${path}: ${cause instanceof Error ? cause.message : 'unreadable'}`,
      cause,
    );
  }
  if (document === null || document === undefined) return {};
  if (typeof document !== 'object' || Array.isArray(document)) {
    throw new CdrhouseError('SETTINGS_INVALID', `${path}: the document must be a mapping of sections`);
  }
  return document as Record<string, unknown>;
}

function withOverrides(
  document: Record<string, unknown>,
  environment: Readonly<Record<string, string | undefined>>,
): Record<string, unknown> {
  const merged = structuredClone(document);
  for (const [variable, text] of Object.entries(environment)) {
    const override = text === undefined ? undefined : findSetting(variable);
    if (override === undefined) continue;
    const { section, name } = override;
    const existing = merged[section];
    // A section that is no mapping is left for the check to name.
    if (existing !== undefined && (typeof existing !== 'object' || existing === null)) continue;
    merged[section] = { ...existing, [name]: readValue(variable, text!, settingSchema(section, name)?.type) };
  }
  return merged;
}

/** Section and name of `CDRHOUSE_<SECTION>_<NAME>`, undefined for variables of other sections. */
function findSetting(variable: string): { section: string; name: string } | undefined {
  if (!variable.startsWith(PREFIX)) return undefined;
  const rest = variable.slice(PREFIX.length).toLowerCase();
  const section = SECTIONS.find((candidate) => rest.startsWith(`${candidate}_`));
  if (section === undefined) return undefined;
  const name = rest.slice(section.length + 1);
  if (settingSchema(section, name) === undefined) {
    throw new CdrhouseError('SETTINGS_INVALID', `${variable}: there is no setting ${section}.${name}`);
  }
  return { section, name };
}

function readValue(variable: string, text: string, type: string | undefined): unknown {
  if (type === 'string') return text;
  if (type === 'integer' || type === 'number') return text.trim() === '' ? text : Number(text);
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new CdrhouseError('SETTINGS_INVALID', `${variable}: must be a JSON value`, cause);
  }
}
