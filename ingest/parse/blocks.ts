import { SENT_COLUMNS } from '../../schemas/tables.ts';
import { ROLES } from '../../schemas/record.ts';
import type { BatchSource } from './batch.ts';
import type { BatchMemory } from './batch-memory.ts';
import { TEXT_STRIDE, type CallColumns } from './call-columns.ts';
import { NativeBlock } from './native-block.ts';
import type { Reject } from './rejects.ts';
import { sortOrder } from './sort-order.ts';

const DIALED = ROLES.indexOf('dialed');
const DISPLAYED = ROLES.indexOf('displayed');
/** What a call takes in a block, without its texts, and some for them: only a first guess. */
const BYTES_PER_ROW = 112;
/** The text columns, in the order of `TEXT`. */
const TEXT_COLUMNS = ['calling_number', 'displayed_caller_id', 'dialed_number', 'account', 'call_id'];

/** What the blocks of a batch are made from. */
export interface BlockContext {
  readonly calls: CallColumns;
  readonly memory: BatchMemory;
  readonly sources: readonly BatchSource[];
  /** Feed names; `sources[i].feed` is an index into them. */
  readonly feedNames: readonly string[];
}

/** The block for `cdr`, sorted by its key. */
export function cdrBlock(context: BlockContext): Uint8Array {
  const { calls } = context;
  const inMemoryOrder = Uint32Array.from({ length: calls.length }, (_, call) => call);
  const order = sortOrder(calls, calls.callingKey, inMemoryOrder, calls.length);
  const block = new NativeBlock(SENT_COLUMNS.cdr.length, calls.length, 1024 + calls.length * BYTES_PER_ROW);
  block.uint64('calling_key', calls.callingKey, order);
  writeCallColumns(block, context, order, inMemoryOrder);
  return block.finish();
}

/** The block for `cdr_by_number`, sorted by its key: a row for each dialed number and each displayed one that differs. */
export function cdrByNumberBlock(context: BlockContext): { block: Uint8Array; rows: number } {
  const { calls } = context;
  const keys = new Float64Array(calls.length * 2);
  const roles = new Uint8Array(calls.length * 2);
  const rowCall = new Uint32Array(calls.length * 2);
  let rows = 0;
  const add = (call: number, key: number, role: number): void => {
    keys[rows] = key;
    roles[rows] = role;
    rowCall[rows++] = call;
  };
  for (let call = 0; call < calls.length; call++) {
    add(call, calls.dialedKey[call]!, DIALED);
    const displayedKey = calls.displayedKey[call]!;
    if (!Number.isNaN(displayedKey)) add(call, displayedKey, DISPLAYED);
  }
  const order = sortOrder(calls, keys, rowCall, rows);
  const block = new NativeBlock(SENT_COLUMNS.cdr_by_number.length, rows, 1024 + rows * BYTES_PER_ROW);
  block.uint64('number_key', keys, order);
  block.enum8('role', SENT_COLUMNS.cdr_by_number[1].type, roles, order);
  writeCallColumns(
    block,
    context,
    order.map((row) => rowCall[row]!),
    rowCall.subarray(0, rows),
  );
  return { block: block.finish(), rows };
}

/** Writes the columns that both tables share; `order` are calls, `inMemoryOrder` the same as they came. */
function writeCallColumns(
  block: NativeBlock,
  context: BlockContext,
  order: Uint32Array,
  inMemoryOrder: Uint32Array,
): void {
  const { calls, feedNames } = context;
  block.int64('start_at', "DateTime64(3, 'UTC')", calls.startMs, order);
  block.uint64Halves('cdr_key', calls.recordKeyLow, calls.recordKeyHigh, order);
  block.uint32('duration_ms', calls.durationMs, order);
  block.nullableUint32('talk_ms', calls.talkMs, calls.talkUnknown, order);
  block.enum8('outcome', typeOf('outcome'), calls.outcome, order);
  block.enum8('direction', typeOf('direction'), calls.direction, order);
  block.words('feed', feedNames, calls.feed, order);
  block.int32('source_partition', calls.partition, order);
  block.int64('source_offset', 'Int64', calls.offset, order);
  block.uint32('source_line', calls.line, order);
  block.texts(TEXT_COLUMNS, context.memory, usedTexts(calls), order, inMemoryOrder);
}

/** The addresses of the calls that there are; the array has room for more. */
function usedTexts(calls: CallColumns): Int32Array {
  return calls.texts.subarray(0, calls.length * TEXT_STRIDE);
}

function typeOf(name: 'outcome' | 'direction'): string {
  return SENT_COLUMNS.cdr.find((column) => column.name === name)!.type;
}

/** The block for `dead_letters`. */
export function deadLettersBlock(context: BlockContext, rejects: readonly Reject[]): Uint8Array {
  const { sources, feedNames } = context;
  const order = Uint32Array.from(rejects.keys());
  const block = new NativeBlock(
    SENT_COLUMNS.dead_letters.length,
    rejects.length,
    1024 + rejects.length * BYTES_PER_ROW,
  );
  const words = (name: string, valueOf: (reject: Reject) => string): void => {
    const distinct = [...new Set(rejects.map(valueOf))];
    const indexes = new Map(distinct.map((word, index) => [word, index]));
    block.words(
      name,
      distinct,
      Uint16Array.from(rejects, (reject) => indexes.get(valueOf(reject))!),
      order,
    );
  };
  const sourceOf = (reject: Reject): BatchSource => sources[reject.source]!;
  words('feed', (reject) => feedNames[sourceOf(reject).feed]!);
  words('topic', (reject) => sourceOf(reject).topic);
  words('topic_id', (reject) => sourceOf(reject).topicId);
  block.int32(
    'partition',
    Int32Array.from(rejects, (reject) => sourceOf(reject).partition),
    order,
  );
  block.int64(
    'offset',
    'Int64',
    Float64Array.from(rejects, (reject) => reject.offset),
    order,
  );
  block.uint32(
    'line',
    Uint32Array.from(rejects, (reject) => reject.line),
    order,
  );
  words('code', (reject) => reject.code);
  words('field', (reject) => reject.field);
  block.uint32(
    'position',
    Uint32Array.from(rejects, (reject) => reject.position),
    order,
  );
  const addresses = Int32Array.from(rejects.flatMap((reject) => [reject.start, reject.end]));
  block.texts(['raw'], context.memory, addresses, order, order);
  block.int64(
    'message_at',
    "DateTime64(3, 'UTC')",
    Float64Array.from(rejects, (reject) => reject.messageAtMs),
    order,
  );
  return block.finish();
}
