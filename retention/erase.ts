import { randomUUID } from 'node:crypto';
import type { Json } from '../schemas/certificate.ts';
import { CdrhouseError } from '../schemas/errors.ts';
import { addMonths } from '../schemas/retention-term.ts';
import type { Settings } from '../schemas/settings.ts';
import { CALL_TABLES, FINAL_SETTINGS } from '../schemas/tables.ts';
import { select } from './clickhouse.ts';
import { checkClock } from './clock.ts';
import { ErasedLetters } from './erase-letters.ts';
import { ErasedNumbers } from './erase-numbers.ts';
import { EraseSql, type ErasedSpans, type Span } from './erase-sql.ts';
import { suppress, suppressedUntil } from './erase-suppressions.ts';
import { exclusively } from './exclusive.ts';
import { coverHeld, dropEndedHolds, endedCopiesSql } from './held-calls.ts';
import { kafkaResidue, type KeptTopics } from './kafka-copies.ts';
import { PartChanges } from './replaced-parts.ts';
import { insertRights } from './subject-restrictions.ts';
import { subjectOf } from './subject-calls.ts';
import { isoTime, OPEN_END_MS, type Subject } from './subject.ts';
import {
  beginRequest,
  checkReason,
  dryRun,
  findRequest,
  finishRequest,
  isAbout,
  isOpen,
  listRequests,
  withSubjects,
  writeRequest,
  type PersonAsked,
  type SubjectContext,
  type SubjectReport,
  type SubjectRequest,
} from './subject-requests.ts';
import { outwaitInserts, outwaitWriters } from './writers.ts';

/**
 * Erasure (Article 17 of the GDPR; docs/decisions/0018): what the person called goes; in calls of others their number is
 * blanked. Every step can be done again: a command that was broken off goes on when it is called again with the same
 * arguments, or by `finishErasures`.
 */

const DAY_MS = 86_400_000;
/** Changes of one kind are repeated while rows are found: an insert that read before may have written behind. */
const CHANGES_MAX = 10;
/** Tables in which something of the person stands, beside those of calls. */
const OTHER_TABLES = ['dead_letters', 'restrictions', 'objections', 'corrections', 'cdr_held', 'legal_holds'];

/** Erases, as far as nothing needs the calls any more. Throws USAGE_WRONG, FEED_UNKNOWN, CLOCK_WRONG, ERASURE_WAITS, ERASURE_UNPROVEN. */
export function erase(
  settings: Settings,
  asked: PersonAsked,
  keptTopics: KeptTopics,
): Promise<SubjectReport> {
  checkReason(asked.reason);
  return withSubjects(settings, async (context) => {
    const subject = await subjectOf(context, asked.person);
    // By a clock that is ahead bills would need no calls any more. Where nothing was sent for long it can be right.
    if (settings.retention.billing_months > 0) await checkClock(context.client, context.database, Infinity);
    if (asked.dryRun)
      return dryRun('erase', await new Erasure(context, undefined, subject, keptTopics).planned());
    const request = await beginRequest(context, { ...asked, kind: 'erase', subject, details: {} });
    return new Erasure(context, request, subject, keptTopics).run();
  });
}

/**
 * Goes on with every erasure that was broken off, or of which a part was deferred that is due now. One that cannot be done
 * does not keep the others waiting; what the first of these threw is thrown in the end. Throws CLOCK_WRONG where there is one.
 */
export function finishErasures(
  settings: Settings,
  keptTopics: KeptTopics,
  told: (report: SubjectReport) => void,
): Promise<void> {
  return withSubjects(settings, async (context) => {
    let failure: CdrhouseError | undefined;
    const open = (await listRequests(context)).filter((each) => each.kind === 'erase' && isOpen(each));
    const { billing_months: months, silence_days_max: daysMax } = settings.retention;
    // Nobody is there who could say that the clock is right though nothing was sent for long.
    if (open.length > 0 && months > 0) await checkClock(context.client, context.database, daysMax);
    for (const request of open) {
      const subject = await subjectAgain(context, request);
      if (subject === undefined) {
        failure ??= new CdrhouseError(
          'ERASURE_NUMBERS_GONE',
          `erasure ${request.requestId} was broken off and can be finished by whoever knows its numbers alone`,
        );
        continue;
      }
      const erasure = new Erasure(context, request, subject, keptTopics);
      try {
        if (await erasure.isDue()) told(await erasure.run());
      } catch (error) {
        if (!(error instanceof CdrhouseError)) throw error;
        failure ??= error;
      }
    }
    if (failure !== undefined) throw failure;
  });
}

