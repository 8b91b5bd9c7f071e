import type { SkipReason } from '../../schemas/errors.ts';
import { findEncoding, type Encoding } from '../../schemas/formats/encoding.ts';
import type { Format, JsonSyntax } from '../../schemas/formats/format.ts';
import { COLUMNS_MAX } from '../../schemas/record.ts';
import type { BatchMemory } from './batch-memory.ts';
import { compileJsonPaths, type JsonColumn } from './json-paths.ts';
import { JsonSplitter } from './json-splitter.ts';
import { LineSplitter, type SplitLine } from './line-splitter.ts';
import type { ReadingPlan, SkipPlan, WordTest } from './reading-plan.ts';

/**
 * The lines of one feed in the columns of its plan: splits them, tells those that are no records, and keeps what the head
 * of a message says until the next message begins.
 */
export class LineColumns {
  /** Addresses of the plan's column i: `[starts[i], ends[i])`, empty where the line has none. */
  starts!: Int32Array;
  ends!: Int32Array;
  readonly line: SplitLine;
  /** True where the head that the format needs stood in the message before this line. */
  hasHead = false;
  /** The encoding that the head names; undefined where it names none. */
  encoding: Encoding | undefined;
  /** The last head line of this message: addresses; empty where it has none. */
  headStart = 0;
  headEnd = 0;
  /** Columns that the header names; 0 where there is none. */
  headerCount = 0;
  readonly #plan: ReadingPlan;
  readonly #memory: BatchMemory;
  readonly #splitter: LineSplitter | JsonSplitter;
  /** Of each column of the plan, the one of the line; undefined where they are the same. */
  readonly #mapping: Int32Array | undefined;
  readonly #columnsUsed: number;
  readonly #recognises: boolean;
  readonly #needsHead: boolean;

  /** @param encoding that of the feed, where its settings name one */
  constructor(format: Format, plan: ReadingPlan, memory: BatchMemory, encoding: Encoding | undefined) {
    const { syntax } = format;
    this.#plan = plan;
    this.#memory = memory;
    this.#splitter =
      syntax.kind === 'json'
        ? new JsonSplitter(memory, compileJsonPaths(jsonColumns(plan.names, syntax)))
        : new LineSplitter(memory, syntax.separator, syntax.quotes);
    this.line = this.#splitter;
    const byHeader = syntax.kind === 'delimited' && syntax.columns.by === 'header';
    const hasEncodingLine = syntax.kind === 'delimited' && syntax.encodingLine !== undefined;
    this.#needsHead = byHeader || (hasEncodingLine && encoding === undefined);
    this.#mapping = byHeader ? new Int32Array(plan.names.length) : undefined;
    this.#columnsUsed = plan.columnsUsed;
    this.#recognises = plan.recognises;
    const kept = byHeader ? memory.keepColumns() : memory.fieldStarts.byteOffset;
    memory.whenViewed(() => {
      ({ starts: this.starts, ends: this.ends } = memory.columnsAt(kept));
    });
  }

  /** Forgets what the head of the message before said. */
  beginMessage(): void {
    this.hasHead = !this.#needsHead;
    this.encoding = undefined;
    this.headStart = 0;
    this.headEnd = 0;
    this.headerCount = 0;
  }

