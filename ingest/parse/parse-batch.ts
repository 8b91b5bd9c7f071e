import type { RejectCode, SkipReason } from '../../schemas/errors.ts';
import { RetentionTerm } from '../../schemas/retention-term.ts';
import {
  emptyCounts,
  type PackedBatch,
  type ParseContext,
  type ParsedBatch,
  type SourceCounts,
} from './batch.ts';
import { cdrBlock, cdrByNumberBlock, deadLettersBlock, type BlockContext } from './blocks.ts';
import { CallColumns } from './call-columns.ts';
import { BatchMemory } from './batch-memory.ts';
import { LineReader, type LinePosition } from './line-reader.ts';
import { LineSplitter } from './line-splitter.ts';
import type { Reject } from './rejects.ts';

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const HOUR_MS = 3_600_000;
const NOTHING = new Uint8Array(0);

/**
 * Parses packed batches: bytes in, blocks, rejects and counts out. The result depends on the batch and the
 * context alone; what the parser keeps between batches are buffers and caches.
 */
export class BatchParser {
  readonly #context: ParseContext;
  readonly #memory = new BatchMemory();
  readonly #splitter = new LineSplitter(this.#memory);
  readonly #calls = new CallColumns();
  readonly #readers: readonly LineReader[];
  readonly #position: LinePosition = { topic: '', partition: 0, offset: 0, line: 0 };
  #rejects: Reject[] = [];

  constructor(context: ParseContext) {
    this.#context = context;
    this.#readers = context.feeds.map(
      (feed) => new LineReader(feed, context.identityKey, this.#memory, this.#splitter, this.#calls),
    );
  }

  parse(batch: PackedBatch): ParsedBatch {
    const began = performance.now();
    this.#calls.clear();
    this.#rejects = [];
    const counts = batch.sources.map(emptyCounts);
    const loadedAt = this.#memory.load(batch.bytes);
    const term = new RetentionTerm(this.#context.retentionMonths, batch.nowMs);
    for (let message = 0; message < batch.count; message++) {
      const start = loadedAt + (message === 0 ? 0 : batch.ends[message - 1]!);
      this.#parseMessage(batch, message, start, loadedAt + batch.ends[message]!, counts, term);
    }
    return { ...this.#encode(batch), counts, parseMs: performance.now() - began };
  }

  #parseMessage(
    batch: PackedBatch,
    message: number,
    start: number,
    end: number,
    allCounts: readonly SourceCounts[],
    term: RetentionTerm,
  ): void {
    const source = batch.sourceOf[message]!;
    const counts = allCounts[source]!;
    const { feed, topic, partition } = batch.sources[source]!;
    const reader = this.#readers[feed]!;
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
    position.line = 0;
    for (let at = start + byteOrderMark(this.#memory.bytes, start, end); at < end;) {
      position.line++;
      this.#parseLine(feed, at, end, source, counts, messageAtMs, term);
      at = this.#splitter.next;
    }
    counts.zoneOverlaps += reader.clock.overlaps - overlaps;
    counts.zoneGaps += reader.clock.gaps - gaps;
  }

  #parseLine(
    feed: number,
    lineStart: number,
    end: number,
    source: number,
    counts: SourceCounts,
    messageAtMs: number,
    term: RetentionTerm,
  ): void {
    const splitter = this.#splitter;
    const reader = this.#readers[feed]!;
    const { bytes } = this.#memory;
    const first = bytes[lineStart];
    if (
      first === LINE_FEED ||
      (first === CARRIAGE_RETURN && (lineStart + 1 === end || bytes[lineStart + 1] === LINE_FEED))
    ) {
      splitter.next = lineStart + (first === LINE_FEED ? 1 : 2);
      skip(counts, 'empty_line');
      return;
    }
    // Unescaped quotes go to the arena: at most the line again, which may reach to the message's end.
    this.#memory.reserve(end - lineStart);
    splitter.split(lineStart, end, reader.separator);
    if (reader.isHeader()) {
      skip(counts, 'header');
      return;
    }
    const wrong =
      reader.read(lineStart, this.#position) ?? reader.judgeStart(messageAtMs, this.#context.futureMsMax);
    if (wrong !== undefined) {
      this.#reject(wrong, reader, lineStart, source, counts, messageAtMs);
      return;
    }
    this.#accept(feed, counts, term);
  }

  #accept(feed: number, counts: SourceCounts, term: RetentionTerm): void {
    const calls = this.#calls;
    const row = calls.length;
    const startMs = calls.startMs[row]!;
    if (term.isExpired(startMs)) {
      skip(counts, 'expired');
      return;
    }
    calls.feed[row] = feed;
    calls.partition[row] = this.#position.partition;
    calls.offset[row] = this.#position.offset;
    calls.line[row] = this.#position.line;
    calls.length = row + 1;
    counts.records++;
    counts.stored++;
    const hour = Math.floor(startMs / HOUR_MS);
    counts.storedByHour.set(hour, (counts.storedByHour.get(hour) ?? 0) + 1);
  }

  #reject(
    code: RejectCode,
    reader: LineReader,
    lineStart: number,
    source: number,
    counts: SourceCounts,
    messageAtMs: number,
  ): void {
    const { lineEnd } = this.#splitter;
    // A fault in a field that was rewritten to the arena (its quotes unescaped) is shown at the line's begin.
    const inLine = reader.faultAt >= lineStart && reader.faultAt <= lineEnd;
    this.#rejects.push({
      source,
      offset: this.#position.offset,
      line: this.#position.line,
      code,
      field: reader.faultField,
      position: inLine ? reader.faultAt - lineStart : 0,
      start: lineStart,
      end: lineEnd,
      messageAtMs,
    });
    counts.records++;
    counts.rejected++;
    counts.rejectedByCode[code] = (counts.rejectedByCode[code] ?? 0) + 1;
  }

  #encode(batch: PackedBatch): Omit<ParsedBatch, 'counts' | 'parseMs'> {
    const context: BlockContext = {
      calls: this.#calls,
      memory: this.#memory,
      sources: batch.sources,
      feedNames: this.#context.feeds.map((feed) => feed.name),
    };
    const cdrRows = this.#calls.length;
    const byNumber = cdrRows === 0 ? { block: NOTHING, rows: 0 } : cdrByNumberBlock(context);
    return {
      cdr: cdrRows === 0 ? NOTHING : cdrBlock(context),
      cdrByNumber: byNumber.block,
      deadLetters: this.#rejects.length === 0 ? NOTHING : deadLettersBlock(context, this.#rejects),
      cdrRows,
      cdrByNumberRows: byNumber.rows,
    };
  }
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
