import { isUtf8 } from 'node:buffer';
import type { BatchSource, PackedBatch, SourceCounts } from '../../ingest/parse/batch.ts';
import type { GatheredColumns } from '../../ingest/parse/batch-memory.ts';
import type { BatchParser } from '../../ingest/parse/parse-batch.ts';
import { DIRECTIONS, OUTCOMES } from '../../schemas/record.ts';

/** What became of a line that is a record. */
export type Outcome = StoredOutcome | RejectedOutcome;

export interface StoredOutcome {
  readonly kind: 'stored';
  readonly calling_number: string;
  readonly displayed_caller_id: string;
  readonly dialed_number: string;
  readonly account: string;
  readonly call_id: string;
  readonly startMs: number;
  readonly durationMs: number;
  /** null: unknown. */
  readonly talkMs: number | null;
  readonly outcome: string;
  readonly direction: string;
  readonly numberKey: string;
  readonly recordKey: string;
}

export interface RejectedOutcome {
  readonly kind: 'rejected';
  readonly code: string;
  readonly field: string;
  readonly position: number;
  /** With its head, as Latin-1. */
  readonly raw: string;
}

/** What became of a batch: by source (one a message) and line, and what was counted of each source. */
export interface BatchOutcome {
  readonly records: ReadonlyMap<string, Outcome>;
  readonly counts: readonly SourceCounts[];
  readonly duplicates: number;
  /** Rows of `cdr_by_number`. */
  readonly numberRows: number;
}

export function placeOf(message: number, line: number): string {
  return `${message}:${line}`;
}

/** A message, and which feed it is one of. */
export interface SourceMessage {
  readonly feed: number;
  readonly bytes: Uint8Array;
}

/** A batch in which each message has a source of its own; `beside` stands before and behind all of them. */
export function batchOf(messages: readonly SourceMessage[], nowMs: number, beside: Uint8Array): PackedBatch {
  let end = beside.length;
  return {
    sources: messages.map(({ feed }, partition): BatchSource => ({
      feed,
      topic: 'cdr.fuzz',
      topicId: '',
      partition,
    })),
    bytes: Buffer.concat([beside, ...messages.map(({ bytes }) => bytes), beside]),
    start: beside.length,
    ends: Uint32Array.from(messages, ({ bytes }) => (end += bytes.length)),
    sourceOf: Uint16Array.from(messages.keys()),
    offsets: Float64Array.from(messages.keys()),
    timestamps: new Float64Array(messages.length).fill(nowMs),
    tombstones: new Uint8Array(messages.length),
    count: messages.length,
    nowMs,
  };
}

/** Parses a batch of `batchOf`. */
export function outcomeOf(parser: BatchParser, batch: PackedBatch): BatchOutcome {
  const { counts } = parser.parse(batch);
  const duplicates = parser.block('cdr').duplicatesByFeed.reduce((sum, count) => sum + count, 0);
  const numberRows = rowsOf(parser.wholeBlock('cdr_by_number'));
  const records = new Map<string, Outcome>();
  for (const [place, outcome] of storedRows(parser.gatherCalls())) records.set(place, outcome);
  for (const [place, outcome] of rejectedRows(parser)) records.set(place, outcome);
  return { records, counts, duplicates, numberRows };
}

/** Rows of a block in ClickHouse's Native format, which begins with the numbers of its columns and rows. */
function rowsOf(block: Uint8Array): number {
  return block.length === 0 ? 0 : lengthAt(block, lengthAt(block, 0).bytes).value;
}

function* storedRows(columns: GatheredColumns): Generator<[string, StoredOutcome]> {
  const view = (name: keyof GatheredColumns): Buffer => {
    const { buffer, byteOffset, byteLength } = columns[name];
    return Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
  };
  const [startAt, keys, numbers, offsets] = (['start_at', 'cdr_key', 'key', 'source_offset'] as const).map(
    view,
  );
  const [durations, talks, lines] = (['duration_ms', 'talk_ms', 'source_line'] as const).map(view);
  const texts = (
    ['calling_number', 'displayed_caller_id', 'dialed_number', 'account', 'call_id'] as const
  ).map((name) => textsOf(view(name)));
  const rows = columns.outcome.length;
  for (let row = 0; row < rows; row++) {
    const [calling, displayed, dialed, account, callId] = texts.map(
      (column) => column.next().value as string,
    );
    yield [
      placeOf(Number(offsets!.readBigInt64LE(8 * row)), lines!.readUInt32LE(4 * row)),
      {
        kind: 'stored',
        calling_number: calling!,
        displayed_caller_id: displayed!,
        dialed_number: dialed!,
        account: account!,
        call_id: callId!,
        startMs: Number(startAt!.readBigInt64LE(8 * row)),
        durationMs: durations!.readUInt32LE(4 * row),
        talkMs: columns.talk_unknown[row] === 1 ? null : talks!.readUInt32LE(4 * row),
        outcome: OUTCOMES[columns.outcome[row]!] ?? 'none',
        direction: DIRECTIONS[columns.direction[row]!] ?? 'none',
        numberKey: numbers!.readBigUInt64LE(8 * row).toString(),
        recordKey: keys!.readBigUInt64LE(8 * row).toString(),
      },
    ];
  }
}

/** Texts with their lengths before them. Throws where one is no UTF-8: the database would take it as it is. */
function* textsOf(bytes: Buffer): Generator<string> {
  let at = 0;
  while (at < bytes.length) {
    const length = lengthAt(bytes, at);
    at += length.bytes;
    const text = bytes.subarray(at, at + length.value);
    if (!isUtf8(text)) throw new Error('a stored text is no UTF-8');
    yield text.toString('utf8');
    at += length.value;
  }
}

/** A variable-length integer. */
function lengthAt(bytes: Uint8Array, at: number): { value: number; bytes: number } {
  let value = 0;
  for (let i = 0; ; i++) {
    const byte = bytes[at + i]!;
    value += (byte & 127) * 128 ** i;
    if (byte < 128) return { value, bytes: i + 1 };
  }
}

function* rejectedRows({ rejects }: BatchParser): Generator<[string, RejectedOutcome]> {
  const texts = Buffer.from(rejects.texts);
  let at = 0;
  for (const { offset, line, code, field, position } of rejects.faults()) {
    const length = lengthAt(texts, at);
    at += length.bytes;
    const raw = texts.subarray(at, at + length.value).toString('latin1');
    at += length.value;
    yield [placeOf(offset, line), { kind: 'rejected', code, field, position, raw }];
  }
}
