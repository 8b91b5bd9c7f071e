import { createClient, type ClickHouseClient } from '@clickhouse/client';
import { createApiKey, type ApiRole } from '../../schemas/api-key.ts';
import { MIGRATIONS, migrationsTable, settingsTable, STORED_SETTINGS } from '../../schemas/migrations.ts';
import { e164Key, isE164, textKey } from '../../schemas/number-key.ts';
import { deriveKey } from '../../schemas/record-key.ts';
import { checkSettings, type Settings } from '../../schemas/settings.ts';
import { sipHash24 } from '../../schemas/siphash.ts';
import { sqlTime } from '../../schemas/sql-time.ts';
import { runQuery } from '../../query/main.ts';
import { seeded } from '../seeded.ts';
import type { TestServers } from '../test-servers.ts';

/** A call as it should be read. */
export interface StoredCall {
  readonly cdrKey: string;
  readonly startMs: number;
  readonly calling: string;
  readonly displayed: string;
  readonly dialed: string;
  readonly durationMs: number;
  readonly talkMs: number | null;
  readonly outcome: string;
  readonly feed: string;
  readonly account?: string;
  readonly direction?: string;
  readonly callId?: string;
}

export const IDENTITY_KEY = Buffer.alloc(32, 0xa1);
export const JOURNAL_KEY = Buffer.alloc(32, 0xb2);

interface Teardown {
  readonly teardown: (undo: () => unknown) => void;
}

/** A database with the tables and keys of cdrhouse, filled directly, and the API over it. */
export class CallStore {
  readonly database: string;
  readonly admin: ClickHouseClient;
  readonly #servers: TestServers;

  constructor(t: Teardown, servers: TestServers, index: number) {
    this.#servers = servers;
    this.database = servers.databases[index]!;
    const { user, password } = servers.users.retention;
    this.admin = createClient({ url: servers.clickhouse, username: user, password, log: { level: 127 } });
    t.teardown(() => this.admin.close());
  }

  /** Makes the tables, empty. */
  async create(retentionMonths = 36): Promise<void> {
    const { database } = this;
    await this.admin.command({ query: `DROP DATABASE IF EXISTS ${database}` });
    await this.admin.command({ query: `CREATE DATABASE ${database}` });
    await this.admin.command({ query: migrationsTable(database) });
    await this.admin.command({ query: settingsTable(database) });
    for (const { number, title, statements } of MIGRATIONS) {
      for (const query of statements({ database, retentionMonths })) await this.admin.command({ query });
      await this.insert('schema_migrations', [{ number, title, program_version: 'test', applied_at: 1 }]);
    }
    const settings = {
      [STORED_SETTINGS.retentionMonths]: String(retentionMonths),
      [STORED_SETTINGS.identityKey]: IDENTITY_KEY.toString('hex'),
      [STORED_SETTINGS.journalKey]: JOURNAL_KEY.toString('hex'),
    };
    const rows = Object.entries(settings).map(([name, value]) => ({ name, value, set_at: 1 }));
    await this.insert('settings', rows);
  }

  async insert(table: string, values: readonly object[]): Promise<void> {
    await this.admin.insert({ table: `${this.database}.${table}`, values, format: 'JSONEachRow' });
  }

  async rows<T>(query: string): Promise<T[]> {
    const result = await this.admin.query({ query, format: 'JSONEachRow' });
    return result.json<T>();
  }

  /**
   * Stores calls in both tables as ingest does. A row of a higher version wins; a deleted one takes what it names away.
   */
  async store(calls: readonly StoredCall[], version: number, isDeleted = 0): Promise<void> {
    await this.insert(
      'cdr',
      calls.map((call) =>
        Object.assign(columns(call, version, isDeleted), { calling_key: numberKey(call.feed, call.calling) }),
      ),
    );
    const byNumber: object[] = [];
    for (const call of calls) {
      for (const { role, number } of numbersOf(call)) {
        const key = { number_key: numberKey(call.feed, number), role };
        byNumber.push({ ...key, ...columns(call, version, isDeleted) });
      }
    }
    await this.insert('cdr_by_number', byNumber);
  }

  /** A new API key; gives its token. */
  async key(roles: readonly ApiRole[], row: object = {}): Promise<{ token: string; keyId: string }> {
    const { token, keyId, secretHash } = createApiKey();
    const values = {
      key_id: keyId,
      secret_hash: secretHash,
      label: 'test',
      roles,
      created_at: 1,
      version: 1,
      ...row,
    };
    await this.insert('api_keys', [values]);
    return { token, keyId };
  }

