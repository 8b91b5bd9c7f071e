import { Random } from '../../ingest/generate/random.ts';
import { BatchParser } from '../../ingest/parse/parse-batch.ts';
import { packLetters } from '../../ingest/replay-page.ts';
import type { Feed } from '../../schemas/feed.ts';
import { isHeadLine, needsHead } from '../../schemas/formats/head.ts';
import { DURATION_MS_MAX, FIELD_BYTES_MAX } from '../../schemas/record.ts';
import { differenceFrom } from './expected.ts';
import { oneOf, shuffled } from './feeds.ts';
import { FUTURE_MS_MAX, IDENTITY_KEY, NOW_MS, numberKeyOf } from './stored.ts';
import {
  batchOf,
  outcomeOf,
  placeOf,
  type BatchOutcome,
  type Outcome,
  type SourceMessage,
} from './outcomes.ts';

/** Lines of a case that are compared with the references, which are slow. */
const COMPARED_MAX = 6;
const LINE_FEED = 0x0a;
const BYTE_ORDER_MARK = '\xef\xbb\xbf';

/** Messages of one feed. */
export interface FuzzCase {
  /** Index of the feed. */
  readonly feed: number;
  readonly messages: readonly Buffer[];
}

/** A line of a message, without its newline. */
interface Line {
  readonly message: number;
  /** From 1. */
  readonly number: number;
  readonly bytes: Buffer;
  readonly isHead: boolean;
  /** The last line before it, in its message, that is a head. */
  readonly head: Buffer | undefined;
}

/** What was seen in all cases together. */
export interface Tally {
  lines: number;
  compared: number;
  readonly stored: Record<string, number>;
  readonly rejected: Record<string, number>;
  readonly rejectedByCode: Record<string, number>;
  readonly skippedByReason: Record<string, number>;
}

export function emptyTally(): Tally {
  return { lines: 0, compared: 0, stored: {}, rejected: {}, rejectedByCode: {}, skippedByReason: {} };
}

/** What stands beside a message must make no difference. */
const NEIGHBOURS = [
  '"',
  '""',
  '"\n',
  ',1,2,3',
  '9999',
  '\\',
  '}',
  '{"a":"',
  '{"a":[',
  '\r',
  '\n',
  'version=14.2 encoding=Shift_JIS\n',
  '"cdrRecordType","duration"\n',
  '+33199000009,+33199000009,+33199000009,2026-03-01T10:00:00Z,9\n',
].map((text) => Buffer.from(text));

export function parserOf(feeds: readonly Feed[]): BatchParser {
  return new BatchParser({
    feeds,
    identityKey: IDENTITY_KEY,
    futureMsMax: FUTURE_MS_MAX,
    retentionMonths: { all: 36, feeds: {} },
    recordsMax: Infinity,
  });
}

/**
 * Reads a case in several ways and gives what differs, or undefined. Each parser has read other things before: what it keeps
 * between lines, messages and batches must make no difference.
 */
export class Checker {
  readonly #feeds: readonly Feed[];
  readonly #one: BatchParser;
  readonly #other: BatchParser;
  readonly #single = new Map<number, BatchParser>();
  readonly #tally: Tally;

  constructor(feeds: readonly Feed[], tally: Tally, other: BatchParser = parserOf(feeds)) {
    this.#feeds = feeds;
    this.#one = parserOf(feeds);
    this.#other = other;
    this.#tally = tally;
  }

