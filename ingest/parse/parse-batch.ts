import type { RejectCode, SkipReason } from '../../schemas/errors.ts';
import { monthsOf, RetentionTerm } from '../../schemas/retention-term.ts';
import { redactNumbers, type SuppressionSet } from '../../schemas/suppressions.ts';
import type { BlockTable } from '../../schemas/tables.ts';
import {
  emptyCounts,
  type BatchSource,
  type PackedBatch,
  type ParseContext,
  type ParsedBatch,
  type SourceCounts,
} from './batch.ts';
import { BatchMemory, type GatheredColumns } from './batch-memory.ts';
import { tableBlock, type TableBlock } from './blocks.ts';
import { CALL } from './call-records.ts';
import { HourCounter } from './hour-counter.ts';
import { arenaBytes, LineReader, type LinePosition } from './line-reader.ts';
import { Rejects } from './rejects.ts';
import { SuppressionCheck } from './suppression-check.ts';

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
/** Bytes of messages that are parsed at once: they stay in the processor's cache. */
const WINDOW_BYTES = 262_144;

/**
 * Parses packed batches: bytes in; counts, rejects and blocks out. The result depends on the batch and the
 * context alone; what the parser keeps between batches are buffers and caches.
 */
export class BatchParser {
  readonly #context: ParseContext;
  readonly #memory = new BatchMemory();
  readonly #readers: readonly LineReader[];
  readonly #position: LinePosition = { topic: '', partition: 0, offset: 0, line: 0 };
  readonly #hours = new HourCounter();
  #rejects = new Rejects();
  #sources: readonly BatchSource[] = [];
  /** Address behind the messages that are loaded. */
  #arena = 0;
  #suppressions: SuppressionCheck | undefined;

  constructor(context: ParseContext) {
    this.#context = context;
    this.#readers = context.feeds.map((feed) => new LineReader(feed, context.identityKey, this.#memory));
  }

  /** Of the suppressions that batches are parsed with; 0: none. */
  get suppressionsVersion(): number {
    return this.#suppressions?.version ?? 0;
  }

  /** Parses with these suppressions from the next batch on. */
  suppress(set: SuppressionSet): void {
    const { feeds, identityKey } = this.#context;
    const names = feeds.map(({ name }) => name);
    this.#suppressions = SuppressionCheck.of(set, { feeds: names, identityKey }, this.#memory);
  }

  /** What the last batch's rejects were. */
  get rejects(): Rejects {
    return this.#rejects;
  }

  /** Parses a batch; its blocks can be had until the next one is parsed. */
  parse(batch: PackedBatch): ParsedBatch {
    const began = performance.now();
    this.#rejects = new Rejects();
    this.#sources = batch.sources;
    const counts = batch.sources.map(emptyCounts);
    const { feeds, retentionMonths } = this.#context;
    const terms = feeds.map(({ name }) => new RetentionTerm(monthsOf(retentionMonths, name), batch.nowMs));
    const longest = longestMessage(batch);
    this.#memory.prepare(Math.max(WINDOW_BYTES, longest) + arenaBytes(longest));
    let messages = 0;
    while (messages < batch.count && !this.#full) {
      const from = messages;
      const to = windowEnd(batch, from);
      const start = startOf(batch, from);
      // Address of the byte that would be the first of `batch.bytes`.
      const origin = this.#memory.load(batch.bytes.subarray(start, batch.ends[to - 1])) - start;
      // What a line writes to the arena is free when the next one begins. No field of it begins where the last line ends.
      this.#arena = this.#memory.top + 1;
      for (; messages < to && !this.#full; messages++) {
        const at = origin + startOf(batch, messages);
        this.#parseMessage(batch, messages, at, origin + batch.ends[messages]!, counts, terms);
      }
    }
    this.#hours.flush();
    return {
      messages,
      calls: this.#memory.calls,
      rejects: this.#rejects.length,
      counts,
      parseMs: performance.now() - began,
    };
  }

  /** The block of a table from the batch that was parsed last: see `tableBlock`. */
  block(table: BlockTable): TableBlock {
    return tableBlock(table, {
      rejects: this.#rejects,
      memory: this.#memory,
      sources: this.#sources,
      feedNames: this.#context.feeds.map((feed) => feed.name),
    });
  }