  settings(query: object = {}, feeds: readonly string[] = ['alpha', 'beta']): Settings {
    return checkSettings({
      feeds: feeds.map((name) => ({ name })),
      clickhouse: { url: this.#servers.clickhouse, database: this.database },
      query: {
        clickhouse_user: this.#servers.users.query.user,
        clickhouse_password: this.#servers.users.query.password,
        port: 0,
        default_country: 'FR',
        log_level: 'silent',
        ...query,
      },
    });
  }

  /** Starts the API; it ends with the test. Rejects where it does not start. */
  async serve(t: Teardown, settings: Settings = this.settings()): Promise<string> {
    const stop = new AbortController();
    let ended: Promise<void> = Promise.resolve();
    const url = await new Promise<string>((onListening, failed) => {
      ended = runQuery({ settings, stop: stop.signal, onListening }).catch(failed);
    });
    t.teardown(async () => {
      stop.abort();
      await ended;
    });
    return url;
  }
}

const isCorrected = (index: number): boolean => index % 17 === 0;

/** The version that ingest gives a row that it stores at this moment: first stored wins. */
export function versionAt(storedAtSeconds: number): number {
  return 2 ** 32 - 1 - storedAtSeconds;
}

export function numberKey(feed: string, text: string): number {
  if (isE164(text)) return e164Key(text);
  return textKey(sipHash24(deriveKey(IDENTITY_KEY, 'number', feed), Buffer.from(text, 'utf8')));
}

function numbersOf({ calling, displayed, dialed }: StoredCall): { role: string; number: string }[] {
  const numbers = [{ role: 'dialed', number: dialed }];
  return displayed === calling ? numbers : [...numbers, { role: 'displayed', number: displayed }];
}

function columns(call: StoredCall, version: number, isDeleted: number): object {
  return {
    start_at: sqlTime(call.startMs),
    cdr_key: call.cdrKey,
    calling_number: call.calling,
    displayed_caller_id: call.displayed,
    dialed_number: call.dialed,
    duration_ms: call.durationMs,
    talk_ms: call.talkMs,
    outcome: call.outcome,
    direction: call.direction ?? 'outbound',
    account: call.account ?? '',
    call_id: call.callId ?? `call-${call.cdrKey}`,
    feed: call.feed,
    stored_at: 1_700_000_000,
    version: String(version),
    is_deleted: isDeleted,
  };
}

export const NUMBERS = [
  '+33639980001',
  '+33639980002',
  '+33199000001',
  '+33199000002',
  '0033639980001',
  '0639980001',
  '211474',
  '1002',
  'anonymous',
  '',
];

/** A call at a moment, different for each index. */
export function callAt(startMs: number, index: number): StoredCall {
  const pick = (offset: number): string => NUMBERS[(index * 7 + offset) % NUMBERS.length]!;
  return {
    cdrKey: (2n ** 63n + BigInt(index) * 1_000_003n).toString(),
    startMs,
    calling: pick(0),
    displayed: index % 3 === 0 ? pick(1) : pick(0),
    dialed: pick(3),
    durationMs: 1000 + index,
    talkMs: null,
    outcome: 'answered',
    feed: index % 2 === 0 ? 'alpha' : 'beta',
  };
}

/** Calls among few numbers, so that every role and every meeting of numbers occurs; some at the same moment. */
export function someCalls(count: number, fromMs: number, toMs: number, seed: number): StoredCall[] {
  const random = seeded(seed);
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)]!;
  return Array.from({ length: count }, (_, index) => {
    const calling = pick(NUMBERS);
    // A grid of moments, so that starts collide and the second part of the key has to decide.
    const startMs =
      fromMs + Math.floor((random() * (toMs - fromMs)) / 700_000) * 700_000 + (index % 3 === 0 ? 123 : 0);
    return {
      // Above 2^53, and not in the order of time.
      cdrKey: (2n ** 63n + BigInt(Math.floor(random() * 2 ** 48)) * 1024n + BigInt(index)).toString(),
      startMs,
      calling,
      displayed: random() < 0.7 ? calling : pick(NUMBERS),
      dialed: pick(NUMBERS),
      durationMs: Math.floor(random() * 600_000),
      talkMs: random() < 0.3 ? null : Math.floor(random() * 500_000),
      outcome: pick(['answered', 'no_answer', 'busy', 'unknown']),
      feed: pick(['alpha', 'beta']),
    };
  });
}

/**
 * Stores calls as they come to lie in real life: sent twice with other content (the first wins), some corrected (the old
 * one deleted, the new one under another key), in several parts. Gives what must be read.
 */
export async function storeWithHistory(
  store: CallStore,
  calls: readonly StoredCall[],
): Promise<StoredCall[]> {
  const now = 1_700_000_000;
  await store.store(calls, versionAt(now));
  const again = calls.filter((_, index) => index % 3 === 0);
  const resent: StoredCall[] = [];
  for (const call of again) resent.push({ ...call, durationMs: 1, talkMs: 1, outcome: 'failed' });
  await store.store(resent, versionAt(now + 100));
  const old = calls.filter((_, index) => isCorrected(index));
  const corrected: StoredCall[] = [];
  for (const call of old) corrected.push({ ...call, startMs: call.startMs + 1000, dialed: '+33199000002' });
  await store.store(old, 2 ** 32, 1);
  await store.store(corrected, 2 ** 32);
  // A replay of the old record after its correction must not bring it back.
  await store.store(old, versionAt(now + 200));
  return [...calls.filter((_, index) => !isCorrected(index)), ...corrected];
}
