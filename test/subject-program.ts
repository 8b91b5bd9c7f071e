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
  // The lock ends with the client, which the proxy would outlive.
  proxy.on(
    ({ statement }) => statement.includes('sleepEachRow'),
    async (lock) => lock.answer(await proxy.forward(lock, { whileClientIsThere: true })),
  );
  const hold = proxy.hold(when, insertsInto(table));
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = proxy.url;
  const running = installation.start(...command);
  installation.environment['CDRHOUSE_CLICKHOUSE_URL'] = direct;
  await until(`the insert into ${table}`, () => hold.count() > 0 || running.child.exitCode !== null);
  running.child.kill('SIGKILL');
  await running.ended;
  await hold.release();
}

/** Erases what a number did from 2025 to May 2026. */
export function eraseCommand(number: string): string[] {
  const [from, to] = ['2025-01-01T00:00:00Z', '2026-06-01T00:00:00Z'] as const;
  const person = ['--number', number, '--from', from, '--to', to];
  return ['subject', 'erase', ...person, '--reason', 'asked for it', '--json'];
}

/** Calls of a number in that time, calls of others with it, and records that cannot be read. */
export function personLines(
  number: string,
  name: string,
): { readonly own: string[]; readonly others: string[]; readonly bad: string[] } {
  const other = '+33199660098';
  const line = (calling: string, dialed: string, id: string): string =>
    `${calling},${calling},${dialed},2025-03-01T10:00:00.000Z,60,50,${name}-${id},answered,`;
  return {
    own: [line(number, other, 'own-1'), line(number, other, 'own-2')],
    others: [line(other, number, 'others-1'), line(other, number, 'others-2')],
    bad: [`${number},${number},${other},never,60`],
  };
}
