import type { Test } from 'tap';
import { addKey } from '../retention/keys.ts';
import type { SignedCertificate } from '../schemas/certificate.ts';
import type { Settings } from '../schemas/settings.ts';
import { type Installation, until } from './cdrhouse-program.ts';
import { ClickhouseProxy, insertsInto } from './fault/clickhouse-proxy.ts';

/** What a `subject` command reports, as JSON. */
export interface ToldReport {
  readonly request_id: string | null;
  readonly state: string;
  readonly result: Readonly<Record<string, unknown>>;
  readonly certificate: SignedCertificate | null;
}

/** A new API key with these roles. */
export async function tokenOf(settings: Settings, ...roles: string[]): Promise<string> {
  const { token } = await addKey(settings, {
    roles,
    label: '',
    expiresAt: undefined,
    shared: false,
    requestsPerMinute: undefined,
    addresses: [],
  });
  return token;
}

/** Kills a command with SIGKILL when its insert into this table is about to happen, or has. */
export async function killedAt(
  t: Test,
  installation: Installation,
  [when, table]: readonly ['before' | 'after', string],
  ...command: string[]
): Promise<void> {
  const direct = installation.environment['CDRHOUSE_CLICKHOUSE_URL']!;
  const proxy = await ClickhouseProxy.start(t, direct);
  const hold = proxy.hold(when, insertsInto(table));
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
  const running = installation.start(...command);
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = direct;
  await until(`the insert into ${table}`, () => hold.count() > 0 || running.child.exitCode !== null);
  running.child.kill('SIGKILL');
  await running.ended;
  await hold.release();
}