  /** Splits the line at `from`, and gives the reason where it is no record. */
  split(from: number, end: number): SkipReason | undefined {
    const { line } = this;
    this.#splitter.split(from, end);
    if (this.#mapping === undefined) {
      for (let column = line.count; column < this.#columnsUsed; column++) {
        this.starts[column] = 0;
        this.ends[column] = 0;
      }
    }
    if (this.#recognises) return this.#recognise(from);
    return line.fault < 0 && this.#isHeader() ? 'header' : undefined;
  }

  #recognise(from: number): SkipReason | undefined {
    const { line } = this;
    const { comment, linePrefix, encodingLine, skip } = this.#plan;
    if (comment !== undefined && this.#beginsWith(from, line.lineEnd, comment)) return 'comment';
    if (encodingLine !== undefined && this.#beginsWith(from, line.lineEnd, encodingLine)) {
      this.#enterEncoding(from);
      this.#noteHead(from);
      return 'header';
    }
    if (line.fault >= 0) return undefined;
    if (linePrefix !== undefined && this.#beginsWith(line.starts[0]!, line.ends[0]!, linePrefix))
      line.starts[0]! += linePrefix.length;
    if (this.#isHeader()) {
      if (this.#mapping !== undefined) {
        this.#enterHeader(this.#mapping);
        this.#noteHead(from);
      }
      return 'header';
    }
    if (this.#mapping !== undefined) {
      // What its columns are nobody can say.
      if (!this.hasHead) return undefined;
      this.#map(this.#mapping);
    }
    for (const rule of skip) if (this.#skips(rule)) return rule.reason;
    return undefined;
  }

  #noteHead(from: number): void {
    this.headStart = from;
    // With what stands before its newline: read again from a dead letter it is the same line.
    this.headEnd = this.line.next - 1;
  }

  #skips(rule: SkipPlan): boolean {
    if (!rule.negated) return this.fits(rule);
    return this.starts[rule.column]! < this.ends[rule.column]! && !this.fits(rule);
  }

  /** True where the column of a test is one of its words. */
  fits(test: WordTest): boolean {
    const start = this.starts[test.column]!;
    const end = this.ends[test.column]!;
    for (const word of test.words) if (this.equals(start, end, word)) return true;
    return false;
  }

  equals(start: number, end: number, text: Uint8Array): boolean {
    if (end - start !== text.length) return false;
    const { bytes } = this.#memory;
    for (let i = 0; i < text.length; i++) if (bytes[start + i] !== text[i]) return false;
    return true;
  }

  #isHeader(): boolean {
    const { line } = this;
    const { header, needed } = this.#plan;
    if (header !== undefined) return this.equals(line.starts[0]!, line.ends[0]!, header);
    // One that has no field of its own to know it by has all the names that every record needs.
    return (
      this.#mapping !== undefined &&
      needed.every((columns) => columns.some((name) => this.#indexOf(name) >= 0))
    );
  }

  #enterHeader(mapping: Int32Array): void {
    for (let column = 0; column < mapping.length; column++) mapping[column] = this.#indexOf(column);
    this.hasHead = this.#plan.needed.every((columns) => columns.some((column) => mapping[column]! >= 0));
    this.headerCount = this.line.count;
  }

  /** The column of the header line that has this name of the plan, or -1. */
  #indexOf(name: number): number {
    const { starts, ends, count } = this.line;
    const text = this.#plan.nameBytes[name]!;
    for (let i = 0; i < Math.min(count, COLUMNS_MAX); i++)
      if (this.equals(starts[i]!, ends[i]!, text)) return i;
    return -1;
  }

  #map(mapping: Int32Array): void {
    const { starts, ends, count } = this.line;
    for (let column = 0; column < mapping.length; column++) {
      const at = mapping[column]!;
      const present = at >= 0 && at < count;
      this.starts[column] = present ? starts[at]! : 0;
      this.ends[column] = present ? ends[at]! : 0;
    }
  }

  /** `version=14.2 encoding=ISO-8859-1` */
  #enterEncoding(from: number): void {
    const text = Buffer.from(this.#memory.bytes.subarray(from, this.line.lineEnd)).toString('latin1');
    this.encoding = findEncoding(/\bencoding=([\w.:-]+)/.exec(text)?.[1] ?? '');
    this.hasHead = !this.#needsHead || this.encoding !== undefined;
  }

  #beginsWith(start: number, end: number, text: Uint8Array): boolean {
    return end - start >= text.length && this.equals(start, start + text.length, text);
  }
}

function jsonColumns(paths: readonly string[], { urlEncoded = false }: JsonSyntax): JsonColumn[] {
  return paths.map((path) => ({ paths: path.split('|'), percentDecoded: urlEncoded }));
}