/** What `subject verify` found. */
export interface VerifyReport {
  readonly request_id: string;
  readonly state: string;
  readonly verified: boolean;
  readonly found: Found;
  readonly residue: { readonly [place: string]: Json };
}

/**
 * Looks again for what was erased. The numbers must be named, since they are not kept. Throws REQUEST_UNKNOWN,
 * USAGE_WRONG where they are others.
 */
export function verifyErasure(
  settings: Settings,
  requestId: string,
  typed: readonly string[],
  keptTopics: KeptTopics,
): Promise<VerifyReport> {
  return withSubjects(settings, async (context) => {
    const request = await findRequest(context, requestId);
    if (request.kind !== 'erase')
      throw new CdrhouseError('USAGE_WRONG', `request ${requestId} is no erasure`);
    const feeds = request.feeds.length === 0 ? undefined : request.feeds;
    const { fromMs, toMs } = request;
    const subject = await subjectOf(context, { numbers: typed, feeds, fromMs, toMs });
    if (!isAbout(context, request, subject.numbers))
      throw new CdrhouseError('USAGE_WRONG', 'the request is about other numbers than these');
    return new Erasure(context, request, subject, keptTopics).verified();
  });
}

/** What is left of the person in what was erased. */
type Found = {
  /** Rows of both call tables by the texts of numbers, markers and superseded ones included. */
  readonly rows: number;
  /** Rows by the keys of numbers. */
  readonly keys: number;
  readonly dead_letters: number;
  /** Rows of `corrections`, as a call was before or is now. */
  readonly corrections: number;
  /** Copies of legal holds that have ended. */
  readonly held_copies: number;
};

class Erasure {
  readonly #context: SubjectContext;
  readonly #request: SubjectRequest | undefined;
  readonly #subject: Subject;
  readonly #keptTopics: KeptTopics;
  readonly #numbers: ErasedNumbers;
  readonly #letters: ErasedLetters;

  /** @param request undefined: nothing is written */
  constructor(
    context: SubjectContext,
    request: SubjectRequest | undefined,
    subject: Subject,
    keptTopics: KeptTopics,
  ) {
    this.#context = context;
    this.#request = request;
    this.#keptTopics = keptTopics;
    // Who still holds the number begins anew with the erasure.
    const toMs = Math.max(subject.fromMs, Math.min(subject.toMs, request?.begunMs ?? Date.now()));
    this.#subject = { ...subject, toMs };
    this.#numbers = new ErasedNumbers(context, this.#subject);
    this.#letters = new ErasedLetters(context, this.#subject);
  }

