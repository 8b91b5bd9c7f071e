import { readFileSync } from 'node:fs';
import tap from 'tap';
import { API_ROLES } from '../../schemas/api-key.ts';
import { HTTP_PROBLEMS } from '../../schemas/errors.ts';

/** docs/api.md names what there is, and nothing else. */
const text = readFileSync(new URL('../../../docs/api.md', import.meta.url), 'utf8');

await tap.test('every problem with its status', async (t) => {
  const documented = Object.fromEntries(
    [...text.matchAll(/^\| `([A-Z_]+)` \| ([0-9]{3}) \|/gm)].map(([, code, status]) => [
      code,
      Number(status),
    ]),
  );
  const known = Object.fromEntries(Object.entries(HTTP_PROBLEMS).map(([code, { status }]) => [code, status]));
  t.strictSame(documented, known);
});

await tap.test('every role', async (t) => {
  const documented = new Set([...text.matchAll(/^\| `([a-z:]+)` \|/gm)].map(([, role]) => role));
  t.strictSame(documented, new Set(API_ROLES));
});
