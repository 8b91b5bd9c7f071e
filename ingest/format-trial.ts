import { createReadStream } from 'node:fs';
import { IANAZone } from 'luxon';
import { CdrhouseError, type RejectCode, type SkipReason } from '../schemas/errors.ts';
import { findFeed, readFeed, type Feed } from '../schemas/feed.ts';
import { isHeadLine } from '../schemas/formats/head.ts';
import { DIRECTIONS, OUTCOMES, type Direction, type Outcome } from '../schemas/record.ts';
import { monthsOf, RetentionTerm } from '../schemas/retention-term.ts';
import type { Settings } from '../schemas/settings.ts';
import { termsOf } from '../schemas/stored-settings.ts';
import { packMessages, type BatchSource } from './parse/batch.ts';
import type { GatheredColumns } from './parse/batch-memory.ts';
import { BatchParser } from './parse/parse-batch.ts';

const HOUR_MS = 3_600_000;
const QUARTER_MS = HOUR_MS / 4;
/** How far a start may be from the second in its id, beside whole quarters of an hour. */
const ID_TOLERANCE_MS = 120_000;
/** Longer than any record is kept: what is past retention is shown too, and said to be. */
const MONTHS = 1200;

/** A call as it would be stored. */
export interface TrialCall {
  readonly calling_number: string;
  readonly displayed_caller_id: string;
  readonly dialed_number: string;
  /** ISO 8601, UTC. */
  readonly start: string;
  readonly duration_s: number;
  /** null: unknown. */
  readonly talk_s: number | null;
  readonly outcome: Outcome;
  readonly direction: Direction;
  readonly account: string;
  readonly call_id: string;
}

/** How one line of a file is read. */
export interface TrialLine {
  readonly line: number;
  readonly result: 'stored' | 'rejected' | 'skipped';
  /** Fields as sent, by our names, as far as the line could be split. */
  readonly sent: Readonly<Record<string, string>>;
  readonly stored?: TrialCall;
  /** True where it is older than its term, so that it is not kept. */
  readonly expired?: boolean;
  readonly code?: RejectCode;
  readonly field?: string;
  /** Byte of the line at which the fault begins. */
  readonly position?: number;
  readonly reason?: SkipReason;
}

/** What became of all lines, and what looks wrong. */
export interface TrialSummary {
  readonly feed: string;
  readonly format: string;
  lines: number;
  stored: number;
  /** Of the stored ones, those that are past retention and would not be kept. */
  expired: number;
  rejected: number;
  skipped: number;
  readonly rejected_by_code: Partial<Record<RejectCode, number>>;
  readonly skipped_by_reason: Partial<Record<SkipReason, number>>;
  readonly warnings: string[];
}

/**
 * Reads the lines of a file as ingest would read them, one at a time and without any server: with ingest's own parser,
 * each line in a message of its own behind the head that `ship` would repeat.
 */
export class FormatTrial {
  readonly #feed: Feed;
  readonly #source: BatchSource;
  readonly #parser: BatchParser;
  readonly #term: RetentionTerm;
  readonly #nowMs: number;
  readonly #summary: TrialSummary;
  #head: Buffer | undefined;
  /** Of records whose id has its epoch: how far the start is ahead of it, and of UTC where it is local, in ms. */
  readonly #ahead: number[] = [];
  readonly #zoneOffsets: number[] = [];