  /** Throws what the parser throws. */
  async check({ feed: index, messages }: FuzzCase): Promise<string | undefined> {
    const random = new Random(
      1,
      messages.reduce((sum, { length }) => sum + length, 0),
    );
    const feed = this.#feeds[index]!;
    const lines = messages.flatMap((bytes, message) => this.#linesOf(index, message, bytes));
    // `ship` does not know escapes: names of columns have no need of them.
    const otherHead = lines.find(
      ({ isHead, bytes }) => isHead !== looksLikeHead(feed, bytes) && !/["\\]/.test(bytes.toString('latin1')),
    );
    if (otherHead !== undefined)
      return `ship takes line ${placeOf(otherHead.message, otherHead.number)} for a head where we do not, or the other way`;
    const own = messages.map((bytes): SourceMessage => ({ feed: index, bytes }));
    const whole = outcomeOf(this.#one, batchOf(own, NOW_MS, Buffer.alloc(0)));
    const keyed = feed.identity !== 'position';
    return (
      wrongCounts(whole, messages, lines, keyed) ??
      wrongValues(whole, feed) ??
      this.#amongOthers(random, own, whole) ??
      this.#replayed(index, whole) ??
      (await this.#lineByLine(random, index, lines, whole, keyed))
    );
  }

  /** The same messages in another order, and with others between them. */
  #amongOthers(random: Random, own: readonly SourceMessage[], whole: BatchOutcome): string | undefined {
    const order = [...own.keys()].reverse();
    const neighbour = (): SourceMessage => ({
      feed: random.integer(this.#feeds.length),
      bytes: oneOf(random, NEIGHBOURS),
    });
    const packed = [...order.flatMap((message) => [neighbour(), own[message]!]), neighbour()];
    const among = outcomeOf(this.#other, batchOf(packed, NOW_MS, oneOf(random, NEIGHBOURS)));
    for (const [i, message] of order.entries()) {
      const there = 2 * i + 1;
      const [a, b] = [whole.counts[message]!, among.counts[there]!];
      if (JSON.stringify(a) !== JSON.stringify(b))
        return `message ${message} among others is counted otherwise`;
      for (const [place, outcome] of whole.records) {
        const [from, line] = place.split(':').map(Number);
        if (from !== message) continue;
        const other = among.records.get(placeOf(there, line!));
        const difference = differenceOf(outcome, other, false);
        if (difference !== undefined) return `line ${place} among others: ${difference}`;
      }
    }
    return undefined;
  }

  /** What was rejected is rejected again, when it is read from its dead letters. */
  #replayed(feed: number, whole: BatchOutcome): string | undefined {
    const letters = [...whole.records].flatMap(([place, outcome]) => {
      if (outcome.kind !== 'rejected') return [];
      const [offset, line] = place.split(':').map(Number);
      const { code, field, position, raw } = outcome;
      return [
        {
          offset: offset!,
          line: line!,
          code,
          field,
          position,
          raw: Buffer.from(raw, 'latin1'),
          messageAtMs: NOW_MS,
          rejectedAt: 0,
          replayReading: '',
        },
      ];
    });
    const source = { feed, topic: 'cdr.fuzz', topicId: '', partition: 0 };
    const again = outcomeOf(this.#other, packLetters(source, letters, NOW_MS));
    for (const { offset, line } of letters) {
      const place = placeOf(offset, line);
      const difference = differenceOf(whole.records.get(place), again.records.get(place), true);
      if (difference !== undefined) return `line ${place} from its dead letter: ${difference}`;
    }
    return undefined;
  }

  /** Each line in a message of its own behind the head that it needs, in another order; and compared with the references. */
  async #lineByLine(
    random: Random,
    feed: number,
    lines: readonly Line[],
    whole: BatchOutcome,
    keyed: boolean,
  ): Promise<string | undefined> {
    const order = shuffled(random, lines);
    const alone = order.map((line): SourceMessage => ({ feed, bytes: messageOf(line) }));
    const { records, counts } = outcomeOf(this.#other, batchOf(alone, NOW_MS, oneOf(random, NEIGHBOURS)));
    const skipped = new Map<string, number>();
    let compared = 0;
    for (const [i, line] of order.entries()) {
      const place = placeOf(line.message, line.number);
      const outcome = records.get(placeOf(i, lineInMessage(line)));
      const before = whole.records.get(place);
      const difference = differenceOf(before, outcome, keyed);
      if (difference !== undefined) return `line ${place} alone: ${difference}`;
      this.#count(feed, before);
      if (before !== undefined && compared < COMPARED_MAX) {
        compared++;
        this.#tally.compared++;
        const parser = this.#parserOf(feed);
        parser.parse(batchOf([{ feed: 0, bytes: alone[i]!.bytes }], NOW_MS, oneOf(random, NEIGHBOURS)));
        const { sent } = parser.lastLine();
        const other = await differenceFrom(this.#feeds[feed]!, line.head, line.bytes, before, sent);
        if (other !== undefined) return `line ${place}: ${other}`;
      }
      for (const [reason, count] of Object.entries(counts[i]!.skippedByReason))
        skipped.set(reason, (skipped.get(reason) ?? 0) + count);
      // What was put before the line is none of it.
      if (line.head !== undefined) skipped.set('header', (skipped.get('header') ?? 0) - 1);
      else if (beginsWithMark(line.bytes)) skipped.set('empty_line', (skipped.get('empty_line') ?? 0) - 1);
    }
    for (const [reason, count] of skipped) {
      this.#tally.skippedByReason[reason] = (this.#tally.skippedByReason[reason] ?? 0) + count;
      const before = whole.counts.reduce(
        (sum, { skippedByReason }) => sum + (skippedByReason[reason as 'header'] ?? 0),
        0,
      );
      const messages = reason === 'empty_message' ? before : count;
      if (before !== messages) return `${count} lines are skipped alone (${reason}), together ${before}`;
    }
    return undefined;
  }

  /** A parser of this feed alone: it tells the fields as sent of its first feed only. */
  #parserOf(feed: number): BatchParser {
    const parser = this.#single.get(feed) ?? parserOf([this.#feeds[feed]!]);
    this.#single.set(feed, parser);
    return parser;
  }

  /** The lines of a message by a rule of one sentence: a newline ends one, and what stands behind the last one is one too. */
  #linesOf(feed: number, message: number, bytes: Buffer): Line[] {
    const lines: Line[] = [];
    let head: Buffer | undefined;
    for (let at = beginsWithMark(bytes) ? 3 : 0; at < bytes.length;) {
      const newline = bytes.indexOf(LINE_FEED, at);
      const end = newline < 0 ? bytes.length : newline;
      const line = bytes.subarray(at, end);
      const isHead = this.#isHead(feed, line);
      lines.push({ message, number: lines.length + 1, bytes: line, isHead, head });
      if (isHead) head = line;
      at = end + 1;
    }
    return lines;
  }

  #isHead(feed: number, line: Buffer): boolean {
    if (!needsHead(this.#feeds[feed]!.format) || beginsWithMark(line)) return false;
    const { counts } = this.#other.parse(batchOf([{ feed, bytes: line }], NOW_MS, Buffer.alloc(0)));
    return counts[0]!.skippedByReason.header === 1;
  }

  #count(feed: number, outcome: Outcome | undefined): void {
    const tally = this.#tally;
    tally.lines++;
    if (outcome === undefined) return;
    const byFormat = outcome.kind === 'stored' ? tally.stored : tally.rejected;
    const { name } = this.#feeds[feed]!.format;
    byFormat[name] = (byFormat[name] ?? 0) + 1;
    if (outcome.kind !== 'rejected') return;
    tally.rejectedByCode[outcome.code] = (tally.rejectedByCode[outcome.code] ?? 0) + 1;
  }
}

/** As `ship` sees it. A byte order mark in mid-message is part of its line. */
function looksLikeHead({ format }: Feed, line: Buffer): boolean {
  return !beginsWithMark(line) && isHeadLine(format, line);
}

/** A message of this line alone. A byte order mark in mid-message is a part of its line: another line keeps it so. */
function messageOf({ bytes, head }: Line): Buffer {
  const before = head ?? (beginsWithMark(bytes) ? Buffer.alloc(0) : undefined);
  return Buffer.concat(before === undefined ? [bytes, LINE_END] : [before, LINE_END, bytes, LINE_END]);
}

const LINE_END = Buffer.of(LINE_FEED);

function lineInMessage({ bytes, head }: Line): number {
  return head === undefined && !beginsWithMark(bytes) ? 1 : 2;
}

function beginsWithMark(bytes: Buffer): boolean {
  return bytes.subarray(0, 3).toString('latin1') === BYTE_ORDER_MARK;
}

/** @param keyed whether the record key must be the same too */
function differenceOf(a: Outcome | undefined, b: Outcome | undefined, keyed: boolean): string | undefined {
  const shown = (outcome: Outcome | undefined): string =>
    JSON.stringify(outcome, (key, value: unknown) => (key === 'recordKey' && !keyed ? undefined : value)) ??
    'no record';
  return shown(a) === shown(b) ? undefined : `${shown(a)} becomes ${shown(b)}`;
}

function sumOf(numbers: Iterable<number>): number {
  return [...numbers].reduce((sum, one) => sum + one, 0);
}

function wrongCounts(
  { counts, records, duplicates }: BatchOutcome,
  messages: readonly Buffer[],
  lines: readonly Line[],
  keyed: boolean,
): string | undefined {
  const outcomes = [...records];
  for (const [message, source] of counts.entries()) {
    const { stored, rejected, suppressed, skipped, rejectedByCode, skippedByReason, storedByHour } = source;
    const own = outcomes.filter(([place]) => place.startsWith(`${message}:`)).map(([, { kind }]) => kind);
    const expected =
      messages[message]!.length === 0 ? 1 : lines.filter((line) => line.message === message).length;
    const sums: [string, number, number][] = [
      ['messages', source.messages, 1],
      ['consumed', source.records, expected],
      ['stored + rejected + suppressed + skipped', stored + rejected + suppressed + skipped, expected],
      ['stored', stored, own.filter((kind) => kind === 'stored').length],
      ['rejected', rejected, own.filter((kind) => kind === 'rejected').length],
      ['rejected by code', sumOf(Object.values(rejectedByCode)), rejected],
      ['skipped by reason', sumOf(Object.values(skippedByReason)), skipped],
      ['stored by hour', sumOf(storedByHour.values()), stored],
    ];
    const wrong = sums.find(([, counted, there]) => counted !== there);
    if (wrong !== undefined) return `message ${message}: ${wrong[0]} is ${wrong[1]}, not ${wrong[2]}`;
  }
  const keys = outcomes.flatMap(([, outcome]) =>
    outcome.kind === 'stored' ? [`${outcome.numberKey} ${outcome.startMs} ${outcome.recordKey}`] : [],
  );
  const equal = keys.length - new Set(keys).size;
  if (duplicates !== equal) return `${duplicates} duplicates are counted, not ${equal}`;
  if (!keyed && equal > 0) return 'two places have the same key';
  return undefined;
}

function wrongValues({ records, numberRows }: BatchOutcome, feed: Feed): string | undefined {
  const { earliestStartMs } = feed;
  let rows = 0;
  for (const [place, outcome] of records) {
    if (outcome.kind === 'rejected') {
      if (outcome.position > outcome.raw.length) return `line ${place}: its fault stands outside of it`;
      continue;
    }
    const { startMs, durationMs, talkMs } = outcome;
    const displayed = outcome.displayed_caller_id;
    rows += displayed === '' || displayed === outcome.calling_number ? 1 : 2;
    const texts = [outcome.calling_number, outcome.displayed_caller_id, outcome.dialed_number];
    if (!(startMs >= earliestStartMs && startMs <= NOW_MS + FUTURE_MS_MAX)) return `line ${place}: its start`;
    if (!(durationMs <= DURATION_MS_MAX && (talkMs ?? 0) <= DURATION_MS_MAX))
      return `line ${place}: its duration`;
    if (outcome.numberKey !== numberKeyOf(feed, outcome)) return `line ${place}: its number key`;
    if (outcome.outcome === 'none' || outcome.direction === 'none') return `line ${place}: its outcome`;
    if (texts.some((text) => text.length > 3 * FIELD_BYTES_MAX)) return `line ${place}: a text is too long`;
  }
  if (rows !== numberRows) return `there are ${numberRows} rows by number, not ${rows}`;
  return undefined;
}