  /** The block of a table in one piece, where it is known to be small; empty where there are no rows. */
  wholeBlock(table: BlockTable): Buffer {
    const { native } = this.block(table);
    const bytes = Buffer.allocUnsafe(native.bytesLeft);
    native.read(bytes);
    return bytes;
  }

  /** The columns of all calls of the batch that was parsed last, in the order of `cdr`; the next batch ends them. */
  gatherCalls(): GatheredColumns {
    return this.#memory.gather('calling').columns;
  }

  /** The last line as sent, of a parser of a single feed: see `LineReader`. */
  lastLine(): ReturnType<LineReader['sent']> {
    return this.#readers[0]!.sent();
  }

  /** No further message is begun: the records that there are are enough for one batch. */
  get #full(): boolean {
    return this.#memory.calls + this.#rejects.length >= this.#context.recordsMax;
  }

  #parseMessage(
    batch: PackedBatch,
    message: number,
    start: number,
    end: number,
    allCounts: readonly SourceCounts[],
    terms: readonly RetentionTerm[],
  ): void {
    const source = batch.sourceOf[message]!;
    const counts = allCounts[source]!;
    const { feed, topic, partition } = batch.sources[source]!;
    const reader = this.#readers[feed]!;
    const term = terms[feed]!;
    const timestamp = batch.timestamps[message]!;
    const messageAtMs = timestamp < 0 ? batch.nowMs : timestamp;
    counts.messages++;
    counts.messageAtMax = Math.max(counts.messageAtMax, timestamp);
    if (start === end) {
      skip(counts, batch.tombstones[message] === 1 ? 'tombstone' : 'empty_message');
      return;
    }
    const overlaps = reader.clock.overlaps;
    const gaps = reader.clock.gaps;
    const position = this.#position;
    position.topic = topic;
    position.partition = partition;
    position.offset = batch.offsets[message]!;
    reader.beginMessage();
    if (batch.lines === undefined) {
      position.line = 0;
      for (let at = start + byteOrderMark(this.#memory.bytes, start, end); at < end;) {
        position.line++;
        at = this.#parseLine(feed, at, end, source, counts, messageAtMs, term);
      }
    } else {
      // A byte order mark that stands in a record is part of it: that of a message was left out before.
      position.line = batch.lines[message]!;
      const from = this.#pastHead(reader, start, end);
      this.#parseLine(feed, from, end, source, counts, messageAtMs, term);
    }
    counts.zoneOverlaps += reader.clock.overlaps - overlaps;
    counts.zoneGaps += reader.clock.gaps - gaps;
  }

  /** Behind the head line that a rejected record was stored with. */
  #pastHead(reader: LineReader, start: number, end: number): number {
    this.#memory.top = this.#arena;
    const isHead = reader.split(start, end) === 'header' && reader.head.length > 0;
    return isHead && reader.line.next < end ? reader.line.next : start;
  }

  /** Gives the address where the next line begins. */
  #parseLine(
    feed: number,
    lineStart: number,
    end: number,
    source: number,
    counts: SourceCounts,
    messageAtMs: number,
    term: RetentionTerm,
  ): number {
    const reader = this.#readers[feed]!;
    const { bytes } = this.#memory;
    const first = bytes[lineStart];
    if (
      first === LINE_FEED ||
      (first === CARRIAGE_RETURN && (lineStart + 1 === end || bytes[lineStart + 1] === LINE_FEED))
    ) {
      skip(counts, 'empty_line');
      return lineStart + (first === LINE_FEED ? 1 : 2);
    }
    this.#memory.top = this.#arena;
    const reason = reader.split(lineStart, end);
    if (reason !== undefined) skip(counts, reason);
    else {
      const wrong =
        reader.read(lineStart, this.#position) ?? reader.judgeStart(messageAtMs, this.#context.futureMsMax);
      if (wrong === undefined) this.#accept(feed, counts, term);
      else {
        if (this.#suppressions?.coversLetter(messageAtMs) === true)
          this.#redact(this.#suppressions, feed, lineStart, messageAtMs);
        this.#reject(wrong, reader, lineStart, source, counts, messageAtMs);
      }
    }
    return reader.line.next;
  }

  #accept(feed: number, counts: SourceCounts, term: RetentionTerm): void {
    const { doubles, words, bytes } = this.#memory;
    const startMs = doubles[CALL.startMs >> 3]!;
    if (term.isExpired(startMs)) {
      skip(counts, 'expired');
      return;
    }
    if (this.#suppressions?.covers(startMs) === true) {
      const suppressed = this.#suppressions.apply(feed, startMs);
      if (suppressed === 'drop') {
        counts.records++;
        counts.suppressed++;
        return;
      }
      if (suppressed === 'blanked') counts.blanked++;
    }
    bytes[CALL.feed] = feed & 0xff;
    bytes[CALL.feed + 1] = feed >>> 8;
    words[CALL.partition >> 2] = this.#position.partition;
    doubles[CALL.offset >> 3] = this.#position.offset;
    words[CALL.line >> 2] = this.#position.line;
    this.#memory.accept();
    counts.records++;
    counts.stored++;
    this.#hours.add(counts.storedByHour, startMs);
  }

  /** Overwrites the numbers of erased persons in the line that is rejected, however they are spelt. */
  #redact(suppressions: SuppressionCheck, feed: number, lineStart: number, messageAtMs: number): void {
    const memory = this.#memory;
    const reader = this.#readers[feed]!;
    const isErased = (texts: readonly string[]): boolean => {
      const { top } = memory;
      for (const text of texts) {
        memory.top = top;
        const start = memory.write(text);
        const end = memory.top;
        if (suppressions.isErased(start, end, feed, messageAtMs)) return true;
        if (text.startsWith('+')) continue;
        for (const number of reader.numbers) {
          number.read(start, end);
          if (suppressions.isErased(number.start, number.end, feed, messageAtMs)) return true;
        }
      }
      memory.top = top;
      return false;
    };
    redactNumbers(memory.bytes.subarray(lineStart, reader.line.lineEnd), isErased);
  }

  #reject(
    code: RejectCode,
    reader: LineReader,
    lineStart: number,
    source: number,
    counts: SourceCounts,
    messageAtMs: number,
  ): void {
    const { lineEnd } = reader.line;
    // A fault in a field that was rewritten to the arena (its quotes unescaped) is shown at the line's begin.
    const inLine = reader.faultAt >= lineStart && reader.faultAt <= lineEnd;
    this.#rejects.push({
      source,
      offset: this.#position.offset,
      line: this.#position.line,
      code,
      field: reader.faultField,
      position: inLine ? reader.faultAt - lineStart : 0,
      messageAtMs,
      head: reader.head,
      raw: this.#memory.bytes.subarray(lineStart, lineEnd),
    });
    counts.records++;
    counts.rejected++;
    counts.rejectedByCode[code] = (counts.rejectedByCode[code] ?? 0) + 1;
  }
}

/** The messages from `from` on that are loaded at once: as many as fit, at least one. */
function windowEnd(batch: PackedBatch, from: number): number {
  const limit = startOf(batch, from) + WINDOW_BYTES;
  let to = from + 1;
  while (to < batch.count && batch.ends[to]! <= limit) to++;
  return to;
}

function longestMessage(batch: PackedBatch): number {
  let longest = 0;
  for (let message = 0; message < batch.count; message++) {
    longest = Math.max(longest, batch.ends[message]! - startOf(batch, message));
  }
  return longest;
}

function startOf(batch: PackedBatch, message: number): number {
  return message === 0 ? batch.start : batch.ends[message - 1]!;
}

/** Length of the byte order mark that some programs put before a file's first line. */
function byteOrderMark(bytes: Uint8Array, start: number, end: number): number {
  return end - start >= 3 && bytes[start] === 0xef && bytes[start + 1] === 0xbb && bytes[start + 2] === 0xbf
    ? 3
    : 0;
}

function skip(counts: SourceCounts, reason: SkipReason): void {
  counts.records++;
  counts.skipped++;
  counts.skippedByReason[reason] = (counts.skippedByReason[reason] ?? 0) + 1;
}
