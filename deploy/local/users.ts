import { randomBytes } from 'node:crypto';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemErrorCode } from './errors.ts';

export interface Credentials {
  user: string;
  password: string;
}

/** One database user for each service, with that service's rights and no more. */
export interface Users {
  ingest: Credentials;
  query: Credentials;
  retention: Credentials;
}

export const userNames = {
  ingest: 'cdrhouse_ingest',
  query: 'cdrhouse_query',
  retention: 'cdrhouse_retention',
} as const;

function newPassword(): string {
  return randomBytes(24).toString('base64url');
}

function isUsers(value: unknown): value is Users {
  const services = Object.keys(userNames);
  return typeof value === 'object' && value !== null && services.every((service) => service in value);
}

/** The users of a data folder (`users.json`, readable by its owner only); passwords are drawn at the first start. */
export async function usersOf(dataDir: string): Promise<Users> {
  const path = join(dataDir, 'users.json');
  try {
    const users: unknown = JSON.parse(await readFile(path, 'utf8'));
    if (isUsers(users)) return users;
    throw new Error(`${path} does not hold the users of the local servers; remove it to have it made again`);
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw error;
  }
  const users: Users = {
    ingest: { user: userNames.ingest, password: newPassword() },
    query: { user: userNames.query, password: newPassword() },
    retention: { user: userNames.retention, password: newPassword() },
  };
  await writeFile(`${path}.new`, `${JSON.stringify(users, null, 2)}\n`, { mode: 0o600 });
  await rename(`${path}.new`, path);
  return users;
}
