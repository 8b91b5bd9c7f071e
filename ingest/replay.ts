import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import type { Logger } from 'pino';
import { databaseFailure, errorCode } from '../schemas/clickhouse-errors.ts';
import type { DeadLetterFilter } from '../schemas/dead-letters.ts';
import { CdrhouseError } from '../schemas/errors.ts';
import { readFeed, readingRow, requireKnownFeed, type Feed } from '../schemas/feed.ts';
import type { Settings } from '../schemas/settings.ts';
import { sqlTime } from '../schemas/sql-time.ts';
import { readStoredSettings } from '../schemas/stored-settings.ts';
import type { BlockTable } from '../schemas/tables.ts';
import { IngestDatabase, type DeadLetterMark, type Sending } from './clickhouse.ts';
import { ledgerRow } from './ledger-row.ts';
import { ingestLog } from './log.ts';
import { parseContextOf, type BatchSource, type ParseContext, type ParsedBatch } from './parse/batch.ts';
import { newestCorrection } from './corrections.ts';
import { BatchParser } from './parse/parse-batch.ts';
import {
  packLetters,
  readClusterId,
  readGroups,
  readPage,
  type Letter,
  type LetterGroup,
} from './replay-page.ts';
import { untilDone } from './retry.ts';
import { addToSummary, emptySummary } from './summary.ts';
import { SuppressionsWatch, type SuppressionsUse } from './suppressions.ts';

/** How long one insert may take on its way to the database. There is no lease: repeating changes nothing. */
const INSERT_MS_MAX = 30_000;
/** How long a page waits for a database that fails. */
const WAIT_MS_MAX = 120_000;

export interface ReplayOptions {
  readonly settings: Settings;
  /** Of the letters that it finds, the open ones are replayed. */
  readonly filter: DeadLetterFilter;
  /** Only say what would become of them. */
  readonly dryRun: boolean;
  /** Aborted to end after the page in hand. */
  readonly stop: AbortSignal;
  readonly progress: (done: number, total: number) => void;
}

/** What `dead-letters replay` prints: selected = stored + rejected + suppressed + skipped + left. */
export interface ReplaySummary {
  /** Open letters that the filter found. */
  selected: number;
  stored: number;
  /** Rejected again: they stay open. */
  rejected: number;
  rejected_by_code: Record<string, number>;
  /** Of persons whose calls were erased: they are done with. */
  suppressed: number;
  /** No records under today's settings, or past their term: they are done with. */
  skipped: number;
  skipped_by_reason: Record<string, number>;
  /** Not looked at: no feed reads their topic, or the replay was stopped. */
  left: number;
}

/**
 * Reads open dead letters again with today's settings of the feeds whose topics they came from, and stores
 * what can be read now. Each keeps its place in Kafka and is judged by its Kafka timestamp, as if it were
 * read from there.
 *
 * A page of one partition is stored in this order: a mark that it is being replayed under this reading; both
 * call tables, and the letters that are now rejected for another reason; a row of the ledger; the mark that
 * it is replayed. A crash at any place leaves letters open, and replaying them again changes nothing that is
 * read, because the same record has the same key; the first mark keeps another reading, under which the key
 * may differ, from storing them a second time.
 *
 * Throws FEED_UNKNOWN, READING_CHANGED, SCHEMA_MISSING, RETENTION_DIFFERS or CLICKHOUSE_….
 */
export async function replayDeadLetters(options: ReplayOptions): Promise<ReplaySummary> {
  const { settings } = options;
  const database = new IngestDatabase(settings);
  const log = ingestLog(settings, 'cdrhouse-replay');
  try {
    return await new Replay(options, database, log).run();
  } catch (error) {
    throw databaseFailure(error);
  } finally {
    await database.close();
  }
}

/** When rows count as stored, and above which corrections. */
type Stored = Pick<Sending, 'storedAtSeconds' | 'sources'>;

/** One run of the command. */
class Replay {
  readonly #options: ReplayOptions;
  readonly #database: IngestDatabase;
  readonly #log: Logger;
  /** Of no other process, on whatever host: an erasure waits for what each says. */
  readonly #instance = `replay-${randomUUID()}`;
  #watch: SuppressionsWatch | undefined;
  /** Unix ms, another for each page, so that ledger rows which begin at the same offset are not taken for one. */
  #generation = 0;

  constructor(options: ReplayOptions, database: IngestDatabase, log: Logger) {
    this.#options = options;
    this.#database = database;
    this.#log = log;
  }

