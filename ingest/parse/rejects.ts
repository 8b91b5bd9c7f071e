import type { RejectCode } from '../../schemas/errors.ts';
import { lengths } from './native-block.ts';

const LINE_FEED = Uint8Array.of(0x0a);

/** A record that is rejected, and what is wrong with it. */
export interface Reject {
  /** Index into the batch's sources. */
  readonly source: number;
  readonly offset: number;
  /** Line of the message, from 1. */
  readonly line: number;
  readonly code: RejectCode;
  /** Name of the field at fault; empty where it is the whole line. */
  readonly field: string;
  /** Byte of the record at which the fault begins, from 0. */
  readonly position: number;
  readonly messageAtMs: number;
  /** The head line that the record was read under, if its format has one: stored before it, so that it can be read alone. */
  readonly head: Uint8Array;
  /** The record as sent. */
  readonly raw: Uint8Array;
}

/** The rejected records of a batch as columns: a flood of bad lines must not become a flood of objects. */
export class Rejects {
  readonly source: number[] = [];
  readonly offset: number[] = [];
  readonly line: number[] = [];
  readonly code: string[] = [];
  readonly field: string[] = [];
  readonly position: number[] = [];
  readonly messageAtMs: number[] = [];
  #texts = new Uint8Array(0);
  #end = 0;

  get length(): number {
    return this.code.length;
  }

  /** The records as sent, each with its length first. */
  get texts(): Uint8Array {
    return this.#texts.subarray(0, this.#end);
  }

  /** What is wrong with each, and where it stands. */
  *faults(): Generator<Pick<Reject, 'offset' | 'line' | 'field' | 'position'> & { readonly code: string }> {
    for (let i = 0; i < this.length; i++) {
      yield {
        offset: this.offset[i]!,
        line: this.line[i]!,
        code: this.code[i]!,
        field: this.field[i]!,
        position: this.position[i]!,
      };
    }
  }

  push({ source, offset, line, code, field, position, messageAtMs, head, raw }: Reject): void {
    this.source.push(source);
    this.offset.push(offset);
    this.line.push(line);
    this.code.push(code);
    this.field.push(field);
    this.position.push(position);
    this.messageAtMs.push(messageAtMs);
    const lineFeed = head.length === 0 ? 0 : 1;
    this.#append(lengths(head.length + lineFeed + raw.length));
    if (lineFeed > 0) {
      this.#append(head);
      this.#append(LINE_FEED);
    }
    this.#append(raw);
  }

  #append(bytes: Uint8Array): void {
    const end = this.#end + bytes.length;
    if (end > this.#texts.length) {
      const grown = new Uint8Array(Math.max(4096, 2 * this.#texts.length, end));
      grown.set(this.#texts);
      this.#texts = grown;
    }
    this.#texts.set(bytes, this.#end);
    this.#end = end;
  }
}