  constructor(feed: Feed, settings: Settings, nowMs: number) {
    this.#feed = feed;
    this.#source = { feed: 0, topic: feed.topic, topicId: '', partition: 0 };
    this.#nowMs = nowMs;
    this.#term = new RetentionTerm(monthsOf(termsOf(settings), feed.name), nowMs);
    this.#parser = new BatchParser({
      feeds: [feed],
      identityKey: new Uint8Array(32),
      futureMsMax: settings.ingest.future_hours_max * HOUR_MS,
      retentionMonths: { all: MONTHS, feeds: {} },
      recordsMax: Infinity,
    });
    this.#summary = {
      feed: feed.name,
      format: feed.format.name,
      lines: 0,
      stored: 0,
      expired: 0,
      rejected: 0,
      skipped: 0,
      rejected_by_code: {},
      skipped_by_reason: {},
      warnings: [],
    };
  }

  /** Reads the next line, given without its newline. */
  read(line: Buffer): TrialLine {
    const summary = this.#summary;
    summary.lines++;
    const isHead = isHeadLine(this.#feed.format, line);
    const newline = Buffer.from('\n');
    const message =
      this.#head === undefined || isHead ? [line, newline] : [this.#head, newline, line, newline];
    if (isHead) this.#head = Buffer.from(line);
    const { counts } = this.#parser.parse(packMessages(this.#source, [Buffer.concat(message)], this.#nowMs));
    const { stored, rejected, skippedByReason } = counts[0]!;
    const number = summary.lines;
    if (stored > 0) return this.#stored(number);
    if (rejected > 0) return this.#rejected(number);
    const reasons = Object.keys(skippedByReason) as SkipReason[];
    const reason = reasons.find((name) => name !== 'header') ?? 'header';
    summary.skipped++;
    summary.skipped_by_reason[reason] = (summary.skipped_by_reason[reason] ?? 0) + 1;
    return { line: number, result: 'skipped', sent: {}, reason };
  }

  /** What became of all lines so far. */
  summary(): TrialSummary {
    const warning = this.#zoneWarning();
    return { ...this.#summary, warnings: warning === undefined ? [] : [warning] };
  }

  #stored(line: number): TrialLine {
    const { sent, epochId } = this.#parser.lastLine();
    const call = callOf(this.#parser.gatherCalls());
    const startMs = Date.parse(call.start);
    const expired = this.#term.isExpired(startMs);
    this.#summary.stored++;
    if (expired) this.#summary.expired++;
    const epoch = /(?:^|-)([0-9]{9,10})(?:\.|$)/.exec(epochId)?.[1];
    if (epoch !== undefined) {
      this.#ahead.push(startMs - Number(epoch) * 1000);
      this.#zoneOffsets.push(IANAZone.create(this.#feed.timeZone).offset(startMs) * 60_000);
    }
    return { line, result: 'stored', sent, stored: call, ...(expired ? { expired } : {}) };
  }

  #rejected(line: number): TrialLine {
    const [fault] = this.#parser.rejects.faults();
    const { code, field, position } = fault!;
    const summary = this.#summary;
    const name = code as RejectCode;
    summary.rejected++;
    summary.rejected_by_code[name] = (summary.rejected_by_code[name] ?? 0) + 1;
    const { sent } = this.#parser.lastLine();
    return { line, result: 'rejected', sent, code: name, field, position };
  }

  #zoneWarning(): string | undefined {
    const quarters = this.#ahead.map((ms) => Math.round(ms / QUARTER_MS));
    const [quarter, times] = mostFrequent(quarters);
    // A few ids may be off by more than their own call: a clock change, a very long queue.
    if (quarter === 0 || times < 0.8 * quarters.length) return undefined;
    const i = quarters.indexOf(quarter);
    if (Math.abs(this.#ahead[i]! - quarter * QUARTER_MS) > ID_TOLERANCE_MS) return undefined;
    const zone = this.#zoneOffsets[i]!;
    return (
      `time_zone ${this.#feed.timeZone} looks wrong: ${times} of ${quarters.length} starts are not those of their ids. ` +
      `The ids fit a zone that was at ${offsetText(zone + quarter * QUARTER_MS)} then, this one was at ${offsetText(zone)}`
    );
  }
}

/**
 * Reads a file, or standard input (`-`), as this feed would be read, and tells how each line is.
 * Throws FEED_UNKNOWN, FILE_UNREADABLE.
 */
export async function testFormat(
  settings: Settings,
  feedName: string,
  path: string,
  tell: (line: TrialLine) => void,
): Promise<TrialSummary> {
  const feed = readFeed(findFeed(settings.feeds, feedName));
  const trial = new FormatTrial(feed, settings, Date.now());
  const stream = path === '-' ? process.stdin : createReadStream(path);
  try {
    for await (const line of linesOf(stream)) tell(trial.read(line));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error;
    throw new CdrhouseError('FILE_UNREADABLE', `${path}: ${(error as Error).message}`, error);
  }
  return trial.summary();
}

/** A line for people: fields as sent, and as stored where that differs. */
export function trialText({
  line,
  result,
  sent,
  stored,
  expired,
  code,
  field,
  position,
  reason,
}: TrialLine): string {
  const detail =
    result === 'skipped'
      ? ` (${reason})`
      : result === 'rejected'
        ? ` (${code}${field === '' ? '' : ` in ${field}`} at byte ${position})`
        : expired === true
          ? ' (but past retention: not kept)'
          : '';
  const fields: Record<string, string | number | null> =
    stored === undefined
      ? {}
      : { ...stored, duration: stored.duration_s, talk_duration: stored.talk_s ?? 'unknown' };
  const names = new Set([...Object.keys(sent), ...Object.keys(fields)]);
  names.delete('duration_s');
  names.delete('talk_s');
  const rows = [...names].map((name) => {
    const before = sent[name] ?? '';
    const after = fields[name] === undefined ? before : String(fields[name]);
    if (before === '' && after === '') return '';
    return `  ${name.padEnd(20)} ${before}${before === after ? '' : `  ->  ${after}`}\n`;
  });
  return `line ${line}: ${result}${detail}\n${rows.join('')}`;
}

/** The summary for people. */
export function summaryText(summary: TrialSummary): string {
  const { feed, format, lines, stored, expired, rejected, skipped } = summary;
  return [
    `feed ${feed}, format ${format}: ${lines} lines`,
    `stored ${stored}${expired === 0 ? '' : `, of them past retention ${expired}`}`,
    `rejected ${rejected}${countsText(summary.rejected_by_code)}`,
    `skipped ${skipped}${countsText(summary.skipped_by_reason)}`,
    ...summary.warnings.map((warning) => `WARNING: ${warning}`),
    '',
  ].join('\n');
}

function countsText(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([name, count]) => `, ${name} ${count}`)
    .join('');
}