  async run(): Promise<ReplaySummary> {
    const feeds = this.#options.settings.feeds.map(readFeed);
    const context = await this.#parseContext(feeds);
    const watch = new SuppressionsWatch(this.#database, {
      instance: this.#instance,
      identityKey: context.identityKey,
      failed: (error) =>
        this.#log.warn({ reason: errorCode(error) }, 'the suppressions could not be looked at'),
    });
    this.#watch = watch;
    const { dryRun, settings } = this.#options;
    try {
      await watch.start();
      if (!dryRun)
        await this.#retried('note how the feeds are read', () =>
          this.#database.recordReadings(settings.feeds.map(readingRow)),
        );
      return await this.#replay(feeds, context);
    } finally {
      await watch.stop();
    }
  }

  async #replay(feeds: readonly Feed[], context: ParseContext): Promise<ReplaySummary> {
    const { filter, stop, progress } = this.#options;
    const parser = new BatchParser(context);
    if (filter.feed !== undefined) await this.#requireKnown(filter.feed, feeds);
    const groups = await readGroups(this.#database, filter);
    const selected = groups.reduce((sum, { letters }) => sum + letters, 0);
    const counts = emptySummary();
    for (const group of groups) {
      const feed = feeds.find(({ topic }) => topic === group.topic);
      if (feed === undefined) {
        this.#log.warn({ topic: group.topic, letters: group.letters }, 'no feed reads this topic any more');
        continue;
      }
      if (stop.aborted) break;
      await this.#replayGroup(group, feed, { context, parser }, (parsed) => {
        addToSummary(counts, parsed);
        progress(counts.consumed, selected);
      });
    }
    const { consumed, stored, rejected, rejected_by_code, suppressed, skipped, skipped_by_reason } = counts;
    const left = Math.max(0, selected - consumed);
    return { selected, stored, rejected, rejected_by_code, suppressed, skipped, skipped_by_reason, left };
  }

  async #parseContext(feeds: readonly Feed[]): Promise<ParseContext> {
    const { settings } = this.#options;
    const stored = await this.#database.storedSettings();
    const read = readStoredSettings(stored.settings, stored.schemaVersion, settings);
    // A page is parsed at once.
    return { ...parseContextOf(settings, feeds, read), recordsMax: Infinity };
  }

  async #requireKnown(feed: string, feeds: readonly Feed[]): Promise<void> {
    const rows = await this.#database.rows<{ feed: string }>(
      `SELECT DISTINCT feed FROM ${this.#database.database}.dead_letters`,
    );
    requireKnownFeed(
      feed,
      [...feeds, ...rows.map((row) => ({ name: row.feed }))].map(({ name }) => name),
    );
  }

  async #replayGroup(
    group: LetterGroup,
    feed: Feed,
    { context, parser }: { readonly context: ParseContext; readonly parser: BatchParser },
    done: (parsed: ParsedBatch) => void,
  ): Promise<void> {
    const { filter, dryRun, stop } = this.#options;
    const { topic, topicId, partition } = group;
    const source: BatchSource = { feed: context.feeds.indexOf(feed), topic, topicId, partition };
    // What is rejected again stays under the name that its feed had.
    const rejecting =
      feed.name === group.feed
        ? parser
        : new BatchParser({
            ...context,
            feeds: context.feeds.map((each) => (each === feed ? { ...each, name: group.feed } : each)),
          });
    const clusterId = await this.#retried('read the ledger', () => readClusterId(this.#database, group));
    let after: { offset: number; line: number } | undefined;
    do {
      const page = await this.#retried('read dead letters', () =>
        readPage(this.#database, filter, group, after),
      );
      if (page.letters.length > 0) {
        requireSameReading(page.letters, feed, source);
        const nowMs = Date.now();
        const suppressions = this.#watch!.use();
        parser.suppress(suppressions.set);
        rejecting.suppress(suppressions.set);
        const parsed = parser.parse(packLetters(source, page.letters, nowMs));
        const cdr = parser.wholeBlock('cdr');
        const cdrByNumber = parser.wholeBlock('cdr_by_number');
        const again = new Map([...parser.rejects.faults()].map((fault) => [placeOf(fault), fault]));
        if (!dryRun) {
          const accepted = page.letters.filter((letter) => !again.has(placeOf(letter)));
          const changed = page.letters.filter((letter) => {
            const reject = again.get(placeOf(letter));
            return reject !== undefined && !isSameFault(letter, reject);
          });
          rejecting.parse(packLetters(source, changed, nowMs));
          const deadLetters = rejecting.wholeBlock('dead_letters');
          await this.#store({
            source,
            clusterId,
            feed,
            nowMs,
            suppressions,
            ...page,
            parsed,
            accepted,
            changed,
            blocks: { cdr, cdr_by_number: cdrByNumber, dead_letters: deadLetters },
          });
        }
        suppressions.done();
        done(parsed);
      }
      after = page.end;
    } while (after !== undefined && !stop.aborted);
  }

  async #store(page: {
    readonly source: BatchSource;
    readonly clusterId: string;
    readonly feed: Feed;
    readonly nowMs: number;
    readonly suppressions: SuppressionsUse;
    readonly letters: readonly Letter[];
    readonly parsed: ParsedBatch;
    /** Those that were not rejected. */
    readonly accepted: readonly Letter[];
    /** Those that were rejected for another reason than before. */
    readonly changed: readonly Letter[];
    /** In `dead_letters`, those that changed. */
    readonly blocks: Readonly<Record<BlockTable, Uint8Array>>;
  }): Promise<void> {
    const { source, clusterId, feed, nowMs, suppressions, letters, parsed, accepted, changed, blocks } = page;
    const database = this.#database;
    this.#generation = Math.max(nowMs, this.#generation + 1);
    const generation = this.#generation;
    const seconds = Math.floor(nowMs / 1000);
    const marks = (state: DeadLetterMark['state']): DeadLetterMark[] =>
      accepted.map((letter) => markOf(letter, source, { state, generation, reading: feed.reading }));
    await this.#retried('read the clock of ClickHouse', () => database.measureClock());
    if (accepted.length > 0)
      await this.#insert('dead_letter_marks', { storedAtSeconds: seconds }, (sending) =>
        database.insertMarks(marks('replaying'), sending),
      );
    // Above the markers of a correction, as all that is stored from its topic since.
    const correction = await this.#retried('read the ledger', () => newestCorrection(database, source.topic));
    const sources = [{ feed: feed.name, partition: source.partition, correction }];
    // The newest rejection of a place counts, also where this host's clock is behind that of ingest.
    const rejectedAt = changed.reduce((newest, letter) => Math.max(newest, letter.rejectedAt), seconds);
    await Promise.all([
      this.#insertBlock('cdr', blocks.cdr, { storedAtSeconds: seconds, sources }, suppressions),
      this.#insertBlock(
        'cdr_by_number',
        blocks.cdr_by_number,
        { storedAtSeconds: seconds, sources },
        suppressions,
      ),
      this.#insertBlock('dead_letters', blocks.dead_letters, { storedAtSeconds: rejectedAt }, suppressions),
    ]);
    const partition = { source, clusterId, generation, position: 0, stored: 0, end: 0 };
    const range = { from: letters[0]!.offset, next: letters.at(-1)!.offset + 1 };
    const written = { instance: this.#instance, nowMs, suppressionsVersion: suppressions.set.version };
    const row = ledgerRow(partition, feed, range, parsed.counts[0]!, written);
    await this.#insert('ingest_ledger', { storedAtSeconds: seconds }, (sending) =>
      database.insertLedger([{ ...row, kind: 'replay' }], sending),
    );
    if (accepted.length > 0)
      await this.#insert('dead_letter_marks', { storedAtSeconds: seconds }, (sending) =>
        database.insertMarks(marks('replayed'), sending),
      );
  }

  async #insertBlock(
    table: BlockTable,
    block: Uint8Array,
    stored: Stored,
    suppressions: SuppressionsUse,
  ): Promise<void> {
    if (block.length === 0) return;
    await this.#insert(table, stored, (sending) =>
      this.#database.insertBlock(table, Readable.from([block], { objectMode: false }), {
        ...sending,
        deadlineMs: Math.min(sending.deadlineMs, suppressions.deadlineMs),
      }),
    );
  }

  #insert(table: string, stored: Stored, work: (sending: Sending) => Promise<void>): Promise<void> {
    return this.#retried(`insert into ${table}`, (signal) =>
      work({ ...stored, deadlineMs: Date.now() + INSERT_MS_MAX, signal }),
    );
  }

  /** Waits for a failing database, but not for ever; a page in hand is not given up because of a stop. */
  async #retried<T>(what: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const signal = AbortSignal.timeout(WAIT_MS_MAX);
    try {
      return await untilDone(() => work(signal), {
        what,
        pauseMsMax: this.#options.settings.ingest.retry_seconds_max * 1000,
        signal,
        report: (step, reason, nextTry, pauseMs) =>
          this.#log.warn({ step, reason, nextTry, pauseMs }, 'waiting for ClickHouse'),
      });
    } catch (error) {
      if (!signal.aborted) throw error;
      throw new CdrhouseError('CLICKHOUSE_UNREACHABLE', `${what}: not within ${WAIT_MS_MAX / 1000} s`, error);
    }
  }
}

