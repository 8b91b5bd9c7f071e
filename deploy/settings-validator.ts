import { Ajv } from 'ajv';
import standalone from 'ajv/dist/standalone/index.js';
import { writeFileSync } from 'node:fs';
import { SettingsSchema } from '../schemas/settings-schema.ts';

/**
 * Writes dist/schemas/settings-validator.cjs, a part of the build: compiling the schema in each program would take longer
 * than all else that it does at its start.
 */
const ajv = new Ajv({
  allErrors: true,
  useDefaults: true,
  strict: false,
  verbose: true,
  code: { source: true },
});
const code = standalone.default(ajv, ajv.compile(SettingsSchema));
const schema = JSON.stringify(SettingsSchema);

writeFileSync(
  new URL('../schemas/settings-validator.cjs', import.meta.url),
  `${code}\nmodule.exports.schema = ${schema};\n`,
);
