import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { e164Key } from '../schemas/number-key.ts';
import type { Installation } from './cdrhouse-program.ts';

/** Tables in which numbers can stand. */
const TABLES = [
  'cdr',
  'cdr_by_number',
  'cdr_held',
  'legal_holds',
  'dead_letters',
  'restrictions',
  'objections',
  'corrections',
];

/** Has the tables written so that numbers can be found in their files: columns and primary keys as they are. */
export async function writePlainly(installation: Installation): Promise<void> {
  for (const table of TABLES) {
    const columns = await installation.rows<{ name: string }>(
      `SELECT name FROM system.columns WHERE database = '{db}' AND table = '${table}'
        AND type IN ('String', 'UInt64', 'Array(String)') AND name != 'version'`,
    );
    const plain = columns.map(({ name }) => `MODIFY COLUMN ${name} CODEC(NONE)`);
    await installation.statement(`ALTER TABLE {db}.${table} ${plain.join(', ')}`);
    await installation.statement(
      `ALTER TABLE {db}.${table} MODIFY SETTING compress_primary_key = 0, compress_marks = 0`,
    );
  }
}

/**
 * Files of the server, all databases, logs and what waits for its removal included, in which the number stands: its
 * digits behind the country code in the spellings given, or the eight bytes of its key.
 */
export async function filesWith(
  installation: Installation,
  number: string,
  spellings: readonly string[],
): Promise<string[]> {
  const [disk] = await installation.rows<{ path: string }>(
    "SELECT path FROM system.disks WHERE name = 'default'",
  );
  const key = Buffer.alloc(8);
  key.writeBigUInt64LE(BigInt(e164Key(number)));
  const wanted = [key, ...[number, ...spellings].map((text) => Buffer.from(text))];
  return filesBelow(disk!.path).filter((path) => {
    const bytes = contentOf(path);
    return wanted.some((text) => bytes.includes(text));
  });
}

function filesBelow(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
      const path = join(folder, entry.name);
      return entry.isDirectory() ? filesBelow(path) : entry.isFile() ? [path] : [];
    });
  } catch {
    // The server has just removed it.
    return [];
  }
}

function contentOf(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch {
    return Buffer.alloc(0);
  }
}
