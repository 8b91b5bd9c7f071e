import { CdrhouseError } from '../../schemas/errors.ts';
import { checkAddon } from '../native/addon.ts';
import type { ReaderKind } from './reader.ts';

export interface ReaderChoice {
  readonly kind: ReaderKind;
  /** Why the addon is not used though it was wanted. */
  readonly missing?: CdrhouseError;
}

/**
 * The reader for `ingest.reader`: auto takes the addon where it fits the installed node-rdkafka, else plain
 * consume. Throws NATIVE_ADDON_MISSING where nothing but the addon is wanted.
 */
export function chooseReader(setting: string): ReaderChoice {
  if (setting === 'plain') return { kind: 'plain' };
  try {
    checkAddon();
    return { kind: 'packed' };
  } catch (error) {
    if (setting === 'packed' || !(error instanceof CdrhouseError)) throw error;
    return { kind: 'plain', missing: error };
  }
}