/** The lines of a stream of bytes, without their newlines. */
export async function* linesOf(stream: AsyncIterable<unknown>): AsyncGenerator<Buffer> {
  let rest = Buffer.alloc(0);
  for await (const chunk of stream) {
    rest = Buffer.concat([rest, chunk as Uint8Array]);
    let from = 0;
    for (let at = rest.indexOf(0x0a); at >= 0; at = rest.indexOf(0x0a, from)) {
      yield rest.subarray(from, at);
      from = at + 1;
    }
    rest = rest.subarray(from);
  }
  if (rest.length > 0) yield rest;
}

/** The only call of gathered columns. */
function callOf(columns: GatheredColumns): TrialCall {
  const view = (name: keyof GatheredColumns): Buffer => {
    const { buffer, byteOffset, byteLength } = columns[name];
    return Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
  };
  const text = (name: keyof GatheredColumns): string => {
    const bytes = view(name);
    let at = 0;
    // Before the text stands its length, as a variable-length integer.
    while (bytes[at]! >= 0x80) at++;
    return bytes.subarray(at + 1).toString('utf8');
  };
  return {
    calling_number: text('calling_number'),
    displayed_caller_id: text('displayed_caller_id'),
    dialed_number: text('dialed_number'),
    start: new Date(Number(view('start_at').readBigInt64LE())).toISOString(),
    duration_s: view('duration_ms').readUInt32LE() / 1000,
    talk_s: view('talk_unknown')[0] === 1 ? null : view('talk_ms').readUInt32LE() / 1000,
    outcome: OUTCOMES[view('outcome')[0]!]!,
    direction: DIRECTIONS[view('direction')[0]!]!,
    account: text('account'),
    call_id: text('call_id'),
  };
}

/** The value that occurs most, and how often; 0 where there is none. */
function mostFrequent(values: readonly number[]): [number, number] {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].sort(([, a], [, b]) => b - a)[0] ?? [0, 0];
}

/** `UTC+03:00` */
function offsetText(ms: number): string {
  const minutes = Math.abs(Math.round(ms / 60_000));
  const [hours, rest] = [Math.floor(minutes / 60), minutes % 60].map((part) => String(part).padStart(2, '0'));
  return `UTC${ms < 0 ? '-' : '+'}${hours}:${rest}`;
}