  /** What would be done now. */
  async planned(): Promise<SubjectReport['result']> {
    const { client, database } = this.#context;
    const spans = this.#spans(0);
    const id = `dry-run-${randomUUID()}`;
    await this.#numbers.fill(id);
    try {
      const sql = new EraseSql(database, { requestId: id, ...spans });
      const [calls] = await select<{ own: number; others: number }>(client, sql.count(), {}, FINAL_SETTINGS);
      return {
        calls_to_delete: calls!.own,
        calls_to_blank: calls!.others,
        dead_letters_to_redact: await this.#letters.count(),
        ...(await this.#deferred(spans.own)),
      };
    } finally {
      await this.#numbers.clear(id);
    }
  }

  /** Whether something can be done that was not done yet. */
  async isDue(): Promise<boolean> {
    if (this.#request?.state !== 'deferred') return true;
    return (
      (await this.#heldCalls()) === 0 &&
      this.#spans(0).own.toMs > (await suppressedUntil(this.#context, this.#request.requestId))
    );
  }

  /** Does what can be done now, while no sweep, hold or other erasure is at work. Throws RETENTION_BUSY. */
  run(): Promise<SubjectReport> {
    const { client, database, settings } = this.#context;
    return exclusively(settings, async (lost) => {
      const changes = new PartChanges(client, database, { failure: 'ERASURE_UNPROVEN', lost });
      try {
        return await this.#run(changes, lost);
      } finally {
        await changes.usualSettings();
      }
    });
  }

  async #run(changes: PartChanges, lost: AbortSignal): Promise<SubjectReport> {
    const { client, database } = this.#context;
    let request = this.#request!;
    const { requestId } = request;
    // The numbers stand here until it is done: look-ups hide the calls at once, and it can be finished without naming them.
    await this.#restrict(this.#subject.fromMs);
    const held = await this.#heldCalls();
    if (held > 0)
      return finishRequest(this.#context, request, 'deferred', {
        calls_deleted: 0,
        deferred_by: 'legal_hold',
      });
    const suppressedTo = await suppressedUntil(this.#context, requestId);
    const spans = this.#spans(request.state === 'begun' ? suppressedTo : 0, suppressedTo);
    if (request.state === 'deferred')
      request = await writeRequest(this.#context, {
        ...request,
        state: 'begun',
        version: request.version + 1,
      });
    const version = await suppress(this.#context, this.#subject, { requestId, ...spans });
    await outwaitWriters(client, database, version);
    await this.#numbers.fill(requestId);
    const sql = new EraseSql(database, { requestId, ...spans });
    lost.throwIfAborted();
    // What holds kept that have ended would wait for the next sweep.
    await dropEndedHolds(client, database, Date.now());
    // A hold on a number of somebody else may need a call as it was.
    const kept = await coverHeld(client, database, { nowMs: Date.now(), condition: sql.any });
    await this.#adjust(sql, spans.own);
    await this.#changeCalls(sql, changes);
    const redacted = await this.#redactLetters(changes);
    const isDone = spans.own.toMs >= this.#subject.toMs;
    await this.#changeOthers(spans, isDone, changes);
    if (!isDone) await this.#restrict(spans.own.toMs);
    await changes.removeReplaced([...CALL_TABLES, ...OTHER_TABLES]);
    const found = await this.#found(sql, requestId, spans);
    if (Object.values(found).some((rows) => rows > 0))
      throw new CdrhouseError('ERASURE_UNPROVEN', `found after the erasure: ${JSON.stringify(found)}`);
    await this.#numbers.clear(requestId);
    return finishRequest(this.#context, request, isDone ? 'done' : 'deferred', {
      erased: { from: isoTime(this.#subject.fromMs), to: isoTime(this.#subject.toMs) },
      ...(await this.#adjusted()),
      dead_letters_redacted: redacted,
      copies_under_legal_holds_of_others: kept,
      suppressions_version: String(version),
      ...(await this.#deferred(spans.own)),
      found_afterwards: found,
      residue: await this.#residue(),
    });
  }

  /** Looks again. Nothing of the tables is changed. */
  async verified(): Promise<VerifyReport> {
    const { requestId, state } = this.#request!;
    // Not those of an erasure that may be under way.
    const id = `verify-${randomUUID()}`;
    try {
      await this.#numbers.fill(id);
      const suppressedTo = await suppressedUntil(this.#context, requestId);
      const spans = this.#spans(suppressedTo, suppressedTo);
      const sql = new EraseSql(this.#context.database, { requestId: id, ...spans });
      const found = await this.#found(sql, id, spans);
      const verified = state === 'done' && Object.values(found).every((rows) => rows === 0);
      return { request_id: requestId, state, verified, found, residue: await this.#residue() };
    } finally {
      await this.#numbers.clear(id);
    }
  }

  /**
   * What is erased now. Own calls that the billing window still needs are left; in calls of others what is left of the
   * number is enough to rate them.
   * @param begunTo the end of own calls of an erasure that was broken off, which is finished as it was begun; 0: none
   * @param doneTo what was erased before stays erased
   */
  #spans(begunTo: number, doneTo = 0): { readonly own: Span; readonly others: Span } {
    const { fromMs, toMs } = this.#subject;
    const months = this.#context.settings.retention.billing_months;
    // Whole days: a second run on the same day has nothing to do.
    const billed = Math.floor(addMonths(Date.now(), -months) / DAY_MS) * DAY_MS;
    const end = begunTo > 0 ? begunTo : Math.max(doneTo, months === 0 ? toMs : Math.min(toMs, billed));
    return { own: { fromMs, toMs: Math.max(fromMs, end) }, others: { fromMs, toMs } };
  }

  /** How many of the person's calls wait, and until when the last of them does. */
  async #deferred(own: Span): Promise<{ readonly [name: string]: Json }> {
    const { toMs } = this.#subject;
    if (own.toMs >= toMs) return {};
    const { settings } = this.#context;
    return {
      deferred_by: 'billing_window',
      deferred: { from: isoTime(own.toMs), to: isoTime(toMs) },
      deferred_until: isoTime(addMonths(toMs, settings.retention.billing_months) + DAY_MS),
    };
  }

  /** Has look-ups hide what is not erased yet, from this moment on; the numbers stand there until all is done. */
  async #restrict(fromMs: number): Promise<void> {
    const subject = { ...this.#subject, fromMs };
    await insertRights(this.#context, 'restrictions', subject, this.#request!.requestId, Date.now(), [
      { keep_past_term: 0 },
    ]);
  }

  /** Notes what is about to go, once: a second try would count what the first one left. */
  async #adjust(sql: EraseSql, { toMs }: Span): Promise<void> {
    const { client, database } = this.#context;
    const source = `${this.#request!.requestId}/${toMs}`;
    const [row] = await select<{ rows: number }>(
      client,
      `SELECT count() AS rows FROM ${database}.adjustments WHERE kind = 'erased' AND source = {source: String}`,
      { source },
    );
    if (row!.rows === 0)
      await client.command({ query: sql.adjust(source), clickhouse_settings: FINAL_SETTINGS });
  }

  /** What was deleted under this request, by `adjustments`. */
  async #adjusted(): Promise<{ readonly calls_deleted: number }> {
    const { client, database } = this.#context;
    const [row] = await select<{ calls: number }>(
      client,
      `SELECT sum(calls) AS calls FROM ${database}.adjustments FINAL
      WHERE kind = 'erased' AND startsWith(source, {source: String})`,
      { source: `${this.#request!.requestId}/` },
    );
    return { calls_deleted: row?.calls ?? 0 };
  }

  async #changeCalls(sql: EraseSql, changes: PartChanges): Promise<void> {
    const { client, database } = this.#context;
    const { requestId } = this.#request!;
    for (let change = 1; change <= CHANGES_MAX; change++) {
      // Markers that read before the change may still be on their way.
      await outwaitInserts(client, database);
      const remaining = await this.#rows(CALL_TABLES.map((table) => sql.remaining(table)));
      if (remaining === 0) return this.#numbers.require(requestId);
      await client.command({ query: sql.copyUnderBlankedKeys() });
      for (const table of CALL_TABLES) await changes.change(table, sql.change(table), requestId);
    }
    throw new CdrhouseError('ERASURE_UNPROVEN', `calls of the person are found after ${CHANGES_MAX} changes`);
  }

  async #redactLetters(changes: PartChanges): Promise<number> {
    const { requestId } = this.#request!;
    const redacted = await this.#letters.redact(requestId);
    if (redacted > 0) await changes.change('dead_letters', this.#letters.deleteSql(requestId), requestId);
    return redacted;
  }

  /** Takes the person out of the tables beside those of calls; in the end also what was needed to finish. */
  async #changeOthers(
    { own, others }: Omit<ErasedSpans, 'requestId'>,
    isDone: boolean,
    changes: PartChanges,
  ): Promise<void> {
    const { database } = this.#context;
    const { requestId } = this.#request!;
    const erased = (columns: string): string =>
      `(SELECT ${columns} FROM ${database}.erasure_numbers WHERE request_id = '${requestId}')`;
    // What was asked for in all feeds holds on in the others.
    const isTheirs =
      this.#subject.feeds === undefined
        ? `number IN ${erased('number')}`
        : `(toString(feed), number) IN ${erased('feed, number')}`;
    await changes.change(
      'corrections',
      `ALTER TABLE ${database}.corrections DELETE WHERE ${this.#corrected(requestId, { own, others })}`,
      requestId,
    );
    const { fromMs, toMs } = this.#subject;
    const end = this.#request!.toMs === OPEN_END_MS ? OPEN_END_MS : toMs;
    const inTime = `toUnixTimestamp64Milli(held_from) >= ${fromMs} AND toUnixTimestamp64Milli(held_to) <= ${end}`;
    for (const table of ['restrictions', 'objections']) {
      const ofPerson = isDone ? `OR (${isTheirs} AND ${inTime})` : '';
      await changes.change(
        table,
        `ALTER TABLE ${database}.${table} DELETE WHERE request_id = '${requestId}' ${ofPerson}`,
        requestId,
      );
    }
    const holds = isDone ? (await this.#endedHolds(end)).filter(({ isOwn }) => isOwn === 1) : [];
    if (holds.length > 0)
      await changes.change(
        'legal_holds',
        // Ids are made by us: letters, digits and dashes.
        `ALTER TABLE ${database}.legal_holds DELETE WHERE hold_id IN (${holds.map(({ id }) => `'${id}'`).join(', ')}) AND '${requestId}' != ''`,
        requestId,
      );
  }

  /** Condition of corrections in which a number of the person stands: in the call as it was, or as it is now. */
  #corrected(id: string, { own, others }: Omit<ErasedSpans, 'requestId'>): string {
    const ofPerson = (value: string): string =>
      `(JSONExtractString(row, 'feed'), ${value}) IN (SELECT feed, number FROM ${this.#context.database}.erasure_numbers WHERE request_id = '${id}')`;
    const of = (column: string, { fromMs, toMs }: Span): string[] => {
      const within = (time: string): string =>
        `toUnixTimestamp64Milli(${time}) >= ${fromMs} AND toUnixTimestamp64Milli(${time}) < ${toMs}`;
      return [
        `${ofPerson(`JSONExtractString(row, '${column}')`)} AND ${within('start_at')}`,
        `field = '${column}' AND ${ofPerson('after')} AND ${within('new_start_at')}`,
      ];
    };
    return [
      ...of('calling_number', own),
      ...of('displayed_caller_id', others),
      ...of('dialed_number', others),
    ]
      .map((each) => `(${each})`)
      .join(' OR ');
  }

  async #found(sql: EraseSql, id: string, spans: Omit<ErasedSpans, 'requestId'>): Promise<Found> {
    const { database } = this.#context;
    const found = {
      rows: await this.#rows(CALL_TABLES.map((table) => sql.remaining(table))),
      keys: await this.#rows(CALL_TABLES.map((table) => sql.remainingKeys(table))),
      dead_letters: await this.#letters.count(),
      corrections: await this.#rows([
        `SELECT count() AS rows FROM ${database}.corrections WHERE ${this.#corrected(id, spans)}`,
      ]),
      held_copies: await this.#rows([endedCopiesSql(database, sql.any)]),
    };
    await this.#numbers.require(id);
    return found;
  }

  async #rows(queries: readonly string[]): Promise<number> {
    let sum = 0;
    for (const query of queries)
      sum += (await select<{ rows: number }>(this.#context.client, query))[0]?.rows ?? 0;
    return sum;
  }

  /** Legal holds that need calls of the person. */
  async #heldCalls(): Promise<number> {
    const { client, database } = this.#context;
    const { fromMs, toMs } = this.#subject;
    const [holds] = await select<{ held: number }>(
      client,
      `SELECT count() AS held FROM ${database}.legal_holds FINAL
      WHERE ${this.#isHoldOnThem} AND released_at IS NULL AND until_at > now64(3)
        AND toUnixTimestamp64Milli(from_at) < {to_ms: Int64} AND toUnixTimestamp64Milli(to_at) > {from_ms: Int64}`,
      { ...this.#holdParameters, from_ms: fromMs, to_ms: toMs },
    );
    return holds?.held ?? 0;
  }

  /** Condition of holds that are for calls of the person. */
  get #isHoldOnThem(): string {
    const ofFeeds = 'AND (empty(feeds) OR hasAny(feeds, {feeds: Array(String)}))';
    return `hasAny(numbers, {numbers: Array(String)}) ${this.#subject.feeds === undefined ? '' : ofFeeds}`;
  }

  get #holdParameters(): Readonly<Record<string, unknown>> {
    const { numbers, feeds } = this.#subject;
    return { numbers, ...(feeds === undefined ? {} : { feeds }) };
  }

  /**
   * Holds on numbers of the person that have ended; `isOwn`: 1 where a restriction of theirs made it, 0 where it is the
   * record of somebody's legal duty.
   */
  #endedHolds(endMs: number): Promise<{ readonly id: string; readonly isOwn: number }[]> {
    const { client, database } = this.#context;
    const { feeds, fromMs } = this.#subject;
    // One that is for calls of other feeds too stays for those.
    const isWithin =
      feeds === undefined ? '' : 'AND notEmpty(feeds) AND hasAll({feeds: Array(String)}, feeds)';
    return select(
      client,
      `SELECT hold_id AS id,
        hold_id IN (SELECT request_id FROM ${database}.subject_requests WHERE kind = 'restrict')
          AND toUnixTimestamp64Milli(from_at) >= {from_ms: Int64} AND toUnixTimestamp64Milli(to_at) <= {end_ms: Int64}
          ${isWithin} AS isOwn
      FROM ${database}.legal_holds FINAL
      WHERE ${this.#isHoldOnThem} AND (released_at IS NOT NULL OR until_at <= now64(3))
      ORDER BY hold_id`,
      { ...this.#holdParameters, from_ms: fromMs, end_ms: endMs },
    );
  }

  /** Where the calls or the numbers may still be, and until when. */
  async #residue(): Promise<{ readonly [place: string]: Json }> {
    const { settings } = this.#context;
    const request = this.#request!;
    const kafka = await kafkaResidue(settings, request.begunMs, this.#keptTopics);
    const holds = await this.#endedHolds(OPEN_END_MS);
    // Until its last change a backup may have the person, and an erasure can end long after it was begun.
    const changedMs = request.finishedMs ?? Date.now();
    return {
      ...kafka,
      backups_until: isoTime(changedMs + settings.retention.backup_days * DAY_MS),
      kept: 'keyed hashes of the numbers: suppressions, this request, the journal of look-ups',
      // Who ordered what to be kept of whom is no copy of a call; it stays, and is told.
      legal_holds_that_ended: holds.length,
    };
  }
}

/** Who is meant by an erasure that is not done, by what `restrictions` has; undefined: it has none of the numbers. */
async function subjectAgain(
  { client, database }: SubjectContext,
  { requestId, feeds, fromMs, toMs }: SubjectRequest,
): Promise<Subject | undefined> {
  const rows = await select<{ number: string; feed: string }>(
    client,
    `SELECT DISTINCT number, feed FROM ${database}.restrictions FINAL WHERE request_id = {request_id: String} ORDER BY number`,
    { request_id: requestId },
  );
  if (rows.length === 0) return undefined;
  const numbers = [...new Set(rows.map(({ number }) => number))];
  const isOfAll = feeds.length === 0;
  const textFeed = isOfAll ? rows.find(({ feed }) => feed !== '')?.feed : undefined;
  return { numbers, feeds: isOfAll ? undefined : feeds, textFeed, fromMs, toMs };
}
