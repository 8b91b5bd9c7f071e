import type {
  FastifyBaseLogger,
  FastifyInstance,
  FastifyReply,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
  RawServerDefault,
} from 'fastify';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import { LIMIT_DEFAULT } from '../schemas/api.ts';
import type { ApiRole } from '../schemas/api-key.ts';
import type { RetentionMonths } from '../schemas/retention-term.ts';
import type { Settings } from '../schemas/settings.ts';
import type { StoredSettings } from '../schemas/stored-settings.ts';
import { ApiKeys, type Caller } from './auth.ts';
import { CallIds } from '../schemas/call-id.ts';
import type { CallsCursorPlace } from './calls-search.ts';
import { CallsTogether } from './calls-together.ts';
import type { QueryDatabase } from './clickhouse.ts';
import { findFaults } from './completeness.ts';
import { Cursors } from './cursor.ts';
import { Feeds } from './feeds.ts';
import { LedgerProgress } from './ledger-progress.ts';
import { JwtCallers } from './jwt.ts';
import { Journal } from './journal.ts';
import type { JournalPlace } from './journal-sql.ts';
import { QueryMetrics } from './metrics.ts';
import { NumberKeys } from '../schemas/number-keys.ts';
import { AnyRights } from './privacy.ts';
import { Problem } from './problem.ts';
import type { RecordsPlace } from './records-sql.ts';
import { isTimeZone } from './times.ts';
import type { UsagePlace } from './usage-sql.ts';
import { WrongKeys } from './wrong-keys.ts';

/** The HTTP server with the types of its schemas. */
export type ApiServer = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>;

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The role that a key needs for this route; every route below /v1 has one. */
    role?: ApiRole;
  }
  interface FastifyRequest {
    /** Null on routes that need no key. */
    caller: Caller | null;
  }
}

/** Where a page of usage ended, and the digest of all calls that it is about. */
export interface UsageCursorPlace {
  readonly after: UsagePlace;
  readonly digest: string;
}

/** The database as the routes see it; a test can stand in for it. */
export type Database = Pick<QueryDatabase, keyof QueryDatabase>;

/** What the routes work with. */
export interface QueryContext {
  readonly settings: Settings;
  readonly database: Database;
  readonly retentionMonths: RetentionMonths;
  readonly timeZones: ReadonlySet<string>;
  readonly metrics: QueryMetrics;
  readonly keys: ApiKeys;
  /** Undefined: JSON Web Tokens are not taken. */
  readonly tokens: JwtCallers | undefined;
  readonly wrongKeys: WrongKeys;
  readonly feeds: Feeds;
  /** Topics of the feeds that stand in the settings. */
  readonly topics: ReadonlyMap<string, string>;
  readonly rights: AnyRights;
  readonly calls: CallsTogether;
  readonly journal: Journal;
  /** The HMAC key of the journal, and those that it had before. */
  readonly journalKeys: readonly Uint8Array[];
  readonly journalCursors: Cursors<JournalPlace>;
  readonly numberKeys: NumberKeys;
  readonly callIds: CallIds;
  readonly callsCursors: Cursors<CallsCursorPlace>;
  readonly usageCursors: Cursors<UsageCursorPlace>;
  readonly recordsCursors: Cursors<RecordsPlace>;
}

export function createContext(
  settings: Settings,
  database: Database,
  stored: StoredSettings,
  timeZones: ReadonlySet<string>,
): QueryContext {
  // What is sealed outlives the journal's key: an id is kept in other systems.
  const { identityKey, journalKey, journalKeys } = stored;
  const topics = new Map(settings.feeds.map(({ name, topic }) => [name, topic]));
  const progress = new LedgerProgress((sinceMs) => database.logProgress(sinceMs));
  return {
    settings,
    database,
    retentionMonths: stored.retentionMonths,
    timeZones,
    metrics: new QueryMetrics(),
    keys: new ApiKeys((keyId) => database.apiKey(keyId)),
    tokens: tokensOf(settings),
    wrongKeys: new WrongKeys(settings.query.wrong_keys_per_minute),
    topics,
    feeds: new Feeds(topics, {
      progress: () => progress.read(),
      faultsSince: (ms) => findFaults(database, ms),
    }),
    rights: new AnyRights(database),
    calls: new CallsTogether(database),
    journal: new Journal(journalKey, (rows) => database.insertJournal(rows)),
    journalKeys,
    journalCursors: new Cursors(identityKey, 'journal'),
    numberKeys: new NumberKeys(identityKey),
    callIds: new CallIds(identityKey),
    callsCursors: new Cursors(identityKey, 'calls'),
    usageCursors: new Cursors(identityKey, 'usage'),
    recordsCursors: new Cursors(identityKey, 'records'),
  };
}

function tokensOf({ query }: Settings): JwtCallers | undefined {
  const {
    jwt_jwks_url: jwksUrl,
    jwt_issuer: issuer,
    jwt_audience: audience,
    jwt_roles_claim: rolesClaim,
  } = query;
  if (jwksUrl === undefined || issuer === undefined || audience === undefined) return undefined;
  return new JwtCallers({ jwksUrl, issuer, audience, rolesClaim });
}

/** The zone that a request asks for, or the one of the settings. Throws a Problem for a name that is none. */
export function zoneOf({ settings, timeZones }: QueryContext, asked: string | undefined): string {
  const zone = asked ?? settings.query.time_zone;
  if (isTimeZone(zone, timeZones)) return zone;
  throw new Problem('PARAMETER_INVALID', 'time_zone: must be an IANA time zone like Europe/Paris');
}

/** Days that a range may have: the setting, else the retention term, so that all that is kept can be asked for at once. */
export function rangeDaysMax({ settings, retentionMonths }: QueryContext): number {
  return settings.query.range_days_max ?? retentionMonths.all * 31;
}

/** Rows of the page that a request asks for. */
export function pageRows({ settings }: QueryContext, limit: number | undefined): number {
  return limit ?? Math.min(LIMIT_DEFAULT, settings.query.limit_max);
}

/** Aborted when the client goes away before its answer is complete, so that the database stops working for it. */
export function goneSignal(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) controller.abort();
  });
  return controller.signal;
}