/**
 * A letter that is open, but that a replay stored or may have stored under another reading (it was broken off,
 * or the range was read and rejected again since), could be stored a second time under another key.
 */
function requireSameReading(letters: readonly Letter[], feed: Feed, { topic, partition }: BatchSource): void {
  const other = letters.find(({ replayReading }) => replayReading !== '' && replayReading !== feed.reading);
  if (other === undefined) return;
  throw new CdrhouseError(
    'READING_CHANGED',
    `${topic}/${partition}/${other.offset}/${other.line}: a replay with other settings of feed ${feed.name} was broken off here and may have stored it`,
  );
}

function markOf(
  letter: Letter,
  { topic, topicId, partition }: BatchSource,
  replay: { state: DeadLetterMark['state']; generation: number; reading: string },
): DeadLetterMark {
  return {
    topic,
    topic_id: topicId,
    partition,
    offset: letter.offset,
    line: letter.line,
    ...replay,
    message_at: sqlTime(letter.messageAtMs),
    // What was read, not when: whatever the clocks say, a later rejection is open again.
    marked_at: sqlTime(letter.rejectedAt * 1000).slice(0, 19),
  };
}

function placeOf({ offset, line }: { readonly offset: number; readonly line: number }): string {
  return `${offset}/${line}`;
}

function isSameFault(
  letter: Letter,
  fault: { readonly code: string; readonly field: string; readonly position: number },
): boolean {
  return letter.code === fault.code && letter.field === fault.field && letter.position === fault.position;
}
