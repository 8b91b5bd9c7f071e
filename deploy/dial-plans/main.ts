import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { countryCodesOfLibrary, dialPlansOfLibrary } from './from-metadata.ts';

/** Writes schemas/dial-plans.ts anew from the metadata of the installed libphonenumber-js: `make dial-plans`. */
const file = resolve(fileURLToPath(import.meta.url), '../../../../schemas/dial-plans.ts');

writeFileSync(
  file,
  `import type { DialPlan } from './dial-plan.ts';

// Generated from the metadata of libphonenumber-js by \`make dial-plans\`; do not edit. A test holds both together.

/** Patterns of the country codes that are assigned. */
export const COUNTRY_CODES: readonly string[] = ${JSON.stringify(countryCodesOfLibrary())};

export const DIAL_PLANS: Readonly<Record<string, DialPlan>> = ${JSON.stringify(dialPlansOfLibrary())};
`,
);
